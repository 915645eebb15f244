"""Every command in every phase: whether it is obeyed, what its giver is told, and what comes of it.

What time does to a paused, held or frozen walk is in `test_pauses.py`.
"""

from __future__ import annotations

from typing import Any, get_args

import pytest

from pulumi_rollout.core.commands import ANSWERS_KEPT, VERBS, obey, refusal
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.moves import Capacity, Dwell, Weight, current
from pulumi_rollout.core.plan import Verb
from pulumi_rollout.core.state import Answer, Command, Phase, SetWeight
from tests.core.by_hand import BY, LIMITS, Walk, plan, reading

P = Phase
STEPS_OVER = "all steps are over and the new version is promoted: only abort and restart are left"
PODS = "its pods and its route are still being prepared"
NOTHING = "the rollout is {phase}: there is nothing left to {verb}"
FIRST = "a first release has no weights and no steps: only abort and restart are possible"
BACK = "all traffic goes back to the old version"
ANEW = f"{BACK}, and the rollout begins anew"
SKIPPED = "all steps that are left are skipped; its gates still judge it"


def at(phase: Phase, **changes: Any) -> Walk:
    """A walk of 20 and 50 % in a phase: of its first step, where it has one."""
    walk = Walk(plan(20, 50, **changes))
    match phase:
        case P.PREPARING:
            walk.look()
        case P.SHIFTING:
            walk.until(Dwell(0))
        case P.PAUSED:
            walk.until(Dwell(0)).ask("pause")
        case P.PROMOTING:
            walk.until(Capacity(100))
        case P.REVERTING:
            walk.until(Dwell(0)).look(stop="stop")
        case P.SUCCEEDED:
            walk.ended()
        case P.FAILED:
            walk.until(Dwell(0)).look(stop="stop")
            walk.ended()
    assert walk.state.phase is phase
    return walk


def command(walk: Walk, verb: Verb, **changes: Any) -> Command:
    """As somebody gives it who looks at the first step."""
    weight = 30 if verb == "set-weight" else None
    step = 0 if walk.state.move >= 2 else None
    written = {"id": 9, "verb": verb, "walk": "v2-0", "step": step, "weight_percent": weight, "by": BY, "at": 0}
    return Command.model_validate({**written, **changes})


# (verb, phase) -> the phase of the next look and what was accepted; or, of a refusal, the reason.
ACCEPTED: dict[tuple[Verb, Phase], tuple[Phase, str]] = {
    ("pause", P.PREPARING): (P.PAUSED, "paused at weight 0"),
    ("pause", P.SHIFTING): (P.PAUSED, "paused at weight 20"),
    ("resume", P.PAUSED): (P.SHIFTING, "resumed"),
    ("promote", P.SHIFTING): (P.SHIFTING, "goes on to the next step"),
    ("promote", P.PAUSED): (P.SHIFTING, "goes on to the next step"),
    ("promote-full", P.PREPARING): (P.PREPARING, SKIPPED),
    ("promote-full", P.SHIFTING): (P.PROMOTING, SKIPPED),
    ("promote-full", P.PAUSED): (P.PROMOTING, SKIPPED),
    ("set-weight", P.SHIFTING): (P.PAUSED, "weight 30, and paused there"),
    ("set-weight", P.PAUSED): (P.PAUSED, "weight 30, and paused there"),
    **{("abort", phase): (P.REVERTING, BACK) for phase in (P.PREPARING, P.SHIFTING, P.PAUSED, P.PROMOTING)},
    **{("restart", phase): (P.REVERTING, ANEW) for phase in (P.PREPARING, P.SHIFTING, P.PAUSED, P.PROMOTING)},
}
REFUSED: dict[tuple[Verb, Phase], str] = {
    ("pause", P.PAUSED): f"it is paused already: paused by {BY}",
    ("resume", P.PREPARING): "it is not paused but preparing",
    ("resume", P.SHIFTING): "it is not paused but shifting",
    ("promote", P.PREPARING): f"{PODS}, and nobody is asked before the first step",
    ("set-weight", P.PREPARING): f"{PODS}: set a weight once it is shifting",
    **{(verb, P.PROMOTING): STEPS_OVER for verb in ("pause", "resume", "promote", "promote-full", "set-weight")},
    **{
        (verb, phase): NOTHING.format(phase=phase, verb=verb)
        for verb in get_args(Verb)
        for phase in (P.REVERTING, P.SUCCEEDED, P.FAILED)
    },
}


