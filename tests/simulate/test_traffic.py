"""The simulated world: what is served, what goes wrong when, and what a scraper sees of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import sqrt

import pytest

from pulumi_rollout.simulate.scenario import Bursts, Change, Course, Scenario, Scrapes, Span
from pulumi_rollout.simulate.traffic import Traffic

ONE = ("errors",)
AT_ONCE = Scrapes(every_seconds=1, lag_seconds=0)


def world(scenario: Scenario, channels: tuple[str, ...] = ONE, seed: int = 1, *, remember: bool = False) -> Traffic:
    traffic = Traffic(scenario, channels, seed, remember=remember)
    traffic.advance(0.0)
    return traffic


def bad_since(traffic: Traffic, begin: float, end: float) -> tuple[int, int]:
    """The canary's requests and bad ones of a stretch of time."""
    found = traffic.canary.window(begin, end)
    assert found is not None
    total, bad = found
    return total, bad[0]


def is_about(seen: float, mean: float) -> bool:
    return abs(seen - mean) <= 5 * sqrt(mean + 1)


def test_requests_go_where_the_route_says() -> None:
    traffic = world(Scenario(rate=100, scrapes=AT_ONCE))
    traffic.route(30)
    traffic.advance(100.0)
    traffic.settle()
    assert is_about(traffic.canary.total, 3000)
    assert is_about(traffic.apex.total - 100_000, 7000)


def test_each_sense_of_bad_is_on_its_own() -> None:
    courses = {"slow": (Course(0.5), Course(0.0))}
    traffic = world(Scenario(rate=100, canary=Course(0.1), gates=courses, scrapes=AT_ONCE), ("errors", "slow"))
    traffic.route(50)
    traffic.advance(100.0)
    traffic.settle()
    errors, slow = traffic.canary.bad
    assert is_about(errors, 500)
    assert is_about(slow, 2500)
    assert traffic.apex.bad == [0, 0]
    assert traffic.failed == errors


def test_a_course_changes_by_time_and_by_weight() -> None:
    course = Course(0.0, (Change(1.0, seconds=20, weight_percent=10), Change(0.0, seconds=5, weight_percent=50)))
    traffic = world(Scenario(rate=100, canary=course, scrapes=AT_ONCE))
    traffic.advance(10.0)
    traffic.route(10)
    traffic.advance(40.0)
    traffic.route(60)
    traffic.advance(60.0)
    assert bad_since(traffic, 10, 30)[1] == 0
    total, bad = bad_since(traffic, 30, 45)
    assert total == bad > 0
    assert bad_since(traffic, 45, 60)[1] == 0
    assert (traffic.first_at, traffic.turned_at) == (10.0, 45.0)
    assert traffic.since(50.0) == (40.0, 5.0)


def test_promoted_the_apex_is_the_new_version() -> None:
    traffic = world(Scenario(rate=100, canary=Course(1.0), scrapes=AT_ONCE))
    traffic.route(0, promoted=True)
    traffic.advance(10.0)
    traffic.settle()
    assert traffic.canary.total == 0
    assert traffic.failed == traffic.apex.bad[0] > 900


@pytest.mark.parametrize("shared", [True, False])
def test_bursts_come_and_go(shared: bool) -> None:
    bursts = Bursts(every_seconds=50, seconds=2, shared=shared)
    traffic = world(Scenario(rate=1000, bursts=bursts, scrapes=AT_ONCE), seed=5)
    traffic.route(50)
    traffic.advance(20_000.0)
    traffic.settle()
    assert traffic.canary.bad[0] / traffic.canary.total == pytest.approx(2 / 52, rel=0.25)

    def hit(backend: object) -> set[int]:
        scraped = backend.scraped  # type: ignore[attr-defined]
        return {round(now.at) for then, now in pairwise(scraped) if now.bad[0] - then.bad[0] > 100}

    together = len(hit(traffic.canary) & hit(traffic.apex)) / len(hit(traffic.canary))
    assert together > 0.95 if shared else together < 0.3


def test_the_scraper_has_its_own_times() -> None:
    scrapes = Scrapes(every_seconds=15, lag_seconds=2, stable_offset_seconds=7)
    traffic = world(Scenario(rate=10, scrapes=scrapes))
    traffic.route(50)
    assert traffic.next_sight() == 2.0
    traffic.advance(40.0)
    assert [one.at for one in traffic.canary.scraped] == [0, 15, 30]
    assert [one.at for one in traffic.apex.scraped] == [7, 22, 37]
    assert traffic.canary.seen(31.9 - 2) == 2
    assert traffic.next_sight() == 47.0


def test_a_window_needs_two_scrapes() -> None:
    traffic = world(Scenario(rate=100, scrapes=Scrapes(every_seconds=15, lag_seconds=0)))
    traffic.route(100)
    traffic.advance(60.0)
    assert traffic.canary.window(31, 60) is not None
    assert traffic.canary.window(46, 60) is None
    whole = traffic.canary.window(0, 60)
    assert whole is not None
    assert whole[0] == traffic.canary.scraped[-1].total


def test_a_reset_is_seen_as_far_as_it_can_be() -> None:
    """Counters begin anew; what came between the last scrape and the reset is lost."""
    traffic = world(Scenario(rate=1000, scrapes=Scrapes(every_seconds=10, lag_seconds=0), resets=(25.0,)))
    traffic.route(100)
    traffic.advance(40.0)
    totals = [one.total for one in traffic.canary.scraped]
    assert totals[3] < totals[2]
    assert is_about(traffic.canary.scraped[-1].grown, 35_000)
    assert is_about(traffic.apex.total, 0)


def test_nothing_is_scraped_in_a_gap() -> None:
    traffic = world(Scenario(rate=10, scrapes=Scrapes(every_seconds=5, lag_seconds=0), gap=Span(12, 20)))
    traffic.advance(40.0)
    assert [one.at for one in traffic.canary.scraped] == [0, 5, 10, 35, 40]
    assert [traffic.is_silent(at) for at in (11.9, 12.0, 31.9, 32.0)] == [False, True, True, False]


def test_stables_past_is_remembered() -> None:
    scenario = Scenario(rate=100, stable=Course(0.1), history_seconds=600)
    traffic = world(scenario, remember=True)
    assert traffic.now == 0.0
    assert len(traffic.history) == 60
    assert is_about(sum(total for total, _ in traffic.history), 60_000)
    assert is_about(sum(bad[0] for _, bad in traffic.history), 6_000)
    assert world(replace(scenario, history_seconds=1800.0)).history == ()


def test_looking_changes_nothing() -> None:
    """The same seed has the same luck, however often somebody looks."""
    scenario = Scenario(rate=50, canary=Course(0.1), bursts=Bursts(30, 2), scrapes=Scrapes(5, 0.5))
    seldom, often = world(scenario), world(scenario)
    for traffic in (seldom, often):
        traffic.route(20)
    seldom.advance(200.0)
    for tick in range(801):
        often.advance(tick / 4)
    assert seldom.canary.scraped == often.canary.scraped
    assert seldom.apex.scraped == often.apex.scraped
