"""What a walk says: progress on the Rollout's row, Kubernetes Events in the field's words.

Lives here: the words, from one state and the next. Pure; who hears them is `engine.py`'s and
`events.py`'s. The verdict of a gate has its words from `core/gates.py`.
"""

from __future__ import annotations

from typing import NamedTuple

from pulumi_rollout.core.machine import waiting_for
from pulumi_rollout.core.moves import step_number
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, Seen, State


class Event(NamedTuple):
    """One Kubernetes Event. + reason: in CamelCase, for machines; message: for people"""

    reason: str
    message: str
    warning: bool = False


def line(plan: Plan, name: str, before: State, after: State, seen: Seen) -> tuple[str, bool] | None:
    """What to show, and whether it stays in the summary: what has changed does."""
    if answers := [answer for answer in after.answers if answer.id > before.command]:
        said = "; ".join(f"{answer.by} says {answer.verb}: {answer.text}" for answer in answers)
        return said, True
    if after.phase is Phase.REVERTING and before.phase is not Phase.REVERTING:
        return f"reverting: {after.reason}", True
    if after.phase is Phase.PAUSED and before.phase is not Phase.PAUSED:
        return f"paused: {after.pause_reason}", True
    step = step_number(plan, after)
    if after.weight_percent != before.weight_percent and step is not None:
        return f"advance {name} to weight {after.weight_percent} (step {step + 1} of {len(plan.steps)})", True
    if after.phase is not before.phase:
        return f"{after.phase} {name}", True
    if after.move != before.move:
        return None
    counted = [f"{gate.id.replace('_', ' ')} {100 - _percent_bad(after, gate.id):.2f} %" for gate in plan.gates]
    where = f"{after.phase}, weight {after.weight_percent} %"
    return "; ".join([where, *(counted if after.weight_percent else []), waiting_for(plan, after, seen)]), False


def event(plan: Plan, name: str, before: State | None, after: State) -> Event | None:
    """What others in the cluster should know; None where nothing has changed for them. `before` is
    None at the begin of a walk."""
    if before is None:
        return Event("Synced", f"New revision detected! Starting canary analysis for {name}")
    if after.phase is Phase.REVERTING and before.phase is not Phase.REVERTING:
        return Event("RollingBack", f"Rolling back {name}: {after.reason}", warning=True)
    if after.phase is Phase.PAUSED and before.phase is not Phase.PAUSED:
        return Event("RolloutPaused", f"Halt {name} advancement {after.pause_reason}", warning=after.frozen)
    if after.phase is Phase.FAILED and before.phase is not Phase.FAILED:
        return Event("RolloutAborted", f"Canary failed! {name}: {after.reason}", warning=True)
    if after.phase is Phase.SUCCEEDED and before.phase is not Phase.SUCCEEDED:
        return Event("RolloutCompleted", f"Promotion completed! {name} serves all traffic")
    if after.weight_percent != before.weight_percent and after.phase in (Phase.SHIFTING, Phase.PAUSED):
        return Event("WeightSet", f"Advance {name} canary weight {after.weight_percent}")
    if before.phase is Phase.PAUSED and after.phase is not Phase.PAUSED:
        return Event("RolloutResumed", f"Resume {name} advancement")
    if after.phase is Phase.PROMOTING and before.phase is not Phase.PROMOTING:
        return Event("Promoting", f"Promoting {name}: all steps are over")
    return None


def _percent_bad(state: State, gate: str) -> float:
    canary = state.evidence[gate].canary
    return 100 * canary.bad / canary.total if canary.total else 0.0
