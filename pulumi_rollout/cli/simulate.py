"""What a policy would do with a good and with a bad version: `rollout simulate`, from its options to plain values.

Its fields are the JSON that `-o json` prints, so they are public (docs/commands.md). Not here: the simulation
(`simulate/`), or how it looks (`render.py`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import isfinite
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan, problems_of
from pulumi_rollout.core.sources_written import Known
from pulumi_rollout.core.strategies import check_times, compile_policy
from pulumi_rollout.core.written import Duration
from pulumi_rollout.errors import InvalidInput, Refused
from pulumi_rollout.simulate.scenario import Bursts, Change, Course, Scenario, Scrapes
from pulumi_rollout.simulate.tally import CONFIDENCE, Share, Tally, simulate
from pulumi_rollout.simulate.walk import End, channel

# Walks that one process is given at a time.
_BATCH = 10
# The policy of somebody who leaves all as it is; where its numbers come from is simulated anyway.
_DEFAULT = {"source": {"prometheus": "http://simulated"}, "gates": [{"successRate": {"minPercent": 99}}]}
_KNOWN = Known(
    proxies={"simulated": frozenset({"success_rate"})},
    kinds={"prometheus": frozenset({"simulated"})},
    proxy="simulated",
)


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


class Policy(NamedTuple):
    """What is to be otherwise than in the plan; None for what is not."""

    min_percent: float | None = None
    weights: str | None = None
    interval_seconds: float | None = None
    max_wait_seconds: float | None = None
    min_samples: int | None = None
    alpha: float | None = None
    beta: float | None = None
    evidence: str | None = None
    failures: str | None = None


class Chance(Frozen):
    """How often something came of it. + low, high: bounds of its chance, at 99 % confidence"""

    runs: int
    count: int
    low: float
    high: float

    @property
    def percent(self) -> str:
        """What was seen, in words."""
        return f"{100 * self.count / self.runs:.1f} %"


class Version(Frozen):
    """What came of one version.

    + error: the share of its requests that is bad in the end
    + seconds_median, seconds_p95: until it was promoted if it is good, until its traffic was taken away if it is bad,
      in half and in 95 % of all runs; null where that took for ever
    """

    name: str
    error: float
    promoted: Chance
    aborted: Chance
    undecided: Chance
    seconds_median: float | None
    seconds_p95: float | None
    failed_requests_median: float

    @property
    def cells(self) -> list[str]:
        """A line of a table."""
        times = ["never" if one is None else f"{one:.0f} s" for one in (self.seconds_median, self.seconds_p95)]
        ends = [one.percent for one in (self.promoted, self.aborted, self.undecided)]
        return [self.name, *ends, *times, f"{self.failed_requests_median:,.0f}"]


class Simulation(Frozen):
    """All of it. + false_abort: of the good version; missed: the bad one was promoted; null where there is none"""

    rate: float
    runs: int
    seed: int
    confidence: float = CONFIDENCE
    good: Version
    bad: Version | None
    false_abort: Chance
    missed: Chance | None

    @property
    def title(self) -> str:
        """What was done, in a sentence."""
        return f"{self.runs:,} releases of each version at {self.rate:g} requests a second, seed {self.seed}"

    @property
    def chances(self) -> list[str]:
        """What a policy promises to be rare, in sentences."""
        named = {"false abort": self.false_abort, "missed fault": self.missed}
        return [
            f"{name}: {one.percent}; at 99 % confidence between {100 * one.low:.2f} % and {100 * one.high:.2f} %"
            for name, one in named.items()
            if one is not None
        ]


def default_plan() -> Plan:
    """That of a policy with one gate, at least 99 % successes, in which all else is left as it is."""
    return compile_policy({"canary": _DEFAULT}, _KNOWN)


def chosen(plans: dict[str, Plan], app: str | None) -> Plan:
    """The plan of an application, or of the only one. Raises Refused."""
    if app is None and len(plans) == 1:
        return next(iter(plans.values()))
    if app not in plans:
        what = "the stack has no rollouts with a plan" if not plans else f"there are: {', '.join(sorted(plans))}"
        raise Refused(f"name the application: {what}" if app is None else f"there is no plan of {app}; {what}")
    return plans[app]


def changed(plan: Plan, policy: Policy) -> Plan:
    """The plan with what is to be otherwise. Raises InvalidInput."""
    data = plan.model_dump()
    named = {name: getattr(policy, name) for name in ("alpha", "beta", "evidence", "failures")}
    data |= {name: value for name, value in named.items() if value is not None}
    if policy.weights is not None:
        data["steps"] = [{**data["steps"][0], "weight_percent": weight} for weight in _weights(policy.weights)]
    for name in ("interval_seconds", "max_wait_seconds"):
        if (value := getattr(policy, name)) is not None:
            data["steps"] = [{**step, name: value} for step in data["steps"]]
    if policy.min_samples is not None:
        data["limits"] = {**data["limits"], "min_samples": policy.min_samples}
    if policy.min_percent is not None:
        data["gates"] = [_with_limit(gate, 1 - policy.min_percent / 100) for gate in data["gates"]]
    try:
        found = Plan.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, "plan")) from error
    check_times(found)
    return found


def run(plan: Plan, world: World) -> Simulation:
    """Many releases of a version that is as good as stable, and of the bad one. Raises InvalidInput."""
    happens = scenario(plan, world)
    ends_good = world.error <= world.stable_error and world.slow <= world.stable_slow
    as_stable = {name: (stable, stable) for name, (_, stable) in happens.gates.items()}
    good = replace(happens, canary=happens.stable, gates=as_stable)
    tallies = _all(plan, [good] if ends_good else [good, happens], world)
    version = _version("as good as stable", world.stable_error, tallies[0], bad=False)
    bad = None
    if not ends_good:
        name = f"{100 * world.error:g} % bad" if world.error > world.stable_error else f"{100 * world.slow:g} % slow"
        bad = _version(name, world.error, tallies[1], bad=True)
    return Simulation(
        rate=world.rate,
        runs=world.runs,
        seed=world.seed,
        good=version,
        bad=bad,
        false_abort=version.aborted,
        missed=bad.promoted if bad else None,
    )


def scenario(plan: Plan, world: World) -> Scenario:
    """What happens in a release of the bad version. Raises InvalidInput."""
    if world.rate <= 0:
        raise InvalidInput([("--rate", f"must be more than 0 requests a second, not {world.rate:g}")])
    if world.runs < 1:
        raise InvalidInput([("--runs", f"must be at least 1, not {world.runs}")])
    if world.scrape_seconds <= 0:
        raise InvalidInput([("--scrape", "must be longer than nothing")])
    for name in ("error", "stable_error", "slow", "stable_slow"):
        if not 0 <= (ratio := getattr(world, name)) <= 1:
            raise InvalidInput([(f"--{name.replace('_', '-')}", f"is a share from 0 to 1, as in 0.02, not {ratio:g}")])
    slow = _course(world.slow, world.stable_slow, world.error_after), Course(world.stable_slow)
    late = {name: slow for gate in plan.gates if (name := channel(gate) or "").startswith("slower")}
    return Scenario(
        rate=world.rate,
        canary=_course(world.error, world.stable_error, world.error_after),
        stable=Course(world.stable_error),
        gates={**late, "hangs": (Course(0.0), Course(0.0))},
        bursts=_bursts(world.bursts) if world.bursts else None,
        scrapes=Scrapes(every_seconds=world.scrape_seconds),
    )


def _all(plan: Plan, scenarios: Sequence[Scenario], world: World) -> list[Tally]:
    """Every scenario with every seed, on all processors."""
    seeds = [world.seed * 1_000_003 + number for number in range(world.runs)]
    batches = [seeds[begin : begin + _BATCH] for begin in range(0, len(seeds), _BATCH)]
    with ProcessPoolExecutor(max_workers=min(os.cpu_count() or 1, len(batches))) as pool:
        asked = [[pool.submit(simulate, plan, scenario, batch) for batch in batches] for scenario in scenarios]
        return [Tally(tuple(one for batch in batches for one in batch.result().outcomes)) for batches in asked]


def _version(name: str, error: float, tally: Tally, *, bad: bool) -> Version:
    return Version(
        name=name,
        error=error,
        promoted=_chance(tally.share(End.PROMOTED)),
        aborted=_chance(tally.share(End.ABORTED)),
        undecided=_chance(tally.share(End.UNDECIDED)),
        seconds_median=_finite(tally.seconds(0.5, bad=bad)),
        seconds_p95=_finite(tally.seconds(0.95, bad=bad)),
        failed_requests_median=tally.failed(0.5),
    )


def _chance(share: Share) -> Chance:
    return Chance(runs=share.runs, count=share.count, low=share.low, high=share.high)


def _finite(seconds: float) -> float | None:
    return round(seconds, 1) if isfinite(seconds) else None


def _course(ratio: float, before: float, after: str) -> Course:
    """From when on the bad version is bad: at once, some time after its first request, or at a weight."""
    if not after:
        return Course(ratio)
    if match := re.fullmatch(r"(\d+) ?%", after):
        return Course(before, (Change(ratio, weight_percent=int(match[1])),))
    return Course(before, (Change(ratio, seconds=_duration("--error-after", after), weight_percent=1),))


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


def _weights(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InvalidInput([("--weights", f"is a list of percentages, as in 10,25,50, not {text!r}")])
    return [int(part) for part in parts]


def _with_limit(gate: dict[str, Any], limit: float) -> dict[str, Any]:
    is_success_rate = gate["test"] == "objective" and gate["metric"]["name"] == "success_rate"
    return {**gate, "max_bad_ratio": round(limit, 12)} if is_success_rate else gate
