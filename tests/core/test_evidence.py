"""The formulas of the sequential tests: known answers, exact sums, mpmath, extremes, fairness.

Known answers: simulations and published values collected before the code was written; the exact ones
are recomputed here from the definition, with fractions and, for large counts, with 50 digits. What the
tests promise is in `test_evidence_promises.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from math import comb, exp, inf, isfinite, log, log1p

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.evidence import (
    log_e_both,
    log_e_fail,
    log_e_pass,
    log_mixture,
    log_sprt,
    log_sum,
    log_tails,
    log_weight,
    most_log_e_fail,
)


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


def test_known_answer_of_the_prior_that_is_not_cut() -> None:
    assert exp(log_e_both(10, 10, 0.5)) == pytest.approx(1024 / 11, rel=1e-12)


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


def precise(total: int, bad: int, p0: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """(ln E_fail, ln E_pass) with 50 digits: the smaller tail from the series of positive terms
    I_x(a, b) = x^a (1-x)^b / (a B(a, b)) (1 + (a+b)/(a+1) x + (a+b)(a+b+1)/((a+1)(a+2)) x^2 + …), DLMF 8.17.8.
    """
    with mpmath.workdps(50):
        p, q, n, s = mpmath.mpf(p0), 1 - mpmath.mpf(p0), total, bad
        likelihood = s * mpmath.log(p) + (n - s) * mpmath.log(q)
        whole = mpmath.exp(mpmath.loggamma(s + 1) + mpmath.loggamma(n - s + 1) - mpmath.loggamma(n + 2) - likelihood)
        lower = p * (n + 2) < s + 1
        x, a = (p, s + 1) if lower else (q, n - s + 1)
        term = series = mpmath.mpf(1)
        k = 0
        while term > series * mpmath.mpf(10) ** -40:
            term *= x * (n + 2 + k) / (a + 1 + k)
            series, k = series + term, k + 1
        near = p * q * series / a
        below, above = (near, whole - near) if lower else (whole - near, near)
        return mpmath.log(above / q), mpmath.log(below / p)


def same(value: float, expected: mpmath.mpf) -> bool:
    """To 1e-9 of the logarithm; near E = 1, where that is nothing, of the e-value itself."""
    return bool(abs(value - expected) <= 1e-9 * max(1, abs(expected)))


@st.composite
def sights(draw: st.DrawFn) -> tuple[int, int, float]:
    """Counts up to 50,000, and an objective: anywhere, and close to each other, where tests are decided."""
    total = round(10 ** draw(st.floats(0, 4.7)))
    p0 = draw(st.sampled_from([1e-9, 1e-4, 1e-3, 0.01, 0.05, 0.5, 0.99, 0.999999]) | st.floats(1e-6, 1 - 1e-6))
    close = total * p0 + draw(st.floats(-4, 4)) * (total * p0 * (1 - p0)) ** 0.5
    bad = draw(st.sampled_from([0, 1, total - 1, total, round(close)]) | st.integers(0, total))
    return total, min(total, max(0, bad)), p0


@given(sights())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_same_as_mpmath(sight: tuple[int, int, float]) -> None:
    fail, good = precise(*sight)
    assert same(log_e_fail(*sight), fail)
    assert same(log_e_pass(*sight), good)


@pytest.mark.parametrize(
    ("total", "bad", "p0"),
    [
        (100_000_000, 1_000_000, 0.01),
        (100_000_000, 1_003_000, 0.01),
        (100_000_000, 0, 0.01),
        (100_000_000, 100_000_000, 1e-9),
        (10_000_000_000, 10_000_000, 0.01),
        (10_000_000_000, 12, 1e-9),
    ],
)
def test_same_as_mpmath_for_very_many_requests(total: int, bad: int, p0: float) -> None:
    fail, good = precise(total, bad, p0)
    assert same(log_e_fail(total, bad, p0), fail)
    assert same(log_e_pass(total, bad, p0), good)


def test_no_request_is_no_evidence() -> None:
    assert log_e_fail(0, 0, 0.01) == pytest.approx(0, abs=1e-12)
    assert log_e_pass(0, 0, 0.01) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("total", [1, 1000, 100_000, 10_000_000, 10**12])
@pytest.mark.parametrize("ratio", [0, 1e-6, 0.0099, 0.01, 0.0101, 0.5, 1])
def test_extremes_are_finite(total: int, ratio: float) -> None:
    bad = round(total * ratio)
    for p0 in (1e-9, 1e-4, 0.01, 0.5, 0.999999):
        assert isfinite(log_e_fail(total, bad, p0)), p0
        assert isfinite(log_e_pass(total, bad, p0)), p0


def test_a_look_costs_the_same_however_many_requests_there_were() -> None:
    few, many = seconds_of(100, 1), seconds_of(10**10, 10**8)
    assert many < 3 * few


def seconds_of(total: int, bad: int, function: Callable[[int, int, float], float] = log_e_fail) -> float:
    """The least of five times, each of 40 tests."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(40):
            function(total, bad, 0.01)
        times.append(time.process_time() - begun)
    return min(times)


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


