"""What gates read: servers, pods and the cluster are asked over real connections, as often as they may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pulumi_rollout import readings as module
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.counts import Arm, Reading
from pulumi_rollout.core.gates import Evidence, fresh
from pulumi_rollout.core.measures import Auth, Gate, Pods, Source
from pulumi_rollout.core.plan import Plan, Step
from pulumi_rollout.core.state import Phase, State
from pulumi_rollout.core.strategies import compile_policy
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.metrics import known
from pulumi_rollout.metrics.series import name_of
from pulumi_rollout.readings import Readings
from tests.fake_api import FakeApi, Fault
from tests.metrics_fixtures import SUCCESS_RATE, gate

PODS = "/api/v1/namespaces/prod/pods"
ENVOYS = "/api/v1/namespaces/projectcontour/pods"
INPUTS = {
    "app": "shop",
    "namespace": "prod",
    "revision": {"hash": "v2", "port": 9898, "replicas": 2},
    "route": {"router": "gateway", "objects": []},
    "policy": {},
}
RATE = gate(**SUCCESS_RATE)
RESTARTS = gate(id="restarts", test="restarts", source=None)
STEP = Step(weight_percent=10, interval_seconds=1, max_wait_seconds=60)
CANARY = {"envoy_cluster_name": "prod_shop-v2_9898", "envoy_response_code": "200"}
STABLE = {"envoy_cluster_name": "prod_shop_9898", "envoy_response_code": "200"}
LINE = 'envoy_cluster_upstream_rq{envoy_response_code="%s",envoy_cluster_name="prod_shop-v2_9898"} %s\n'


def plan(*gates: Gate, **sources: Source) -> Plan:
    return Plan(steps=(STEP,), gates=gates, sources=sources)


def state(phase: Phase = Phase.SHIFTING, **changes: Any) -> State:
    return State(walk="v2-0", revision="v2", stable="v1", started_at=0, phase_at=0, move_at=0, phase=phase, **changes)


def matrix(labels: dict[str, str], value: float, at: float = 100.0, name: str = "envoy_cluster_upstream_rq") -> bytes:
    result = [{"metric": {"__name__": name, **labels}, "values": [[at, str(value)]]}]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


NOTHING = b'{"status": "success", "data": {"resultType": "matrix", "result": []}}'


@pytest.fixture
def server() -> Iterator[FakeApi]:
    """A metrics server."""
    with FakeApi() as made:
        yield made


@pytest.fixture
def source(server: FakeApi) -> Source:
    return Source(kind="prometheus", address=server.url, proxy="contour", auth=Auth(token="prom"))


@pytest.fixture
def readings(kube: Cluster) -> Readings:
    return Readings(Inputs.model_validate(INPUTS), kube, Http({"prom": "hidden-token"}))


def always(server: FakeApi, body: bytes, path: str = ".*") -> None:
    server.faults.append(Fault(path=path, status=200, body=body, times=float("inf")))


def pod(api: FakeApi, name: str, revision: str | None = None, path: str = PODS, **status: Any) -> None:
    labels = {"app.kubernetes.io/name": "shop", "pulumi-rollout/revision": revision} if revision else {"app": "envoy"}
    namespace = path.split("/")[4]
    manifest = {"metadata": {"labels": labels, "namespace": namespace}, "status": {"phase": "Running", **status}}
    api.put(f"{path}/{name}", manifest)


def queries(server: FakeApi) -> list[str]:
    return [request.query["query"] for request in server.requests]


# Servers.


def test_a_server_is_asked_with_its_credentials(server: FakeApi, source: Source, readings: Readings) -> None:
    always(server, matrix(CANARY, 7))
    found = readings.look(plan(RATE, it=source), state(), 100.0)
    assert list(found["success_rate"].canary.series.values()) == [(7.0, False)]
    assert server.requests[0].headers["Authorization"] == "Bearer hidden-token"


def test_gates_of_one_source_share_its_answer(server: FakeApi, source: Source, readings: Readings) -> None:
    always(server, matrix(CANARY, 7))
    begun = state(evidence={one: begun_evidence({}) for one in ("success_rate", "other")})
    found = readings.look(plan(RATE, gate(**{**SUCCESS_RATE, "id": "other"}), it=source), begun, 100.0)
    assert found["success_rate"] == found["other"]
    assert len(server.requests) == 1


def test_no_pods_are_listed_for_numbers_that_are_not_about_them(
    api: FakeApi, server: FakeApi, source: Source, readings: Readings
) -> None:
    always(server, NOTHING)
    readings.look(plan(RATE, it=source), state(), 100.0)
    assert api.requests == []


def test_a_server_that_is_down_is_no_data_for_its_gates_alone(
    api: FakeApi, server: FakeApi, source: Source, readings: Readings
) -> None:
    server.faults.append(Fault(drop="before", times=99))
    always(api, (LINE % ("200", 5)).encode(), "envoy-a:8002/proxy")
    pod(api, "envoy-a", path=ENVOYS)
    other = gate(**{**SUCCESS_RATE, "id": "direct", "source": "pods"})
    pods = Source(kind="direct", proxy="contour")
    found = readings.look(plan(RATE, other, it=source, pods=pods), state(), 100.0)
    assert found["success_rate"] == Reading(no_data=f"{server.url} does not answer (ConnectionError)")
    assert list(found["direct"].canary.series.values()) == [(5.0, False)]


@pytest.mark.parametrize("phase", [Phase.REVERTING, Phase.SUCCEEDED, Phase.FAILED])
def test_on_the_way_back_nobody_is_asked(
    api: FakeApi, server: FakeApi, source: Source, readings: Readings, phase: Phase
) -> None:
    assert readings.look(plan(RATE, RESTARTS, it=source), state(phase), 100.0) == {}
    assert server.requests == api.requests == []


# The first reading of a walk.


def begun_evidence(counters: dict[str, float]) -> Evidence:
    return fresh(RATE).model_copy(update={"canary": Arm(counters=counters, begun=True)})


def test_the_first_reading_has_the_past(server: FakeApi, source: Source, readings: Readings) -> None:
    server.faults.append(Fault(status=200, body=matrix(CANARY, 7)))
    values = [[0, "0"], [15, "40"], [30, "60"]]
    result = [{"metric": {"__name__": "envoy_cluster_upstream_rq", **STABLE}, "values": values}]
    always(server, json.dumps({"status": "success", "data": {"result": result}}).encode())
    first = readings.look(plan(RATE, it=source), state(), 100.0)["success_rate"]
    assert first.history == ((40, 0), (20, 0))
    assert [query[-5:] for query in queries(server)] == ["[90s]", "[30m]"]
    later = state(evidence={"success_rate": begun_evidence({})})
    assert readings.look(plan(RATE, it=source), later, 101.0)["success_rate"].history == ()
    assert len(server.requests) == 3


def test_a_past_that_cannot_be_had_is_none(server: FakeApi, source: Source, readings: Readings) -> None:
    server.faults.append(Fault(status=200, body=matrix(CANARY, 7)))
    server.faults.append(Fault(status=500, body=b"no"))
    first = readings.look(plan(RATE, it=source), state(), 100.0)["success_rate"]
    assert (first.history, first.no_data) == ((), None)


def test_before_traffic_moves_the_series_must_exist(server: FakeApi, source: Source, readings: Readings) -> None:
    always(server, NOTHING)
    for now in (100.0, 101.0, 106.0):
        found = readings.look(plan(RATE, it=source), state(Phase.PREPARING), now)
        assert found["success_rate"].no_data == f"{server.url} has no series of contour"
    assert len([query for query in queries(server) if query.startswith("count(")]) == 2, "every 5 s"


def test_before_traffic_moves_no_requests_are_an_answer(server: FakeApi, source: Source, readings: Readings) -> None:
    vector = b'{"status": "success", "data": {"result": [{"metric": {}, "value": [1, "2"]}]}}'
    server.faults.append(Fault(status=200, body=NOTHING))
    always(server, vector)
    assert readings.look(plan(RATE, it=source), state(Phase.PREPARING), 100.0)["success_rate"].no_data is None


# Numbers that came late.


def test_a_number_that_came_late_is_held(server: FakeApi, source: Source, readings: Readings) -> None:
    name = name_of("envoy_cluster_upstream_rq", CANARY)
    always(server, matrix(CANARY, 95))
    before = state(evidence={"success_rate": begun_evidence({name: 100.0})})
    found = readings.look(plan(RATE, it=source), before, 100.0)["success_rate"]
    assert found.canary.series == {name: (100.0, False)}
    anew = state(evidence={"success_rate": begun_evidence({name: 1000.0})})
    found = readings.look(plan(RATE, it=source), anew, 100.0)["success_rate"]
    assert found.canary.series == {name: (95.0, False)}


# Pods.

DIRECT = Source(kind="direct", proxy="contour")


def asked(api: FakeApi) -> list[str]:
    return [request.path for request in api.requests if "/proxy" in request.path]


def test_pods_are_asked_through_the_cluster(api: FakeApi, readings: Readings) -> None:
    for name in ("envoy-a", "envoy-b"):
        pod(api, name, path=ENVOYS)
    pod(api, "envoy-c", path=ENVOYS, phase="Pending")
    always(api, (LINE % ("503", 2)).encode(), "envoy-a:8002/proxy")
    always(api, (LINE % ("200", 8)).encode(), "envoy-b:8002/proxy")
    found = readings.look(plan(RATE, it=DIRECT), state(), 100.0)["success_rate"]
    assert sorted(found.canary.series.values()) == [(2.0, True), (8.0, False)]
    assert found.canary.at == 100.0
    assert asked(api) == [f"{ENVOYS}/{name}:8002/proxy/stats/prometheus" for name in ("envoy-a", "envoy-b")]
    [listing, first, _] = api.requests
    assert (listing.path, listing.query) == (ENVOYS, {"labelSelector": "app=envoy"})
    assert "shop-v2_9898" in first.query["filter"]
    assert first.headers["Accept"].startswith("text/plain")


def test_a_pod_that_does_not_answer_is_left_out_and_asked_last(
    api: FakeApi, readings: Readings, quick_retries: None
) -> None:
    for name in ("envoy-a", "envoy-b"):
        pod(api, name, path=ENVOYS)
    api.faults.append(Fault(path="envoy-a:8002/proxy", status=503, times=float("inf")))
    always(api, (LINE % ("200", 8)).encode(), "envoy-b:8002/proxy")
    for now in (100.0, 102.0):
        found = readings.look(plan(RATE, it=DIRECT), state(), now)["success_rate"]
        assert (list(found.canary.series.values()), found.no_data) == ([(8.0, False)], None)
    assert [path.rpartition("/pods/")[2][:7] for path in asked(api)] == ["envoy-a", "envoy-b", "envoy-b", "envoy-a"]


def test_without_any_answer_there_is_no_data(api: FakeApi, readings: Readings) -> None:
    pod(api, "envoy-a", path=ENVOYS)
    api.faults.append(Fault(path="envoy-a:8002/proxy", status=503, body=b"dial tcp: i/o timeout", times=9))
    found = readings.look(plan(RATE, it=DIRECT), state(), 100.0)["success_rate"]
    path = f"{ENVOYS}/envoy-a:8002/proxy/stats/prometheus"
    assert (found.no_data or "").startswith(f"GET {path}?usedonly&filter=")
    assert (found.no_data or "").endswith(": dial tcp: i/o timeout")


def test_a_look_does_not_wait_for_pods(
    api: FakeApi, readings: Readings, kube: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    for number in range(4):
        pod(api, f"envoy-{number}", path=ENVOYS)
    api.faults.append(Fault(path="envoy-0:8002/proxy", status=200, body=b"x", delay_seconds=0.2, times=1))
    always(api, (LINE % ("200", 8)).encode(), "proxy")
    found = readings.look(plan(RATE, it=DIRECT), state(), 100.0)["success_rate"]
    assert len(asked(api)) == 1
    assert found.no_data is None
    assert kube.hurried is False, "for pods alone"


def test_pods_are_asked_once_a_second(api: FakeApi, readings: Readings) -> None:
    pod(api, "envoy-a", path=ENVOYS)
    always(api, (LINE % ("200", 8)).encode(), "proxy")
    for tenths in range(0, 31, 5):
        assert readings.look(plan(RATE, it=DIRECT), state(), 100 + tenths / 10)["success_rate"].canary.series
    assert len(asked(api)) == 4
    assert len([request for request in api.requests if request.path == ENVOYS]) == 2, "listed every 3 s"


def test_many_pods_are_asked_less_often(api: FakeApi, readings: Readings) -> None:
    for number in range(12):
        pod(api, f"envoy-{number}", path=ENVOYS)
    always(api, (LINE % ("200", 8)).encode(), "proxy")
    ages = []
    for seconds in range(9):
        found = readings.look(plan(RATE, it=DIRECT), state(), 100.0 + seconds)["success_rate"]
        ages.append(100.0 + seconds - (found.canary.at or 0))
    assert ages == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert len(asked(api)) == 36


def test_the_applications_own_pods(api: FakeApi, readings: Readings) -> None:
    pod(api, "shop-v2-x", "v2")
    pod(api, "shop-v1-x", "v1")
    pod(api, "shop-v0-x", "v0")
    always(api, b'http_requests_total{status="200"} 3\n', "proxy")
    own = Source(kind="direct", proxy="app")
    found = readings.look(plan(RATE, it=own), state(), 100.0)["success_rate"]
    assert list(found.canary.pods.values()) == ["shop-v2-x"]
    assert list(found.stable.pods.values()) == ["shop-v1-x"]
    assert sorted(asked(api)) == [f"{PODS}/{name}:9898/proxy/metrics" for name in ("shop-v1-x", "shop-v2-x")]


def test_pods_elsewhere(api: FakeApi, readings: Readings) -> None:
    pod(api, "edge-1", path="/api/v1/namespaces/edge/pods")
    always(api, (LINE % ("200", 8)).encode(), "edge-1:9102/proxy/metrics")
    there = Source(kind="direct", proxy="contour", pods=Pods(namespace="edge", labels={"app": "envoy"}, port=9102))
    assert readings.look(plan(RATE, it=there), state(), 100.0)["success_rate"].canary.series


def test_a_proxy_elsewhere_is_what_it_usually_is_but_for_what_is_said(api: FakeApi, readings: Readings) -> None:
    pod(api, "edge-1", path="/api/v1/namespaces/edge/pods")
    pod(api, "shop-v2-x", "v2")
    always(api, (LINE % ("200", 8)).encode(), "edge-1:8002/proxy/stats/prometheus")
    written = {"successRate": {"minPercent": 99, "source": {"direct": "contour", "namespace": "edge"}}}
    there = compile_policy({"canary": {"gates": [written]}}, known("contour", ())).sources["direct-1"]
    assert readings.look(plan(RATE, it=there), state(), 100.0)["success_rate"].canary.series
    assert {request.path for request in api.requests if request.path.endswith("/pods")} == {
        "/api/v1/namespaces/edge/pods"
    }


def test_a_proxy_of_which_no_pod_runs_is_said_before_the_first_release_too(api: FakeApi, readings: Readings) -> None:
    """Only the application's own pods come with it."""
    there = Source(kind="direct", proxy="contour", pods=Pods(port=8002))
    own = Source(kind="direct", proxy="app", pods=Pods(port=9100))
    assert readings.preflight(plan(RATE, it=own)) == []
    [(_, reason)] = readings.preflight(plan(RATE, it=there))
    assert reason.startswith("gate success_rate: no pod")


