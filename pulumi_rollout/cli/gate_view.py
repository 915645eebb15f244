"""What is known of a rollout's gates, as values: part of what `look.py` knows of a rollout.

Pure. Its fields are part of the JSON that `-o json` prints, so they are public (docs/commands.md). Not here: what a
gate makes of its numbers (`core/gates/`), or how it looks (`render.py`).
"""

from __future__ import annotations

from pulumi_rollout.core import gates
from pulumi_rollout.core.measures import Gate
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import State


class GateView(Frozen):
    """One gate and its verdict: pass, fail, hold or undecided.

    + asks: what it wants; seen: what it has seen; both in words
    + limit_percent: the most requests that may be bad; None where a gate has no such limit
    + canary_total, canary_bad, stable_total, stable_bad: requests, without those of the warm-up
    + held: why it holds the weight, or lets the walk go back without blaming the revision
    """

    id: str
    test: str
    verdict: str
    dry_run: bool
    asks: str
    seen: str
    limit_percent: float | None
    canary_total: int
    canary_bad: int
    stable_total: int
    stable_bad: int
    held: str | None
    no_data: str | None


def gate_views(plan: Plan, state: State) -> tuple[GateView, ...]:
    """All gates of a plan, in its order."""
    return tuple(_view(gate, state.evidence.get(gate.id) or gates.fresh(gate)) for gate in plan.gates)


def _view(gate: Gate, evidence: gates.Evidence) -> GateView:
    return GateView(
        id=gate.id,
        test=gate.test,
        verdict=str(evidence.judgement.verdict),
        dry_run=gate.dry_run,
        asks=gates.asks(gate),
        seen=gates.counts(gate, evidence),
        limit_percent=100 * gate.max_bad_ratio if gate.test == "objective" else None,
        canary_total=evidence.canary.total,
        canary_bad=evidence.canary.bad,
        stable_total=evidence.stable.total,
        stable_bad=evidence.stable.bad,
        held=evidence.judgement.reason,
        no_data=evidence.no_data,
    )
