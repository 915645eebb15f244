"""The sequential tests: how strongly counts speak for or against an objective.

Lives here: the formulas, in log space, each with its source and with what it assumes. Not here: what
follows from them (`gates/`), or where counts come from.

A request is bad or not; of n requests s are bad; the objective p0 is the largest share that may be.
An e-value is the wealth of a bet against a hypothesis: it begins with 1, is never negative, and cannot be
expected to grow while the hypothesis is true. By Ville's inequality (1939) the chance that it *ever* reaches
1/alpha is then at most alpha, so it may be looked at after every request, and for as long as one likes.

Against "p <= p0" one bets on every p above p0 at once: the mean likelihood ratio over a uniform prior,
Beta(1, 1), cut to (p0, 1]; against "p >= p0", over [0, p0). Howard, Ramdas, McAuliffe, Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021,
Propositions 6 and 7; Robbins, Annals of Mathematical Statistics 41(5), 1970, for the uncut prior.
Assumed is only that, whatever came before it, each request is bad with a chance of at most (at least) p0: the
chance may change from request to request. Failures that come in bursts break that.

How it is computed, with x = p/p0 and y = (1-p)/(1-p0): the mean of x^s y^(n-s) over all of [0, 1] has a
closed form, E = 1 / ((n+1) C(n,s) p0^s (1-p0)^(n-s)), and is the sum of the integrals over both sides of
p0. The side that does not hold the prior's updated mean is integrated directly: there the integrand falls
from 1 at p0. The other one is the rest of E. A log-concave density has at least 1/e of its mass on each
side of its mean (Grünbaum 1960), so the difference loses no digits, whatever the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from math import exp, expm1, inf, lgamma, log, log1p, pi

# Nodes and weights of the double-exponential rule for integrals of exp(-v) times something smooth over
# v > 0: v = exp(t - exp(-t)), t in equal steps (Takahasi and Mori, 1974). Beyond both ends is nothing.
_STEP = 1 / 8
_NODES = tuple((v, _STEP * v * (1 + exp(-t))) for t in (k * _STEP for k in range(-29, 30)) for v in (exp(t - exp(-t)),))

# Of the series of artanh(q): odd powers of q over these.
_ARTANH = tuple(range(3, 19, 2))


def log_e_fail(total: int, bad: int, max_bad_ratio: float) -> float:
    """ln of the e-value against "p <= max_bad_ratio": large when the version fails its objective."""
    return _log_sides(total, bad, max_bad_ratio)[1] - log1p(-max_bad_ratio)


def log_e_pass(total: int, bad: int, max_bad_ratio: float) -> float:
    """ln of the e-value against "p >= max_bad_ratio": large when the version meets its objective."""
    return _log_sides(total, bad, max_bad_ratio)[0] - log(max_bad_ratio)


def log_e_both(total: int, bad: int, p0: float) -> float:
    """ln of the e-value against "p = p0", of the prior that is not cut: -ln((n+1) times the binomial chance of s).

    The chance by its deviances, so that no large terms cancel: Loader, "Fast and accurate computation of
    binomial probabilities", 2000.
    """
    good = total - bad
    far = _deviance(bad, total * p0) + _deviance(good, total * (1 - p0)) - log(total + 1)
    if bad == 0 or good == 0:
        return far
    return far + 0.5 * log(2 * pi * bad * (good / total)) + _stirling(bad) + _stirling(good) - _stirling(total)


def _log_sides(total: int, bad: int, p0: float) -> tuple[float, float]:
    """ln of the integral of x^s y^(n-s) over p < p0, and over p > p0."""
    whole = log_e_both(total, bad, p0)
    if p0 < (bad + 1) / (total + 2):
        below = _log_tail(bad, total - bad, p0 / (1 - p0)) + log(p0)
        return below, whole + log1p(-exp(below - whole))
    above = _log_tail(total - bad, bad, (1 - p0) / p0) + log1p(-p0)
    return whole + log1p(-exp(above - whole)), above


def _log_tail(s: int, y: int, odds: float) -> float:
    """ln of the integral over v > 0 of exp(-(s+1) v + y ln(1 + odds (1 - exp(-v)))): the tail below p0,
    divided by p0, with p = p0 exp(-v). For (s+1) >= y odds, where the exponent falls, ever faster, from 0 at v = 0.
    """
    slope, curvature = s + 1 - y * odds, y * odds * (1 + odds)
    scale = 2 / (slope + (slope * slope + 2 * curvature) ** 0.5)  # where the exponent is about -1
    integral = 0.0
    for node, weight in _NODES:
        v = scale * node
        integral += weight * exp(y * log1p(-odds * expm1(-v)) - (s + 1) * v)
    return log(scale * integral)


def _deviance(x: int, mean: float) -> float:
    """x ln(x/mean) + mean - x. Near the mean by the series of artanh(q), q = (x-mean)/(x+mean), as
    ln(x/mean) = 2 artanh(q)."""
    if x == 0:
        return mean
    q = (x - mean) / (x + mean)
    if abs(q) > 0.1:
        return x * log(x / mean) + mean - x
    series, power = 0.0, q
    for k in _ARTANH:
        power *= q * q
        series += power / k
    return (x - mean) * q + 2 * x * series


def _stirling(n: int) -> float:
    """ln(n!) - ln(sqrt(2 pi n) (n/e)^n), for n > 0."""
    if n < 16:
        return lgamma(n + 1) - (n + 0.5) * log(n) + n - 0.5 * log(2 * pi)
    q = 1 / (n * n)
    return (1 / 12 - q * (1 / 360 - q * (1 / 1260 - q * (1 / 1680 - q / 1188)))) / n


@cache
def log_weight(order: int) -> float:
    """ln of the share of the stakes that a test has which begins as number `order`, the first one being 0.

    1 / ((k+1)(k+2)): fixed before the walk, and 1 in all over every k, so there may be any number of tests.
    """
    return -log((order + 1) * (order + 2))


def log_mixture(tests: Sequence[tuple[int, float]], begun: int) -> float:
    """ln of one e-value made of tests that begin one after another, so that failures that begin late are not
    diluted by a long healthy past: the weighted sum of the tests' e-values.

    + tests: order and ln of the e-value of each test that is still kept
    + begun: how many tests have ever begun

    A test is E = 1 until it begins, whenever that is decided, and looks at later requests only; so the sum
    begins with 1 and cannot be expected to grow, and Ville's inequality holds for it as a whole. The tests
    that have not begun add what is left of the weights, 1 / (begun+1). A test that is given up adds nothing,
    which can only make the sum smaller. Not diluted has a price: ln((k+1)(k+2)) of evidence.
    """
    weighted = [log_weight(order) + log_e for order, log_e in tests]
    weighted.append(-log(begun + 1))
    return log_sum(weighted)


def log_sum(values: Iterable[float]) -> float:
    """ln of the sum of e^value, however large or small the values are; of none it is -inf."""
    known = tuple(values)
    largest = max(known, default=-inf)
    return largest if largest == -inf else largest + log(sum([exp(value - largest) for value in known]))


def log_add(one: float, other: float) -> float:
    """ln(e^one + e^other); that of nothing is -inf."""
    larger, smaller = (one, other) if one > other else (other, one)
    return larger if smaller == -inf else larger + log1p(exp(smaller - larger))


def log_tails(total: int, bad: int, p: float) -> tuple[float, float]:
    """ln of the chances that of so many requests, each bad with chance p, fewer than `bad` are bad, and that at
    least `bad` are: I_p(s, n-s+1), DLMF 8.17.5, by the two sides of the integral above. 0 < p < 1."""
    if bad <= 0:
        return -inf, 0.0
    if bad > total:
        return 0.0, -inf
    below, above = _log_sides(total - 1, bad - 1, p)
    whole = log_e_both(total - 1, bad - 1, p)
    return above - whole, below - whole


def log_sprt(total: int, bad: int, p0: float, p1: float) -> float:
    """ln of the likelihood ratio of "p = p1" to "p = p0", p0 < p1: s ln(p1/p0) + (n-s) ln((1-p1)/(1-p0)).

    Wald's sequential probability ratio test, Annals of Mathematical Statistics 16(2), 1945. It passes at ln(beta) or
    below and fails at ln(1/alpha) or above: by Ville's inequality, for the ratio and for its inverse, a version that
    meets p0 fails with a chance of at most alpha, and one at p1 or worse passes with one of at most beta, whether the
    test ever ends or not. For a p1 that is named beforehand it needs the fewest requests; p1 wrong, it may need many
    more than `log_e_fail`, which has no p1. Assumed is the same as there: a chance of at most p0, or at least p1,
    at each request, whatever came before it; what lies between p0 and p1 may be decided either way.
    """
    gap = p1 - p0
    return bad * log1p(gap / p0) + (total - bad) * log1p(-gap / (1 - p0))


def most_log_e_fail(total: int, bad: int, p0: float) -> float:
    """No less than `log_e_fail`, at a tenth of its price: where this is small, nothing exact is needed.

    With no more bad requests than p0 allows, the likelihood falls from 1 at p0, so its mean over (p0, 1] is at most 1;
    else the integral over (p0, 1] is at most the one over all of [0, 1]. By less than 1 too much where the prior's
    updated mean is above p0, as at least 1/e of the whole is then above p0 (Grünbaum). For `log_e_pass`, exchange good
    and bad: most_log_e_fail(total, total - bad, 1 - p0).
    """
    return 0.0 if bad <= p0 * total else log_e_both(total, bad, p0) - log1p(-p0)