def test_the_tables_name_every_verb_in_every_phase() -> None:
    assert {*ACCEPTED, *REFUSED} == {(verb, phase) for verb in get_args(Verb) for phase in Phase}
    assert set(VERBS) == set(get_args(Verb))


@pytest.mark.parametrize(("verb", "phase"), ACCEPTED)
def test_what_is_obeyed(verb: Verb, phase: Phase) -> None:
    walk = at(phase)
    order = command(walk, verb)
    assert refusal(walk.plan, walk.state, order) is None
    following, text = ACCEPTED[verb, phase]
    walk.look(commands=(order,))
    assert walk.state.phase is following
    told = Answer(id=9, verb=verb, by=BY, at=walk.seen.now, accepted=True, text=text)
    assert (walk.state.answers[-1], walk.state.command) == (told, 9)


@pytest.mark.parametrize(("verb", "phase"), REFUSED)
def test_what_is_refused_changes_nothing_but_the_answer(verb: Verb, phase: Phase) -> None:
    walk = at(phase)
    order, now = command(walk, verb), walk.seen.now + 1
    assert refusal(walk.plan, walk.state, order) == REFUSED[verb, phase]
    after = obey(walk.plan, walk.state, [order], now)
    told = Answer(id=9, verb=verb, by=BY, at=now, accepted=False, text=REFUSED[verb, phase])
    assert after == walk.state.model_copy(update={"command": 9, "answers": (*walk.state.answers, told)})


@pytest.mark.parametrize("verb", get_args(Verb))
def test_a_first_release_can_only_be_aborted_or_restarted(verb: Verb) -> None:
    walk = Walk(plan(), stable=None)
    walk.look()
    answer = walk.ask(verb, weight_percent=30)
    if verb in ("abort", "restart"):
        assert (answer.accepted, walk.state.phase) == (True, P.REVERTING)
    else:
        assert (answer.accepted, answer.text, walk.state.phase) == (False, FIRST, P.PREPARING)


@pytest.mark.parametrize("verb", get_args(Verb))
@pytest.mark.parametrize("phase", [P.PREPARING, P.SHIFTING, P.PAUSED, P.PROMOTING])
def test_what_the_policy_forbids(verb: Verb, phase: Phase) -> None:
    walk = at(phase)
    walk.plan = plan(20, 50, forbidden_commands=(verb,))
    before = walk.state
    walk.look(commands=(command(walk, verb),))
    answer = walk.state.answers[-1]
    assert (answer.accepted, answer.text) == (False, f"the rollout's policy forbids {verb} (forbiddenCommands)")
    assert walk.state.model_copy(update={"command": before.command, "answers": before.answers}) == before


@pytest.mark.parametrize("verb", get_args(Verb))
def test_a_command_for_an_earlier_walk(verb: Verb) -> None:
    answer = at(P.PAUSED).ask(verb, walk="v1-0")
    assert answer.text == "it was given to an earlier rollout, and another one is under way: look at it first"
    assert not answer.accepted


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("phase", [P.SHIFTING, P.PAUSED])
def test_a_promotion_of_another_step_than_is_under_way(phase: Phase, step: int | None) -> None:
    walk = at(phase)
    answer = walk.ask("promote", step=step)
    assert (answer.accepted, answer.text) == (False, "it has moved on to another step since you looked: look again")
    assert (walk.state.phase, current(walk.plan, walk.state)) == (phase, Dwell(0))


# Answers


def test_a_command_is_answered_once() -> None:
    walk = at(P.SHIFTING)
    walk.ask("pause")
    walk.ask("resume")
    for _ in range(3):
        walk.look(1)
    assert [(answer.id, answer.verb) for answer in walk.state.answers] == [(1, "pause"), (2, "resume")]
    assert walk.state.phase is P.SHIFTING, "the pause, which is still to be read, is not obeyed again"


