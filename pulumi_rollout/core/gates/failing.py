"""What the tests of an objective say together against a version: one e-value, whatever is bet on.

Pure. Lives here: a weighted sum of tests that begin with the walk, with each step and every five minutes; the same of
the warm-up's requests, against a higher limit; and, for failures that come in bursts, of bets on blocks of time. Not
here: when a test begins, or what follows (`objective.py`); the formulas (`evidence.py`, `bursts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

from pulumi_rollout.core.bursts import Blocks, log_e_blocks
from pulumi_rollout.core.counts import Arm, all_of
from pulumi_rollout.core.evidence import log_e_fail, log_mixture, log_sum, most_log_e_fail
from pulumi_rollout.core.gates.verdict import Numbers, threshold
from pulumi_rollout.core.measures import Objective
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan

# With bursts, this share of all requests is failing whatever comes in blocks.
HARD_LIMIT = 0.5
# While it warms up, so many times the objective is failing. A cold version is slow rather than wrong.
WARM_UP_FACTORS = {"success_rate": 2.0, "latency": 10.0, "query": 2.0}
# The stake on the warm-up, and, under `auto`, on failures that come in bursts: the rest is on all else.
WARM_STAKE, BURSTY_STAKE = 0.5, 0.2

# ln of an e-value from the number of requests, how many were bad, and the limit; or an upper bound of it.
LogE = Callable[[int, int, float], float]


class Start(Frozen):
    """Both versions' counts when a test for failing began, which looks at later requests only.

    + at: time of the newest number then
    """

    total: int
    bad: int
    stable_total: int = 0
    stable_bad: int = 0
    warm_total: int = 0
    warm_bad: int = 0
    stable_warm_total: int = 0
    stable_warm_bad: int = 0
    at: float | None = None


class OneTest(NamedTuple):
    """One test for failing: its order among all, and both versions' counts since it began."""

    order: int
    total: int
    bad: int
    stable_total: int
    stable_bad: int
    warm_total: int = 0
    warm_bad: int = 0
    stable_warm_total: int = 0
    stable_warm_bad: int = 0


# Order, requests and bad ones of each test.
Totals = Sequence[tuple[int, int, int]]


class Version(NamedTuple):
    """One version's numbers, as the tests have them. + warm: of the warm-up's requests"""

    totals: Totals
    arm: Arm
    blocks: Blocks
    warm: Totals = ()


def kept(starts: Sequence[Start], given_up: int, numbers: Numbers) -> list[OneTest]:
    """The tests that are under way: of the walk's begin, then of its starts."""
    canary, stable = numbers.canary, numbers.stable
    return [
        OneTest(
            order,
            canary.total - start.total,
            canary.bad - start.bad,
            stable.total - start.stable_total,
            stable.bad - start.stable_bad,
            canary.warm_total - start.warm_total,
            canary.warm_bad - start.warm_bad,
            stable.warm_total - start.stable_warm_total,
            stable.warm_bad - start.stable_warm_bad,
        )
        for order, start in [(0, _WALK), *enumerate(starts, 1 + given_up)]
    ]


_WALK = Start(total=0, bad=0)


def fails(plan: Plan, gate: Objective, version: Version, *, bursty: bool) -> tuple[bool, float]:
    """Whether a version fails, and by which evidence. The exact one costs ten times as much as its upper bound, and is
    looked for only where the bound suffices to fail."""
    most = log_failing(plan, gate, version, bursty=bursty, log_e=most_log_e_fail)
    if most < threshold(plan):
        return False, most
    log_e = log_failing(plan, gate, version, bursty=bursty)
    return log_e >= threshold(plan), log_e


def log_failing(plan: Plan, gate: Objective, version: Version, *, bursty: bool, log_e: LogE = log_e_fail) -> float:
    """ln of the evidence for failing. Under `auto` there are two kinds of tests, of which only one counts at a time:
    each has its part of alpha, so that it does not matter when, or why, one changes to the other."""
    if bursty:
        bursts = _log_of_bursts(gate, version, log_e)
        return bursts + (log(BURSTY_STAKE) if plan.failures == "auto" else 0.0)
    share = log(1 - BURSTY_STAKE) if plan.failures == "auto" else 0.0
    begun = log_of_begun(gate, version.totals, log_e)
    if not plan.limits.warms_up:
        return begun + share
    warm = log_of_warm_up(gate, version.warm, log_e)
    return log_sum([begun + log(1 - WARM_STAKE), warm + log(WARM_STAKE)]) + share


def log_of_begun(gate: Objective, totals: Totals, log_e: LogE = log_e_fail) -> float:
    """ln of the evidence of the tests that have begun, each of later requests only."""
    values = [(order, log_e(total, bad, gate.max_bad_ratio)) for order, total, bad in totals]
    return log_mixture(values, begun=totals[-1][0] + 1)


def log_of_warm_up(gate: Objective, totals: Totals, log_e: LogE = log_e_fail) -> float:
    """The same of the warm-up's requests, against a limit that only what is broken passes; none where that would be
    all of them."""
    limit = warm_up_limit(gate)
    if limit >= 1 or not any(total for _, total, _ in totals):
        return 0.0
    return log_mixture([(order, log_e(total, bad, limit)) for order, total, bad in totals], begun=totals[-1][0] + 1)


def warm_up_limit(gate: Objective) -> float:
    """The largest share that may be bad while it warms up."""
    return gate.max_bad_ratio * WARM_UP_FACTORS[gate.metric.name]


def _log_of_bursts(gate: Objective, version: Version, log_e: LogE) -> float:
    """Half of the stake is on blocks, half on single requests against a limit that is so much higher: what is
    broken from the begin is found before the first block is over. Only from the begin, as a burst just behind
    a later start would be all that this test has seen; of one in the walk's very first seconds it is so too, which
    is why the limit is no lower: a burst of 2 s is half of all until 4 s, and a tenth until 20 s.
    """
    if gate.max_bad_ratio >= HARD_LIMIT:
        return log_e_blocks(version.blocks)
    return log_sum([log_e(*all_of(version.arm), HARD_LIMIT), log_e_blocks(version.blocks)]) - log(2)
