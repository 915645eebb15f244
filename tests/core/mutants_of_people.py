"""The machine, broken on purpose in what it does with people and with time that nobody watched.

As in `mutants.py`: for each law of `laws_of_people.py` and `laws_of_cuts.py` at least one mutant on which its
test must fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest import MonkeyPatch

from pulumi_rollout.core import commands, machine, moves
from pulumi_rollout.core.moves import Dwell, Move, current
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Action, Answer, Command, Decision, Phase, Seen, SetWeight, State, taken_up
from tests.core import laws_of_cuts, world

Mutant = Callable[[MonkeyPatch], None]


def paused_but_rising(patch: MonkeyPatch) -> None:
    """A paused walk does not wait with its next weight."""
    original = machine._wait_for_people

    def rising(plan: Plan, state: State, seen: Seen) -> Decision:
        decision = original(plan, state, seen)
        above = [step.weight_percent for step in plan.steps if step.weight_percent > state.weight_percent]
        return decision.model_copy(update={"actions": (*decision.actions, *(SetWeight(percent=w) for w in above[:1]))})

    patch.setattr(machine, "_wait_for_people", rising)


def pauses_time_out(patch: MonkeyPatch) -> None:
    """Who says nothing for two seconds has agreed."""
    original = machine._wait_for_people

    def impatient(plan: Plan, state: State, seen: Seen) -> Decision:
        late = seen.now - state.phase_at > 2
        agreed = commands._agreed(state, seen.now, plan)
        return Decision(state=agreed, wait_seconds=1) if late else original(plan, state, seen)

    patch.setattr(machine, "_wait_for_people", impatient)


def unasked_before_traffic(patch: MonkeyPatch) -> None:
    """`wait_before_traffic` is not looked at."""
    original = moves.confirmed_by_people
    patch.setattr(
        machine,
        "confirmed_by_people",
        lambda plan, state: isinstance(current(plan, state), Dwell) and original(plan, state),
    )


def unasked_after_steps(patch: MonkeyPatch) -> None:
    """`wait_for_person` is not looked at."""
    original = moves.confirmed_by_people
    patch.setattr(
        machine,
        "confirmed_by_people",
        lambda plan, state: not isinstance(current(plan, state), Dwell) and original(plan, state),
    )


def agreed_for_ever(patch: MonkeyPatch) -> None:
    """Who agrees to one step agrees to all."""
    patch.setattr(commands, "dwell_of", lambda step: 1000)


def forgets_who_agreed(patch: MonkeyPatch) -> None:
    """A resume ends the pause, and is not remembered."""
    _agreed(patch, lambda before, after: after.model_copy(update={"approved_move": -1}))


def answers_again(patch: MonkeyPatch) -> None:
    """It is not remembered which command was the last."""
    _obey(patch, lambda before, after: after.model_copy(update={"command": before.command}))


def deaf_while_paused(patch: MonkeyPatch) -> None:
    """What is said to a walk that is paused at a weight is taken in, and not answered."""
    _obey(
        patch,
        lambda before, after: (
            after.model_copy(update={"answers": before.answers})
            if before.phase is Phase.PAUSED and before.weight_percent
            else after
        ),
    )


def anonymous(patch: MonkeyPatch) -> None:
    """Answers do not say who asked."""
    _answer(patch, by="")


def undated(patch: MonkeyPatch) -> None:
    """Answers have no time."""
    _answer(patch, at=0)


def refusals_begin_anew(patch: MonkeyPatch) -> None:
    """A refused command begins the move anew."""
    original = commands._answered

    def anew(plan: Plan, state: State, command: Command, now: float) -> State:
        after = original(plan, state, command, now)
        return after if after.answers[-1].accepted else after.model_copy(update={"move_at": now})

    patch.setattr(commands, "_answered", anew)


def policy_ignored(patch: MonkeyPatch) -> None:
    """forbiddenCommands is not looked at."""
    original = commands._obeyed
    patch.setattr(
        commands,
        "_obeyed",
        lambda plan, *rest: original(plan.model_copy(update={"forbidden_commands": ()}), *rest),
    )


def earlier_orders(patch: MonkeyPatch) -> None:
    """What was asked of the walk before is obeyed."""
    original = commands._obeyed

    def any_walk(plan: Plan, state: State, command: Command, now: float) -> tuple[State, str]:
        return original(plan, state, command.model_copy(update={"walk": state.walk}), now)

    patch.setattr(commands, "_obeyed", any_walk)


def aborts_wait(patch: MonkeyPatch) -> None:
    """Somebody who aborts a walk that is under way has to pause it first."""
    _breach(
        patch, lambda state: state if state.phase is Phase.PAUSED else state.model_copy(update={"abort": None}), True
    )


def aborts_are_forgiven(patch: MonkeyPatch) -> None:
    """An abort is not held against the revision."""
    _breach(patch, lambda state: state, False)


def held_is_walked(patch: MonkeyPatch) -> None:
    """A held walk is walked on by whoever has it."""
    original = machine.decide
    patch.setattr(
        machine,
        "decide",
        lambda plan, state, seen: original(plan, state.model_copy(update={"held": False}), seen),
    )


def held_before_it_is_settled(patch: MonkeyPatch) -> None:
    """A walk is held at once, wherever its traffic is."""
    original = machine._wait_for_people

    def at_once(plan: Plan, state: State, seen: Seen) -> Decision:
        held = state.frozen or plan.on_wait == "hold"
        return Decision(state=state.model_copy(update={"held": True})) if held else original(plan, state, seen)

    patch.setattr(machine, "_wait_for_people", at_once)


def frozen_but_rising(patch: MonkeyPatch) -> None:
    """A weight that is on its way when the walk is frozen is still put in place."""
    original = machine._actions

    def thawed(plan: Plan, state: State, seen: Seen, move: Move) -> tuple[Action, ...]:
        return original(plan, state.model_copy(update={"frozen": False}), seen, move)

    patch.setattr(machine, "_actions", thawed)


def frozen_without_pods(patch: MonkeyPatch) -> None:
    """A weight on pods that are gone is frozen as well."""
    original = machine._may_freeze
    patch.setattr(
        machine,
        "_may_freeze",
        lambda plan, state, seen, breach: original(plan, state, seen.model_copy(update={"canary_ready": 1}), breach),
    )


def pauses_count(patch: MonkeyPatch) -> None:
    """The time of a pause counts against deadlines."""
    patch.setattr(commands, "later", lambda state, seconds: state.model_copy(update={"met_at": None}))


def unwatched_time_counts(patch: MonkeyPatch) -> None:
    """So does the time that no process was there."""
    for module in (world, laws_of_cuts):
        patch.setattr(module, "taken_up", lambda state, *times: state.model_copy(update={"held": False}))


def counts_from_the_cut(patch: MonkeyPatch) -> None:
    """A process that takes a walk up begins to count anew."""
    original = taken_up

    def forgetful(state: State, saved_at: float, now: float) -> State:
        return original(state, saved_at, now).model_copy(update={"evidence": {}})

    patch.setattr(laws_of_cuts, "taken_up", forgetful)


def memory_in_the_process(patch: MonkeyPatch) -> None:
    """Evidence is kept beside the state, so that a resumed walk counts from nothing."""
    original, last = machine.decide, [State(walk="", revision="", stable=None, started_at=0, phase_at=0, move_at=0)]

    def forgetful(plan: Plan, state: State, seen: Seen) -> Decision:
        kept = state if state is last[0] else state.model_copy(update={"evidence": {}})
        decision = original(plan, kept, seen)
        last[0] = decision.state
        return decision

    patch.setattr(machine, "decide", forgetful)


def _agreed(patch: MonkeyPatch, change: Callable[[State, State], State]) -> None:
    original = commands._agreed
    patch.setattr(commands, "_agreed", lambda state, now, plan: change(state, original(state, now, plan)))


def _obey(patch: MonkeyPatch, change: Callable[[State, State], State]) -> None:
    original = commands.obey

    def changed(plan: Plan, state: State, given: Sequence[Command], now: float) -> State:
        after = original(plan, state, given, now)
        return after if after is state else change(state, after)

    patch.setattr(machine, "obey", changed)


def _answer(patch: MonkeyPatch, **changes: Any) -> None:
    patch.setattr(commands, "Answer", lambda **given: Answer(**{**given, **changes}))


def _breach(patch: MonkeyPatch, heard: Callable[[State], State], judged: bool) -> None:
    """Replace which aborts are heard, and whether they are held against the revision."""
    original = machine._breach

    def changed(plan: Plan, state: State, seen: Seen) -> machine.Breach | None:
        breach = original(plan, heard(state), seen)
        aborted = breach is not None and breach.reason == state.abort and not state.restart
        return breach._replace(judged=judged) if breach is not None and aborted else breach

    patch.setattr(machine, "_breach", changed)


MUTANTS_OF_PEOPLE: dict[str, tuple[Mutant, ...]] = {
    "paused_weight_never_rises": (paused_but_rising,),
    "pauses_are_ended_by_people": (pauses_time_out,),
    "no_traffic_before_somebody_agreed": (unasked_before_traffic,),
    "no_step_before_somebody_agreed": (unasked_after_steps, agreed_for_ever),
    "nobody_is_asked_twice": (forgets_who_agreed,),
    "commands_are_answered_once": (answers_again, deaf_while_paused),
    "answers_say_who_and_when": (anonymous, undated),
    "refusals_change_nothing": (refusals_begin_anew,),
    "the_policy_forbids": (policy_ignored, earlier_orders),
    "an_abort_ends_on_the_old": (aborts_wait, aborts_are_forgiven),
    "held_is_left_alone": (held_is_walked, held_before_it_is_settled),
    "frozen_never_rises": (frozen_but_rising, frozen_without_pods),
    "pauses_cost_no_time": (pauses_count,),
    "cut_is_the_same": (memory_in_the_process,),
    "lost_time_changes_no_verdict": (memory_in_the_process, unwatched_time_counts),
    "cuts_lose_no_request": (counts_from_the_cut,),
}
