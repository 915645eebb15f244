"""What surrounds a walk: the lock, what earlier runs left, the memory of failures, and how it ends.

Not here: the guard (test_release_guard.py), and kills at every point (test_release_cuts.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pulumi_rollout import lock, origin, release
from pulumi_rollout.control import Control
from pulumi_rollout.core.state import Phase, Retry
from pulumi_rollout.errors import ClusterError, Held, JournalError, Locked, Refused, RolloutFailed
from tests.fake_api import Direct, FakeApi
from tests.fake_app import APP, CONFIGMAP, LEASE, NAMESPACE, ROUTE, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import at_20, weights
from tests.release_calls import Up

HOLDS = {"confirm_at": [20], "on_wait": "hold"}


@pytest.fixture
def up(app: FakeApp, fake_engine: FakeEngine) -> Up:
    return Up(app, fake_engine)


def lose_pods(app: FakeApp) -> None:
    app.broken.add("v2")
    app.react()


# The lock.


def test_a_release_holds_the_lock_and_gives_it_back(up: Up, app: FakeApp) -> None:
    holders: list[str] = []
    up.when(up.at(50), lambda: holders.append(up.holder))
    assert up() == "shop-v2 serves"
    assert (holders, up.holder) == ([origin.person()], "")
    assert up("v2") == "shop-v2 serves"
    assert up.holder == ""


def test_the_lock_is_given_back_after_a_failure(up: Up, app: FakeApp) -> None:
    up.when(up.at(20), lambda: lose_pods(app))
    with pytest.raises(RolloutFailed, match="the new version has no ready pod at 20 %"):
        up()
    assert up.holder == ""


def test_the_lock_is_given_back_by_a_walk_that_is_held(up: Up) -> None:
    with pytest.raises(Held):
        up(settings=HOLDS)
    assert up.holder == ""


def test_a_walk_that_is_left_in_the_middle_keeps_the_lock(up: Up, app: FakeApp) -> None:
    """Its heartbeat stops, which is what the guard waits for."""

    def silence(method: str, path: str) -> None:
        if path == ROUTE:
            raise ClusterError("the cluster does not answer")

    up.when(up.at(20), lambda: setattr(up, "before_request", silence))
    with pytest.raises(ClusterError, match="the rollout stands at shifting, weight 20 %"):
        up()
    assert up.holder == origin.person()


def foreign(up: Up, app: FakeApp) -> None:
    found = app.api.objects[CONFIGMAP]
    app.api.put(CONFIGMAP, {**found, "data": {**found["data"], "owner": "rollouts/other"}})


def broken(up: Up, app: FakeApp) -> None:
    app.api.put(CONFIGMAP, {"data": {"state": "{"}})


def silent(up: Up, app: FakeApp) -> None:
    def refuse(method: str, path: str) -> None:
        if path == CONFIGMAP:
            raise ClusterError("the cluster does not answer")

    up.before_request = refuse


@pytest.mark.parametrize("trouble", [foreign, broken, silent])
def test_whoever_cannot_read_the_journal_does_not_send_the_guard_away(up: Up, app: FakeApp, trouble: Any) -> None:
    """A walk may stand in the middle: a Lease that is given back would end its guard."""
    up.cut(50, {"interval": "5s"})
    trouble(up, app)
    with pytest.raises((JournalError, ClusterError)):
        up()
    assert up.holder == origin.person()
    assert app.api.objects[LEASE]["metadata"]["annotations"][lock.WALK_ANNOTATION] == "v2-1000"


def live_elsewhere(app: FakeApp, up: Up) -> None:
    """Somebody else's process, whose heartbeat is seen at each of our looks."""

    def beat(method: str, path: str) -> None:
        if path == LEASE:
            notes = {lock.PROCESS_ANNOTATION: "another|1.1"}
            app.api.put(LEASE, {"metadata": {"annotations": notes}, "spec": {"holderIdentity": "bob@ci"}})

    up.before_request = beat


def test_somebody_elses_release_is_told_with_the_way_to_end_it(up: Up, app: FakeApp) -> None:
    up.cut(20)
    live_elsewhere(app, up)
    with pytest.raises(Locked) as caught:
        up()
    assert str(caught.value) == (
        "bob@ci is releasing shop (shifting, weight 20 %): wait for its end, or put the old version back with "
        "`rollout abort shop -n prod`"
    )
    assert (caught.value.holder, app.api.writes(ROUTE)) == ("bob@ci", [])


@pytest.mark.parametrize("journal", ["none", "at rest", "broken"])
def test_somebody_elses_release_may_just_begin(up: Up, app: FakeApp, journal: str) -> None:
    if journal == "at rest":
        up()
    if journal == "broken":
        app.api.put(CONFIGMAP, {"data": {"state": "{"}})
    live_elsewhere(app, up)
    with pytest.raises(Locked, match=r"^bob@ci is releasing shop \(at its begin\): wait for its end, or put"):
        up("v1")


