"""The gate that looks whether the new version gets the share of requests that the route says.

Pure. Lives here: which windows count. Says nothing at weight 0 and 100, before 100 requests, and for some seconds
after each change of the weight. Not here: the formula (`shares.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pulumi_rollout.core.counts import Look, newest
from pulumi_rollout.core.gates import windows
from pulumi_rollout.core.gates.verdict import Judgement, Numbers, Verdict, age, beyond, threshold
from pulumi_rollout.core.measures import Share
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.shares import Shares, closed, log_e_off, observed_share

# After a change of the weight the data plane still has the one before, for a moment.
CHANGING_SECONDS = 5.0


class Memory(Frozen):
    """The open window, and what the closed ones say. + weight_percent, changed_at: the weight, and since when"""

    test: Literal["share"] = "share"
    window: windows.Window = windows.Window()
    shares: Shares = Shares()
    weight_percent: int = 0
    changed_at: float = 0.0

    def emptied(self) -> Memory:
        """For a version that is judged anew."""
        return Memory()


def update(plan: Plan, gate: Share, memory: Memory, numbers: Numbers, look: Look) -> Memory:
    """The memory after a look with numbers; a window in which the weight changes, or is not that of the route yet,
    counts for nothing."""
    now = newest(numbers.canary, numbers.stable) or look.now
    if look.weight_percent != memory.weight_percent or not look.in_place:
        changed = {"weight_percent": look.weight_percent, "changed_at": now, "window": windows.Window()}
        return memory.model_copy(update=changed)
    if not 0 < look.weight_percent < 100 or look.promoted or now - memory.changed_at < CHANGING_SECONDS:
        return memory
    window, over = windows.look(memory.window, numbers.canary, numbers.stable, look.weights)
    change: dict[str, Any] = {"window": window}
    if over is not None:
        canary, stable = over.canary_total, over.stable_total
        change["shares"] = closed(memory.shares, canary, stable, look.weight_percent, margin=gate.margin)
    return memory.model_copy(update=change)


def step(memory: Memory, numbers: Numbers) -> Memory:
    """A test begins with every window, so a step needs none of its own."""
    return memory


def judge(plan: Plan, gate: Share, memory: Memory, numbers: Numbers) -> Judgement:
    """There is nothing to wait for: what is not off passes. What is off is the routing layer's doing, and nothing that
    a revision is to be blamed for."""
    off = log_e_off(memory.shares)
    return Judgement(verdict=Verdict.FAIL if off >= threshold(plan) else Verdict.PASS, log_e_fail=off, judged=False)


def explain(plan: Plan, gate: Share, memory: Memory, numbers: Numbers, held: str, now: float) -> str:
    """The share that was seen beside the one that was asked for."""
    return (
        f"{gate.id.replace('_', ' ')}: {counts(gate, memory, numbers)}, "
        f"{beyond(plan, log_e_off(memory.shares))}, {held}{age(numbers.canary, now)}"
    )


def asks(gate: Share) -> str:
    """What the gate wants, in words."""
    return f"the canary's share of requests is the route's, up to {gate.margin:g} times the odds"


def counts(gate: Share, memory: Memory, numbers: Numbers) -> str:
    """What has been seen, in words."""
    seen = observed_share(memory.shares)
    if seen is None:
        return "no requests to compare yet"
    return f"the canary gets {100 * seen:.1f} % of the requests, the route says {memory.shares.weight_percent:g} %"
