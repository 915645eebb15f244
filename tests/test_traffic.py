"""How much traffic an application gets, by two readings: of a server a minute apart, of pods a second apart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pulumi_rollout import readings as module
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.forecast import Traffic
from pulumi_rollout.core.measures import Gate, Source
from pulumi_rollout.core.plan import Plan, Step
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.readings import Readings
from tests.fake_api import FakeApi, Fault
from tests.metrics_fixtures import SUCCESS_RATE, gate

ENVOYS = "/api/v1/namespaces/projectcontour/pods"
INPUTS = {
    "app": "shop",
    "namespace": "prod",
    "revision": {"hash": "v2", "port": 9898, "replicas": 2},
    "route": {"router": "gateway", "objects": []},
    "policy": {},
}
RATE = gate(**SUCCESS_RATE)
BESIDE = gate(id="beside", test="baseline", metric={"name": "success_rate"})
STALLED, RESTARTS = gate(id="stalled", test="stalled"), gate(id="restarts", test="restarts", source=None)
DIRECT = Source(kind="direct", proxy="contour")
STEP = Step(weight_percent=10, interval_seconds=1, max_wait_seconds=60)
# Of the old version; the new one has none yet.
LINE = 'envoy_cluster_upstream_rq{envoy_response_code="%s",envoy_cluster_name="prod_shop_9898"} %s\n'


def plan(*gates: Gate, **sources: Source) -> Plan:
    return Plan(steps=(STEP,), gates=gates, sources=sources)


@pytest.fixture
def server() -> Iterator[FakeApi]:
    """A metrics server."""
    with FakeApi() as made:
        yield made


@pytest.fixture
def source(server: FakeApi) -> Source:
    return Source(kind="prometheus", address=server.url, proxy="contour")


@pytest.fixture
def readings(kube: Cluster) -> Readings:
    return Readings(Inputs.model_validate(INPUTS), kube, Http())


def matrix(at: float, **by_code: float) -> bytes:
    """Requests of the old version by status, as Prometheus knows them."""
    result = [
        {
            "metric": {
                "__name__": "envoy_cluster_upstream_rq",
                "envoy_cluster_name": "prod_shop_9898",
                "envoy_response_code": code.removeprefix("of_"),
            },
            "values": [[at - 15, "1"], [at, str(value)]],
        }
        for code, value in by_code.items()
    ]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()


def answers(api: FakeApi, *bodies: bytes, path: str = ".*") -> None:
    """One after another."""
    api.faults += [Fault(path=path, status=200, body=body) for body in bodies]


def envoy(api: FakeApi, name: str, *numbers: tuple[int, int]) -> None:
    """One Envoy, and its good and bad requests at each time that it is asked."""
    api.put(
        f"{ENVOYS}/{name}",
        {"metadata": {"labels": {"app": "envoy"}, "namespace": "projectcontour"}, "status": {"phase": "Running"}},
    )
    answers(api, *((LINE % ("200", good) + LINE % ("503", bad)).encode() for good, bad in numbers), path=name)


def asked(api: FakeApi) -> int:
    return len([request for request in api.requests if "/proxy" in request.path])


# A server remembers.


def test_a_server_is_asked_what_it_knew_a_minute_ago(server: FakeApi, source: Source, readings: Readings) -> None:
    answers(server, matrix(1000, of_200=5000, of_503=10), matrix(1060, of_200=5990, of_503=20))
    begun = time.time()
    found = readings.traffic(plan(RATE, it=source), "v1")
    assert found == Traffic(requests=1000, seconds=60, bad_ratio={"success_rate": 0.01})
    assert time.time() - begun < 0.9, "nobody waits for it"
    earlier, now = server.requests
    assert abs(float(earlier.query["time"]) - (begun - 60)) < 2
    assert "time" not in now.query
    assert earlier.query["query"] == now.query["query"]


def test_seconds_are_those_between_the_numbers(server: FakeApi, source: Source, readings: Readings) -> None:
    """What a scrape has said last is some seconds old, each time another number of them."""
    answers(server, matrix(1007, of_200=100), matrix(1052, of_200=190))
    assert readings.traffic(plan(RATE, it=source), "v1") == Traffic(
        requests=90, seconds=45, bad_ratio={"success_rate": 0.0}
    )


def test_a_counter_that_began_anew_counts_from_zero(server: FakeApi, source: Source, readings: Readings) -> None:
    answers(server, matrix(1000, of_200=5000), matrix(1060, of_200=30))
    assert readings.traffic(plan(RATE, it=source), "v1") == Traffic(
        requests=30, seconds=60, bad_ratio={"success_rate": 0.0}
    )


def test_series_that_rest_are_no_traffic(server: FakeApi, source: Source, readings: Readings) -> None:
    """Which is known, and leaves no share of bad requests to know."""
    answers(server, matrix(1000, of_200=5000), matrix(1060, of_200=5000))
    assert readings.traffic(plan(RATE, it=source), "v1") == Traffic(requests=0, seconds=60)


NOTHING = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": []}}).encode()
UNKNOWN: dict[str, tuple[bytes, ...]] = {
    "no series a minute ago": (NOTHING, matrix(1060, of_200=5)),
    "no series now": (matrix(1000, of_200=5), NOTHING),
    "no new number since": (matrix(1000, of_200=5), matrix(1000, of_200=5)),
    "no answer that makes sense": (b'{"hello": 1}', b'{"hello": 1}'),
}


@pytest.mark.parametrize("bodies", UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_told_is_not_guessed(
    server: FakeApi, source: Source, readings: Readings, bodies: tuple[bytes, ...]
) -> None:
    answers(server, *bodies)
    assert readings.traffic(plan(RATE, it=source), "v1") is None


def test_a_server_that_is_down_is_no_traffic_that_is_known(server: FakeApi, source: Source, readings: Readings) -> None:
    server.faults.append(Fault(drop="before", times=99))
    assert readings.traffic(plan(RATE, it=source), "v1") is None


def test_each_gate_knows_its_own_share_of_bad_requests(server: FakeApi, source: Source, readings: Readings) -> None:
    answers(server, matrix(1000, of_200=0, of_503=0), matrix(1060, of_200=90, of_503=10))
    found = readings.traffic(plan(RATE, BESIDE, it=source), "v1")
    assert found == Traffic(requests=100, seconds=60, bad_ratio={"success_rate": 0.1, "beside": 0.1})
    assert len(server.requests) == 2, "gates of one source share its answers"


# Pods know only the present.


def test_pods_are_asked_twice_a_second_apart(api: FakeApi, readings: Readings) -> None:
    envoy(api, "envoy-a", (100, 0), (140, 0))
    envoy(api, "envoy-b", (50, 0), (55, 5))
    begun = time.monotonic()
    found = readings.traffic(plan(RATE, it=DIRECT), "v1")
    assert found is not None
    assert (found.requests, found.bad_ratio) == (50, {"success_rate": 0.1})
    assert module.BETWEEN_SECONDS == 1 <= time.monotonic() - begun
    assert 1 <= found.seconds < 3
    assert asked(api) == 4


def test_pods_that_do_not_answer_are_left_out(api: FakeApi, readings: Readings) -> None:
    envoy(api, "envoy-a", (100, 0), (140, 0))
    envoy(api, "envoy-b")
    found = readings.traffic(plan(RATE, it=DIRECT), "v1")
    assert found is not None
    assert found.requests == 40


def test_a_pod_that_answers_only_the_second_time_has_not_had_all_since_then(api: FakeApi, readings: Readings) -> None:
    envoy(api, "envoy-a", (100, 0), (140, 0))
    api.faults.append(Fault(path="envoy-b", status=503, body=b"{}"))
    envoy(api, "envoy-b", (1_000_000, 0))
    found = readings.traffic(plan(RATE, it=DIRECT), "v1")
    assert found is not None
    assert found.requests == 40


def test_the_cluster_may_refuse_to_say_which_pods_there_are(
    api: FakeApi, readings: Readings, quick_retries: None
) -> None:
    api.faults.append(Fault(path="/pods$", status=403, times=99))
    assert readings.traffic(plan(RATE, it=DIRECT), "v1") is None


# Several sources.


def test_of_several_sources_the_most_counts(
    api: FakeApi, server: FakeApi, source: Source, readings: Readings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that sees only some of the requests must not make a plan look hopeless."""
    monkeypatch.setattr(module, "BETWEEN_SECONDS", 0.05)
    answers(server, matrix(1000, of_200=0), matrix(1060, of_200=6))
    envoy(api, "envoy-a", (100, 0), (900, 0))
    other = gate(**{**SUCCESS_RATE, "id": "other", "source": "pods"})
    found = readings.traffic(plan(RATE, other, it=source, pods=DIRECT), "v1")
    assert found is not None
    assert (found.requests, found.bad_ratio) == (800, {"success_rate": 0.0, "other": 0.0})


def test_a_source_that_cannot_tell_does_not_hide_another(
    api: FakeApi, server: FakeApi, source: Source, readings: Readings, quick_retries: None
) -> None:
    api.faults.append(Fault(path="/pods$", status=403, times=99))
    answers(server, matrix(1000, of_200=0), matrix(1060, of_200=6))
    other = gate(**{**SUCCESS_RATE, "id": "other", "source": "pods"})
    assert readings.traffic(plan(other, RATE, it=source, pods=DIRECT), "v1") == Traffic(
        requests=6, seconds=60, bad_ratio={"success_rate": 0.0}
    )


@pytest.mark.parametrize("gates", [(), (RESTARTS,), (STALLED, RESTARTS)], ids=["none", "restarts", "stalled"])
def test_where_nobody_counts_requests_nobody_is_asked(
    api: FakeApi, server: FakeApi, source: Source, readings: Readings, gates: tuple[Any, ...]
) -> None:
    begun = time.monotonic()
    assert readings.traffic(plan(*gates, it=source), "v1") is None
    assert server.requests == api.requests == []
    assert time.monotonic() - begun < 0.9
