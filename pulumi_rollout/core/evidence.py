"""The sequential tests: how strongly counts speak for or against an objective.

Lives here: the formulas, in log space, each with its source. Not here: what follows from them
(`gates.py`), or where counts come from.

A request is bad or not. The objective is that the share of bad requests p is at most p0. An
e-value is a bet against a hypothesis that cannot be expected to grow while it is true: by Ville's
inequality the chance that it *ever* reaches 1/alpha is at most alpha, so it may be looked at after
every request. Mixture over a Beta(1, 1) prior cut at p0: Howard, Ramdas, McAuliffe, Sekhon,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2), 2021.
Assumes that requests fail independently of each other.
"""

from __future__ import annotations

from math import exp, inf, lgamma, log, log1p


def log_beta(a: float, b: float) -> float:
    """ln B(a, b)."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_beta_tails(x: float, a: float, b: float) -> tuple[float, float]:
    """(ln I_x(a, b), ln (1 - I_x(a, b))), the regularised incomplete beta function and its complement.

    The smaller tail is computed directly, so that neither underflows: for 0 < x < 1, a > 0, b > 0.
    """
    if x < (a + 1) / (a + b + 2):
        lower = _log_lower_tail(x, a, b)
        return lower, _log_complement(lower)
    upper = _log_lower_tail(1 - x, b, a)
    return _log_complement(upper), upper


def _log_complement(log_p: float) -> float:
    """ln(1 - e^log_p)."""
    return log1p(-exp(log_p)) if log_p < 0 else -inf


def _log_lower_tail(x: float, a: float, b: float) -> float:
    """ln I_x(a, b) by Lentz's continued fraction (DLMF 8.17.22), which converges for x < (a+1)/(a+b+2)."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 100_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / (d if abs(d) > tiny else tiny)
            c = c if abs(c) > tiny else tiny
            fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return a * log(x) + b * log1p(-x) - log_beta(a, b) - log(a) + log(fraction)


def log_e_fail(total: int, bad: int, max_bad_ratio: float) -> float:
    """ln of the e-value against "p <= max_bad_ratio": large when the version fails its objective."""
    return _log_mixture(total, bad, max_bad_ratio, above=True)


def log_e_pass(total: int, bad: int, max_bad_ratio: float) -> float:
    """ln of the e-value against "p >= max_bad_ratio": large when the version meets its objective."""
    return _log_mixture(total, bad, max_bad_ratio, above=False)


def _log_mixture(total: int, bad: int, p0: float, *, above: bool) -> float:
    a, b = 1 + bad, 1 + total - bad
    posterior = log_beta_tails(p0, a, b)[above]
    prior = log1p(-p0) if above else log(p0)  # Beta(1, 1) is uniform
    return log_beta(a, b) + posterior - prior - bad * log(p0) - (total - bad) * log1p(-p0)


def log_weighted_sum(log_values: list[float], weights: list[float]) -> float:
    """ln of a weighted sum, given logs: a mixture of e-values whose weights sum to 1 is an e-value."""
    largest = max(log_values)
    return largest + log(sum(weight * exp(value - largest) for value, weight in zip(log_values, weights, strict=True)))
