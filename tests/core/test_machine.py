"""Scripted walks, look by look, and the tables behind them.

What holds in every walk is in `test_laws.py`; here is what a reader wants to see happen. What people
ask for is in `test_commands.py` and `test_pauses.py`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.machine import decide, waiting_for
from pulumi_rollout.core.moves import (
    Apex,
    Capacity,
    Drain,
    Dwell,
    Home,
    Leave,
    Move,
    ScaleDown,
    Weight,
    current,
    moves,
    needed_pods,
    step_number,
    way_back,
)
from pulumi_rollout.core.state import (
    FINAL,
    TRANSITIONS,
    Action,
    Phase,
    Pin,
    PointApex,
    Resize,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
    Unpin,
)
from tests.core.by_hand import LIMITS, WATCHED, Walk, plan, reading

P = Phase


# Tables


def test_the_way_forward() -> None:
    assert list(moves(plan(20, 50), first_release=False)) == [
        (P.PREPARING, Capacity(20)),
        (P.PREPARING, Weight(0)),
        (P.SHIFTING, Capacity(20)),
        (P.SHIFTING, Weight(20)),
        (P.SHIFTING, Dwell(0)),
        (P.SHIFTING, Capacity(50)),
        (P.SHIFTING, Weight(50)),
        (P.SHIFTING, Dwell(1)),
        (P.PROMOTING, Capacity(100)),
        (P.PROMOTING, Weight(100)),
        (P.PROMOTING, Apex()),
        (P.PROMOTING, Weight(0)),
        (P.PROMOTING, Leave()),
        (P.PROMOTING, Drain()),
    ]


def test_the_way_back() -> None:
    assert way_back(first_release=False) == [Home(), Leave(), Drain(), ScaleDown()]


def test_a_first_release_has_no_traffic_to_move() -> None:
    assert list(moves(plan(), first_release=True)) == [(P.PREPARING, Capacity(100))]
    assert way_back(first_release=True) == [ScaleDown()]


def test_every_phase_of_the_moves_may_follow_the_one_before() -> None:
    for first_release in (True, False):
        phases = [phase for phase, _ in moves(plan(), first_release=first_release)] + [P.SUCCEEDED]
        assert all(after is before or after in TRANSITIONS[before] for before, after in pairwise(phases))


def test_each_phase_may_turn_back_or_is_final() -> None:
    for phase in (P.PREPARING, P.SHIFTING, P.PROMOTING):
        assert P.REVERTING in TRANSITIONS[phase]
    assert {P.SUCCEEDED, P.FAILED} == FINAL
    assert TRANSITIONS[P.REVERTING] == {P.FAILED}


@pytest.mark.parametrize(
    ("percent", "stable", "pods"),
    [
        (0, 4, 2),
        (1, 4, 2),
        (50, 4, 2),
        (51, 4, 3),
        (100, 4, 4),
        (10, 40, 4),
        (11, 40, 5),
        (100, 1, 1),
        (5, 1, 1),
        (5, 0, 1),
    ],
)
def test_needed_pods(percent: int, stable: int, pods: int) -> None:
    assert needed_pods(percent, stable) == pods


def test_step_numbers() -> None:
    some = plan(10, 20, 30)
    begun = Walk(some).state
    numbers = [
        step_number(some, begun.model_copy(update={"phase": phase, "move": move}))
        for move, (phase, _) in enumerate(moves(some, first_release=False))
    ]
    assert numbers == [None, None, 0, 0, 0, 1, 1, 1, 2, 2, 2, *[None] * 6]


# Whole walks


def test_a_good_walk() -> None:
    walk = Walk(plan(20, 50))
    did: list[Action] = []
    while walk.state.phase not in FINAL:
        did += walk.obeyed()
    once = [action for number, action in enumerate(did) if action not in did[:number] or isinstance(action, SetWeight)]
    assert once == [
        Scale(replicas=2),
        Pin(replicas=4),
        SetWeight(percent=0),
        SetWeight(percent=20),
        SetWeight(percent=50),
        Scale(replicas=4),
        SetWeight(percent=100),
        PointApex(revision="v2"),
        SetWeight(percent=0),
        Restore(),
        Resize(),
        Unpin(),
    ]
    assert (walk.state.phase, walk.state.reason) == (P.SUCCEEDED, None)


def test_a_good_walk_takes_its_intervals_and_settling_times() -> None:
    walk = Walk(plan(20, 50))
    walk.ended()
    intervals, settling, drain = 2 * 10, 7 * 2, 5
    assert intervals + settling + drain <= walk.seen.now <= intervals + settling + drain + 2 * 18


def test_a_bad_version_goes_back_with_the_numbers() -> None:
    walk = Walk(plan(20, 50, gated=True), readings=reading(0))
    walk.until(Dwell(0))
    walk.look(5, readings=reading(70, 30))
    assert walk.state.phase is P.REVERTING
    assert walk.did == [SetWeight(percent=0)]
    reason = walk.state.reason or ""
    assert reason.startswith("success rate: 30 of 100 canary requests failed (30.00 %, limit 1 %), E = 1e")
    assert ">= 200 (alpha 0.005 over 1 gate), 5 s at 20 %, data 0.0 s old; stable 0 % of 0" in reason
    end = walk.ended()
    assert (end.phase, end.reason, end.judged, end.confirmed) == (P.FAILED, reason, True, True)
    assert walk.seen.apex_revision == "v1"
    assert walk.seen.weight_percent is None
    assert walk.seen.canary_replicas == 0


def test_the_way_back_in_order() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(stop="the update was cancelled")
    did = [walk.did[0]]
    while walk.state.phase is P.REVERTING:
        did += walk.obeyed()
    assert did == [SetWeight(percent=0), Restore(), Scale(replicas=0), Unpin()]


def test_a_version_that_breaks_after_the_apex_was_switched_goes_back() -> None:
    """Its requests are then counted in the apex's series."""
    walk = Walk(plan(20, gated=True), readings=reading(0))
    walk.until(Dwell(0)).look(10, readings=reading(500))
    walk.until(Drain())
    apex = Reading(stable=Sample(series={"apex": (40, True)}))
    assert walk.look(1, readings={"success_rate": apex}) == (PointApex(revision="v1"),)
    assert (walk.ended().phase, walk.state.judged) == (P.FAILED, True)


