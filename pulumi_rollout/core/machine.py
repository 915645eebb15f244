"""The rollout logic, all of it: `decide(plan, state, seen) -> Decision`.

A walk is a list of moves (`moves.py`). Each move has actions, which are idempotent, and a condition on what is
seen (`conditions.py`); when the condition holds, the next move begins. Going forward is one list, made
from the plan; going back is another. A breach, a deadline or a stop changes from the first to the second.
Not here: how an action is performed, how a strategy becomes steps, what gates say of their
numbers (`judging.py`), what operators can ask for (`commands.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from pulumi_rollout.core import conditions, judging
from pulumi_rollout.core.commands import obey
from pulumi_rollout.core.conditions import because
from pulumi_rollout.core.moves import (
    Capacity,
    Drain,
    Dwell,
    Leave,
    Move,
    ScaleDown,
    Weight,
    apex_of,
    confirmed_by_people,
    current,
    moves,
    needed_pods,
    way_back,
)
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import (
    FINAL,
    TRANSITIONS,
    Action,
    Decision,
    Phase,
    Pin,
    PointApex,
    ReplacePod,
    Resize,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
    Unpin,
)

# How soon to look again: while a change is awaited, while a step lasts, and once a change is slow.
QUICK_SECONDS, LOOK_SECONDS, SLOW_SECONDS, SLOW_AFTER_SECONDS = 0.25, 0.5, 1.0, 10.0


class Breach(NamedTuple):
    """Why a walk must turn back. + judged: it speaks against the revision; + freezes: people may be asked instead;
    + pod: the only one that fails"""

    reason: str
    judged: bool
    freezes: bool = False
    pod: str | None = None


def decide(plan: Plan, state: State, seen: Seen) -> Decision:
    """What to remember, to do, and how long to wait, given what is seen. Pure."""
    if state.phase in FINAL or state.held:
        return Decision(state=state)
    state = obey(plan, state, seen.commands, seen.now)
    state = _with_met(plan, _with_entry(plan, judging.look(plan, state, seen), seen), seen)
    if state.phase is not Phase.REVERTING and (breach := _breach(plan, state, seen)):
        if breach.pod is not None and not state.replaced and seen.canary_replicas > 1 and seen.canary_ready:
            return _replace(state, breach.pod)
        turn = _freeze if _may_freeze(plan, state, seen, breach) else _revert
        return turn(plan, state, seen, breach)
    if state.phase is Phase.PAUSED:
        return _wait_for_people(plan, state, seen)
    move = current(plan, state)
    unmet = conditions.unmet(plan, state, seen, move)
    if unmet is None:
        return _advance(plan, state, seen)
    if state.phase is Phase.REVERTING and seen.now - state.move_at > conditions.deadline(plan, state, move)[0]:
        return _give_up(state, seen, unmet)
    slow = SLOW_SECONDS if seen.now - state.move_at > SLOW_AFTER_SECONDS else QUICK_SECONDS
    wait = LOOK_SECONDS if isinstance(move, Dwell) else slow
    return Decision(state=state, actions=_actions(plan, state, seen, move), wait_seconds=wait)


def waiting_for(plan: Plan, state: State, seen: Seen) -> str:
    """What the current move waits for, in words."""
    if state.phase in FINAL:
        return ""
    return state.pause_reason or conditions.unmet(plan, state, seen, current(plan, state)) or ""


def _with_met(plan: Plan, state: State, seen: Seen) -> State:
    """Note since when the current move's condition holds; a condition that is lost begins anew."""
    if conditions.lacking(plan, state, seen, current(plan, state)) is not None:
        return state.model_copy(update={"met_at": None})
    return state if state.met_at is not None else state.model_copy(update={"met_at": seen.now})


def _with_entry(plan: Plan, state: State, seen: Seen) -> State:
    """Note whether the canary still enters the route, also after somebody has taken it out: proxies learn of a
    backend and of its weight separately."""
    enters = seen.lowest_percent == 0 and state.entering
    if state.stable is not None and (seen.lowest_percent is None or (enters and seen.route_problem is not None)):
        return state.model_copy(update={"entering": True, "listed_at": None})
    if not state.entering:
        return state
    listed_at = seen.now if state.listed_at is None else state.listed_at
    entering = seen.now - listed_at < plan.limits.settle_seconds
    return state.model_copy(update={"entering": entering, "listed_at": listed_at if entering else None})