def test_addresses_tell_versions_apart(api: FakeApi, server: FakeApi, source: Source, readings: Readings) -> None:
    pod(api, "shop-v2-x", "v2", podIP="10.1.0.7")
    pod(api, "shop-v1-x", "v1", podIP="10.1.0.9")
    labels = {"envoy_endpoint_address": "10.1.0.7:9898"}
    always(server, matrix(labels, 4, name="envoy_cluster_endpoint_rq_error"))
    gateway = source.model_copy(update={"proxy": "envoy-gateway"})
    found = readings.look(plan(RATE, it=gateway), state(), 100.0)["success_rate"]
    assert list(found.canary.series.values()) == [(4.0, True)]
    assert list(found.canary.pods.values()) == ["shop-v2-x"]


def test_a_cluster_that_does_not_list_pods_is_no_data(api: FakeApi, readings: Readings, quick_retries: None) -> None:
    api.faults.append(Fault(path="/pods$", status=403, body=b'{"message": "pods is forbidden"}', times=99))
    found = readings.look(plan(RATE, RESTARTS, it=DIRECT), state(), 100.0)
    assert found["success_rate"].no_data == f"GET {ENVOYS}: pods is forbidden"
    assert found["restarts"].no_data == f"GET {PODS}: pods is forbidden"


