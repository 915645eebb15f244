"""What a walk owes to others: its heartbeat, the guard's fence, Events, few requests, and an end in time."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from pulumi_rollout import lock, origin
from pulumi_rollout.core.state import Phase, SetWeight, State
from pulumi_rollout.driver import Walk
from pulumi_rollout.errors import ClusterError, Conflict, JournalError
from pulumi_rollout.expiry import MARGIN_SECONDS, Expiry
from pulumi_rollout.lock import HEARTBEAT_SECONDS
from tests.fake_app import DEPLOYMENTS, EVENTS, LEASE
from tests.fake_world import (
    JOURNAL,
    PLAN,
    PROMOTED,
    REVERTED,
    FakeEngine,
    MemoryCluster,
    World,
    ask,
    begin,
    loaded,
    walk,
    weights,
    when,
)


@pytest.fixture
def world() -> World:
    return World(FakeEngine(), MemoryCluster())


def at(percent: int) -> Any:
    return lambda state: state.weight_percent == percent and state.phase is Phase.SHIFTING


# The heartbeat.


def test_the_heartbeat_does_not_miss_while_it_walks(world: World) -> None:
    beats: list[float] = []

    def note(method: str, path: str) -> None:
        if (method, path) == ("PUT", LEASE):
            beats.append(world.engine.now())

    world.memory.before_request = note
    world.rate = 2.0  # long steps
    begin(world)
    gaps = [later - earlier for earlier, later in pairwise(beats)]
    assert len(beats) > 20
    assert HEARTBEAT_SECONDS <= min(gaps) <= max(gaps) < HEARTBEAT_SECONDS + 1.5
    assert world.memory.objects[LEASE]["metadata"]["annotations"][lock.WALK_ANNOTATION] == "v2-1000"


def test_the_heartbeat_does_not_miss_while_it_is_paused(world: World) -> None:
    renewed: list[str] = []

    def pause(state: State) -> None:
        ask(world, "pause", state)
        renewed.append(world.memory.objects[LEASE]["spec"]["renewTime"])

    def resume(state: State) -> None:
        renewed.append(world.memory.objects[LEASE]["spec"]["renewTime"])
        ask(world, "resume", state)

    when(world, at(10), pause)
    when(world, lambda state: state.phase is Phase.PAUSED and world.engine.now() > state.phase_at + 60, resume)
    assert begin(world).phase is Phase.SUCCEEDED
    assert renewed[0] < renewed[1]


def take_over(world: World) -> None:
    lease = world.memory.objects[LEASE]
    theirs = {**lease["metadata"], "annotations": {lock.PROCESS_ANNOTATION: "another|1.1"}}
    spec = {**lease["spec"], "holderIdentity": "bob@ci"}
    world.memory.replace(LEASE, {**lease, "metadata": theirs, "spec": spec})


def test_a_lost_lock_ends_the_run_and_touches_no_traffic(world: World) -> None:
    """It is the other one's walk from then on."""
    done: list[int] = []

    def lose(state: State) -> None:
        take_over(world)
        world.engine.clock += HEARTBEAT_SECONDS
        done.append(len(world.done))

    when(world, at(50), lose)
    with pytest.raises(JournalError) as caught:
        begin(world)
    assert str(caught.value).startswith("bob@ci has taken the release of prod/shop over: wait for its end")
    left = loaded(world).unfinished
    assert left is not None
    assert left.state.phase is Phase.SHIFTING
    assert len(world.done) - done[0] <= 1, "what that very look has led to, at most"
    assert world.memory.objects[LEASE]["spec"]["holderIdentity"] == "bob@ci"


def test_a_heartbeat_that_is_not_answered_is_tried_again(world: World) -> None:
    left = [3]

    def fail(method: str, path: str) -> None:
        if (method, path) == ("PUT", LEASE) and world.weight == 10 and left[0]:
            left[0] -= 1
            raise ClusterError("etcdserver: request timed out", 500)

    world.memory.before_request = fail
    assert (begin(world).phase, left, world.end) == (Phase.SUCCEEDED, [0], PROMOTED)


