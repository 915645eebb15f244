"""The dynamic provider: releases, reading, deleting, and what is said at preview."""

from __future__ import annotations

import base64
import json
import time
from copy import deepcopy
from typing import Any

import pytest
from pulumi.runtime import rpc

from pulumi_rollout import release
from pulumi_rollout.errors import ClusterError, JournalError, Refused, RolloutFailed
from tests.fake_api import FakeApi, Fault
from tests.fake_app import COMMANDS, CONFIGMAP, GUARD_JOB, LEASE, QUICK, ROUTE, SERVICES, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, checked, failures, state_of, traffic_writes


def test_a_first_release_creates_and_walks_nowhere(api: FakeApi, fake_engine: FakeEngine) -> None:
    app = FakeApp(api)
    app.deploy("v1", 1)
    result = PROVIDER.create(checked(app, {}, app.inputs("v1")))
    assert (result.id, result.outs["serving_revision"], result.outs["outcome"]) == (
        "prod/shop",
        "v1",
        "shop-v1 serves",
    )
    assert app.replicas("v1") == 2
    assert traffic_writes(api) == 0


def test_a_release_moves_all_traffic_step_by_step(app: FakeApp, api: FakeApi) -> None:
    news = checked(app, state_of(app, "v1"), app.inputs("v2"))
    result = PROVIDER.update("prod/shop", state_of(app, "v1"), news)
    assert (result.outs["serving_revision"], app.serving, app.backends) == ("v2", "v2", {"shop": None})
    shares = [write.body["spec"]["rules"][0]["backendRefs"] for write in api.writes(ROUTE)]
    assert [refs[1]["weight"] if len(refs) > 1 else None for refs in shares] == [0, 20, 50, 100, 0, None]


def test_a_version_that_never_gets_ready_is_scaled_down_and_fails(app: FakeApp, api: FakeApi) -> None:
    app.broken.add("v2")
    app.react()
    with pytest.raises(RolloutFailed) as caught:
        PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    assert str(caught.value) == "0 of 2 pods are ready, after 1 s (preparing); all traffic is back on shop-v1"
    assert (app.serving, app.backends, app.replicas("v2"), app.replicas("v1")) == ("v1", {"shop": None}, 0, 2)


def test_a_first_release_that_fails_is_scaled_down(api: FakeApi, fake_engine: FakeEngine) -> None:
    app = FakeApp(api)
    app.broken.add("v1")
    app.deploy("v1", 1)
    with pytest.raises(RolloutFailed, match=r"shop-v1 was scaled down$"):
        PROVIDER.create(app.inputs("v1"))
    assert app.replicas("v1") == 0


def test_a_service_that_no_rollout_made_is_not_taken_over(app: FakeApp, api: FakeApi) -> None:
    api.reactions.clear()
    api.objects[f"{SERVICES}/shop"]["spec"]["selector"] = {"app": "shop"}
    before = deepcopy(api.objects[f"{SERVICES}/shop"])
    with pytest.raises(Refused, match=r"Service prod/shop is there already and was not made by a rollout"):
        PROVIDER.create(app.inputs("v1"))
    assert (api.objects[f"{SERVICES}/shop"], traffic_writes(api)) == (before, 0)


def test_a_route_that_no_rollout_made_is_not_taken_over(app: FakeApp, api: FakeApi) -> None:
    del api.objects[f"{SERVICES}/shop"]
    api.objects[ROUTE]["spec"]["rules"] = [{"backendRefs": [{"name": "legacy", "port": 80}]}]
    with pytest.raises(Refused, match=r"HTTPRoute prod/shop is there already and was not made by a rollout"):
        PROVIDER.create(app.inputs("v1"))
    assert traffic_writes(api) == 0


def test_read_tells_what_serves(app: FakeApp, api: FakeApi) -> None:
    state = state_of(app, "v2")
    assert PROVIDER.read("prod/shop", state).outs == {**state, "serving_revision": "v1"}
    del api.objects[f"{SERVICES}/shop"]
    assert PROVIDER.read("prod/shop", state).outs["serving_revision"] == "v2"