def test_somebody_elses_release_can_be_waited_for(up: Up, app: FakeApp, fake_engine: FakeEngine) -> None:
    live_elsewhere(app, up)
    until = fake_engine.now() + 30

    def over() -> None:
        up.before_request = lambda method, path: None
        app.api.put(LEASE, {"spec": {"holderIdentity": ""}})

    up.when(lambda: fake_engine.now() >= until, over)
    assert up(settings={"on_locked": "wait"}) == "shop-v2 serves"
    assert "waiting for bob@ci, who is releasing shop" in fake_engine.said


def test_an_identity_that_may_not_have_leases_moves_nothing(up: Up, app: FakeApp) -> None:
    def refuse(method: str, path: str) -> None:
        if path.startswith("/apis/coordination.k8s.io"):
            raise ClusterError("leases is forbidden", 403)

    up.before_request = refuse
    with pytest.raises(ClusterError, match="leases is forbidden"):
        up()
    assert [write.path for write in app.api.writes()] == []


# A walk that was cut off.


def test_a_walk_that_was_cut_off_goes_on(up: Up, app: FakeApp, fake_engine: FakeEngine) -> None:
    up.cut(20)
    assert up() == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [50, 100, 0, None]
    assert "going on at shifting, weight 20 %" in fake_engine.kept


def test_a_walk_that_was_cut_off_is_begun_anew_if_the_policy_says_so(up: Up, app: FakeApp) -> None:
    up.cut(20)
    assert up(settings={"on_interrupted": "restart"}) == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [0, None, 0, 20, 50, 100, 0, None]
    assert up.phases == [("v2", "failed", False), ("v2", "succeeded", True)]
    assert up.journal.history[0].reason == "cut off, and put back on the way to shop-v2"


@pytest.mark.parametrize(
    "changed", [{"on_locked": "wait"}, {"time_limit": "1h"}, {"guard": True}, {"guard": True, "guard_image": "x/y:1"}]
)
def test_what_says_nothing_about_the_walk_may_change_meanwhile(up: Up, app: FakeApp, changed: dict[str, Any]) -> None:
    up.cut(20)
    assert up(settings=changed) == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [50, 100, 0, None]


@pytest.mark.parametrize("changed", [{"on_failure": "freeze"}, {"confirm_at": [0]}, {"max_wait": "1h"}])
def test_what_the_walk_follows_from_may_not(up: Up, app: FakeApp, changed: dict[str, Any]) -> None:
    up.cut(20)
    up.when(lambda: up.state.phase is Phase.PAUSED, lambda: up.ask("promote"))
    assert up(settings=changed) == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [0, None, 0, 20, 50, 100, 0, None]


def test_the_requests_that_it_took_are_said(up: Up, app: FakeApp, fake_engine: FakeEngine) -> None:
    up()
    assert f"{len(app.api.requests):,} requests to the Kubernetes API" in fake_engine.kept[-1]


JOURNALS = Path(__file__).parent / "journals"
FORMAT_1, FORMAT_2 = (json.loads((JOURNALS / f"format-{number}.json").read_text()) for number in (1, 2))
# What that version's defaults come to today.
AS_THEN: dict[str, Any] = {"default_gates": [], "min_samples": 0}


@pytest.mark.parametrize(
    ("revision", "settings", "walked", "replicas"),
    [
        ("v2", AS_THEN, [50, 100, 0, None], 2),
        ("v2", {}, [0, None, 0, 20, 50, 100, 0, None], 2),
        ("v1", {}, [0, None], 0),
    ],
    ids=["resumed", "begun anew with today's gates", "undone"],
)
def test_a_walk_that_an_earlier_version_left(
    up: Up, app: FakeApp, revision: str, settings: dict[str, Any], walked: list[int | None], replicas: int
) -> None:
    """Its journal has format 1, and it stands at 20 %."""
    app.api.put(CONFIGMAP, {"data": FORMAT_1["data"]})
    app.deploy("v2", 2)
    app.list_on_route(v2=20)
    app.api.requests.clear()
    assert up(revision, settings, retry="again") == f"shop-{revision} serves"
    assert (app.serving, app.backends, app.replicas("v2")) == (revision, {"shop": None}, replicas)
    assert weights(app.api, "shop-v2") == walked
    assert up.journal.unfinished is None


@pytest.mark.parametrize("phase", ["shifting", "reverting"])
def test_a_walk_with_a_gate_that_an_earlier_version_left_is_put_back(up: Up, app: FakeApp, phase: str) -> None:
    """Its journal has format 2; what its gate had counted is left behind."""
    app.deploy("v3", 2)
    app.serve("v2")
    app.list_on_route(v3=20)
    record = json.loads(FORMAT_2["data"]["state"])
    if phase == "reverting":
        record["state"] |= {"phase": phase, "move": 0, "weight_percent": 0, "reason": "9 of 90 canary requests failed"}
    app.api.put(CONFIGMAP, {"data": {**FORMAT_2["data"], "state": json.dumps(record)}})
    assert up("v2", retry="again") == "shop-v2 serves"
    assert (app.serving, app.backends["shop"], app.backends.get("shop-v3"), app.replicas("v3")) == ("v2", None, None, 0)
    assert up.journal.unfinished is None
    assert up.journal.history[-1].reason == (
        "9 of 90 canary requests failed" if phase == "reverting" else "cut off, and put back on the way to shop-v2"
    )


