"""Traps 5, 8, 12, 14, 16 and 19 of the design, in the provider. Trap 13 is in test_provider_table.py.

Each has a sibling that takes its countermeasure away and expects the same check to fail.
"""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.dynamic import UpdateResult

from pulumi_rollout import provider as module
from pulumi_rollout import release
from pulumi_rollout.driver import Walk
from pulumi_rollout.errors import Refused, RolloutError, RolloutFailed
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.journal import Journal
from pulumi_rollout.lock import Lock
from pulumi_rollout.provider import RolloutProvider
from tests.fake_api import FakeApi
from tests.fake_app import DEPLOYMENTS, QUICK, ROUTE, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, checked, failures, state_of, traffic_writes

# Trap 12: olds are old outputs.


def check_outputs(app: FakeApp) -> None:
    news = checked(app, {}, app.inputs("v2"))
    given = dict(news)
    outs = PROVIDER.update("prod/shop", {}, news).outs
    assert outs is not None
    assert {key: outs.get(key) for key in given} == given
    created = PROVIDER.create(dict(given)).outs
    assert {key: created.get(key) for key in given} == given


def test_trap_12_outputs_contain_all_inputs(app: FakeApp) -> None:
    check_outputs(app)


def test_trap_12_without_them_the_next_diff_is_blind(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RolloutProvider.update

    def only_ours(self: RolloutProvider, id_: str, olds: Any, news: Any) -> UpdateResult:
        outs = real(self, id_, olds, news).outs or {}
        return UpdateResult({"serving_revision": outs["serving_revision"]})

    monkeypatch.setattr(RolloutProvider, "update", only_ours)
    with pytest.raises(AssertionError):
        check_outputs(app)


# Trap 5: replicas and policy alone are applied without a walk.


def check_applied_without_a_walk(app: FakeApp, api: FakeApi) -> None:
    olds = state_of(app, "v1")
    larger = {**olds["revision"], "replicas": 5}
    policy = {"canary": {**QUICK["canary"], "weights": [30]}}
    for change in ({"revision": larger}, {"policy": policy, "revision": larger}):
        news = checked(app, olds, app.inputs("v1", **change))
        assert PROVIDER.diff("prod/shop", olds, news).changes is True
        outs = PROVIDER.update("prod/shop", olds, news).outs
        assert outs is not None
        assert outs["plan"] == news["plan"]
        olds = outs
    assert app.replicas("v1") == 5
    assert traffic_writes(api) == 0


def test_trap_05_replicas_and_policy_alone_are_applied_without_a_walk(app: FakeApp, api: FakeApi) -> None:
    check_applied_without_a_walk(app, api)


@pytest.mark.parametrize("left_out", ["revision", "plan"])
def test_trap_05_without_comparing_them_nothing_is_applied(
    app: FakeApp, api: FakeApi, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    monkeypatch.setattr(module, "COMPARED", tuple(name for name in module.COMPARED if name != left_out))
    with pytest.raises(AssertionError):
        check_applied_without_a_walk(app, api)


# Trap 8: another cluster.


def check_other_cluster(app: FakeApp, api: FakeApi) -> None:
    for uid in ("made-elsewhere", None):
        news = app.inputs("v2", revision={**app.inputs("v2")["revision"], "uid": "made-elsewhere"})
        if uid is None:
            del api.objects[f"{DEPLOYMENTS}/shop-v2"]
        said = None
        try:
            PROVIDER.update("prod/shop", {}, news)
        except Refused as error:
            said = str(error)
        except RolloutError:
            said = "too late"
        assert said == (
            f"Deployment prod/shop-v2 at {api.url} is not the one that this stack has made: "
            "give Application the kubeconfig and context of the Kubernetes provider"
        )
    assert api.writes() == []


def test_trap_08_another_cluster_is_not_walked(app: FakeApp, api: FakeApi) -> None:
    check_other_cluster(app, api)


def test_trap_08_without_comparing_the_uid_it_is(app: FakeApp, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "_same_cluster", lambda inputs, cluster: None)
    with pytest.raises(AssertionError):
        check_other_cluster(app, api)


# Trap 14: a walk that was won is not walked again.


def check_not_walked_again(app: FakeApp, api: FakeApi) -> None:
    """The walk of v2 was won, and its `up` died before the checkpoint."""
    path = app.autoscale("v2", 1)
    api.objects[path]["metadata"]["annotations"] = {"pulumi-rollout/min-replicas": "1"}
    api.objects[path]["spec"]["minReplicas"] = 4
    api.requests.clear()
    news = checked(app, state_of(app, "v1"), app.inputs("v2"))
    try:
        outs = PROVIDER.update("prod/shop", state_of(app, "v1"), news).outs
    except RolloutError as error:
        outs = {"outcome": str(error)}
    assert outs is not None
    assert outs["outcome"] == "shop-v2 serves"
    assert traffic_writes(api) == 0
    assert api.objects[path]["spec"]["minReplicas"] == 1, "the end that was cut off is made up for"


def test_trap_14_a_walk_that_was_won_is_not_walked_again(app: FakeApp, api: FakeApi) -> None:
    PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    check_not_walked_again(app, api)


def from_the_state(inputs: Inputs) -> str:
    """The release that takes the state's word for what serves."""
    cluster, engine = module._cluster(inputs), module.Engine(inputs.urn)
    lock = Lock(cluster, inputs.namespace, inputs.app, engine)
    walk = Walk(inputs, cluster, module._journal(inputs, cluster).load(), lock, engine)
    return str(walk.run(module._plan(inputs), walk.begin("v1")).phase)


def test_trap_14_without_asking_the_cluster_it_is(app: FakeApp, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    monkeypatch.setattr(module, "_release", from_the_state)
    with pytest.raises(AssertionError):
        check_not_walked_again(app, api)


# Trap 16: a failed revision is remembered.


def fail(app: FakeApp, fake_engine: FakeEngine, api: FakeApi, retry: str = "") -> str:
    """Let v2 lose its pods at the first weight. Returns the verdict."""

    def breaks(server: FakeApi, path: str) -> None:
        if path == ROUTE and app.backends.get("shop-v2") == 20:
            app.broken.add("v2")
            app.react()

    api.reactions.append(breaks)
    with pytest.raises(RolloutFailed) as caught:
        PROVIDER.update("prod/shop", {}, app.inputs("v2", retry=retry))
    api.reactions.remove(breaks)
    app.broken.clear()
    app.react()
    api.requests.clear()
    return str(caught.value)


def check_remembered(app: FakeApp, fake_engine: FakeEngine, api: FakeApi) -> None:
    verdict = fail(app, fake_engine, api)
    assert verdict == "the new version has no ready pod at 20 %; all traffic is back on shop-v1"
    said = None
    try:
        PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    except Refused as error:
        said = str(error)
    assert said == (
        "shop-v2 has failed before, and no traffic was moved to it again: the new version has no ready pod at 20 %; "
        "release another revision, or try this one once more after `rollout retry shop -n prod` or with another `retry`"
    )
    assert traffic_writes(api) == 0


def test_trap_16_a_failed_revision_is_refused(app: FakeApp, fake_engine: FakeEngine, api: FakeApi) -> None:
    check_remembered(app, fake_engine, api)


def test_trap_16_without_the_memory_it_is_tried_again(
    app: FakeApp, fake_engine: FakeEngine, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "failure_of", lambda self, revision, retry, retries: None)
    with pytest.raises(AssertionError):
        check_remembered(app, fake_engine, api)


def test_another_token_tries_it_once_more(app: FakeApp, fake_engine: FakeEngine, api: FakeApi) -> None:
    fail(app, fake_engine, api)
    fail(app, fake_engine, api, retry="again")
    with pytest.raises(Refused):
        PROVIDER.update("prod/shop", {}, app.inputs("v2", retry="again"))
    outs = PROVIDER.update("prod/shop", {}, app.inputs("v2", retry="once more")).outs
    assert outs is not None
    assert (outs["serving_revision"], app.serving) == ("v2", "v2")


def test_a_retry_token_is_a_change(app: FakeApp) -> None:
    olds = state_of(app, "v1")
    assert PROVIDER.diff("prod/shop", olds, {**olds, "retry": "again"}).changes is True


# Trap 19: two changes at once.


def check_two_changes(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    olds = state_of(app, "v1")
    monkeypatch.setitem(module.ROUTERS, "other", module.ROUTERS["gateway"])
    route = {**olds["route"], "router": "other"}
    end = "together with the revision: make it two ups, one for each"
    found = {
        **dict(failures(olds, app.inputs("v2", namespace="blue"))),
        **dict(failures(olds, app.inputs("v2", app="mall"))),
        **dict(failures(olds, app.inputs("v2", route=route))),
    }
    assert found == {
        "namespace": f"changes from prod to blue {end}",
        "app": f"changes from shop to mall {end}",
        "route.router": f"changes from gateway to other {end}",
    }
    for alone in ({"namespace": "blue"}, {"route": route}):
        assert failures(olds, app.inputs("v1", **alone)) == []


def test_trap_19_two_changes_are_refused(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    check_two_changes(app, monkeypatch)


def test_trap_19_without_the_check_they_pass(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_two_changes", lambda olds, inputs: [])
    with pytest.raises(AssertionError):
        check_two_changes(app, monkeypatch)