def test_after_the_apex_was_switched_it_goes_back_too() -> None:
    walk = Walk(plan(20))
    assert walk.until(Leave()).look(stop="the update was cancelled") == (PointApex(revision="v1"),)
    assert walk.ended().phase is P.FAILED
    assert walk.seen.apex_revision == "v1"


def test_pods_that_never_get_ready() -> None:
    walk = Walk(plan(20), canary_problem="pod podinfo-v2-x: ImagePullBackOff")
    assert walk.look() == (Scale(replicas=2),)
    walk.look(60, canary_replicas=2)
    assert walk.state.phase is P.PREPARING
    walk.look(0.5)
    assert walk.state.reason == ("0 of 2 pods are ready: pod podinfo-v2-x: ImagePullBackOff, after 60 s (preparing)")
    end = walk.ended()
    assert (end.phase, end.judged) == (P.FAILED, False), "no traffic moved: the revision is not remembered as bad"
    assert SetWeight not in {type(action) for action in walk.did}


def test_a_route_that_the_gateway_refuses() -> None:
    refused = "the Gateway refuses the HTTPRoute: no such listener"
    walk = Walk(plan(20), route_problem=refused)
    walk.until(Weight(0)).until(Home())
    assert walk.state.reason == f"{refused}, after 15 s (propagation)"
    end = walk.ended()
    assert (end.phase, end.confirmed, end.judged) == (P.FAILED, False, False)
    assert end.reason == (
        f"{refused}, after 15 s (propagation); not confirmed: {refused}, so the new version's pods are left running"
    )
    assert walk.seen.canary_replicas == 2, "traffic may still reach them"


