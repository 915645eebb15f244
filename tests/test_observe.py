"""What the driver sees: every field of Seen, the pods' own reasons, and the preflight."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import Auth, Latency, Objective, Source, SuccessRate
from pulumi_rollout.core.plan import Plan, Step
from pulumi_rollout.core.state import Phase, Seen, State
from pulumi_rollout.errors import ClusterError, MetricsError
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.metrics.series import name_of
from pulumi_rollout.observe import Observer, preflight
from pulumi_rollout.routers import nginx
from tests.fake_api import FakeApi, Fault
from tests.fake_app import CONFIGMAP, DEPLOYMENTS, PODS, ROUTE, SERVICES, SLICES, FakeApp

PROMETHEUS = "http://prometheus:9090"
REQUESTS = "envoy_cluster_upstream_rq"
PLAN = Plan(
    steps=(Step(weight_percent=10, interval_seconds=1, max_wait_seconds=60),),
    gates=tuple(
        Objective(id=name, metric=SuccessRate(), max_bad_ratio=0.01, source="prometheus-1")
        for name in ("first", "second")
    ),
    sources={"prometheus-1": Source(kind="prometheus", address=PROMETHEUS, proxy="contour")},
)
# Gates whose series are asked for apart from each other, before anything moves.
APART = PLAN.model_copy(
    update={
        "gates": (
            PLAN.gates[0],
            Objective(id="second", metric=Latency(bound_seconds=0.25), max_bad_ratio=0.01, source="prometheus-1"),
        )
    }
)
NO_GATES = PLAN.model_copy(update={"gates": (), "sources": {}})


def series(service: str, code: str, value: float, at: float = 100.0) -> dict[str, Any]:
    labels = {"envoy_cluster_name": f"prod_{service}_9898", "envoy_response_code": code}
    return {"metric": {"__name__": REQUESTS, **labels}, "values": [[at, str(value)]]}


def answer(*found: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(found)}}


class FakeHttp:
    """Answers in turn, the last one for ever; an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.urls: list[str] = []

    def get_json(self, url: str, auth: Auth) -> Any:
        self.urls.append(url)
        body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(body, Exception):
            raise body
        return body


@pytest.fixture
def app(api: FakeApi) -> FakeApp:
    app = FakeApp(api)
    app.deploy("v1", 3)
    app.deploy("v2", 2)
    app.serve("v1")
    api.requests.clear()
    return app


def observer(app: FakeApp, kube: Cluster, http: Any = None, revision: str = "v2") -> Observer:
    given: Any = http or FakeHttp(answer())
    return Observer(Inputs.model_validate(app.inputs(revision)), kube, given)


def state(phase: Phase = Phase.SHIFTING, stable: str | None = "v1") -> State:
    return State(walk="v2-0", revision="v2", stable=stable, started_at=0, phase_at=0, move_at=0, phase=phase)


def look(app: FakeApp, kube: Cluster, plan: Plan = NO_GATES, **of_state: Any) -> Seen:
    return observer(app, kube).look(plan, state(**of_state), 7.0, None)


def test_everything_that_a_decision_needs(app: FakeApp, kube: Cluster) -> None:
    app.list_on_route(v2=10)
    http = FakeHttp(answer(series("shop", "200", 90), series("shop-v2", "200", 9), series("shop-v2", "503", 1)))
    seen = observer(app, kube, http).look(PLAN, state(), 7.0, "stopped")
    labels = {"envoy_cluster_name": "prod_shop-v2_9898"}
    good, bad = (name_of(REQUESTS, {**labels, "envoy_response_code": code}) for code in ("200", "503"))
    canary = Sample(series={good: (9.0, False), bad: (1.0, True)}, at=100.0)
    assert seen.model_copy(update={"readings": {}}) == Seen(
        now=7.0,
        canary_ready=2,
        canary_replicas=2,
        stable_replicas=3,
        canary_problem=None,
        weight_percent=10,
        route_problem=None,
        apex_revision="v1",
        apex_ready=True,
        readings={},
        stop="stopped",
    )
    assert {gate: reading.canary for gate, reading in seen.readings.items()} == {"first": canary, "second": canary}
    assert len(http.urls) == 2, "gates of one source share its answer, and that about the past"


