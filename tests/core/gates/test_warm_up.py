"""The warm-up: a cold version is judged by a higher limit, and its requests count for nothing else."""

from __future__ import annotations

from math import inf

import pytest

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.gates.failing import WARM_UP_FACTORS
from pulumi_rollout.core.measures import Latency, Objective, Query, SuccessRate
from pulumi_rollout.core.moves import Capacity, Dwell, Weight
from pulumi_rollout.core.state import Phase, SetWeight
from tests.core import by_hand
from tests.core.by_hand import reading
from tests.core.gates.looks import BEGIN, RATE, Watched, plan

SLOW = RATE.model_copy(update={"id": "latency", "metric": Latency(bound_seconds=0.5)})
OWN = RATE.model_copy(update={"id": "own", "metric": Query(title="own", bad="b", total="t")})


def warming(gate: Objective = RATE, until: float = inf) -> Watched:
    return Watched(plan(gate, warm_up=60), warm_until=until)


@pytest.mark.parametrize("gate", [RATE, SLOW, OWN], ids=lambda gate: gate.metric.name)
def test_below_the_higher_limit_it_does_not_fail(gate: Objective) -> None:
    """However long that lasts. At once when it is warm: the same share is then too much."""
    factor = WARM_UP_FACTORS[gate.metric.name]
    watched = warming(gate, until=BEGIN + 60)
    for _ in range(60):
        share = round(10 * factor)
        assert watched.look(1, (1000, share), (9000, 9)).verdict is Verdict.UNDECIDED
    assert (watched.evidence.canary.total, watched.evidence.canary.warm_total) == (0, 60_000)
    watched.look(0.1, warm_until=BEGIN)
    assert watched.look(1, (1000, 30 + share), (9000, 9)).verdict is Verdict.FAIL


@pytest.mark.parametrize("gate", [RATE, SLOW, OWN], ids=lambda gate: gate.metric.name)
def test_above_the_higher_limit_it_fails_at_once(gate: Objective) -> None:
    watched = warming(gate, until=BEGIN + 60)
    share = round(30 * WARM_UP_FACTORS[gate.metric.name])
    assert watched.look(1, (1000, share), (9000, 9)).verdict is Verdict.FAIL
    limit = WARM_UP_FACTORS[gate.metric.name]
    assert f", limit {limit:g} % while it warms up), E = " in watched.explained()
    assert watched.explained().endswith("; stable 0.10 % of 9,000")


def test_the_factors_are_those_of_every_metric() -> None:
    metrics = (SuccessRate(), Latency(bound_seconds=1), Query(title="own", bad="b", total="t"))
    assert set(WARM_UP_FACTORS) == {metric.name for metric in metrics}
    assert WARM_UP_FACTORS["latency"] > WARM_UP_FACTORS["success_rate"], "a cold version is slow rather than wrong"


def test_an_objective_that_the_higher_limit_would_leave_nothing_of() -> None:
    """A limit of 100 % or more fails nothing; what comes after the warm-up does."""
    watched = warming(SLOW.model_copy(update={"max_bad_ratio": 0.2}))
    assert watched.look(1, (1000, 1000), (9000, 9)).verdict is Verdict.UNDECIDED
    watched.look(0.1, warm_until=BEGIN)
    assert watched.look(1, (100, 100), (9000, 9)).verdict is Verdict.FAIL


def test_its_requests_count_neither_for_passing_nor_for_the_step() -> None:
    watched = warming()
    assert watched.look(1, (100_000, 0)).verdict is Verdict.UNDECIDED
    assert (watched.judgement.step_total, watched.judgement.log_e_pass) == (0, 0.0)
    assert gates.counts(RATE, watched.evidence) == (
        "0 of 0 canary requests failed, 0 of 100,000 in the warm-up; stable 0 of 0"
    )
    watched.look(0.1, warm_until=BEGIN)
    assert watched.look(1, (449, 0)).verdict is Verdict.PASS
    assert watched.judgement.step_total == 449


def test_what_was_bad_in_the_warm_up_is_not_held_against_a_warm_version() -> None:
    watched = warming()
    watched.look(1, (10_000, 190))
    watched.look(0.1, warm_until=BEGIN)
    assert watched.look(1, (1000, 2)).verdict is Verdict.PASS


def test_what_breaks_late_is_found_in_the_warm_up_of_its_step() -> None:
    """However many good requests the warm-ups of earlier steps had; the verdict is about those of this one."""
    watched = warming()
    watched.look(1, (50_000, 20))
    watched.begins_step()
    while watched.judgement.verdict is not Verdict.FAIL:
        watched.look(1, (100, 20))
    bad, total = watched.evidence.canary.warm_bad - 20, watched.evidence.canary.warm_total - 50_000
    assert total <= 300
    assert watched.explained().startswith(
        f"success rate: {bad} of the last {total} canary requests failed (20.00 %, limit 2 % while it warms up), E = "
    )


# In a walk

WARM = by_hand.LIMITS.model_copy(update={"warm_up_seconds": 60.0, "warm_up_step_seconds": 15.0, "min_samples": 50})


