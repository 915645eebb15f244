"""What each move of a walk waits for, and for how long: conditions on what is seen, in words.

Pure. Lives here: when a move is done, and what is astray. Not here: what follows from it (`machine.py`).
"""

from __future__ import annotations

from pulumi_rollout.core.gates import Evidence, Verdict, saw_bursts
from pulumi_rollout.core.measures import COUNTING
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
            seconds = limits.propagation_seconds + max(limits.settle_seconds, limits.drain_seconds)
            if isinstance(move, Weight) and held_back(plan, state) is not None:  # which has deadlines of its own
                seconds += max(limits.outage_seconds, limits.no_data_revert_seconds)
            return seconds, "propagation"


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
            if not _has(seen, percent):
                held = held_back(plan, state) if percent > (seen.lowest_percent or 0) else None
                return held or too_few(seen, percent) or f"the route does not have weight {percent} yet"
            return seen.route_problem
        case Dwell(step):
            if not _has(seen, state.weight_percent):
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


def edited(state: State, seen: Seen, move: Move) -> str | None:
    """What somebody else has made of a weight that the walk has seen in place; None while it stands, or is on its
    way. At weight 0, a canary that is not listed is as good."""
    stands = isinstance(move, Dwell) or (isinstance(move, Capacity) and state.phase is not Phase.PREPARING)
    wanted = state.weight_percent
    if not stands or (seen.weight_percent or 0) == (seen.lowest_percent or 0) == wanted:
        return None
    if seen.lowest_percent is None:
        which = "it" if seen.weight_percent is None else "one of its rules"
        found = f"{which} does not list the new version, which had weight {wanted}"
    else:
        other = seen.lowest_percent if seen.weight_percent == wanted else seen.weight_percent
        found = f"{'one of its rules' if seen.shares else 'it'} has weight {other} instead of {wanted}"
    return f"somebody has edited the route: {found}{because(seen.route_problem)}"


def _has(seen: Seen, percent: int) -> bool:
    """Whether every rule of ours has this weight."""
    return seen.weight_percent == seen.lowest_percent == percent


def _capacity_unmet(plan: Plan, state: State, seen: Seen, percent: int) -> str | None:
    if state.phase is Phase.PREPARING and state.stable is not None and not state.skips_steps:
        for gate in plan.gates:
            if (reason := state.evidence[gate.id].no_data) is not None and not gate.dry_run:
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
    if (reason := held_back(plan, state)) is not None:
        return reason
    for gate in plan.gates:
        evidence = state.evidence[gate.id]
        if gate.dry_run:
            continue
        if plan.evidence == "required" and evidence.judgement.verdict is not Verdict.PASS:
            why = _never_passes(plan, evidence)
            return f"gate {gate.id} is undecided after {evidence.canary.total:,} canary requests{because(why)}"
        if isinstance(gate, COUNTING) and evidence.judgement.step_total < plan.limits.min_samples:
            counted = f"{evidence.judgement.step_total} of {plan.limits.min_samples} requests seen at this step"
            warm = " behind the warm-up" if evidence.canary.warm_total else ""
            return f"gate {gate.id} waits: {counted}{warm}{because(evidence.no_data)}"
    return None if held >= step.interval_seconds else f"{held:.0f} of {step.interval_seconds:.0f} s"


def _never_passes(plan: Plan, evidence: Evidence) -> str | None:
    """Why more requests would not help either, or None."""
    if plan.failures != "auto" or not saw_bursts(evidence):
        return None
    return (
        "the old version's failures come in bursts, and that those are few cannot be shown: set evidence to sufficient"
    )


def held_back(plan: Plan, state: State) -> str | None:
    """Why the weight may not rise although nothing speaks against the revision, or None."""
    for gate in plan.gates:
        judgement = state.evidence[gate.id].judgement
        if judgement.verdict is Verdict.HOLD and not gate.dry_run:
            return f"gate {gate.id} holds: {judgement.reason}"
    return None


def because(reason: str | None) -> str:
    """A reason after a colon, where there is one."""
    return f": {reason}" if reason else ""