# Restarts.


def test_restarts_of_the_canarys_containers(api: FakeApi, readings: Readings) -> None:
    killed = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    failed = {"terminated": {"exitCode": 1}}
    pod(
        api,
        "shop-v2-x",
        "v2",
        containerStatuses=[
            {"name": "shop", "restartCount": 2, "lastState": killed, "state": {"running": {}}},
            {"name": "proxy", "restartCount": 0, "lastState": {}, "state": failed},
        ],
        initContainerStatuses=[{"name": "setup", "restartCount": 0, "state": {}}],
    )
    pod(api, "shop-v1-x", "v1", containerStatuses=[{"name": "shop", "restartCount": 9}])
    pod(api, "shop-v2-y", "v2")
    assert readings.look(plan(RESTARTS), state(), 100.0)["restarts"] == Reading(
        events={
            "shop-v2-x/setup": (0.0, ""),
            "shop-v2-x/shop": (2.0, "OOMKilled (exit code 137)"),
            "shop-v2-x/proxy": (0.0, "ended (exit code 1)"),
        }
    )


# Before anything moves.


def test_preflight_finds_nothing_wrong(server: FakeApi, source: Source, readings: Readings) -> None:
    always(server, b'{"status": "success", "data": {"result": [{"metric": {}, "value": [1, "2"]}]}}')
    assert readings.preflight(plan(RATE, RESTARTS, it=source), "v1") == []


