"""What the next `up` makes of a walk that was cut off, beyond the eight ways of test_provider_table.py."""

from __future__ import annotations

import pytest

from pulumi_rollout import provider as module
from pulumi_rollout.core.state import Phase
from pulumi_rollout.errors import Refused, RolloutFailed
from pulumi_rollout.journal import Journal
from tests.fake_api import FakeApi
from tests.fake_app import APP, CONFIGMAP, NAMESPACE, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, at_20, cut, failures, state_of, traffic_writes, weights


def test_a_way_back_that_was_not_confirmed_is_a_change(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    """It left traffic on v2, whose Deployment an `up` of the old code would otherwise delete."""
    olds = state_of(app, "v1")
    cut(app, fake_engine, at_20)
    journal = Journal(module._cluster(module._inputs(olds)), NAMESPACE, APP, "").load()
    assert journal.record is not None
    failed = {"phase": Phase.FAILED, "move": 0, "reason": "3 of 9 failed", "confirmed": False, "weight_percent": 0}
    state = journal.record.state.model_copy(update=failed)
    journal.end(state, fake_engine.now())
    assert PROVIDER.diff("prod/shop", olds, olds).changes is True
    PROVIDER.update("prod/shop", olds, olds)
    assert (app.serving, app.backends, app.replicas("v2")) == ("v1", {"shop": None}, 0)
    assert PROVIDER.diff("prod/shop", olds, olds).changes is False
    with pytest.raises(Refused, match="3 of 9 failed"):
        PROVIDER.update("prod/shop", olds, app.inputs("v2"))


def cut_on_the_way_back(app: FakeApp, api: FakeApi, engine: FakeEngine) -> None:
    """v2 loses its pods at 20 %, and the walk back is killed."""

    def no_pods(server: FakeApi, path: str) -> None:
        if at_20(app):
            app.broken.add("v2")
            app.react()

    api.reactions.append(no_pods)
    cut(app, engine, lambda app: app.backends.get("shop-v2") == 0 and "v2" in app.broken)
    api.reactions.remove(no_pods)


def test_a_third_revision_first_puts_the_second_back(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    olds = state_of(app, "v1")
    cut(app, fake_engine, at_20)
    app.deploy("v3", 1)
    assert failures(olds, app.inputs("v3")) == [], "v2 on the route is nobody else's"
    PROVIDER.update("prod/shop", olds, app.inputs("v3"))
    assert (app.serving, app.backends, app.replicas("v2")) == ("v3", {"shop": None}, 0)
    assert weights(api, "shop-v2")[:2] == [0, None]
    assert weights(api, "shop-v3")[-6:] == [0, 20, 50, 100, 0, None]


def test_a_new_token_is_not_used_up_by_the_way_back(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    """The walk that is put back first was begun under the old one."""
    cut_on_the_way_back(app, api, fake_engine)
    app.broken.clear()
    app.react()
    PROVIDER.update("prod/shop", {}, app.inputs("v2", retry="again"))
    assert app.serving == "v2"


def test_another_policy_begins_anew(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    cut(app, fake_engine, at_20)
    policy = {"canary": {**app.inputs("v2")["policy"]["canary"], "weights": [5]}}
    PROVIDER.update("prod/shop", {}, app.inputs("v2", policy=policy))
    assert weights(api, "shop-v2") == [0, None, 0, 5, 100, 0, None]


def test_a_way_back_that_was_cut_off_keeps_its_verdict(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    cut_on_the_way_back(app, api, fake_engine)
    with pytest.raises(Refused, match="the new version has no ready pod at 20 %"):
        PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    assert (app.serving, app.backends, app.replicas("v2")) == ("v1", {"shop": None}, 0)


def test_a_way_back_that_stays_unconfirmed_is_said(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    cut(app, fake_engine, at_20)
    app.broken.add("v1")
    api.reactions.clear()
    app.api.reactions.append(lambda server, path: None)
    app.react()
    api.objects["/apis/discovery.k8s.io/v1/namespaces/prod/endpointslices/shop-x"]["endpoints"] = []
    with pytest.raises(RolloutFailed, match=r"not confirmed: .*so the new version's pods are left running"):
        PROVIDER.update("prod/shop", {}, app.inputs("v1"))
    assert app.replicas("v2") > 0


def test_an_at_rest_diff_writes_nothing(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> None:
    olds = state_of(app, "v1")
    PROVIDER.diff("prod/shop", olds, olds)
    assert (traffic_writes(api), CONFIGMAP in api.objects) == (0, False)


def test_time_that_nobody_watched_counts_against_no_deadline(
    app: FakeApp, api: FakeApi, fake_engine: FakeEngine
) -> None:
    cut(app, fake_engine, at_20)
    fake_engine.clock += 100_000
    outs = PROVIDER.update("prod/shop", {}, app.inputs("v2")).outs
    assert outs is not None
    assert (outs["outcome"], weights(api, "shop-v2")) == ("shop-v2 serves", [50, 100, 0, None])