def _breach(plan: Plan, state: State, seen: Seen) -> Breach | None:
    """Why the walk must turn back now, or None."""
    if seen.stop:
        return Breach(seen.stop, judged=False)
    if state.abort:
        return Breach(state.abort, judged=not state.restart)
    if (failing := judging.failing(plan, state, seen.now)) is not None:
        return Breach(failing.verdict, judged=failing.judged, freezes=True, pod=failing.pod)
    serving = state.weight_percent > 0 or seen.apex_revision == state.revision
    if serving and state.stable is not None and seen.canary_ready == 0:
        problem = f"the new version has no ready pod at {state.weight_percent} %{because(seen.canary_problem)}"
        return Breach(problem, judged=True)
    if plan.on_edited == "abort" and (edited := conditions.edited(state, seen, current(plan, state))) is not None:
        return Breach(edited, judged=False)
    return None if state.phase is Phase.PAUSED else _deadline(plan, state, seen)


def _deadline(plan: Plan, state: State, seen: Seen) -> Breach | None:
    """A move, or the whole walk, that takes too long. A pause is not timed."""
    move = current(plan, state)
    limit, what = conditions.deadline(plan, state, move)
    if seen.now - state.move_at > limit and (unmet := conditions.unmet(plan, state, seen, move)) is not None:
        return Breach(f"{unmet}, after {limit:.0f} s ({what})", judged=False, freezes=True)
    if seen.now - state.started_at > plan.limits.rollout_seconds and state.phase is not Phase.PROMOTING:
        late = f"the rollout was not over after {plan.limits.rollout_seconds:.0f} s (deadline)"
        return Breach(late, judged=False, freezes=True)
    return None


def _replace(state: State, pod: str) -> Decision:
    """One pod of several fails: another one takes its place, and all of them are judged once more."""
    following = judging.anew(state).model_copy(update={"replaced": (*state.replaced, pod)})
    return Decision(state=following, actions=(ReplacePod(pod=pod),), wait_seconds=LOOK_SECONDS)


def _may_freeze(plan: Plan, state: State, seen: Seen, breach: Breach) -> bool:
    # A weight on no pods is an outage, which does not wait for people.
    if plan.on_failure == "revert" or not breach.freezes or seen.canary_ready == 0:
        return False
    return state.phase in (Phase.SHIFTING, Phase.PAUSED)


def _freeze(plan: Plan, state: State, seen: Seen, breach: Breach) -> Decision:
    """Keep the weight as it is until people have decided."""
    paused = _to(state, Phase.PAUSED, state.move, seen.now)
    frozen = {"move_at": state.move_at, "pause_reason": f"frozen: {breach.reason}", "frozen": True}
    return _wait_for_people(plan, paused.model_copy(update=frozen), seen)


def _wait_for_people(plan: Plan, state: State, seen: Seen) -> Decision:
    """Stay paused; or, when frozen or as the policy has it, end the process and leave the walk held."""
    move = current(plan, state)
    actions = _actions(plan, state, seen, move)
    # Traffic is put where it belongs before nobody looks any more.
    rising = isinstance(move, Weight) and not state.frozen and (seen.lowest_percent or 0) < state.weight_percent
    settled = not rising and not any(isinstance(action, SetWeight | PointApex) for action in actions)
    waited = plan.on_wait == "hold" and seen.now - state.phase_at >= plan.wait_seconds
    if settled and (state.frozen or waited):
        return Decision(state=state.model_copy(update={"held": True}))
    return Decision(state=state, actions=actions, wait_seconds=LOOK_SECONDS)


def _actions(plan: Plan, state: State, seen: Seen, move: Move) -> tuple[Action, ...]:
    """What the move does, as far as it is not yet seen to be so. Traffic that the canary must not
    have is taken from it during every move; it is given some by `Weight`, and what somebody has taken from it."""
    actions: list[Action] = []
    apex, listed = apex_of(state, move), seen.weight_percent is not None
    if state.phase is not Phase.REVERTING:
        percent = move.percent if isinstance(move, Capacity) else state.weight_percent
        share = 100 if apex == state.revision else max(percent, state.weight_percent)
        need = needed_pods(share, seen.stable_replicas)
        if seen.canary_replicas < need:
            actions.append(Scale(replicas=need))
    if apex is not None and seen.apex_revision != apex:
        actions.append(PointApex(revision=apex))
    if (seen.weight_percent or 0) > state.weight_percent:
        actions.append(SetWeight(percent=state.weight_percent))
    match move:
        case Weight(percent):
            if state.phase is Phase.PREPARING:
                actions.append(Pin(replicas=seen.stable_replicas))
            actions += _given(plan, state, seen, percent)
        # While it is paused, people are at it.
        case Dwell() | Capacity() if (
            state.phase is not Phase.PAUSED and conditions.edited(state, seen, move) is not None
        ):
            actions += _given(plan, state, seen, state.weight_percent)
        case Leave() | Drain() | ScaleDown() if listed:
            if not seen.weight_percent:
                actions.append(Restore())
        case ScaleDown():
            if conditions.astray(state, seen, move) is None:
                actions.append(Scale(replicas=0))
        case _:
            pass
    return tuple(actions)


