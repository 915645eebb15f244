"""Walks that are stopped or killed, at every point, and what the next run makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pulumi_rollout.core.state import Action, Phase, Restore, Scale, SetWeight, State
from pulumi_rollout.driver import later
from tests.fake_world import (
    PLAN,
    PROMOTED,
    REVERTED,
    FakeEngine,
    Killed,
    MemoryCluster,
    World,
    begin,
    loaded,
    walk,
    weights,
)


@pytest.fixture
def world() -> World:
    return World(FakeEngine(), MemoryCluster())


MOMENTS: dict[str, Callable[[World, State], bool]] = {
    "preparing": lambda world, state: state.phase is Phase.PREPARING,
    "listed at 0": lambda world, state: world.weight == 0 and state.phase is Phase.PREPARING,
    "the first step": lambda world, state: world.weight == 10,
    "the last step": lambda world, state: world.weight == 50,
    "all on the canary": lambda world, state: world.weight == 100,
    "the apex switched": lambda world, state: world.apex == "v2",
    "the route restored": lambda world, state: world.apex == "v2" and world.weight is None,
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_stop_puts_everything_back(world: World, monkeypatch: pytest.MonkeyPatch, moment: Any) -> None:
    look = world.look

    def stopping(plan: Any, state: State, now: float, stop: str | None) -> Any:
        if moment(world, state):
            world.engine.reason = "the update was cancelled"
        return look(plan, state, now, stop)

    monkeypatch.setattr(world, "look", stopping)
    final = begin(world)
    assert (final.phase, final.reason, final.judged) == (Phase.FAILED, "the update was cancelled", False)
    assert world.end == REVERTED
    assert loaded(world).failure_of("v2", "") is None


def test_a_stop_during_the_way_back_changes_nothing(world: World) -> None:
    world.bad_ratio = 0.3

    def stop(action: Action, state: State) -> None:
        if state.phase is Phase.REVERTING:
            world.engine.reason = "the update was cancelled"

    world.before_action = stop
    final = begin(world)
    assert "success rate" in (final.reason or "")
    assert (final.judged, world.end) == (True, REVERTED)


def test_a_machine_that_slept_puts_everything_back(world: World) -> None:
    def sleep(action: Action, state: State) -> None:
        if isinstance(action, SetWeight) and action.percent == 50:
            world.engine.clock += 3000
            world.engine.reason = "this machine was asleep for 3000 s, and nobody watched the new version"

    world.before_action = sleep
    final = begin(world)
    assert final.reason == "this machine was asleep for 3000 s, and nobody watched the new version"
    assert (final.judged, world.end) == (False, REVERTED)


def test_a_reason_to_revert_from_the_start(world: World) -> None:
    made = walk(world)
    final = made.run(PLAN, made.begin("v1"), stop="cut off")
    assert (final.phase, final.reason, weights(world)) == (Phase.FAILED, "cut off", [])


# Kills.


def resume(world: World) -> tuple[Phase, str | None]:
    """What the next `up` does, 100 s later: `provider._release` without its other cases."""
    world.engine.clock += 100
    made = walk(world)
    left = made._journal.unfinished
    if left is None:
        if world.apex == "v2":
            made.settle()
            return Phase.SUCCEEDED, None
        final = made.run(PLAN, made.begin("v1"))
    else:
        final = made.run(left.plan, later(left.state, world.engine.now() - left.saved_at))
    return final.phase, final.reason


def kill_at(world: World, number: int, *, before: bool) -> bool:
    """Walk, and die at the n-th write of the journal, before or after it. False if it was not reached."""
    count = {"left": number}

    def die() -> None:
        count["left"] -= 1
        if count["left"] == 0:
            raise Killed

    setattr(world.memory, "before_write" if before else "after_write", die)
    try:
        begin(world)
    except Killed:
        return True
    finally:
        world.memory.before_write = world.memory.after_write = lambda: None
    return False


@pytest.mark.parametrize("before", [True, False], ids=["before the save", "after the save"])
@pytest.mark.parametrize(("bad_ratio", "end"), [(0.0, PROMOTED), (0.3, REVERTED)], ids=["good", "bad"])
def test_a_kill_at_any_save_and_a_resume_come_to_the_same_end(
    bad_ratio: float, end: tuple[Any, ...], before: bool
) -> None:
    uncut = World(FakeEngine(), MemoryCluster())
    uncut.bad_ratio = bad_ratio
    expected = begin(uncut).phase
    number = 0
    while True:
        number += 1
        world = World(FakeEngine(), MemoryCluster())
        world.bad_ratio = bad_ratio
        if not kill_at(world, number, before=before):
            break
        # The walk that had failed already is not resumed but refused; its end was reached before.
        ended = loaded(world).history
        phase = ended[-1].phase if ended and ended[-1].phase is Phase.FAILED else resume(world)[0]
        released = world.end if not ended or phase is Phase.SUCCEEDED else (*world.end[:3], False)
        assert (number, phase, released) == (number, expected, end)
        assert [entry.phase for entry in loaded(world).history] == [expected]
    assert number > 10


def test_a_kill_between_any_two_actions_and_a_resume_come_to_the_same_end() -> None:
    number = 0
    while True:
        number += 1
        world, left = World(FakeEngine(), MemoryCluster()), {"actions": number}

        def die(action: Action, state: State, left: dict[str, int] = left) -> None:
            left["actions"] -= 1
            if left["actions"] == 0:
                raise Killed

        world.before_action = die
        try:
            begin(world)
            break
        except Killed:
            world.before_action = lambda action, state: None
        assert (number, resume(world)[0], world.end) == (number, Phase.SUCCEEDED, PROMOTED)
    assert number > 10


def test_a_killed_way_back_goes_on_and_keeps_its_verdict(world: World) -> None:
    world.bad_ratio = 0.3

    def die(action: Action, state: State) -> None:
        if isinstance(action, Restore | Scale) and state.phase is Phase.REVERTING:
            raise Killed

    world.before_action = die
    with pytest.raises(Killed):
        begin(world)
    world.before_action = lambda action, state: None
    phase, reason = resume(world)
    assert (phase, world.end) == (Phase.FAILED, REVERTED)
    assert "success rate" in (reason or "")
    assert loaded(world).failure_of("v2", "") is not None
