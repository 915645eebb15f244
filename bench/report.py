"""docs/benchmarks.md from the lines of the last whole runs of `python -m bench.gates` and `python -m bench.revert`.

Pure but for reading them. Not here: the picture (`picture.py`), or what must come of the lines (`promises.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.promises import broken
from bench.scenarios import BY_NAME, CASES, RATES

Line = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "benchmarks"
PEERS = {"flagger": "Flagger", "argo": "Argo Rollouts"}

INTRODUCTION = """\
# How well it judges

<!-- Written by `python -m docs.generate` from the lines in docs/benchmarks. Do not edit. -->

Whole releases in a simulated world: requests come by chance, proxies count them, a Prometheus scrapes the counters
every 5 s, and the shipped `decide()` judges what it sees. The policy is the default one (steps of 10, 20, 30, 40 and
50 %, 30 s each at least, 10 minutes at most, at most 1 % of requests bad), but for what a scenario is about. The lines
behind this page are in [benchmarks/gates.jsonl](benchmarks/gates.jsonl); `python -m bench.gates --out FILE` makes them
anew, and `rollout simulate` does the same for a policy of your own.

**Rates** are the new version's requests a second at the first weight, a tenth of all. **Put back**: of good releases,
the share that was aborted, a false alarm. **Missed**: of bad releases, the share that was promoted. **After**: the
median time from the new version's first bad request until its traffic was back on the old one; *never* where most were
missed. Each share of ours is of 400 releases at least where a false alarm is claimed at alpha 0.05, 200 at 0.1. The
eight scenarios that say most are run at six rates and at alpha 0.05, most of the others at three rates and at alpha
0.1, which bounds how long a whole run takes.

**Peers** are models of Flagger 1.44 and Argo Rollouts 1.9 in the same world, each at the setting that somebody would
choose who knew all this beforehand: at each rate, of a grid of about 150 settings (intervals, thresholds, windows,
pauses), the quickest with 5 % bad requests among those that put back at most 5 % of fine versions and miss at most 5 %
of such bad ones; where there is none, the one that is wrong the least. They are given ready pods, routes and answers
without delay, and series that were there before. The model of Flagger reproduces figures of the real one in the lab: a
version with 30 % errors at 100 requests a second cost 57 failed requests at interval 10s and threshold 1 (60 by the
model), and 1,122 at 1m and 5 (1,080).
"""


def page(lines: Sequence[Line] | None = None) -> str:
    """docs/benchmarks.md."""
    known = kept() if lines is None else lines
    ours = [line for line in known if line["bench"] == "gates" and line["method"] == "ours"]
    parts = [
        INTRODUCTION,
        "![Time to take the traffic back, and false alarms, by rate](benchmarks.svg)\n",
        _promises(known),
        _good(known, ours),
        _bad(known, ours),
        _settings(known),
        _cost(known),
        _revert(known),
    ]
    return "\n".join(parts)


def kept() -> list[Line]:
    """The lines of the last whole runs."""
    files = (FOLDER / "gates.jsonl", FOLDER / "revert.jsonl")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


PROMISES = """\
## Promises

