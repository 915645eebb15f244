"""What happens in a simulated release, from the options that ask for it to a scenario.

Lives here: what is refused of it, as it could never happen or no gate looks at it. Not here: the policy that meets it
(`simulate.py`), or the simulation (`simulate/`).
"""

from __future__ import annotations

import re
from math import isfinite
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from pulumi_rollout.core.plan import Plan, lasting
from pulumi_rollout.core.written import Duration
from pulumi_rollout.errors import InvalidInput
from pulumi_rollout.simulate.scenario import Bursts, Change, Course, Scenario, Scrapes
from pulumi_rollout.simulate.walk import channels


class World(NamedTuple):
    """What happens, as it is asked for. Shares are of all requests, 0.02 for 2 %.

    + rate: requests a second of all users
    + error, slow: of the bad version; it has them `error_after` its first request, or from a weight on
    + bursts: "2s/5m": all requests fail for 2 s, every 5 minutes on average
    """

    rate: float
    error: float
    error_after: str
    stable_error: float
    slow: float
    stable_slow: float
    bursts: str
    scrape_seconds: float
    runs: int
    seed: int

    @property
    def bad(self) -> str:
        """What is wrong with the bad version, in words; empty where it is as good as the old one."""
        ratios = {"bad": (self.error, self.stable_error), "slow": (self.slow, self.stable_slow)}
        return " and ".join(f"{100 * new:g} % {what}" for what, (new, old) in ratios.items() if new > old)


def scenario(plan: Plan, world: World) -> Scenario:
    """What happens in a release of the bad version. Raises InvalidInput."""
    _check(world)
    late = [name for name in channels(plan) if name.startswith("slower")]
    if not late and (world.slow or world.stable_slow):
        name = "--slow" if world.slow else "--stable-slow"
        raise InvalidInput([(name, "no gate of the policy looks at latency, so no request is slow for it")])
    after = world.error_after
    slow = _course(plan, world.slow, world.stable_slow, after), Course(world.stable_slow)
    return Scenario(
        rate=world.rate,
        canary=_course(plan, world.error, world.stable_error, after),
        stable=Course(world.stable_error),
        gates={**dict.fromkeys(late, slow), "hangs": (Course(0.0), Course(0.0))},
        bursts=_bursts(world.bursts) if world.bursts else None,
        scrapes=Scrapes(every_seconds=world.scrape_seconds),
    )


def _check(world: World) -> None:
    if not (world.rate > 0 and isfinite(world.rate)):
        raise InvalidInput([("--rate", f"must be more than 0 requests a second, not {world.rate:g}")])
    if world.runs < 1:
        raise InvalidInput([("--runs", f"must be at least 1, not {world.runs}")])
    if world.scrape_seconds <= 0:
        raise InvalidInput([("--scrape", "must be longer than nothing")])
    for name in ("error", "stable_error", "slow", "stable_slow"):
        if not 0 <= (ratio := getattr(world, name)) <= 1:
            raise InvalidInput([(f"--{name.replace('_', '-')}", f"is a share from 0 to 1, as in 0.02, not {ratio:g}")])


def _course(plan: Plan, ratio: float, before: float, after: str) -> Course:
    """From when on the bad version is bad: at once, some time after its first request, or at a weight."""
    if not after:
        return Course(ratio)
    if match := re.fullmatch(r"(\d+) ?%", after):
        if int(match[1]) > 100:
            raise InvalidInput([("--error-after", f"never happens, as no weight is above 100 %, not {after!r}")])
        return Course(before, (Change(ratio, weight_percent=int(match[1])),))
    seconds, deadline = _duration("--error-after", after), plan.limits.rollout_seconds
    if seconds >= deadline:
        reason = f"never happens, as the rollout ends after {lasting(deadline)} (deadline), not {after!r}"
        raise InvalidInput([("--error-after", reason)])
    return Course(before, (Change(ratio, seconds=seconds, weight_percent=1),))


def _bursts(text: str) -> Bursts:
    length, _, every = text.partition("/")
    seconds = _duration("--bursts", length), _duration("--bursts", every)
    if min(seconds) <= 0:
        raise InvalidInput([("--bursts", f"lasts some time and comes now and then, as in 2s/5m, not {text!r}")])
    return Bursts(seconds=seconds[0], every_seconds=seconds[1])


def _duration(option: str, text: str) -> float:
    try:
        value: float = TypeAdapter(Duration).validate_python(text)
    except ValidationError as error:
        raise InvalidInput([(option, error.errors()[0]["msg"].removeprefix("Value error, "))]) from None
    return value
