"""A failure that both versions share: held for a time, not believed; what is worse all the same; what comes after."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.gates import Verdict, objective, outage
from pulumi_rollout.core.moves import Dwell, Weight
from pulumi_rollout.core.state import Phase, SetWeight
from tests.core import by_hand
from tests.core.by_hand import WATCHED, Walk, reading, sample
from tests.core.gates.looks import RATE, Watched, plan

OUTAGE_SECONDS = 300
HELD = "the old version fails the same test, so the new one is not blamed"


def in_an_outage(stable_bad: int = 27, **changes: Any) -> Watched:
    """Both have had so many bad requests since the begin of a step that both are seen to fail."""
    watched = Watched(plan(**changes))
    watched.begins_step()
    for _ in range(60):
        assert watched.look(1, (10, 0), (90, 0)).verdict is not Verdict.FAIL
    watched.begins_step()
    assert seconds_until(watched, Verdict.HOLD, (10, 3), (90, stable_bad)) <= 5
    return watched


def seconds_until(watched: Watched, verdict: Verdict, canary: tuple[int, int], stable: tuple[int, int]) -> int:
    """How many seconds of these requests it takes until the gate says so, at most an hour."""
    return next(second for second in range(1, 3600) if watched.look(1, canary, stable).verdict is verdict)


def test_it_is_held() -> None:
    watched = in_an_outage()
    assert (watched.judgement.verdict, watched.judgement.reason) == (Verdict.HOLD, HELD)


@pytest.mark.parametrize("weight", [1, 10, 50, 90])
def test_it_fails_nothing_before_its_time(weight: int) -> None:
    """Whoever of the two is seen to fail first."""
    watched = Watched(plan())
    watched.begins_step()
    watched.look(60, (60 * weight, 0), (60 * (100 - weight), 0))
    canary, stable = (10 * weight, 3 * weight), (10 * (100 - weight), 3 * (100 - weight))
    said = [watched.look(1, canary, stable).verdict for _ in range(OUTAGE_SECONDS)]
    assert Verdict.FAIL not in said
    assert set(said[10:]) == {Verdict.HOLD}


def test_after_its_time_the_walk_goes_back_and_nobody_is_blamed() -> None:
    watched = in_an_outage()
    begun = memory(watched).since
    assert begun is not None
    seconds_until(watched, Verdict.FAIL, (10, 3), (90, 27))
    assert watched.now - begun == OUTAGE_SECONDS + 1
    assert not watched.judgement.judged
    assert watched.explained() == "success rate: the old version has failed the same test for 301 s too (outage)"


def test_how_long_is_a_setting() -> None:
    watched = in_an_outage(limits={"outage_seconds": 20})
    assert seconds_until(watched, Verdict.FAIL, (10, 3), (90, 27)) == 20 + 1


def test_what_is_worse_than_the_old_one_fails_all_the_same() -> None:
    watched = in_an_outage(stable_bad=9)
    assert seconds_until(watched, Verdict.FAIL, (10, 8), (90, 9)) < 60
    assert watched.judgement.judged
    assert " canary requests failed (" in watched.explained()


def test_what_is_worse_than_the_margin_alone_is_not() -> None:
    """30 % beside 27 %: within chance and the margin."""
    watched = in_an_outage()
    for _ in range(200):
        assert watched.look(1, (10, 3), (90, 24)).verdict is Verdict.HOLD


def test_once_the_old_version_is_well_the_new_one_is_judged_anew() -> None:
    """What was counted says nothing any more, for it as little as against it."""
    watched = in_an_outage()
    calm = seconds_until(watched, Verdict.UNDECIDED, (10, 0), (90, 0))
    assert 2 * 10 <= calm <= 3 * 10 + 1
    assert (watched.evidence.canary.total, watched.evidence.stable.total) == (0, 0)
    assert memory(watched) == outage.Outage()
    assert watched.look(1, (448, 0), (4000, 0)).verdict is Verdict.UNDECIDED
    assert watched.look(1, (1, 0), (9, 0)).verdict is Verdict.PASS


def test_a_bad_version_is_still_found_after_an_outage() -> None:
    watched = in_an_outage()
    seconds_until(watched, Verdict.UNDECIDED, (10, 3), (90, 0))
    assert seconds_until(watched, Verdict.FAIL, (10, 3), (90, 0)) <= 5
    assert watched.judgement.judged


def test_a_bad_version_is_found_before_that_by_comparison() -> None:
    """The old one is well again, and it is not: that need not wait until it is judged anew."""
    watched = in_an_outage()
    assert seconds_until(watched, Verdict.FAIL, (100, 30), (90, 0)) < 20


def test_an_outage_that_comes_back_begins_anew() -> None:
    watched = in_an_outage()
    seconds_until(watched, Verdict.UNDECIDED, (10, 0), (90, 0))
    assert seconds_until(watched, Verdict.HOLD, (10, 3), (90, 27)) <= 5
    assert seconds_until(watched, Verdict.FAIL, (10, 3), (90, 27)) == OUTAGE_SECONDS + 1


def test_a_single_calm_block_is_not_the_end() -> None:
    watched = in_an_outage()
    for _ in range(6):
        for second in range(20):
            bad = second >= 10
            judgement = watched.look(1, (10, 3 * bad), (90, 27 * bad))
            assert judgement.verdict is Verdict.HOLD


def test_blocks_without_a_request_are_no_end_either() -> None:
    watched = in_an_outage()
    for _ in range(60):
        assert watched.look(1).verdict is Verdict.HOLD


def test_a_better_version_may_fix_it() -> None:
    """`fix_forward`: it fails the objective, and is shown to be better than what serves now."""
    fixing, holding = in_an_outage(fix_forward=True), in_an_outage()
    assert seconds_until(fixing, Verdict.PASS, (10, 1), (90, 60)) < 30
    for _ in range(60):
        assert holding.look(1, (10, 1), (90, 60)).verdict is Verdict.HOLD


def test_no_version_that_is_not_better_may() -> None:
    watched = in_an_outage(fix_forward=True)
    for _ in range(200):
        assert watched.look(1, (10, 3), (90, 27)).verdict is Verdict.HOLD


def test_a_failure_that_stable_has_too_is_shared_however_late_it_is() -> None:
    """Stable's requests since the same starts are judged by the same test."""
    for stable_bad, verdict in ((360, Verdict.HOLD), (1, Verdict.FAIL)):
        watched = Watched(plan())
        watched.begins_step()
        watched.look(1, (10_000, 0), (90_000, 9))
        watched.begins_step()
        assert watched.look(1, (200, 40), (1800, stable_bad)).verdict is verdict


