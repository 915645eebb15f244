"""An application that no rollout has made is taken over: its Deployment is the stable version of the first walk.

The old Deployment is `web`, behind the Service and the route `shop`. Endpoints follow the selector's every change here,
so that a moment in which the Service has none, or those of both versions, would be seen.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from pulumi_rollout.adoption import problems, selecting
from pulumi_rollout.core.plan import Limits
from pulumi_rollout.errors import Refused, RolloutFailed
from pulumi_rollout.guard import Walk, manifests
from pulumi_rollout.inputs import ADOPTED, Inputs
from tests.fake_api import FakeApi, Manifest
from tests.fake_app import APP_LABEL, DEPLOYMENTS, PODS, REVISION_LABEL, ROUTE, SERVICES, SLICES, FakeApp
from tests.fake_world import FakeEngine, Killed
from tests.provider_calls import PROVIDER, failures, weights
from tests.release_calls import Up

SERVICE, OLD = f"{SERVICES}/shop", f"{DEPLOYMENTS}/web"
SELECTOR = {"app": "web", "tier": "front"}
ADOPT = {"deployment": "web", "labels": {"app": "shop"}}
OURS = {APP_LABEL: "shop", REVISION_LABEL: "v2"}


@pytest.fixture
def old(api: FakeApi, fake_engine: FakeEngine) -> FakeApp:
    """The old Deployment, its pods, and the Service and the route in front of them; v2 is there with one pod."""
    app = FakeApp(api)
    labels = {**SELECTOR, "pod-template-hash": "abc"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    api.put(OLD, {"metadata": {"labels": {"app": "web"}}, "spec": {"replicas": 2, "template": template}})
    for number in range(2):
        status = {"podIP": f"old.{number}", "conditions": [{"type": "Ready", "status": "True"}]}
        api.put(f"{PODS}/web-{number}", {"metadata": {"labels": labels}, "status": status})
    ports = [{"name": "http", "port": 9898, "targetPort": 9898}, {"name": "metrics", "port": 9090}]
    api.put(SERVICE, {"spec": {"selector": SELECTOR, "ports": ports, "type": "NodePort"}})
    app.deploy("v2", 1)
    app.list_on_route()
    api.reactions.append(lambda api, path: endpoints(app))
    endpoints(app)
    api.requests.clear()
    return app


# What the Service has led to, at each change.
SEEN: list[set[str]] = []


def endpoints(app: FakeApp) -> None:
    """Of the Service, by all of its selector."""
    selector = app.api.objects[SERVICE]["spec"]["selector"]
    if REVISION_LABEL in selector:
        keys = set(selector) == set(OURS)
        pods = {f"{selector[REVISION_LABEL]}.{number}" for number in range(app.replicas(selector[REVISION_LABEL]))}
        found = pods if keys else set()
    else:
        found = {f"old.{number}" for number in range(app.api.objects[OLD]["spec"]["replicas"])}
        found = found if selector == SELECTOR else set()
    slices = [{"addresses": [one], "conditions": {"ready": True}} for one in sorted(found)]
    labels = {"kubernetes.io/service-name": "shop"}
    app.api.objects[f"{SLICES}/shop-x"] = {"metadata": {"name": "shop-x", "labels": labels}, "endpoints": slices}
    SEEN.append({one.partition(".")[0] for one in found})


def inputs(app: FakeApp, **changes: Any) -> Manifest:
    return app.inputs("v2", **{"adopt": ADOPT, **changes})


def selector(api: FakeApi) -> Any:
    return api.objects[SERVICE]["spec"]["selector"]


def test_its_traffic_is_walked_over_step_by_step(old: FakeApp, api: FakeApi) -> None:
    SEEN.clear()
    result = PROVIDER.create(inputs(old))
    assert result.outs is not None
    assert weights(api, "shop-v2") == [0, 20, 50, 100, 0, None]
    assert (selector(api), old.backends, old.replicas("v2")) == (OURS, {"shop": None}, 2)
    assert {frozenset(one) for one in SEEN} == {frozenset({"old"}), frozenset({"v2"})}, "never none, never both"
    assert api.objects[OLD]["spec"]["replicas"] == 0
    assert result.outs["outcome"] == (
        "shop-v2 serves; Deployment prod/web has no pods any more: delete it where it was made"
    )
    spec = api.objects[SERVICE]["spec"]
    assert (spec["type"], len(spec["ports"])) == ("NodePort", 2), "all else of the Service stays"


def test_a_bad_first_version_gives_everything_back(old: FakeApp, api: FakeApi) -> None:
    before = deepcopy({path: api.objects[path]["spec"] for path in (SERVICE, OLD)})
    up = Up(old, FakeEngine())
    up.when(up.at(20), lambda: old.broken.add("v2") or old.react())  # type: ignore[func-returns-value]
    with pytest.raises(RolloutFailed, match=r"all traffic is back on web$"):
        up(adopt=ADOPT)
    assert {path: api.objects[path]["spec"] for path in before} == before
    assert (old.backends, old.replicas("v2")) == ({"shop": None}, 0)


def test_turned_back_in_promotion_the_service_selects_what_it_did(old: FakeApp, api: FakeApi) -> None:
    up = Up(old, FakeEngine())

    def fail() -> None:
        old.broken.add("v2")
        old.react()
        endpoints(old)

    up.when(lambda: selector(api) == OURS, fail)
    SEEN.clear()
    with pytest.raises(RolloutFailed):
        up(adopt=ADOPT)
    assert selector(api) == SELECTOR
    assert SEEN[-1] == {"old"}


def test_the_next_release_walks_from_the_first_revision(old: FakeApp, api: FakeApi) -> None:
    """The old Deployment is nobody's business any more, also while the program still names it."""
    up = Up(old, FakeEngine())
    up(adopt=ADOPT)
    api.objects[OLD]["spec"]["replicas"] = 5
    old.deploy("v3", 1)
    api.reactions = api.reactions[:1]
    assert up("v3", adopt=ADOPT) == "shop-v3 serves"
    assert api.objects[OLD]["spec"]["replicas"] == 5
    assert old.serving == "v3"


