"""The loop: whole walks in milliseconds, with a silent cluster and refusals. Stops: test_driver_cuts.py."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from pulumi_rollout.core.state import Action, Phase, PointApex, Resize, Seen, SetWeight, State, Unpin
from pulumi_rollout.driver import (
    PATIENCE_SECONDS,
    PATIENCE_WHEN_STOPPED_SECONDS,
    SAVE_EVERY_SECONDS,
    STALE_SECONDS,
    Walk,
)
from pulumi_rollout.errors import ClusterError, JournalError
from tests.fake_world import (
    PLAN,
    PROMOTED,
    REVERTED,
    SILENCE,
    FakeEngine,
    MemoryCluster,
    World,
    begin,
    loaded,
    weights,
)


@pytest.fixture
def world() -> World:
    return World(FakeEngine(), MemoryCluster())


def test_a_good_version_is_promoted(world: World) -> None:
    final = begin(world)
    assert (final.phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
    assert weights(world) == [0, 10, 50, 100, 0]
    [entry] = loaded(world).history
    assert (entry.revision, entry.stable, entry.phase) == ("v2", "v1", Phase.SUCCEEDED)


def test_a_slow_cluster_does_not_keep_a_bad_version(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look is old when it is answered; the way back acts on it all the same."""

    def slowly(look: Any, *arguments: Any) -> Seen:
        seen: Seen = look(*arguments)
        if world.weight:
            world.engine.clock += STALE_SECONDS + 1
        return seen

    world.bad_ratio = 0.3
    monkeypatch.setattr(world, "look", partial(slowly, world.look))
    final = begin(world)
    assert (final.phase, final.confirmed, world.end) == (Phase.FAILED, True, REVERTED)


def test_an_outage_of_both_is_not_held_against_the_new_version(world: World) -> None:
    world.bad_ratio = world.stable_bad_ratio = 0.3
    final = begin(world)
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)


def test_a_bad_version_is_put_back(world: World) -> None:
    world.bad_ratio = 0.3
    final = begin(world)
    assert (final.phase, final.judged, final.confirmed, world.end) == (Phase.FAILED, True, True, REVERTED)
    assert "success rate: " in (final.reason or "")
    assert max(weights(world)) == 10
    remembered = loaded(world).failure_of("v2", "")
    assert remembered is not None
    assert remembered.reason == final.reason


def test_a_first_release_only_gets_its_pods(world: World) -> None:
    first = World(world.engine, world.memory, first_release=True)
    assert begin(first, stable=None).phase is Phase.SUCCEEDED
    assert (first.end, weights(first)) == ((None, None, 3, False), [])


def test_a_first_release_that_never_gets_ready_is_scaled_down(world: World) -> None:
    first = World(world.engine, world.memory, first_release=True)
    first.ready_ratio = 0.0
    final = begin(first, stable=None)
    assert (final.phase, first.replicas) == (Phase.FAILED, 0)
    assert "pod p: CrashLoopBackOff (last exit code 1)" in (final.reason or "")


def test_progress_is_told(world: World) -> None:
    begin(world)
    assert "advance shop-v2 to weight 10 (step 1 of 2)" in world.engine.kept
    assert "advance shop-v2 to weight 50 (step 2 of 2)" in world.engine.kept
    caught = (
        "success rate: 0 of 482 canary requests failed; 5.2 % and more would have been caught with a chance of 95 %"
    )
    assert f"promoting shop-v2; {caught}" in world.engine.kept
    assert any("shifting, weight 50 %; success rate 100.00 %" in line for line in world.engine.said)


def test_the_way_back_is_told_with_its_reason(world: World) -> None:
    world.engine.reason = "the update was cancelled"
    begin(world)
    assert "reverting: the update was cancelled" in world.engine.kept


# Saving.


@pytest.mark.parametrize("bad_ratio", [0.0, 0.3], ids=["good", "bad"])
def test_everything_is_saved_before_it_is_done(world: World, bad_ratio: float) -> None:
    world.bad_ratio = bad_ratio
    seen = []

    def saved_first(action: Action, state: State) -> None:
        record = loaded(world).record
        assert record is not None
        seen.append((action, record.state == state))

    world.before_action = saved_first
    begin(world)
    assert len(seen) > 5
    assert all(saved for _, saved in seen)


def test_without_saving_first_that_test_is_red(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walk, "_save", lambda self, before, decision, seen: None)
    with pytest.raises(AssertionError):
        test_everything_is_saved_before_it_is_done(world, 0.0)


def test_evidence_alone_is_saved_now_and_then(world: World) -> None:
    writes: list[float] = []
    world.memory.after_write = lambda: writes.append(world.engine.now())
    world.rate = 2.0  # 100 s until the first step has seen enough
    begin(world)
    dwelling = [later - earlier for earlier, later in pairwise(writes)]
    assert max(dwelling) <= SAVE_EVERY_SECONDS + 1
    assert len(writes) < 0.4 * len(world.engine.said)


def test_another_run_that_takes_over_ends_this_one(world: World) -> None:
    def take_over(action: Action, state: State) -> None:
        if isinstance(action, SetWeight) and action.percent == 50:
            other = loaded(world)
            other.save(state, 0.0)

    world.before_action = take_over
    with pytest.raises(JournalError, match="another run is releasing shop"):
        begin(world)


# A cluster that does not answer.


def silence_at(world: World, percent: int, seconds: float, reason: str | None = None) -> None:
    """From the moment that this weight is to be set, once."""

    def fall_silent(action: Action, state: State) -> None:
        if isinstance(action, SetWeight) and action.percent == percent and not world.silent_until:
            world.silent_until = world.engine.now() + seconds
            world.engine.reason = reason
            raise SILENCE

    world.before_action = fall_silent


