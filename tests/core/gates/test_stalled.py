"""The gate of requests that hang: what was begun long ago and has not ended, and whose fault that is."""

from __future__ import annotations

import pytest

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Arm, Reading, Sample
from pulumi_rollout.core.gates import Verdict, stalled
from pulumi_rollout.core.gates.stalled import MOST_READINGS, Flow, Stuck, stuck
from pulumi_rollout.core.gates.verdict import Judgement
from pulumi_rollout.core.measures import Stalled
from tests.core.gates.looks import BEGIN, Watched, plan

GATE = Stalled(id="stalled", source="s")
Versions = dict[str, tuple[float, float]]


class Proxy:
    """A proxy that counts what it has begun and what has ended, of each version."""

    def __init__(self, gate: Stalled = GATE) -> None:
        self.watched = Watched(plan(gate))
        self.counted: Versions = {"canary": (0, 0), "stable": (0, 0)}

    def second(self, canary: tuple[float, float], stable: tuple[float, float] = (10, 10)) -> Judgement:
        """Look a second later, after so many requests have begun, and so many have ended."""
        for arm, (begun, ended) in (("canary", canary), ("stable", stable)):
            self.counted[arm] = self.counted[arm][0] + begun, self.counted[arm][1] + ended
        self.watched.now += 1
        samples = {
            arm: Sample(series={"begun": (begun, False), "ended": (ended, True)}, at=self.watched.now)
            for arm, (begun, ended) in self.counted.items()
        }
        return self.watched.read(Reading(canary=samples["canary"], stable=samples["stable"]))

    def seconds(self, seconds: int, canary: tuple[float, float], stable: tuple[float, float] = (10, 10)) -> Judgement:
        for _ in range(seconds):
            judgement = self.second(canary, stable)
        return judgement


def test_requests_that_end_pass() -> None:
    assert Proxy().seconds(60, (10, 10)).verdict is Verdict.PASS


def test_a_version_that_hangs_fails_once_one_should_have_ended() -> None:
    proxy = Proxy()
    proxy.seconds(30, (10, 10))
    said = [proxy.second((10, 0)).verdict for _ in range(25)]
    assert Verdict.FAIL not in said[:10], "what is younger than 10 s may still end"
    assert said[-1] is Verdict.FAIL
    assert proxy.watched.judgement.judged


def test_a_version_that_hangs_from_its_first_request() -> None:
    proxy = Proxy()
    said = [proxy.second((10, 0)).verdict for _ in range(13)]
    assert said.index(Verdict.FAIL) in (10, 11)


def test_slow_requests_that_end_are_not_stuck() -> None:
    """Each takes 9 s: many are under way, and all end in time."""
    proxy = Proxy()
    proxy.seconds(9, (10, 0))
    assert proxy.seconds(60, (10, 10)).verdict is Verdict.PASS


def test_a_few_that_hang_beside_many_that_do_not() -> None:
    """A long poll, or a stream, is no failure, however many there come to be in time; most of the requests would be."""
    assert Proxy().seconds(3600, (10, 9)).verdict is Verdict.PASS
    assert Proxy().seconds(120, (10, 6)).verdict is Verdict.PASS
    assert Proxy().seconds(120, (10, 3)).verdict is Verdict.FAIL


def test_fewer_than_five_are_too_few_to_tell() -> None:
    proxy = Proxy()
    proxy.second((4, 0))
    assert proxy.seconds(60, (0, 0)).verdict is Verdict.PASS
    proxy = Proxy()
    proxy.second((5, 0))
    assert proxy.seconds(11, (0, 0)).verdict is Verdict.FAIL


def test_where_the_old_version_hangs_too_nobody_is_blamed() -> None:
    assert Proxy().seconds(60, (10, 0), (10, 0)).verdict is Verdict.PASS


def test_once_the_old_version_is_well_the_new_one_is_found() -> None:
    proxy = Proxy()
    proxy.seconds(60, (10, 0), (10, 0))
    proxy.second((10, 0), (0, 600))
    assert proxy.seconds(30, (10, 0)).verdict is Verdict.FAIL


def test_after_it_has_caught_up_it_passes() -> None:
    proxy = Proxy()
    assert proxy.seconds(30, (10, 0)).verdict is Verdict.FAIL
    assert proxy.second((10, 310)).verdict is Verdict.PASS


@pytest.mark.parametrize("after", [10.0, 30.0, 60.0, 300.0])
def test_how_long_is_a_setting(after: float) -> None:
    proxy = Proxy(GATE.model_copy(update={"after_seconds": after}))
    said = [proxy.second((10, 0)).verdict for _ in range(int(1.1 * after) + 10)]
    assert after <= said.index(Verdict.FAIL) <= 1 + after * (1 + 2 / MOST_READINGS)


def test_without_readings_nothing_hangs() -> None:
    assert stuck((), 10) == Stuck(0, 0)
    assert stuck((Flow(0, 5, 0), Flow(9, 5, 0)), 10) == Stuck(0, 0)
    assert stuck((Flow(0, 0, 0), Flow(1, 5, 0), Flow(11, 9, 2)), 10) == Stuck(3, 5)
    assert stuck((Flow(0, 0, 0), Flow(1, 5, 0), Flow(11, 9, 7)), 10) == Stuck(0, 5), "of the younger ones some ended"


def test_what_was_under_way_before_the_walk_ends_in_it() -> None:
    """It has begun before the counting and ended in it: no reason for fewer than none."""
    proxy = Proxy()
    assert proxy.seconds(30, (10, 12)).verdict is Verdict.PASS
    assert gates.counts(GATE, proxy.watched.evidence) == "0 of 100 canary requests hang; stable 0 of 100"


@pytest.mark.parametrize("after", [10.0, 60.0, 300.0])
def test_what_is_remembered_is_bounded(after: float) -> None:
    proxy = Proxy(GATE.model_copy(update={"after_seconds": after}))
    proxy.seconds(int(3 * after), (10, 10))
    memory = proxy.watched.evidence.memory
    assert isinstance(memory, stalled.Memory)
    assert len(memory.canary) == len(memory.stable) <= MOST_READINGS + 2
    assert 2 * after <= memory.canary[-1].at - memory.canary[0].at <= 2 * after * (1 + 2 / MOST_READINGS) + 1


@pytest.mark.parametrize("at", [None, BEGIN - 5])
def test_a_reading_that_is_none_or_late_is_not_kept(at: float | None) -> None:
    flows = (Flow(BEGIN, 5, 5),)
    assert stalled._kept(flows, Arm(total=99, at=at), 20) == flows


def test_the_verdict_in_words() -> None:
    proxy = Proxy()
    proxy.seconds(30, (10, 0))
    assert proxy.watched.explained() == (
        "stalled: 100 of 100 canary requests have not ended 10 s after their begin, 42 s at 20 %, data 1.2 s old; "
        "stable 0 of 100"
    )
    assert gates.asks(GATE) == "requests end within 10 s, most of them"
