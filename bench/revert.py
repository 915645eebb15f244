"""What a bad release costs: failed requests of its users, and how long until they are safe.

A version that fails 30 % of its requests is released again and again at 100 requests a second, by the
README's settings. Failed requests are counted at the load generator. `python -m bench.revert [--runs 10]`
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from lab import cluster, load
from lab.stack import Stack, podinfo

RATE = 100
GOOD, BAD = "6.3.1", "6.3.2"


def one(stack: Stack, number: int) -> dict[str, Any]:
    """One bad release. `seconds`: from the first request that the bad version got to the last."""
    lab, out = stack.lab, stack.directory / f"requests-{number}.jsonl"
    # Another token each time, or the same bad version would be refused.
    stack.configure(applications=podinfo(BAD, lab.prometheus_url, retry=f"run-{number}"))
    target = f"route={lab.envoy_url}/,host=podinfo.example.com"
    with load.running(lab.command(), out, [target], rate=RATE):
        result = stack.up()
    records = load.read(out)
    met = [record.t for record in records if record.version == BAD]
    failed = [record for record in records if record.failed]
    return {
        "bench": "revert",
        "run": number,
        "reverted": result.code != 0,
        "requests": len(records),
        "canary_requests": len(met),
        "failed_requests": len(failed),
        "failed_not_by_canary": sum(record.version != BAD for record in failed),
        "seconds": round(max(met) - min(met), 2) if met else 0.0,
        "update_seconds": round(result.seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.revert", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    lab = cluster.up("bench")
    try:
        with tempfile.TemporaryDirectory() as folder:
            stack = Stack(lab, "bench", Path(folder))
            stack.configure(applications=podinfo(GOOD, lab.prometheus_url))
            first = stack.up()
            if first.code != 0:
                raise SystemExit(first.output)
            runs = []
            for number in range(1, arguments.runs + 1):
                runs.append(one(stack, number))
                print(json.dumps(runs[-1]), flush=True)
        medians = {key: statistics.median(run[key] for run in runs) for key in ("failed_requests", "seconds")}
        worst = max(run["failed_requests"] for run in runs)
        print(json.dumps({"bench": "revert", "runs": len(runs), "medians": medians, "failed_requests_worst": worst}))
    finally:
        cluster.down("bench")


if __name__ == "__main__":
    main()
