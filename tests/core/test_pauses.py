"""Time and people: what a paused, held or frozen walk does, and what it goes on with.

Which commands there are, and what they answer, is in `test_commands.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.moves import Capacity, Dwell, Weight, current
from pulumi_rollout.core.plan import Verb
from pulumi_rollout.core.state import Phase, PointApex, Scale, SetWeight, taken_up
from tests.core.by_hand import BY, LIMITS, Walk, plan, reading

P = Phase
DAY = 24 * 3600.0
BAD = reading(70, 30)


def frozen(**changes: Any) -> Walk:
    """A walk whose gate failed at its first step, under `on_failure: freeze`."""
    walk = Walk(plan(20, 50, gated=True, on_failure="freeze", **changes), readings=reading(0))
    walk.until(Dwell(0)).look(5, readings=BAD)
    return walk


def asked(**changes: Any) -> Walk:
    """A walk that waits for somebody after its first step."""
    walk = Walk(plan(20, 50, asks=(20,), **changes))
    walk.until(Dwell(0))
    while walk.state.phase is not P.PAUSED:
        walk.obeyed()
    return walk


# Paused time


def test_the_rest_of_the_dwell_is_done_after_a_pause() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0))
    walk.look(4)
    walk.ask("pause")
    walk.look(DAY)
    walk.ask("resume")
    assert (current(walk.plan, walk.state), walk.waiting) == (Dwell(0), "4 of 10 s")
    walk.look(5.5)
    assert current(walk.plan, walk.state) == Dwell(0)
    walk.look(0.5)
    assert current(walk.plan, walk.state) == Capacity(50)


def test_a_pause_counts_against_no_max_wait() -> None:
    walk = Walk(plan(20, gated=True), readings=reading(0))
    walk.until(Dwell(0)).look(20)
    walk.ask("pause")
    walk.look(DAY)
    walk.ask("resume")
    walk.look(10)
    assert walk.state.phase is P.SHIFTING
    walk.look(1)
    assert (walk.state.reason or "").endswith("after 30 s (maxWait)")


def test_a_pause_counts_against_no_deadline_of_the_rollout() -> None:
    walk = Walk(plan(20, limits=LIMITS.model_copy(update={"rollout_seconds": 12})))
    walk.until(Dwell(0))
    walked = walk.seen.now
    walk.ask("pause")
    walk.look(DAY)
    walk.ask("resume")
    walk.look(11.5 - walked)
    assert walk.state.phase is P.SHIFTING
    walk.look(1)
    assert walk.state.reason == "the rollout was not over after 12 s (deadline)"


@pytest.mark.parametrize(("move", "limit"), [(Capacity(20), 60), (Weight(20), 15)])
def test_a_pause_counts_against_no_deadline_of_a_move(move: object, limit: float) -> None:
    walk = Walk(plan(20), canary_problem="slow")
    walk.until(move)
    walk.ask("pause")
    walk.look(DAY)
    assert walk.state.phase is P.PAUSED
    walk.ask("resume")
    walk.look(limit - 1)
    assert walk.state.phase in (P.PREPARING, P.SHIFTING)
    walk.did.clear()
    walk.look(2)
    assert walk.state.phase is P.REVERTING


def test_two_pauses_are_both_left_out() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0))
    for _ in range(2):
        walk.look(3)
        walk.ask("pause")
        walk.look(DAY)
        walk.ask("resume")
    assert walk.waiting == "6 of 10 s"


def test_what_had_settled_settles_again_after_a_pause() -> None:
    walk = Walk(plan(20))
    walk.until(Weight(20)).look(1, weight_percent=20)
    walk.look(1)
    walk.ask("pause")
    walk.look(DAY)
    walk.ask("resume")
    assert walk.waiting == "settling, 0 of 2 s"


# While it is paused


def test_a_failing_gate_turns_a_paused_walk_back() -> None:
    walk = Walk(plan(20, 50, gated=True), readings=reading(0))
    walk.until(Dwell(0)).ask("pause")
    walk.look(100, readings=BAD)
    assert (walk.state.phase, walk.state.judged, walk.did) == (P.REVERTING, True, [SetWeight(percent=0)])


@pytest.mark.parametrize("change", [{"stop": "the Pulumi CLI is gone"}, {"canary_ready": 0}])
def test_a_stop_and_dead_pods_turn_a_paused_walk_back(change: dict[str, Any]) -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0)).ask("pause")
    walk.look(100, **change)
    assert walk.state.phase is P.REVERTING


def test_what_others_change_is_put_right_while_it_is_paused() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0)).ask("pause")
    changed = {"weight_percent": 80, "apex_revision": "v2", "stable_replicas": 40}
    assert walk.look(1, **changed) == (Scale(replicas=8), PointApex(revision="v1"), SetWeight(percent=20))


def test_a_weight_that_was_on_its_way_arrives_and_no_other_follows() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Weight(50)).ask("pause")
    for _ in range(30):
        walk.obeyed()
    assert (walk.state.phase, walk.seen.weight_percent) == (P.PAUSED, 50)


# Waiting for people, by the plan


def test_nobody_is_asked_while_the_step_is_not_over() -> None:
    walk = Walk(plan(20, 50, asks=(20,)))
    walk.until(Dwell(0))
    walk.look(9.9)
    assert walk.state.phase is P.SHIFTING
    walk.look(0.1)
    assert (walk.state.phase, walk.state.awaiting) == (P.PAUSED, True)
    assert walk.waiting == "waits for promotion at weight 20"


@pytest.mark.parametrize("verb", ["promote", "resume"])
def test_who_was_asked_is_not_asked_again(verb: Verb) -> None:
    walk = asked()
    walk.look(DAY)
    assert walk.state.phase is P.PAUSED
    walk.ask(verb)
    assert (current(walk.plan, walk.state), walk.state.awaiting) == (Capacity(50), False)
    assert walk.ended().phase is P.SUCCEEDED


def test_no_traffic_before_somebody_agreed() -> None:
    walk = Walk(plan(20, wait_before_traffic=True))
    for _ in range(50):
        walk.obeyed()
    assert (walk.state.phase, walk.seen.weight_percent, walk.seen.canary_ready) == (P.PAUSED, 0, 2)
    assert walk.waiting == "waits for promotion at weight 0"
    walk.ask("promote")
    assert walk.ended().phase is P.SUCCEEDED


def test_the_last_step_can_be_one_that_asks() -> None:
    walk = Walk(plan(20, 50, asks=(50,)))
    walk.until(Dwell(1))
    while walk.state.phase is not P.PAUSED:
        walk.obeyed()
    assert walk.ask("promote").text == "goes on to promotion"
    assert current(walk.plan, walk.state) == Capacity(100)


# Held: no process runs it


def test_a_walk_that_waits_without_hold_waits_without_end() -> None:
    walk = asked()
    walk.look(30 * DAY)
    assert (walk.state.phase, walk.state.held) == (P.PAUSED, False)


@pytest.mark.parametrize(("wait_seconds", "held_after"), [(0, 0), (60, 60)])
def test_a_walk_is_held_once_it_has_waited(wait_seconds: float, held_after: float) -> None:
    walk = asked(on_wait="hold", wait_seconds=wait_seconds)
    if held_after:
        walk.look(held_after - 1)
        assert not walk.state.held
        walk.look(1)
    else:
        walk.look()
    assert (walk.state.phase, walk.state.held, walk.state.weight_percent) == (P.PAUSED, True, 20)
    assert walk.waiting == "waits for promotion at weight 20"


@pytest.mark.parametrize(
    "change", [{}, {"stop": "stop"}, {"canary_ready": 0}, {"weight_percent": 90, "apex_revision": "v2"}]
)
def test_a_held_walk_does_nothing(change: dict[str, Any]) -> None:
    """Whoever holds it no longer has the lock."""
    walk = asked(on_wait="hold")
    walk.look()
    before = walk.state
    assert walk.look(DAY, **change) == ()
    assert walk.state == before


def test_a_weight_that_is_being_set_is_seen_before_the_walk_is_held() -> None:
    walk = asked(on_wait="hold", wait_seconds=60)
    walk.look(60 - 1)
    walk.ask("set-weight", weight_percent=5)
    assert SetWeight(percent=5) in walk.look(10)
    assert not walk.state.held
    walk.obeyed()
    assert (walk.state.held, walk.seen.weight_percent) == (True, 5)


def test_traffic_that_strayed_is_put_right_before_the_walk_is_held() -> None:
    walk = asked(on_wait="hold")
    assert walk.look(1, apex_revision="v2") == (PointApex(revision="v1"),)
    assert not walk.state.held
    walk.obeyed()
    assert (walk.state.held, walk.seen.apex_revision) == (True, "v1")


def test_a_walk_that_lost_its_weight_is_still_held() -> None:
    """Somebody restored the route: no weight is given back to it while it is paused."""
    walk = asked(on_wait="hold")
    assert walk.look(1, weight_percent=None) == ()
    assert walk.state.held


def test_a_pause_by_hand_is_held_too() -> None:
    walk = Walk(plan(20, 50, on_wait="hold"))
    walk.until(Dwell(0)).ask("pause")
    assert walk.state.held


# Taken up


@pytest.mark.parametrize("verb", ["promote", "resume"])
def test_a_held_walk_goes_on_a_day_later(verb: Verb) -> None:
    walk = asked(on_wait="hold", wait_seconds=5)
    walk.look(5)
    assert walk.state.held
    walk.taken_up(DAY)
    assert (walk.state.held, walk.state.phase) == (False, P.PAUSED)
    walk.ask(verb)
    assert walk.state.phase is P.SHIFTING
    assert walk.ended().phase is P.SUCCEEDED, "the day counts against no deadline"


def test_a_held_walk_that_nobody_agreed_to_is_held_again() -> None:
    walk = asked(on_wait="hold", wait_seconds=5)
    walk.look(5)
    walk.taken_up(DAY).look(4)
    assert not walk.state.held
    walk.look(1)
    assert walk.state.held


def test_a_held_walk_can_be_aborted_a_day_later() -> None:
    walk = asked(on_wait="hold")
    walk.look()
    walk.taken_up(DAY).ask("abort")
    assert (walk.ended().phase, walk.state.judged) == (P.FAILED, True)


@pytest.mark.parametrize("on_wait", ["wait", "hold"])
def test_all_of_a_pause_is_left_out_of_the_clocks_however_often_it_is_taken_up(on_wait: str) -> None:
    """Watched, held, or killed: 4 s of the dwell had been done."""
    walk = Walk(plan(20, 50, on_wait=on_wait))
    walk.until(Dwell(0))
    walk.look(4)
    walked = walk.seen.now - walk.state.started_at
    walk.ask("pause")
    for _ in range(3):
        walk.look(100)
        walk.taken_up(DAY)
    walk.ask("resume")
    assert walk.waiting == "4 of 10 s"
    assert walk.seen.now - walk.state.started_at == pytest.approx(walked)


def test_a_walk_that_was_killed_in_a_step_leaves_out_the_time_that_nobody_watched() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0)).look(4)
    walk.taken_up(DAY)
    assert walk.waiting == "4 of 10 s"
    assert walk.ended().phase is P.SUCCEEDED


def test_what_is_taken_up_is_as_it_was_but_for_its_clocks() -> None:
    walk = asked(on_wait="hold")
    walk.look()
    state, clocks = walk.state, ("started_at", "phase_at", "move_at", "watched_at", "met_at", "held")
    up = taken_up(state, walk.seen.now, walk.seen.now + DAY)
    assert up.model_copy(update={name: getattr(state, name) for name in clocks}) == state
    assert (up.held, up.met_at, up.phase_at) == (False, None, walk.seen.now + DAY)


# Frozen: a failure that people decide about


def test_a_failing_gate_freezes_at_the_weight() -> None:
    walk = frozen()
    assert (walk.state.phase, walk.state.held, walk.state.frozen, walk.state.weight_percent) == (
        P.PAUSED,
        True,
        True,
        20,
    )
    assert walk.did == []
    assert walk.waiting.startswith("frozen: success rate: 30 of 100 canary requests failed (30.00 %, limit 1 %)")


def test_a_deadline_freezes_at_the_weight() -> None:
    walk = Walk(plan(20, gated=True, on_failure="freeze"), readings=reading(0))
    walk.until(Dwell(0)).look(31)
    reason = "gate success_rate waits: 0 of 50 requests seen at this step, after 30 s (maxWait)"
    assert (walk.state.held, walk.waiting) == (True, f"frozen: {reason}")


def test_nothing_goes_on_without_people() -> None:
    walk = frozen()
    for _ in range(3):
        walk.taken_up(DAY).look()
        walk.look(1)
        assert (walk.state.phase, walk.state.held, walk.did) == (P.PAUSED, True, [])


@pytest.mark.parametrize(("verb", "following"), [("resume", Dwell(0)), ("promote", Capacity(50))])
def test_people_who_go_on_have_it_judged_anew(verb: Verb, following: object) -> None:
    """From the counters as they are then: what it was frozen for has been looked into."""
    walk = frozen().taken_up(DAY)
    walk.ask(verb)
    assert current(walk.plan, walk.state) == following
    evidence = walk.state.evidence["success_rate"]
    assert (evidence.canary.total, evidence.canary.bad, walk.state.frozen) == (0, 0, False)
    assert evidence.judgement.verdict is Verdict.UNDECIDED
    walk.look(1, readings=reading(140, 60))
    assert (walk.state.held, walk.state.evidence["success_rate"].canary.bad) == (True, 30)


def test_a_frozen_walk_can_be_won() -> None:
    walk = frozen().taken_up(DAY)
    walk.ask("resume")
    assert walk.waiting == "gate success_rate waits: 0 of 50 requests seen at this step"
    walk.look(10, readings=reading(200, 30))
    walk.until(Dwell(1)).look(10, readings=reading(300, 30))
    assert walk.ended().phase is P.SUCCEEDED


@pytest.mark.parametrize("verb", ["resume", "promote", "promote-full"])
def test_a_rollout_that_was_frozen_by_its_deadline_has_it_anew(verb: Verb) -> None:
    limits = LIMITS.model_copy(update={"rollout_seconds": 20})
    walk = Walk(plan(20, limits=limits, on_failure="freeze"))
    walk.until(Dwell(0)).look(21, weight_percent=None)
    assert walk.waiting == "frozen: the rollout was not over after 20 s (deadline)"
    walk.taken_up(DAY).ask(verb, weight_percent=20)
    assert walk.state.phase is not P.PAUSED
    walk.look(1, weight_percent=20)
    assert walk.ended().phase is P.SUCCEEDED


@pytest.mark.parametrize("verb", ["abort", "restart"])
def test_a_frozen_walk_that_is_aborted_goes_back(verb: Verb) -> None:
    walk = frozen().taken_up(DAY)
    walk.ask(verb)
    assert (walk.state.phase, walk.did) == (P.REVERTING, [SetWeight(percent=0)])
    assert (walk.ended().phase, walk.state.judged) == (P.FAILED, verb == "abort")


def test_the_weight_of_a_frozen_walk_can_be_lowered() -> None:
    """Its gate still fails, and the walk is held only once the route has the lower weight."""
    walk = frozen().taken_up(DAY)
    assert walk.ask("set-weight", weight_percent=5).accepted
    assert (walk.did, walk.state.held) == ([SetWeight(percent=5)], False)
    walk.obeyed()
    assert (walk.state.held, walk.state.weight_percent, walk.seen.weight_percent) == (True, 5, 5)


def test_the_weight_of_a_frozen_walk_cannot_be_raised() -> None:
    answer = frozen().taken_up(DAY).ask("set-weight", weight_percent=21)
    assert not answer.accepted
    assert answer.text == "it is frozen, so its weight can only be lowered: resume or promote it to go on"


def test_a_weight_that_is_on_its_way_when_the_gate_fails_is_not_raised() -> None:
    walk = Walk(plan(20, 50, gated=True, on_failure="freeze"), readings=reading(0))
    walk.until(Dwell(0)).look(10, readings=reading(60))
    walk.until(Weight(50)).look(0.1, readings=BAD)
    assert (walk.state.held, walk.state.frozen, walk.seen.weight_percent) == (True, True, 20)
    assert walk.did[-1] == SetWeight(percent=50), "asked for before, and not again"
    walk.did.clear()
    walk.taken_up(DAY).look(1)
    assert walk.did == []


def test_traffic_that_strayed_is_put_right_before_a_walk_is_frozen_for_good() -> None:
    walk = Walk(plan(20, 50, gated=True, on_failure="freeze"), readings=reading(0))
    walk.until(Dwell(0)).look(5, readings=BAD, weight_percent=80)
    assert (walk.did, walk.state.frozen, walk.state.held) == ([SetWeight(percent=20)], True, False)
    walk.obeyed()
    assert (walk.state.held, walk.seen.weight_percent) == (True, 20)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"stop": "the update was cancelled", "readings": BAD}, id="stopped"),
        pytest.param({"canary_ready": 0}, id="no ready pod"),
        pytest.param({"canary_ready": 0, "readings": BAD}, id="no ready pod, as a gate notices too"),
    ],
)
def test_what_is_never_frozen(change: dict[str, Any]) -> None:
    walk = Walk(plan(20, 50, gated=True, on_failure="freeze"), readings=reading(0))
    walk.until(Dwell(0)).look(5, **change)
    assert (walk.state.phase, walk.did) == (P.REVERTING, [SetWeight(percent=0)])


@pytest.mark.parametrize("move", [Capacity(100), Weight(100)])
def test_promotion_is_never_frozen(move: object) -> None:
    walk = Walk(plan(20, gated=True, on_failure="freeze"), readings=reading(0))
    walk.until(Dwell(0)).look(10, readings=reading(60))
    walk.until(move).look(1, readings=BAD)
    assert (walk.state.phase, walk.state.judged) == (P.REVERTING, True)


def test_what_is_being_prepared_is_never_frozen() -> None:
    walk = Walk(plan(20, on_failure="freeze"))
    walk.look()
    walk.look(61, canary_replicas=2, canary_ready=1)
    assert walk.state.phase is P.REVERTING


def test_a_pause_is_frozen_too() -> None:
    walk = Walk(plan(20, 50, gated=True, on_failure="freeze"), readings=reading(0))
    walk.until(Dwell(0)).ask("pause")
    walk.look(1, readings=BAD)
    assert (walk.state.phase, walk.state.frozen, walk.state.held) == (P.PAUSED, True, True)
    assert BY not in walk.waiting


def test_a_decision_about_a_held_walk_is_the_state_itself() -> None:
    walk = frozen()
    decision = decide(walk.plan, walk.state, walk.seen)
    assert (decision.state, decision.actions, decision.wait_seconds) == (walk.state, (), 0)