At 99 % confidence: at most alpha of good releases are put back; under `required`, at most beta (5 %) of bad ones are
promoted where that can be decided at all; there at most a fifth stays undecided; and nowhere are there more false
alarms *and* a later way back than with a peer at its best. It *can be decided* where the new version gets at least
twice the requests that one test of fixed size needs for the same chances of error and a power of 80 %.
"""


def _promises(lines: Sequence[Line]) -> str:
    found = broken(lines)
    if not found:
        return f"{PROMISES}\nAll of them are kept.\n"
    return "\n".join([PROMISES, "Not kept, or not shown to be:\n", *(f"- {sentence}" for sentence in found), ""])


def _good(lines: Sequence[Line], ours: Sequence[Line]) -> str:
    """False alarms, ours and theirs."""
    rows = []
    for case in CASES:
        if not case.good:
            continue
        for mode in ("sufficient", "required"):
            found = {line["rate"]: line for line in _of(ours, case.name, mode) if line["alpha"] >= 0.05}
            if found:
                alpha = next(iter(found.values()))["alpha"]
                rows.append([case.name, f"ours, {mode}, {alpha:g}", *(_put_back(found.get(rate)) for rate in RATES)])
        for peer, title in PEERS.items():
            found = {line["rate"]: line for line in _of_peer(lines, peer, case.name)}
            rows.append(["", title, *(_put_back(found.get(rate)) for rate in RATES)])
    default = [line for line in ours if line["good"] and line["alpha"] < 0.05]
    shown = [
        f"At the default alpha of 0.005, {line['scenario']} at {line['rate']:g} requests a second: "
        f"{line['false_abort']:.3%} of {line['runs']:,} were put back."
        for line in default
    ]
    heading = "## Good versions: put back\n\nIn brackets: left undecided. Ours: evidence and alpha.\n"
    return "\n".join([heading, _table(["scenario", "who", *map(_rate, RATES)], rows), *shown, ""])


def _bad(lines: Sequence[Line], ours: Sequence[Line]) -> str:
    """Time and misses, ours and theirs."""
    rows = []
    for case in CASES:
        if case.good:
            continue
        keys = sorted({(line["alpha"], line["mode"]) for line in ours if line["scenario"] == case.name})
        for alpha, mode in keys:
            found = {line["rate"]: line for line in _of(ours, case.name, mode) if line["alpha"] == alpha}
            rows.append([case.name, f"ours, {mode}, {alpha:g}", *(_found(found.get(rate)) for rate in RATES)])
        for peer, title in PEERS.items() if not case.direct else ():
            found = {line["rate"]: line for line in _of_peer(lines, peer, case.name)}
            rows.append(["", title, *(_found(found.get(rate)) for rate in RATES)])
    heading = "## Bad versions: after how long, and missed\n\nA cell in italics cannot be decided (see above).\n"
    return "\n".join([heading, _table(["scenario", "who", *map(_rate, RATES)], rows)])


def _settings(lines: Sequence[Line]) -> str:
    """What the peers' best settings are."""
    rows = []
    for compares in (False, True):
        for peer, title in PEERS.items():
            for rate in RATES:
                found = [
                    line["setting"]
                    for line in lines
                    if line["bench"] == "gates" and line["method"] == peer and line["rate"] == rate
                    if BY_NAME[line["scenario"]].compares == compares
                ]
                if found:
                    rows.append([title, _rate(rate), found[0]])
    return "\n".join(["## The best settings of peers\n", _table(["peer", "rate", "setting"], rows)])


def _cost(lines: Sequence[Line]) -> str:
    rows = [
        [line["scenario"], str(line["gates"]), f"{line['gates_milliseconds']:g}", f"{line['decide_milliseconds']:g}"]
        for line in lines
        if line["bench"] == "cost"
    ]
    heading = "## What a look costs\n\nMilliseconds of CPU at the last of five steps, with new numbers for all gates.\n"
    return "\n".join([heading, _table(["scenario", "gates", "all gates", "the whole decision"], rows)])


def _revert(lines: Sequence[Line]) -> str:
    """What it costs in the lab, from the summary that the runs end with."""
    heading = (
        "## What a bad release costs, in the lab\n\n"
        "A version with 30 % errors at 100 requests a second, by the README's settings and all defaults, in a real "
        "cluster:\nrequests that failed at the load generator, until the bad version got no more "
        "(`python -m bench.revert`).\n"
    )
    rows = [
        [
            str(line["runs"]),
            f"{line['medians']['failed_requests']:g}",
            str(line["failed_requests_p95"]),
            str(line["failed_requests_worst"]),
            f"{line['medians']['seconds_to_decide']:g} s",
            f"{line['medians']['seconds_to_take_effect']:g} s",
        ]
        for line in lines
        if line["bench"] == "revert" and "medians" in line
    ]
    titles = ["runs", "failed, median", "95 %", "most", "decided after, median", "took effect after, median"]
    return "\n".join([heading, _table(titles, rows)])


def _of(ours: Sequence[Line], scenario: str, mode: str) -> list[Line]:
    return [line for line in ours if (line["scenario"], line["mode"]) == (scenario, mode)]


def _of_peer(lines: Sequence[Line], peer: str, scenario: str) -> list[Line]:
    gates = [line for line in lines if line["bench"] == "gates"]
    return [line for line in gates if (line["method"], line["scenario"]) == (peer, scenario)]


def _put_back(line: Line | None) -> str:
    if line is None:
        return ""
    undecided = f" ({line['undecided']:.0%})" if line["undecided"] else ""
    percent = 100 * line["false_abort"]
    return f"{percent:{'.0f' if percent >= 10 else '.2g'}} %{undecided}"


def _found(line: Line | None) -> str:
    if line is None:
        return ""
    seconds = line["seconds_median"]
    after = "never" if seconds is None else f"{seconds:.{0 if seconds >= 10 else 1}f} s"
    missed = f", {line['missed']:.0%} missed" if line["missed"] else ""
    words = f"{after}{missed}"
    return f"*{words}*" if line["decidable"] is False else words


def _rate(rate: float) -> str:
    return f"{rate:g}/s"


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(headings)} |"]
    lines.append("|" + "---|" * lines[0].count(" | ") + "---|")
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])
