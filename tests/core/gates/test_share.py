"""The gate of the traffic's share: what the route says and what comes, and when nothing is said of it."""

from __future__ import annotations

import random

import pytest

from pulumi_rollout.core import gates
from pulumi_rollout.core.gates import Verdict, share
from pulumi_rollout.core.measures import Share
from tests.core.gates.looks import Watched, plan

GATE = Share(id="traffic_share", source="s")


def at(weight: int) -> Watched:
    """A gate whose weight has been in place for a while."""
    watched = Watched(plan(GATE), weight_percent=weight)
    watched.look(10)
    return watched


def of(rng: random.Random, requests: int, percent: float) -> tuple[tuple[int, int], tuple[int, int]]:
    canary = sum(rng.random() * 100 < percent for _ in range(requests))
    return (canary, 0), (requests - canary, 0)


@pytest.mark.parametrize("weight", [1, 10, 50, 99])
def test_as_the_route_says_it_does_not_fail(weight: int) -> None:
    watched, rng = at(weight), random.Random(weight)
    for _ in range(300):
        assert watched.look(1, *of(rng, 100, weight)).verdict is Verdict.PASS


@pytest.mark.parametrize(("weight", "comes"), [(10, 30), (10, 1), (50, 70), (50, 30), (90, 99.9)])
def test_much_more_or_less_fails(weight: int, comes: float) -> None:
    watched, rng = at(weight), random.Random(weight)
    seconds = 0
    while watched.judgement.verdict is not Verdict.FAIL:
        watched.look(1, *of(rng, 100, comes))
        seconds += 1
        assert seconds < 60
    seen = 100 * watched.evidence.canary.total / (watched.evidence.canary.total + watched.evidence.stable.total)
    assert watched.explained().startswith(
        f"traffic share: the canary gets {seen:.1f} % of the requests, the route says {weight} %, E = "
    )
    assert not watched.judgement.judged, "the routing layer is to blame, and not the revision"


def test_what_is_within_the_margin_does_not_fail() -> None:
    watched, rng = at(50), random.Random(2)
    for _ in range(300):
        assert watched.look(1, *of(rng, 100, 54)).verdict is Verdict.PASS


def test_the_margin_is_a_setting() -> None:
    strict, rng = Watched(plan(GATE.model_copy(update={"margin": 1.05})), weight_percent=50), random.Random(2)
    strict.look(10)
    assert any(strict.look(1, *of(rng, 100, 58)).verdict is Verdict.FAIL for _ in range(300))


def test_before_a_hundred_requests_nothing_is_said() -> None:
    watched = at(50)
    for _ in range(99):
        assert watched.look(1, (1, 0)).verdict is Verdict.PASS
    assert watched.look(1, (1, 0)).verdict is Verdict.FAIL


@pytest.mark.parametrize("weight", [0, 100])
def test_with_all_on_one_version_there_is_nothing_to_compare(weight: int) -> None:
    watched = at(weight)
    for _ in range(100):
        assert watched.look(1, (50, 0), (50, 0)).verdict is Verdict.PASS


def test_nor_once_the_apex_is_the_new_versions() -> None:
    watched = at(50)
    for _ in range(100):
        assert watched.look(1, (0, 0), (100, 0), promoted=True).verdict is Verdict.PASS


def test_just_after_a_change_the_old_weight_is_still_there() -> None:
    """For some seconds, which count for nothing; then what comes is compared with the new one."""
    watched, rng = at(50), random.Random(4)
    for _ in range(60):
        watched.look(1, *of(rng, 100, 50))
    for _ in range(int(share.CHANGING_SECONDS)):
        assert watched.look(1, *of(rng, 100, 50), weight_percent=10).verdict is Verdict.PASS
    for _ in range(60):
        assert watched.look(1, *of(rng, 100, 10)).verdict is Verdict.PASS
    assert gates.counts(GATE, watched.evidence) == "the canary gets 9.4 % of the requests, the route says 10 %"


def test_while_the_route_has_another_weight_nothing_is_said() -> None:
    """It is not taken yet, or somebody has edited it: no fault of the version's."""
    watched, rng = at(50), random.Random(4)
    for _ in range(60):
        assert watched.look(1, *of(rng, 100, 90), in_place=False).verdict is Verdict.PASS
    verdicts = [watched.look(1, *of(rng, 100, 90), in_place=True).verdict for _ in range(30)]
    assert verdicts.index(Verdict.FAIL) >= share.CHANGING_SECONDS - 1


def test_a_change_that_never_comes_is_found() -> None:
    watched, rng = at(50), random.Random(4)
    for _ in range(60):
        watched.look(1, *of(rng, 100, 50))
    watched.look(0, weight_percent=10)
    verdicts = [watched.look(1, *of(rng, 100, 50)).verdict for _ in range(30)]
    assert verdicts.index(Verdict.FAIL) >= share.CHANGING_SECONDS - 1


def test_without_new_numbers_a_change_of_the_weight_is_seen() -> None:
    """As between two scrapes."""
    watched = at(50)
    watched.look(0, weight_percent=10)
    assert isinstance(watched.evidence.memory, share.Memory)
    assert watched.evidence.memory.weight_percent == 10


def test_in_words() -> None:
    assert gates.asks(GATE) == "the canary's share of requests is the route's, up to 1.25 times the odds"
    assert gates.counts(GATE, Watched(plan(GATE)).evidence) == "no requests to compare yet"


def test_judged_anew_it_begins_anew() -> None:
    watched, rng = at(50), random.Random(4)
    for _ in range(30):
        watched.look(1, *of(rng, 100, 90))
    assert watched.judgement.verdict is Verdict.FAIL
    watched.evidence = gates.again(watched.evidence)
    for _ in range(30):
        assert watched.look(1, *of(rng, 100, 50)).verdict is Verdict.PASS
