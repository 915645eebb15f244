"""Many walks: how many ended in which way, how long it took, and how sure that is.

Not here: a single one (`walk.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, exp, inf, lgamma, log

from pulumi_rollout.core.plan import Plan
from pulumi_rollout.simulate.scenario import Scenario
from pulumi_rollout.simulate.walk import End, Outcome, walk

CONFIDENCE = 0.99
_HALVINGS = 50


@dataclass(frozen=True)
class Share:
    """How often something happened, and the bounds of its chance. + low, high: at 99 % confidence, both at once"""

    count: int
    runs: int
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """The share that was seen."""
        return self.count / self.runs


@dataclass(frozen=True)
class Tally:
    """What came of so many releases."""

    outcomes: tuple[Outcome, ...]

    def share(self, *ends: End) -> Share:
        """Of those that ended so."""
        return share(sum(one.end in ends for one in self.outcomes), len(self.outcomes))

    def seconds(self, quantile: float, *, bad: bool) -> float:
        """How long it took at most, in this share of all releases: to promote a good version, or to take the traffic
        from a bad one. Where it came to the opposite it took for ever."""
        well = (End.ABORTED, End.UNDECIDED) if bad else (End.PROMOTED,)
        times = [one.seconds_bad if bad else one.seconds for one in self.outcomes if one.end in well]
        return nearest([*times, *[inf] * (len(self.outcomes) - len(times))], quantile)

    def failed(self, quantile: float) -> float:
        """Requests that the new version answered with an error, at most, in this share of all releases."""
        return nearest([one.failed for one in self.outcomes], quantile)


def simulate(plan: Plan, scenario: Scenario, seeds: Iterable[int]) -> Tally:
    """One release for each seed."""
    return Tally(tuple(walk(plan, scenario, seed) for seed in seeds))


def nearest(values: Iterable[float], quantile: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(quantile * len(ordered)) - 1)]


def share(count: int, runs: int) -> Share:
    """Clopper and Pearson's bounds, Biometrika 26, 1934: too wide rather than too narrow."""
    each = (1 - CONFIDENCE) / 2
    low = 0.0 if count == 0 else 1 - _chance(runs - count, runs, each)
    high = 1.0 if count == runs else _chance(count, runs, each)
    return Share(count, runs, low, high)


def _chance(count: int, runs: int, level: float) -> float:
    """The chance at which at most `count` successes in so many runs happen with probability `level`."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(count, runs, middle) > level else (low, middle)
    return high


def at_most(count: int, runs: int, chance: float) -> float:
    """The probability of at most so many successes, each with this chance."""
    if not 0 < chance < 1:
        return float(chance <= 0)
    good, bad = log(chance), log(1 - chance)
    ways = lgamma(runs + 1)
    return sum(exp(ways - lgamma(k + 1) - lgamma(runs - k + 1) + k * good + (runs - k) * bad) for k in range(count + 1))