# The guard's fence.


def fence(world: World, *_: Any) -> None:
    """As the guard does: an entry in the journal, and then the traffic."""
    found = world.memory.objects[JOURNAL]
    walk_id = found["data"]["walk"]
    said = json.dumps({"walk": walk_id, "at": "2026-10-09T10:00:00Z"})
    before, after = world.memory.before_write, world.memory.after_write
    world.memory.before_write = world.memory.after_write = lambda: None
    world.memory.replace(JOURNAL, {**found, "data": {**found["data"], "guard": said}})
    world.memory.before_write, world.memory.after_write = before, after
    world.apex, world.weight = "v1", None


FENCED_AT = {
    "preparing": lambda world, state: state.phase is Phase.PREPARING,
    "the first step": lambda world, state: world.weight == 10,
    "the last step": lambda world, state: world.weight == 50,
    "all on the canary": lambda world, state: world.weight == 100,
    "the apex switched": lambda world, state: world.apex == "v2",
    "the last look": lambda world, state: world.apex == "v2" and world.weight is None,
}


@pytest.mark.parametrize("moment", FENCED_AT.values(), ids=FENCED_AT)
def test_a_walk_that_is_fenced_off_goes_back_and_never_on(world: World, moment: Any) -> None:
    fenced: list[int] = []

    def act(state: State) -> None:
        fence(world)
        fenced.append(len(world.done))

    when(world, lambda state: moment(world, state), act)
    final = begin(world)
    assert (final.phase, final.judged, final.confirmed, world.end) == (Phase.FAILED, False, True, REVERTED)
    assert final.reason == ("the guard put the traffic back at 2026-10-09T10:00:00Z, as no heartbeat had been seen")
    assert [entry.phase for entry in loaded(world).history] == [Phase.FAILED]
    later = world.done[fenced[0] :]
    assert [action.percent for action in later if isinstance(action, SetWeight) and action.percent] == []
    assert loaded(world).failure_of("v2", "") is None, "the guard says nothing about the version"


def test_a_fence_at_the_very_end_is_no_success(world: World) -> None:
    """Between the last look and the write of its success."""

    def late() -> None:
        state = json.loads(world.memory.pending["data"]["state"])["state"]
        if state["phase"] == "succeeded":
            world.memory.before_write = lambda: None
            fence(world)
            raise Conflict("has been modified", 409)

    world.memory.before_write = late
    final = begin(world)
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)
    assert [entry.phase for entry in loaded(world).history] == [Phase.FAILED]


def test_a_walk_that_is_taken_up_while_the_guard_acts_goes_back(world: World) -> None:
    """The guard writes between the next run's look at the journal and its first write."""
    made = walk(world)
    first = made.begin("v1")
    when(world, at(10), lambda state: setattr(world.engine, "reason", "the update was cancelled"))
    world.refuses[SetWeight] = ClusterError("not now", 503)
    made._journal.begin(made._record_of(PLAN, first)[0])
    world.refuses.clear()
    again = walk(world)
    fence(world)
    final = again.run(PLAN, first)
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)
    assert "the guard put the traffic back" in (final.reason or "")


# An end in time.


def test_a_token_that_ends_turns_the_walk_back_while_it_still_can(world: World) -> None:
    world.rate = 2.0  # long steps
    ends = Expiry(world.engine.now() + 200, "the token of user ci in the kubeconfig")
    made = walk(world, [ends])
    final = made.run(PLAN, made.begin("v1"))
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, False, REVERTED)
    assert final.reason == ("the token of user ci in the kubeconfig ends in 96 s, and the way back needs up to 67 s")
    assert PLAN.way_back_seconds() + MARGIN_SECONDS == 97
    assert world.engine.now() < ends.at
    assert world.memory.hurried


def test_an_end_that_is_far_away_changes_nothing(world: World) -> None:
    made = walk(world, [Expiry(world.engine.now() + 1e6, "the token")])
    assert made.run(PLAN, made.begin("v1")).phase is Phase.SUCCEEDED
    assert not world.memory.hurried


