"""Canary against baseline: the formula, what its validity rests on, and what it finds in what time.

Fairness is computed exactly, over every outcome of a window; what only shows over a whole walk is simulated, with
seeds and a stated confidence.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import comb, exp, isfinite, log

import mpmath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core import splits
from pulumi_rollout.core.comparison import (
    Comparison,
    closed,
    likely_ratio,
    log_e_alike,
    log_e_better,
    log_e_worse,
    ratios_below,
)
from pulumi_rollout.core.splits import log_factors, ratios_above

Counts = tuple[int, int, int, int]
# Of a walk whose weight changes: requests and bad ones of the canary, then of the baseline.
PAST: tuple[Counts, ...] = ((20, 1, 180, 4), (40, 0, 160, 2), (100, 3, 100, 1), (75, 2, 25, 2), (30, 4, 300, 9))


def after(*windows: Counts, margin: float = 1.5, max_ratio: float = 2.0, state: Comparison | None = None) -> Comparison:
    known = state or Comparison()
    for window in windows:
        known = closed(known, *window, margin=margin, max_ratio=max_ratio)
    return known


def factor(window: Counts, ratio: Fraction, limit: Fraction) -> Fraction:
    """(q(r)/q(r0))^kc ((1-q(r))/(1-q(r0)))^kb, as it is written."""
    canary, bad, stable, stable_bad = window
    share = Fraction(canary, canary + stable)

    def q(r: Fraction) -> Fraction:
        return share * r / (share * r + 1 - share)

    return (q(ratio) / q(limit)) ** bad * ((1 - q(ratio)) / (1 - q(limit))) ** stable_bad


@pytest.mark.parametrize(("ratio", "limit"), [(5, 1), (2, Fraction(3, 2)), (1, 2), (Fraction(1, 20), 1), (20, 19)])
def test_the_factor_of_a_window(ratio: Fraction, limit: Fraction) -> None:
    for window in PAST:
        canary, bad, stable, stable_bad = window
        [value] = log_factors(bad, stable_bad, canary / (canary + stable), [float(ratio)], float(limit))
        assert value == pytest.approx(log(factor(window, Fraction(ratio), Fraction(limit))), rel=1e-9, abs=1e-12)


def test_a_known_answer() -> None:
    """Half of the requests each, 3 bad ones of the canary and 1 of the baseline, five times against once:
    (5/6 : 1/2)^3 (1/6 : 1/2) = 125/81."""
    assert exp(log_factors(3, 1, 0.5, [5], 1)[0]) == pytest.approx(125 / 81, rel=1e-12)


@pytest.mark.parametrize("share", [1e-9, 0.01, 0.5, 1 - 1e-9])
@pytest.mark.parametrize(("ratio", "limit"), [(20, 1.5), (1.5000001, 1.5), (0.05, 1), (0.25, 2)])
def test_the_factor_is_the_same_as_mpmath(share: float, ratio: float, limit: float) -> None:
    for bad, stable_bad in ((0, 0), (1, 0), (0, 1), (10**9, 3), (3, 10**9), (10**9, 10**9)):
        with mpmath.workdps(50):
            t, r, r0 = mpmath.mpf(share), mpmath.mpf(ratio), mpmath.mpf(limit)
            q, q0 = t * r / (t * r + 1 - t), t * r0 / (t * r0 + 1 - t)
            expected = bad * mpmath.log(q / q0) + stable_bad * mpmath.log((1 - q) / (1 - q0))
        [value] = log_factors(bad, stable_bad, share, [ratio], limit)
        # Of numbers as large as the number of bad ones, what they leave is known to 15 digits of them.
        assert abs(value - expected) <= 1e-9 * max(1, abs(expected)) + 1e-15 * (bad + stable_bad)


def by_definition(windows: tuple[Counts, ...], ratios: tuple[float, ...], limit: float) -> Fraction:
    """The e-value as a sum over all ratios and all begins, without the recursion."""
    weights = [Fraction(1, 2)] + [Fraction(30, (k + 59) * (k + 60)) for k in range(1, len(windows))]
    e_value = 1 - sum(weights, Fraction(0))
    for ratio, (k, weight) in product(ratios, enumerate(weights)):
        won = weight / len(ratios)
        for window in windows[k:]:
            won *= factor(window, Fraction(ratio), Fraction(limit))
        e_value += won
    return e_value


def test_same_as_the_sum_over_all_begins() -> None:
    state = after(*PAST)
    assert log_e_worse(state) == pytest.approx(log(by_definition(PAST, ratios_above(1.5), 1.5)), rel=1e-9)
    better = (0.8, 0.6, 0.4, 0.2, 0.1, 0.05)
    assert log_e_better(state) == pytest.approx(log(by_definition(PAST, better, 1)), rel=1e-9)


def test_evidence_for_passing_is_carried_over_all_windows() -> None:
    ratios = [Fraction(ratio) for ratio in ratios_below(2.0)]
    mean = Fraction(0)
    for ratio in ratios:
        won = Fraction(1, len(ratios))
        for window in PAST:
            won *= factor(window, ratio, Fraction(2))
        mean += won
    assert log_e_alike(after(*PAST)) == pytest.approx(log(mean), rel=1e-9)


def test_no_window_is_no_evidence() -> None:
    state = Comparison()
    assert [log_e_worse(state), log_e_alike(state), log_e_better(state)] == [0.0, 0.0, 0.0]
    assert likely_ratio(state, 1.5) is None


@pytest.mark.parametrize("window", [(0, 0, 90, 9), (90, 9, 0, 0), (0, 0, 0, 0), (90, 0, 900, 0)])
def test_a_window_with_nothing_to_compare_is_none(window: Counts) -> None:
    """A factor of 1, and no weight is used up."""
    before = after(*PAST)
    assert after(window, state=before) == before


@pytest.mark.parametrize("margin", [1.0, 1.1, 1.5, 7.0, 30.0])
def test_ratios_lie_on_their_side(margin: float) -> None:
    above, below = ratios_above(margin), ratios_below(margin + 0.01)
    assert len(set(above)) > 4
    assert min(above) > margin
    assert max(above) > 19.99
    assert max(below) < margin + 0.01


def chances(total: int, p: float) -> list[float]:
    return [comb(total, k) * p**k * (1 - p) ** (total - k) for k in range(total + 1)]


def expected(
    log_e: Callable[[Comparison], float], canary: int, p: float, stable: int, stable_p: float, margin: float = 1.5
) -> float:
    """The exact mean of the next e-value over this one, for a window of so many requests after the PAST."""
    now = after(*PAST, margin=margin)
    mean = 0.0
    for (bad, chance), (stable_bad, other) in product(
        enumerate(chances(canary, p)), enumerate(chances(stable, stable_p))
    ):
        following = after((canary, bad, stable, stable_bad), margin=margin, state=now)
        mean += chance * other * exp(log_e(following) - log_e(now))
    return mean


RATES = [0.001, 0.02, 0.2, 0.45]


@pytest.mark.parametrize("stable_p", RATES)
@pytest.mark.parametrize(("canary", "stable"), [(3, 17), (10, 10), (16, 4)])
@pytest.mark.parametrize("margin", [1.0, 1.5])
def test_a_window_cannot_be_expected_to_add_evidence(canary: int, stable: int, stable_p: float, margin: float) -> None:
    """At each limit itself, the worst case, whatever the weight, the shared rate, and what was before. For rare
    failures it is exactly fair, so that there is nothing to give away."""
    means = [
        expected(log_e_worse, canary, margin * stable_p, stable, stable_p, margin),
        expected(log_e_alike, canary, 2 * stable_p, stable, stable_p),
        expected(log_e_better, canary, stable_p, stable, stable_p),
    ]
    assert max(means) <= 1 + 1e-12
    if stable_p == 0.001:
        assert min(means) > 0.999


def test_within_the_limits_less_is_expected() -> None:
    worse = [expected(log_e_worse, 10, ratio * 0.02, 10, 0.02) for ratio in (0.0, 0.5, 1.0, 1.5, 3.0)]
    assert worse == sorted(worse)
    assert worse[3] <= 1 < worse[4]
    alike = [expected(log_e_alike, 10, ratio * 0.02, 10, 0.02) for ratio in (4.0, 3.0, 2.0, 1.0, 0.5)]
    assert alike == sorted(alike)
    assert alike[2] <= 1 < alike[3]
    better = [expected(log_e_better, 10, ratio * 0.02, 10, 0.02) for ratio in (2.0, 1.5, 1.0, 0.5, 0.1)]
    assert better == sorted(better)
    assert better[2] <= 1 < better[3]


@pytest.mark.parametrize("log_e", [log_e_worse, log_e_better])
@pytest.mark.parametrize("bad", [1, 3, 11, 19, 20])
def test_what_hits_both_versions_is_no_evidence(log_e: Callable[[Comparison], float], bad: int) -> None:
    """Of 20 requests any number is bad, in whatever bursts; which of them were the canary's is drawn by the proxy."""
    now = after(*PAST, margin=1.0)
    mean = 0.0
    for canary_bad in range(max(0, bad - 14), min(bad, 6) + 1):
        chance = comb(bad, canary_bad) * comb(20 - bad, 6 - canary_bad) / comb(20, 6)
        following = after((6, canary_bad, 14, bad - canary_bad), margin=1.0, state=now)
        mean += chance * exp(log_e(following) - log_e(now))
    assert mean <= 1 + 1e-12


