"""The rollout logic, all of it: `decide(plan, state, seen) -> Decision`.

A walk is a list of moves (`moves.py`). Each move has actions, which are idempotent, and a condition on what is
seen; when the condition holds, the next move begins. Going forward is one list, made from the
plan; going back is another. A breach, a deadline or a stop changes from the first to the second.
Not here: how an action is performed, how a strategy becomes steps, what a gate's numbers mean.
"""

from __future__ import annotations

from pulumi_rollout.core.gates import Verdict, begin_step, explain, fold, judge, shared
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
    apex_of,
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
    Evidence,
    Phase,
    Pin,
    PointApex,
    Reading,
    Resize,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
    Unpin,
)

QUICK_SECONDS, LOOK_SECONDS = 0.25, 0.5


def decide(plan: Plan, state: State, seen: Seen) -> Decision:
    """What to remember, to do, and how long to wait, given what is seen. Pure."""
    if state.phase in FINAL:
        return Decision(state=state)
    state = _with_met(plan, _with_evidence(plan, state, seen), seen)
    if state.phase is not Phase.REVERTING and (breach := _breach(plan, state, seen)):
        return _revert(plan, state, seen, *breach)
    move = current(plan, state)
    unmet = _unmet(plan, state, seen, move)
    if unmet is None:
        return _advance(plan, state, seen)
    if state.phase is Phase.REVERTING and seen.now - state.move_at > _deadline(plan, state, move)[0]:
        return _give_up(state, seen, unmet)
    wait = LOOK_SECONDS if isinstance(move, Dwell) else QUICK_SECONDS
    return Decision(state=state, actions=_actions(state, seen, move), wait_seconds=wait)


def waiting_for(plan: Plan, state: State, seen: Seen) -> str:
    """What the current move waits for, in words."""
    return (_unmet(plan, state, seen, current(plan, state)) or "") if state.phase not in FINAL else ""


def _with_evidence(plan: Plan, state: State, seen: Seen) -> State:
    # Once the route is back on the apex, v2's requests are counted there.
    promoted = state.phase is Phase.PROMOTING and apex_of(state, current(plan, state)) == state.revision
    evidence = {
        gate.id: fold(
            state.evidence.get(gate.id, Evidence()), seen.readings.get(gate.id, _NO_READING), promoted=promoted
        )
        for gate in plan.gates
        if gate.id in seen.readings or gate.id not in state.evidence
    }
    return state.model_copy(update={"evidence": {**state.evidence, **evidence}})


_NO_READING = Reading(no_data="not read yet")


def _with_met(plan: Plan, state: State, seen: Seen) -> State:
    """Note since when the current move's condition holds; a condition that is lost begins anew."""
    if _lacking(plan, state, seen, current(plan, state)) is not None:
        return state.model_copy(update={"met_at": None})
    return state if state.met_at is not None else state.model_copy(update={"met_at": seen.now})


def _breach(plan: Plan, state: State, seen: Seen) -> tuple[str, bool] | None:
    """Why the walk must turn back now, and whether that speaks against the revision; or None."""
    if seen.stop:
        return seen.stop, False
    for gate in plan.gates:
        evidence = state.evidence[gate.id]
        if judge(plan, gate, evidence).verdict is Verdict.FAIL:
            held = f"{seen.now - state.move_at:.0f} s at {state.weight_percent} %"
            return explain(plan, gate, evidence, held, seen.now), not shared(plan, gate, evidence)
    move = current(plan, state)
    serving = state.weight_percent > 0 or seen.apex_revision == state.revision
    if serving and state.stable is not None and seen.canary_ready == 0:
        return f"the new version has no ready pod at {state.weight_percent} %{_because(seen.canary_problem)}", True
    limit, what = _deadline(plan, state, move)
    if seen.now - state.move_at > limit and (unmet := _unmet(plan, state, seen, move)) is not None:
        return f"{unmet}, after {limit:.0f} s ({what})", False
    if seen.now - state.started_at > plan.limits.rollout_seconds and state.phase is not Phase.PROMOTING:
        return f"the rollout was not over after {plan.limits.rollout_seconds:.0f} s (deadline)", False
    return None


def _deadline(plan: Plan, state: State, move: Move) -> tuple[float, str]:
    """How long a move may take, and the name of the setting that says so."""
    match move:
        case Capacity():
            return plan.limits.preparing_seconds, "preparing"
        case Dwell(step):
            return max(plan.steps[step].max_wait_seconds, plan.steps[step].interval_seconds), "maxWait"
        case _:
            limits = plan.limits
            return limits.propagation_seconds + max(limits.settle_seconds, limits.drain_seconds), "propagation"


def _unmet(plan: Plan, state: State, seen: Seen, move: Move) -> str | None:
    """What the move still waits for, or None when its condition has held for its settling time."""
    if (lacking := _lacking(plan, state, seen, move)) is not None:
        return lacking
    match move:
        case Weight() | Apex() | Home() | Leave():
            seconds = plan.limits.settle_seconds
        case Drain():
            seconds = plan.limits.drain_seconds
        case _:
            return None
    held = seen.now - (seen.now if state.met_at is None else state.met_at)
    return None if held >= seconds else f"settling, {held:.0f} of {seconds:.0f} s"


