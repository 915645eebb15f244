"""The sample-ratio test: its formula, what it promises, and what it finds."""

from __future__ import annotations

import random
from itertools import product
from math import comb, exp, isfinite, log

import pytest

from pulumi_rollout.core import splits
from pulumi_rollout.core.shares import LEAST_REQUESTS, Shares, closed, log_e_off, observed_share
from pulumi_rollout.core.splits import ratios_above

MARGIN = 1.25
Window = tuple[int, int, float]
# Requests of the canary and of stable, and the weight, of a walk as it should be.
PAST: tuple[Window, ...] = ((11, 89, 10), (40, 160, 20), (103, 97, 50), (7, 3, 75), (48, 52, 50))


def after(*windows: Window, state: Shares | None = None, margin: float = MARGIN) -> Shares:
    known = state or Shares()
    for window in windows:
        known = closed(known, *window, margin)
    return known


def by_definition(windows: tuple[Window, ...]) -> float:
    """The e-value from the shares themselves, as a sum over both sides, all ratios and all begins."""
    weights = [0.5, *(30 / ((k + 59) * (k + 60)) for k in range(1, len(windows)))]
    above = [(ratio, MARGIN) for ratio in ratios_above(MARGIN)]
    e_value = 1 - sum(weights)
    for (ratio, limit), (k, weight) in product([*above, *((1 / r, 1 / m) for r, m in above)], enumerate(weights)):
        won = weight / (2 * len(above))
        for canary, stable, percent in windows[k:]:
            odds = percent / (100 - percent)
            share, at_limit = (odds * r / (1 + odds * r) for r in (ratio, limit))
            won *= (share / at_limit) ** canary * ((1 - share) / (1 - at_limit)) ** stable
        e_value += won
    return e_value


def test_same_as_the_sum_over_all_begins() -> None:
    for windows in (PAST, (*PAST, (30, 70, 10))):
        assert log_e_off(after(*windows)) == pytest.approx(log(by_definition(windows)), rel=1e-9)


def test_no_request_is_no_evidence() -> None:
    assert log_e_off(Shares()) == 0
    assert observed_share(Shares()) is None
    assert after((0, 0, 50)) == Shares()
    assert after(*PAST, (0, 0, 50)) == after(*PAST)


def mean_after(weight: float, odds: float, requests: int, margin: float = MARGIN) -> float:
    """The exact mean of the next e-value over this one, for a canary that gets so many times the odds of its weight."""
    now, share = after(*PAST, margin=margin), weight * odds / (weight * odds + 100 - weight)
    mean = 0.0
    for canary in range(requests + 1):
        chance = comb(requests, canary) * share**canary * (1 - share) ** (requests - canary)
        following = after((canary, requests - canary, weight), state=now, margin=margin)
        mean += chance * exp(log_e_off(following) - log_e_off(now))
    return mean


@pytest.mark.parametrize("weight", [1, 10, 50, 99])
@pytest.mark.parametrize("odds", [1 / MARGIN, 0.9, 1.0, 1.1, MARGIN])
def test_a_window_cannot_be_expected_to_add_evidence(weight: float, odds: float) -> None:
    assert mean_after(weight, odds, 40) <= 1 + 1e-9


def test_at_the_margin_one_side_is_exactly_fair() -> None:
    """Of 16 ratios, half of them above, each has 1/32 of the first test's stakes, and keeps it: nothing is given
    away."""
    share, means = 0.2 * MARGIN / (0.2 * MARGIN + 0.8), [0.0] * 8
    for canary in range(11):
        chance = comb(10, canary) * share**canary * (1 - share) ** (10 - canary)
        wealth = after((canary, 10 - canary, 20)).bets.log_wealth[:8]
        means = [mean + chance * exp(one) for mean, one in zip(means, wealth, strict=True)]
    assert means == pytest.approx([1 / 32] * 8, rel=1e-9)


@pytest.mark.parametrize(("weight", "odds"), [(10, 2.0), (10, 0.5), (50, 1.6), (1, 5.0), (99, 0.1)])
def test_beyond_the_margin_evidence_grows(weight: float, odds: float) -> None:
    assert mean_after(weight, odds, 40, margin=MARGIN) > 1


def test_versions_exchanged_is_the_same() -> None:
    other = tuple((stable, canary, 100 - percent) for canary, stable, percent in (*PAST, (60, 40, 10)))
    assert log_e_off(after(*other)) == pytest.approx(log_e_off(after(*PAST, (60, 40, 10))), rel=1e-9)


def drawn(rng: random.Random, requests: int, share: float) -> int:
    return sum(rng.random() < share for _ in range(requests))


