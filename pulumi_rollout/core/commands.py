"""What operators can ask of a walk, and what comes of it: `obey(plan, state, command, now) -> State`.

Pure. Every command is answered in the state, accepted or refused, with who gave it and when. Not
here: how commands travel (`control.py`), and what moves the traffic afterwards (`machine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pulumi_rollout.core.judging import risen
from pulumi_rollout.core.moves import FIRST_STEP, begin_of, dwell_of, moves, step_number
from pulumi_rollout.core.plan import Plan, Verb
from pulumi_rollout.core.state import FINAL, Answer, Command, Phase, State, later

ANSWERS_KEPT = 20

# A command's new state and what to tell its giver; ValueError with the reason where it is refused.
Obeyed = tuple[State, str]


def obey(plan: Plan, state: State, commands: Sequence[Command], now: float) -> State:
    """The state after all commands that it has not answered yet."""
    for command in commands:
        if command.id > state.command:
            state = _answered(plan, state, command, now)
    return state


def refusal(plan: Plan, state: State, command: Command) -> str | None:
    """Why a command would be refused now; None if it would be obeyed."""
    try:
        _obeyed(plan, state, command, command.at)
    except ValueError as error:
        return str(error)
    return None


def _answered(plan: Plan, state: State, command: Command, now: float) -> State:
    try:
        after, text, accepted = *_obeyed(plan, state, command, now), True
    except ValueError as error:
        after, text, accepted = state, str(error), False
    answer = Answer(id=command.id, verb=command.verb, by=command.by, at=now, accepted=accepted, text=text)
    answers = (*state.answers, answer)[-ANSWERS_KEPT:]
    return after.model_copy(update={"command": command.id, "answers": answers})


def _obeyed(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    if command.walk != state.walk:
        raise ValueError("it was given to an earlier rollout, and another one is under way: look at it first")
    if command.verb in plan.forbidden_commands:
        raise ValueError(f"the rollout's policy forbids {command.verb} (forbiddenCommands)")
    # An abort of the same look counts as much as one of the look before.
    phase = Phase.REVERTING if state.abort is not None and state.phase not in FINAL else state.phase
    if phase in FINAL or phase is Phase.REVERTING:
        raise ValueError(f"the rollout is {phase}: there is nothing left to {command.verb}")
    if command.verb not in ("abort", "restart"):
        if state.stable is None:
            raise ValueError("a first release has no weights and no steps: only abort and restart are possible")
        if state.phase is Phase.PROMOTING:
            raise ValueError("all steps are over and the new version is promoted: only abort and restart are left")
    return VERBS[command.verb](plan, state, command, now)


def _pause(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    if state.phase is Phase.PAUSED:
        raise ValueError(f"it is paused already: {state.pause_reason}")
    reason = f"paused by {command.by}" + (f": {command.reason}" if command.reason else "")
    update = {"phase": Phase.PAUSED, "phase_at": now, "pause_reason": reason}
    return state.model_copy(update=update), f"paused at weight {state.weight_percent}"


def _resume(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    if state.phase is not Phase.PAUSED:
        raise ValueError(f"it is not paused but {state.phase}")
    return _agreed(state, now, plan), "resumed"


def _promote(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    step = step_number(plan, state)
    if command.step != step:
        raise ValueError("it has moved on to another step since you looked: look again")
    if step is None and not plan.wait_before_traffic:
        raise ValueError("its pods and its route are still being prepared, and nobody is asked before the first step")
    promoted = _agreed(state, now, plan) if state.phase is Phase.PAUSED else state
    if state.manual_weight_percent is not None:  # it is at no step whose end could be agreed to
        return promoted, f"goes on to {_following(promoted.phase is Phase.PROMOTING)}"
    move = begin_of(0) - 1 if step is None else dwell_of(step)
    update = {"approved_move": max(move, promoted.approved_move)}
    return promoted.model_copy(update=update), f"goes on to {_following(step == len(plan.steps) - 1)}"


def _following(last: bool) -> str:
    return "promotion" if last else "the next step"


def _promote_full(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    promoted = _agreed(state, now, plan) if state.phase is Phase.PAUSED else state
    last = len(moves(plan, first_release=False))
    skipped = {"approved_move": last, "skips_steps": True}
    return promoted.model_copy(update=skipped), "all steps that are left are skipped; its gates still judge it"


def _abort(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    reason = f"aborted by {command.by}" + (f": {command.reason}" if command.reason else "")
    return state.model_copy(update={"abort": reason}), "all traffic goes back to the old version"


def _restart(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    update = {"abort": f"restarted by {command.by}", "restart": True}
    return state.model_copy(update=update), "all traffic goes back to the old version, and the rollout begins anew"


def _set_weight(plan: Plan, state: State, command: Command, now: float) -> Obeyed:
    percent = command.weight_percent
    if percent is None or not 0 <= percent <= 100:
        raise ValueError(f"weights lie between 0 and 100 percent, not {percent}")
    if state.move < FIRST_STEP and not state.awaiting:
        raise ValueError("its pods and its route are still being prepared: set a weight once it is shifting")
    if state.frozen and percent > state.weight_percent:
        raise ValueError("it is frozen, so its weight can only be lowered: resume or promote it to go on")
    update: dict[str, Any] = {
        "phase": Phase.PAUSED,
        "phase_at": state.phase_at if state.phase is Phase.PAUSED else now,
        "pause_reason": f"weight {percent} set by {command.by}",
        "manual_weight_percent": percent,
        "weight_percent": percent,
        "slow_until": risen(plan, state, now) if percent > state.weight_percent else state.slow_until,
        "skips_steps": False,
        "met_at": None,
    }
    return state.model_copy(update=update), f"weight {percent}, and paused there"


def _agreed(state: State, now: float, plan: Plan) -> State:
    """No longer paused: the time of the pause counts against no deadline, and what people were asked is
    not asked again. What was frozen is judged anew from here."""
    move, manual = state.move, state.manual_weight_percent
    approved = max(state.approved_move, move) if state.awaiting else state.approved_move
    if manual is not None:
        move = begin_of(next((n for n, step in enumerate(plan.steps) if step.weight_percent > manual), len(plan.steps)))
        approved = min(approved, move - 1)  # a step that is walked again is one that nobody has agreed to yet
    update: dict[str, Any] = {
        "phase": moves(plan, first_release=False)[move][0],
        "move": move,
        "phase_at": now,
        "approved_move": approved,
        "awaiting": False,
        "pause_reason": None,
        "manual_weight_percent": None,
        "frozen": False,
    }
    if state.frozen or manual is not None:
        update["move_at"] = now
    if state.frozen:  # by evidence or by a deadline, which would both freeze it again
        update |= {"evidence": {}, "started_at": now}
    return later(state, now - state.phase_at).model_copy(update=update)


VERBS: dict[Verb, Callable[[Plan, State, Command, float], Obeyed]] = {
    "pause": _pause,
    "resume": _resume,
    "promote": _promote,
    "promote-full": _promote_full,
    "abort": _abort,
    "restart": _restart,
    "set-weight": _set_weight,
}