def _lacking(plan: Plan, state: State, seen: Seen, move: Move) -> str | None:
    """What is not yet seen to be as the move wants it, or None."""
    if (astray := _astray(state, seen, move)) is not None:
        return astray
    match move:
        case Capacity(percent):
            return _capacity_unmet(plan, state, seen, percent)
        case Weight(percent):
            if seen.weight_percent != percent:
                return _too_few(seen, percent) or f"the route does not have weight {percent} yet"
            return seen.route_problem
        case Dwell(step):
            if seen.weight_percent != state.weight_percent:
                return f"the route does not have weight {state.weight_percent} any more{_because(seen.route_problem)}"
            return _dwell_unmet(plan, state, seen.now - state.move_at, step)
        case Home() | Leave():
            return seen.route_problem
        case ScaleDown():
            return None if seen.canary_replicas == 0 else "the failed version still has pods"
        case Apex() | Drain():
            return None


def _astray(state: State, seen: Seen, move: Move) -> str | None:
    """Traffic that is not where the move has it. Looked at during every move, so that an edit by
    somebody else, or a late answer, cannot end a walk with traffic on pods that are about to go."""
    wanted = apex_of(state, move)
    if wanted is None:
        return None
    turned = state.phase is Phase.REVERTING or wanted == state.revision
    if seen.apex_revision != wanted or (turned and not seen.apex_ready):
        return f"the apex Service does not have the pods of {wanted} yet"
    if state.phase is Phase.REVERTING and seen.weight_percent:
        return "the route does not have weight 0 yet"
    left = isinstance(move, Leave | Drain | ScaleDown)
    return "the route is not as it was before yet" if left and seen.weight_percent is not None else None


def _capacity_unmet(plan: Plan, state: State, seen: Seen, percent: int) -> str | None:
    if state.phase is Phase.PREPARING and state.stable is not None:
        for gate in plan.gates:
            if (reason := state.evidence[gate.id].no_data) is not None:
                return _too_few(seen, percent) or f"gate {gate.id} has no data: {reason}"
    return _too_few(seen, percent)


def _too_few(seen: Seen, percent: int) -> str | None:
    """Why the canary cannot take this weight, or None when it has the ready pods for it."""
    need = needed_pods(percent, seen.stable_replicas)
    if seen.canary_ready >= need:
        return None
    return f"{seen.canary_ready} of {need} pods are ready{_because(seen.canary_problem)}"


def _dwell_unmet(plan: Plan, state: State, held: float, number: int) -> str | None:
    step = plan.steps[number]
    for gate in plan.gates:
        evidence = state.evidence[gate.id]
        judgement = judge(plan, gate, evidence)
        if plan.evidence == "required" and judgement.verdict is not Verdict.PASS:
            return f"gate {gate.id} is undecided after {evidence.canary.total:,} canary requests"
        if judgement.step_total < plan.limits.min_samples:
            seen = f"{judgement.step_total} of {plan.limits.min_samples} requests seen at this step"
            return f"gate {gate.id} waits: {seen}{_because(evidence.no_data)}"
    return None if held >= step.interval_seconds else f"{held:.0f} of {step.interval_seconds:.0f} s"


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _actions(state: State, seen: Seen, move: Move) -> tuple[Action, ...]:
    """What the move does, as far as it is not yet seen to be so. Traffic that the canary must not
    have is taken from it during every move; it is given some by `Weight` alone."""
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
            if not listed:
                actions.append(SetWeight(percent=0))
            elif (seen.weight_percent or 0) < percent and _too_few(seen, percent) is None:
                actions.append(SetWeight(percent=percent))
        case Leave() | Drain() | ScaleDown() if listed:
            if not seen.weight_percent:
                actions.append(Restore())
        case ScaleDown():
            if _astray(state, seen, move) is None:
                actions.append(Scale(replicas=0))
        case _:
            pass
    return tuple(actions)


def _advance(plan: Plan, state: State, seen: Seen) -> Decision:
    """Begin the next move, or end the walk."""
    if state.phase is Phase.REVERTING:
        back = way_back(first_release=state.stable is None)
        if state.move + 1 == len(back):
            return Decision(state=_to(state, Phase.FAILED, 0, seen.now), actions=(Unpin(),))
        following = _to(state, Phase.REVERTING, state.move + 1, seen.now)
        return Decision(state=following, actions=_actions(following, seen, back[following.move]))
    way = moves(plan, first_release=state.stable is None)
    if state.move + 1 == len(way):
        return Decision(state=_to(state, Phase.SUCCEEDED, 0, seen.now), actions=(Resize(), Unpin()))
    phase, move = way[state.move + 1]
    following = _to(state, phase, state.move + 1, seen.now)
    if isinstance(move, Weight):
        following = following.model_copy(update={"weight_percent": move.percent})
    if isinstance(move, Weight) and following.phase is Phase.SHIFTING:
        evidence = {name: begin_step(one) for name, one in following.evidence.items()}
        following = following.model_copy(update={"evidence": evidence})
    return Decision(state=following, actions=_actions(following, seen, move))


def _revert(plan: Plan, state: State, seen: Seen, reason: str, judged: bool) -> Decision:
    following = _to(state, Phase.REVERTING, 0, seen.now)
    following = following.model_copy(
        update={
            "reason": reason,
            "judged": judged,
            "weight_percent": 0,
        }
    )
    return Decision(state=following, actions=_actions(following, seen, current(plan, following)))


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