@given(counts, ratios)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_failing_is_passing_with_good_and_bad_exchanged(count: tuple[int, int], p0: float) -> None:
    total, bad = count
    assert log_e_fail(total, bad, p0) == pytest.approx(log_e_pass(total, total - bad, 1 - p0), rel=1e-9, abs=1e-9)


@given(sights())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_upper_bound_is_one(sight: tuple[int, int, float]) -> None:
    """And near enough to decide by: less than 1 too much where it is large."""
    total, bad, p0 = sight
    exact, most = log_e_fail(total, bad, p0), most_log_e_fail(total, bad, p0)
    assert most >= exact - 1e-9 * max(1, abs(exact))
    if bad <= p0 * total:
        assert most == 0
    elif (bad + 1) / (total + 2) > p0:
        assert most <= exact + 1 + 1e-9 * max(1, abs(exact))


@given(sights())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_with_good_and_bad_exchanged_it_is_one_for_passing(sight: tuple[int, int, float]) -> None:
    total, bad, p0 = sight
    exact = log_e_pass(total, bad, p0)
    assert most_log_e_fail(total, total - bad, 1 - p0) >= exact - 1e-6 * max(1, abs(exact))


def test_the_upper_bound_is_cheap() -> None:
    exact, bound = (seconds_of(1000, 25, function) for function in (log_e_fail, most_log_e_fail))
    print(f"the upper bound costs {bound / exact:.0%} of the exact one")
    assert bound < exact / 2


def test_weights_are_one_in_all_whenever_one_stops() -> None:
    for begun in (1, 2, 17, 1000):
        assert sum(exp(log_weight(k)) for k in range(begun)) + 1 / (begun + 1) == pytest.approx(1)
        assert log_mixture([(k, 0.0) for k in range(begun)], begun) == pytest.approx(0, abs=1e-12)


def test_a_mixture_of_very_large_and_very_small() -> None:
    assert log_mixture([(0, 5000.0), (1, -5000.0)], 2) == pytest.approx(5000 - log(2))
    assert log_mixture([(0, -5000.0), (1, -5000.0)], 2) == pytest.approx(-log(3))
    assert log_mixture([(0, log(3)), (1, log(5))], 2) == pytest.approx(log(3 / 2 + 5 / 6 + 1 / 3))


def test_a_test_that_begins_or_is_given_up_never_adds_evidence() -> None:
    tests = [(0, log(40)), (1, log(9)), (2, log(0.1))]
    now = log_mixture(tests, 3)
    assert log_mixture([*tests, (3, 0.0)], 4) == pytest.approx(now, rel=1e-12)
    for lost in tests:
        assert log_mixture([test for test in tests if test != lost], 3) < now


def test_the_sum_of_what_is_very_large_or_nothing() -> None:
    assert log_sum([]) == -inf
    assert log_sum([-inf, -inf]) == -inf
    assert log_sum([-inf, 5000.0]) == 5000
    assert log_sum([-5000.0, -5000.0, -5000.0]) == pytest.approx(log(3) - 5000, rel=1e-12)


@pytest.mark.parametrize("p", [Fraction(1, 1000), Fraction(1, 20), Fraction(1, 2), Fraction(19, 20)])
def test_tails_are_sums_of_binomial_chances(p: Fraction) -> None:
    for total in (1, 2, 9, 60):
        chances = [comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(total + 1)]
        for bad in range(1, total + 1):
            fewer, others = log_tails(total, bad, float(p))
            assert fewer == pytest.approx(log(sum(chances[:bad])), rel=1e-9, abs=1e-12)
            assert others == pytest.approx(log(sum(chances[bad:])), rel=1e-9, abs=1e-12)