def test_several_commands_of_one_look_are_obeyed_in_their_order() -> None:
    walk = at(P.SHIFTING)
    walk.look(commands=(command(walk, "pause", id=3), command(walk, "resume", id=7), command(walk, "resume", id=8)))
    assert [(answer.id, answer.accepted) for answer in walk.state.answers] == [(3, True), (7, True), (8, False)]
    assert walk.state.phase is P.SHIFTING


def test_the_last_answers_are_kept() -> None:
    walk = at(P.SHIFTING)
    for number in range(1, 31):
        walk.ask("pause", id=number)
    assert [answer.id for answer in walk.state.answers] == list(range(11, 31))
    assert len(walk.state.answers) == ANSWERS_KEPT == 20


def test_an_answer_has_the_time_of_the_answer_not_of_the_question() -> None:
    walk = at(P.SHIFTING)
    assert walk.ask("pause", at=-5, by="bob@ci").model_dump() == {
        "id": 1,
        "verb": "pause",
        "by": "bob@ci",
        "at": walk.seen.now,
        "accepted": True,
        "text": "paused at weight 20",
    }


def test_the_end_answers_nobody() -> None:
    """Nobody would read it: the command line says before it sends that nothing is left to do."""
    walk = at(P.SUCCEEDED)
    decision = decide(walk.plan, walk.state, walk.seen.model_copy(update={"commands": (command(walk, "abort"),)}))
    assert (decision.state, decision.actions) == (walk.state, ())


# Pause and resume, in words


@pytest.mark.parametrize(("reason", "words"), [("", f"paused by {BY}"), ("lunch", f"paused by {BY}: lunch")])
def test_a_pause_says_by_whom_and_why(reason: str, words: str) -> None:
    walk = at(P.SHIFTING)
    walk.ask("pause", reason=reason)
    assert (walk.state.pause_reason, walk.waiting) == (words, words)
    walk.ask("resume")
    assert walk.state.pause_reason is None


def test_a_walk_that_is_paused_while_its_pods_start_goes_on_preparing() -> None:
    walk = at(P.PREPARING)
    walk.ask("pause")
    for _ in range(5):
        walk.obeyed()
    assert (walk.state.phase, walk.seen.canary_ready) == (P.PAUSED, 2), "pods are no traffic"
    walk.ask("resume")
    assert walk.state.phase is P.PREPARING
    assert walk.ended().phase is P.SUCCEEDED


# Promote


def test_promote_skips_what_is_left_of_the_step() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0)).ask("promote")
    assert current(walk.plan, walk.state) == Capacity(50)
    assert walk.until(Dwell(1)).ask("promote").text == "goes on to promotion"
    assert walk.state.phase is P.PROMOTING


def test_promote_skips_the_least_number_of_requests_too() -> None:
    walk = Walk(plan(20, gated=True, evidence="required"), readings=reading(0))
    walk.until(Dwell(0)).ask("promote")
    assert walk.state.phase is P.PROMOTING


def test_promote_does_not_skip_the_pods_and_the_route() -> None:
    walk = Walk(plan(20, 50))
    walk.until(Weight(0)).until(Capacity(20)).ask("promote")
    walk.until(Weight(20))
    walk.look(1)
    assert current(walk.plan, walk.state) == Weight(20), "the proxy has it first"
    begun = walk.seen.now
    assert walk.until(Weight(50)).seen.now - begun < 10, "and then there is no dwell"


@pytest.mark.parametrize("verb", ["promote", "promote-full"])
def test_a_failing_gate_still_reverts(verb: Verb) -> None:
    walk = Walk(plan(20, 50, gated=True), readings=reading(0))
    walk.until(Dwell(0)).look(readings=reading(70, 30), commands=(command(walk, verb),))
    assert walk.state.answers[-1].accepted
    assert (walk.state.phase, walk.state.judged) == (P.REVERTING, True)


@pytest.mark.parametrize("verb", ["promote", "promote-full"])
def test_a_failing_gate_reverts_after_it_too(verb: Verb) -> None:
    walk = Walk(plan(20, 50, gated=True), readings=reading(0))
    walk.until(Dwell(0)).ask(verb)
    walk.look(1, readings=reading(70, 30))
    assert (walk.state.phase, walk.state.judged) == (P.REVERTING, True)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("move", [Capacity(20), Weight(0), Weight(20), Dwell(0), Capacity(50)])
