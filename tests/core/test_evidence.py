"""The sequential tests: known answers, exact sums, extremes, and the promise about alpha.

Known answers: simulations and published values collected before the code was written; the exact
ones are recomputed here with fractions, from the definition and without the incomplete beta function.
"""

from __future__ import annotations

import random
import time
from fractions import Fraction
from math import comb, exp, inf, isfinite, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.evidence import log_beta_tails, log_e_fail, log_e_pass, log_weighted_sum


@pytest.mark.parametrize(
    ("total", "bad", "e_value"),
    [
        (50, 3, 1.6178471388555828),
        (100, 5, 3.449309416529511),
        (300, 9, 1.299532850749676),
        (1000, 20, 0.5622947623039468),
        (1000, 25, 38.16105560133539),
    ],
)
def test_known_answers(total: int, bad: int, e_value: float) -> None:
    assert exp(log_e_fail(total, bad, 0.01)) == pytest.approx(e_value, rel=1e-6)


@pytest.mark.parametrize(("published", "total", "bad"), [(1.6178, 50, 3), (3.4493, 100, 5), (1.2995, 300, 9)])
def test_published_digits(published: float, total: int, bad: int) -> None:
    assert round(exp(log_e_fail(total, bad, 0.01)), 4) == published


@pytest.mark.parametrize(("max_bad_ratio", "needed"), [(0.05, 88), (0.01, 449), (0.001, 4512)])
def test_requests_without_an_error_that_pass(max_bad_ratio: float, needed: int) -> None:
    assert log_e_pass(needed, 0, max_bad_ratio) >= log(20)
    assert log_e_pass(needed - 1, 0, max_bad_ratio) < log(20)


def exact(total: int, bad: int, p0: Fraction) -> tuple[Fraction, Fraction]:
    """(E_fail, E_pass) as fractions: the mean likelihood ratio over p uniform above, or below, p0.

    The integral of p^s (1-p)^(n-s) from 0 to x is B(s+1, n-s+1) times the chance that a binomial of
    n+1 trials exceeds s.
    """
    n, s = total, bad
    whole = Fraction(1, (n + 1) * comb(n, s))
    below = sum(comb(n + 1, k) * p0**k * (1 - p0) ** (n + 1 - k) for k in range(s + 1, n + 2))
    likelihood = p0**s * (1 - p0) ** (n - s)
    return whole * (1 - below) / ((1 - p0) * likelihood), whole * below / (p0 * likelihood)


@pytest.mark.parametrize("p0", [Fraction(1, 1000), Fraction(1, 100), Fraction(1, 5), Fraction(1, 2), Fraction(9, 10)])
def test_same_as_the_exact_sum(p0: Fraction) -> None:
    for total in (0, 1, 2, 7, 30, 90):
        for bad in {0, 1, total // 7, total // 2, total} & set(range(total + 1)):
            fail, good = exact(total, bad, p0)
            assert log_e_fail(total, bad, float(p0)) == pytest.approx(log(fail), rel=1e-9, abs=1e-9)
            assert log_e_pass(total, bad, float(p0)) == pytest.approx(log(good), rel=1e-9, abs=1e-9)


def test_no_request_is_no_evidence() -> None:
    assert log_e_fail(0, 0, 0.01) == pytest.approx(0, abs=1e-12)
    assert log_e_pass(0, 0, 0.01) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("total", [1, 1000, 100_000, 10_000_000])
@pytest.mark.parametrize("ratio", [0, 1e-6, 0.0099, 0.01, 0.0101, 0.5, 1])
def test_extremes_are_finite_and_quick(total: int, ratio: float) -> None:
    bad = round(total * ratio)
    begun = time.process_time()
    values = [
        value
        for p0 in (1e-9, 1e-4, 0.01, 0.5, 0.999999)
        for value in (log_e_fail(total, bad, p0), log_e_pass(total, bad, p0))
    ]
    assert all(isfinite(value) for value in values)
    assert time.process_time() - begun < 0.25


counts = st.integers(1, 5000).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total - 1)))
ratios = st.floats(1e-4, 0.9)


