"""What gates make of a walk, in the loop: one bad pod, outages that both share, silence, cold versions, bursts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, ReplacePod, SetWeight, State
from tests.fake_world import PLAN, PROMOTED, REVERTED, FakeEngine, MemoryCluster, World, begin, loaded, weights, when

ALONE = "replacing pod shop-v2-0, which alone fails: all are judged once more"
SHARED = "success rate holds the weight: the old version fails the same test, so the new one is not blamed"
NO_LONGER = "success rate holds no longer"
BURSTS = "success rate: failures of the old version come in bursts, so blocks of time are judged"
REFUSED = "http://prometheus:9090 does not answer"


@pytest.fixture
def world() -> World:
    return World(FakeEngine(), MemoryCluster())


def limits(**changes: float) -> Plan:
    return PLAN.model_copy(update={"limits": PLAN.limits.model_copy(update=changes)})


def lasting(seconds: float) -> Plan:
    """Steps of this length."""
    steps = tuple(step.model_copy(update={"interval_seconds": seconds}) for step in PLAN.steps)
    return PLAN.model_copy(update={"steps": steps})


def replaced(world: World) -> list[str]:
    return [action.pod for action in world.done if isinstance(action, ReplacePod)]


def at(percent: int) -> Callable[[State], bool]:
    return lambda state: state.weight_percent == percent and state.phase is Phase.SHIFTING


def told(world: World, *sentences: str) -> list[str]:
    """Which of these were said, and stay in the summary, in their order."""
    return [line for line in world.engine.kept if line in sentences]


# One pod of several.


def test_one_bad_pod_is_replaced_and_the_version_promoted(world: World) -> None:
    world.bad_pods["shop-v2-0"] = 0.3
    final = begin(world)
    assert (final.phase, world.end, replaced(world)) == (Phase.SUCCEEDED, PROMOTED, ["shop-v2-0"])
    assert (told(world, ALONE), final.replaced) == ([ALONE], ("shop-v2-0",))


def test_the_next_bad_pod_is_the_versions_fault(world: World) -> None:
    world.bad_pods["shop-v2-0"], world.renewed_bad = 0.3, True
    final = begin(world)
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, True, REVERTED)
    assert replaced(world) == ["shop-v2-0"]
    assert loaded(world).failure_of("v2", "") is not None


def test_a_bad_pod_is_replaced_after_it_is_saved(world: World) -> None:
    """Whoever takes the walk up must not replace another one."""
    saved: list[tuple[str, ...]] = []

    def look_up(action: object, state: State) -> None:
        record = loaded(world).record
        if isinstance(action, ReplacePod) and record is not None:
            saved.append(record.state.replaced)

    world.bad_pods["shop-v2-0"], world.before_action = 0.3, look_up
    begin(world)
    assert saved == [("shop-v2-0",)]


# An outage that both share.


def test_an_outage_of_both_holds_the_weight_until_it_is_over(world: World) -> None:
    def breaks(state: State) -> None:
        world.bad_ratio = world.stable_bad_ratio = 0.3

    def is_over(state: State) -> bool:
        return SHARED in world.engine.kept and world.engine.now() > state.move_at + 90

    def heals(state: State) -> None:
        assert weights(world)[-1] == 10, "held although the interval is long over"
        world.bad_ratio = world.stable_bad_ratio = 0.0

    when(world, at(10), breaks)
    when(world, is_over, heals)
    final = begin(world)
    assert (final.phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
    assert told(world, SHARED, NO_LONGER) == [SHARED, NO_LONGER]


def test_an_outage_that_does_not_end_is_put_back_without_blame(world: World) -> None:
    world.bad_ratio = world.stable_bad_ratio = 0.3
    steps = tuple(step.model_copy(update={"max_wait_seconds": 600}) for step in PLAN.steps)
    final = begin(world, plan=limits(outage_seconds=100).model_copy(update={"steps": steps}))
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)
    assert final.reason == "success rate: the old version has failed the same test for 100 s too (outage)"
    assert loaded(world).failure_of("v2", "") is None


# Silence.


def falls_silent(world: World, seconds: float) -> None:
    """Metrics are away for so long, from the first weight on."""
    begun: list[float] = []

    def silence(state: State) -> None:
        begun.append(world.engine.now())
        world.unheard = REFUSED

    when(world, at(10), silence)
    when(world, lambda state: bool(begun) and world.engine.now() > begun[0] + seconds, lambda _: speak(world))


def speak(world: World) -> None:
    world.unheard = None


@pytest.mark.parametrize(("seconds", "holds"), [(3, 0), (60, 1)])
def test_silence_holds_the_weight_and_is_told(world: World, seconds: float, holds: int) -> None:
    falls_silent(world, seconds)
    final = begin(world, plan=limits(no_data_hold_seconds=20))
    assert (final.phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
    said = [line for line in world.engine.kept if line.startswith("success rate holds")]
    assert said == [f"success rate holds the weight: no new number for 20 s: {REFUSED}", NO_LONGER][: 2 * holds]


def test_a_long_silence_is_put_back_without_blame(world: World) -> None:
    falls_silent(world, 1e9)
    final = begin(world, plan=limits(no_data_hold_seconds=20, no_data_revert_seconds=60))
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)
    assert final.reason == f"success rate: no new number for 60 s (noDataRevert): {REFUSED}"
    assert max(weights(world)) == 10


def test_without_numbers_no_traffic_moves_at_all(world: World) -> None:
    world.unheard = REFUSED
    final = begin(world)
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)
    assert final.reason == f"gate success_rate has no data: {REFUSED}, after 60 s (preparing)"
    assert [action for action in world.done if isinstance(action, SetWeight)] == []


# A cold version.


@pytest.mark.parametrize("warm_up", [30, 0], ids=["with a warm-up", "without"])
def test_a_cold_version_has_time_to_warm_up(world: World, warm_up: float) -> None:
    """It fails half as often again as it may, for 20 seconds."""
    world.rate, world.bad_ratio = 20_000.0, 0.015
    when(world, lambda state: at(10)(state) and world.engine.now() > state.move_at + 20, lambda _: warm(world))
    final = begin(world, plan=limits(warm_up_seconds=warm_up))
    if warm_up:
        assert (final.phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
        return
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, True, REVERTED)


def warm(world: World) -> None:
    world.bad_ratio = 0.0


def test_a_broken_version_fails_in_its_warm_up(world: World) -> None:
    world.bad_ratio = 0.3
    final = begin(world, plan=limits(warm_up_seconds=600))
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, True, REVERTED)
    assert "while it warms up" in (final.reason or "")
    assert world.engine.now() < 1060


# Failures that come in bursts.


@pytest.mark.parametrize("bursts", [True, False], ids=["bursts", "one by one"])
def test_bursts_of_the_old_version_are_told_once(world: World, monkeypatch: pytest.MonkeyPatch, bursts: bool) -> None:
    wait = world.engine.wait

    def waited(seconds: float) -> None:
        wait(seconds)
        world.stable_bad_ratio = 0.2 * (int(world.engine.now()) % 60 < 10) if bursts else 0.004

    monkeypatch.setattr(world.engine, "wait", waited)
    assert begin(world, plan=lasting(200)).phase is Phase.SUCCEEDED
    assert told(world, BURSTS) == [BURSTS] * bursts
