"""How counts split between two versions: bets on the ratio of their rates, from any window on.

Pure. Lives here: what comparing bad requests (`comparison.py`) and checking shares of traffic (`shares.py`) have in
common. Not here: which counts are compared, and what follows.

In one window k1 are counted of the first version and k2 of the second one; the first is expected to have the share t
of them while both have the same rate. If its rate is r times the other's, that share is q(r) = t r / (t r + 1-t). The
wealth of a bet on r against r0 is multiplied by the likelihood ratio A^k1 B^k2, with A = q(r)/q(r0) and
B = (1-q(r))/(1-q(r0)); that is

    (r/r0)^k1 / (1 + t (r-r0) / (1 + t (r0-1)))^(k1+k2).

The mean for one count, q A + (1-q) B, is a straight line in the true share q and 1 at q(r0): with r > r0 it is at
most 1 for all true ratios up to r0, with r < r0 for all from r0 on. t may be another one in each window: only what
was counted in one window is ever compared, so what changes both versions alike changes nothing. Lindon and Malek,
"Anytime-valid inference for multinomial count data", NeurIPS 2022, with several ratios for a prior.

Each window begins one more test on each ratio, with weights that are fixed beforehand and 1 in all, so that what
begins late is not diluted by a long healthy past. All tests on one ratio are one sum: R <- (R + w_k) A^k1 B^k2. The
first test has half of all, as most faults are there from the begin; the later ones m / (2 (k+m-1) (k+m)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import exp, inf, log, log1p

from pulumi_rollout.core.evidence import log_add, log_sum
from pulumi_rollout.core.model import Frozen

# The ratios to bet on are densest just above the limit and end here; a larger true one is found no later.
_GREATEST, _RATIOS = 20.0, 8
# The m of the weights: so many windows begin with about the same stake.
_EVEN_WINDOWS = 60


class Bets(Frozen):
    """The wealth of tests on several ratios.

    + begun: how many tests there are on each ratio
    + log_wealth: ln of what all tests on a ratio have together, for each ratio; nothing before the first window
    """

    begun: int = 0
    log_wealth: tuple[float, ...] = ()


@cache
def ratios_above(limit: float) -> tuple[float, ...]:
    """The ratios to bet on against "at most `limit`"."""
    span = log(max(_GREATEST, 4 * limit) / limit)
    return tuple(limit * exp(span * (k / _RATIOS) ** 1.5) for k in range(1, _RATIOS + 1))


def log_factors(first: int, second: int, share: float, ratios: Sequence[float], limit: float) -> list[float]:
    """ln of what the wealth of a bet on each ratio against `limit` is multiplied by for these counts; 0 < share < 1."""
    part, counted = share / (1 + share * (limit - 1)), first + second
    return [first * log(ratio / limit) - counted * log1p(part * (ratio - limit)) for ratio in ratios]


def placed(bets: Bets, factors: Sequence[float]) -> Bets:
    """The bets after one more window with these `log_factors`, which begins one more test on each ratio."""
    weight = _log_weight(bets.begun) - log(len(factors))
    before = bets.log_wealth or (-inf,) * len(factors)
    wealth = [log_add(one, weight) + factor for one, factor in zip(before, factors, strict=True)]
    return bets.model_copy(update={"begun": bets.begun + 1, "log_wealth": tuple(wealth)})


def log_e_placed(bets: Bets) -> float:
    """ln of the e-value: what all tests have, and the weight of those that have not begun."""
    return log_sum((*bets.log_wealth, _log_waiting(bets.begun)))


def carried(log_wealth: Sequence[float], factors: Sequence[float]) -> tuple[float, ...]:
    """The wealth of tests that all began with the walk, one on each ratio, after one more window with these factors."""
    before = log_wealth or (-log(len(factors)),) * len(factors)
    return tuple(one + factor for one, factor in zip(before, factors, strict=True))


def log_e_carried(log_wealth: Sequence[float]) -> float:
    """ln of the e-value of such tests."""
    return log_sum(log_wealth) if log_wealth else 0.0


@cache
def _log_weight(order: int) -> float:
    """ln of the share of the stakes of the test that begins as number `order`, from 0."""
    if order == 0:
        return log(1 / 2)
    return log(_EVEN_WINDOWS / 2) - log((order + _EVEN_WINDOWS - 1) * (order + _EVEN_WINDOWS))


def _log_waiting(begun: int) -> float:
    """ln of what is left of the stakes when so many tests have begun."""
    return log(_EVEN_WINDOWS / 2) - log(begun + _EVEN_WINDOWS - 1) if begun else 0.0