def test_a_shared_outage_is_no_evidence() -> None:
    """Every request of both versions fails, from some time on and for as long as one likes."""
    state = after(*[(20, 0, 180, 2)] * 5, *[(20, 20, 180, 180)] * 50)
    assert log_e_worse(state) <= 0
    assert log_e_better(state) <= 0


windows = st.integers(1, 300).flatmap(
    lambda canary: st.integers(1, 300).flatmap(
        lambda stable: st.tuples(st.just(canary), st.integers(0, canary - 1), st.just(stable), st.integers(1, stable))
    )
)


@given(windows)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_one_more_failure_speaks_against_its_version(window: Counts) -> None:
    canary, bad, stable, stable_bad = window
    before, now = after(*PAST), after(*PAST, window)
    worse = after((canary, bad + 1, stable, stable_bad), state=before)
    fewer = after((canary, bad, stable, stable_bad - 1), state=before)
    # Without a bad request left, the window is none.
    assert log_e_worse(worse) > log_e_worse(now)
    assert log_e_alike(worse) < log_e_alike(now)
    assert log_e_better(worse) < log_e_better(now)
    if bad + stable_bad > 1:
        assert log_e_worse(fewer) > log_e_worse(now)
        assert log_e_alike(fewer) < log_e_alike(now)
        assert log_e_better(fewer) < log_e_better(now)