def test_tails_at_their_ends() -> None:
    assert log_tails(10, 0, 0.3) == (-inf, 0.0)
    assert log_tails(10, 11, 0.3) == (0.0, -inf)
    assert log_tails(10**9, 1, 1e-12)[1] == pytest.approx(log(1e-3), abs=1e-3)
    assert log_tails(10**9, 10**9, 1e-3)[1] == pytest.approx(10**9 * log(1e-3), rel=1e-12)
    assert log_tails(10**9, 1, 0.01)[0] == pytest.approx(10**9 * log1p(-0.01), rel=1e-12)


def precise_sprt(total: int, bad: int, p0: float, p1: float) -> mpmath.mpf:
    with mpmath.workdps(50):
        before, after = mpmath.mpf(p0), mpmath.mpf(p1)
        return bad * mpmath.log(after / before) + (total - bad) * mpmath.log((1 - after) / (1 - before))


@pytest.mark.parametrize(("p0", "p1"), [(0.01, 0.05), (0.01, 0.01000001), (1e-9, 1e-6), (0.5, 0.999999), (1e-6, 0.9)])
@pytest.mark.parametrize("total", [1, 73, 100_000, 10**10])
def test_sprt_is_the_same_as_mpmath(total: int, p0: float, p1: float) -> None:
    for bad in {0, 1, round(total * p0), round(total * p1), total}:
        assert same(log_sprt(total, bad, p0, p1), precise_sprt(total, bad, p0, p1))


def test_sprt_by_hand() -> None:
    """Two bad ones more than as many good ones: 3^2, for 1/4 and 3/4. And 73 good requests show that it is 1 %, not
    5 %: ln(0.05)/ln(0.95/0.99) = 72.6."""
    assert log_sprt(10, 6, 0.25, 0.75) == pytest.approx(2 * log(3), rel=1e-12)
    passes, fails = log(0.05), log(1 / 0.005)
    assert [exp(passes), exp(fails)] == pytest.approx([0.05, 200])
    assert log_sprt(73, 0, 0.01, 0.05) <= passes < log_sprt(72, 0, 0.01, 0.05)
    assert log_sprt(4, 4, 0.01, 0.05) >= fails > log_sprt(3, 3, 0.01, 0.05)


def ends_of_sprt(p: float, alpha: float, beta: float) -> tuple[float, float, float]:
    """Exactly, for 5 % and 20 %: the chances to pass and to fail within 400 requests, and the mean of how many it
    takes."""
    low, high = log(beta), log(1 / alpha)
    alive, passed, failed, requests = {0: 1.0}, 0.0, 0.0, 0.0
    for total in range(1, 401):
        following: dict[int, float] = {}
        requests += sum(alive.values())
        for bad, chance in alive.items():
            following[bad] = following.get(bad, 0.0) + chance * (1 - p)
            following[bad + 1] = following.get(bad + 1, 0.0) + chance * p
        values = {bad: log_sprt(total, bad, 0.05, 0.2) for bad in following}
        passed += sum(chance for bad, chance in following.items() if values[bad] <= low)
        failed += sum(chance for bad, chance in following.items() if values[bad] >= high)
        alive = {bad: chance for bad, chance in following.items() if low < values[bad] < high}
    return passed, failed, requests


def test_sprt_keeps_alpha_and_beta_exactly() -> None:
    good_passed, good_failed, good_requests = ends_of_sprt(0.05, alpha=0.02, beta=0.1)
    bad_passed, bad_failed, bad_requests = ends_of_sprt(0.2, alpha=0.02, beta=0.1)
    print(
        f"5 %: fails {good_failed:.4f}, {good_requests:.0f} requests; 20 %: passes {bad_passed:.4f}, {bad_requests:.0f}"
    )
    assert 0.002 < good_failed <= 0.02
    assert 0.01 < bad_passed <= 0.1
    assert min(good_passed, bad_failed) > 0.9
    # Wald's mean: (chance x bound + chance x bound) / drift of one request; the bounds are overshot a little.
    passes, fails = log(0.1), log(1 / 0.02)
    drift = 0.05 * log(0.2 / 0.05) + 0.95 * log(0.8 / 0.95)
    assert good_requests == pytest.approx((good_passed * passes + good_failed * fails) / drift, rel=0.15)
