"""From raw counters to a verdict: counting, judging, and the sentence that says why.

Lives here: what the numbers of a gate mean. Not here: the formulas (`evidence.py`), or what a
walk does about a verdict (`machine.py`).
"""

from __future__ import annotations

from enum import StrEnum
from math import exp, log

from pulumi_rollout.core.evidence import log_e_fail, log_e_pass, log_weighted_sum
from pulumi_rollout.core.plan import Frozen, Gate, Plan
from pulumi_rollout.core.state import Arm, Evidence, Reading, Sample, Start


class Verdict(StrEnum):
    """What a gate says now."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


class Judgement(Frozen):
    """A verdict and its numbers.

    + log_e_fail, log_e_pass: natural logs of the evidence for failing and for passing
    + step_total: canary requests since the current step began
    """

    verdict: Verdict
    log_e_fail: float
    log_e_pass: float
    step_total: int


def count(arm: Arm, sample: Sample) -> Arm:
    """Add what a new sample shows. A series absent at the begin has base 0, one that was there its
    first value; a counter that fell has been reset and counts from 0."""
    total, bad = arm.total, arm.bad
    for name, (value, is_bad) in sample.series.items():
        last = arm.counters.get(name, value if not arm.begun else 0.0)
        new = round(value - last if value >= last else value)
        total += new
        bad += new * is_bad
    counters = {**arm.counters, **{name: value for name, (value, _) in sample.series.items()}}
    return Arm(total=total, bad=bad, counters=counters, at=sample.at or arm.at, begun=True)


def fold(evidence: Evidence, reading: Reading, *, promoted: bool = False) -> Evidence:
    """A gate's memory after one more reading; without data only the reason is remembered.
    `promoted`: the apex has the new version's pods, so the apex's series count for the canary too."""
    if reading.no_data is not None:
        return evidence.model_copy(update={"no_data": reading.no_data})
    if promoted:
        both = Sample(
            series={**reading.stable.series, **reading.canary.series}, at=reading.stable.at or reading.canary.at
        )
        bases = {**evidence.stable.counters, **evidence.canary.counters}
        canary = count(evidence.canary.model_copy(update={"counters": bases}), both)
        return evidence.model_copy(update={"canary": canary, "no_data": None})
    return evidence.model_copy(
        update={
            "canary": count(evidence.canary, reading.canary),
            "stable": count(evidence.stable, reading.stable),
            "no_data": None,
        }
    )


def begin_step(evidence: Evidence) -> Evidence:
    """Start one more test for failing at the canary's present counts."""
    start = Start(total=evidence.canary.total, bad=evidence.canary.bad)
    return evidence.model_copy(update={"starts": (*evidence.starts, start)})


def judge(plan: Plan, gate: Gate, evidence: Evidence) -> Judgement:
    """What the evidence says so far.

    FAIL is a mixture of tests, one started at each step, with equal weights that were fixed before
    the walk; a test not started yet is a bet of nothing, E = 1. So errors that begin late are not
    diluted by a long healthy past. PASS is carried over all steps.
    """
    canary = evidence.canary
    starts = evidence.starts or (Start(total=0, bad=0),)
    tests = [log_e_fail(canary.total - start.total, canary.bad - start.bad, gate.max_bad_ratio) for start in starts]
    waiting = max(0, len(plan.steps) - len(tests))
    weights = [1 / (len(tests) + waiting)] * (len(tests) + waiting)
    failing = log_weighted_sum([*tests, *[0.0] * waiting], weights)
    passing = log_e_pass(canary.total, canary.bad, gate.max_bad_ratio)
    verdict = Verdict.UNDECIDED
    if failing >= log(1 / plan.gate_alpha):
        verdict = Verdict.FAIL
    elif passing >= log(1 / plan.beta):
        verdict = Verdict.PASS
    return Judgement(
        verdict=verdict,
        log_e_fail=failing,
        log_e_pass=passing,
        step_total=canary.total - starts[-1].total,
    )


def shared(plan: Plan, gate: Gate, evidence: Evidence) -> bool:
    """Whether stable fails the same test, so that a failure says nothing about the new version."""
    stable = evidence.stable
    return log_e_fail(stable.total, stable.bad, gate.max_bad_ratio) >= log(1 / plan.gate_alpha)


def explain(plan: Plan, gate: Gate, evidence: Evidence, held: str, now: float) -> str:
    """The numbers behind a failing gate, in the verdict's fixed form. `held`: "42 s at 20 %"."""
    canary, stable = evidence.canary, evidence.stable
    judgement = judge(plan, gate, evidence)
    threshold = 1 / plan.gate_alpha
    gates = f"{len(plan.gates)} gate{'s' if len(plan.gates) > 1 else ''}"
    age = f", data {max(0.0, now - canary.at):.1f} s old" if canary.at is not None else ""
    return (
        f"{gate.metric.replace('_', ' ')}: {canary.bad:,} of {canary.total:,} canary requests failed "
        f"({_percent(canary.bad, canary.total)}, limit {gate.max_bad_ratio * 100:g} %), "
        f"E = {_figure(judgement.log_e_fail)} >= {threshold:,.0f} (alpha {plan.alpha:g} over {gates}), "
        f"{held}{age}; stable {_percent(stable.bad, stable.total)} of {stable.total:,}"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "0 %"


def _figure(log_value: float) -> str:
    """An e-value for reading: plain up to a million, then its power of ten."""
    return f"{exp(log_value):,.0f}" if log_value < log(1e6) else f"1e{log_value / log(10):.0f}"
