"""Requests as they come, what is bad of them, and the counters in which a proxy and its scraper have them.

Nothing is drawn when somebody looks, only when something happens: so a world is the same however often it is
looked at. Not here: what a policy sees of it (`walk.py`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import inf
from random import Random
from typing import NamedTuple

from pulumi_rollout.simulate.draws import binomial, poisson
from pulumi_rollout.simulate.scenario import Change, Course, Scenario

# The sense in which a failed request is bad; that is counted whether a gate looks at it or not.
ERRORS = "errors"
HISTORY_STRETCH_SECONDS = 10.0
# What the old version's counters have when the walk begins: they are not new.
_OLD_REQUESTS = 100_000


class Scraped(NamedTuple):
    """One backend's counters as a scraper has them.

    + total, bad: the raw counters, bad by channel
    + grown, grown_bad: how much they have grown since the first scrape, as far as that can be known
    """

    at: float
    total: int
    bad: tuple[int, ...]
    grown: int
    grown_bad: tuple[int, ...]


class Backend:
    """What the proxy counts for one of the route's two backends, and what was scraped of it."""

    def __init__(self, channels: int, base: int = 0) -> None:
        self.total, self.bad = base, [0] * channels
        self.scraped: list[Scraped] = []
        self._times: list[float] = []

    def reset(self) -> None:
        """The proxy was restarted."""
        self.total, self.bad = 0, [0] * len(self.bad)

    def scrape(self, at: float) -> None:
        """A scraper takes the counters."""
        if not self.scraped:
            found = Scraped(at, self.total, tuple(self.bad), 0, (0,) * len(self.bad))
        else:
            last = self.scraped[-1]
            fell = self.total < last.total
            grown = last.grown + self.total - (0 if fell else last.total)
            grown_bad = tuple(
                before + now - (0 if fell else was)
                for before, now, was in zip(last.grown_bad, self.bad, last.bad, strict=True)
            )
            found = Scraped(at, self.total, tuple(self.bad), grown, grown_bad)
        self.scraped.append(found)
        self._times.append(at)

    def seen(self, by: float) -> int:
        """How many scrapes there were by then."""
        return bisect_right(self._times, by)

    def window(self, begin: float, end: float) -> tuple[int, tuple[int, ...]] | None:
        """How much the counters grew in a window, between the first and the last scrape in it; None with fewer
        than two, as of Prometheus' rate()."""
        first, behind = bisect_left(self._times, begin), bisect_right(self._times, end)
        if behind - first < 2:
            return None
        one, last = self.scraped[first], self.scraped[behind - 1]
        bad = tuple(now - before for now, before in zip(last.grown_bad, one.grown_bad, strict=True))
        return last.grown - one.grown, bad


