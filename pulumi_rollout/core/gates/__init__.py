"""What a gate makes of its numbers: look after look, a memory and a judgement. One module for each kind of test.

Pure. `TESTS` is a literal dict by `Gate.test`. Lives here: what all gates have in common: counting, silence, and
what a judgement is made of. Not here: the formulas (`evidence.py`, `bursts.py`, `comparison.py`, `shares.py`), or
what a walk does about a judgement (`machine.py`).
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from pydantic import Field

from pulumi_rollout.core.counts import Look, Reading, fold, newest
from pulumi_rollout.core.gates import baseline, events, objective, share, stalled
from pulumi_rollout.core.gates.verdict import Judgement, Numbers, Verdict
from pulumi_rollout.core.measures import Gate, Restarts
from pulumi_rollout.core.plan import Plan

__all__ = ["Evidence", "Judgement", "Verdict", "again", "asks", "begin_step", "counts", "explain", "fresh", "look_at"]

Memory = Annotated[
    objective.Memory | baseline.Memory | share.Memory | stalled.Memory | events.Memory, Field(discriminator="test")
]


class Test(Protocol):
    """A module with these.

    + Memory: a frozen model, empty by default
    + update: the memory after a look with new numbers
    + step: after the begin of a step, with the numbers as they are then
    + judge: what the memory says; without silence, which is judged here
    + explain: the numbers behind a failure, in the verdict's fixed form. `held`: "42 s at 20 %"
    + asks: what the gate wants; counts: what has been seen; both in words
    """

    Memory: Any

    def update(self, plan: Plan, gate: Any, memory: Any, numbers: Numbers, look: Look) -> Any: ...

    def step(self, memory: Any, numbers: Numbers) -> Any: ...

    def judge(self, plan: Plan, gate: Any, memory: Any, numbers: Numbers) -> Judgement: ...

    def explain(self, plan: Plan, gate: Any, memory: Any, numbers: Numbers, held: str, now: float) -> str: ...

    def asks(self, gate: Any) -> str: ...

    def counts(self, gate: Any, memory: Any, numbers: Numbers) -> str: ...


TESTS: dict[str, Test] = {
    "objective": objective,
    "baseline": baseline,
    "share": share,
    "stalled": stalled,
    "restarts": events,
    "alerts": events,
}
# Those whose memory changes with the versions' counts alone, whatever else is seen at a look.
BY_NUMBERS = ("objective", "baseline", "stalled")


class Evidence(Numbers):
    """One gate's memory and what it says.

    + step_from: the canary's requests when the current step began
    + heard_at: when its source last had a new number
    + no_data: why the last look had none
    """

    memory: Memory
    judgement: Judgement = Judgement()
    step_from: int = 0
    heard_at: float | None = None
    no_data: str | None = "not read yet"


def saw_bursts(evidence: Evidence) -> bool:
    """Whether the old version's failures were seen to come in bursts."""
    return evidence.memory.test == "objective" and evidence.memory.bursty


def fresh(gate: Gate) -> Evidence:
    """A gate that has seen nothing yet."""
    return Evidence(memory=TESTS[gate.test].Memory())


def look_at(plan: Plan, gate: Gate, evidence: Evidence | None, reading: Reading | None, look: Look) -> Evidence:
    """A gate's memory and judgement after a look. + reading: None where its source was not asked"""
    evidence = evidence or fresh(gate)
    if reading is not None and reading.no_data is not None:
        evidence = evidence.model_copy(update={"no_data": reading.no_data})
    elif reading is not None:
        evidence = _heard(plan, gate, evidence, reading, look)
    return evidence.model_copy(update={"judgement": _judge(plan, gate, evidence, look)})


def _heard(plan: Plan, gate: Gate, evidence: Evidence, reading: Reading, look: Look) -> Evidence:
    before = newest(evidence.canary, evidence.stable)
    canary, stable = fold(evidence.canary, evidence.stable, reading, look)
    after = newest(canary, stable)
    # A source without series, such as the cluster itself, is heard whenever it answers.
    new = after is None or before is None or after > before
    same = canary == evidence.canary and stable == evidence.stable and not reading.history
    update: dict[str, Any] = {
        "canary": canary,
        "stable": stable,
        "events": reading.events,
        "history": reading.history,
        "no_data": None,
        "heard_at": look.now if new else evidence.heard_at,
    }
    heard = evidence.model_copy(update=update)
    if same and gate.test in BY_NUMBERS:
        return heard
    memory = TESTS[gate.test].update(plan, gate, evidence.memory, heard, look)
    heard = heard.model_copy(update={"memory": memory, "history": ()})
    return again(heard) if isinstance(memory, objective.Memory) and memory.anew else heard


def begin_step(gate: Gate, evidence: Evidence) -> Evidence:
    """A gate's memory when a step begins."""
    memory = TESTS[gate.test].step(evidence.memory, evidence)
    return evidence.model_copy(update={"memory": memory, "step_from": evidence.canary.total})


def again(evidence: Evidence) -> Evidence:
    """Judged anew from here: what was counted before says nothing any more. Counters stay, so that nothing of it
    is counted again."""
    return Evidence(
        canary=evidence.canary.emptied(),
        stable=evidence.stable.emptied(),
        events=evidence.events,
        memory=evidence.memory.emptied(),
        heard_at=evidence.heard_at,
        no_data=evidence.no_data,
    )


def explain(plan: Plan, gate: Gate, evidence: Evidence, held: str, now: float) -> str:
    """Why a gate fails: its own words, or those of its silence."""
    if evidence.judgement.reason is not None:
        return f"{gate.id.replace('_', ' ')}: {evidence.judgement.reason}"
    return TESTS[gate.test].explain(plan, gate, evidence.memory, evidence, held, now)


def asks(gate: Gate) -> str:
    """What a gate wants, in words."""
    return TESTS[gate.test].asks(gate)


def counts(gate: Gate, evidence: Evidence) -> str:
    """What a gate has seen, in words."""
    return TESTS[gate.test].counts(gate, evidence.memory, evidence)


def _judge(plan: Plan, gate: Gate, evidence: Evidence, look: Look) -> Judgement:
    judgement = TESTS[gate.test].judge(plan, gate, evidence.memory, evidence)
    if judgement.verdict is not Verdict.FAIL and (silent := _silence(plan, gate, evidence, look)) is not None:
        judgement = silent
    return judgement.model_copy(update={"step_total": evidence.canary.total - evidence.step_from})


def _silence(plan: Plan, gate: Gate, evidence: Evidence, look: Look) -> Judgement | None:
    """What follows from having heard nothing for long: first the weight is held, then the walk goes back."""
    if isinstance(gate, Restarts) or not look.weight_percent:
        return None
    seconds = look.now - max(evidence.heard_at or 0.0, look.watched_at)
    limits = plan.limits
    why = f": {evidence.no_data}" if evidence.no_data else ""
    if seconds > limits.no_data_revert_seconds:
        reason = f"no new number for {seconds:.0f} s (noDataRevert){why}"
        return Judgement(verdict=Verdict.FAIL, judged=False, reason=reason)
    if seconds > limits.no_data_hold_seconds:
        return Judgement(verdict=Verdict.HOLD, reason=f"no new number for {seconds:.0f} s{why}")
    return None
