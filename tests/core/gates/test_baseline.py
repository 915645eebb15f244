"""Gates that compare both versions: which windows they look at, what they say, and that no outage can fail them."""

from __future__ import annotations

import random

import pytest

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Arm, Reading, Sample
from pulumi_rollout.core.gates import Verdict, baseline, windows
from pulumi_rollout.core.gates.windows import Closed, Window
from pulumi_rollout.core.measures import Baseline, Latency, SuccessRate
from tests.core.gates.looks import BEGIN, Watched, plan

GATE = Baseline(id="success_rate_vs_stable", metric=SuccessRate(), source="s")
AT_20 = (20, 20)


def test_a_window_of_one_proxy_is_closed_by_each_answer() -> None:
    window, over = windows.look(Window(), Arm(total=5, at=1.0), Arm(total=9, at=1.1), AT_20)
    assert (window.began, over) == (True, None)
    window, over = windows.look(window, Arm(total=8, bad=1, at=2.0), Arm(total=19, bad=2, at=2.1), AT_20)
    assert over == Closed(3, 1, 10, 2, *AT_20)
    _, over = windows.look(window, Arm(total=9, bad=1, at=3.0), Arm(total=20, bad=2, at=3.1), AT_20)
    assert over == Closed(1, 0, 1, 0, *AT_20)