def test_a_first_release_only_waits_for_its_pods() -> None:
    walk = Walk(plan(20, gated=True), stable=None)
    assert walk.look() == (Scale(replicas=4),)
    walk.look(1, canary_replicas=4, canary_ready=3)
    assert walk.waiting == "3 of 4 pods are ready"
    assert walk.look(1, canary_ready=4) == (Resize(), Unpin())
    assert walk.state.phase is P.SUCCEEDED


def test_a_first_release_that_never_gets_ready_leaves_no_pods() -> None:
    walk = Walk(plan(20), stable=None)
    walk.look()
    walk.look(61, canary_replicas=4)
    assert (walk.state.phase, walk.did[-1]) == (P.REVERTING, Scale(replicas=0))
    assert walk.look(1, canary_replicas=0) == (Unpin(),)
    assert walk.state.phase is P.FAILED


@pytest.mark.parametrize("move", [Capacity(20), Weight(0), Weight(20), Capacity(100), Apex(), Leave()])
def test_a_cut_at_any_move_repeats_what_is_not_seen_to_be_done(move: object) -> None:
    """Saved and never performed: the next look, of a new process, asks for the same again."""
    walk = Walk(plan(20))
    actions: tuple[Action, ...] = ()
    while not actions or current(walk.plan, walk.state) != move:
        actions = walk.obeyed()
    walk.did.clear()
    walk.state = State.model_validate_json(walk.state.model_dump_json())
    assert walk.look(0.1) == actions
    assert walk.ended().phase is P.SUCCEEDED


# Deadlines and breaches


def test_a_step_without_enough_requests_ends_at_max_wait() -> None:
    walk = Walk(plan(20, gated=True), readings=reading(0))
    walk.until(Dwell(0)).look(30, readings=reading(20))
    assert walk.waiting == "gate success_rate waits: 20 of 50 requests seen at this step"
    walk.look(1)
    assert walk.state.reason == ("gate success_rate waits: 20 of 50 requests seen at this step, after 30 s (maxWait)")
    assert not walk.state.judged, "nothing was shown against the revision: it may be tried again"


def test_required_evidence_holds_a_step_until_the_objective_is_shown() -> None:
    walk = Walk(plan(20, gated=True, evidence="required"), readings=reading(0))
    walk.until(Dwell(0)).look(15, readings=reading(448))
    assert walk.waiting == "gate success_rate is undecided after 448 canary requests"
    walk.look(1, readings=reading(449))
    assert walk.state.phase is P.PROMOTING


def test_required_evidence_that_bursts_keep_from_ever_being_shown_is_said_to_be_so() -> None:
    """No number of requests would do: people should not wait for traffic."""
    walk = Walk(plan(20, gated=True, evidence="required"), readings=reading(0))
    walk.until(Dwell(0))
    known = walk.state.evidence["success_rate"]
    bursty = known.model_copy(update={"memory": known.memory.model_copy(update={"bursty": True})})
    walk.state = walk.state.model_copy(update={"evidence": {"success_rate": bursty}})
    walk.look(15, readings=reading(4480))
    because = "the old version's failures come in bursts, and that those are few cannot be shown: set evidence to "
    assert walk.waiting == f"gate success_rate is undecided after 4,480 canary requests: {because}sufficient"


def test_probes_before_any_traffic_are_no_requests() -> None:
    """Applications count those of the kubelet too: pods that are not ready yet answer them with 503."""
    walk = Walk(plan(20, gated=True, limits=WATCHED.model_copy(update={"warm_up_seconds": 30})), readings=reading(0))
    for probes in range(1, 40):
        walk.look(1, readings=reading(0, 2 * probes))
    assert (walk.state.phase, walk.state.reason) == (P.PREPARING, None)
    assert walk.state.warm_until is None, "the warm-up begins with the first request"
    walk.until(Dwell(0)).look(1, readings=reading(10, 78))
    canary = walk.state.evidence["success_rate"].canary
    assert (canary.warm_total, canary.warm_bad) == (10, 0)


