"""What a plan can show and catch: against the tests themselves, by exact chances and by trying every number."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import cache
from math import exp, lgamma, log, log1p

import pytest

from pulumi_rollout.core.arithmetic import (
    requests_to_compare,
    requests_to_pass,
    smallest_caught,
    smallest_caught_beside,
    smallest_caught_in_blocks,
)
from pulumi_rollout.core.bursts import Blocks, close, log_e_blocks
from pulumi_rollout.core.comparison import Comparison, closed, log_e_alike, log_e_worse
from pulumi_rollout.core.evidence import log_e_fail, log_e_pass


def chance_of(total: int, bad: int, p: float) -> float:
    """The binomial chance of exactly so many."""
    if p == 0:
        return float(bad == 0)
    ways = lgamma(total + 1) - lgamma(bad + 1) - lgamma(total - bad + 1)
    return exp(ways + bad * log(p) + (total - bad) * log1p(-p))


def chance_below(total: int, bad: int, p: float) -> float:
    """That fewer are bad."""
    return sum(chance_of(total, k, p) for k in range(bad))


def chance_within(p: float, requests: int, ends: Callable[[int, int], bool]) -> float:
    """The exact chance that a test ends within so many requests, if it looks after each, by the chances of all
    counts."""
    alive, ended = {0: 1.0}, 0.0
    for total in range(1, requests + 1):
        following: dict[int, float] = {}
        for bad, chance in alive.items():
            following[bad] = following.get(bad, 0.0) + chance * (1 - p)
            following[bad + 1] = following.get(bad + 1, 0.0) + chance * p
        done = {bad for bad in following if ends(total, bad)}
        ended += sum(following[bad] for bad in done)
        alive = {bad: chance for bad, chance in following.items() if bad not in done and chance > 1e-12}
    return ended


@pytest.mark.parametrize(("max_bad_ratio", "needed"), [(0.05, 88), (0.01, 449), (0.001, 4512)])
def test_requests_to_pass_without_a_bad_one(max_bad_ratio: float, needed: int) -> None:
    assert requests_to_pass(max_bad_ratio, 0.05) == needed


@pytest.mark.parametrize(("bad_ratio", "needed"), [(0.0001, 449), (0.001, 1065), (0.004, 3707), (0.005, 6032)])
def test_requests_to_pass_with_bad_ones(bad_ratio: float, needed: int) -> None:
    """The least that suffices among all that pass with some number of bad ones."""
    assert requests_to_pass(0.01, 0.05, bad_ratio) == needed
    bad, total = -1, 0
    while total < needed:
        bad += 1
        while log_e_pass(total, bad, 0.01) < log(20):
            total += 1
        suffices = chance_below(total, bad + 1, bad_ratio) >= 0.95
        assert suffices == (total == needed)


def test_it_passes_at_least_as_often_as_said() -> None:
    e_pass = cache(lambda total, bad: log_e_pass(total, bad, 0.1) >= log(10))
    needed = requests_to_pass(0.1, 0.1, 0.04)
    assert needed is not None
    whole, half = chance_within(0.04, needed, e_pass), chance_within(0.04, needed // 2, e_pass)
    print(f"{needed} requests: passes with a chance of {whole:.3f}, and of {half:.3f} with half of them")
    assert 0.95 <= whole < 0.995
    assert half < 0.9


def test_what_never_passes() -> None:
    assert requests_to_pass(0.01, 0.05, 0.01) is None
    assert requests_to_pass(0.01, 0.05, 0.5) is None
    assert requests_to_pass(0.01, 0.05, 0.0099999) is None


@pytest.mark.parametrize("requests", [30, 100, 400])
@pytest.mark.parametrize("chance", [0.5, 0.95])
def test_the_smallest_ratio_that_is_caught(requests: int, chance: float) -> None:
    """Its chance of enough bad ones is the one that is asked for."""
    ratio = smallest_caught(0.01, 0.00125, requests, chance)
    assert ratio is not None
    enough = next(bad for bad in range(requests) if log_e_fail(requests, bad, 0.01) >= log(800))
    assert 1 - chance_below(requests, enough, ratio) == pytest.approx(chance, abs=1e-7)


def test_with_very_many_requests_too() -> None:
    requests, enough = 10**6, 10_000
    while log_e_fail(requests, enough, 0.01) < log(800):
        enough += 1
    ratio = smallest_caught(0.01, 0.00125, requests)
    assert ratio is not None
    assert 1 - chance_below(requests, enough, ratio) == pytest.approx(0.95, abs=1e-6)


def test_it_is_caught_at_least_as_often_as_said() -> None:
    """Earlier looks find more, so it is a bound; but what is much smaller is not caught so often."""
    e_fail = cache(lambda total, bad: log_e_fail(total, bad, 0.02) >= log(400))
    ratio = smallest_caught(0.02, 0.0025, 300)
    assert ratio is not None
    said, smaller = (chance_within(p, 300, e_fail) for p in (ratio, 0.85 * ratio))
    print(f"{ratio:.3f} is caught with a chance of {said:.3f}, a smaller one with {smaller:.3f}")
    assert 0.95 <= said < 0.99
    assert smaller < 0.95


def test_more_requests_catch_less() -> None:
    found = [smallest_caught(0.01, 0.00125, requests) for requests in (4, 50, 500, 5000, 10**6, 10**9)]
    ratios = [ratio for ratio in found if ratio is not None]
    assert len(ratios) == len(found)
    assert ratios == sorted(ratios, reverse=True)
    assert 0.01 < ratios[-1] < 0.0101


def test_too_few_requests_catch_nothing() -> None:
    """Not even a version that fails them all."""
    assert smallest_caught(0.01, 0.00125, 1) is None
    assert smallest_caught(0.01, 0.00125, 0) is None
    assert smallest_caught_in_blocks(0.01, 0.00125, 1, 100) is None
    assert smallest_caught_in_blocks(0.01, 0.00125, 0, 100) is None
    assert smallest_caught_in_blocks(0.01, 0.00125, 10, 0) is None
    assert smallest_caught_beside(0.01, 1.5, 0.0025, 3, 30) is None
    assert smallest_caught_beside(0.01, 1.5, 0.0025, 0, 30) is None
    assert smallest_caught_beside(0.01, 1.5, 0.0025, 30, 0) is None


def evidence_of_blocks(blocks: int, requests: int, bad: int) -> float:
    known = Blocks()
    for _ in range(blocks):
        known = close(known, known.total + requests, known.bad + bad, 0.01)
    return log_e_blocks(known)


@pytest.mark.parametrize(("blocks", "requests"), [(3, 100), (12, 100), (40, 250), (5, 3)])
def test_the_smallest_ratio_that_blocks_catch(blocks: int, requests: int) -> None:
    enough = next(bad for bad in range(requests + 1) if evidence_of_blocks(blocks, requests, bad) >= log(800))
    assert smallest_caught_in_blocks(0.01, 0.00125, blocks, requests) == enough / requests


def test_blocks_of_very_many_requests_are_judged_to_a_hundredth_of_the_limit() -> None:
    ratio = smallest_caught_in_blocks(0.01, 0.00125, 30, 10**7)
    assert ratio is not None
    assert evidence_of_blocks(30, 10**7, round(ratio * 10**7)) >= log(800)
    assert evidence_of_blocks(30, 10**7, round((ratio - 0.0001) * 10**7)) < log(800)
    assert smallest_caught_in_blocks(0.01, 0.00125, 5000, 100) == smallest_caught_in_blocks(0.01, 0.00125, 360, 100)


def compared(canary: int, bad: int, stable: int, stable_bad: int) -> Comparison:
    return closed(Comparison(), canary, bad, stable, stable_bad, margin=1.5, max_ratio=2.0)


def test_five_times_as_bad_as_the_baseline_is_caught_in_a_minute() -> None:
    """20 requests a second at a weight of 10 %, 1 % bad ones in the baseline, alpha 0.005 over two gates."""
    ratio = smallest_caught_beside(0.01, 1.5, 0.0025, 60 * 20, 60 * 180)
    assert ratio is not None
    assert 0.03 < ratio <= 0.05


@pytest.mark.parametrize(("stable_bad_ratio", "canary", "stable"), [(0.02, 60, 140), (0.05, 50, 100), (0.0, 40, 360)])
def test_the_comparison_catches_at_least_as_often_as_said(stable_bad_ratio: float, canary: int, stable: int) -> None:
    """Over all outcomes of both versions."""
    ratio = smallest_caught_beside(stable_bad_ratio, 1.5, 0.0025, canary, stable)
    assert ratio is not None
    caught = smaller = 0.0
    for stable_bad in range(stable + 1):
        chance, enough = chance_of(stable, stable_bad, stable_bad_ratio), 0
        if chance < 1e-9:
            continue
        while enough <= canary and log_e_worse(compared(canary, enough, stable, stable_bad)) < log(400):
            enough += 1
        caught += chance * (1 - chance_below(canary, enough, ratio))
        smaller += chance * (1 - chance_below(canary, enough, 0.75 * ratio))
    print(f"{ratio:.3f} is caught with a chance of {caught:.4f}, three quarters of it with {smaller:.3f}")
    assert caught >= 0.95
    assert smaller < 0.95


def test_one_window_stands_for_many() -> None:
    """However the bad requests lie in windows of equal weight, there is at least as much evidence, less 1/2."""
    rng = random.Random(7)
    for _ in range(200):
        bad, stable_bad, known = rng.randrange(60), rng.randrange(60), Comparison()
        lie = [rng.randrange(10) for _ in range(bad)], [rng.randrange(10) for _ in range(stable_bad)]
        for window in range(10):
            known = closed(known, 100, lie[0].count(window), 900, lie[1].count(window), margin=1.5, max_ratio=2.0)
        one, many = (exp(log_e_worse(state)) for state in (compared(1000, bad, 9000, stable_bad), known))
        assert many >= (one - 0.5) * (1 - 1e-9)


@pytest.mark.parametrize(("bad_ratio", "weight_percent"), [(0.05, 50), (0.2, 20), (0.3, 80)])
def test_versions_that_are_alike_are_shown_to_be_as_often_as_said(bad_ratio: float, weight_percent: float) -> None:
    """By the mean over all outcomes; a quarter of the requests is not enough."""
    needed = requests_to_compare(bad_ratio, 2.0, 0.05, weight_percent)
    assert needed is not None
    whole, quarter = (chance_alike(total, bad_ratio, weight_percent) for total in (needed, needed // 4))
    print(f"{needed} requests: shown with a chance of {whole:.3f}, of {quarter:.3f} with a quarter of them")
    assert whole >= 0.95
    assert quarter < 0.95


def chance_alike(canary: int, bad_ratio: float, weight_percent: float) -> float:
    """That one look at the end shows it. The more bad ones the baseline has, the more the canary may have."""
    stable = round(canary * (100 - weight_percent) / weight_percent)
    may, fewer, shown = 0, 0.0, 0.0
    for stable_bad in range(stable + 1):
        chance = chance_of(stable, stable_bad, bad_ratio)
        while chance > 1e-9 and log_e_alike(compared(canary, may, stable, stable_bad)) >= log(20):
            fewer, may = fewer + chance_of(canary, may, bad_ratio), may + 1
        shown += chance * fewer
    return shown


def test_what_can_never_be_compared() -> None:
    assert requests_to_compare(0.0, 2.0, 0.05, 10) is None
    assert requests_to_compare(0.01, 2.0, 0.05, 100) is None
    assert requests_to_compare(0.01, 2.0, 0.05, 0) is None
    assert requests_to_compare(1e-7, 1.01, 0.05, 10) is None


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda: requests_to_pass(0.001, 0.05), id="to pass"),
        pytest.param(lambda: requests_to_pass(0.01, 0.05, 0.0099), id="to pass, close to the limit"),
        pytest.param(lambda: smallest_caught(0.001, 0.00125, 10**7), id="caught"),
        pytest.param(lambda: smallest_caught_in_blocks(0.01, 0.00125, 360, 10_000), id="caught in blocks"),
        pytest.param(lambda: smallest_caught_beside(0.001, 1.5, 0.0025, 10**6, 10**7), id="caught beside"),
        pytest.param(lambda: requests_to_compare(0.0001, 2.0, 0.05, 10), id="to compare"),
    ],
)
def test_an_answer_takes_less_than_50_ms(ask: Callable[[], float | None]) -> None:
    times = []
    for _ in range(4):
        begun = time.process_time()
        assert ask() is not None
        times.append(time.process_time() - begun)
    assert min(times) < 0.05