class Traffic:
    """All requests of one release. Times are seconds since the walk's begin.

    + channels: in what senses a request can be bad, each on its own; `ERRORS` stands behind them if it is not there
    + history: stable's requests and bad ones by channel in stretches of time before the walk, where remembered
    + failed: requests that the new version answered with an error
    + first_at: when the new version had its first traffic
    + turned_at: when its requests were bad as the scenario has it in the end, in every channel
    """

    def __init__(self, scenario: Scenario, channels: tuple[str, ...], seed: int, *, remember: bool = False) -> None:
        self.scenario, self._rng = scenario, Random(seed)
        self.now = self._served = -scenario.history_seconds if remember else 0.0
        self.share, self.promoted, self.failed = 0, False, 0
        self.first_at: float | None = None
        self.turned_at: float | None = None
        channels = tuple(dict.fromkeys((*channels, ERRORS)))
        self._errors = channels.index(ERRORS)
        self.canary, self.apex = Backend(len(channels)), Backend(len(channels), _OLD_REQUESTS)
        self._courses = [scenario.course(channel) for channel in channels]
        self._reached: dict[int, float] = {0: 0.0}
        self._bursts = [self._burst(self.now), self._burst(self.now)]
        self._renew(self.now)
        self.history = tuple(self._stretch() for _ in range(round(-self.now / HISTORY_STRETCH_SECONDS)))
        self._scrapes = [0.0, scenario.scrapes.stable_offset_seconds]
        self._resets = [*sorted(scenario.resets, reverse=True)]

    def route(self, percent: int, *, promoted: bool = False) -> None:
        """Send so much to the new version's backend; `promoted`: the apex is the new version too."""
        self._serve(self.now)
        self.share, self.promoted = percent, promoted
        new = [weight for weight in range(1, percent + 1) if weight not in self._reached]
        self._reached.update(dict.fromkeys(new, self.now))
        if percent and self.first_at is None:
            self.first_at = self.now
        self._renew(self.now)

    def advance(self, until: float) -> None:
        """Let time pass: requests are served, counters scraped."""
        while (due := min(self._next, *self._scrapes, self._resets[-1] if self._resets else inf)) <= until:
            self._serve(due)
            if self._resets and due == self._resets[-1]:
                self._resets.pop()
                self.canary.reset()
                self.apex.reset()
            if due == self._next:
                self._renew(due)
            for number, backend in enumerate((self.canary, self.apex)):
                if due == self._scrapes[number]:
                    self._scrapes[number] += self.scenario.scrapes.every_seconds
                    if not self.is_silent(due):
                        backend.scrape(due)
        self.now = until

    def settle(self) -> None:
        """Serve what has come until now."""
        self._serve(self.now)

    def since(self, at: float) -> tuple[float, float]:
        """How long before then the new version had its first traffic, and its requests began to be bad as the
        scenario has it in the end; the same, where they never did."""
        first = at if self.first_at is None else self.first_at
        turned = first if self.turned_at is None or self.turned_at > at else self.turned_at
        return at - first, at - turned

    def is_silent(self, at: float) -> bool:
        """Whether the metrics server is away."""
        gap = self.scenario.gap
        return gap is not None and gap.begin_seconds <= at < gap.end_seconds

    def next_sight(self) -> float:
        """When the next scrape will be seen."""
        lag = self.scenario.scrapes.lag_seconds
        pending = [at + lag for at in self._scrapes]
        pending += [one.scraped[-1].at + lag for one in (self.canary, self.apex) if one.scraped]
        return min(at for at in pending if at > self.now)

    def _serve(self, until: float) -> None:
        seconds, self._served = until - self._served, until
        if seconds <= 0:
            return
        to_canary = self.scenario.rate * self.share / 100
        for backend, rate, new in (
            (self.canary, to_canary, True),
            (self.apex, self.scenario.rate - to_canary, self.promoted),
        ):
            if rate <= 0:
                continue
            requests = poisson(self._rng, rate * seconds)
            backend.total += requests
            for channel, ratio in enumerate(self._ratios[not new]):
                bad = binomial(self._rng, requests, ratio)
                backend.bad[channel] += bad
                if new and channel == self._errors:
                    self.failed += bad

    def _stretch(self) -> tuple[int, tuple[int, ...]]:
        """Stable's requests, and bad ones by channel, in one stretch before the walk."""
        total, bad = self.apex.total, tuple(self.apex.bad)
        end = self.now + HISTORY_STRETCH_SECONDS
        while self._next <= end:
            self._serve(self._next)
            self._renew(self._next)
        self._serve(end)
        self.now = end
        return self.apex.total - total, tuple(now - was for now, was in zip(self.apex.bad, bad, strict=True))

    def _burst(self, after: float) -> tuple[float, float]:
        """When the next burst begins and ends."""
        bursts = self.scenario.bursts
        if bursts is None:
            return inf, inf
        begin = after + self._rng.expovariate(1 / bursts.every_seconds)
        return begin, begin + bursts.seconds

    def _renew(self, now: float) -> None:
        """Which shares of requests are bad from now on, and until when that is so."""
        pending = []
        for number, (_, end) in enumerate(self._bursts):
            if end <= now:
                self._bursts[number] = self._burst(now)
        bursts = self.scenario.bursts
        if bursts is not None and bursts.shared:
            self._bursts[1] = self._bursts[0]
        self._ratios: list[list[float]] = []
        for version in (0, 1):
            begin, end = self._bursts[version]
            burst = bursts.ratio if bursts is not None and begin <= now < end else 0.0
            pending += [at for at in (begin, end) if at > now]
            courses = [courses[version] for courses in self._courses]
            self._ratios.append([max(burst, self._ratio(course, now)) for course in courses])
            pending += [at for course in courses for change in course.changes if (at := self._at(change)) > now]
        self._next = min(pending, default=inf)
        if self.turned_at is None and self.share and all(self._is_last(course, now) for course, _ in self._courses):
            self.turned_at = now

    def _ratio(self, course: Course, now: float) -> float:
        ratio = course.ratio
        for change in course.changes:
            if self._at(change) <= now:
                ratio = change.ratio
        return ratio

    def _is_last(self, course: Course, now: float) -> bool:
        return not course.changes or self._at(course.changes[-1]) <= now

    def _at(self, change: Change) -> float:
        """When a change comes; never before its weight is reached."""
        return self._reached.get(change.weight_percent, inf) + change.seconds
