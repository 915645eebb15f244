"""What is known of a walk before anything moves, in words: its steps, and what its gates can show and catch.

Pure. Lives here: what preview and `rollout plan` say of a plan at the traffic that is seen. Not here: the arithmetic
(`arithmetic.py`), or how the traffic is measured (`readings.py`).
"""

from __future__ import annotations

import math

from pulumi_rollout.core.arithmetic import (
    requests_to_compare,
    requests_to_pass,
    smallest_caught,
    smallest_caught_beside,
    smallest_caught_in_blocks,
)
from pulumi_rollout.core.bursts import BLOCK_SECONDS
from pulumi_rollout.core.gates import Evidence, asks, saw_bursts
from pulumi_rollout.core.gates.failing import BURSTY_STAKE, WARM_STAKE
from pulumi_rollout.core.gates.verdict import what_is_bad
from pulumi_rollout.core.measures import Baseline, Gate, Objective, counting
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan, Step, lasting

CHANCE = 0.95


class Traffic(Frozen):
    """What an application gets now.

    + requests: of all its users within so many seconds
    + bad_ratio: gate -> the serving version's share of bad requests, where it is known
    """

    requests: int
    seconds: float
    bad_ratio: dict[str, float] = {}

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def most_per_second(self) -> float:
        """What it may be in truth."""
        return most_of(self.requests) / self.seconds


def most_of(number: float) -> float:
    """What a number that was seen may be in the mean: more than three standard deviations of a Poisson number above."""
    return number + 3 * math.sqrt(number + 1) + 3


def lines(plan: Plan, traffic: Traffic | None) -> list[str]:
    """The plan in words. + traffic: None where it is not known"""
    weights = ", ".join(str(step.weight_percent) for step in plan.steps)
    told = [f"steps: {weights} %, then all traffic; at most {lasting(plan.worst_case_seconds())} in all"]
    if plan.judging:
        told.append(f"alpha {plan.alpha:g} is shared by: {', '.join(plan.judging)}")
    rate = f"at {traffic.requests_per_second:.3g} requests a second " if traffic else ""
    for gate in plan.gates:
        words = [asks(gate)]
        if isinstance(gate, Objective) and (needed := requests_to_pass(gate.max_bad_ratio, plan.beta)) is not None:
            words.append(f"{needed:,} good requests show it")
        caught = _caught(plan, gate, traffic) if traffic and isinstance(gate, Objective | Baseline) else None
        if caught is not None:
            in_blocks = plan.failures == "bursty" and isinstance(gate, Objective)
            sure = f"in each block of {BLOCK_SECONDS:.0f} s" if in_blocks else f"with a chance of {100 * CHANCE:.0f} %"
            words.append(f"{rate}it catches {_percent(caught)} and more {sure}")
        told.append(f"{gate.id.replace('_', ' ')}: {'; '.join(words)}")
    return told


def shown(plan: Plan, evidence: dict[str, Evidence]) -> list[str]:
    """What is known of a version that has passed all steps, in words: by the requests that were seen, which share of
    bad ones would have been caught. Where evidence is required, `beta` says that; blocks of time promise none."""
    told = []
    for gate in plan.gates:
        if not isinstance(gate, Objective) or gate.dry_run or plan.evidence == "required" or plan.failures == "bursty":
            continue
        canary = evidence[gate.id].canary
        caught = None if saw_bursts(evidence[gate.id]) else _caught_within(plan, gate, canary.total)
        if caught is not None:
            seen = f"{canary.bad:,} of {canary.total:,} canary requests {what_is_bad(gate.metric)}"
            sure = f"{_percent(caught)} and more would have been caught with a chance of {100 * CHANCE:.0f} %"
            told.append(f"{gate.id.replace('_', ' ')}: {seen}; {sure}")
    return told