# Held for people.


def test_a_walk_that_is_held_ends_the_update_with_what_to_do(up: Up, app: FakeApp) -> None:
    with pytest.raises(Held) as caught:
        up(settings=HOLDS)
    assert str(caught.value) == (
        "waits for promotion at weight 20; weight 20 % is held and nobody watches it: `rollout promote shop -n prod` "
        "and then `pulumi up` go on, `rollout abort` puts the old version back"
    )
    assert (at_20(app), up.state.held) == (True, True)


def test_a_held_walk_goes_on_with_the_next_update(up: Up, app: FakeApp) -> None:
    with pytest.raises(Held):
        up(settings=HOLDS)
    up.live()
    up.ask("promote")
    assert up(settings=HOLDS) == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [50, 100, 0, None]
    assert [(answer.verb, answer.by, answer.accepted) for answer in up.state.answers] == [
        ("promote", "ada@laptop", True)
    ]


def test_a_held_walk_goes_on_although_cut_off_ones_begin_anew(up: Up, app: FakeApp) -> None:
    settings = {**HOLDS, "on_interrupted": "restart"}
    with pytest.raises(Held):
        up(settings=settings)
    up.live()
    up.ask("promote")
    assert up(settings=settings) == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [50, 100, 0, None]


def test_a_held_walk_that_nobody_promoted_stays_held(up: Up, app: FakeApp) -> None:
    for _ in range(3):
        with pytest.raises(Held):
            up(settings=HOLDS)
        up.live()
    assert (at_20(app), app.serving) == (True, "v1")


def test_a_held_walk_is_put_back_by_the_old_code(up: Up, app: FakeApp) -> None:
    with pytest.raises(Held):
        up(settings=HOLDS)
    up.live()
    assert up("v1", settings=HOLDS) == "shop-v1 serves"
    assert (app.serving, app.backends, app.replicas("v2")) == ("v1", {"shop": None}, 0)
    assert up.phases == [("v2", "failed", False)]


def test_a_held_walk_is_put_back_before_a_third_revision(up: Up, app: FakeApp) -> None:
    with pytest.raises(Held):
        up(settings=HOLDS)
    up.live()
    app.deploy("v3", 1)
    assert up("v3") == "shop-v3 serves"
    assert weights(app.api, "shop-v2")[:2] == [0, None]
    assert (app.serving, app.replicas("v2")) == ("v3", 0)


# People.


def test_a_restart_begins_anew_in_the_same_update(up: Up, app: FakeApp) -> None:
    up.when(up.at(50), lambda: up.ask("restart"))
    assert up(settings={"interval": "2s"}) == "shop-v2 serves"
    assert weights(app.api, "shop-v2") == [0, 20, 50, 0, None, 0, 20, 50, 100, 0, None]
    assert up.phases == [("v2", "failed", False), ("v2", "succeeded", True)]
    assert up.journal.history[0].reason == "restarted by ada@laptop"


def test_an_abort_is_remembered(up: Up, app: FakeApp) -> None:
    up.when(up.at(20), lambda: up.ask("abort", reason="wrong config"))
    with pytest.raises(RolloutFailed) as caught:
        up(settings={"interval": "2s"})
    assert str(caught.value) == "aborted by ada@laptop: wrong config; all traffic is back on shop-v1"
    with pytest.raises(Refused, match=r"shop-v2 has failed before.*aborted by ada@laptop: wrong config"):
        up()


def test_a_retry_lifts_the_memory_once(up: Up, app: FakeApp) -> None:
    for _ in range(2):
        up.when(up.at(20), lambda: lose_pods(app))
        with pytest.raises(RolloutFailed):
            up()
        app.broken.clear()
        app.react()
        with pytest.raises(Refused) as caught:
            up()
        assert str(caught.value) == (
            "shop-v2 has failed before, and no traffic was moved to it again: the new version has no ready pod at "
            "20 %; release another revision, or try this one once more after `rollout retry shop -n prod` or with "
            "another `retry`"
        )
        leave = Retry(id=0, revision="v2", by="ada@laptop", at=0.0)
        Control(Direct(app.api), NAMESPACE, APP).send(leave, after=up.state.command)
    assert up() == "shop-v2 serves"


# Ends that are known.


def test_a_time_limit_counts_from_the_begin_of_the_process(
    up: Up, app: FakeApp, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = fake_engine.now() - 100
    monkeypatch.setattr(release, "STARTED_AT", began)
    with pytest.raises(RolloutFailed) as caught:
        up(settings={"interval": "60s", "time_limit": "5m"})
    assert str(caught.value) == (
        "the time limit of this run (5 min) ends in 89 s, and the way back needs up to 60 s; all traffic is back on "
        "shop-v1"
    )
    assert fake_engine.now() < began + 300


def test_no_end_is_known_without_a_limit(up: Up, api: FakeApi) -> None:
    assert up(settings={"interval": "60s"}) == "shop-v2 serves"
