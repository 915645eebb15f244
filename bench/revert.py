"""What a bad release costs: failed requests of its users, and how long until they are safe.

A version that fails 30 % of its requests is released again and again at 100 requests a second, by the README's
settings: the proxies read directly, and every default as it is. Failed requests are counted at the load generator.
`python -m bench.revert [--runs 20] [--out FILE]`
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from lab import cluster, load
from lab.history import History
from lab.stack import Stack, podinfo

RATE = 100
GOOD, BAD = "6.3.1", "6.3.2"
# The README's example, without what the demo's stack file makes quicker.
README = {
    "stepWeight": 10,
    "maxWeight": 50,
    "interval": "30s",
    "gates": [{"successRate": {"minPercent": 99}}, {"latency": {"percentile": 99, "max": "500ms"}}],
}


def application(tag: str, **changes: Any) -> dict[str, Any]:
    """The README's application."""
    found = podinfo(tag, **changes)
    found["podinfo"]["rollout"]["canary"] = README
    return found


def one(stack: Stack, history: History, number: int) -> dict[str, Any]:
    """One bad release.

    + seconds_to_decide: from the first request that the bad version got to the write that takes its weight away
    + seconds_to_take_effect: from there to its last request
    """
    out = stack.directory / f"requests-{number}.jsonl"
    # Another token each time, or the same bad version would be refused.
    stack.configure(applications=application(BAD, retry=f"run-{number}"))
    target = f"route={stack.lab.envoy_url}/,host=podinfo.example.com"
    with load.running(stack.lab.command(), out, [target], rate=RATE):
        result = stack.up()
    records = load.read(out)
    met = [record.t for record in records if record.version == BAD]
    failed = [record for record in records if record.failed]
    zero = [at for at, weight in history.weights("podinfo", min(met, default=0.0)) if weight == 0]
    return {
        "bench": "revert",
        "run": number,
        "reverted": result.code != 0,
        "requests": len(records),
        "canary_requests": len(met),
        "failed_requests": len(failed),
        "failed_not_by_canary": sum(record.version != BAD for record in failed),
        "seconds_to_decide": round(zero[0] - min(met), 2) if met and zero else None,
        "seconds_to_take_effect": round(max(max(met) - zero[0], 0.0), 2) if met and zero else None,
        "update_seconds": round(result.seconds, 1),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, and the 95th percentile of the failed requests."""
    names = ("failed_requests", "seconds_to_decide", "seconds_to_take_effect")
    medians = {name: statistics.median(run[name] for run in runs) for name in names}
    failed = sorted(run["failed_requests"] for run in runs)
    # The smallest number that at least 95 % of the runs do not exceed.
    return {
        "bench": "revert",
        "runs": len(runs),
        "medians": medians,
        "failed_requests_p95": failed[-(-95 * len(failed) // 100) - 1],
        "failed_requests_worst": failed[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.revert", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="a file for the lines; else standard output")
    arguments = parser.parse_args()
    out = arguments.out.open("w") if arguments.out else sys.stdout
    lab = cluster.up("bench")
    try:
        with tempfile.TemporaryDirectory() as folder:
            stack = Stack(lab, "bench", Path(folder))
            history = History(lab)
            stack.configure(applications=application(GOOD))
            first = stack.up()
            if first.code != 0:
                raise SystemExit(first.output)
            runs = []
            for number in range(1, arguments.runs + 1):
                runs.append(one(stack, history, number))
                print(json.dumps(runs[-1]), file=out, flush=True)
        print(json.dumps(summary(runs)), file=out)
    finally:
        cluster.down("bench")


if __name__ == "__main__":
    main()