@given(counts, ratios)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_one_more_failure_speaks_against(count: tuple[int, int], p0: float) -> None:
    total, bad = count
    assert log_e_fail(total, bad + 1, p0) > log_e_fail(total, bad, p0)
    assert log_e_pass(total, bad + 1, p0) < log_e_pass(total, bad, p0)


@given(counts, ratios)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_one_more_success_speaks_for(count: tuple[int, int], p0: float) -> None:
    total, bad = count
    assert log_e_fail(total + 1, bad, p0) < log_e_fail(total, bad, p0)
    assert log_e_pass(total + 1, bad, p0) > log_e_pass(total, bad, p0)


@given(counts, ratios)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_request_cannot_be_expected_to_add_evidence(count: tuple[int, int], p0: float) -> None:
    """At p = p0 the mean of the next e-value is this one: a fair bet, which is what alpha rests on."""
    total, bad = count
    for log_e in (log_e_fail, log_e_pass):
        now = log_e(total, bad, p0)
        following = p0 * exp(log_e(total + 1, bad + 1, p0) - now) + (1 - p0) * exp(log_e(total + 1, bad, p0) - now)
        assert following == pytest.approx(1, rel=1e-6)


@given(st.floats(0.001, 0.999), st.floats(1, 2000), st.floats(1, 2000))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_tails_are_complements(x: float, a: float, b: float) -> None:
    lower, upper = log_beta_tails(x, a, b)
    assert exp(lower) + exp(upper) == pytest.approx(1, rel=1e-9)
    swapped_lower, swapped_upper = log_beta_tails(1 - x, b, a)
    assert (lower, upper) == pytest.approx((swapped_upper, swapped_lower), rel=1e-6, abs=1e-9)


def test_weighted_sum_of_very_large_and_very_small() -> None:
    assert log_weighted_sum([0.0, 0.0], [0.5, 0.5]) == pytest.approx(0)
    assert log_weighted_sum([5000.0, -5000.0], [0.5, 0.5]) == pytest.approx(5000 + log(0.5))
    assert log_weighted_sum([log(3), log(5)], [0.25, 0.75]) == pytest.approx(log(4.5))
    assert log_weighted_sum([-inf, 0.0], [0.5, 0.5]) == pytest.approx(log(0.5))


# Counts at which a simulated gate looks: early ones often, as that is where false alarms are.
LOOKS = [*range(5, 100, 5), *range(100, 600, 25), *range(600, 1600, 100)]


def share_that_fails(p: float, p0: float, alpha: float, runs: int, seed: int) -> float:
    """The share of simulated versions with this ratio of bad requests that ever fail the gate."""
    rng, failed = random.Random(seed), 0
    thresholds = {}
    for total in LOOKS:
        lowest = next((bad for bad in range(total + 1) if log_e_fail(total, bad, p0) >= log(1 / alpha)), total + 1)
        thresholds[total] = lowest
    for _ in range(runs):
        bad = done = 0
        for total in LOOKS:
            bad += sum(rng.random() < p for _ in range(total - done))
            done = total
            if bad >= thresholds[total]:
                failed += 1
                break
    return failed / runs


def test_alpha_is_kept_at_the_objective_itself() -> None:
    """At p = p0, the worst case that is still good, no more than alpha ever fail: 99 % bound."""
    runs, alpha = 1000, 0.05
    share = share_that_fails(p=0.05, p0=0.05, alpha=alpha, runs=runs, seed=1)
    assert share <= alpha + 2.326 * (alpha * (1 - alpha) / runs) ** 0.5
    assert share > 0, "a test that never fails tells nothing"


def test_a_bad_version_is_caught() -> None:
    assert share_that_fails(p=0.15, p0=0.05, alpha=0.05, runs=200, seed=2) == 1
