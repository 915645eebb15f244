"""Shares and their bounds, and what is said of many releases."""

from __future__ import annotations

from math import comb, inf

import mpmath
import pytest

from pulumi_rollout.simulate.tally import Tally, at_most, nearest, share
from pulumi_rollout.simulate.walk import End, Outcome


def exact(count: int, runs: int, chance: float) -> float:
    return sum(comb(runs, k) * chance**k * (1 - chance) ** (runs - k) for k in range(count + 1))


@pytest.mark.parametrize(("count", "runs", "chance"), [(0, 10, 0.1), (3, 400, 0.01), (20, 400, 0.05), (9, 10, 0.5)])
def test_the_chance_of_at_most_so_many(count: int, runs: int, chance: float) -> None:
    assert at_most(count, runs, chance) == pytest.approx(exact(count, runs, chance), rel=1e-9)


@pytest.mark.parametrize(("count", "runs"), [(0, 400), (1, 400), (20, 400), (380, 400), (400, 400), (7, 30)])
def test_the_bounds_are_those_of_clopper_and_pearson(count: int, runs: int) -> None:
    """Quantiles of beta distributions, by mpmath."""
    found = share(count, runs)
    assert found.ratio == count / runs
    low, high = found.low, found.high
    if count:
        assert float(mpmath.betainc(count, runs - count + 1, 0, low, regularized=True)) == pytest.approx(0.005)
    else:
        assert low == 0
    if count < runs:
        assert float(mpmath.betainc(count + 1, runs - count, high, 1, regularized=True)) == pytest.approx(0.005)
    else:
        assert high == 1


def test_known_bounds() -> None:
    """Of 400 runs without one, at most 1.32 % at 99 %: 1 - 0.005 ** (1 / 400)."""
    assert share(0, 400).high == pytest.approx(1 - 0.005 ** (1 / 400))
    assert share(400, 400).low == pytest.approx(0.005 ** (1 / 400))


def test_what_took_for_ever_counts() -> None:
    outcomes = [Outcome(End.ABORTED, 10.0 + n, 1.0 + n, failed=n) for n in range(6)]
    tally = Tally((*outcomes, *[Outcome(End.PROMOTED, 90.0, 90.0, failed=50)] * 4))
    assert tally.seconds(0.5, bad=True) == 5.0
    assert tally.seconds(0.95, bad=True) == inf
    assert tally.seconds(0.5, bad=False) == inf
    assert tally.seconds(0.3, bad=False) == 90.0
    assert tally.failed(0.5) == 4
    assert tally.share(End.ABORTED, End.PROMOTED).ratio == 1
    assert tally.share(End.UNDECIDED).count == 0


def test_the_nearest_rank() -> None:
    assert [nearest([3, 1, 2], q) for q in (0.0, 0.3, 0.34, 0.67, 1.0)] == [1, 1, 2, 3, 3]