def _given(plan: Plan, state: State, seen: Seen, percent: int) -> list[Action]:
    """The canary is listed, or its weight raised to this, once it may have it."""
    if seen.lowest_percent is None:
        return [SetWeight(percent=0)]
    held = conditions.held_back(plan, state) or conditions.too_few(seen, percent)
    may_rise = held is None and not state.frozen and not state.entering
    return [SetWeight(percent=percent)] if seen.lowest_percent < percent and may_rise else []


def _advance(plan: Plan, state: State, seen: Seen) -> Decision:
    """Begin the next move, or end the walk."""
    if state.phase is Phase.REVERTING:
        back = way_back(first_release=state.stable is None)
        if state.move + 1 == len(back):
            return Decision(state=_to(state, Phase.FAILED, 0, seen.now), actions=(Unpin(),))
        following = _to(state, Phase.REVERTING, state.move + 1, seen.now)
        return Decision(state=following, actions=_actions(plan, following, seen, back[following.move]))
    if confirmed_by_people(plan, state) and state.move > state.approved_move:
        return Decision(state=_paused_for_people(state, seen), wait_seconds=LOOK_SECONDS)
    way = moves(plan, first_release=state.stable is None)
    if state.move + 1 == len(way):
        return Decision(state=_to(state, Phase.SUCCEEDED, 0, seen.now), actions=(Resize(), Unpin()))
    position = next(n for n in range(state.move + 1, len(way)) if not _is_skipped(state, way[n][0]))
    phase, move = way[position]
    following = _to(state, phase, position, seen.now)
    if isinstance(move, Weight):
        rises = move.percent > state.weight_percent
        slow_until = judging.risen(plan, state, seen.now) if rises else state.slow_until
        following = following.model_copy(update={"weight_percent": move.percent, "slow_until": slow_until})
    if isinstance(move, Weight) and following.phase is Phase.SHIFTING:
        following = judging.begin_step(plan, following)
    return Decision(state=following, actions=_actions(plan, following, seen, move))


def _is_skipped(state: State, phase: Phase) -> bool:
    return state.skips_steps and phase is Phase.SHIFTING


def _paused_for_people(state: State, seen: Seen) -> State:
    paused = _to(state, Phase.PAUSED, state.move, seen.now)
    reason = f"waits for promotion at weight {state.weight_percent}"
    return paused.model_copy(update={"move_at": state.move_at, "pause_reason": reason, "awaiting": True})


def _revert(plan: Plan, state: State, seen: Seen, breach: Breach) -> Decision:
    following = _to(state, Phase.REVERTING, 0, seen.now)
    update = {"reason": breach.reason, "judged": breach.judged, "weight_percent": 0, "pause_reason": None}
    following = following.model_copy(update=update)
    return Decision(state=following, actions=_actions(plan, following, seen, current(plan, following)))


def _give_up(state: State, seen: Seen, unmet: str) -> Decision:
    """End a way back that cannot be confirmed. The failed version keeps its pods, as traffic may
    still reach them."""
    reason = f"{state.reason}; not confirmed: {unmet}, so the new version's pods are left running"
    ended = _to(state, Phase.FAILED, 0, seen.now)
    return Decision(state=ended.model_copy(update={"reason": reason, "confirmed": False}))


def _to(state: State, phase: Phase, move: int, now: float) -> State:
    if phase is not state.phase and phase not in TRANSITIONS[state.phase]:
        raise ValueError(f"a walk cannot go from {state.phase} to {phase}")
    entered = now if phase is not state.phase else state.phase_at
    update = {"phase": phase, "move": move, "move_at": now, "phase_at": entered, "met_at": None}
    return state.model_copy(update=update)