def test_no_data_before_any_traffic_keeps_it_from_moving() -> None:
    silent = {"success_rate": Reading(no_data="http://prometheus:9090 does not answer (Timeout)")}
    walk = Walk(plan(20, gated=True), readings=silent)
    walk.obeyed()
    walk.obeyed()
    waiting = "gate success_rate has no data: http://prometheus:9090 does not answer (Timeout)"
    assert walk.waiting == waiting
    assert walk.look(60) == ()
    assert walk.state.reason == f"{waiting}, after 60 s (preparing)"


def test_the_whole_rollout_has_a_deadline() -> None:
    walk = Walk(plan(20, limits=LIMITS.model_copy(update={"rollout_seconds": 12})))
    walk.until(Dwell(0))
    walk.look(12)
    assert walk.state.reason == "the rollout was not over after 12 s (deadline)"


def test_promotion_is_not_turned_back_by_the_rollouts_deadline() -> None:
    walk = Walk(plan(20, limits=LIMITS.model_copy(update={"rollout_seconds": 25})))
    walk.until(Apex())
    assert walk.ended().phase is P.SUCCEEDED
    assert walk.seen.now > 25


def test_a_canary_without_a_ready_pod_is_a_breach_at_once() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(1, canary_ready=0, canary_problem="pod x: CrashLoopBackOff")
    assert walk.state.reason == "the new version has no ready pod at 20 %: pod x: CrashLoopBackOff"


def test_a_stop_is_not_held_against_the_revision() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(1, stop="the Pulumi CLI is gone")
    assert (walk.state.reason, walk.state.judged) == ("the Pulumi CLI is gone", False)


def test_a_way_back_that_is_never_confirmed_ends_and_leaves_the_pods() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(1, stop="stop", route_problem="the Gateway is silent")
    end = walk.ended()
    assert (end.phase, end.confirmed) == (P.FAILED, False)
    assert end.reason == ("stop; not confirmed: the Gateway is silent, so the new version's pods are left running")
    assert walk.seen.canary_replicas == 2


# Trap 6: capacity before weight


def test_capacity_comes_before_each_weight() -> None:
    walk = Walk(plan(60))
    walk.until(Capacity(60))
    walk.until(Capacity(100)).look(1, stable_replicas=10)
    assert walk.did[-1] == Scale(replicas=10)
    walk.look(1, canary_replicas=10, canary_ready=9)
    assert walk.waiting == "9 of 10 pods are ready"
    assert SetWeight(percent=100) in walk.look(1, canary_ready=10)


def test_stable_that_scales_up_takes_the_canary_with_it() -> None:
    """Autoscaled to 40, stable does not meet a canary of 2."""
    walk = Walk(plan(50))
    walk.until(Dwell(0))
    assert walk.look(1, stable_replicas=40) == (Scale(replicas=20),)


def test_a_repeated_weight_looks_at_the_pods_again() -> None:
    """The write was lost, and meanwhile a pod crashed: the weight waits for it."""
    walk = Walk(plan(75))
    walk.until(Weight(75))
    assert walk.look(1, canary_ready=2) == ()
    assert walk.waiting == "2 of 3 pods are ready"
    assert walk.look(1, canary_ready=3) == (SetWeight(percent=75),)


def test_a_promoted_canary_keeps_the_whole_capacity() -> None:
    """At weight 0 in the route it serves everything through the apex."""
    walk = Walk(plan(20))
    walk.until(Leave())
    assert Scale(replicas=4) in walk.look(0.1, canary_replicas=1)


# Trap 22: backends enter and leave at weight 0


def test_the_canary_enters_at_weight_0_and_stays_for_the_settling_time() -> None:
    walk = Walk(plan(20))
    walk.until(Weight(0))
    for _ in range(3):  # the write does not get through
        assert walk.look(1) == (Pin(replicas=4), SetWeight(percent=0))
    assert walk.look(1, weight_percent=0) == (Pin(replicas=4),)
    walk.look(1.9)
    assert walk.waiting == "settling, 2 of 2 s", "counted from when it was seen, not from the move's begin"
    assert current(walk.plan, walk.state) == Weight(0)
    walk.look(0.2)
    assert current(walk.plan, walk.state) == Capacity(20)


