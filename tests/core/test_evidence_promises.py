"""What the gates promise, tried: how often a good version is aborted, and how soon a bad one is found.

Exactly where that can be computed, else by simulation, with seeds and a stated confidence.
"""

from __future__ import annotations

import random
from collections import defaultdict
from functools import cache
from math import comb, log
from statistics import median
from typing import Literal

import pytest

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Look, Reading, Sample
from pulumi_rollout.core.evidence import log_e_fail, log_e_pass, log_mixture
from pulumi_rollout.core.gates import Verdict, failing, objective
from pulumi_rollout.core.measures import Latency, Metric, Objective, Source, SuccessRate, warms_up_after_rises
from pulumi_rollout.core.plan import Limits, Plan, Step

# The default warm-up, in seconds: after the first request, and for latency after each rise.
WARM_UP, WARM_UP_STEP = 60.0, 15.0
ERRORS, SLOW = SuccessRate(), Latency(bound_seconds=0.5)


def plan(
    max_bad_ratio: float,
    alpha: float,
    failures: Literal["auto", "independent"] = "independent",
    warm_up: tuple[float, float] = (0.0, 0.0),
    metric: Metric = ERRORS,
) -> Plan:
    gate = Objective(id=metric.name, metric=metric, max_bad_ratio=max_bad_ratio, source="s")
    return Plan(
        steps=(Step(weight_percent=50, interval_seconds=5, max_wait_seconds=60),),
        gates=(gate,),
        sources={"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
        alpha=alpha,
        failures=failures,
        limits=Limits(warm_up_seconds=warm_up[0], warm_up_step_seconds=warm_up[1]),
    )


def chance_to_fail(p: float, p0: float, alpha: float, second_start: int, requests: int) -> float:
    """The exact chance that a version with this ratio of bad requests ever fails a gate that looks after every
    request, with a second test that begins at `second_start`: by the chances of all (bad before it, bad)."""
    e_fail = cache(lambda total, bad: log_e_fail(total, bad, p0))
    alive, failed = {(0, 0): 1.0}, 0.0
    for total in range(1, requests + 1):
        following: defaultdict[tuple[int, int], float] = defaultdict(float)
        for (before, bad), chance in alive.items():
            following[before, bad] += chance * (1 - p)
            following[before + (total <= second_start), bad + 1] += chance * p
        alive = {}
        for (before, bad), chance in following.items():
            tests = [(0, e_fail(total, bad))]
            if total > second_start:
                tests.append((1, e_fail(total - second_start, bad - before)))
            if log_mixture(tests, len(tests)) >= log(1 / alpha):
                failed += chance
            elif chance > 1e-14:
                alive[before, bad] = chance
    return failed


@pytest.mark.parametrize(("p", "at_least"), [(0.1, 0.005), (0.08, 0.0001)])
def test_alpha_is_kept_exactly(p: float, at_least: float) -> None:
    """At the objective itself, the worst case that is still good, and below it."""
    chance = chance_to_fail(p, p0=0.1, alpha=0.05, second_start=60, requests=150)
    print(f"p = {p}: fails with a chance of {chance:.4f}")
    assert at_least < chance <= 0.05


def chance_to_pass(p: float, p0: float, beta: float, requests: int) -> float:
    """The same for passing."""
    alive, passed = {0: 1.0}, 0.0
    for total in range(1, requests + 1):
        following: defaultdict[int, float] = defaultdict(float)
        for bad, chance in alive.items():
            following[bad] += chance * (1 - p)
            following[bad + 1] += chance * p
        done = {bad for bad in following if log_e_pass(total, bad, p0) >= log(1 / beta)}
        passed += sum(following[bad] for bad in done)
        alive = {bad: chance for bad, chance in following.items() if bad not in done}
    return passed


def test_beta_is_kept_exactly() -> None:
    chance = chance_to_pass(0.1, p0=0.1, beta=0.05, requests=300)
    print(f"passes at its limit with a chance of {chance:.4f}")
    assert 0.01 < chance <= 0.05


def bad_among(rng: random.Random, requests: int, p: float) -> int:
    """A binomial number, by the gaps between the bad ones."""
    at, bad = -1, 0
    while True:
        at += 1 + int(log(1 - rng.random()) / log(1 - p))
        if at >= requests:
            return bad
        bad += 1


class Walk:
    """A canary whose counters are counted and judged as in a walk, with a stable version that is well."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan, self.rng, self.now = plan, random.Random(seed), 1000.0
        self.good = self.bad = self.of_stable = 0
        self.gate = plan.gates[0]
        self.evidence = gates.fresh(self.gate)
        self.warm_until = self.now + plan.limits.warm_up_seconds
        self.goes_on(0, 0, 0.5)

    def goes_on(self, seconds: float, requests: int, p: float) -> Verdict:
        """So many requests, in so much time, of which each is bad with chance p; then a look."""
        bad = bad_among(self.rng, requests, p)
        self.now, self.good, self.bad = self.now + seconds, self.good + requests - bad, self.bad + bad
        self.of_stable += requests
        series = {"code=200": (float(self.good), False), "code=503": (float(self.bad), True)}
        stable = Sample(series={"stable": (float(self.of_stable), False)}, at=self.now)
        reading = Reading(canary=Sample(series=series, at=self.now), stable=stable)
        warm_until = self.warm_until if self.plan.limits.warms_up else 0.0
        look = Look(now=self.now, weight_percent=50, warm_until=warm_until)
        self.evidence = gates.look_at(self.plan, self.gate, self.evidence, reading, look)
        return self.evidence.judgement.verdict

    def begins_step(self) -> None:
        if warms_up_after_rises(self.gate):
            self.warm_until = max(self.warm_until, self.now + self.plan.limits.warm_up_step_seconds)
        self.evidence = gates.begin_step(self.gate, self.evidence)


def ever_fails(seed: int, p: float, alpha: float, limit: float, warm_p: float | None = None) -> bool:
    """A walk of three steps of ten minutes, looked at every 20 s, with 10 requests each time. + warm_p: chance of a
    slow request in the warm-up, of two minutes and one minute"""
    if warm_p is None:
        walk = Walk(plan(max_bad_ratio=limit, alpha=alpha), seed)
    else:
        walk = Walk(plan(max_bad_ratio=limit, alpha=alpha, warm_up=(120.0, 60.0), metric=SLOW), seed)
    for _ in range(3):
        walk.begins_step()
        for _ in range(30):
            chance = p if warm_p is None or walk.now >= walk.warm_until else warm_p
            if walk.goes_on(20, 10, chance) is Verdict.FAIL:
                return True
    return False


@pytest.mark.parametrize(
    ("limit", "warm_p"), [(0.1, None), (0.05, 0.5)], ids=["without a warm-up", "at the higher limit in the warm-up"]
)
def test_alpha_is_kept_over_a_whole_walk(monkeypatch: pytest.MonkeyPatch, limit: float, warm_p: float | None) -> None:
    """Tests that begin with each step and every five minutes, at the objective exactly, and at the higher limit
    exactly while it warms up: were the true share of false aborts more than alpha, so few of them would be seen with a
    chance of less than 1 %."""
    remembered = cache(log_e_fail)
    monkeypatch.setattr(failing.log_failing, "__kwdefaults__", {"log_e": remembered})
    monkeypatch.setattr(objective, "log_e_pass", lambda total, bad, p0: 0.0)
    alpha, runs = 0.2, 120
    failed = sum(ever_fails(seed, limit, alpha, limit, warm_p) for seed in range(runs))
    chance_of_so_few = sum(comb(runs, k) * alpha**k * (1 - alpha) ** (runs - k) for k in range(failed + 1))
    print(f"{failed} of {runs} walks failed; at most {alpha:.0%} do, with a confidence of {1 - chance_of_so_few:.4%}")
    assert chance_of_so_few < 0.01
    assert failed > 0, "a gate that never fails tells nothing"


def seconds_to_find(seed: int, step_seconds: int) -> float:
    """How long 5 % errors last that begin with the last of five steps, which has half of 100 requests a second;
    before, 0.1 % were bad, and 1 % may be."""
    default = (WARM_UP, WARM_UP_STEP)
    walk = Walk(plan(max_bad_ratio=0.01, alpha=0.005, failures="auto", warm_up=default), seed)
    for weight in (0.1, 0.2, 0.3, 0.4):
        walk.begins_step()
        for _ in range(step_seconds // 30):
            assert walk.goes_on(30, round(30 * 100 * weight), 0.001) is not Verdict.FAIL
    walk.begins_step()
    seconds = 1.0
    while walk.goes_on(1, 50, 0.05) is not Verdict.FAIL:
        seconds += 1
    return seconds


def test_late_breakage_is_found_in_seconds() -> None:
    """With the default warm-up, which a last step has none of."""
    long_past = [seconds_to_find(seed, 600) for seed in range(60)]
    short_past = [seconds_to_find(seed, 30) for seed in range(60)]
    print(f"median {median(long_past)} s, longest {max(long_past)} s; after a short past {median(short_past)} s")
    assert median(long_past) <= 10
    assert max(long_past) <= 30
    assert median(long_past) <= 1.25 * median(short_past), "a long healthy past delays it"


def test_without_later_starts_it_takes_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the starts are for."""
    monkeypatch.setattr(Walk, "begins_step", lambda walk: None)
    assert median(seconds_to_find(seed, 600) for seed in range(5)) > 60


def test_a_version_that_is_bad_from_the_begin_is_caught() -> None:
    assert all(ever_fails(seed, p=0.2, alpha=0.05, limit=0.1) for seed in range(20))
