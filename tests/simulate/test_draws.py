"""Numbers drawn at random have the distributions that they are said to have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import exp, lgamma, log, sqrt
from random import Random

import pytest

from pulumi_rollout.simulate.draws import binomial, poisson

DRAWS = 20_000
# Values that are expected less often are counted together.
LEAST_EXPECTED = 20
# Chi-square is so far from its mean, in standard deviations, by chance alone only once in some ten thousand times.
MOST_DEVIATIONS = 4.5


def chi_square(draw: Callable[[], int], chance: Callable[[int], float]) -> float:
    """How far Pearson's statistic is from its mean, in standard deviations."""
    counts = Counter(draw() for _ in range(DRAWS))
    statistic, classes, rest_seen, rest_expected = 0.0, 0, DRAWS, float(DRAWS)
    for value in range(max(counts) + 1):
        expected = DRAWS * chance(value)
        if expected >= LEAST_EXPECTED:
            statistic += (counts[value] - expected) ** 2 / expected
            classes, rest_seen, rest_expected = classes + 1, rest_seen - counts[value], rest_expected - expected
    if rest_expected >= 1:
        statistic, classes = statistic + (rest_seen - rest_expected) ** 2 / rest_expected, classes + 1
    return (statistic - (classes - 1)) / sqrt(2 * (classes - 1))


@pytest.mark.parametrize("mean", [0.3, 5.0, 9.99, 10.0, 37.5, 2500.0])
def test_poisson(mean: float) -> None:
    rng = Random(1)
    off = chi_square(lambda: poisson(rng, mean), lambda k: exp(k * log(mean) - mean - lgamma(k + 1)))
    assert abs(off) < MOST_DEVIATIONS


@pytest.mark.parametrize(
    ("trials", "chance"), [(50, 0.01), (2500, 0.003), (2500, 0.3), (40, 0.3), (200, 0.5), (100, 0.93), (2000, 0.005)]
)
def test_binomial(trials: int, chance: float) -> None:
    def exact(k: int) -> float:
        ways = lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1)
        return exp(ways + k * log(chance) + (trials - k) * log(1 - chance)) if k <= trials else 0.0

    rng = Random(2)
    assert abs(chi_square(lambda: binomial(rng, trials, chance), exact)) < MOST_DEVIATIONS


def test_nothing_comes_of_nothing() -> None:
    rng = Random(3)
    assert {poisson(rng, 0.0) for _ in range(9)} == {0}
    assert {binomial(rng, 0, 0.5), binomial(rng, 9, 0.0)} == {0}
    assert binomial(rng, 9, 1.0) == 9


def test_another_distribution_is_noticed() -> None:
    rng = Random(4)
    off = chi_square(lambda: poisson(rng, 10.2), lambda k: exp(k * log(10.0) - 10.0 - lgamma(k + 1)))
    assert off > MOST_DEVIATIONS