def test_settling_begins_anew_when_the_proxy_loses_the_route() -> None:
    walk = Walk(plan(20))
    walk.until(Weight(20)).look(1, weight_percent=20)
    walk.look(1.5, route_problem="the Gateway has not seen the HTTPRoute's last change yet")
    walk.look(1, route_problem=None)
    walk.look(1)
    assert current(walk.plan, walk.state) == Weight(20)
    walk.look(1)
    assert current(walk.plan, walk.state) == Dwell(0)


def test_the_canary_leaves_at_weight_0() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(stop="stop")
    assert walk.look(1, weight_percent=0) == ()
    assert walk.look(1) == ()
    assert walk.look(1) == (Restore(),)


# What somebody else does meanwhile


def test_a_route_that_was_put_back_is_not_listed_again_at_full_weight() -> None:
    """The proxy has forgotten the canary meanwhile."""
    walk = Walk(plan(20, 50))
    walk.until(Weight(50))
    assert walk.look(1, weight_percent=None) == (SetWeight(percent=0),)
    assert walk.look(1, weight_percent=0, route_problem="not seen yet") == ()
    assert walk.look(1, route_problem=None) == ()
    assert walk.look(1) == (), "the settling time counts from when it is seen there"
    assert walk.look(1) == (SetWeight(percent=50),)


@pytest.mark.parametrize("seen", [None, 0, 7])
def test_a_step_that_lost_its_weight_gets_it_back(seen: int | None) -> None:
    """As it has come to it, by weight 0; and it lasts no shorter for that."""
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(1, weight_percent=seen)
    assert walk.waiting == "the route does not have weight 20 any more"
    assert walk.did == [SetWeight(percent=0 if seen is None else 20)]
    if seen is None:
        assert walk.look(1, weight_percent=0) == ()
        assert walk.look(1) == ()
        assert walk.look(1) == (SetWeight(percent=20),)
    walk.look(1, weight_percent=20)
    walk.look(10)
    assert walk.state.phase is P.PROMOTING


def test_a_step_that_gets_more_weight_loses_it_again() -> None:
    walk = Walk(plan(20))
    assert walk.until(Dwell(0)).look(1, weight_percent=21) == (SetWeight(percent=20),)


def test_a_weight_that_is_not_put_back_ends_the_step_at_its_deadline() -> None:
    """Somebody else is always the last."""
    walk = Walk(plan(20))
    walk.until(Dwell(0))
    for _ in range(31):
        walk.look(1, weight_percent=None)
    assert walk.state.phase is P.REVERTING
    assert walk.state.judged is False


EDITS: dict[str, tuple[Move, dict[str, Any], str]] = {
    "less": (Dwell(0), {"weight_percent": 7}, "it has weight 7 instead of 20"),
    "more": (Dwell(0), {"weight_percent": 100}, "it has weight 100 instead of 20"),
    "nothing": (Dwell(0), {"weight_percent": None}, "it does not list the new version, which had weight 20"),
    "another shape": (
        Dwell(0),
        {"weight_percent": None, "route_problem": "HTTPRoute prod/shop is not there"},
        "it does not list the new version, which had weight 20: HTTPRoute prod/shop is not there",
    ),
    "between two steps": (Capacity(50), {"weight_percent": 7}, "it has weight 7 instead of 20"),
    "before promotion": (Capacity(100), {"weight_percent": 7}, "it has weight 7 instead of 50"),
}


@pytest.mark.parametrize(("move", "changes", "what"), EDITS.values(), ids=EDITS)
def test_whoever_edits_the_route_may_end_the_walk(move: Move, changes: dict[str, Any], what: str) -> None:
    walk = Walk(plan(20, 50, on_edited="abort"))
    walk.until(move).look(0.1, **changes)
    assert (walk.state.phase, walk.state.judged) == (P.REVERTING, False)
    assert walk.state.reason == f"somebody has edited the route: {what}"


