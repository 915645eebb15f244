"""The machine, broken on purpose: for each law at least one mutant on which its test must fail.

A mutant replaces one function or table of the machine. What breaks no law here would be a law that
cannot fail. Mutants that need people are in `mutants_of_people.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf

from pytest import MonkeyPatch

from pulumi_rollout.core import commands, conditions, judging, machine, moves
from pulumi_rollout.core.moves import Apex, Capacity, Drain, Dwell, Home, Leave, Move, ScaleDown, Weight
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import (
    TRANSITIONS,
    Action,
    Decision,
    Phase,
    PointApex,
    Resize,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
    Unpin,
)
from tests.core.mutants_of_gates import raised_in_silence

Mutant = Callable[[MonkeyPatch], None]
Way = list[tuple[Phase, Move]]


def _forward(patch: MonkeyPatch, change: Callable[[Way], Way]) -> None:
    """Replace the way forward, in all modules that use it."""
    original = moves.moves

    def changed(plan: Plan, *, first_release: bool) -> tuple[tuple[Phase, Move], ...]:
        way = original(plan, first_release=first_release)
        return way if first_release else tuple(change(list(way)))

    for module in (moves, machine, commands):
        patch.setattr(module, "moves", changed)


def _back(patch: MonkeyPatch, way: list[Move]) -> None:
    """Replace the way back, in both modules that use it."""

    def changed(*, first_release: bool) -> list[Move]:
        return [ScaleDown()] if first_release else way

    patch.setattr(moves, "way_back", changed)
    patch.setattr(machine, "way_back", changed)


def _actions(patch: MonkeyPatch, change: Callable[[State, Seen, Move, tuple[Action, ...]], tuple[Action, ...]]) -> None:
    """Replace what the moves do."""
    original = machine._actions
    patch.setattr(
        machine,
        "_actions",
        lambda plan, state, seen, move: change(state, seen, move, original(plan, state, seen, move)),
    )


def doubled_weights(patch: MonkeyPatch) -> None:
    """A weight counts for itself and for the apex's share."""
    _actions(
        patch,
        lambda state, seen, move, actions: tuple(
            SetWeight(percent=2 * action.percent) if isinstance(action, SetWeight) else action for action in actions
        ),
    )


def any_number_of_pods(patch: MonkeyPatch) -> None:
    """One ready pod is enough for any weight."""
    for module in (machine, conditions):
        patch.setattr(module, "needed_pods", lambda percent, stable: 1)