def test_promote_full_skips_all_steps_that_are_left(move: object, paused: bool) -> None:
    walk = Walk(plan(20, 50, 60, asks=(60,)))
    walk.until(move)
    if paused:
        walk.ask("pause")
    assert walk.ask("promote-full").accepted
    weights = {walk.state.weight_percent}
    while walk.state.phase is not P.SUCCEEDED:
        walk.obeyed()
        weights.add(walk.state.weight_percent)
        assert walk.state.phase is not P.PAUSED
    assert weights <= {0, 20, 100}


def test_promote_full_asks_nobody_before_traffic_either() -> None:
    walk = Walk(plan(20, 50, asks=(20, 50), wait_before_traffic=True))
    walk.look()
    walk.ask("promote-full")
    assert walk.until(Weight(100)).ended().phase is P.SUCCEEDED


def test_promote_full_still_waits_for_the_pods() -> None:
    walk = Walk(plan(20, 50))
    walk.look()
    walk.ask("promote-full")
    assert walk.until(Capacity(100)).seen.canary_ready == 2
    walk.look(1)
    assert (walk.waiting, walk.state.phase) == ("2 of 4 pods are ready", P.PROMOTING)


def test_promote_full_does_not_need_numbers_before_it_moves_traffic() -> None:
    """The skip of an emergency: the metrics server may be what is down."""
    walk = Walk(plan(20, gated=True))
    walk.look()
    walk.ask("promote-full")
    assert walk.ended().phase is P.SUCCEEDED


# Set-weight


@pytest.mark.parametrize("percent", [0, 5, 20, 50, 51, 100])
def test_a_weight_is_set_with_the_pods_for_it_and_kept(percent: int) -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(0)).ask("set-weight", weight_percent=percent)
    for _ in range(20):
        walk.obeyed()
    assert (walk.state.phase, walk.state.weight_percent, walk.seen.weight_percent) == (P.PAUSED, percent, percent)
    assert walk.seen.canary_ready >= percent * 4 / 100
    assert walk.waiting == f"weight {percent} set by {BY}"
    assert walk.seen.apex_revision == "v1"


@pytest.mark.parametrize("verb", ["resume", "promote"])
@pytest.mark.parametrize(
    ("percent", "goes_on_at", "text"),
    [
        (0, Capacity(20), "the next step"),
        (19, Capacity(20), "the next step"),
        (20, Capacity(50), "the next step"),
        (49, Capacity(50), "the next step"),
        (50, Capacity(100), "promotion"),
        (100, Capacity(100), "promotion"),
    ],
)
def test_after_a_set_weight_it_goes_on_at_the_first_step_above(
    percent: int, goes_on_at: Capacity, text: str, verb: Verb
) -> None:
    walk = Walk(plan(20, 50))
    walk.until(Dwell(1)).ask("set-weight", weight_percent=percent)
    for _ in range(20):
        walk.obeyed()
    answer = walk.ask(verb)
    assert (answer.accepted, answer.text) == (True, "resumed" if verb == "resume" else f"goes on to {text}")
    walk.look()
    assert moved(walk, goes_on_at)
    assert walk.ended().phase is P.SUCCEEDED


def moved(walk: Walk, move: Capacity) -> bool:
    """Whether the walk is at this move, or has just left it for the weight, as its pods were there."""
    return current(walk.plan, walk.state) in (move, Weight(move.percent))


@pytest.mark.parametrize("verb", ["resume", "promote"])
def test_a_step_that_was_taken_back_is_walked_again_with_its_dwell_and_its_question(verb: Verb) -> None:
    walk = Walk(plan(20, 50, asks=(20,)))
    walk.until(Dwell(0))
    while not walk.state.awaiting:
        walk.obeyed()
    walk.ask("promote")
    walk.until(Dwell(1)).ask("set-weight", weight_percent=5)
    walk.obeyed()
    walk.ask(verb)
    walk.until(Dwell(0))
    begun = walk.seen.now
    while not walk.state.awaiting:
        walk.obeyed()
    assert walk.seen.now - begun >= 10
    assert walk.waiting == "waits for promotion at weight 20"