@pytest.mark.parametrize("stop", ["cut off", None])
def test_only_a_process_that_must_end_is_in_a_hurry(world: World, stop: str | None) -> None:
    """After a walk that is put back, another one may begin in the same process."""
    made = walk(world)
    made.run(PLAN, made.begin("v1"), stop=stop)
    assert not world.memory.hurried
    world.engine.reason = "the update was cancelled"
    made.run(PLAN, made.begin("v1"))
    assert world.memory.hurried


# Few requests.


def test_a_walk_that_has_asked_too_much_waits(world: World) -> None:
    begin(world)
    usual = world.engine.now()
    slow = World(FakeEngine(), MemoryCluster())
    slow.memory.owed = 1e6
    assert begin(slow).phase is Phase.SUCCEEDED
    assert slow.engine.now() - 1000 > 2 * (usual - 1000)
    assert slow.end == PROMOTED


def test_waiting_misses_no_heartbeat(world: World) -> None:
    beats: list[float] = []

    def note(method: str, path: str) -> None:
        if (method, path) == ("PUT", LEASE):
            beats.append(world.engine.now())

    world.memory.before_request = note
    world.memory.owed = 1e6
    begin(world)
    assert max(later - earlier for earlier, later in pairwise(beats)) <= HEARTBEAT_SECONDS + 1


def test_the_way_back_never_waits_for_that(world: World) -> None:
    times: dict[str, float] = {}
    for name, owed in (("usual", 0.0), ("owing", 1e6)):
        one = World(FakeEngine(), MemoryCluster())

        def turn(state: State, one: World = one, owed: float = owed, name: str = name) -> None:
            one.memory.owed, one.engine.reason = owed, "the update was cancelled"
            times[name] = -one.engine.now()

        when(one, at(10), turn)
        assert begin(one).phase is Phase.FAILED
        times[name] += one.engine.now()
    assert times["owing"] <= times["usual"] + HEARTBEAT_SECONDS


# Events and annotations.


def events(world: World) -> list[tuple[str, str, str]]:
    found = [item for path, item in world.memory.objects.items() if path.startswith(EVENTS)]
    return [(item["type"], item["reason"], item["message"]) for item in found]


CAUGHT = "success rate: 0 of 482 canary requests failed; 5.2 % and more would have been caught with a chance of 95 %"


def test_a_release_is_told_in_events(world: World) -> None:
    begin(world)
    assert events(world) == [
        ("Normal", "Synced", "New revision detected! Starting canary analysis for shop-v2"),
        ("Normal", "WeightSet", "Advance shop-v2 canary weight 10"),
        ("Normal", "WeightSet", "Advance shop-v2 canary weight 50"),
        ("Normal", "Promoting", f"Promoting shop-v2: all steps are over; {CAUGHT}"),
        ("Normal", "RolloutCompleted", "Promotion completed! shop-v2 serves all traffic"),
    ]


def test_a_pause_and_a_way_back_are_told_in_events(world: World) -> None:
    when(world, at(10), lambda state: ask(world, "pause", state))
    when(world, lambda state: state.phase is Phase.PAUSED, lambda state: ask(world, "resume", state))
    when(world, at(50), lambda state: setattr(world, "bad_ratio", 0.3))
    final = begin(world)
    assert events(world)[2:] == [
        ("Normal", "RolloutPaused", "Halt shop-v2 advancement paused by ada@laptop"),
        ("Normal", "RolloutResumed", "Resume shop-v2 advancement"),
        ("Normal", "WeightSet", "Advance shop-v2 canary weight 50"),
        ("Warning", "RollingBack", f"Rolling back shop-v2: {final.reason}"),
        ("Warning", "RolloutAborted", f"Canary failed! shop-v2: {final.reason}"),
    ]