def pods_counted_once(patch: MonkeyPatch) -> None:
    """Ready pods are looked at before the weight, but not again when its write is repeated."""

    def change(state: State, seen: Seen, move: Move, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        raises = isinstance(move, Weight) and seen.weight_percent is not None and seen.weight_percent < move.percent
        return (*actions, SetWeight(percent=move.percent)) if raises and isinstance(move, Weight) else actions

    _actions(patch, change)


def promoted_as_it_is(patch: MonkeyPatch) -> None:
    """Promotion does not wait for stable's full count of pods."""
    _forward(
        patch, lambda way: [(p, Capacity(1) if p is Phase.PROMOTING and m == Capacity(100) else m) for p, m in way]
    )
    patch.setattr(conditions, "too_few", lambda seen, percent: None if seen.canary_ready else "no pod is ready")


def deaf_to_stops(patch: MonkeyPatch) -> None:
    """A stop is not heard."""
    original = machine._breach
    patch.setattr(
        machine,
        "_breach",
        lambda plan, state, seen: original(plan, state, seen.model_copy(update={"stop": None})),
    )


def deaf_to_gates(patch: MonkeyPatch) -> None:
    """A failing gate is not heard."""
    patch.setattr(judging, "failing", lambda plan, state, now: None)


def no_deadlines(patch: MonkeyPatch) -> None:
    """No move has a deadline."""
    patch.setattr(conditions, "deadline", lambda plan, state, move: (inf, ""))


def clocks_restart(patch: MonkeyPatch) -> None:
    """Every repeated action begins its move anew, so that its deadline never comes."""
    original = machine.decide

    def restarting(plan: Plan, state: State, seen: Seen) -> Decision:
        decision = original(plan, state, seen)
        if not decision.actions:
            return decision
        return decision.model_copy(update={"state": decision.state.model_copy(update={"move_at": seen.now})})

    patch.setattr(machine, "decide", restarting)


def way_back_forgets_the_apex(patch: MonkeyPatch) -> None:
    """A walk that turns back after the apex was switched leaves it on the new revision."""
    original = moves.apex_of

    def forgets(state: State, move: Move) -> str | None:
        return state.revision if state.phase is Phase.REVERTING and state.stable else original(state, move)

    for module in (machine, conditions):
        patch.setattr(module, "apex_of", forgets)


def way_back_looks_once(patch: MonkeyPatch) -> None:
    """The way back trusts what it saw at its begin: a write that arrives late stays."""
    original, late = conditions.astray, (Drain, ScaleDown)
    patch.setattr(
        conditions,
        "astray",
        lambda state, seen, move: None if isinstance(move, late) else original(state, seen, move),
    )
    _actions(
        patch,
        lambda state, seen, move, actions: tuple(
            action
            for action in actions
            if not (isinstance(action, SetWeight | Restore | PointApex) and isinstance(move, late))
        ),
    )


def ends_before_the_apex(patch: MonkeyPatch) -> None:
    """A walk is won as soon as the route has 100 %."""
    _forward(patch, lambda way: way[: [move for _, move in way].index(Apex())])


def skips_promoting(patch: MonkeyPatch) -> None:
    """A walk is won after its last step."""
    _forward(patch, lambda way: [item for item in way if item[0] is not Phase.PROMOTING])
    patch.setattr(machine, "TRANSITIONS", dict.fromkeys(TRANSITIONS, frozenset(Phase)))


def failed_is_tried_again(patch: MonkeyPatch) -> None:
    """Only success is final."""
    patch.setattr(machine, "FINAL", frozenset({Phase.SUCCEEDED}))


def moods(patch: MonkeyPatch) -> None:
    """Every seventh decision looks later than the others."""
    original, number = machine.decide, count()

    def moody(plan: Plan, state: State, seen: Seen) -> Decision:
        decision = original(plan, state, seen)
        return decision.model_copy(update={"wait_seconds": decision.wait_seconds + (next(number) % 7 == 0)})

    patch.setattr(machine, "decide", moody)


def pods_before_traffic(patch: MonkeyPatch) -> None:
    """The way back begins with the pods."""
    _back(patch, [ScaleDown(), Home(), Leave(), Drain()])
    patch.setattr(conditions, "astray", lambda state, seen, move: None)
    _actions(patch, lambda state, seen, move, actions: actions[::-1])


def no_drain(patch: MonkeyPatch) -> None:
    """The way back does not wait for requests under way."""
    _back(patch, [Home(), Leave(), ScaleDown()])


def listed_at_once(patch: MonkeyPatch) -> None:
    """The canary enters the route with its first weight."""
    _forward(patch, lambda way: [item for item in way if item != (Phase.PREPARING, Weight(0))])
    given_back_at_once(patch)


def given_back_at_once(patch: MonkeyPatch) -> None:
    """A canary that somebody has taken out of the route gets its weight as soon as it is listed."""
    patch.setattr(machine, "_with_entry", lambda plan, state, seen: state)


def taken_out_at_once(patch: MonkeyPatch) -> None:
    """The way back restores the route without a time at weight 0."""
    _back(patch, [Leave(), Drain(), ScaleDown()])


def settling_since_the_begin(patch: MonkeyPatch) -> None:
    """The settling time counts from the move's begin, not from when the proxy has the change."""
    original = conditions.unmet
    patch.setattr(
        conditions,
        "unmet",
        lambda plan, state, seen, move: original(plan, state.model_copy(update={"met_at": state.move_at}), seen, move),
    )


def last_step_first(patch: MonkeyPatch) -> None:
    """The steps are walked in the wrong order."""

    def turned(way: Way) -> Way:
        steps = [item for item in way if item[0] is Phase.SHIFTING]
        triples = [steps[number : number + 3] for number in range(0, len(steps), 3)]
        rest = [item for item in way if item[0] is Phase.PROMOTING]
        return [*way[:2], *(item for triple in reversed(triples) for item in triple), *rest]

    _forward(patch, turned)


def unpins_in_passing(patch: MonkeyPatch) -> None:
    """The autoscalers are released once, whether or not that works, and not by the last decision."""
    _actions(
        patch,
        lambda state, seen, move, actions: (
            (*actions, Unpin()) if isinstance(move, ScaleDown) and seen.canary_replicas else actions
        ),
    )
    original = machine._advance

    def without(plan: Plan, state: State, seen: Seen) -> Decision:
        decision = original(plan, state, seen)
        kept = tuple(
            a for a in decision.actions if not isinstance(a, Unpin) or decision.state.phase is not Phase.FAILED
        )
        return decision.model_copy(update={"actions": kept})

    patch.setattr(machine, "_advance", without)


def never_scaled_up(patch: MonkeyPatch) -> None:
    """The winner keeps the pods that it has."""
    original = machine._advance

    def small(plan: Plan, state: State, seen: Seen) -> Decision:
        decision = original(plan, state, seen)
        small_end = tuple(Scale(replicas=1) if isinstance(action, Resize) else action for action in decision.actions)
        return decision.model_copy(update={"actions": small_end})

    patch.setattr(machine, "_advance", small)


def no_dwell(patch: MonkeyPatch) -> None:
    """The next weight comes as soon as the proxy has the last one."""
    _forward(patch, lambda way: [item for item in way if not isinstance(item[1], Dwell)])


MUTANTS: dict[str, tuple[Mutant, ...]] = {
    "weights_are_percent": (doubled_weights,),
    "no_rise_without_pods": (any_number_of_pods, pods_counted_once),
    "promoted_with_full_capacity": (promoted_as_it_is,),
    "turns_back_at_once": (deaf_to_stops, deaf_to_gates),
    "deadlines_fire": (no_deadlines, clocks_restart),
    "failure_ends_on_the_old": (way_back_forgets_the_apex, way_back_looks_once),
    "success_ends_on_the_new": (ends_before_the_apex, never_scaled_up),
    "only_listed_transitions": (skips_promoting,),
    "final_is_final": (failed_is_tried_again,),
    "same_inputs_same_decision": (moods,),
    "no_rise_while_a_gate_fails_or_holds": (deaf_to_gates, raised_in_silence),
    "traffic_before_pods": (no_drain, pods_before_traffic),
    "never_without_pods_while_listed": (pods_before_traffic,),
    "enters_and_leaves_at_zero": (
        listed_at_once,
        given_back_at_once,
        taken_out_at_once,
        settling_since_the_begin,
    ),
    "weight_follows_the_plan": (last_step_first, no_dwell),
    "nothing_stays_pinned": (unpins_in_passing,),
}
