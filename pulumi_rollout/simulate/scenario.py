"""What happens in a simulated release, as data: traffic, errors over time, bursts, scrapes and their trouble.

Not here: chance (`traffic.py`), or what a policy makes of it (`walk.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Change:
    """From then on, another share of requests is bad.

    + seconds: after the new version first had a weight of `weight_percent`; where that is 0, after the walk's begin
    """

    ratio: float
    seconds: float = 0.0
    weight_percent: int = 0


@dataclass(frozen=True)
class Course:
    """A version's share of bad requests over time. + changes: in the order in which they come"""

    ratio: float
    changes: tuple[Change, ...] = ()

    @property
    def last(self) -> float:
        """What it comes to."""
        return self.changes[-1].ratio if self.changes else self.ratio


@dataclass(frozen=True)
class Bursts:
    """Times in which many requests are bad at once, as when a dependency is away.

    + every_seconds: how often on average; they begin independently of each other
    + seconds: how long each lasts
    + ratio: the share of requests that is bad meanwhile
    + shared: they hit both versions at once, or else each for itself
    """

    every_seconds: float
    seconds: float
    ratio: float = 1.0
    shared: bool = True


@dataclass(frozen=True)
class Scrapes:
    """How numbers come to be seen.

    + every_seconds: between two looks at the proxies' counters
    + lag_seconds: from such a look until the walk sees what it saw
    + stable_offset_seconds: the old version's counters are looked at so much later, as another job does it
    """

    every_seconds: float = 5.0
    lag_seconds: float = 0.5
    stable_offset_seconds: float = 0.0


@dataclass(frozen=True)
class Span:
    """A stretch of time since the walk's begin."""

    begin_seconds: float
    seconds: float

    @property
    def end_seconds(self) -> float:
        """When it is over."""
        return self.begin_seconds + self.seconds


@dataclass(frozen=True)
class Scenario:
    """A release and what happens meanwhile.

    + rate: requests a second of all users, on both versions
    + canary, stable: of what is bad for a gate that `gates` does not name
    + gates: what a gate's metric is called (`walk.channel`) -> (canary's course, stable's course)
    + resets: seconds since the walk's begin at which the proxy begins its counters anew
    + gap: the metrics server neither looks nor answers
    + history_seconds: of stable's past that it remembers
    """

    rate: float
    canary: Course = Course(0.0)
    stable: Course = Course(0.0)
    gates: Mapping[str, tuple[Course, Course]] = field(default_factory=dict)
    bursts: Bursts | None = None
    scrapes: Scrapes = Scrapes()
    resets: tuple[float, ...] = ()
    gap: Span | None = None
    history_seconds: float = 1800.0

    def course(self, channel: str) -> tuple[Course, Course]:
        """The new and the old version's share of what is bad in this sense."""
        return self.gates.get(channel, (self.canary, self.stable))
