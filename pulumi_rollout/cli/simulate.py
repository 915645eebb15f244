"""What a policy would do with a good and with a bad version: `rollout simulate`, from its options to plain values.

Its fields are the JSON that `-o json` prints, so they are public (docs/commands.md). Not here: the simulation
(`simulate/`), what happens in it (`world.py`), or how it looks (`render.py`).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from math import isfinite
from typing import Any, NamedTuple

from pydantic import ValidationError

from pulumi_rollout.cli.world import World, scenario
from pulumi_rollout.core.gates_written import may_be_bad
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan, problems_of
from pulumi_rollout.core.sources_written import Known
from pulumi_rollout.core.strategies import check_times, compile_policy
from pulumi_rollout.errors import InvalidInput, Refused
from pulumi_rollout.simulate.scenario import Scenario
from pulumi_rollout.simulate.tally import CONFIDENCE, Share, Tally, simulate
from pulumi_rollout.simulate.walk import End, channels

# Walks that one process is given at a time.
_BATCH = 10
# Reasons that are told of a version.
_REASONS = 3
# The policy of somebody who leaves all as it is; where its numbers come from is simulated anyway.
_DEFAULT = {"source": {"prometheus": "http://simulated"}, "gates": [{"successRate": {"minPercent": 99}}]}
_KNOWN = Known(
    proxies={"simulated": frozenset({"success_rate"})},
    kinds={"prometheus": frozenset({"simulated"})},
    proxy="simulated",
)


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

    @property
    def options(self) -> list[str]:
        """Those that were given."""
        given = [name.removesuffix("_seconds") for name, value in self._asdict().items() if value is not None]
        return [f"--{name.replace('_', '-')}" for name in given]


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


class Reason(Frozen):
    """Why releases were not promoted. + example: of one of them, with its numbers"""

    end: str
    count: int
    example: str


class Version(Frozen):
    """What came of one version.

    + error: the share of its requests that is bad in the end
    + seconds_median, seconds_p95: until it was promoted if it is good, until its traffic was taken away if it is bad,
      in half and in 95 % of all runs; null where that took for ever
    + reasons: the most frequent ones first, at most three
    """

    name: str
    error: float
    promoted: Chance
    aborted: Chance
    undecided: Chance
    seconds_median: float | None
    seconds_p95: float | None
    failed_requests_median: float
    reasons: list[Reason]

    @property
    def because(self) -> list[str]:
        """Why it was not promoted, in sentences."""
        words = {End.ABORTED: "put back", End.UNDECIDED: "undecided"}
        return [f"{self.name}: {words[End(one.end)]} {one.count:,} times, as in: {one.example}" for one in self.reasons]

    @property
    def cells(self) -> list[str]:
        """A line of a table."""
        times = ["never" if one is None else f"{one:.0f} s" for one in (self.seconds_median, self.seconds_p95)]
        ends = [one.percent for one in (self.promoted, self.aborted, self.undecided)]
        return [self.name, *ends, *times, f"{self.failed_requests_median:,.0f}"]


class Simulation(Frozen):
    """All of it. + false_abort: of the good version; missed: the bad one was promoted; null where there is none

    + policy: whose it is, and what of it was changed
    + unseen: the bad version's failed requests are seen by no gate
    """

    policy: str
    rate: float
    runs: int
    seed: int
    confidence: float = CONFIDENCE
    good: Version
    bad: Version | None
    false_abort: Chance
    missed: Chance | None
    unseen: bool

    @property
    def title(self) -> str:
        """What was done, in a sentence."""
        done = f"{self.runs:,} releases of each version at {self.rate:g} requests a second, seed {self.seed}"
        return f"{done}, with {self.policy}"

    @property
    def reasons(self) -> list[str]:
        """Why versions were not promoted, or why a bad one was, in sentences."""
        found = [line for one in (self.good, self.bad) if one is not None for line in one.because]
        return [*found, "no gate of the policy looks at failed requests"] if self.unseen else found

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


def chosen(plans: dict[str, Plan], app: str | None) -> tuple[str, Plan]:
    """An application, or the only one, and its plan. Raises Refused."""
    if app is None and len(plans) == 1:
        return next(iter(plans.items()))
    if app not in plans:
        what = "the stack has no rollouts with a plan" if not plans else f"there are: {', '.join(sorted(plans))}"
        raise Refused(f"name the application: {what}" if app is None else f"there is no plan of {app}; {what}")
    return app, plans[app]


def named(app: str | None, policy: Policy) -> str:
    """Which policy that is, in words."""
    whose = f"the policy of {app}" if app else "the default policy, as no application was named"
    return f"{whose}, changed by {', '.join(policy.options)}" if policy.options else whose


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
        data["gates"] = _with_limit(data["gates"], policy.min_percent)
    try:
        found = Plan.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, "plan")) from error
    check_times(found)
    return found


def run(plan: Plan, world: World, policy: str) -> Simulation:
    """Many releases of a version that is as good as stable, and of the bad one. + policy: what it is called.
    Raises InvalidInput."""
    happens = scenario(plan, world)
    as_stable = {name: (stable, stable) for name, (_, stable) in happens.gates.items()}
    good = replace(happens, canary=happens.stable, gates=as_stable)
    tallies = _all(plan, [good, happens] if world.bad else [good], world)
    version = _version("as good as stable", world.stable_error, tallies[0], bad=False)
    bad = _version(world.bad, world.error, tallies[1], bad=True) if world.bad else None
    return Simulation(
        policy=policy,
        rate=world.rate,
        runs=world.runs,
        seed=world.seed,
        good=version,
        bad=bad,
        false_abort=version.aborted,
        missed=bad.promoted if bad else None,
        unseen=world.error > world.stable_error and set(channels(plan)) <= set(happens.gates),
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
        reasons=_reasons(tally),
    )


def _reasons(tally: Tally) -> list[Reason]:
    """Those that are alike until their first number are one."""
    others = [one for one in tally.outcomes if one.end is not End.PROMOTED]
    kinds = [(one.end, re.split(r"\d", one.reason)[0]) for one in others]
    examples = dict(zip(reversed(kinds), (one.reason for one in reversed(others)), strict=True))
    most = Counter(kinds).most_common(_REASONS)
    return [Reason(end=kind[0], count=count, example=examples[kind]) for kind, count in most]


def _chance(share: Share) -> Chance:
    return Chance(runs=share.runs, count=share.count, low=share.low, high=share.high)


def _finite(seconds: float) -> float | None:
    return round(seconds, 1) if isfinite(seconds) else None


def _weights(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InvalidInput([("--weights", f"is a list of percentages, as in 10,25,50, not {text!r}")])
    return [int(part) for part in parts]


def _with_limit(gates: list[dict[str, Any]], min_percent: float) -> list[dict[str, Any]]:
    limit = may_be_bad(min_percent, "--min-percent")
    if limit is None or not 0 < limit < 1:
        reason = f"lies between 0 and 100 percent, both excluded, not {min_percent:g}"
        raise InvalidInput([("--min-percent", reason)])
    rates = [gate for gate in gates if gate["test"] == "objective" and gate["metric"]["name"] == "success_rate"]
    if not rates:
        raise InvalidInput([("--min-percent", "the policy has no success rate with a limit that it could change")])
    return [{**gate, "max_bad_ratio": limit} if gate in rates else gate for gate in gates]
