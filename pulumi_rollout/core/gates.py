"""From raw counters to a verdict: counting, judging, and the sentence that says why.

Lives here: what the numbers of a gate mean. Not here: the formulas (`evidence.py`), or what a
walk does about a verdict (`machine.py`).
"""

from __future__ import annotations

from enum import StrEnum
from math import exp, log, log1p
from typing import NamedTuple

from pulumi_rollout.core.bursts import BLOCK_SECONDS, BURSTY_DISPERSION, Blocks, close, dispersion, log_e_blocks
from pulumi_rollout.core.evidence import log_e_fail, log_e_pass, log_mixture, log_weight
from pulumi_rollout.core.plan import Frozen, Gate, Plan
from pulumi_rollout.core.state import Arm, Evidence, Reading, Sample, Start

# A test for failing begins with the walk, with each step, and when the last one is as old as this.
START_EVERY_SECONDS = 300.0
# Of those begun after the walk itself, so many are kept: more than a walk of an hour has.
MOST_STARTS = 32
# With bursts, so many times the objective is failing whatever comes in blocks.
HARD_LIMIT_FACTOR = 10


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
    canary, stable = evidence.canary, evidence.stable
    if promoted:
        both = Sample(
            series={**reading.stable.series, **reading.canary.series}, at=reading.stable.at or reading.canary.at
        )
        bases = {**stable.counters, **canary.counters}
        canary = count(canary.model_copy(update={"counters": bases}), both)
    else:
        canary, stable = count(canary, reading.canary), count(stable, reading.stable)
    counted = evidence.model_copy(update={"canary": canary, "stable": stable, "no_data": None})
    return _start(counted) if _is_start_due(counted) else counted


def bet(gate: Gate, evidence: Evidence) -> Evidence:
    """A gate's memory after a look: blocks of time that are over are closed, both versions' at once."""
    now, begun = _newest(evidence), evidence.block_at
    if now is None or (begun is not None and now - begun < BLOCK_SECONDS):
        return evidence
    if begun is None:
        return evidence.model_copy(update={"block_at": now})
    canary, stable = evidence.canary, evidence.stable
    update = {
        "block_at": now,
        "canary_blocks": close(evidence.canary_blocks, canary.total, canary.bad, gate.max_bad_ratio),
        "stable_blocks": close(evidence.stable_blocks, stable.total, stable.bad, gate.max_bad_ratio),
        "bursty": evidence.bursty or dispersion(evidence.stable_blocks) >= BURSTY_DISPERSION,
    }
    return evidence.model_copy(update=update)


def begin_step(evidence: Evidence) -> Evidence:
    """Start one more test for failing at the present counts."""
    return _start(evidence).model_copy(update={"step_from": evidence.canary.total})


def _is_start_due(evidence: Evidence) -> bool:
    """Looks at times and at the number of requests alone, never at what came of them."""
    last, now = evidence.starts[-1] if evidence.starts else None, _newest(evidence)
    if last is None or last.at is None or now is None:
        return False
    return now - last.at >= START_EVERY_SECONDS and evidence.canary.total > last.total


def _start(evidence: Evidence) -> Evidence:
    """Without a request since the last start it is the same test again. Beyond MOST_STARTS the oldest one
    is given up, but never that of the walk's begin, which finds what is only a little too bad."""
    canary, stable = evidence.canary, evidence.stable
    start = Start(
        total=canary.total, bad=canary.bad, stable_total=stable.total, stable_bad=stable.bad, at=_newest(evidence)
    )
    same = bool(evidence.starts) and evidence.starts[-1].total == canary.total
    starts = (*(evidence.starts[:-1] if same else evidence.starts), start)
    surplus = max(0, len(starts) - MOST_STARTS)
    return evidence.model_copy(update={"starts": starts[surplus:], "given_up": evidence.given_up + surplus})


def _newest(evidence: Evidence) -> float | None:
    """The time of the newest number of either version."""
    return max((arm.at for arm in (evidence.canary, evidence.stable) if arm.at is not None), default=None)


class _Test(NamedTuple):
    """One test for failing: its order among all, and both versions' counts since it began."""

    order: int
    total: int
    bad: int
    stable_total: int
    stable_bad: int


def _tests(evidence: Evidence) -> list[_Test]:
    """Those that are kept: of the walk's begin, then of its starts."""
    canary, stable = evidence.canary, evidence.stable
    since = [
        _Test(
            order=order,
            total=canary.total - start.total,
            bad=canary.bad - start.bad,
            stable_total=stable.total - start.stable_total,
            stable_bad=stable.bad - start.stable_bad,
        )
        for order, start in enumerate(evidence.starts, 1 + evidence.given_up)
    ]
    return [_Test(0, canary.total, canary.bad, stable.total, stable.bad), *since]


