"""What a plan can show and what it can catch, before anything moves: requests and ratios for given chances.

Pure. Lives here: the tests solved for the number of requests, or for the share of bad ones. Not here: the tests
themselves, or how a preview says it.

All answers err on the cautious side in the same way: they ask what is decided by a look at the end of the requests. A
gate looks at them all the time, so a version is found or shown at least as often as said. They are for requests that
fail independently of one another and for the same chance throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log, log1p

from pulumi_rollout.core.bursts import Blocks, close, log_e_blocks
from pulumi_rollout.core.comparison import ratios_below
from pulumi_rollout.core.evidence import log_e_fail, log_e_pass, log_tails
from pulumi_rollout.core.splits import Bets, carried, log_e_carried, log_e_placed, log_factors, placed, ratios_above

# Beyond so many requests an answer is as good as never.
_MOST_REQUESTS = 10**9
# Of longer runs of blocks only an hour is looked at, as it is done block by block; what is caught in it is caught.
_MOST_BLOCKS = 360


def requests_to_pass(max_bad_ratio: float, beta: float, bad_ratio: float = 0.0, chance: float = 0.95) -> int | None:
    """The least number of requests after which a version with this bad ratio has passed with this chance, by
    `log_e_pass`; for a ratio of 0, for certain. None if that is never: at the limit, or so close to it.

    For each number of bad requests there is a least number in all that passes; the answer is the first of these at
    which the binomial chance of no more bad ones suffices.
    """
    if bad_ratio >= max_bad_ratio:
        return None

    def passing(bad: int) -> int:
        # While the ratio of bad ones is not below the limit, nothing speaks for it.
        low, spread = int(bad / max_bad_ratio), (bad + 1) ** 0.5 / max_bad_ratio
        return _least(
            lambda total: log_e_pass(total, bad, max_bad_ratio) >= log(1 / beta), low, _MOST_REQUESTS, ceil(spread)
        )

    def suffices(bad: int) -> bool:
        return bad_ratio == 0 or log_tails(passing(bad), bad + 1, bad_ratio)[0] >= log(chance)

    total = passing(_least(suffices, 0, int(_MOST_REQUESTS * max_bad_ratio)))
    return total if total < _MOST_REQUESTS else None


def smallest_caught(max_bad_ratio: float, alpha_share: float, requests: int, chance: float = 0.95) -> float | None:
    """The smallest bad ratio that the test for failing catches within so many requests with this chance, by
    `log_e_fail`; None when even a version that fails them all is not caught.

    + alpha_share: what of alpha the test that begins with these requests has: the gate's share, times the weight of
      the test's place in `log_mixture` (1/2 for the one that begins with the walk, 1/6 with the first step), and
      half of that where failures are `auto`

    It is an upper bound of what is caught, as other tests and earlier looks are left out.
    """
    if log_e_fail(requests, requests, max_bad_ratio) < log(1 / alpha_share):
        return None
    bad = _least(lambda bad: log_e_fail(requests, bad, max_bad_ratio) >= log(1 / alpha_share), 0, requests)
    return _least_ratio(requests, bad, chance)


def smallest_caught_in_blocks(max_bad_ratio: float, alpha_share: float, blocks: int, requests: int) -> float | None:
    """The smallest bad ratio that the test by blocks catches within so many blocks of so many requests each, if each
    block has it, to a hundredth of the limit; None when there is none. Without a chance, as blocks promise nothing
    about how failures lie in them.

    + alpha_share: the gate's share of alpha, halved for the hard limit beside the blocks, and again where failures
      are `auto`
    """
    fewer = min(requests, ceil(100 / max_bad_ratio))

    def caught(bad: int) -> bool:
        known = Blocks()
        for _ in range(min(blocks, _MOST_BLOCKS)):
            known = close(known, known.total + fewer, known.bad + bad, max_bad_ratio)
            if log_e_blocks(known) >= log(1 / alpha_share):
                return True
        return False

    return _least(caught, int(max_bad_ratio * fewer), fewer) / fewer if caught(fewer) else None


def smallest_caught_beside(
    stable_bad_ratio: float,
    margin: float,
    alpha_share: float,
    canary_requests: int,
    stable_requests: int,
    chance: float = 0.95,
) -> float | None:
    """The smallest bad ratio of the canary that the comparison catches with this chance, beside a baseline with a
    ratio of its own, in windows with so many requests of both in all; None when even one of 1 is not caught.

    + alpha_share: the gate's share of alpha; for a fault that begins with the first window

    Half of what the chance leaves is for a baseline with more bad requests than expected, half for a canary with
    fewer; so it is an upper bound for this reason too. One window stands for all with the same weight: their first
    test has the same wealth, and what else the mixture holds is less than the 1/2 that is asked for in addition.
    """
    if canary_requests == 0 or stable_requests == 0:
        return None
    each = (1 + chance) / 2
    stable_bad = _quantile(stable_requests, stable_bad_ratio, each)
    share = canary_requests / (canary_requests + stable_requests)

    def caught(bad: int) -> bool:
        factors = log_factors(bad, stable_bad, share, ratios_above(margin), margin)
        return log_e_placed(placed(Bets(), factors)) >= log(1 / alpha_share + 1 / 2)

    if not caught(canary_requests):
        return None
    return _least_ratio(canary_requests, _least(caught, 0, canary_requests), each)


def requests_to_compare(
    bad_ratio: float, max_ratio: float, beta: float, weight_percent: float, chance: float = 0.95
) -> int | None:
    """The least number of the canary's requests at this weight after which it is shown, with this chance, to fail less
    than max_ratio times as often as the baseline, if both have this bad ratio. None if that is never: without a bad
    request there is nothing to compare, and at a weight of 100 nothing to compare with. Here too half of what the
    chance leaves is for each version, so it is more than is needed.
    """
    if bad_ratio == 0 or not 0 < weight_percent < 100:
        return None
    each, share = (1 + chance) / 2, weight_percent / 100

    def passing(total: int) -> bool:
        others = int(total * (1 - share) / share)
        bad, others_bad = _quantile(total, bad_ratio, each), others - _quantile(others, 1 - bad_ratio, each)
        factors = log_factors(bad, others_bad, share, ratios_below(max_ratio), max_ratio)
        return log_e_carried(carried((), factors)) >= log(1 / beta)

    # Even if only the baseline had bad requests, so many of them are needed.
    others_bad = log(1 / beta) / log1p(share * max_ratio / (1 - share))
    low = int(others_bad / bad_ratio * share / (1 - share))
    total = _least(passing, max(1, low), _MOST_REQUESTS, max(1, low))
    return total if total < _MOST_REQUESTS else None


def _least(holds: Callable[[int], bool], low: int, high: int, step: int = 1) -> int:
    """The least number from `low` for which something holds that holds for all larger ones too; `high` if there is
    none before. Looked for in steps that double, then between the last two."""
    probe = low
    while probe < high and not holds(probe):
        low, probe, step = probe + 1, min(high, probe + step), 2 * step
    while low < probe:
        middle = (low + probe) // 2
        low, probe = (low, middle) if holds(middle) else (middle + 1, probe)
    return low


def _quantile(total: int, p: float, chance: float) -> int:
    """The least number that the bad ones of so many, each with chance p, do not exceed with this chance, which is at
    least 1/2, so that the number is not below the mean."""
    if p in (0, 1):
        return round(total * p)
    spread = ceil((total * p * (1 - p)) ** 0.5)
    return _least(lambda bad: log_tails(total, bad + 1, p)[0] >= log(chance), int(total * p), total, max(1, spread))


def _least_ratio(total: int, bad: int, chance: float) -> float:
    """The smallest chance to be bad with which at least so many of all are bad with this chance, to 1e-9 of itself."""
    low, high = 0.0, 1.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if log_tails(total, bad, middle)[1] >= log(chance) else (middle, high)
    return high
