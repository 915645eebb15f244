"""Gates that compare the new version with the old one of the same seconds.

Pure. Lives here: which windows count, and what the comparison says. An outage that both share, or a whole day's ups
and downs, cannot fail such a gate. Not here: the formula (`comparison.py`).
"""

from __future__ import annotations

from math import log
from typing import Any, Literal

from pulumi_rollout.core.comparison import Comparison, closed, log_e_alike, log_e_worse
from pulumi_rollout.core.counts import Look
from pulumi_rollout.core.gates import windows
from pulumi_rollout.core.gates.verdict import Judgement, Numbers, Verdict, age, beyond, percent, threshold, what_is_bad
from pulumi_rollout.core.measures import Baseline
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan


class Memory(Frozen):
    """The open window, and what the closed ones say."""

    test: Literal["baseline"] = "baseline"
    window: windows.Window = windows.Window()
    comparison: Comparison = Comparison()

    def emptied(self) -> Memory:
        """For a version that is judged anew."""
        return Memory()


def update(plan: Plan, gate: Baseline, memory: Memory, numbers: Numbers, look: Look) -> Memory:
    """The memory after a look with numbers. Once the new version has all traffic there is nothing to compare."""
    window, over = windows.look(memory.window, numbers.canary, numbers.stable, look.weights)
    change: dict[str, Any] = {"window": window}
    if over is not None:
        change["comparison"] = closed(memory.comparison, *over, margin=gate.margin, max_ratio=gate.max_ratio)
    return memory.model_copy(update=change)


def step(memory: Memory, numbers: Numbers) -> Memory:
    """A test begins with every window, so a step needs none of its own."""
    return memory


def judge(plan: Plan, gate: Baseline, memory: Memory, numbers: Numbers) -> Judgement:
    """FAIL goes before PASS."""
    failing, passing = log_e_worse(memory.comparison), log_e_alike(memory.comparison)
    verdict = Verdict.UNDECIDED
    if failing >= threshold(plan):
        verdict = Verdict.FAIL
    elif passing >= log(1 / plan.beta):
        verdict = Verdict.PASS
    return Judgement(verdict=verdict, log_e_fail=failing, log_e_pass=passing)


def explain(plan: Plan, gate: Baseline, memory: Memory, numbers: Numbers, held: str, now: float) -> str:
    """Both versions' shares, and by how much the new one's may be larger."""
    return (
        f"{gate.id.replace('_', ' ')}: {counts(gate, memory, numbers)}, more than {gate.margin:g} times as many, "
        f"{beyond(plan, log_e_worse(memory.comparison))}, {held}{age(numbers.canary, now)}"
    )


def asks(gate: Baseline) -> str:
    """What the gate wants, in words."""
    return f"not more than {gate.margin:g} times the old version's share of requests that {what_is_bad(gate.metric)}"


def counts(gate: Baseline, memory: Memory, numbers: Numbers) -> str:
    """What has been seen, in words."""
    canary, stable = numbers.canary, numbers.stable
    return (
        f"{canary.bad:,} of {canary.total:,} canary requests {what_is_bad(gate.metric)} "
        f"({percent(canary.bad, canary.total)}), of the old version's {stable.bad:,} of {stable.total:,} "
        f"({percent(stable.bad, stable.total)})"
    )
