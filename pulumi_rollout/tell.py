"""What a walk says: progress on the Rollout's row, Kubernetes Events in the field's words.

Lives here: the words, from one state and the next. Pure; who hears them is `engine.py`'s and
`events.py`'s. The verdict of a gate has its words from `core/gates/`.
"""

from __future__ import annotations

from typing import NamedTuple

from pulumi_rollout.core.forecast import shown
from pulumi_rollout.core.gates import Evidence, Verdict, saw_bursts
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
        return "; ".join(f"{answer.by} says {answer.verb}: {answer.text}" for answer in answers), True
    if after.phase is Phase.REVERTING and before.phase is not Phase.REVERTING:
        return f"reverting: {after.reason}", True
    if said := [*_news(plan, before, after), *_moved(plan, name, before, after)]:
        return "; ".join(said), True
    if after.move != before.move:
        return None
    # On the way back, which has no weight, there may be no evidence.
    judged = [gate.id for gate in plan.gates if gate.test == "objective" and after.weight_percent]
    counted = [f"{gate.replace('_', ' ')} {100 - _percent_bad(after, gate):.2f} %" for gate in judged]
    where = f"{after.phase}, weight {after.weight_percent} %"
    return "; ".join([where, *counted, waiting_for(plan, after, seen)]), False


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
        return Event("Promoting", "; ".join([f"Promoting {name}: all steps are over", *shown(plan, after.evidence)]))
    return None


def _moved(plan: Plan, name: str, before: State, after: State) -> list[str]:
    """Where the walk has come to, if it has moved on in a way that people look for."""
    step = step_number(plan, after)
    if after.phase is Phase.PAUSED and before.phase is not Phase.PAUSED:
        return [f"paused: {after.pause_reason}"]
    if after.weight_percent != before.weight_percent and step is not None:
        return [f"advance {name} to weight {after.weight_percent} (step {step + 1} of {len(plan.steps)})"]
    if after.phase is before.phase:
        return []
    return [f"{after.phase} {name}", *(shown(plan, after.evidence) if after.phase is Phase.PROMOTING else [])]


def _percent_bad(state: State, gate: str) -> float:
    """Of all requests until now; those of the warm-up stand for them before there are others."""
    canary = state.evidence[gate].canary
    total, bad = (canary.total, canary.bad) if canary.total else (canary.warm_total, canary.warm_bad)
    return 100 * bad / total if total else 0.0


def _news(plan: Plan, before: State, after: State) -> list[str]:
    """What has changed about the gates: holds that begin and end, pods that are replaced, bursts that are seen."""
    said = [f"replacing pod {pod}, which alone fails: all are judged once more" for pod in _new(before, after)]
    for gate in plan.gates:
        name = gate.id.replace("_", " ")
        old, new = before.evidence.get(gate.id), after.evidence.get(gate.id)
        if old is None or new is None:
            continue
        if _holds(new) is not _holds(old) and not gate.dry_run:
            said.append(
                f"{name} holds the weight: {new.judgement.reason}" if _holds(new) else f"{name} holds no longer"
            )
        if saw_bursts(new) and not saw_bursts(old):
            said.append(f"{name}: failures of the old version come in bursts, so blocks of time are judged")
    return said


def _new(before: State, after: State) -> list[str]:
    return [pod for pod in after.replaced if pod not in before.replaced]


def _holds(evidence: Evidence) -> bool:
    return evidence.judgement.verdict is Verdict.HOLD
