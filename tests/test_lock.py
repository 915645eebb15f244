"""The lock and heartbeat: who may take it from whom, how often it is renewed, and how it is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pulumi_rollout import lock as module
from pulumi_rollout import origin
from pulumi_rollout.errors import ClusterError, JournalError, Locked, Refused
from pulumi_rollout.lock import EXPIRY_SECONDS, HEARTBEAT_SECONDS, Lock, holder
from tests.fake_api import Direct, FakeApi, Fault
from tests.fake_app import LEASE
from tests.fake_world import FakeEngine

ELSEWHERE = "another-boot|another-namespace|7.1"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def lock(direct: Direct, engine: FakeEngine) -> Lock:
    return Lock(direct, "prod", "shop", engine)


def put(api: FakeApi, process: str = ELSEWHERE, who: str = "bob@ci", **spec: Any) -> dict[str, Any]:
    """A Lease as somebody else holds it."""
    annotations = {module.PROCESS_ANNOTATION: process, module.WALK_ANNOTATION: "v2-1"}
    held = {"holderIdentity": who, "renewTime": "2026-10-09T10:00:00.000000Z", "leaseTransitions": 3, **spec}
    return api.put(LEASE, {"metadata": {"annotations": annotations}, "spec": held})


def spec(api: FakeApi) -> dict[str, Any]:
    found: dict[str, Any] = api.objects[LEASE]["spec"]
    return found


def notes(api: FakeApi) -> dict[str, str]:
    found: dict[str, str] = api.objects[LEASE]["metadata"]["annotations"]
    return found


def while_waiting(engine: FakeEngine, act: Callable[[], object]) -> None:
    """Let the world go on whenever the lock waits."""
    wait = engine.wait

    def waited(seconds: float) -> None:
        wait(seconds)
        act()

    engine.wait = waited  # type: ignore[method-assign]


def renewing(api: FakeApi, engine: FakeEngine, first: float = 0.0, last: float = 1e9) -> None:
    """A holder that renews at each of our looks, from the first second to the last, counted from now."""
    started = engine.now()
    while_waiting(engine, lambda: first <= engine.now() - started <= last and put(api))


def ended_process() -> subprocess.Popen[bytes]:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended


# Taking.


def test_a_free_one_is_taken(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    engine.clock = 1_760_000_000.5
    lock.take()
    now = datetime.fromtimestamp(engine.clock, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert spec(api) == {
        "holderIdentity": origin.person(),
        "leaseDurationSeconds": 15,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": 1,
    }
    assert notes(api) == {module.PROCESS_ANNOTATION: origin.process()}
    assert api.objects[LEASE]["metadata"]["labels"]["app.kubernetes.io/name"] == "shop"


def test_one_that_was_given_back_is_taken(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    put(api, who="")
    started = engine.now()
    lock.take()
    assert (engine.now(), holder(api.objects[LEASE]), spec(api)["leaseTransitions"]) == (started, origin.person(), 4)
    assert notes(api)[module.WALK_ANNOTATION] == "v2-1", "until this run's walk begins, that one's guard stays"


def test_our_own_is_taken_again(api: FakeApi, lock: Lock, direct: Direct, engine: FakeEngine) -> None:
    lock.take()
    started = engine.now()
    Lock(direct, "prod", "shop", engine).take()
    assert engine.now() == started


def test_one_of_a_process_that_is_gone_is_taken_at_once(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    put(api, process=f"{origin._machine()}|{ended_process().pid}.1")
    started = engine.now()
    lock.take()
    assert (engine.now(), holder(api.objects[LEASE])) == (started, origin.person())


def test_one_of_a_process_whose_id_is_used_again_is_taken_at_once(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    put(api, process=f"{origin._machine()}|{os.getppid()}.1")
    started = engine.now()
    lock.take()
    assert engine.now() == started


def test_one_of_a_process_that_lives_is_not_taken_at_once(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    living = os.getppid()
    put(api, process=f"{origin._machine()}|{living}.{origin._started(living)}")
    started = engine.now()
    lock.take()
    assert engine.now() - started >= EXPIRY_SECONDS


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", None])
def test_a_silent_holder_loses_it_whatever_its_clock_says(
    api: FakeApi, lock: Lock, engine: FakeEngine, renewed: str | None
) -> None:
    put(api, renewTime=renewed)
    started = engine.now()
    lock.take()
    assert EXPIRY_SECONDS <= engine.now() - started < EXPIRY_SECONDS + 1
    assert holder(api.objects[LEASE]) == origin.person()
    assert "waiting for bob@ci, who is releasing shop" in engine.said


def test_a_living_holder_is_told_at_its_first_heartbeat(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    put(api)
    started = engine.now()
    renewing(api, engine, first=HEARTBEAT_SECONDS)
    before = spec(api)
    with pytest.raises(Locked) as caught:
        lock.take()
    assert (caught.value.holder, spec(api)) == ("bob@ci", before)
    assert engine.now() - started < HEARTBEAT_SECONDS + 1


def test_a_living_holder_is_waited_for(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    put(api)
    started = engine.now()

    def live() -> None:
        put(api, who="bob@ci" if engine.now() - started < 300 else "")

    while_waiting(engine, live)
    lock.take(wait=True)
    assert 300 <= engine.now() - started < 302
    assert holder(api.objects[LEASE]) == origin.person()


def test_one_that_falls_silent_while_it_is_waited_for_loses_it(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    put(api)
    started = engine.now()
    renewing(api, engine, last=60)
    lock.take(wait=True)
    assert EXPIRY_SECONDS <= engine.now() - started - 60 < EXPIRY_SECONDS + 1


@pytest.mark.parametrize("seconds", [EXPIRY_SECONDS + 1, 3600])
def test_a_cluster_that_was_silent_is_no_dead_holder(
    api: FakeApi, lock: Lock, engine: FakeEngine, direct: Direct, seconds: float
) -> None:
    """Nobody could renew while it did not answer, nor while this machine slept."""
    put(api)
    looks = [0]

    def slowly(method: str, path: str) -> None:
        looks[0] += 1
        if looks[0] == 3:
            engine.clock += seconds
        if looks[0] == 6:
            put(api)

    direct.before_request = slowly
    with pytest.raises(Locked):
        lock.take()


def test_of_two_that_find_it_free_one_gets_it(api: FakeApi, engine: FakeEngine) -> None:
    """The other one writes between our look and our write."""
    late = Direct(api)

    def race(method: str, path: str) -> None:
        if method == "POST":
            late.before_request = lambda method, path: None
            put(api)
            renewing(api, engine)

    late.before_request = race
    with pytest.raises(Locked):
        Lock(late, "prod", "shop", engine).take()
    assert holder(api.objects[LEASE]) == "bob@ci"


@pytest.mark.parametrize("wait", [True, False])
def test_a_stop_ends_the_waiting(api: FakeApi, lock: Lock, engine: FakeEngine, wait: bool) -> None:
    put(api)
    engine.reason = "the update was cancelled"
    with pytest.raises(Refused) as caught:
        lock.take(wait=wait)
    assert str(caught.value) == "the update was cancelled while it waited for bob@ci, who is releasing shop"
    assert holder(api.objects[LEASE]) == "bob@ci"


def test_an_identity_that_may_not_is_told(api: FakeApi, engine: FakeEngine, kube: Any) -> None:
    api.faults.append(Fault(method="POST", path="leases", status=403))
    with pytest.raises(ClusterError, match="leases: as the test wants it") as caught:
        Lock(kube, "prod", "shop", engine).take()
    assert caught.value.status == 403


# The heartbeat.


def test_it_is_renewed_now_and_then(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    lock.take()
    acquired = spec(api)["acquireTime"]
    api.requests.clear()
    for _ in range(60):
        engine.wait(0.5)
        lock.renew("v2-9")
    assert len(api.writes(LEASE)) == 30 / HEARTBEAT_SECONDS
    assert (notes(api)[module.WALK_ANNOTATION], spec(api)["leaseTransitions"]) == ("v2-9", 1)
    assert spec(api)["acquireTime"] == acquired < spec(api)["renewTime"]


def test_a_clock_that_was_set_back_keeps_no_heartbeat_waiting(api: FakeApi, lock: Lock, engine: FakeEngine) -> None:
    lock.take()
    engine.clock -= 500
    api.requests.clear()
    lock.renew("v2-9")
    assert len(api.writes(LEASE)) == 1


def test_it_is_renewed_at_once_where_that_matters(api: FakeApi, lock: Lock) -> None:
    lock.take()
    lock.renew("v2-9", at_once=True)
    assert notes(api)[module.WALK_ANNOTATION] == "v2-9"


def test_an_own_heartbeat_whose_answer_was_lost_is_no_loss(
    api: FakeApi, kube: Any, engine: FakeEngine, quick_retries: None
) -> None:
    mine = Lock(kube, "prod", "shop", engine)
    mine.take()
    api.faults.append(Fault(method="PUT", drop="after"))
    mine.renew("v2-9", at_once=True)
    mine.renew("v2-9", at_once=True)
    assert (holder(api.objects[LEASE]), notes(api)[module.WALK_ANNOTATION]) == (origin.person(), "v2-9")


def test_one_that_was_taken_over_is_lost(api: FakeApi, lock: Lock) -> None:
    lock.take()
    put(api)
    with pytest.raises(JournalError) as caught:
        lock.renew("v2-9", at_once=True)
    assert str(caught.value) == (
        "bob@ci has taken the release of prod/shop over: wait for its end, then run `pulumi up` again"
    )
    assert holder(api.objects[LEASE]) == "bob@ci"


def test_one_that_somebody_deleted_is_made_again(api: FakeApi, lock: Lock) -> None:
    lock.take()
    del api.objects[LEASE]
    lock.renew("v2-9", at_once=True)
    assert (holder(api.objects[LEASE]), notes(api)[module.WALK_ANNOTATION]) == (origin.person(), "v2-9")


# Giving back.


def test_it_is_given_back(api: FakeApi, lock: Lock) -> None:
    lock.take()
    lock.renew("v2-9", at_once=True)
    lock.release()
    assert (holder(api.objects[LEASE]), spec(api)["holderIdentity"]) == (None, "")
    lock.release()


def test_one_that_is_not_ours_is_not_given_back(api: FakeApi, lock: Lock) -> None:
    lock.release()
    lock.take()
    put(api)
    lock.release()
    assert holder(api.objects[LEASE]) == "bob@ci"


def test_a_cluster_that_does_not_answer_loses_no_release(api: FakeApi, lock: Lock, direct: Direct) -> None:
    lock.take()

    def refuse(method: str, path: str) -> None:
        raise ClusterError("the cluster does not answer")

    direct.before_request = refuse
    lock.release()


def test_nobody_holds_what_is_not_there() -> None:
    assert holder(None) is holder({}) is holder({"spec": {}}) is holder({"spec": {"holderIdentity": ""}}) is None