def test_preflight_says_everything_at_once(api: FakeApi, server: FakeApi, source: Source, readings: Readings) -> None:
    always(server, NOTHING)
    stalled = gate(id="stalled", test="stalled", source="traefik")
    direct = gate(**{**SUCCESS_RATE, "id": "direct", "source": "pods"})
    traefik = source.model_copy(update={"proxy": "traefik"})
    wanted = plan(RATE, stalled, direct, it=source, traefik=traefik, pods=DIRECT)
    found = readings.preflight(wanted, "v1")
    assert [path for path, _ in found] == ["policy"] * 3
    assert found[0][1] == f"gate success_rate: {server.url} has no series of contour"
    assert found[1][1].startswith("gate stalled: traefik has no series for stalled; with it, the gates are: ")
    assert found[2][1].startswith("gate direct: no pod with app=envoy runs in namespace projectcontour: say where ")


def test_a_gateway_that_is_not_contours_is_said_with_the_way_out(api: FakeApi, readings: Readings) -> None:
    """A route of the Gateway API does not say who serves it, and Contour is only a guess."""
    [(_, reason)] = readings.preflight(plan(RATE, it=DIRECT), "v1")
    assert reason == (
        "gate success_rate: no pod with app=envoy runs in namespace projectcontour: say where they are with "
        "source=direct('contour', namespace=…), or name the proxy that serves the route in its place; there are: "
        "apisix, app, appmesh, contour, envoy-gateway, gloo, istio, istio-subsets, knative, kuma, linkerd, nginx, "
        "skipper, traefik"
    )
    [(_, own)] = readings.preflight(plan(RATE, it=Source(kind="direct", proxy="app")), "v1")
    assert own == "gate success_rate: no pod of the application runs in namespace prod"