def most(seed: int, odds: float) -> float:
    """A walk of 5 weights with 20 windows each, of 20 to 80 requests; the most evidence that there ever is."""
    rng, state, highest = random.Random(seed), Shares(), 0.0
    for weight in (5, 10, 25, 50, 75):
        share = weight * odds / (weight * odds + 100 - weight)
        for _ in range(20):
            requests = rng.choice((20, 40, 80))
            canary = drawn(rng, requests, share)
            state = closed(state, canary, requests - canary, weight, MARGIN)
            highest = max(highest, log_e_off(state))
    return highest


@pytest.mark.parametrize("odds", [1 / MARGIN, MARGIN])
def test_false_alarms_over_a_whole_walk(odds: float) -> None:
    """At the margin exactly: were the true share of false alarms more than the level, so few would be seen with a
    chance of less than 1 %."""
    level, runs = 0.2, 200
    alarms = sum(most(seed, odds) >= log(1 / level) for seed in range(runs))
    chance = sum(comb(runs, k) * level**k * (1 - level) ** (runs - k) for k in range(alarms + 1))
    print(f"odds {odds:g}: {alarms} of {runs} walks; at most {level:.0%} may be, with a confidence of {1 - chance:.4%}")
    assert chance < 0.01
    assert alarms > 0, "a test that never fails tells nothing"


def test_a_route_that_is_kept_is_no_evidence() -> None:
    """Also by a proxy that deals requests out in turn."""
    assert max(most(seed, 1.0) for seed in range(100)) < log(20)
    assert max(log_e_off(after(*[(20, 80, 20)] * count)) for count in range(1, 200)) <= 0


def requests_to_find(weight: float, share: float, past: tuple[Window, ...] = ()) -> int:
    """How many requests it takes to find that the canary gets this share instead, in windows of 100, by the numbers
    that are expected."""
    state, requests = after(*past), 0
    while log_e_off(state) < log(400):
        state, requests = after((round(100 * share), 100 - round(100 * share), weight), state=state), requests + 100
    return requests


@pytest.mark.parametrize(
    ("weight", "share", "at_most"),
    [
        pytest.param(20, 0.0, 100, id="none"),
        pytest.param(20, 1.0, 100, id="all"),
        pytest.param(20, 0.1, 600, id="half"),
        pytest.param(10, 0.2, 400, id="twice"),
        pytest.param(50, 0.8, 100, id="four times the odds"),
        pytest.param(1, 0.0, 1500, id="none of one percent"),
        pytest.param(99, 0.9, 200, id="a tenth of the odds"),
    ],
)
def test_a_share_that_is_off_is_found(weight: float, share: float, at_most: int) -> None:
    assert requests_to_find(weight, share) <= at_most


def test_a_last_step_that_is_ignored_is_found_as_soon_after_a_long_past() -> None:
    """At 50 % the proxy goes on with 40 %."""
    past = tuple((weight, 100 - weight, weight) for weight in (10, 20, 30, 40) for _ in range(200))
    times = requests_to_find(50, 0.4), requests_to_find(50, 0.4, past)
    print(f"{times[0]} requests, {times[1]} after 80,000 that were as they should be")
    assert times[1] <= 2 * times[0]


def test_without_later_begins_it_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they are for."""
    monkeypatch.setattr(splits, "_log_weight", lambda order: log(1 / 2) if order == 0 else -1e9)
    past = tuple((weight, 100 - weight, weight) for weight in (10, 20, 30, 40) for _ in range(20))
    assert requests_to_find(50, 0.4, past) > 4 * requests_to_find(50, 0.4)


def test_nothing_is_said_before_a_hundred_requests() -> None:
    few = after((0, 49, 50), (0, LEAST_REQUESTS - 50, 50))
    assert log_e_off(few) == 0
    assert log_e_off(after((0, 1, 50), state=few)) > log(1000), "nothing is lost"


def test_the_share_for_messages_is_of_the_present_weight() -> None:
    state = after((11, 89, 10), (9, 91, 10), (30, 70, 20))
    assert observed_share(state) == 0.3
    assert observed_share(after((50, 50, 20), state=state)) == 0.4
    assert (state.requests, state.canary, state.stable, state.weight_percent) == (300, 30, 70, 20)


def test_what_is_remembered_has_a_fixed_size_and_is_read_back() -> None:
    state = after(*PAST * 500)
    assert len(state.model_dump_json()) < 600
    again = Shares.model_validate_json(state.model_dump_json())
    assert again == state
    assert after(*PAST, state=again) == after(*PAST, state=state)
    assert Shares.model_validate_json(Shares().model_dump_json()) == Shares()


@pytest.mark.parametrize("window", [(10**9, 0, 1), (0, 10**9, 99), (10**9, 10**9, 50)])
def test_extremes_are_finite(window: Window) -> None:
    state = after(*[window] * 50)
    assert isfinite(log_e_off(state))
    assert log_e_off(Shares.model_validate_json(state.model_dump_json())) == log_e_off(state)
