"""What each move of a walk waits for, and for how long: conditions on what is seen, in words.

Pure. Lives here: when a move is done, and what is astray. Not here: what follows from it (`machine.py`).
"""

from __future__ import annotations

from pulumi_rollout.core.gates import Verdict, judge
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
    needed_pods,
)
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, Seen, State


def deadline(plan: Plan, state: State, move: Move) -> tuple[float, str]:
    """How long a move may take, and the name of the setting that says so."""
    match move:
        case Capacity():
            return plan.limits.preparing_seconds, "preparing"
        case Dwell(step):
            return max(plan.steps[step].max_wait_seconds, plan.steps[step].interval_seconds), "maxWait"
        case _:
            limits = plan.limits
            return limits.propagation_seconds + max(limits.settle_seconds, limits.drain_seconds), "propagation"


def unmet(plan: Plan, state: State, seen: Seen, move: Move) -> str | None:
    """What the move still waits for, or None when its condition has held for its settling time."""
    if (missing := lacking(plan, state, seen, move)) is not None:
        return missing
    match move:
        case Weight() | Apex() | Home() | Leave():
            seconds = plan.limits.settle_seconds
        case Drain():
            seconds = plan.limits.drain_seconds
        case _:
            return None
    held = seen.now - (seen.now if state.met_at is None else state.met_at)
    return None if held >= seconds else f"settling, {held:.0f} of {seconds:.0f} s"


def lacking(plan: Plan, state: State, seen: Seen, move: Move) -> str | None:
    """What is not yet seen to be as the move wants it, or None."""
    if (elsewhere := astray(state, seen, move)) is not None:
        return elsewhere
    match move:
        case Capacity(percent):
            return _capacity_unmet(plan, state, seen, percent)
        case Weight(percent):
            if seen.weight_percent != percent:
                return too_few(seen, percent) or f"the route does not have weight {percent} yet"
            return seen.route_problem
        case Dwell(step):
            if seen.weight_percent != state.weight_percent:
                return f"the route does not have weight {state.weight_percent} any more{because(seen.route_problem)}"
            return _dwell_unmet(plan, state, seen.now - state.move_at, step)
        case Home() | Leave():
            return seen.route_problem
        case ScaleDown():
            return None if seen.canary_replicas == 0 else "the failed version still has pods"
        case Apex() | Drain():
            return None


def astray(state: State, seen: Seen, move: Move) -> str | None:
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
    if state.phase is Phase.PREPARING and state.stable is not None and not state.skips_steps:
        for gate in plan.gates:
            if (reason := state.evidence[gate.id].no_data) is not None:
                return too_few(seen, percent) or f"gate {gate.id} has no data: {reason}"
    return too_few(seen, percent)


def too_few(seen: Seen, percent: int) -> str | None:
    """Why the canary cannot take this weight, or None when it has the ready pods for it."""
    need = needed_pods(percent, seen.stable_replicas)
    if seen.canary_ready >= need:
        return None
    return f"{seen.canary_ready} of {need} pods are ready{because(seen.canary_problem)}"


def _dwell_unmet(plan: Plan, state: State, held: float, number: int) -> str | None:
    step = plan.steps[number]
    if state.move <= state.approved_move:
        return None
    for gate in plan.gates:
        evidence = state.evidence[gate.id]
        judgement = judge(plan, gate, evidence)
        if plan.evidence == "required" and judgement.verdict is not Verdict.PASS:
            return f"gate {gate.id} is undecided after {evidence.canary.total:,} canary requests"
        if judgement.step_total < plan.limits.min_samples:
            seen = f"{judgement.step_total} of {plan.limits.min_samples} requests seen at this step"
            return f"gate {gate.id} waits: {seen}{because(evidence.no_data)}"
    return None if held >= step.interval_seconds else f"{held:.0f} of {step.interval_seconds:.0f} s"


def because(reason: str | None) -> str:
    """A reason after a colon, where there is one."""
    return f": {reason}" if reason else ""
