"""Models of peers on the same simulated counters as ours: Flagger and Argo Rollouts, each over a grid of settings.

What they do is read from Flagger 1.44 (pkg/controller/scheduler.go, docs/gitbook/usage/how-it-works.md) and Argo
Rollouts 1.9 (analysis/analysis.go, docs/features/analysis.md). They are given the best of cases: pods are ready at
once, routes change at once, queries answer at once, and every series was there before the release. Not here: which
setting is the best, or what is compared (`gates.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from pulumi_rollout.simulate.scenario import Scenario
from pulumi_rollout.simulate.traffic import Traffic
from pulumi_rollout.simulate.walk import End, Outcome

WEIGHTS = (10, 20, 30, 40, 50)
# Argo Rollouts' defaults: errors in a row that are still no end, and how soon after one is measured again.
CONSECUTIVE_ERROR_LIMIT, ERROR_RETRY_SECONDS = 4, 10.0


@dataclass(frozen=True)
class Query:
    """The query that both evaluate: the share of good requests in a window, against a limit.

    + max_ratio: a query of one's own beside it: the new version's share of bad requests is at most so many times
      the old one's
    """

    window_seconds: float = 60.0
    max_bad_ratio: float = 0.01
    max_ratio: float | None = None

    @property
    def words(self) -> str:
        """For a table."""
        ratio = "" if self.max_ratio is None else f", at most {self.max_ratio:g} times the old version"
        return f"window {self.window_seconds:g}s{ratio}"

    def value(self, traffic: Traffic, channel: int) -> bool | Literal["nan"] | None:
        """Whether it holds; None without a result; "nan" when no request came in the window, which is 0/0."""
        found = self._window(traffic, new=True)
        if found is None:
            return None
        total, bad = found
        if total == 0:
            return "nan"
        ratio = bad[channel] / total
        if self.max_ratio is not None and ratio > 0:
            old = self._window(traffic, new=False)
            if old is None or old[0] == 0 or ratio > self.max_ratio * old[1][channel] / old[0]:
                return False
        return ratio <= self.max_bad_ratio

    def _window(self, traffic: Traffic, *, new: bool) -> tuple[int, tuple[int, ...]] | None:
        """The server answers with what it has scraped until now."""
        if traffic.is_silent(traffic.now):
            return None
        backend = traffic.canary if new else traffic.apex
        return backend.window(traffic.now - self.window_seconds, traffic.now)


@dataclass(frozen=True)
class Flagger:
    """An analysis of Flagger's. + interval_seconds, threshold: of `spec.analysis`"""

    interval_seconds: float
    threshold: int
    query: Query = Query()
    weights: tuple[int, ...] = WEIGHTS

    @property
    def words(self) -> str:
        """The setting, for a table."""
        return f"interval {self.interval_seconds:g}s, threshold {self.threshold}, {self.query.words}"

    def release(self, scenario: Scenario, channels: tuple[str, ...], seed: int) -> Outcome:
        """One release. The first tick finds the new revision, the second one gives it the first weight; each later
        one rolls back once `threshold` checks in all have failed, else checks, and goes on if that passes. The
        counter is never set back. All metrics are asked; the first that fails ends the tick, as one failure."""
        traffic = Traffic(scenario, channels, seed)
        traffic.advance(self.interval_seconds)
        step, failed = 0, 0
        traffic.route(self.weights[0])
        while True:
            traffic.advance(traffic.now + self.interval_seconds)
            if failed >= self.threshold:
                return _ended(traffic, End.ABORTED, f"{failed} checks failed")
            if any(self.query.value(traffic, channel) is not True for channel in range(len(channels))):
                failed += 1  # no result, and NaN, are failures like any other
            elif step + 1 == len(self.weights):
                return _ended(traffic, End.PROMOTED)
            else:
                step += 1
                traffic.route(self.weights[step])


