"""What really happens: each action, done once and repeated, beside other people's writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.state import (
    Action,
    Phase,
    Pin,
    PointApex,
    ReplacePod,
    Resize,
    Restore,
    Scale,
    SetWeight,
    State,
    Unpin,
)
from pulumi_rollout.errors import ClusterError, Conflict, NotFound
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.observe import Observer
from pulumi_rollout.perform import MINIMUM_ANNOTATION, WRITE_ATTEMPTS, Performer
from pulumi_rollout.routers import ROUTERS, nginx
from tests.fake_api import FakeApi, Fault, Manifest
from tests.fake_app import DEPLOYMENTS, PODS, ROUTE, SERVICES, FakeApp

STATE = State(walk="v2-0", revision="v2", stable="v1", started_at=0, phase_at=0, move_at=0, phase=Phase.SHIFTING)
BACK = STATE.model_copy(update={"phase": Phase.REVERTING})
FIRST_RELEASE = STATE.model_copy(update={"stable": None})


@pytest.fixture
def app(api: FakeApi) -> FakeApp:
    app = FakeApp(api)
    app.deploy("v1", 3)
    app.deploy("v2", 1)
    app.serve("v1")
    return app


@pytest.fixture
def performer(app: FakeApp, kube: Cluster) -> Performer:
    inputs = Inputs.model_validate(app.inputs("v2"))
    return Performer(inputs, kube, Observer(inputs, kube, Http()))


def original(app: FakeApp) -> str:
    return json.dumps([{key: app.api.objects[ROUTE][key] for key in ("apiVersion", "kind", "spec")}])


def comparable(api: FakeApi) -> dict[str, Manifest]:
    """Everything but versions, which repeated writes raise."""
    ignored = ("resourceVersion", "generation")
    return {
        path: {**item, "metadata": {key: value for key, value in item["metadata"].items() if key not in ignored}}
        for path, item in api.objects.items()
    }


ACTIONS: list[Action] = [
    Scale(replicas=5),
    Scale(replicas=0),
    Pin(replicas=5),
    Unpin(),
    SetWeight(percent=0),
    SetWeight(percent=40),
    PointApex(revision="v2"),
    Restore(),
    ReplacePod(pod="shop-v2-a"),
    Resize(),
]


@pytest.mark.parametrize("autoscaled", [False, True], ids=["fixed", "autoscaled"])
@pytest.mark.parametrize("action", ACTIONS, ids=repr)
def test_an_action_can_be_repeated(
    app: FakeApp, api: FakeApi, performer: Performer, action: Action, autoscaled: bool
) -> None:
    state = STATE.model_copy(update={"original": original(app)})
    if autoscaled:
        app.autoscale("v1", 2)
        app.autoscale("v2", 2)
        performer.perform(Pin(replicas=4), state)
    app.list_on_route(v2=10)
    api.put(f"{PODS}/shop-v2-a", {})
    performer.perform(action, state)
    once = comparable(api)
    performer.perform(action, state)
    assert comparable(api) == once


def test_scale_writes_the_scale_and_nothing_else(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    performer.perform(Scale(replicas=4), STATE)
    assert (app.replicas("v2"), app.replicas("v1")) == (4, 3)
    [write] = api.writes()
    assert (write.path, write.body) == (f"{DEPLOYMENTS}/shop-v2/scale", {"spec": {"replicas": 4}})


def test_scaling_a_deployment_that_is_gone(api: FakeApi, performer: Performer) -> None:
    del api.objects[f"{DEPLOYMENTS}/shop-v2"]
    performer.perform(Scale(replicas=0), STATE)
    with pytest.raises(NotFound):
        performer.perform(Scale(replicas=1), STATE)


def test_the_weight_is_set_on_the_route(app: FakeApp, performer: Performer) -> None:
    performer.perform(SetWeight(percent=0), STATE)
    assert app.backends == {"shop": 100, "shop-v2": 0}
    performer.perform(SetWeight(percent=30), STATE)
    assert app.backends == {"shop": 70, "shop-v2": 30}


def test_a_weight_that_is_already_set_is_not_written(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    app.list_on_route(v2=30)
    performer.perform(SetWeight(percent=30), STATE)
    assert api.writes() == []


def test_restore_puts_the_route_back_as_it_was(app: FakeApp, performer: Performer) -> None:
    state = STATE.model_copy(update={"original": original(app)})
    before = app.api.objects[ROUTE]["spec"]
    performer.perform(SetWeight(percent=30), state)
    assert app.api.objects[ROUTE]["spec"] != before
    performer.perform(Restore(), state)
    assert app.api.objects[ROUTE]["spec"] == before


def test_the_apex_is_pointed_and_keeps_the_rest(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    api.objects[f"{SERVICES}/shop"]["spec"]["ports"] = [{"port": 80}]
    performer.perform(PointApex(revision="v2"), STATE)
    assert app.serving == "v2"
    spec = api.objects[f"{SERVICES}/shop"]["spec"]
    assert (spec["ports"], spec["selector"]["app.kubernetes.io/name"]) == ([{"port": 80}], "shop")


def test_others_rules_and_metadata_are_kept(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    theirs = {"matches": [{"path": {"value": "/admin"}}], "backendRefs": [{"name": "admin", "port": 1}]}
    route = api.objects[ROUTE]
    route["spec"]["rules"].insert(0, theirs)
    route["metadata"]["annotations"] = {"team": "shop"}
    performer.perform(SetWeight(percent=30), STATE)
    assert api.objects[ROUTE]["spec"]["rules"][0] == theirs
    assert api.objects[ROUTE]["metadata"]["annotations"] == {"team": "shop"}
    assert api.objects[ROUTE]["spec"]["rules"][1]["backendRefs"][1]["weight"] == 30


class Somebody:
    """Adds a rule to the route just before our write, so many times."""

    def __init__(self, api: FakeApi, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = times
        dispatch = api._dispatch

        def interfering(request: Any) -> Any:
            if request.method == "PUT" and self.left:
                self.left -= 1
                spec = api.objects[ROUTE]["spec"]
                rule = {"backendRefs": [{"name": f"theirs-{self.left}"}]}
                api.put(ROUTE, {**api.objects[ROUTE], "spec": {**spec, "rules": [*spec["rules"], rule]}})
            return dispatch(request)

        monkeypatch.setattr(api, "_dispatch", interfering)


def test_an_edit_in_between_is_read_again_and_kept(
    app: FakeApp, api: FakeApi, performer: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Somebody(api, WRITE_ATTEMPTS - 1, monkeypatch)
    performer.perform(SetWeight(percent=30), BACK)
    assert app.backends == {"shop": 70, "shop-v2": 30}
    assert len(api.objects[ROUTE]["spec"]["rules"]) == 1 + WRITE_ATTEMPTS - 1


def test_somebody_who_never_stops_writing_is_a_conflict(
    app: FakeApp, api: FakeApi, performer: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    Somebody(api, WRITE_ATTEMPTS, monkeypatch)
    with pytest.raises(Conflict):
        performer.perform(SetWeight(percent=30), BACK)
    assert "shop-v2" not in app.backends


def test_a_walk_that_slept_between_its_look_and_its_write_writes_nothing(
    app: FakeApp, api: FakeApi, performer: Performer
) -> None:
    """Meanwhile the guard, or another update, may have put everything back and taken the pods away."""
    performer._observer._route()
    performer._observer.apex_revision()
    before = app.backends
    for path in (ROUTE, f"{SERVICES}/shop"):
        api.put(path, api.objects[path])
    with pytest.raises(Conflict):
        performer.perform(SetWeight(percent=30), STATE)
    with pytest.raises(Conflict):
        performer.perform(PointApex(revision="v2"), STATE.model_copy(update={"phase": Phase.PROMOTING}))
    assert (app.backends, app.serving) == (before, "v1")
    performer.perform(PointApex(revision="v1"), BACK)


def test_an_edit_whose_answer_was_lost(app: FakeApp, api: FakeApi, performer: Performer, quick_retries: None) -> None:
    api.faults.append(Fault(method="PUT", drop="after"))
    performer.perform(SetWeight(percent=30), BACK)
    assert app.backends == {"shop": 70, "shop-v2": 30}


def test_a_failure_is_the_callers(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    api.faults.append(Fault(method="PATCH", status=403))
    with pytest.raises(ClusterError):
        performer.perform(PointApex(revision="v2"), STATE)
    assert app.serving == "v1"


# Pods.


def test_one_pod_is_deleted_and_nothing_else(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    for path in (f"{PODS}/shop-v2-a", f"{PODS}/shop-v2-b", "/api/v1/namespaces/other/pods/shop-v2-a"):
        api.put(path, {})
    before = set(api.objects)
    performer.perform(ReplacePod(pod="shop-v2-a"), STATE)
    assert before - set(api.objects) == {f"{PODS}/shop-v2-a"}
    assert [(write.method, write.path) for write in api.writes()] == [("DELETE", f"{PODS}/shop-v2-a")]


def test_a_pod_that_is_gone_is_replaced_already(api: FakeApi, performer: Performer) -> None:
    performer.perform(ReplacePod(pod="shop-v2-a"), STATE)
    assert [write.method for write in api.writes()] == ["DELETE"]


def test_a_pod_that_may_not_be_deleted_is_the_callers_matter(api: FakeApi, performer: Performer) -> None:
    """Which turns the walk back: its version has one pod that fails, and nobody can replace it."""
    api.put(f"{PODS}/shop-v2-a", {})
    api.faults.append(Fault(method="DELETE", status=403))
    with pytest.raises(ClusterError) as caught:
        performer.perform(ReplacePod(pod="shop-v2-a"), STATE)
    assert (caught.value.status, f"{PODS}/shop-v2-a" in api.objects) == (403, True)


# Autoscalers: trap 6's part here. The minimum of v1 is held at what it has, and given back.


def minimum(api: FakeApi, path: str) -> tuple[int, str | None]:
    item = api.objects[path]
    return item["spec"]["minReplicas"], item["metadata"].get("annotations", {}).get(MINIMUM_ANNOTATION)


def test_trap_06_a_pin_holds_the_minimum_and_unpin_gives_it_back(
    app: FakeApp, api: FakeApi, performer: Performer
) -> None:
    path = app.autoscale("v1", 2)
    performer.perform(Pin(replicas=7), STATE)
    assert minimum(api, path) == (7, "2")
    performer.perform(Pin(replicas=9), STATE)
    assert minimum(api, path) == (9, "2"), "the declared minimum is remembered, not the last one"
    performer.perform(Unpin(), STATE)
    assert minimum(api, path) == (2, None)


def test_trap_06_without_the_memory_the_minimum_is_lost(
    app: FakeApp, api: FakeApi, performer: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_rollout.perform.MINIMUM_ANNOTATION", "pulumi-rollout/other")
    path = app.autoscale("v1", 2)
    performer.perform(Pin(replicas=7), STATE)
    monkeypatch.undo()
    performer.perform(Unpin(), STATE)
    with pytest.raises(AssertionError):
        assert minimum(api, path)[0] == 2


def test_a_pin_stays_within_the_autoscalers_own_limits(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    path = app.autoscale("v1", 4, maximum=6)
    performer.perform(Pin(replicas=40), STATE)
    assert minimum(api, path) == (6, "4")
    performer.perform(Pin(replicas=1), STATE)
    assert minimum(api, path) == (4, "4")


def test_the_canarys_autoscaler_may_not_go_below_what_the_walk_needs(
    app: FakeApp, api: FakeApi, performer: Performer
) -> None:
    path = app.autoscale("v2", 1)
    performer.perform(Scale(replicas=5), STATE)
    assert (minimum(api, path), app.replicas("v2")) == ((5, "1"), 5)
    performer.perform(Scale(replicas=0), STATE)
    assert app.replicas("v2") == 0
    performer.perform(Unpin(), STATE)
    assert minimum(api, path) == (1, None)


def test_scaling_down_leaves_an_autoscaler_alone(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    path = app.autoscale("v2", 3)
    performer.perform(Scale(replicas=0), STATE)
    assert (minimum(api, path), app.replicas("v2")) == ((3, None), 0)


def test_unpin_leaves_what_was_never_pinned(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    app.autoscale("v1", 3)
    performer.perform(Unpin(), STATE)
    performer.perform(Unpin(), FIRST_RELEASE)
    performer.perform(Pin(replicas=3), FIRST_RELEASE)
    assert api.writes() == []


def test_resize_leaves_the_replicas_to_an_autoscaler(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    performer.perform(Resize(), STATE)
    assert app.replicas("v2") == 2
    app.autoscale("v2", 6)
    api.objects[f"{DEPLOYMENTS}/shop-v2"]["spec"]["replicas"] = 8
    performer.perform(Resize(), STATE)
    assert app.replicas("v2") == 8


def test_settling_does_what_a_run_that_was_cut_off_left(app: FakeApp, api: FakeApi, performer: Performer) -> None:
    path = app.autoscale("v2", 1)
    performer.perform(Scale(replicas=5), STATE)
    performer.settle("v2")
    assert (minimum(api, path), app.replicas("v2")) == ((1, None), 5)


# Objects that the walk makes itself: NGINX's canary Ingress stands for all of them.

INGRESSES = "/apis/networking.k8s.io/v1/namespaces/prod/ingresses"
CANARY_WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"


@pytest.fixture
def ingress(app: FakeApp, kube: Cluster) -> Performer:
    """A walk on an Ingress instead of an HTTPRoute."""
    [made] = nginx.Route(["shop.example.com"]).objects("shop", "prod", 9898)
    app.api.put(f"{INGRESSES}/shop", made)
    refs = [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop"}]
    inputs = Inputs.model_validate(app.inputs("v2", route={"router": "nginx", "objects": refs}))
    return Performer(inputs, kube, Observer(inputs, kube, Http()))


def test_what_a_walk_makes_comes_and_goes(app: FakeApp, api: FakeApi, ingress: Performer) -> None:
    before = json.dumps(api.objects[f"{INGRESSES}/shop"])
    state = STATE.model_copy(update={"original": ingress._observer.original()})
    for percent in (0, 30):
        ingress.perform(SetWeight(percent=percent), state)
        assert api.objects[f"{INGRESSES}/shop-canary"]["metadata"]["annotations"][CANARY_WEIGHT] == str(percent)
        assert ingress._observer._route() == (percent, None)
    ingress.perform(SetWeight(percent=0), BACK)
    ingress.perform(Restore(), state)
    assert f"{INGRESSES}/shop-canary" not in api.objects
    assert ingress._observer._route() == (None, None)
    ingress.perform(Restore(), state)
    assert json.dumps(api.objects[f"{INGRESSES}/shop"]) == before, "byte for byte, its version included"
    assert [write.method for write in api.writes(INGRESSES)] == ["POST", "PUT", "PUT", "DELETE"]


def test_what_a_walk_made_and_somebody_deleted_is_looked_at_again(
    app: FakeApp, api: FakeApi, ingress: Performer
) -> None:
    """It is no refusal, which would turn the walk back; the next look makes it again."""
    ingress.perform(SetWeight(percent=0), STATE)
    ingress._observer._route()
    del api.objects[f"{INGRESSES}/shop-canary"]
    with pytest.raises(Conflict):
        ingress.perform(SetWeight(percent=30), STATE)
    assert ingress._observer._route() == (None, None)
    ingress.perform(SetWeight(percent=0), STATE)
    assert f"{INGRESSES}/shop-canary" in api.objects


def test_what_a_walk_would_make_and_somebody_else_made_is_left(app: FakeApp, api: FakeApi, ingress: Performer) -> None:
    ingress._observer._route()
    theirs = api.put(f"{INGRESSES}/shop-canary", {"kind": "Ingress", "metadata": {"labels": {}}, "spec": {}})
    with pytest.raises(Conflict):
        ingress.perform(SetWeight(percent=0), STATE)
    assert ingress._observer._route()[1] == (
        "Ingress shop-canary is there already, and a rollout would make one of that name: rename it"
    )
    ingress.perform(Restore(), STATE)
    assert api.objects[f"{INGRESSES}/shop-canary"] == theirs


class Order:
    """A router of two objects, to see in which order they are written."""

    def __init__(self) -> None:
        self.value = 0

    def parts(self, refs: Any, backends: Any) -> Any:
        return [{**refs[0], "name": name} for name in ("first", "second")]

    def with_weight(self, objects: Any, backends: Any, percent: int) -> Any:
        return [{"kind": "HTTPRoute", "metadata": {"name": name}} for name in ("second", "first")]

    def restored(self, objects: Any, original: Any, backends: Any) -> Any:
        return []

    def weight(self, objects: Any, backends: Any) -> None:
        return None


def test_objects_are_written_in_their_order_and_home_in_the_reverse(
    app: FakeApp, api: FakeApi, kube: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Istio, where a route may name only subsets that are there."""
    monkeypatch.setitem(ROUTERS, "order", Order())
    ref = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "none"}
    inputs = Inputs.model_validate(app.inputs("v2", route={"router": "order", "objects": [ref]}))
    performer = Performer(inputs, kube, Observer(inputs, kube, Http()))
    performer.perform(SetWeight(percent=0), BACK)
    performer.perform(Restore(), BACK)
    made = [write.body["metadata"]["name"] for write in api.writes("httproutes") if write.method == "POST"]
    gone = [write.path.rpartition("/")[2] for write in api.writes("httproutes") if write.method == "DELETE"]
    assert (made, gone) == (["first", "second"], ["second", "first"])