@pytest.mark.parametrize("move", [Capacity(20), Weight(0), Weight(20), Weight(50), Weight(100), Apex()])
@pytest.mark.parametrize("seen", [None, 0, 20, 50])
def test_a_weight_that_is_on_its_way_is_nobodys_edit(move: Move, seen: int | None) -> None:
    walk = Walk(plan(20, 50, on_edited="abort"))
    walk.until(move).look(0.1, weight_percent=seen)
    assert walk.state.phase is not P.REVERTING


def test_an_edit_of_a_paused_walk_ends_it_too() -> None:
    walk = Walk(plan(20, 50, on_edited="abort"))
    walk.until(Dwell(0)).ask("pause")
    walk.look(1, weight_percent=35)
    assert walk.state.phase is P.REVERTING


def test_what_people_set_is_no_edit() -> None:
    walk = Walk(plan(20, 50, on_edited="abort"))
    walk.until(Dwell(0)).ask("set-weight", weight_percent=35)
    walk.obeyed()
    walk.look(1)
    walk.ask("resume")
    walk.look(1)
    assert walk.state.phase is not P.REVERTING


def test_more_weight_than_the_step_allows_is_taken_away_at_once() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0))
    assert walk.look(1, weight_percent=80) == (SetWeight(percent=20),)


def test_an_apex_that_somebody_switched_is_put_back_at_once() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0))
    assert walk.look(1, apex_revision="v2") == (PointApex(revision="v1"),)
    walk.look(15)
    assert current(walk.plan, walk.state) == Dwell(0), "and nothing goes on before that is seen"


@pytest.mark.parametrize("move", [Leave(), Drain()])
def test_a_walk_is_not_won_with_the_apex_on_the_old_version(move: object) -> None:
    """The engine deletes the old version next."""
    walk = Walk(plan(20))
    walk.until(move)
    assert PointApex(revision="v2") in walk.look(0.1, apex_revision="v1")
    walk.look(9)
    assert walk.state.phase is P.PROMOTING


@pytest.mark.parametrize("move", [Leave(), Drain(), ScaleDown()])
@pytest.mark.parametrize("late", [{"weight_percent": 30}, {"apex_revision": "v2"}])
def test_a_late_write_on_the_way_back_is_undone_before_the_pods_go(move: object, late: dict[str, Any]) -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(stop="stop")
    walk.until(move)
    walk.did.clear()
    undo = walk.look(0.1, canary_replicas=2, **late)
    expected = [SetWeight(percent=0)] if "weight_percent" in late else [PointApex(revision="v1")]
    assert [action for action in undo if not isinstance(action, Restore)] == expected
    end = walk.ended()
    assert (end.confirmed, walk.seen.weight_percent, walk.seen.apex_revision) == (True, None, "v1")


def test_the_drain_time_counts_from_when_traffic_was_last_seen_to_be_back() -> None:
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(stop="stop")
    walk.until(Drain()).look(4, apex_revision="v2")
    walk.look(1, apex_revision="v1")
    assert walk.look(4.5) == ()
    assert Scale(replicas=0) in walk.look(1)


def test_a_release_of_the_autoscalers_is_part_of_the_end() -> None:
    """The last decision's actions are repeated until they work; an action of a move is not, once it is seen done."""
    walk = Walk(plan(20))
    walk.until(Dwell(0)).look(stop="stop")
    walk.until(ScaleDown())
    assert walk.look(1, canary_replicas=0) == (Unpin(),)
    assert walk.state.phase is P.FAILED


@pytest.mark.parametrize("phase", sorted(FINAL))
def test_the_end_is_the_end(phase: Phase) -> None:
    state = State(walk="v2-0", revision="v2", stable="v1", started_at=0, phase_at=0, move_at=0, phase=phase)
    seen = Seen(now=1e9, weight_percent=50, apex_revision="v2", stop="stop")
    decision = decide(plan(), state, seen)
    assert (decision.state, decision.actions) == (state, ())
    assert waiting_for(plan(), state, seen) == ""