def _is_bursty(plan: Plan, evidence: Evidence) -> bool:
    return plan.failures == "bursty" or (plan.failures == "auto" and evidence.bursty)


def _log_failing(plan: Plan, gate: Gate, evidence: Evidence, tests: list[_Test], blocks: Blocks) -> float:
    """ln of the evidence for failing. Under `auto` there are two tests, of which only one counts at a time:
    each has half of alpha, so that it does not matter when, or why, one changes to the other."""
    share = log(2) if plan.failures == "auto" else 0.0
    if _is_bursty(plan, evidence):
        return _log_failing_in_bursts(gate, tests[0], blocks) - share
    values = [(test.order, log_e_fail(test.total, test.bad, gate.max_bad_ratio)) for test in tests]
    return log_mixture(values, begun=tests[-1].order + 1) - share


def _log_failing_in_bursts(gate: Gate, whole: _Test, blocks: Blocks) -> float:
    """Half of the stake is on blocks, half on single requests against a limit that is so much higher: what is
    broken from the begin is found before the first block is over. Only from the begin, as a burst just behind
    a later start would be all that this test has seen; one in the first seconds of a walk is not allowed for.
    """
    hard_limit = HARD_LIMIT_FACTOR * gate.max_bad_ratio
    if hard_limit >= 1:
        return log_e_blocks(blocks)
    hard, in_blocks = log_e_fail(whole.total, whole.bad, hard_limit), log_e_blocks(blocks)
    return max(hard, in_blocks) + log1p(exp(-abs(hard - in_blocks))) - log(2)


def judge(plan: Plan, gate: Gate, evidence: Evidence) -> Judgement:
    """What the evidence says so far. FAIL goes before PASS, which is one test carried over all steps. With
    bursts nothing passes: that no long one is still to come could only be shown in hours."""
    canary = evidence.canary
    failing = _log_failing(plan, gate, evidence, _tests(evidence), evidence.canary_blocks)
    passing = log_e_pass(canary.total, canary.bad, gate.max_bad_ratio)
    verdict = Verdict.UNDECIDED
    if failing >= log(1 / plan.gate_alpha):
        verdict = Verdict.FAIL
    elif passing >= log(1 / plan.beta) and not _is_bursty(plan, evidence):
        verdict = Verdict.PASS
    return Judgement(
        verdict=verdict,
        log_e_fail=failing,
        log_e_pass=passing,
        step_total=canary.total - evidence.step_from,
    )


def shared(plan: Plan, gate: Gate, evidence: Evidence) -> bool:
    """Whether stable fails the same test, so that a failure says nothing about the new version."""
    tests = [test._replace(total=test.stable_total, bad=test.stable_bad) for test in _tests(evidence)]
    return _log_failing(plan, gate, evidence, tests, evidence.stable_blocks) >= log(1 / plan.gate_alpha)


def explain(plan: Plan, gate: Gate, evidence: Evidence, held: str, now: float) -> str:
    """The numbers behind a failing gate, in the verdict's fixed form: counts are since the begin of the test
    that says the most, E is of all tests. `held`: "42 s at 20 %"."""
    tests, limit, bursty = _tests(evidence), gate.max_bad_ratio, _is_bursty(plan, evidence)
    kept = tests[:1] if bursty else tests
    test = max(kept, key=lambda test: log_weight(test.order) + log_e_fail(test.total, test.bad, limit))
    log_e = _log_failing(plan, gate, evidence, tests, evidence.canary_blocks)
    gates = f"{len(plan.gates)} gate{'s' if len(plan.gates) > 1 else ''}"
    how = f", as failures come in bursts: by blocks of {BLOCK_SECONDS:.0f} s" if bursty else ""
    age = f", data {max(0.0, now - evidence.canary.at):.1f} s old" if evidence.canary.at is not None else ""
    return (
        f"{gate.metric.replace('_', ' ')}: {test.bad:,} of {'the last ' if test.order else ''}{test.total:,} "
        f"canary requests failed ({_percent(test.bad, test.total)}, limit {limit * 100:g} %), "
        f"E = {_figure(log_e)} >= {1 / plan.gate_alpha:,.0f} (alpha {plan.alpha:g} over {gates}{how}), "
        f"{held}{age}; stable {_percent(test.stable_bad, test.stable_total)} of {test.stable_total:,}"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "0 %"


def _figure(log_value: float) -> str:
    """An e-value for reading: plain up to a million, then its power of ten."""
    return f"{exp(log_value):,.0f}" if log_value < log(1e6) else f"1e{log_value / log(10):.0f}"
