"""Raw counters and what is counted from them: Sample, Reading, Arm.

Pure. Lives here: from a source's numbers to requests since the walk began, by version and by pod, with those of
the warm-up apart. Not here: what the counts say (`gates/`).
"""

from __future__ import annotations

from math import inf
from typing import Any, Literal

from pulumi_rollout.core.model import Frozen


class Sample(Frozen):
    """One version's raw counters as a source reports them, all from one look.

    + series: name of the series -> (counter value, whether it is marked). What is marked depends on the gate: bad
      requests; for `stalled`, where the others have been begun, those that have ended
    + pods: name of the series -> pod of this version that it is about, where that is known
    + at: time of the newest number, unix seconds; None when there is no series
    """

    series: dict[str, tuple[float, bool]] = {}
    pods: dict[str, str] = {}
    at: float | None = None


class Reading(Frozen):
    """What a gate's source answered: both versions' samples, or why there are none.

    + events: for `restarts` and `alerts`: what it is about -> (how often until now, in words)
    + history: stable's requests and bad ones in stretches of at least 10 s before the walk, oldest first, where the
      source remembers them; only in the first reading of a walk
    """

    canary: Sample = Sample()
    stable: Sample = Sample()
    events: dict[str, tuple[float, str]] = {}
    history: tuple[tuple[int, int], ...] = ()
    no_data: str | None = None


class Arm(Frozen):
    """One version's requests since the walk began, or since it is judged anew.

    + total, bad: without those of the warm-up, which are warm_total and warm_bad
    + pods: the same by pod, where the series tell: (total, bad)
    + counters: each series' last raw value, from which resets are seen
    + at: time of the newest number
    """

    total: int = 0
    bad: int = 0
    warm_total: int = 0
    warm_bad: int = 0
    pods: dict[str, tuple[int, int]] = {}
    counters: dict[str, float] = {}
    at: float | None = None
    begun: bool = False

    def emptied(self) -> Arm:
        """The same counters, with nothing counted yet."""
        return Arm(counters=self.counters, at=self.at, begun=self.begun)


# Where the requests of a sample are counted: among all, among those of the warm-up, or nowhere.
Into = Literal["all", "warm", "nowhere"]


def count(arm: Arm, sample: Sample, into: Into = "all") -> Arm:
    """Add what a new sample shows. A series absent at the begin has base 0, one that was there its first value; a
    counter that fell has been reset and counts from 0. A sample older than the last one came late: the last one
    had all of it."""
    if arm.at is not None and sample.at is not None and sample.at < arm.at:
        return arm
    total, bad, pods, counters = 0, 0, dict(arm.pods), dict(arm.counters)
    for name, (value, marked) in sample.series.items():
        last = counters.get(name, value if not arm.begun else 0.0)
        counters[name] = value
        new = round(value - last if value >= last else value)
        total += new
        bad += new * marked
        if new and into != "nowhere" and (pod := sample.pods.get(name)) is not None:
            before = pods.get(pod, (0, 0))
            pods[pod] = (before[0] + new, before[1] + new * marked)
    change: dict[str, Any] = {"counters": counters, "at": sample.at or arm.at, "begun": True}
    if into == "all":
        change |= {"total": arm.total + total, "bad": arm.bad + bad, "pods": pods}
    elif into == "warm":
        change |= {"warm_total": arm.warm_total + total, "warm_bad": arm.warm_bad + bad, "pods": pods}
    return arm.model_copy(update=change)


class Look(Frozen):
    """What a gate has to know of the walk when it looks at its numbers.

    + weight_percent: the canary's share that the route is to have; in_place: it is seen to have it
    + preparing: no traffic yet; promoted: the apex has the new version's pods, so its series count for the canary
    + warm_until: requests up to then are of the warm-up; infinite before the canary's first one
    + watched_at: since when this process has watched: silence before it is nobody's
    """

    now: float
    weight_percent: int = 0
    in_place: bool = True
    preparing: bool = False
    promoted: bool = False
    warm_until: float = 0.0
    watched_at: float = 0.0

    @property
    def weights(self) -> tuple[int, int]:
        """The lowest and the highest weight that the route may have now."""
        return (self.weight_percent, self.weight_percent) if self.in_place else (0, 100)


def fold(canary: Arm, stable: Arm, reading: Reading, look: Look) -> tuple[Arm, Arm]:
    """Both versions' counts after one more reading that has data. Both drop the same seconds: those of the warm-up,
    to which all of a sample belongs if any of it can, and those before the canary's first request. Before it has any
    traffic, what pods answer are probes."""
    warming = any(arm.at is not None and arm.at < look.warm_until for arm in (canary, stable))
    into: Into = "warm" if warming or look.warm_until == inf else "all"
    if not look.promoted:
        beside: Into = "nowhere" if look.warm_until == inf else into
        mine: Into = "nowhere" if look.preparing else into
        return count(canary, reading.canary, mine), count(stable, reading.stable, beside)
    both = Sample(
        series={**reading.stable.series, **reading.canary.series},
        pods={**reading.stable.pods, **reading.canary.pods},
        at=reading.stable.at or reading.canary.at,
    )
    known = canary.model_copy(update={"counters": {**stable.counters, **canary.counters}})
    counted = count(known, both, into)
    # The old version has no requests any more, which is known of this moment too.
    return counted, stable.model_copy(update={"at": counted.at})


def all_of(arm: Arm) -> tuple[int, int]:
    """A version's requests and bad ones, those of the warm-up too."""
    return arm.total + arm.warm_total, arm.bad + arm.warm_bad


def newest(canary: Arm, stable: Arm) -> float | None:
    """The time of the newest number of either version."""
    if canary.at is None or stable.at is None:
        return stable.at if canary.at is None else canary.at
    return max(canary.at, stable.at)