def bad_among(rng: random.Random, requests: int, p: float) -> int:
    """A binomial number, by the gaps between the bad ones."""
    at, bad = -1, 0
    while True:
        at += 1 + int(log(1 - rng.random()) / log(1 - p))
        if at >= requests:
            return bad
        bad += 1


def most(seed: int, p: float, ratio: float, margin: float) -> tuple[float, float]:
    """A walk of 5 weights, 20 windows of 200 requests each; the rate of both changes from window to window. The most
    that there ever is of evidence for worse and for better."""
    rng, state, worse, better = random.Random(seed), Comparison(), 0.0, 0.0
    for weight in (5, 10, 25, 50, 75):
        for _ in range(20):
            rate = p * rng.choice((0.5, 1, 2))
            canary = sum(rng.random() < weight / 100 for _ in range(200))
            bad, stable_bad = bad_among(rng, canary, ratio * rate), bad_among(rng, 200 - canary, rate)
            state = closed(state, canary, bad, 200 - canary, stable_bad, margin=margin, max_ratio=2.0)
            worse, better = max(worse, log_e_worse(state)), max(better, log_e_better(state))
    return worse, better


@pytest.mark.parametrize(("p", "ratio"), [(0.005, 1.0), (0.02, 1.0), (0.2, 1.0), (0.01, 1.5)])
def test_false_alarms_over_a_whole_walk(p: float, ratio: float) -> None:
    """At the margin exactly, with a rate that drifts and weights that change: were the true share of false alarms more
    than the level, so few would be seen with a chance of less than 1 %."""
    level, runs = 0.1, 150
    walks = [most(seed, p, ratio, margin=ratio) for seed in range(runs)]
    alarms = [sum(walk[k] >= log(1 / level) for walk in walks) for k in range(2)]
    print(f"p = {p}, ratio {ratio}: of {runs} walks {alarms} are found worse, better; at most {level:.0%} may be")
    for count in alarms:
        assert sum(chances(runs, level)[: count + 1]) < 0.01
    if p < 0.1:
        assert alarms[0] > 0, "a test that never fails tells nothing"


