"""A failure of which it is still open whether both versions share it: what is waited for, and how long.

What follows once it is known is in `test_outage.py`.
"""

from __future__ import annotations

from math import inf

import pytest

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.gates import Verdict, objective, outage
from tests.core.gates.looks import Watched, plan

HELD = "the old version fails the same test, so the new one is not blamed"
UNSURE = "it fails, and whether the old version does so too is still open"


def seconds_until(watched: Watched, verdict: Verdict, canary: tuple[int, int], stable: tuple[int, int]) -> int:
    """How many seconds of these requests it takes until the gate says so, at most an hour."""
    return next(second for second in range(1, 3600) if watched.look(1, canary, stable).verdict is verdict)


def scraped(watched: Watched, canary: tuple[int, int], stable: tuple[int, int]) -> None:
    """Both versions' requests of the last 15 s, the canary's read now, stable's 8 s later."""
    watched.now += 7
    watched.serve("canary", "", canary)
    watched.read(both(watched, watched.now, watched.now - 7))
    watched.now += 8
    watched.serve("stable", "", stable)
    watched.read(both(watched, watched.now - 8, watched.now))


def both(watched: Watched, canary_at: float, stable_at: float) -> Reading:
    series = watched.series
    return Reading(
        canary=Sample(series=dict(series["canary"]), at=canary_at),
        stable=Sample(series=dict(series["stable"]), at=stable_at),
    )


def test_a_failure_waits_for_the_old_versions_number_of_the_same_time() -> None:
    watched = Watched(plan())
    watched.begins_step()
    for _ in range(5):
        scraped(watched, (150, 0), (1350, 0))
    watched.now += 7
    watched.serve("canary", "", (150, 45))
    stable_at = watched.now - 7
    for _ in range(4):
        judgement = watched.read(both(watched, watched.now, stable_at))
        assert (judgement.verdict, judgement.reason) == (Verdict.HOLD, UNSURE)
    watched.now += 8
    watched.serve("stable", "", (1350, 400))
    assert watched.read(both(watched, watched.now - 8, watched.now)).reason == HELD


@pytest.mark.parametrize(("stable", "verdict"), [((1350, 2), Verdict.FAIL), ((1350, 400), Verdict.HOLD)])
def test_then_it_is_believed_or_not(stable: tuple[int, int], verdict: Verdict) -> None:
    watched = Watched(plan())
    watched.begins_step()
    for _ in range(5):
        scraped(watched, (150, 0), (1350, 0))
    scraped(watched, (150, 45), stable)
    assert watched.judgement.verdict is verdict


def test_it_does_not_wait_for_ever() -> None:
    """The old version's source is silent: after 20 s of the canary's own numbers it fails."""
    watched = Watched(plan())
    watched.begins_step()
    watched.look(1, (1000, 0), (1000, 0))
    stable_at, seconds = watched.now, 0
    while watched.judgement.verdict is not Verdict.FAIL:
        watched.now, seconds = watched.now + 1, seconds + 1
        watched.serve("canary", "", (50, 15))
        watched.read(both(watched, watched.now, stable_at))
    assert outage.UNSURE_SECONDS <= seconds <= outage.UNSURE_SECONDS + 3


def test_few_requests_of_the_old_version_are_waited_for() -> None:
    """At a weight of 98 %, one bad one of two may be an outage."""
    watched = Watched(plan())
    watched.begins_step()
    watched.look(10, (980, 0), (20, 0))
    assert watched.look(1, (98, 30), (2, 1)).reason == UNSURE
    assert seconds_until(watched, Verdict.HOLD, (98, 30), (2, 1)) == 1
    assert memory(watched).since is None or watched.judgement.reason == HELD


def test_few_good_ones_after_that_let_it_fail() -> None:
    watched = Watched(plan())
    watched.begins_step()
    watched.look(10, (980, 0), (20, 0))
    watched.look(1, (98, 30), (2, 1))
    assert seconds_until(watched, Verdict.FAIL, (98, 30), (2, 0)) <= outage.UNSURE_SECONDS + 1


def test_what_begins_in_the_warm_up_of_a_step_is_waited_for_too() -> None:
    """Stable's seconds of earlier warm-ups are many, and good."""
    watched = Watched(plan(warm_up=60), warm_until=1e9)
    watched.begins_step()
    for _ in range(60):
        watched.look(1, (10, 0), (900, 0))
    for _ in range(60):
        assert watched.look(1, (90, 40), (10, 4)).verdict is Verdict.HOLD
    assert memory(watched).since is not None


def test_an_outage_that_was_there_before_the_canary_is_waited_for() -> None:
    """Stable's requests count from the canary's first one on, so at that look there are none."""
    watched = Watched(plan(warm_up=60), warm_until=inf)
    for _ in range(60):
        watched.look(1, (0, 0), (100, 50))
    assert watched.look(1, (20, 10), (80, 40)).reason == UNSURE
    watched.look(1, (20, 10), (80, 40), warm_until=watched.now + 60)
    assert watched.judgement.reason == HELD


def test_of_an_old_version_that_is_well_it_hears_at_the_next_look() -> None:
    watched = Watched(plan(warm_up=60), warm_until=inf)
    for _ in range(60):
        watched.look(1, (0, 0), (100, 0))
    assert watched.look(1, (20, 10), (80, 0)).reason == UNSURE
    assert watched.look(1, (20, 10), (80, 0), warm_until=watched.now + 60).verdict is Verdict.FAIL


def test_an_outage_that_begins_behind_a_rise_is_shared() -> None:
    """Of numbers that are scraped apart from the change, the first has the old version's seconds before it as well."""
    watched = Watched(plan(), weight_percent=0)
    watched.look(15, (0, 0), (1500, 0))
    assert watched.look(15, (128, 49), (1372, 144), weight_percent=20).reason == HELD
    for _ in range(4):
        assert watched.look(15, (300, 90), (1200, 360)).reason == HELD


def test_with_all_traffic_there_is_nothing_to_wait_for() -> None:
    watched = Watched(plan(warm_up=60), warm_until=inf, weight_percent=100)
    for _ in range(60):
        watched.look(1, (0, 0), (100, 0))
    assert watched.look(1, (20, 10)).verdict is Verdict.FAIL


def memory(watched: Watched) -> outage.Outage:
    assert isinstance(watched.evidence.memory, objective.Memory)
    return watched.evidence.memory.outage
