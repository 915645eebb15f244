"""A version's requests before a walk, in stretches of time: how its failures come.

Lives here: counting of raw samples. Not here: what the stretches say (`core/bursts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import isfinite
from operator import itemgetter
from typing import Literal

STRETCH_SECONDS = 10.0
# A series whose first sample is later than this after the first of all was not there before, and began at 0.
BEGINS_SECONDS = 45.0

Kind = Literal["good", "bad", "within", "among"]
Samples = Sequence[tuple[float, float]]


def stretches(counted: Sequence[tuple[Kind, Samples]]) -> tuple[tuple[int, int], ...]:
    """Requests and bad ones in stretches of at least STRETCH_SECONDS, oldest first.

    Each series counts as `good` or `bad` requests; `within` takes from the bad ones those of a histogram's bound;
    `among` are failures that count as good ones too, as far as they are more than the bad ones.
    """
    kept = [(kind, [one for one in samples if all(map(isfinite, one))]) for kind, samples in counted]
    begin = min((samples[0][0] for _, samples in kept if samples), default=0.0)
    gains = sorted((at, kind, gain) for kind, samples in kept for at, gain in _gains(samples, begin))
    found = []
    opened, sums = begin, _nothing()
    for at, group in groupby(gains, key=itemgetter(0)):
        for _, kind, gain in group:
            sums[kind] += gain
        if at - opened >= STRETCH_SECONDS:
            found.append(_stretch(sums))
            opened, sums = at, _nothing()
    return tuple(found)


def _nothing() -> dict[Kind, float]:
    return {"good": 0.0, "bad": 0.0, "within": 0.0, "among": 0.0}


def _gains(samples: Samples, begin: float) -> list[tuple[float, float]]:
    """What a counter has gained at each of its samples."""
    if not samples:
        return []
    first_at, last = samples[0]
    gains = [(first_at, last)] if first_at - begin > BEGINS_SECONDS else []
    for at, value in samples[1:]:
        gains.append((at, value - last if value >= last else value))
        last = value
    return gains


def _stretch(sums: dict[Kind, float]) -> tuple[int, int]:
    total = round(sums["good"] + sums["bad"])
    bad = round(max(sums["bad"] - sums["within"], sums["among"]))
    return total, max(0, min(total, bad))