@dataclass(frozen=True)
class Argo:
    """Steps of `setWeight` and `pause`, and an analysis of Argo Rollouts'.

    + background: one run that measures while all steps last, or else a step of its own after each pause, which
      measures `count` times
    + interval_seconds, failure_limit: of the metric
    + no_requests: what its condition makes of NaN. It fails with a success condition alone; passes where that says
      `isNaN(result[0]) ||`; is inconclusive with both conditions
    """

    interval_seconds: float
    failure_limit: int
    query: Query = Query()
    pause_seconds: float = 60.0
    background: bool = True
    count: int = 2
    no_requests: Literal["fails", "passes", "inconclusive"] = "passes"
    weights: tuple[int, ...] = WEIGHTS

    @property
    def words(self) -> str:
        """The setting, for a table."""
        where = "in the background" if self.background else f"{self.count} times after each pause"
        return (
            f"pause {self.pause_seconds:g}s, {where}, interval {self.interval_seconds:g}s, failureLimit "
            f"{self.failure_limit}, {self.query.words}"
        )

    def release(self, scenario: Scenario, channels: tuple[str, ...], seed: int) -> Outcome:
        """One release."""
        traffic = Traffic(scenario, channels, seed)
        traffic.advance(0.0)
        analysis = Analysis(self, traffic, len(channels))
        due = 0.0 if self.background else self.pause_seconds
        for weight in self.weights:
            traffic.route(weight)
            ends = traffic.now + self.pause_seconds
            while due < ends if self.background else analysis.measured < self.count:
                traffic.advance(due)
                if (end := analysis.measure()) is not None:
                    return _ended(traffic, end, analysis.words)
                due += analysis.wait_seconds
            if self.background:
                traffic.advance(ends)
            else:
                analysis, due = Analysis(self, traffic, len(channels)), traffic.now + self.pause_seconds
        return _ended(traffic, End.PROMOTED)  # a run that is ended early has succeeded


class Analysis:
    """One analysis run: its measurements, and what follows from their number.

    + measured: completed measurements, without errors
    + wait_seconds: until the next one
    """

    def __init__(self, setting: Argo, traffic: Traffic, metrics: int) -> None:
        self._setting, self._traffic = setting, traffic
        self.failed, self.inconclusive, self.errors = [0] * metrics, [0] * metrics, [0] * metrics
        self.measured, self.wait_seconds = 0, setting.interval_seconds

    def measure(self) -> End | None:
        """Measure every metric; how the release ends by it, or None."""
        for metric in range(len(self.failed)):
            self.count(metric, self._setting.query.value(self._traffic, metric))
        return self.assess()

    def assess(self) -> End | None:
        """What follows from the numbers so far. Of several limits that are passed, errors go before inconclusive
        measurements, and those before failures."""
        is_error = any(self.errors)
        self.measured += not is_error
        self.wait_seconds = ERROR_RETRY_SECONDS if is_error else self._setting.interval_seconds
        if max(self.errors) > CONSECUTIVE_ERROR_LIMIT:
            return End.ABORTED
        if max(self.inconclusive) > 0:
            return End.UNDECIDED  # the rollout pauses for somebody to look
        return End.ABORTED if max(self.failed) > self._setting.failure_limit else None

    @property
    def words(self) -> str:
        """What was measured."""
        return f"{max(self.failed)} failed, {max(self.inconclusive)} inconclusive, {max(self.errors)} errors in a row"

    def count(self, metric: int, value: bool | Literal["nan"] | None) -> None:
        """Take note of one measurement."""
        if value is None:
            self.errors[metric] += 1  # result[0] of an empty vector
            return
        self.errors[metric] = 0
        if value == "nan":
            self.failed[metric] += self._setting.no_requests == "fails"
            self.inconclusive[metric] += self._setting.no_requests == "inconclusive"
        else:
            self.failed[metric] += not value


Peer = Flagger | Argo


def _ended(traffic: Traffic, end: End, reason: str = "") -> Outcome:
    """A release is over: `End.PROMOTED` before the new version gets the rest of the traffic."""
    traffic.settle()
    return Outcome(end, *traffic.since(traffic.now), traffic.failed, reason=reason)


def flagger_grid() -> list[Flagger]:
    """From the quickest setting that it allows to slower ones than its documentation's."""
    return [
        Flagger(interval, threshold, Query(window, max_ratio=ratio))
        for interval, threshold, window, ratio in product(
            (10.0, 15.0, 30.0, 60.0), (1, 2, 3, 5, 10), (30.0, 60.0, 120.0), (None, 2.0)
        )
        if window >= interval
    ]


def argo_grid() -> list[Argo]:
    """In the background and by steps, with pauses as long as our steps and longer."""
    return [
        Argo(interval, limit, Query(window, max_ratio=ratio), pause, background)
        for interval, limit, window, pause, background, ratio in product(
            (10.0, 30.0, 60.0), (0, 1, 3, 5), (60.0, 120.0), (30.0, 60.0), (True, False), (None, 2.0)
        )
    ]


PEERS: dict[str, Callable[[], Sequence[Peer]]] = {"flagger": flagger_grid, "argo": argo_grid}