class WarmWalk(by_hand.Walk):
    """A walk with the default warm-up. + total, bad: the canary's requests, which the test says"""

    def __init__(self, *weights: int, **changes: float) -> None:
        limits = WARM.model_copy(update=changes)
        made = by_hand.plan(*weights, gated=True, limits=limits)
        made = made.model_copy(update={"gates": (*made.gates, SLOW)})
        steps = tuple(step.model_copy(update={"max_wait_seconds": 200}) for step in made.steps)
        super().__init__(made.model_copy(update={"steps": steps}), readings=self.both(0))
        self.total = self.bad = 0

    def serves(self, seconds: float, total: int, bad: int = 0) -> WarmWalk:
        self.total, self.bad = self.total + total, self.bad + bad
        self.look(seconds, readings=self.both(self.total - self.bad, self.bad))
        return self

    @staticmethod
    def both(good: float, bad: float = 0) -> dict[str, Reading]:
        """All requests are quick."""
        return {**reading(good, bad), SLOW.id: reading(good + bad)[RATE.id]}

    @property
    def counted(self) -> tuple[int, int]:
        return self.counted_by(RATE)

    def counted_by(self, gate: Objective) -> tuple[int, int]:
        canary = self.state.evidence[gate.id].canary
        return canary.total, canary.warm_total


def test_it_begins_with_the_canarys_first_request() -> None:
    """Not with the walk, nor with its weight: pods that nobody asks do not warm up."""
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0)).look(20)
    begins = [walk.state.warm_until]
    walk.serves(1, 10)
    assert [*begins, walk.state.warm_until] == [None, walk.seen.now + 60]
    assert walk.counted == (0, 10)
    walk.serves(59, 10).serves(2, 10).serves(1, 10)
    assert walk.counted == (10, 30), "all of what was counted over its end belongs to it"


def test_a_step_does_not_end_by_requests_of_the_warm_up() -> None:
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(10, 5000)
    assert walk.waiting == "gate success_rate waits: 0 of 50 requests seen at this step behind the warm-up"
    assert walk.state.phase is Phase.SHIFTING


@pytest.mark.parametrize("rise", ["weight", "pods"])
def test_for_latency_it_begins_anew_with_each_rise_but_shorter(rise: str) -> None:
    """What is cold is slow rather than wrong, so an error counts at once."""
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(59, 10).serves(2, 10).serves(1, 100)
    if rise == "weight":
        walk.until(Weight(50))
    else:
        walk.look(1, canary_replicas=5, canary_ready=5)
    assert walk.state.slow_until == walk.seen.now + 15
    of_errors, of_latency = walk.counted, walk.counted_by(SLOW)
    walk.serves(1, 50)
    assert walk.counted == (of_errors[0] + 50, of_errors[1])
    assert walk.counted_by(SLOW) == (of_latency[0], of_latency[1] + 50)


def test_a_weight_that_is_set_by_hand_may_be_a_rise_too() -> None:
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(59, 10).serves(2, 10).serves(1, 100)
    until = walk.state.slow_until
    walk.ask("set-weight", weight_percent=5)
    assert walk.state.slow_until == until
    walk.ask("set-weight", weight_percent=40)
    assert walk.state.slow_until == walk.seen.now + 15


def test_fewer_pods_are_no_rise() -> None:
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0))
    walk.serves(1, 1)
    walk.look(1, canary_ready=1)
    assert walk.state.slow_until == 0
    walk.look(1, canary_ready=2)
    assert walk.state.slow_until == walk.seen.now + 15
    walk.serves(20, 50)
    assert walk.counted_by(SLOW) == (0, 51), "what begins shorter does not end the longer one"


def test_a_rise_before_the_first_request_begins_nothing() -> None:
    walk = WarmWalk(20, 50, min_samples=0)
    walk.until(Dwell(0))
    walk.until(Dwell(1))
    assert (walk.state.warm_until, walk.state.slow_until) == (None, 0)


def test_a_version_that_is_broken_is_found_while_it_is_cold() -> None:
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(1, 100, bad=40)
    assert (walk.state.phase, walk.state.judged, walk.did) == (Phase.REVERTING, True, [SetWeight(percent=0)])
    assert "40 of 101 canary requests failed (39.60 %, limit 2 % while it warms up)" in (walk.state.reason or "")


def test_without_a_warm_up_no_request_is_of_one() -> None:
    """Also where the numbers are older than the look, as a scraper's are."""
    walk = WarmWalk(20, 50, warm_up_seconds=0, warm_up_step_seconds=0)
    old = Reading(canary=by_hand.sample(0, at=0.0), stable=Sample(at=0.0))
    walk.look(readings={RATE.id: old, SLOW.id: old})
    walk.until(Dwell(0))
    for number in range(1, 4):
        at = walk.seen.now - 0.5 + number
        canary = by_hand.sample(100.0 * number, at=at)
        new = Reading(canary=canary, stable=Sample(at=at))
        walk.look(1, readings={RATE.id: new, SLOW.id: new})
    assert walk.counted == walk.counted_by(SLOW) == (300, 0)


def test_without_one_after_rises_no_number_is_of_one() -> None:
    """However old the numbers are when the weight rises."""
    walk = WarmWalk(20, 50, warm_up_step_seconds=0)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(59, 10).serves(2, 10).serves(1, 100)
    walk.until(Weight(50))
    assert walk.state.slow_until == 0


def test_pods_warm_up_whoever_watches() -> None:
    """A process that takes the walk up later finds them warm, and what was counted meanwhile is of warm ones."""
    walk = WarmWalk(20, 50)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(59, 10).serves(2, 10).serves(1, 100)
    assert walk.counted == (100, 21)
    walk.taken_up(3600)
    walk.serves(1, 5000)
    assert walk.counted == (5100, 21)


def test_the_last_rise_is_one_too() -> None:
    walk = WarmWalk(50)
    walk.until(Dwell(0))
    walk.serves(1, 1).serves(59, 10).serves(2, 10).serves(1, 100)
    walk.serves(20, 100).until(Capacity(100)).until(Weight(100))
    assert walk.state.slow_until == walk.seen.now + 15
