"""Numbers drawn at random: how many requests come, and how many of them are bad.

Exact, and quick at any size. Not here: what is drawn for (`traffic.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, floor, inf, lgamma, log, sqrt
from random import Random

# Below this mean it is quicker to count one by one; the rejections below need it to be at least that.
_FEW = 10.0


def poisson(rng: Random, mean: float) -> int:
    """How often something happens that happens `mean` times on average, each time on its own."""
    if mean < _FEW:
        left, product, number = exp(-mean), rng.random(), 0
        while product > left:
            product *= rng.random()
            number += 1
        return number
    log_mean = log(mean)
    b = 0.931 + 2.53 * sqrt(mean)
    a, inverse, squeeze = -0.059 + 0.02483 * b, 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    return _rejected(rng, a, b, mean + 0.43, squeeze, inverse, lambda k: k * log_mean - mean - lgamma(k + 1))


def binomial(rng: Random, trials: int, chance: float) -> int:
    """How many of so many trials succeed."""
    if chance <= 0 or trials == 0:
        return 0
    if chance > 0.5:
        return trials - binomial(rng, trials, 1 - chance)
    mean = trials * chance
    if mean < _FEW:
        # The gaps between successes are geometric.
        at, number, scale = -1, 0, log(1 - chance)
        while (at := at + 1 + int(log(1 - rng.random()) / scale)) < trials:
            number += 1
        return number
    deviation, odds, mode = sqrt(mean * (1 - chance)), log(chance / (1 - chance)), int((trials + 1) * chance)
    b = 1.15 + 2.53 * deviation
    a, inverse, squeeze = -0.0873 + 0.0248 * b + 0.01 * chance, (2.83 + 5.1 / b) * deviation, 0.92 - 4.2 / b
    most = lgamma(mode + 1) + lgamma(trials - mode + 1)

    def log_ratio(k: int) -> float:
        """ln of the chance of k over that of the mode."""
        return most - lgamma(k + 1) - lgamma(trials - k + 1) + (k - mode) * odds

    return _rejected(rng, a, b, mean + 0.5, squeeze, inverse, log_ratio, trials)


def _rejected(
    rng: Random,
    a: float,
    b: float,
    centre: float,
    squeeze: float,
    inverse: float,
    log_ratio: Callable[[int], float],
    most: float = inf,
) -> int:
    """Transformed rejection with a squeeze: W. Hörmann, "The transformed rejection method for generating Poisson
    random variables", Insurance: Mathematics and Economics 12, 1993, and "The generation of binomial random
    variates", Journal of Statistical Computation and Simulation 46, 1993, from which all constants are."""
    while True:
        u, v = rng.random() - 0.5, rng.random()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        k = floor((2 * a / us + b) * u + centre)
        if us >= 0.07 and v <= squeeze:
            return k
        if 0 <= k <= most and not (us < 0.013 and v > us) and log(v * inverse / (a / (us * us) + b)) <= log_ratio(k):
            return k