def test_a_window_of_versions_that_are_scraped_apart_has_four_readings_of_each() -> None:
    window, closed = Window(), []
    for number in range(40):
        canary_at = 15.0 * ((number + 1) // 2)
        stable_at = 15.0 * (number // 2) + 7
        canary, stable = Arm(total=10 * round(canary_at), at=canary_at), Arm(total=10 * round(stable_at), at=stable_at)
        window, over = windows.look(window, canary, stable, AT_20)
        closed += [over] if over else []
    assert len(closed) == 4
    assert {one.canary_total for one in closed} <= {600, 750}
    assert {one.stable_total for one in closed} <= {600, 750}


def test_a_window_goes_on_when_the_weight_changes_and_knows_its_weights() -> None:
    window, _ = windows.look(Window(), Arm(at=100.0), Arm(at=100.1), (10, 10))
    window, over = windows.look(window, Arm(total=8, at=115.0), Arm(total=19, at=115.1), (20, 20))
    assert over == Closed(8, 0, 19, 0, 10, 20)
    _, over = windows.look(window, Arm(total=9, at=130.0), Arm(total=20, at=130.1), (20, 20))
    assert over == Closed(1, 0, 1, 0, *AT_20)


def test_the_same_reading_again_closes_nothing() -> None:
    window, _ = windows.look(Window(), Arm(at=1.0), Arm(at=1.0), AT_20)
    for _ in range(9):
        window, over = windows.look(window, Arm(at=1.0), Arm(at=1.0), AT_20)
        assert over is None


def test_without_numbers_of_both_there_is_no_window() -> None:
    window, over = windows.look(Window(), Arm(at=1.0), Arm(), AT_20)
    window, over = windows.look(window, Arm(total=5, at=2.0), Arm(), AT_20)
    assert (over, window.canary_total) == (None, 5), "it begins with the first numbers of both"


def served(rng: random.Random, requests: int, p: float) -> tuple[int, int]:
    return requests, sum(rng.random() < p for _ in range(requests))


def seconds_until(verdict: Verdict, p: float, stable_p: float, seed: int = 1, gate: Baseline = GATE) -> int | None:
    """How long that takes, at 100 requests a second and a weight of half; None if it is not said within ten minutes."""
    watched, rng = Watched(plan(gate)), random.Random(seed)
    for second in range(1, 601):
        if watched.look(1, served(rng, 50, p), served(rng, 50, stable_p)).verdict is verdict:
            return second
    return None


def test_a_version_that_is_worse_fails() -> None:
    found = [seconds_until(Verdict.FAIL, 0.1, 0.01, seed) for seed in range(5)]
    assert all(seconds is not None and seconds < 60 for seconds in found)


def test_a_version_that_is_as_good_passes_and_does_not_fail() -> None:
    for seed in range(5):
        assert seconds_until(Verdict.FAIL, 0.05, 0.05, seed) is None
    assert seconds_until(Verdict.PASS, 0.05, 0.05) is not None


def test_what_is_within_the_margin_does_not_fail() -> None:
    for seed in range(5):
        assert seconds_until(Verdict.FAIL, 0.07, 0.05, seed) is None


def test_the_margin_is_a_setting() -> None:
    strict = GATE.model_copy(update={"margin": 1.0, "max_ratio": 1.2})
    assert seconds_until(Verdict.FAIL, 0.25, 0.1, gate=strict) is not None


def test_an_outage_of_both_fails_nothing() -> None:
    watched, rng = Watched(plan(GATE)), random.Random(3)
    for second in range(300):
        p = 0.6 if 60 <= second < 200 else 0.002
        assert watched.look(1, served(rng, 50, p), served(rng, 50, p)).verdict is not Verdict.FAIL


def test_an_outage_that_begins_behind_a_rise_is_no_evidence() -> None:
    """The old version has had its seconds before the rise too, so the canary has more than its share of it."""
    watched = Watched(plan(GATE), weight_percent=0)
    watched.look(15, (0, 0), (1500, 0))
    assert watched.look(15, (128, 49), (1372, 144), weight_percent=20).verdict is Verdict.UNDECIDED
    assert watched.judgement.log_e_fail < 0.0
    watched.look(15, (300, 290), (1200, 12))
    assert watched.judgement.verdict is Verdict.FAIL


def test_a_broken_version_is_found_in_steps_that_are_shorter_than_four_scrapes() -> None:
    """Of versions that are scraped every 15 s, and apart, in steps of half a minute."""
    watched = Watched(plan(GATE), weight_percent=10)
    for number in range(1, 14):
        canary_at, stable_at = BEGIN + 15.0 * (number // 2), BEGIN - 7.5 + 15.0 * ((number + 1) // 2)
        canary = Sample(series={"canary  503": (10 * (canary_at - BEGIN), True)}, at=canary_at)
        stable = Sample(series={"stable  200": (90 * (stable_at - BEGIN + 7.5), False)}, at=stable_at)
        watched.now += 7.5
        watched.read(Reading(canary=canary, stable=stable), weight_percent=10 * (1 + number // 4))
    assert watched.judgement.verdict is Verdict.FAIL


def test_where_the_route_may_have_any_weight_nothing_is_shown() -> None:
    """Somebody has edited it."""
    watched = Watched(plan(GATE))
    for _ in range(20):
        assert watched.look(1, (50, 50), (50, 0), in_place=False).verdict is Verdict.UNDECIDED


def test_without_a_failure_nothing_is_shown() -> None:
    watched = Watched(plan(GATE))
    for _ in range(600):
        assert watched.look(1, (50, 0), (50, 0)).verdict is Verdict.UNDECIDED


def test_requests_of_the_warm_up_are_not_compared() -> None:
    watched = Watched(plan(GATE, warm_up=60), warm_until=1e9)
    for _ in range(60):
        assert watched.look(1, (50, 25), (50, 0)).verdict is Verdict.UNDECIDED


def test_after_promotion_there_is_nothing_to_compare() -> None:
    """All requests are the new version's: they are not held against it for lack of others."""
    watched = Watched(plan(GATE), promoted=True)
    for _ in range(60):
        assert watched.look(1, (0, 0), (100, 50)).verdict is Verdict.UNDECIDED


def test_the_verdict_names_both_versions() -> None:
    watched = Watched(plan(GATE))
    while watched.judgement.verdict is not Verdict.FAIL:
        watched.look(1, (50, 10), (50, 1))
    canary, stable = watched.evidence.canary, watched.evidence.stable
    text = watched.explained()
    assert text.startswith(
        f"success rate vs stable: {canary.bad:,} of {canary.total:,} canary requests failed (20.00 %), of the old "
        f"version's {stable.bad:,} of {stable.total:,} (2.00 %), more than 1.5 times as many, E = "
    )
    assert text.endswith(" >= 200 (alpha 0.005 over 1 gate), 42 s at 20 %, data 1.2 s old")


def test_what_it_wants_in_words() -> None:
    slow = GATE.model_copy(update={"metric": Latency(bound_seconds=0.5), "margin": 2.0, "max_ratio": 3.0})
    assert gates.asks(slow) == "not more than 2 times the old version's share of requests that took longer than 500 ms"


def test_judged_anew_nothing_is_left_of_it() -> None:
    watched = Watched(plan(GATE))
    watched.look(1, (50, 40), (50, 1))
    watched.look(1, (50, 40), (50, 1))
    assert watched.judgement.verdict is Verdict.FAIL
    again = gates.again(watched.evidence)
    assert again.memory == baseline.Memory()
    assert (again.canary.total, again.canary.counters) == (0, watched.evidence.canary.counters)


@pytest.mark.parametrize("scrape", [15, 30])
def test_scraped_apart_an_outage_of_both_fails_nothing_either(scrape: int) -> None:
    """The canary's numbers show it half a scrape before the old version's."""
    watched, rng = Watched(plan(GATE)), random.Random(5)
    scraped = {"canary": Sample(at=watched.now), "stable": Sample(at=watched.now)}
    for second in range(1, 900):
        watched.now += 1
        p = 0.6 if 200 <= second < 500 else 0.002
        for arm, moment in (("canary", 0), ("stable", scrape // 2)):
            watched.serve(arm, "", served(rng, 50, p))
            if second % scrape == moment:
                scraped[arm] = Sample(series=dict(watched.series[arm]), at=watched.now)
        assert watched.read(Reading(canary=scraped["canary"], stable=scraped["stable"])).verdict is not Verdict.FAIL