def cut(old: FakeApp, up: Up, when: Any) -> None:
    up.when(when, up.die)
    with pytest.raises(Killed):
        up(adopt=ADOPT)
    up.live()


def test_a_walk_that_was_cut_off_goes_on(old: FakeApp, api: FakeApi) -> None:
    up = Up(old, FakeEngine())
    cut(old, up, up.at(20))
    assert up(adopt=ADOPT).startswith("shop-v2 serves; Deployment prod/web")
    assert (selector(api), api.objects[OLD]["spec"]["replicas"]) == (OURS, 0)


def test_a_walk_that_was_cut_off_is_put_back_without_a_word_of_it_in_the_program(old: FakeApp, api: FakeApi) -> None:
    """Another version is declared by now, and nobody names the old Deployment any more."""
    up = Up(old, FakeEngine())
    cut(old, up, lambda: selector(api) == OURS)
    old.deploy("v3", 1)
    with pytest.raises(Refused, match=r"Service prod/shop is there already and was not made by a rollout"):
        up("v3")
    assert (selector(api), old.backends) == (SELECTOR, {"shop": None})


def test_an_end_that_was_cut_off_before_the_old_pods_went(old: FakeApp, api: FakeApi) -> None:
    up = Up(old, FakeEngine())
    up(adopt=ADOPT)
    api.objects[OLD]["spec"]["replicas"] = 2
    assert "delete it where it was made" in up(adopt=ADOPT)
    assert api.objects[OLD]["spec"]["replicas"] == 0


# What does not fit is said before anything moves.


def changed(api: FakeApi, path: str, **spec: Any) -> None:
    api.put(path, {**api.objects[path], "spec": {**api.objects[path]["spec"], **spec}})


PORTS: dict[str, tuple[Any, str | None]] = {
    "another port": ([{"port": 80}], "has no port 9898: give the application the Service's port"),
    "no ports": (None, "has no port 9898: give the application the Service's port"),
    "the same without a word": ([{"port": 9898}], None),
    "another one behind it": (
        [{"port": 9898, "targetPort": 8080}],
        "sends port 9898 to the pods' port 8080: let the new version listen on one port for both",
    ),
    "a name that is not known yet": ([{"port": 9898, "targetPort": "http"}], None),
}


@pytest.mark.parametrize(("ports", "problem"), PORTS.values(), ids=PORTS)
def test_the_service_keeps_its_port(old: FakeApp, api: FakeApi, ports: Any, problem: str | None) -> None:
    changed(api, SERVICE, ports=ports)
    del api.objects[f"{DEPLOYMENTS}/shop-v2"]
    expected = [("adopt", f"Service prod/shop {problem}")] if problem else []
    news = inputs(old, revision={**old.inputs("v2")["revision"], "uid": None})
    assert failures({}, news) == expected


