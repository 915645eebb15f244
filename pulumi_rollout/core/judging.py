"""What a walk makes of its gates: their evidence look after look, the warm-up, and which one fails.

Pure. Not here: what a gate makes of its numbers (`gates/`), or what follows from a failure (`machine.py`).
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Look
from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.measures import warms_up_after_rises
from pulumi_rollout.core.moves import FIRST_STEP, apex_of, current
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, Seen, State


class Failing(NamedTuple):
    """A gate that fails. + judged: it speaks against the revision; pod: the only one that fails"""

    verdict: str
    judged: bool
    pod: str | None


def look(plan: Plan, state: State, seen: Seen) -> State:
    """The state with what this look shows. On the way back nothing is judged any more."""
    return state if state.phase is Phase.REVERTING else _judged(plan, _warmed(plan, state, seen), seen)


def failing(plan: Plan, state: State, now: float) -> Failing | None:
    """The first gate that fails, with its verdict in words; one that speaks against the revision goes before one
    that does not. It is one pod's failure only where all that fail say so of the same one."""
    found = [gate for gate in plan.gates if state.evidence[gate.id].judgement.verdict is Verdict.FAIL]
    found = [gate for gate in found if not gate.dry_run]
    if not found:
        return None
    judgements = [state.evidence[gate.id].judgement for gate in found]
    first = next((number for number, judgement in enumerate(judgements) if judgement.judged), 0)
    pods = {judgement.pod for judgement in judgements}
    held = f"{now - state.move_at:.0f} s at {state.weight_percent} %"
    verdict = gates.explain(plan, found[first], state.evidence[found[first].id], held, now)
    return Failing(verdict, judgements[first].judged, pods.pop() if len(pods) == 1 else None)


def begin_step(plan: Plan, state: State) -> State:
    """The state when a step begins."""
    evidence = {gate.id: gates.begin_step(gate, state.evidence[gate.id]) for gate in plan.gates}
    return state.model_copy(update={"evidence": evidence})


def anew(state: State) -> State:
    """The state of a version that is judged anew from here."""
    return state.model_copy(update={"evidence": {name: gates.again(one) for name, one in state.evidence.items()}})


def _warmed(plan: Plan, state: State, seen: Seen) -> State:
    """New pods are cold, whoever started them."""
    if seen.canary_ready == state.canary_ready:
        return state
    more = seen.canary_ready > state.canary_ready
    slow_until = risen(plan, state, seen.now) if more else state.slow_until
    return state.model_copy(update={"canary_ready": seen.canary_ready, "slow_until": slow_until})


def risen(plan: Plan, state: State, now: float) -> float:
    """The state's `slow_until` once the weight or the number of pods has risen. Nothing warms up before the first
    request."""
    seconds = plan.limits.warm_up_step_seconds
    return now + seconds if seconds and state.warm_until is not None else state.slow_until


def _judged(plan: Plan, state: State, seen: Seen) -> State:
    met = state.warm_until is not None
    # Once the route is back on the apex, v2's requests are counted there.
    promoted = state.phase is Phase.PROMOTING and apex_of(state, current(plan, state)) == state.revision
    at = Look(
        now=seen.now,
        weight_percent=state.weight_percent,
        in_place=seen.weight_percent == seen.lowest_percent == state.weight_percent and seen.route_problem is None,
        preparing=not met and _is_before_traffic(state) and not promoted and not seen.weight_percent,
        promoted=promoted,
        warm_until=(inf if state.warm_until is None else state.warm_until) if plan.limits.warms_up else 0.0,
        watched_at=max(state.watched_at, state.started_at),
    )
    slow = at if at.warm_until >= state.slow_until else at.model_copy(update={"warm_until": state.slow_until})
    evidence = {
        gate.id: gates.look_at(
            plan,
            gate,
            state.evidence.get(gate.id),
            seen.readings.get(gate.id),
            slow if warms_up_after_rises(gate) else at,
        )
        for gate in plan.gates
    }
    update: dict[str, object] = {"evidence": evidence}
    if not met and any(one.canary.total or one.canary.warm_total for one in _telling(plan, evidence)):
        update["warm_until"] = seen.now + plan.limits.warm_up_seconds
    return state.model_copy(update=update)


def _is_before_traffic(state: State) -> bool:
    """Whether the new version has not had a weight yet. Skipped steps lead to promoting without one."""
    return state.weight_percent == 0 and (state.move <= FIRST_STEP or state.phase is Phase.PROMOTING)


def _telling(plan: Plan, evidence: dict[str, gates.Evidence]) -> list[gates.Evidence]:
    """What tells that the canary has had a request. A dry run decides nothing, so not this either, unless nothing
    else counts requests."""
    counting = [gate for gate in plan.gates if not gate.dry_run and gate.test not in ("restarts", "alerts")]
    return [evidence[gate.id] for gate in counting or plan.gates]