def chance_to_be_alike(p: float, ratio: float, beta: float, pairs: int) -> float:
    """The exact chance that a canary which fails so many times as often as a baseline is ever shown to be below twice
    as often, by a look after each pair of one request of both: by the chances of all counts."""
    states: dict[tuple[int, int], Comparison] = {(0, 0): Comparison()}
    values: dict[tuple[int, int], float] = {}
    alive, passed = {(0, 0): 1.0}, 0.0
    outcomes = [(k, s, (ratio * p if k else 1 - ratio * p) * (p if s else 1 - p)) for k in (0, 1) for s in (0, 1)]
    for _ in range(pairs):
        following: dict[tuple[int, int], float] = {}
        for (bad, stable_bad), chance in alive.items():
            for k, s, odds in outcomes:
                counts = (bad + k, stable_bad + s)
                following[counts] = following.get(counts, 0.0) + chance * odds
                if counts not in states:
                    states[counts] = after((1, k, 1, s), state=states[bad, stable_bad])
                    values[counts] = log_e_alike(states[counts])
        done = {counts for counts in following if values.get(counts, 0.0) >= log(1 / beta)}
        passed += sum(following[counts] for counts in done)
        alive = {counts: chance for counts, chance in following.items() if counts not in done and chance > 1e-9}
    return passed


def test_beta_is_kept_exactly() -> None:
    at_limit, above, alike = (chance_to_be_alike(0.1, ratio, 0.1, 200) for ratio in (2.0, 2.5, 1.0))
    print(f"shown to be alike with a chance of {at_limit:.4f} at twice, {above:.4f} above, {alike:.4f} if they are")
    assert 0.01 < at_limit <= 0.1
    assert above < at_limit
    assert alike > 0.3


def seconds_to_worse(seed: int, rate: float, ratio: float, per_second: int = 20, weight: int = 10) -> int:
    """How long a canary with so many requests a second is not found, at alpha 0.005 over two gates."""
    rng, state, others = random.Random(seed), Comparison(), per_second * (100 - weight) // weight
    for second in range(1, 601):
        bad, stable_bad = bad_among(rng, per_second, ratio * rate), bad_among(rng, others, rate)
        state = closed(state, per_second, bad, others, stable_bad, margin=1.5, max_ratio=2.0)
        if log_e_worse(state) >= log(400):
            return second
    return 601


def test_five_times_as_bad_is_found_within_a_minute() -> None:
    """20 requests a second at a weight of 10 %, 1 % bad ones in the baseline."""
    times = sorted(seconds_to_worse(seed, 0.01, 5) for seed in range(100))
    print(f"median {times[50]} s, 95 % within {times[94]} s")
    assert times[50] <= 30
    assert times[94] <= 60


def test_a_canary_that_answers_nothing_but_errors_is_found_in_two_seconds() -> None:
    assert max(seconds_to_worse(seed, 0.001, 1 / 0.0011) for seed in range(20)) <= 2


def windows_to_worse(healthy: int) -> int:
    """How many windows with 1,000 requests, a tenth of them the canary's, it takes to find 5 % after so many with 1 %
    in both; with the numbers that are expected, so without chance."""
    state, found = after(*[(100, 1, 900, 9)] * healthy), 0
    while log_e_worse(state) < log(400):
        state, found = after((100, 5, 900, 9), state=state), found + 1
    return found


def test_a_long_healthy_past_does_not_delay() -> None:
    times = [windows_to_worse(healthy) for healthy in (0, 30, 360, 2000)]
    print(f"windows until it is found, after 0, 30, 360 and 2,000 healthy ones: {times}")
    assert times[0] <= 5
    assert times[3] <= 2 * times[0]