def test_a_look_writes_nothing(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    look(app, kube)
    assert api.writes() == []


def test_a_first_release_needs_neither_apex_nor_route_nor_numbers(api: FakeApi, kube: Cluster) -> None:
    app = FakeApp(api)
    app.deploy("v2", 1)
    http = FakeHttp(MetricsError("must not be asked"))
    seen = observer(app, kube, http).look(PLAN, state(stable=None), 7.0, None)
    assert (seen.canary_ready, seen.canary_replicas, seen.stable_replicas) == (1, 1, 2)
    assert (seen.weight_percent, seen.apex_revision, seen.readings, http.urls) == (None, None, {}, [])


# Pods.


def test_a_canary_that_is_not_there(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    del api.objects[f"{DEPLOYMENTS}/shop-v2"]
    seen = look(app, kube)
    assert (seen.canary_ready, seen.canary_replicas) == (0, 0)
    assert seen.canary_problem == "Deployment shop-v2 is not there"


def test_pods_that_are_left_of_before_do_not_count(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[f"{DEPLOYMENTS}/shop-v2"]["status"] = {"replicas": 1, "readyReplicas": 2}
    assert look(app, kube).canary_ready == 1


def test_without_a_word_about_replicas_kubernetes_means_one(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    for name in ("shop-v1", "shop-v2"):
        del api.objects[f"{DEPLOYMENTS}/{name}"]["spec"]["replicas"], api.objects[f"{DEPLOYMENTS}/{name}"]["status"]
    seen = look(app, kube)
    assert (seen.canary_ready, seen.canary_replicas, seen.stable_replicas) == (0, 1, 1)


def test_stable_counts_with_the_pods_that_it_has_or_wants(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[f"{DEPLOYMENTS}/shop-v1"]["status"] = {"replicas": 8}
    assert look(app, kube).stable_replicas == 8
    api.objects[f"{DEPLOYMENTS}/shop-v1"]["spec"]["replicas"] = 9
    assert look(app, kube).stable_replicas == 9
    del api.objects[f"{DEPLOYMENTS}/shop-v1"]
    assert look(app, kube).stable_replicas == 2, "what is declared, where the old Deployment is gone"


def test_the_first_reason_of_the_revisions_own_pods(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    app.broken.add("v2")
    for name, revision, status in (
        ("a", "v1", {"containerStatuses": [{"state": {"waiting": {"reason": "NotMine"}}}]}),
        ("b", "v2", {}),
        ("c", "v2", {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}),
    ):
        labels = {"app.kubernetes.io/name": "shop", "pulumi-rollout/revision": revision}
        api.put(f"{PODS}/{name}", {"metadata": {"labels": labels}, "status": status})
    app.react()
    assert look(app, kube).canary_problem == "pod c: ImagePullBackOff"


def test_a_quota_is_said_by_the_deployment(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    deployment = api.objects[f"{DEPLOYMENTS}/shop-v2"]
    message = 'pods "shop-v2-x" is forbidden: exceeded quota: team'
    failure = {"type": "ReplicaFailure", "status": "True", "message": message}
    deployment["status"] = {"conditions": [{"type": "Progressing", "status": "True", "message": ""}, failure]}
    assert look(app, kube).canary_problem == message


# The route and the apex.


def test_a_route_at_rest_lists_no_canary(app: FakeApp, kube: Cluster) -> None:
    seen = look(app, kube)
    assert (seen.weight_percent, seen.route_problem) == (None, None)


def test_a_route_that_is_gone(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    del api.objects[ROUTE]
    seen = look(app, kube)
    assert (seen.weight_percent, seen.route_problem) == (None, "HTTPRoute prod/shop is not there")


def test_a_route_of_another_shape(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[ROUTE]["spec"]["rules"] = [{"backendRefs": [{"name": "other"}]}]
    seen = look(app, kube)
    assert seen.weight_percent is None
    assert "no rule of the HTTPRoute has shop" in (seen.route_problem or "")


def test_a_change_that_the_gateway_has_not_seen(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[ROUTE]["metadata"]["generation"] += 1
    assert look(app, kube).route_problem == "the Gateway has not seen the HTTPRoute's last change yet"


def _endpoints(api: FakeApi, service: str, *endpoints: dict[str, Any]) -> None:
    api.objects[f"{SLICES}/{service}-x"]["endpoints"] = list(endpoints)


def ready(address: str, value: bool | None = True) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {} if value is None else {"ready": value}}


ENDPOINTS = {
    "the same": ([ready("10.0.0.1"), ready("10.0.0.2")], [ready("10.0.0.2"), ready("10.0.0.1")], True),
    "one still missing": ([ready("10.0.0.1")], [ready("10.0.0.1"), ready("10.0.0.2")], False),
    "one too many": ([ready("10.0.0.1"), ready("10.0.0.9")], [ready("10.0.0.1")], False),
    "none at all, as of a version that is down": ([], [], True),
    "the revision's are gone": ([ready("10.0.0.1")], [], False),
    "one that is not ready": ([ready("10.0.0.1"), ready("10.0.0.2", False)], [ready("10.0.0.1")], True),
    "readiness not said means ready": ([ready("10.0.0.1", None)], [ready("10.0.0.1")], True),
}


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.REVERTING])
@pytest.mark.parametrize(("apex", "own", "same"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_the_apex_is_ready_with_just_the_revisions_pods(
    app: FakeApp, api: FakeApi, kube: Cluster, apex: list[Any], own: list[Any], same: bool, phase: Phase
) -> None:
    _endpoints(api, "shop", *apex)
    _endpoints(api, "shop-v1", *own)
    assert look(app, kube, phase=phase).apex_ready is same


def test_endpoints_may_be_null(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[f"{SLICES}/shop-x"]["endpoints"] = None
    assert look(app, kube, phase=Phase.PROMOTING).apex_ready is False


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.PAUSED])
def test_endpoints_are_not_asked_for_before_the_apex_turns(
    app: FakeApp, api: FakeApi, kube: Cluster, phase: Phase
) -> None:
    assert look(app, kube, phase=phase).apex_ready is True
    assert not any(request.path == SLICES for request in api.requests)


def test_an_apex_that_is_not_there_or_not_ours(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[f"{SERVICES}/shop"]["spec"] = {}
    assert look(app, kube).apex_revision is None
    del api.objects[f"{SERVICES}/shop"]
    seen = look(app, kube)
    assert (seen.apex_revision, seen.apex_ready) == (None, False)


def test_the_route_before_the_walk(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    [kept] = json.loads(observer(app, kube).original())
    spec = {key: api.objects[ROUTE][key] for key in ("apiVersion", "kind", "spec")}
    assert kept == {**spec, "metadata": {"name": "shop"}}
    del api.objects[ROUTE]
    assert observer(app, kube).original() == "[]"


def test_a_cluster_that_does_not_answer_is_not_a_look(
    app: FakeApp, api: FakeApi, kube: Cluster, quick_retries: None
) -> None:
    api.faults.append(Fault(path="endpointslices", status=503, times=10))
    with pytest.raises(ClusterError):
        look(app, kube, phase=Phase.PROMOTING)


# Numbers.


@pytest.mark.parametrize("phase", [Phase.REVERTING, Phase.SUCCEEDED, Phase.FAILED])
def test_on_the_way_back_no_numbers_are_read(app: FakeApp, kube: Cluster, phase: Phase) -> None:
    http = FakeHttp(MetricsError("must not be asked"))
    assert observer(app, kube, http).look(PLAN, state(phase), 7.0, None).readings == {}
    assert http.urls == []


NO_DATA = {
    "no server": (MetricsError(f"{PROMETHEUS} does not answer"), f"{PROMETHEUS} does not answer"),
    "another server": ({"hello": 1}, f"{PROMETHEUS} did not answer as Prometheus does ('status')"),
    "an error": ({"status": "error", "error": "boom"}, f"{PROMETHEUS} did not answer as Prometheus does (boom)"),
}


@pytest.mark.parametrize(("body", "reason"), NO_DATA.values(), ids=NO_DATA)
def test_a_source_that_does_not_help_is_no_data(app: FakeApp, kube: Cluster, body: Any, reason: str) -> None:
    seen = observer(app, kube, FakeHttp(body)).look(PLAN, state(), 7.0, None)
    assert seen.readings["first"] == Reading(no_data=reason)


PROBES = {
    "the proxy's series are absent": (answer(), f"{PROMETHEUS} has no series of contour"),
    "the probe is refused": (
        {"status": "error", "error": "boom"},
        f"{PROMETHEUS} did not answer as Prometheus does (boom)",
    ),
    "they are there, only not of this application yet": (answer({"metric": {}, "value": [1, "2"]}), None),
}


@pytest.mark.parametrize(("probe", "reason"), PROBES.values(), ids=PROBES)
def test_before_traffic_moves_the_series_must_exist(
    app: FakeApp, kube: Cluster, probe: Any, reason: str | None
) -> None:
    seen = observer(app, kube, FakeHttp(answer(), probe)).look(PLAN, state(Phase.PREPARING), 7.0, None)
    assert seen.readings["first"].no_data == reason


def test_later_an_empty_answer_is_no_requests(app: FakeApp, kube: Cluster) -> None:
    http = FakeHttp(answer())
    assert observer(app, kube, http).look(PLAN, state(), 7.0, None).readings["first"].no_data is None
    assert [url for url in http.urls if "count" in url] == [], "nobody asks whether there are any series"


# Preflight.


def found(app: FakeApp, kube: Cluster, http: Any, plan: Plan = PLAN) -> list[tuple[str, str]]:
    return preflight(Inputs.model_validate(app.inputs("v2")), plan, kube, http)


def test_preflight_finds_nothing_wrong(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    assert found(app, kube, FakeHttp(answer({"metric": {}, "value": [1, "2"]}))) == []
    assert api.writes() == []


def test_preflight_before_the_first_release_needs_no_route_and_no_series(api: FakeApi, kube: Cluster) -> None:
    problems = found(FakeApp(api), kube, FakeHttp(answer(), MetricsError("prometheus does not answer")), APART)
    assert problems == [("policy", "gate second: prometheus does not answer")]


def test_preflight_says_everything_at_once(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    api.objects[ROUTE]["spec"]["rules"] = []
    problems = found(app, kube, FakeHttp(answer(), MetricsError("prometheus does not answer")), APART)
    assert [path for path, _ in problems] == ["route", "policy", "policy"]
    assert "no rule of the HTTPRoute has shop" in problems[0][1]
    assert problems[1][1] == f"gate first: {PROMETHEUS} has no series of contour"
    assert problems[2][1] == "gate second: prometheus does not answer"


def test_preflight_without_the_route_or_the_cluster(
    app: FakeApp, api: FakeApi, kube: Cluster, quick_retries: None
) -> None:
    del api.objects[ROUTE]
    assert found(app, kube, FakeHttp(answer()), NO_GATES) == [("route", "HTTPRoute prod/shop is not there")]
    api.faults.append(Fault(status=503, times=10))
    [(path, reason)] = found(app, kube, FakeHttp(answer()), NO_GATES)
    assert (path, reason) == ("cluster", f"GET {SERVICES}/shop: as the test wants it")


def test_preflight_asks_each_question_once(app: FakeApp, kube: Cluster) -> None:
    http = FakeHttp(answer({"metric": {}, "value": [1, "2"]}))
    assert found(app, kube, http) == []
    assert len(http.urls) == 1


def test_nothing_here_touches_the_journal(app: FakeApp, api: FakeApi, kube: Cluster) -> None:
    look(app, kube)
    assert all(request.path != CONFIGMAP for request in api.requests)


# Routers whose objects have no status: the weight is seen from the requests.


NGINX_INGRESS = "/apis/networking.k8s.io/v1/namespaces/prod/ingresses/shop"


class Counted:
    """What an observer makes of a weight, with requests by the number. + route: its inputs; proxy: that counts"""

    def __init__(self, app: FakeApp, kube: Cluster, monkeypatch: pytest.MonkeyPatch, proxy: str, **route: Any) -> None:
        self.counted = {"canary": 0.0, "stable": 0.0}
        self.inputs = Inputs.model_validate(app.inputs("v2", **route))
        self._eyes = Observer(self.inputs, kube, Http())
        monkeypatch.setattr(self._eyes._readings, "look", self._read)
        gate = Objective(id="rate", source="s", metric=SuccessRate(), max_bad_ratio=0.01)
        source = Source(kind="prometheus", address=PROMETHEUS, proxy=proxy)
        self._plan = PLAN.model_copy(update={"gates": (gate,), "sources": {"s": source}})

    def _read(self, plan: Plan, state: State, now: float) -> dict[str, Reading]:
        samples = {name: Sample(series={name: (value, False)}, at=now) for name, value in self.counted.items()}
        return {"rate": Reading(**samples)}

    def problem(self, now: float, phase: Phase = Phase.SHIFTING) -> str | None:
        return self._eyes.look(self._plan, state(phase), now, None).route_problem


def ingress_seen(app: FakeApp, api: FakeApi, kube: Cluster, monkeypatch: pytest.MonkeyPatch, proxy: str) -> Counted:
    """Of an Ingress at weight 0, which is then given 50."""
    [ingress] = nginx.Route(["shop.example.com"]).objects("shop", "prod", 9898)
    api.put(NGINX_INGRESS, ingress)
    refs = [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop"}]
    seen = Counted(app, kube, monkeypatch, proxy, route={"router": "nginx", "objects": refs})
    assert seen.problem(1) is None
    for item in nginx.with_weight([ingress], seen.inputs.backends(), 50)[1:]:
        api.put(f"{NGINX_INGRESS}-canary", item)
    return seen


@pytest.mark.parametrize("proxy", ["nginx", "app"])
def test_a_weight_without_a_status_is_seen_from_the_requests(
    app: FakeApp, api: FakeApi, kube: Cluster, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    seen = ingress_seen(app, api, kube, monkeypatch, proxy)
    assert seen.problem(2) == "it is not seen yet that requests are shared as at weight 50"
    seen.counted["stable"] += 100
    assert seen.problem(3) == "it is not seen yet that requests are shared as at weight 50"
    seen.counted["stable"] += 100
    assert seen.problem(4) == "requests are still shared as at weight 0"
    assert seen.problem(4, Phase.REVERTING) is None, "the way back does not wait for that"
    seen.counted["canary"] += 40
    assert seen.problem(5) is None


@pytest.mark.parametrize(("proxy", "told"), [("nginx", True), ("app", False)])
def test_after_promotion_pods_do_not_tell_where_the_route_leads(
    app: FakeApp, api: FakeApi, kube: Cluster, monkeypatch: pytest.MonkeyPatch, proxy: str, told: bool
) -> None:
    """All of them are the new version's then, by way of the apex too."""
    seen = ingress_seen(app, api, kube, monkeypatch, proxy)
    app.serve("v2")
    waits = "it is not seen yet that requests are shared as at weight 50"
    assert seen.problem(2, Phase.PROMOTING) == (waits if told else None)


@pytest.mark.parametrize(("proxy", "told"), [("traefik", True), ("app", False)])
def test_a_status_is_believed_until_the_routes_own_requests_speak_against_it(
    app: FakeApp, api: FakeApi, kube: Cluster, monkeypatch: pytest.MonkeyPatch, proxy: str, told: bool
) -> None:
    """What pods count may have come past the route."""
    seen = Counted(app, kube, monkeypatch, proxy)
    assert seen.problem(1) is None
    app.list_on_route(v2=50)
    assert seen.problem(2) is None
    seen.counted["stable"] += 100
    assert seen.problem(3) is None
    seen.counted["stable"] += 100
    assert seen.problem(4) == ("requests are still shared as at weight 0" if told else None)
    seen.counted["canary"] += 40
    assert seen.problem(5) is None
