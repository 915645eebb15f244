"""Canary against baseline: whether the new version fails more often than the old one did in the same seconds.

Pure. Lives here: three sequential tests on the ratio of both versions' shares of bad requests. Not here: the bets
themselves (`splits.py`), single limits (`evidence.py`), or what follows from the evidence (`gates/`).

A window is a stretch of time that both versions' counts cover. Of its requests nc are the canary's and nb the
baseline's, kc and kb of them bad; r is how many times as large the canary's share of bad ones is. If r = 1, a bad
request is the canary's with chance t = nc / (nc+nb), by the requests that were seen and not by the weight. So shared
outages and busy hours say nothing.

If the weight changed in the window, the bad requests may all be of its one end: of an outage that begins behind a
rise, more than t are the canary's. Against "no worse" t is then the largest share that there was, against "at least
as bad" the smallest one: the mean of a factor falls, or rises, with t, so both stay e-values. A window that begins
without a canary says nothing of the second kind, one that ends without a baseline nothing of the first.

What the e-values rest on, for a bet on r > r0 against "ratio <= r0"; for r < r0 the other way round:

- Let each request be bad with some chance, whatever came before, and mc and mb be the means of these chances over
  the window's requests. With A and B of `splits.py` the window's factor has a mean of at most
  (1 + mc (A-1))^nc (1 + mb (B-1))^nb <= exp(nc mc (A-1) + nb mb (B-1)), since 1+x <= e^x. For mc = r0 mb the exponent
  is a multiple of q(r0) A + (1-q(r0)) B - 1 = 0, for mc < r0 mb it is smaller. So all that is assumed is
  mc <= r0 mb in each window, and the test is exact for rare failures and cautious for frequent ones.
- Where the proxy draws the version for each request, no chances are needed for a canary that fails like the baseline:
  of the K bad requests, however they came about, kc is hypergeometric, and by Hoeffding ("Probability inequalities
  for sums of bounded random variables", JASA 58, 1963, theorem 4) the factor's mean is no larger than with a
  binomial of K and t <= q(r0). So bursts that hit both versions are no evidence for "worse", nor for "better".

Not covered: bursts of the canary's own, whose mean over hours would be allowed; counts of both versions that are of
different seconds; retries that make a window's number of requests depend on how the first tries ended.
"""

from __future__ import annotations

from math import exp, log
from typing import Any

from pulumi_rollout.core.evidence import log_sum
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.splits import Bets, carried, log_e_carried, log_e_placed, log_factors, placed, ratios_above

# To bet on against "at least 1".
_BETTER = (0.8, 0.6, 0.4, 0.2, 0.1, 0.05)


class Comparison(Frozen):
    """What is remembered of all windows.

    + worse: bets on ratios above the margin
    + better: bets on ratios below 1
    + alike: ln of the wealth of each bet on a ratio below the largest one
    """

    worse: Bets = Bets()
    better: Bets = Bets()
    alike: tuple[float, ...] = ()


def ratios_below(limit: float) -> tuple[float, ...]:
    """The ratios to bet on against "at least `limit`", above 1: that of a version that is no worse, and around it."""
    return (limit**0.5, 1.0, 0.7, 0.5, 0.25)


def closed(
    state: Comparison,
    canary_total: int,
    canary_bad: int,
    stable_total: int,
    stable_bad: int,
    lowest_percent: int = 0,
    highest_percent: int = 0,
    *,
    margin: float,
    max_ratio: float | None = None,
) -> Comparison:
    """The state after one more window with these counts; margin >= 1 and max_ratio > 1 are those of all windows.
    Without a max_ratio nothing is ever shown to be below it.

    + lowest_percent, highest_percent: of the weights in the window, where they are not the same

    A window in which one version had no request, or neither a bad one, says nothing: each factor would be 1. It does
    not begin tests either, so that quiet hours do not use up weights. Whether it counts may depend on what was seen in
    it, as a stake that is laid and taken back at a factor of 1 has won and lost nothing.
    """
    bad = canary_bad + stable_bad
    if canary_total == 0 or stable_total == 0 or bad == 0:
        return state
    least = most = canary_total / (canary_total + stable_total)
    if lowest_percent < highest_percent:
        least, most = min(least, lowest_percent / 100), max(most, highest_percent / 100)
    change: dict[str, Any] = {}
    if most < 1:
        change["worse"] = placed(state.worse, log_factors(canary_bad, stable_bad, most, ratios_above(margin), margin))
    if least > 0:
        change["better"] = placed(state.better, log_factors(canary_bad, stable_bad, least, _BETTER, 1))
    if least > 0 and max_ratio is not None:
        ratios = ratios_below(max_ratio)
        change["alike"] = carried(state.alike, log_factors(canary_bad, stable_bad, least, ratios, max_ratio))
    return state.model_copy(update=change)


def log_e_worse(state: Comparison) -> float:
    """ln of the e-value against "ratio <= margin": large when the canary is worse than the margin allows. From any
    window on: a ratio that was kept for hours and then broken speaks as soon as one that was never kept."""
    return log_e_placed(state.worse)


def log_e_alike(state: Comparison) -> float:
    """ln of the e-value against "ratio >= max_ratio": large when the canary is shown to be below it. Over all windows
    alike, so that each step adds to what the earlier ones have shown. Without a bad request there is nothing to
    compare, and nothing is ever shown."""
    return log_e_carried(state.alike)


def log_e_better(state: Comparison) -> float:
    """ln of the e-value against "ratio >= 1": large when the canary is better than a baseline that is broken, from
    any window on."""
    return log_e_placed(state.better)


def likely_ratio(state: Comparison, margin: float) -> float | None:
    """For messages: the ratio that the evidence for "worse" is about, the geometric mean of those that were bet on by
    what each has won. Like the evidence it is of the windows since a fault began, where the counts of the whole walk
    would hide it. At most the largest ratio, and above the margin; None before the first window."""
    wealth = state.worse.log_wealth
    if not wealth:
        return None
    whole = log_sum(wealth)
    return exp(sum(exp(one - whole) * log(ratio) for one, ratio in zip(wealth, ratios_above(margin), strict=True)))