def test_without_later_begins_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they are for."""
    monkeypatch.setattr(splits, "_log_weight", lambda order: log(1 / 2) if order == 0 else -1e9)
    assert windows_to_worse(360) > 10 * windows_to_worse(0)


def test_a_better_canary_on_a_baseline_that_breaks_late() -> None:
    """After an hour in which both were alike, the baseline has 30 % bad ones, the canary 1 %."""
    state, found = after(*[(20, 1, 180, 9)] * 360), 0
    assert log_e_better(state) < log(2)
    while log_e_better(state) < log(400):
        state, found = after((100, 1, 900, 270), state=state), found + 1
    assert found <= 1
    assert log_e_worse(state) < log(2)


def test_a_canary_that_is_alike_is_shown_to_be() -> None:
    """1 % in both at a weight of 10 %: with 12,000 requests of its own, for beta 0.05; at twice the rate never."""
    alike = [after(*[(100, 1, 900, 9)] * count) for count in (10, 120)]
    assert log_e_alike(alike[0]) < log(20) <= log_e_alike(alike[1])
    assert log_e_alike(after(*[(100, 2, 900, 9)] * 120)) < 0


def test_the_ratio_for_messages_is_that_of_the_fault_and_not_of_the_walk() -> None:
    """An hour alike, then 5 times as bad for a minute: all counts together say 1.1 times."""
    state = after(*[(100, 1, 900, 9)] * 360, *[(100, 5, 900, 9)] * 6)
    ratio = likely_ratio(state, 1.5)
    assert ratio is not None
    assert 4 < ratio < 6.5
    broken = likely_ratio(after((100, 100, 900, 0)), 1.5)
    assert broken is not None
    assert 15 < broken <= 20


def test_what_is_remembered_has_a_fixed_size_and_is_read_back() -> None:
    state = after(*[(20, 1, 180, 2)] * 2000)
    assert len(state.model_dump_json()) < 800
    assert len(after(*PAST).model_dump_json()) < 800
    again = Comparison.model_validate_json(state.model_dump_json())
    assert again == state
    assert after(*PAST, state=again) == after(*PAST, state=state)
    assert Comparison.model_validate_json(Comparison().model_dump_json()) == Comparison()


@pytest.mark.parametrize(
    "window", [(10**9, 10**9, 10**9, 0), (10**9, 0, 10**9, 10**9), (1, 1, 10**9, 10**9), (10**9, 10**9, 1, 0)]
)
def test_extremes_are_finite(window: Counts) -> None:
    state = after(*[window] * 100)
    for log_e in (log_e_worse, log_e_alike, log_e_better):
        assert isfinite(log_e(state))
        assert log_e(Comparison.model_validate_json(state.model_dump_json())) == log_e(state)


def test_where_the_weight_changed_no_order_of_the_failures_is_evidence() -> None:
    """Of 100 requests at 10 % and 100 at 50 %, all failures may be in one half: neither version is then to blame,
    and the mean of each factor is at most 1."""
    for share in (0.1, 0.5):
        means = dict.fromkeys(("worse", "better", "alike"), 0.0)
        for bad in range(11):
            chance = comb(10, bad) * share**bad * (1 - share) ** (10 - bad)
            state = closed(Comparison(), 60, bad, 140, 10 - bad, 10, 50, margin=1.0, max_ratio=1.0001)
            means["worse"] += chance * exp(log_e_worse(state))
            means["better"] += chance * exp(log_e_better(state))
            means["alike"] += chance * exp(log_e_alike(state))
        assert max(means.values()) <= 1 + 1e-3, (share, means)


def test_a_window_that_begins_without_a_canary_shows_nothing_for_it() -> None:
    """And one that ends without a baseline nothing against it."""
    begun = closed(Comparison(), 100, 0, 1400, 40, 0, 20, margin=1.5, max_ratio=2.0)
    assert (log_e_better(begun), log_e_alike(begun)) == (0.0, 0.0)
    ended = closed(Comparison(), 1400, 400, 100, 0, 50, 100, margin=1.5, max_ratio=2.0)
    assert log_e_worse(ended) == 0.0