def test_a_weight_that_is_set_takes_back_a_full_promotion() -> None:
    walk = Walk(plan(20, 50))
    both = (command(walk, "promote-full", id=1), command(walk, "set-weight", id=2, weight_percent=5))
    walk.until(Weight(0)).until(Capacity(20)).look(commands=both)
    assert [answer.accepted for answer in walk.state.answers] == [True, True]
    walk.obeyed()
    walk.ask("resume")
    assert walk.until(Dwell(0)).until(Dwell(1)).ended().phase is P.SUCCEEDED


@pytest.mark.parametrize("percent", [-1, 101, None])
def test_a_weight_that_is_none(percent: int | None) -> None:
    answer = at(P.SHIFTING).ask("set-weight", weight_percent=percent)
    assert (answer.accepted, answer.text) == (False, f"weights lie between 0 and 100 percent, not {percent}")


def test_no_weight_is_set_while_a_paused_walk_is_not_in_the_route_yet() -> None:
    walk = at(P.PREPARING)
    walk.ask("pause")
    assert walk.ask("set-weight", weight_percent=5).text == f"{PODS}: set a weight once it is shifting"


def test_the_weight_before_the_first_step_can_be_set_by_hand() -> None:
    """Where somebody is asked before traffic, the canary is listed and ready."""
    walk = Walk(plan(20, 50, wait_before_traffic=True))
    while not walk.state.awaiting:
        walk.obeyed()
    assert walk.ask("set-weight", weight_percent=5).accepted
    assert SetWeight(percent=5) in walk.did
    walk.obeyed()
    walk.ask("resume")
    assert walk.until(Dwell(0)).ended().phase is P.SUCCEEDED


def test_a_wait_before_traffic_can_be_agreed_to_in_advance() -> None:
    walk = Walk(plan(20, wait_before_traffic=True))
    walk.look()
    assert walk.ask("promote").text == "goes on to the next step"
    walk.until(Dwell(0))
    assert not walk.state.awaiting


# Abort and restart


@pytest.mark.parametrize(("reason", "words"), [("", f"aborted by {BY}"), ("errors", f"aborted by {BY}: errors")])
def test_an_abort_is_remembered_against_the_revision(reason: str, words: str) -> None:
    walk = at(P.SHIFTING)
    walk.ask("abort", reason=reason)
    assert SetWeight(percent=0) in walk.did
    end = walk.ended()
    assert (end.phase, end.reason, end.judged, end.restart) == (P.FAILED, words, True, False)


def test_a_restart_is_not_held_against_the_revision() -> None:
    walk = at(P.SHIFTING)
    walk.ask("restart")
    end = walk.ended()
    assert (end.phase, end.reason, end.judged, end.restart) == (P.FAILED, f"restarted by {BY}", False, True)


@pytest.mark.parametrize("verb", get_args(Verb))
def test_after_an_abort_nothing_is_obeyed_in_the_same_look_either(verb: Verb) -> None:
    walk = at(P.SHIFTING)
    walk.look(commands=(command(walk, "abort", id=1), command(walk, verb, id=2)))
    assert walk.state.answers[-1].text == NOTHING.format(phase="reverting", verb=verb)
    assert (walk.state.phase, walk.state.judged, walk.state.restart) == (P.REVERTING, True, False)


def test_a_walk_that_is_paused_can_be_aborted() -> None:
    walk = at(P.PAUSED)
    walk.ask("abort")
    assert (walk.state.phase, walk.state.pause_reason) == (P.REVERTING, None)


def test_a_forbidden_abort_leaves_the_walk_going() -> None:
    walk = at(P.SHIFTING, forbidden_commands=("abort",))
    walk.ask("abort")
    assert walk.ended().phase is P.SUCCEEDED


def test_an_order_is_answered_even_where_the_walk_turns_back_for_another_reason() -> None:
    walk = Walk(plan(20, limits=LIMITS))
    walk.until(Dwell(0)).look(stop="stop", commands=(command(walk, "pause"),))
    assert (walk.state.phase, walk.state.reason) == (P.REVERTING, "stop")
    assert walk.state.answers[-1].accepted
