"""Services of the lab's forwarder under traffic: what their users see while pods come and go.

Lives here: what `lab/forwarder.py` promises, together with the kubelet's farewell to a pod.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import requests

from lab import cluster, load
from tests.lab.inside import APP, READINESS, Inside, ready

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def inside(whole: cluster.Lab) -> Inside:
    return Inside(whole)


def deploy(inside: Inside, name: str, image: str = APP, **env: str) -> None:
    """Two replicas, whose Service is made by `expose`."""
    labels = {"app": name}
    container = {
        "name": "app",
        "image": image,
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"name": "http", "containerPort": 9898}],
        "readinessProbe": READINESS,
    }
    spec = {"terminationGracePeriodSeconds": 10, "containers": [container]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    path = "/apis/apps/v1/namespaces/default/deployments"
    inside.call("POST", path, {"metadata": {"name": name}, "spec": body})
    await_replicas(inside, name)


def await_replicas(inside: Inside, name: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        found = inside.call("GET", f"/apis/apps/v1/namespaces/default/deployments/{name}")
        status = found["status"]
        current = status.get("observedGeneration") == found["metadata"]["generation"]
        counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
        if current and counts == [2, 2, 2]:
            return
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def expose(inside: Inside, name: str, selector: str) -> str:
    """A Service, and its URL once it answers."""
    spec = {"selector": {"app": selector}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}
    body = {"metadata": {"name": name}, "spec": spec}
    made = inside.call("POST", "/api/v1/namespaces/default/services", body)
    url = f"http://{made['spec']['clusterIP']}"
    deadline = time.monotonic() + 5
    while True:
        try:
            assert inside.app("GET", f"{url}/version").ok
            return url
        except requests.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_replacing_all_pods_under_load_loses_nothing(inside: Inside, tmp_path: Path) -> None:
    deploy(inside, "steady", GRACE_SECONDS="3")
    url = expose(inside, "steady", "steady")
    path = "/apis/apps/v1/namespaces/default/deployments/steady"
    streams = [f"short={url}/stream?seconds=3", f"long={url}/stream?seconds=60"]
    prefix = inside.lab.command()
    with load.running(prefix, tmp_path / "out", [f"apex={url}/"], rate=100, streams=streams) as out:
        time.sleep(0.5)
        newer = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": APP[:-1] + "1"}]}}}}
        inside.call("PATCH", path, newer, kind="strategic-merge-patch+json")
        await_replicas(inside, "steady")
        deadline = time.monotonic() + 15
        while len([record for record in load.read(out) if record.stream]) < 2:
            assert time.monotonic() < deadline, "a stream outlived its server's grace"
            time.sleep(0.1)
    records = load.read(out)
    ends = {record.target: record.stream.end for record in records if record.stream}
    assert [record for record in records if record.failed] == []
    assert {record.version for record in records} == {"6.3.0", "6.3.1"}
    assert ends == {"short": "complete", "long": "bye"}
    inside.call("DELETE", path)


def test_a_moved_selector_matters_to_new_connections_only(inside: Inside, tmp_path: Path) -> None:
    deploy(inside, "old")
    deploy(inside, "new", image=APP[:-1] + "1")
    url = expose(inside, "apex", "old")
    streams = [f"stream={url}/stream?seconds=3"]
    with load.running(inside.lab.command(), tmp_path / "out", [f"apex={url}/"], streams=streams) as out:
        time.sleep(0.5)
        move = {"spec": {"selector": {"app": "new"}}}
        service = "/api/v1/namespaces/default/services/apex"
        inside.call("PATCH", service, move, kind="merge-patch+json")
        moved = time.monotonic()
        # `inside.app` keeps its connection, so each look uses a session of its own.
        while fresh(inside, f"{url}/version") != "6.3.1":
            assert time.monotonic() - moved < 2.4, "the stream has to be there still"
            time.sleep(0.02)
        while not any(record.stream for record in load.read(out)):
            assert time.monotonic() - moved < 5
            time.sleep(0.05)
    records = load.read(out)
    assert [record for record in records if record.failed] == []
    stream = next(record for record in records if record.stream)
    assert (stream.version, stream.stream and stream.stream.end) == ("6.3.0", "complete")
    for name in ("old", "new"):
        inside.call("DELETE", f"/apis/apps/v1/namespaces/default/deployments/{name}")


def fresh(inside: Inside, url: str) -> str | None:
    """The version that answers on a new connection."""
    inside._plain.close()
    return inside.app("GET", url).headers.get("X-Version")


def test_without_a_ready_endpoint_a_connection_fails_at_once(inside: Inside) -> None:
    inside.create("alone", readinessProbe={**READINESS, "failureThreshold": 1})
    address = inside.until("alone", ready)["status"]["podIP"]
    url = expose(inside, "alone", "alone")
    inside.app("POST", f"http://{address}:9898/readyz/disable")
    inside.until("alone", lambda pod: not ready(pod))
    deadline = time.monotonic() + 3
    while True:
        began = time.monotonic()
        try:
            fresh(inside, f"{url}/version")
        except requests.ConnectionError:
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert time.monotonic() - began < 0.5
    inside.gone("alone")