def memory(watched: Watched) -> outage.Outage:
    assert isinstance(watched.evidence.memory, objective.Memory)
    return watched.evidence.memory.outage


# In a walk


def both_fail(total: float, bad: float) -> dict[str, Reading]:
    return reading(total - bad, bad, stable=sample(total - bad, bad))


def outage_at(move: object, **changes: Any) -> Walk:
    """A walk that both versions' failures meet at this move."""
    limits = WATCHED.model_copy(update={"outage_seconds": 60.0, "propagation_seconds": 60.0, **changes})
    made = by_hand.plan(20, 50, gated=True, limits=limits)
    steps = tuple(step.model_copy(update={"max_wait_seconds": 200}) for step in made.steps)
    walk = Walk(made.model_copy(update={"steps": steps}), readings=both_fail(0, 0))
    walk.until(Dwell(0)).look(1, readings=both_fail(500, 0))
    walk.until(move)
    walk.look(1, readings=both_fail(700, 60))
    assert walk.state.evidence["success_rate"].judgement.reason == HELD
    return walk


def test_a_step_is_held_while_an_outage_lasts_and_then_goes_on() -> None:
    walk = outage_at(Dwell(0))
    walk.look(11)
    assert (walk.state.phase, walk.waiting) == (Phase.SHIFTING, f"gate success_rate holds: {HELD}")
    for total in (800, 900, 1000, 1100):
        walk.look(5.1, readings=both_fail(total, 60))
    walk.look(1, readings=both_fail(1200, 60))
    walk.until(Weight(50))


def test_a_weight_that_is_on_its_way_is_not_raised_in_an_outage() -> None:
    walk = outage_at(Weight(50))
    walk.did.clear()
    assert walk.look(1, weight_percent=20) == ()
    assert walk.waiting == f"gate success_rate holds: {HELD}"
    for _ in range(4):
        walk.look(10)
    assert walk.state.phase is Phase.SHIFTING, "the hold has a deadline of its own, longer than the route's"
    assert SetWeight(percent=50) not in walk.did


def test_the_whole_walk_goes_back_once_it_has_lasted() -> None:
    walk = outage_at(Weight(50))
    for second in range(100):
        walk.look(1, readings=both_fail(700 + 10 * second, 60 + 3 * second))
        if walk.state.phase is Phase.REVERTING:
            break
    assert walk.state.reason == "success rate: the old version has failed the same test for 61 s too (outage)"
    assert not walk.state.judged


def test_the_gates_own_numbers_are_in_the_hold() -> None:
    assert in_an_outage().judgement.log_e_fail >= 5.3, "it does fail; it is only not believed"
    assert RATE.max_bad_ratio == 0.01
