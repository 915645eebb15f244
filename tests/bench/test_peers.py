"""The models of peers: known answers, and figures of the real ones.

Flagger: latencies that follow from its code exactly, a table of a model of its own, and two figures of the real one in
the lab. Argo Rollouts: what its own unit tests and documentation say, and a table of chances.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import mean, median

import pytest

from bench.peers import Analysis, Argo, Flagger, Query, argo_grid, flagger_grid
from pulumi_rollout.simulate.scenario import Change, Course, Scenario, Scrapes, Span
from pulumi_rollout.simulate.traffic import Traffic
from pulumi_rollout.simulate.walk import End, Outcome

CHANNELS = ("errors",)
# As if metrics were visible at once: scraped at each tick.
AT_ONCE = Scrapes(every_seconds=10, lag_seconds=0)
# How far two estimates may be apart, in standard deviations, and what the rounding of a table adds.
DEVIATIONS, ROUNDING = 4.0, 0.006


def outcomes(peer: Flagger | Argo, scenario: Scenario, runs: int) -> list[Outcome]:
    return [peer.release(scenario, CHANNELS, seed) for seed in range(runs)]


def steady(rate: float, error: float, scrapes: Scrapes = AT_ONCE) -> Scenario:
    return Scenario(rate=rate, canary=Course(error), scrapes=scrapes)


def near(seen: float, expected: float, runs: int, others: int) -> bool:
    """Whether two shares of so many runs may be of the same chance."""
    spread = sqrt(max(seen * (1 - seen), 1 / runs) / runs + max(expected * (1 - expected), 1 / others) / others)
    return abs(seen - expected) <= DEVIATIONS * spread + ROUNDING


# Flagger


@pytest.mark.parametrize(
    ("interval", "threshold", "weight", "seconds", "failed"),
    [
        (10, 1, 10, 20, 200),
        (10, 5, 10, 60, 600),
        (15, 15, 10, 240, 2400),
        (60, 5, 10, 360, 3600),
        (60, 10, 5, 660, 3300),
    ],
)
def test_a_broken_version_stays_exactly_so_long(
    interval: float, threshold: int, weight: int, seconds: float, failed: int
) -> None:
    """(threshold + 1) intervals at the first weight: the tick behind the last failed check rolls back."""
    weights = (weight, 2 * weight)
    peer = Flagger(interval, threshold, Query(interval if interval > 10 else 60), weights=weights)
    ends = outcomes(peer, steady(100, 1.0, Scrapes(every_seconds=5, lag_seconds=0)), 20)
    assert {one.end for one in ends} == {End.ABORTED}
    assert {one.seconds for one in ends} == {seconds}
    assert mean(one.failed for one in ends) == pytest.approx(failed, rel=0.05)


def test_what_breaks_at_the_last_weight() -> None:
    """At some time between two ticks: (threshold + 1/2) intervals on average, at that weight."""
    after = [n * 6.0 for n in range(10)]
    seconds = []
    for delay in after:
        course = Course(0.0, (Change(1.0, seconds=delay, weight_percent=50),))
        [one] = outcomes(Flagger(60, 10, Query(60)), Scenario(rate=100, canary=course, scrapes=Scrapes(1.0, 0.0)), 1)
        assert one.end is End.ABORTED
        seconds.append(one.seconds_bad)
    assert mean(seconds) == pytest.approx(10.5 * 60, abs=6)
    assert max(seconds) <= 11 * 60
    assert min(seconds) >= 10 * 60


# Model of chances at steps of 10 to 50 %, a limit of 1 %, windows of 60 s and 1,500 runs: share of bad requests,
# interval, threshold -> by requests a second of all users, and how the release ends.
TABLE = [
    (0.001, 10, 5, End.ABORTED, {2: 0.034, 10: 0.020, 50: 0.0}),
    (0.001, 60, 5, End.ABORTED, {2: 0.0, 10: 0.0, 50: 0.0}),
    (0.005, 10, 5, End.ABORTED, {2: 0.13, 10: 0.17, 50: 0.06}),
    (0.005, 60, 5, End.ABORTED, {2: 0.015, 10: 0.011, 50: 0.0}),
    (0.0, 10, 5, End.ABORTED, {0.05: 0.80, 0.1: 0.61, 0.3: 0.22}),
    (0.0, 60, 5, End.ABORTED, {0.05: 0.53, 0.1: 0.10, 0.3: 0.0}),
    (0.0, 60, 10, End.ABORTED, {0.05: 0.15, 0.1: 0.005, 0.3: 0.0}),
    (0.02, 10, 5, End.PROMOTED, {2: 0.54, 10: 0.18, 50: 0.005}),
    (0.02, 60, 5, End.PROMOTED, {2: 0.42, 10: 0.013, 50: 0.0}),
    (0.02, 60, 10, End.PROMOTED, {2: 0.85, 10: 0.08, 50: 0.0}),
    (0.009, 60, 5, End.PROMOTED, {50: 0.82, 500: 0.99}),
    (0.009, 60, 10, End.PROMOTED, {50: 0.99, 500: 1.0}),
]
TABLE_RUNS, RUNS = 1500, 150


@pytest.mark.parametrize(("error", "interval", "threshold", "end", "chances"), TABLE)
def test_the_chances_of_flagger(
    error: float, interval: float, threshold: int, end: End, chances: dict[float, float]
) -> None:
    for rate, expected in chances.items():
        ends = outcomes(Flagger(interval, threshold), steady(rate, error), RUNS)
        seen = mean(one.end is end for one in ends)
        print(
            f"{error:.1%} bad at {rate}/s, interval {interval} s, threshold {threshold}: {end} {seen:.3f}, {expected}"
        )
        assert near(seen, expected, RUNS, TABLE_RUNS), (rate, seen, expected)


@pytest.mark.parametrize(
    ("interval", "threshold", "means"),
    [(10, 5, (76, 67, 62)), (60, 5, (461, 388, 361)), (60, 10, (812, 707, 662))],
)
def test_how_long_flagger_takes(interval: float, threshold: int, means: tuple[float, ...]) -> None:
    """With 2 % bad requests, where it rolls back at all."""
    for rate, expected in zip((10, 50, 200), means, strict=True):
        ends = outcomes(Flagger(interval, threshold), steady(rate, 0.02), 80)
        seen = [one.seconds for one in ends if one.end is End.ABORTED]
        assert mean(seen) == pytest.approx(expected, abs=0.6 * interval), rate


@pytest.mark.parametrize(("interval", "threshold", "real"), [(10, 1, 57), (60, 5, 1122)])
def test_flagger_in_the_lab(interval: float, threshold: int, real: int) -> None:
    """Flagger 1.44 itself with Contour and Prometheus, a version with 30 % errors, 100 requests a second: so many
    failed requests were counted at the load generator."""
    ends = outcomes(Flagger(interval, threshold), steady(100, 0.3, Scrapes()), 60)
    seen = median(one.failed for one in ends)
    print(f"interval {interval} s, threshold {threshold}: {seen} failed requests, of the real one {real}")
    assert seen == pytest.approx(real, rel=0.1)


def test_flagger_counts_no_data_and_no_requests_as_failed_checks() -> None:
    gone = Scenario(rate=100, scrapes=AT_ONCE, gap=Span(0, 10_000))
    assert outcomes(Flagger(10, 3), gone, 1)[0].end is End.ABORTED
    assert outcomes(Flagger(10, 3), steady(0.0001, 0.0), 1)[0].end is End.ABORTED


def test_flaggers_counter_is_never_set_back() -> None:
    """Two blips far apart end a release whose threshold is two."""
    blips = tuple(change for at in (60.0, 200.0) for change in (Change(1.0, at, 1), Change(0.0, at + 10, 1)))
    scenario = Scenario(rate=100, canary=Course(0.0, blips), scrapes=Scrapes(5, 0))
    weights = tuple(range(2, 62, 2))
    assert outcomes(Flagger(20, 2, Query(20), weights=weights), scenario, 1)[0].end is End.ABORTED
    assert outcomes(Flagger(20, 5, Query(20), weights=weights), scenario, 1)[0].end is End.PROMOTED


# Argo Rollouts


def analysis(setting: Argo, values: Sequence[bool | str | None]) -> list[End | None]:
    """What follows from each measurement."""
    run = Analysis(setting, Traffic(Scenario(rate=1), CHANNELS, 0), 1)
    found = []
    for value in values:
        run.count(0, value)  # type: ignore[arg-type]
        found.append(run.assess())
    return found


def test_more_failures_than_the_limit_fail() -> None:
    """analysis_test.go, TestAssessMetricFailureInconclusiveOrError: failed (1) > failureLimit (0)."""
    assert analysis(Argo(60, 0), [False]) == [End.ABORTED]
    assert analysis(Argo(60, 3), [False, True, False, False, True, False]) == [None] * 5 + [End.ABORTED]


def test_the_fifth_error_in_a_row_ends_it() -> None:
    """consecutiveErrorLimit is 4 by default, a measurement in between begins anew, an error is tried again soon."""
    assert analysis(Argo(60, 0), [None] * 5) == [None] * 4 + [End.ABORTED]
    assert analysis(Argo(60, 0), [None] * 4 + [True] + [None] * 4) == [None] * 9
    run = Analysis(Argo(60, 0), Traffic(Scenario(rate=1), CHANNELS, 0), 1)
    run.count(0, None)
    run.assess()
    assert (run.wait_seconds, run.measured) == (10.0, 0)


def test_nan_is_what_the_condition_makes_of_it() -> None:
    """docs/features/analysis.md: a comparison with NaN is false; with both conditions the measurement is inconclusive,
    and the rollout pauses for somebody to look."""
    assert analysis(Argo(60, 0, no_requests="fails"), ["nan"]) == [End.ABORTED]
    assert analysis(Argo(60, 0, no_requests="inconclusive"), ["nan"]) == [End.UNDECIDED]
    assert analysis(Argo(60, 0, no_requests="passes"), ["nan"]) == [None]


@pytest.mark.parametrize(
    ("rate", "error", "limit", "chance", "seconds"),
    [
        (2, 0.005, 0, 0.87, None),
        (2, 0.005, 3, 0.29, None),
        (20, 0.005, 0, 0.18, None),
        (20, 0.005, 3, 0.0, None),
        (200, 0.005, 0, 0.0, None),
        (2, 0.05, 0, 1.0, 30),
        (2, 0.05, 3, 1.0, 120),
        (20, 0.02, 0, 1.0, 30),
        (20, 0.02, 3, 1.0, 120),
        (2, 0.02, 3, 1.0, 150),
    ],
)
def test_the_chances_of_argo(rate: float, error: float, limit: int, chance: float, seconds: float | None) -> None:
    """One weight, a window of 60 s, measured every 30 s for 600 s; the table is of 400 runs."""
    peer = Argo(30, limit, Query(60), pause_seconds=30, background=False, count=20, weights=(100,))
    ends = outcomes(peer, steady(rate, error), RUNS)
    seen = mean(one.end is End.ABORTED for one in ends)
    print(f"{error:.1%} bad at {rate}/s, failureLimit {limit}: {seen:.3f}, {chance}")
    assert near(seen, chance, RUNS, 400)
    if seconds is not None:
        assert median(one.seconds for one in ends) == pytest.approx(seconds, abs=31 if seconds > 120 else 1)


def test_a_background_analysis_measures_while_steps_last() -> None:
    """The first measurement has no result yet and is tried again; the steps go on meanwhile."""
    course = Course(0.0, (Change(1.0, weight_percent=50),))
    scenario = Scenario(rate=100, canary=course, scrapes=Scrapes(5, 0.5))
    [one] = outcomes(Argo(30, 0, Query(60), pause_seconds=60), scenario, 1)
    assert (one.end, one.seconds_bad) == (End.ABORTED, 10.0)
    assert {end.end for end in outcomes(Argo(10, 0, Query(60)), steady(100, 0.0), 5)} == {End.PROMOTED}


def test_a_query_that_compares_passes_where_there_is_nothing_to_compare() -> None:
    fine = Query(60, max_ratio=2.0)
    same = Scenario(rate=1000, canary=Course(0.004), stable=Course(0.004), scrapes=AT_ONCE)
    worse = Scenario(rate=1000, canary=Course(0.009), stable=Course(0.001), scrapes=AT_ONCE)
    assert outcomes(Flagger(60, 3, fine), same, 1)[0].end is End.PROMOTED
    assert outcomes(Flagger(60, 3, fine), worse, 1)[0].end is End.ABORTED


def test_grids_are_wide() -> None:
    assert len(flagger_grid()) >= 80
    assert len(argo_grid()) >= 150
    settings: list[Flagger | Argo] = [*flagger_grid(), *argo_grid()]
    assert len({one.words for one in settings}) == len(settings)
