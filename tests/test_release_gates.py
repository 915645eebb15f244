"""Whole releases with the gate that needs no writing: restarts of the new version's containers, read as pods."""

from __future__ import annotations

import pytest

from pulumi_rollout.errors import Refused, RolloutFailed
from tests.fake_api import FakeApi
from tests.fake_app import PODS, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import weights
from tests.release_calls import Up

SLOWLY = {"interval": "10s"}
FAILED = (
    "restarts: the new version's pod shop-v2-a, container shop restarted: OOMKilled (exit code 137); pod shop-v2-b, "
    "container shop restarted 2 times: OOMKilled (exit code 137); "
)


@pytest.fixture
def up(app: FakeApp, fake_engine: FakeEngine) -> Up:
    """v2 has two pods that have never restarted."""
    for name in ("shop-v2-a", "shop-v2-b"):
        app.pod(name, "v2")
    app.pod("shop-v1-a", "v1", restarts=3)
    return Up(app, fake_engine)


def deleted(api: FakeApi) -> list[str]:
    return [write.path for write in api.writes(PODS) if write.method == "DELETE"]


def test_a_version_whose_containers_stay_is_promoted(up: Up, app: FakeApp) -> None:
    assert up(settings=SLOWLY) == "shop-v2 serves"
    assert deleted(app.api) == []


def test_one_pod_that_restarts_is_replaced_and_the_version_promoted(
    up: Up, app: FakeApp, fake_engine: FakeEngine
) -> None:
    up.when(up.at(20), lambda: app.pod("shop-v2-a", "v2", restarts=1))
    assert up(settings=SLOWLY) == "shop-v2 serves"
    assert deleted(app.api) == [f"{PODS}/shop-v2-a"]
    assert "replacing pod shop-v2-a, which alone fails: all are judged once more" in fake_engine.kept


def test_a_version_whose_pods_restart_is_put_back(up: Up, app: FakeApp) -> None:
    def crash() -> None:
        app.pod("shop-v2-a", "v2", restarts=1)
        app.pod("shop-v2-b", "v2", restarts=2)

    up.when(up.at(20), crash)
    with pytest.raises(RolloutFailed) as caught:
        up(settings=SLOWLY)
    assert str(caught.value).startswith(FAILED)
    assert str(caught.value).endswith(" at 20 %; all traffic is back on shop-v1")
    assert (app.serving, deleted(app.api)) == ("v1", [])
    with pytest.raises(Refused, match="shop-v2 has failed before"):
        up(settings=SLOWLY)


def test_restarts_before_any_traffic_say_nothing_about_it(up: Up, app: FakeApp) -> None:
    """As while a database is waited for."""
    app.pod("shop-v2-a", "v2", restarts=7)
    app.pod("shop-v2-b", "v2", restarts=7)
    assert up(settings=SLOWLY) == "shop-v2 serves"


def test_restarts_of_the_old_version_are_its_own(up: Up, app: FakeApp) -> None:
    up.when(up.at(20), lambda: app.pod("shop-v1-a", "v1", restarts=9))
    assert up(settings=SLOWLY) == "shop-v2 serves"


def test_without_the_gate_nobody_looks(up: Up, app: FakeApp) -> None:
    up.when(up.at(20), lambda: app.pod("shop-v2-a", "v2", restarts=9))
    up.when(up.at(20), lambda: app.pod("shop-v2-b", "v2", restarts=9))
    assert up(settings={**SLOWLY, "default_gates": []}) == "shop-v2 serves"
    assert [request for request in app.api.requests if request.path == PODS] == []
    assert weights(app.api, "shop-v2") == [0, 20, 50, 100, 0, None]