@pytest.mark.parametrize(
    ("listens", "fits"), [([{"name": "http", "containerPort": 9898}], True), ([{"containerPort": 9898}], False)]
)
def test_a_port_that_has_a_name(old: FakeApp, api: FakeApi, listens: Any, fits: bool) -> None:
    """Known once the new version's Deployment is there, which is before the walk."""
    changed(api, SERVICE, ports=[{"port": 9898, "targetPort": "http"}])
    api.objects[f"{DEPLOYMENTS}/shop-v2"]["spec"]["template"]["spec"]["containers"][0]["ports"] = listens
    if fits:
        PROVIDER.create(inputs(old))
        assert selector(api) == OURS
        return
    with pytest.raises(Refused) as caught:
        PROVIDER.create(inputs(old))
    assert str(caught.value) == (
        "Service prod/shop sends port 9898 to the pods' port http, which is none of the new version: give it that name"
    )
    assert selector(api) == SELECTOR


REFUSED: dict[str, tuple[dict[str, Any], Any, str]] = {
    "no such Deployment": (
        {"deployment": "webb"},
        SELECTOR,
        "Deployment prod/webb is not there, so there is nothing to adopt",
    ),
    "another Deployment": (
        {},
        {"app": "cart"},
        "Service prod/shop selects app=cart, and not the pods of Deployment prod/web: name the Deployment that is "
        "behind it",
    ),
    "no selector": (
        {},
        None,
        "Service prod/shop selects nothing, and not the pods of Deployment prod/web: name the Deployment that is "
        "behind it",
    ),
    "one that selects the new pods too": (
        {"labels": {"app": "web", "tier": "front", "more": "x"}},
        SELECTOR,
        "Service prod/shop selects app=web, tier=front, which the new version's pods have too, so it would send them "
        "traffic as soon as they are ready, unwatched: narrow its selector first, by a label that only the old pods "
        "have",
    ),
}


@pytest.mark.parametrize(("adopt", "selects", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_said_at_preview(
    old: FakeApp, api: FakeApi, adopt: dict[str, Any], selects: Any, sentence: str
) -> None:
    changed(api, SERVICE, selector=selects)
    assert failures({}, inputs(old, adopt={**ADOPT, **adopt})) == [("adopt", sentence)]


def test_a_selector_of_our_own_label_alone_selects_the_new_pods_too(old: FakeApp, api: FakeApi) -> None:
    deployment = api.objects[OLD]
    deployment["spec"]["template"]["metadata"]["labels"][APP_LABEL] = "shop"
    apex = {**api.objects[SERVICE], "spec": {**api.objects[SERVICE]["spec"], "selector": {APP_LABEL: "shop"}}}
    [sentence] = problems(Inputs.model_validate(inputs(old)), apex, deployment, None)
    assert "selects app.kubernetes.io/name=shop, which the new version's pods have too" in sentence


def test_the_route_has_to_be_there(old: FakeApp, api: FakeApi) -> None:
    """Else nothing could be walked over; a first release needs none."""
    del api.objects[ROUTE]
    assert failures({}, inputs(old)) == [("route", "HTTPRoute prod/shop is not there")]


def test_without_a_service_it_is_a_first_release(api: FakeApi, fake_engine: FakeEngine) -> None:
    app = FakeApp(api)
    app.deploy("v2", 1)
    assert failures({}, inputs(app)) == []
    assert PROVIDER.create(inputs(app)).outs["outcome"] == "shop-v2 serves"  # type: ignore[index]


def test_without_a_word_of_it_the_service_is_not_taken_over(old: FakeApp, api: FakeApi) -> None:
    with pytest.raises(Refused, match=r"Service prod/shop is there already and was not made by a rollout"):
        PROVIDER.create(old.inputs("v2"))
    assert selector(api) == SELECTOR


# The selector, and the guard's patch of it.


@pytest.mark.parametrize(
    ("revision", "adopted", "patch"),
    [
        ("v2", None, {REVISION_LABEL: "v2"}),
        ("v2", SELECTOR, {**OURS, "app": None, "tier": None}),
        ("v2", {APP_LABEL: "shop", "tier": "front"}, {**OURS, "tier": None}),
        (ADOPTED, SELECTOR, {**SELECTOR, APP_LABEL: None, REVISION_LABEL: None}),
        (ADOPTED, {APP_LABEL: "other"}, {APP_LABEL: "other", REVISION_LABEL: None}),
    ],
)
def test_the_selector_is_changed_as_a_whole(old: FakeApp, revision: str, adopted: Any, patch: Any) -> None:
    assert selecting(Inputs.model_validate(inputs(old)), revision, adopted) == patch


def test_the_guard_gives_the_service_back_too(old: FakeApp) -> None:
    found = Inputs.model_validate(inputs(old))
    walk = Walk("v2-1", ADOPTED, Limits(), SELECTOR)
    *_, job = manifests(found, walk, [], "uid")
    entries = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert json.loads(entries["APEX"]) == {"spec": {"selector": selecting(found, ADOPTED, SELECTOR)}}
    assert (entries["STABLE"], entries["CANARY"]) == ("web", "shop-v2")