def test_an_event_is_about_the_apex(world: World) -> None:
    world.memory.objects["/api/v1/namespaces/prod/services/shop"] = {"metadata": {"uid": "u-1"}}
    begin(world)
    first = next(item for path, item in world.memory.objects.items() if path.startswith(EVENTS))
    assert first["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "name": "shop",
        "namespace": "prod",
        "uid": "u-1",
    }
    assert (first["count"], first["reportingComponent"]) == (1, "pulumi-rollout")
    assert first["firstTimestamp"] == first["lastTimestamp"] == "1970-01-01T00:16:40Z"


def test_a_walk_that_is_taken_up_is_not_told_again(world: World) -> None:
    made = walk(world)
    made._journal.begin(made._record_of(PLAN, first := made.begin("v1"))[0])
    walk(world).run(PLAN, first)
    assert events(world)[0][1] == "WeightSet"


def test_the_deployment_says_where_its_walk_is(world: World) -> None:
    path = f"{DEPLOYMENTS}/shop-v2"
    world.memory.objects[path] = {"metadata": {"annotations": {"mine": "1"}}}
    begin(world)
    notes = world.memory.objects[path]["metadata"]["annotations"]
    assert notes == {
        "mine": "1",
        "pulumi-rollout/phase": "succeeded",
        "pulumi-rollout/weight": "100",
        "pulumi-rollout/message": "Promotion completed! shop-v2 serves all traffic",
    }


@pytest.mark.parametrize("status", [403, 404, 500, 0])
@pytest.mark.parametrize("bad_ratio", [0.0, 0.3], ids=["good", "bad"])
def test_a_cluster_that_refuses_them_loses_no_release(world: World, bad_ratio: float, status: int) -> None:
    refused: list[str] = []

    def refuse(method: str, path: str) -> None:
        if path.startswith(EVENTS) or "/deployments/" in path:
            refused.append(path)
            raise ClusterError("is forbidden", status)

    world.memory.before_request = refuse
    world.bad_ratio = bad_ratio
    final = begin(world)
    assert (final.phase, world.end) == ((Phase.FAILED, REVERTED) if bad_ratio else (Phase.SUCCEEDED, PROMOTED))
    assert refused
    assert world.engine.warned == []


def test_traffic_goes_back_before_anybody_is_told(world: World) -> None:
    """A cluster that is slow to take an Event must not keep users on a bad version."""
    order: list[str] = []

    def note(method: str, path: str) -> None:
        if path.startswith(EVENTS):
            order.append("event")

    world.memory.before_request = note
    world.before_action = lambda action, state: (
        order.append("weight 0") if isinstance(action, SetWeight) and action.percent == 0 else None
    )
    world.bad_ratio = 0.3
    begin(world)
    last_event = len(order) - 1 - order[::-1].index("event")
    assert order.index("weight 0", 1) < last_event
    assert order[-3:] == ["weight 0", "event", "event"]


# What the journal knows of a release.


def test_the_journal_knows_what_is_released_by_whom_and_how_to_put_it_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "commit", lambda: "c0ffee")
    begin(world)
    record = loaded(world).record
    assert record is not None
    assert record.inputs is not None
    assert (record.image, record.commit, record.by) == ("registry.example.com/shop:2", "c0ffee", origin.person())
    assert (record.inputs.app, record.inputs.revision.hash, record.inputs.policy) == ("shop", "v2", {})


def test_two_walks_in_one_second_are_two(world: World) -> None:
    made = walk(world)
    first = made.begin("v1")
    made._journal.begin(made._record_of(PLAN, first)[0])
    assert (first.walk, made.begin("v1").walk) == ("v2-1000", "v2-1001")


def test_a_new_walk_does_not_inherit_trouble(world: World) -> None:
    """As when one is begun anew in the same process."""
    made: Walk = walk(world)
    world.refuses[SetWeight] = ClusterError("forbidden", 403)
    when(world, lambda state: state.phase is Phase.REVERTING, lambda state: world.refuses.clear())
    assert made.run(PLAN, made.begin("v1")).phase is Phase.FAILED
    assert made.run(PLAN, made.begin("v1")).phase is Phase.SUCCEEDED
    assert weights(world)[-5:] == [0, 10, 50, 100, 0]