@pytest.mark.parametrize("seconds", [3, 60, 290])
@pytest.mark.parametrize("percent", [0, 10, 50, 100])
def test_a_silence_is_waited_out_and_counts_against_no_deadline(world: World, percent: int, seconds: float) -> None:
    silence_at(world, percent, seconds)
    assert (begin(world).phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
    assert f"{SILENCE}; trying again" in world.engine.said
    assert seconds < PATIENCE_SECONDS > PLAN.limits.propagation_seconds


def test_a_silence_for_ever_ends_with_where_things_stand(world: World) -> None:
    silence_at(world, 50, 1e9)
    with pytest.raises(ClusterError) as caught:
        begin(world)
    assert str(caught.value) == (
        f"{SILENCE}; the rollout stands at shifting, weight 50 %: `pulumi up` goes on from there, "
        "or puts the old version back if it is the old code"
    )
    assert PATIENCE_SECONDS < world.engine.now() - world.silent_until + 1e9 < PATIENCE_SECONDS + 10
    assert loaded(world).unfinished is not None


def test_a_stopped_walk_has_little_patience(world: World) -> None:
    silence_at(world, 50, 1e9, reason="the update was cancelled")
    with pytest.raises(ClusterError):
        begin(world)
    assert world.engine.now() - world.silent_until + 1e9 < PATIENCE_WHEN_STOPPED_SECONDS + 5


@pytest.mark.parametrize("outage", [30.0, 1e9], ids=["a while", "for ever"])
def test_a_journal_that_cannot_be_written_is_waited_for(world: World, outage: float) -> None:
    until = world.engine.now() + outage

    def fail() -> None:
        if world.engine.now() < until:
            raise SILENCE

    world.memory.before_write = fail
    if outage == 30:
        assert (begin(world).phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
        assert len(loaded(world).history) == 1
        return
    with pytest.raises(ClusterError, match="the rollout stands at preparing, weight 0 %"):
        begin(world)
    assert world.done == []


def test_nothing_is_done_on_an_old_look(world: World) -> None:
    """A version that breaks while its next weight cannot be saved must not get that weight after."""
    until = [0.0]

    def fail() -> None:
        state = json.loads(world.memory.pending["data"]["state"])["state"]
        if state["weight_percent"] == 50 and not until[0]:
            world.bad_ratio, until[0] = 1.0, world.engine.now() + 60
        if world.engine.now() < until[0]:
            raise SILENCE

    world.memory.before_write = fail
    assert begin(world).phase is Phase.FAILED
    assert until[0] > 0
    assert max(weights(world)) == 10


# Refusals.


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_refusal_turns_the_walk_back(world: World, status: int) -> None:
    world.refuses[PointApex] = ClusterError("PATCH services/shop: forbidden", status)

    def until_then(action: Action, state: State) -> None:
        if state.phase is Phase.REVERTING:
            world.refuses.clear()

    world.before_action = until_then
    final = begin(world)
    assert (final.phase, final.reason, final.judged) == (Phase.FAILED, "PATCH services/shop: forbidden", False)
    assert world.end == REVERTED
    assert loaded(world).failure_of("v2", "") is None, "it says nothing about the version"


@pytest.mark.parametrize("status", [0, 408, 409, 429, 500, 503])
def test_not_now_is_no_refusal(world: World, status: int) -> None:
    left = {"times": 3}

    def now_and_then(action: Action, state: State) -> None:
        if isinstance(action, SetWeight) and action.percent == 50 and left["times"]:
            left["times"] -= 1
            raise ClusterError("not now", status)

    world.before_action = now_and_then
    assert (begin(world).phase, world.end, left["times"]) == (Phase.SUCCEEDED, PROMOTED, 0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_look_ends_the_run_at_once(world: World, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    def refuse(*_: Any) -> None:
        raise ClusterError("GET deployments: Unauthorized", status)

    monkeypatch.setattr(world, "look", refuse)
    started = world.engine.now()
    with pytest.raises(ClusterError, match="Unauthorized; the rollout stands at preparing") as caught:
        begin(world)
    assert (caught.value.status, world.engine.now()) == (status, started)


def test_a_throttled_look_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    look, calls = world.look, [429, 429, 429]

    def throttled(*arguments: Any) -> Any:
        if calls:
            raise ClusterError("too many requests", calls.pop())
        return look(*arguments)

    monkeypatch.setattr(world, "look", throttled)
    assert begin(world).phase is Phase.SUCCEEDED


def test_a_walk_that_was_won_is_not_done_before_it_is(world: World) -> None:
    world.refuses[Resize] = ClusterError("PATCH scale: forbidden", 403)
    with pytest.raises(ClusterError) as caught:
        begin(world)
    assert str(caught.value) == "PATCH scale: forbidden; the new version serves: `pulumi up` does what is left"
    assert (world.apex, world.weight, loaded(world).unfinished) == ("v2", None, None)


def test_a_walk_that_was_lost_is_reported_all_the_same(world: World) -> None:
    world.bad_ratio = 0.3
    world.refuses[Unpin] = ClusterError("PATCH autoscaler: forbidden", 403)
    final = begin(world)
    assert (final.phase, final.judged) == (Phase.FAILED, True)
    [warning] = world.engine.warned
    assert warning.startswith("PATCH autoscaler: forbidden; ")
    assert warning.endswith("; the next rollout does what is left")