def problems(plan: Plan, traffic: Traffic | None) -> list[str]:
    """Why the plan cannot come to its end at this traffic, or at the most that it may be in truth: a step would wait
    for what never comes."""
    if traffic is None:
        return []
    most = traffic.most_per_second
    for number, step in enumerate(plan.steps, 1):
        where = f"step {number} ({step.weight_percent} %) ends without a decision: at {most:.3g} requests a second"
        for gate in counting(plan.gates):
            available = _requests(plan, gate, number, step.max_wait_seconds, most)
            within = f"within maxWait ({lasting(step.max_wait_seconds)}) the canary gets {available:,.0f}"
            if available < plan.limits.min_samples:
                return [f"{where} {within} of the {plan.limits.min_samples} requests that minSamples wants"]
            if plan.evidence == "required" and number == 1:  # what is shown stays shown
                needed, never = _needed(plan, gate, step, traffic)
                if needed is None:
                    return [f"no number of requests shows {gate.id}: {never}"]
                if needed > available:
                    return [f"{where} {within} of the {needed:,} requests that show {gate.id}"]
    return []


def _needed(plan: Plan, gate: Objective | Baseline, step: Step, traffic: Traffic) -> tuple[int | None, str]:
    """The least number of the canary's requests that can show what a gate wants, or why there is none."""
    if isinstance(gate, Objective):
        return requests_to_pass(gate.max_bad_ratio, plan.beta), "its limit is too close to none at all"
    if step.weight_percent == 100:
        return None, "once all traffic is on the new version there is nothing to compare it with"
    if gate.id not in traffic.bad_ratio:
        return 0, ""
    bad = traffic.bad_ratio[gate.id] * traffic.requests
    most = min(1.0, most_of(bad) / max(1, traffic.requests))
    never = f"the old version's requests, of which {100 * most:.2g} % at most are bad, are too good to be compared with"
    return requests_to_compare(most, gate.max_ratio, plan.beta, step.weight_percent), never


def _caught(plan: Plan, gate: Objective | Baseline, traffic: Traffic) -> float | None:
    """The smallest share of bad requests that is caught before promotion, if no step lasts longer than it has to."""
    canary = stable = 0.0
    for number, step in enumerate(plan.steps, 1):
        share = _requests(plan, gate, number, step.interval_seconds, traffic.requests_per_second)
        canary += max(share, plan.limits.min_samples)
        stable += max(share, plan.limits.min_samples) * (100 - step.weight_percent) / step.weight_percent
    if isinstance(gate, Baseline):
        usual = traffic.bad_ratio.get(gate.id, 0.001)
        return smallest_caught_beside(usual, gate.margin, plan.gate_alpha, int(canary), int(stable), CHANCE)
    if plan.failures == "bursty":
        seconds = sum(_counted(plan, gate, number, step.interval_seconds) for number, step in enumerate(plan.steps, 1))
        blocks = int(seconds / BLOCK_SECONDS)
        # The hard limit beside the blocks has the other half.
        return smallest_caught_in_blocks(gate.max_bad_ratio, plan.gate_alpha / 2, blocks, int(canary / (blocks or 1)))
    return _caught_within(plan, gate, int(canary))


def _caught_within(plan: Plan, gate: Objective, requests: int) -> float | None:
    """The smallest share of bad requests that is caught within so many of the canary's."""
    part = 1 / 2  # of the test that begins with the walk
    part *= 1 - WARM_STAKE if plan.limits.warms_up else 1
    part *= 1 - BURSTY_STAKE if plan.failures == "auto" else 1
    return smallest_caught(gate.max_bad_ratio, plan.gate_alpha * part, requests, CHANCE)


def _requests(plan: Plan, gate: Gate, number: int, seconds: float, per_second: float) -> float:
    """The canary's requests of a step that count for a gate."""
    return _counted(plan, gate, number, seconds) * per_second * plan.steps[number - 1].weight_percent / 100


def _counted(plan: Plan, gate: Gate, number: int, seconds: float) -> float:
    """The seconds of a step that count: those behind its warm-up."""
    return max(0.0, seconds - plan.limits.warm_up_of_step(gate, number))


def _percent(share: float) -> str:
    """Two digits of it, and never 1e+02."""
    return f"{100 * share:.2g} %" if share < 0.095 else f"{100 * share:.0f} %"
