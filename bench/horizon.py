"""How long a policy has to decide, and whether anybody could within that time.

The yardstick is not ours: the smallest test of a fixed number of requests, looked at once, that keeps the same level
and finds the truth in 4 of 5 cases. A test that may be looked at all the time needs more; with `FACTOR` times as
many requests a gate has to come to a decision. Not here: what it comes to (`gates.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from bench.scenarios import LIMIT, WEIGHTS, Case, Mode
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.simulate.tally import at_most
from pulumi_rollout.simulate.walk import channels

POWER, FACTOR = 0.8, 2.0
# Beyond that many requests, or bad ones, a fixed test is not looked for.
MOST = 1_000_000


@dataclass(frozen=True)
class Horizon:
    """+ seconds: how long the policy has; requests: that count, of the new version, meanwhile; decidable: see above"""

    seconds: float
    requests: float
    decidable: bool


def horizon(case: Case, plan: Plan, rate: float, mode: Mode) -> Horizon:
    """Of a release of this case at so many canary requests a second at the first weight."""
    lengths, requests, in_time = _timeline(case, plan, rate, mode)
    seconds = sum(lengths)
    if case.good and mode == "sufficient":
        return Horizon(seconds, sum(requests), in_time)
    counted = requests[-1] if _breaks_last(case) else sum(requests)
    enough = counted >= FACTOR * _needed(case, plan)
    if mode == "required" and _breaks_last(case):
        # Until then it is good, and has to be shown to be.
        first = rate * (plan.steps[0].max_wait_seconds - plan.limits.warm_up_seconds)
        enough = enough and first >= FACTOR * fixed_size(LIMIT, case.happens.canary.ratio, plan.beta)
    return Horizon(seconds, counted, in_time and enough)


def _timeline(case: Case, plan: Plan, rate: float, mode: Mode) -> tuple[list[float], list[float], bool]:
    """How long each step lasts and how many requests count in it, and whether each sees its least number. Where
    evidence is required, all has to be shown at the first step, or, of what breaks later, at the last."""
    limits, step = plan.limits, plan.steps[0]
    if mode == "required":
        late = _breaks_last(case)
        at = rate * (WEIGHTS[-1] / WEIGHTS[0] if late else 1)
        warm = limits.warm_up_of_step(plan.gates[0], len(WEIGHTS) if late else 1)
        return [step.max_wait_seconds], [at * (step.max_wait_seconds - warm)], True
    lengths, requests = [], []
    for number, weight in enumerate(WEIGHTS, 1):
        at = rate * weight / WEIGHTS[0]
        warm = limits.warm_up_of_step(plan.gates[0], number)
        length = max(step.interval_seconds, warm + limits.min_samples / at)
        lengths.append(min(length, step.max_wait_seconds))
        requests.append(at * max(0.0, lengths[-1] - warm))
        if length > step.max_wait_seconds:
            return lengths, requests, False
    return lengths, requests, True


def _breaks_last(case: Case) -> bool:
    return any(change.weight_percent == WEIGHTS[-1] for change in case.happens.canary.changes)


def _needed(case: Case, plan: Plan) -> float:
    """Requests of the new version that a test of fixed size needs."""
    ratio, stable = (course.last for course in case.happens.course(channels(plan)[0]))
    if case.compares and not case.good:
        # Of all bad requests, those of the new version, at the first weight's share.
        share, margin = WEIGHTS[0] / 100, 1.5
        shares = [r * share / (r * share + 1 - share) for r in (margin, ratio / stable)]
        bad = fixed_size(shares[0], shares[1], plan.gate_alpha)
        return bad / (ratio + stable * (1 - share) / share)
    if case.good and ratio >= LIMIT:
        return inf
    return fixed_size(LIMIT, ratio, plan.beta if case.good else plan.gate_alpha)


def fixed_size(p0: float, p1: float, level: float, power: float = POWER) -> int:
    """The smallest number of trials for which some bound tells p1 from p0: passed at p0 with a chance of at most
    `level`, and at p1 with one of at least `power`."""
    size = 1
    while size < MOST:
        if _tells(size, p0, p1, level, power):
            return size
        size += 1 + size // 50
    return MOST


def _tells(size: int, p0: float, p1: float, level: float, power: float) -> bool:
    lower = p1 < p0
    low, high = -1, size
    # The bound that uses the level best, by halving: at most `bound` bad ones pass (lower), or more than it fail.
    while high - low > 1:
        middle = (low + high) // 2
        chance = at_most(middle, size, p0)
        if chance <= level if lower else 1 - chance > level:
            low = middle
        else:
            high = middle
    if lower:
        return low >= 0 and at_most(low, size, p1) >= power
    return 1 - at_most(high, size, p1) >= power