def test_before_the_first_release_no_series_need_be_there(server: FakeApi, source: Source, readings: Readings) -> None:
    always(server, NOTHING)
    revision = gate(
        id="q", test="baseline", metric={"name": "query", "title": "q", "bad": 'x{r="$revision"}', "total": "x"}
    )
    assert readings.preflight(plan(RATE, revision, it=source)) == []
    server.faults.clear()
    server.faults.append(Fault(drop="before", times=9))
    [(_, reason), _] = readings.preflight(plan(RATE, revision, it=source))
    assert reason == f"gate success_rate: {server.url} does not answer (ConnectionError)"


def test_preflight_without_rights(api: FakeApi, readings: Readings) -> None:
    api.faults.append(Fault(path="/pods$", status=403, body=b'{"message": "pods is forbidden"}', times=99))
    assert readings.preflight(plan(RATE, it=DIRECT), "v1") == [
        ("policy", f"gate success_rate: GET {ENVOYS}: pods is forbidden")
    ]


def test_a_query_of_one_moment(server: FakeApi, source: Source, readings: Readings) -> None:
    """What is sent is one URL that a server can read."""
    always(server, NOTHING)
    readings.look(plan(RATE, it=source), state(evidence={"success_rate": begun_evidence({})}), 100.0)
    [request] = server.requests
    assert request.path == "/api/v1/query"
    assert request.query["query"].endswith('envoy_cluster_name=~"prod_shop-v2_9898|prod_shop_9898"}[90s]')
