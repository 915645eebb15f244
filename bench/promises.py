"""What must come of the benchmark of the gates, read from its lines.

Pure. A chance is at most what was promised where the upper bound at 99 % confidence says so. Not here: how the lines
are made (`gates.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, sqrt
from typing import Any

from bench.scenarios import BY_NAME

Line = dict[str, Any]

MOST_UNDECIDED = 0.2
# Beyond so many standard deviations a difference of two shares is no chance.
CLEARLY = 2.58


def broken(lines: Sequence[Line]) -> list[str]:
    """Each promise that the lines do not bear out, in a sentence; none if all is well."""
    gates = [line for line in lines if line["bench"] == "gates"]
    ours = [line for line in gates if line["method"] == "ours"]
    found = [sentence for line in ours for sentence in (*_false_aborts(line), *_missed(line), *_undecided(line))]
    return found + [sentence for line in ours if not line["good"] for sentence in _outdone(line, gates)]


def _false_aborts(line: Line) -> Iterable[str]:
    if line["good"] and line["bounds_99"][1] > line["alpha"]:
        yield (
            f"{name(line)}: {line['false_abort']:.2%} of {line['runs']} good releases were put back, at most "
            f"{line['bounds_99'][1]:.2%} at 99 % confidence; promised are {line['alpha']:.2%}"
        )


def _missed(line: Line) -> Iterable[str]:
    promised = not line["good"] and line["mode"] == "required" and line["decidable"]
    if promised and line["bounds_99"][1] > line["beta"]:
        yield (
            f"{name(line)}: {line['missed']:.2%} of {line['runs']} bad releases were promoted, at most "
            f"{line['bounds_99'][1]:.2%} at 99 % confidence; promised are {line['beta']:.2%}"
        )


def _undecided(line: Line) -> Iterable[str]:
    if line["decidable"] and line["undecided"] > MOST_UNDECIDED:
        yield f"{name(line)}: {line['undecided']:.0%} were not decided within {line['horizon_seconds']:g} s"


def _outdone(line: Line, gates: Sequence[Line]) -> Iterable[str]:
    """More false aborts of good versions, and later with bad ones, than a peer at its best setting."""
    for peer in {one["method"] for one in gates} - {"ours"}:
        theirs = [one for one in gates if one["method"] == peer and _is_of(one, line["scenario"], line)]
        if not theirs or _seconds(theirs[0]) >= _seconds(line):
            continue
        for twin in BY_NAME[line["scenario"]].twins:
            of_ours = [one for one in gates if _is_twin(one, line, twin)]
            of_theirs = [one for one in gates if one["method"] == peer and _is_of(one, twin, line)]
            if not of_ours or not of_theirs:
                continue
            ours = min(of_ours, key=lambda one: one["alpha"])
            if _clearly_more(ours, of_theirs[0]):
                yield (
                    f"{name(line)}: traffic was back after {line['seconds_median']} s, with {peer} after "
                    f"{theirs[0]['seconds_median']} s, and of {twin} {ours['false_abort']:.2%} were put back, "
                    f"with {peer} {of_theirs[0]['false_abort']:.2%}"
                )


def _is_of(one: Line, scenario: str, line: Line) -> bool:
    return bool((one["scenario"], one["rate"]) == (scenario, line["rate"]))


def _is_twin(one: Line, line: Line, twin: str) -> bool:
    """Ours, of a good version. At a larger alpha there are at least as many false aborts."""
    fits = one["method"] == "ours" and _is_of(one, twin, line) and one["mode"] == line["mode"]
    return bool(fits and one["alpha"] >= line["alpha"])


def _clearly_more(one: Line, other: Line) -> bool:
    ratios = one["false_abort"], other["false_abort"]
    variance = sum(p * (1 - p) / line["runs"] for p, line in zip(ratios, (one, other), strict=True))
    return bool(ratios[0] - ratios[1] > CLEARLY * sqrt(variance))


def _seconds(line: Line) -> float:
    return inf if line["seconds_median"] is None else float(line["seconds_median"])


def name(line: Line) -> str:
    """Which line it is, in words."""
    mode = f", evidence {line['mode']}, alpha {line['alpha']:g}" if line["method"] == "ours" else ""
    return f"{line['scenario']} at {line['rate']:g} requests a second{mode}"