def test_delete_forgets_the_release_and_nothing_else(app: FakeApp, api: FakeApi) -> None:
    PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    api.put(COMMANDS, {"data": {}})
    api.put(GUARD_JOB, {})
    before = set(api.objects)
    PROVIDER.delete("prod/shop", state_of(app, "v2"))
    PROVIDER.delete("prod/shop", state_of(app, "v2"))
    assert before - set(api.objects) == {CONFIGMAP, COMMANDS, LEASE, GUARD_JOB}


def test_deleting_needs_no_right_to_guards(app: FakeApp, api: FakeApi) -> None:
    """Whoever does without a guard must be able to destroy all the same."""
    PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    api.faults.append(Fault(path="/apis/batch|rbac|serviceaccounts", status=403, times=1e9))
    PROVIDER.delete("prod/shop", state_of(app, "v2"))
    assert not {CONFIGMAP, LEASE} & set(api.objects)


def test_another_port_is_refused_as_the_apex_has_one(app: FakeApp) -> None:
    revision = {**app.inputs("v2")["revision"], "port": 8080}
    assert failures(state_of(app, "v1"), app.inputs("v2", revision=revision)) == [
        (
            "revision.port",
            "changes from 9898 to 8080, but the apex Service has one port for the old and the new version: "
            "keep the port, or release under another name",
        )
    ]


def test_a_move_replaces_the_rollout(app: FakeApp) -> None:
    olds = state_of(app, "v1")
    assert PROVIDER.diff("prod/shop", olds, {**olds, "namespace": "blue"}).replaces == ["namespace"]
    assert PROVIDER.diff("prod/shop", olds, olds).replaces == []


# Check and diff at preview.


def test_the_plan_is_added_to_the_inputs(app: FakeApp) -> None:
    plan = checked(app, {}, app.inputs("v2"))["plan"]
    assert [step["weight_percent"] for step in plan["steps"]] == [20, 50]


def test_check_is_quiet_while_the_cluster_is_not_known(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    revision = {**app.inputs("v2")["revision"], "uid": rpc.UNKNOWN}
    for cluster in (rpc.UNKNOWN, {"kubeconfig": rpc.UNKNOWN}):
        news = app.inputs("v2", revision=revision, cluster=cluster)
        result = PROVIDER.check({}, news)
        assert (result.failures, result.inputs["cluster"]) == ([], cluster)
        assert PROVIDER.diff("x", {**result.inputs, "outcome": ""}, result.inputs).changes is False
    assert (api.requests, fake_engine.warned) == ([], [])


def test_a_policy_that_is_not_known_is_checked_by_the_update(app: FakeApp, fake_engine: FakeEngine) -> None:
    gates = [{"success_rate": {"min_percent": 99, "source": {"prometheus": rpc.UNKNOWN}}}]
    policy = {"canary": {**QUICK["canary"], "gates": gates}}
    result = PROVIDER.check({}, app.inputs("v2", policy=policy))
    assert (result.failures, fake_engine.warned) == ([], [])


def test_a_first_preview_warns_once_of_what_later_is_an_error(
    app: FakeApp, api: FakeApi, fake_engine: FakeEngine, quick_retries: None
) -> None:
    olds = state_of(app, "v1")
    api.faults.append(Fault(status=503, times=1e9))
    reason = f"GET {CONFIGMAP}: as the test wants it"
    assert failures({}, app.inputs("v2")) == []
    assert fake_engine.warned == [f"{reason}; asked again before any traffic moves"]
    fake_engine.warned.clear()
    assert failures(olds, app.inputs("v2")) == [("cluster", reason)]
    assert fake_engine.warned == []


def test_nothing_is_asked_where_nothing_will_walk(app: FakeApp, api: FakeApi) -> None:
    olds = state_of(app, "v1")
    api.requests.clear()
    assert failures(olds, app.inputs("v1", retry="x")) == []
    assert api.requests == []


def test_a_route_that_is_not_ours_is_said_at_preview(app: FakeApp, api: FakeApi) -> None:
    olds = state_of(app, "v1")
    api.objects[ROUTE]["spec"]["rules"] = [{"backendRefs": [{"name": "other"}]}]
    [(path, reason)] = failures(olds, app.inputs("v2"))
    assert path == "route"
    assert "no rule of the HTTPRoute has shop" in reason


def test_a_newer_journal_is_said_at_preview(app: FakeApp, api: FakeApi) -> None:
    olds = state_of(app, "v1")
    api.put(CONFIGMAP, {"data": {"state": '{"state": {"format": 99}}'}})
    [(path, reason)] = failures(olds, app.inputs("v2"))
    assert (path, "written by a newer version" in reason) == ("journal", True)


def limited(app: FakeApp, limit: str, revision: str = "v2") -> dict[str, Any]:
    policy = {"canary": {**QUICK["canary"], "timeLimit": limit}}
    return app.inputs(revision, policy=policy)


def test_a_time_limit_that_is_too_short_is_said_at_preview(
    app: FakeApp, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning and no error: the walk puts the old version back in time."""
    monkeypatch.setattr(release, "STARTED_AT", time.time() - 60)
    olds = state_of(app, "v1")
    assert failures(olds, limited(app, "10m")) == []
    assert fake_engine.warned == [
        "the rollout may take up to 22 min, but the time limit of this run (10 min) ends in 8 min: raise it before, "
        "or shorten the rollout (deadline)"
    ]


def test_an_end_that_does_not_matter_is_not_said(app: FakeApp, fake_engine: FakeEngine) -> None:
    olds = state_of(app, "v1")
    assert failures(olds, limited(app, "10h")) == []
    assert failures(olds, limited(app, "10s", revision="v1")) == [], "nothing will walk"
    assert fake_engine.warned == []


def test_a_token_that_ends_too_soon_is_said_at_preview(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time()) + 120}).encode()).decode().rstrip("=")
    cluster = {"kubeconfig": api.kubeconfig({"token": f"e30.{claims}.c2ln"})}
    assert failures(state_of(app, "v1"), app.inputs("v2", cluster=cluster)) == []
    [warning] = fake_engine.warned
    assert "but the token of user me in the kubeconfig ends in 1" in warning
    assert claims not in warning


@pytest.mark.parametrize("trouble", ["journal", "cluster"])
def test_not_to_know_is_a_change(
    app: FakeApp, api: FakeApi, fake_engine: FakeEngine, quick_retries: None, trouble: str
) -> None:
    """Without one the engine would go on to delete what traffic may still reach."""
    olds = state_of(app, "v1")
    if trouble == "journal":
        api.put(CONFIGMAP, {"data": {"state": "{"}})
    else:
        api.faults.append(Fault(status=503, times=1e9))
    assert PROVIDER.diff("prod/shop", olds, olds).changes is True
    [warning] = fake_engine.warned
    assert warning.startswith("cannot tell whether a walk was cut off: ")
    with pytest.raises((JournalError, ClusterError)):
        PROVIDER.update("prod/shop", olds, olds)
    assert traffic_writes(api) == 0


def test_no_secret_is_in_the_journal_or_in_any_error(app: FakeApp, fake_engine: FakeEngine, api: FakeApi) -> None:
    cluster = {"kubeconfig": api.kubeconfig({"token": "hidden-token"})}
    api.requests.clear()
    PROVIDER.update("prod/shop", {}, app.inputs("v2", cluster=cluster))
    assert api.requests[-1].headers["Authorization"] == "Bearer hidden-token"
    assert "hidden-token" not in str(api.objects[CONFIGMAP])
    api.token = "another"
    with pytest.raises(ClusterError) as caught:
        PROVIDER.update("prod/shop", {}, app.inputs("v2", cluster=cluster))
    assert "hidden-token" not in str(caught.value) + str(fake_engine.said + fake_engine.kept + fake_engine.warned)
