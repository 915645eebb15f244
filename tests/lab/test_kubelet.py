"""Pods of the lab's kubelet and Services of its forwarder, as a Deployment's user meets them.

Lives here: what `lab/kubelet` and `lab/forwarder.py` promise, on a real API server. The sample
application alone is tests/lab/test_app.py's.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from lab import cluster, load
from lab.objects import SERVER, connect

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
APP = "ghcr.io/stefanprodan/podinfo:6.3.0"
pytestmark = pytest.mark.lab
READINESS = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1}


class Inside:
    """The cluster from inside its lab's network: every call runs in a thread that lives there."""

    def __init__(self, lab: cluster.Lab) -> None:
        self.lab = lab
        self._thread = ThreadPoolExecutor(1, initializer=lab.enter)
        self._session = connect(lab.kubeconfig).session
        self._plain = requests.Session()
        self._plain.trust_env = False

    def call(self, method: str, path: str, body: Json | None = None, kind: str = "json") -> Json:
        work = self._thread.submit(
            self._session.request,
            method,
            SERVER + path,
            json=body,
            headers={"Content-Type": f"application/{kind}"},
            timeout=10,
        )
        assert work.result().ok, work.result().text
        return dict(work.result().json())

    def app(self, method: str, url: str, body: Json | None = None) -> requests.Response:
        return self._thread.submit(self._plain.request, method, url, json=body, timeout=5).result()

    def pod(self, name: str) -> Json:
        return self.call("GET", f"{PODS}/{name}")

    def create(self, name: str, **container: Any) -> Json:
        """A pod of one container; `pod_…` arguments belong to the pod's spec."""
        spec = {key.removeprefix("pod_"): container.pop(key) for key in [*container] if key.startswith("pod_")}
        ports = [{"name": "http", "containerPort": 9898}]
        container = {"name": "app", "image": APP, "ports": ports, "readinessProbe": READINESS, **container}
        spec = {"terminationGracePeriodSeconds": 1, "containers": [container], **spec}
        return self.call("POST", PODS, {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec})

    def until(self, name: str, what: Callable[[Json], Any], seconds: float = 10) -> Json:
        deadline = time.monotonic() + seconds
        while not what(pod := self.pod(name)):
            assert time.monotonic() < deadline, pod["status"]
            time.sleep(0.02)
        return pod

    def gone(self, name: str, seconds: float = 10) -> None:
        """Delete a pod and wait until there is none of that name."""
        self.call("DELETE", f"{PODS}/{name}")
        deadline = time.monotonic() + seconds
        while any(pod["metadata"]["name"] == name for pod in self.call("GET", PODS)["items"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    name = f"test-kubelet-{os.getpid()}"
    try:
        yield Inside(cluster.up(name, parts=("kubelet", "forwarder")))
    finally:
        cluster.down(name)


def state(pod: Json, key: str = "state") -> Json:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return dict(statuses[0].get(key) or {})


def waits(reason: str) -> Callable[[Json], bool]:
    return lambda pod: state(pod).get("waiting", {}).get("reason") == reason


def condition(pod: Json, kind: str = "Ready") -> Json:
    return next((one for one in pod["status"].get("conditions", ()) if one["type"] == kind), {})


def ready(pod: Json) -> bool:
    return condition(pod).get("status") == "True"


def secret(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_pod_is_ready_soon_and_says_all_that_a_deployment_looks_at(inside: Inside) -> None:
    inside.create("warm")
    inside.until("warm", ready)
    began = time.monotonic()
    inside.create("soon")
    pod = inside.until("soon", ready)
    took = time.monotonic() - began
    print(f"ready after {took:.2f} s")
    assert took < 3
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"].startswith("10.44.")
    assert pod["status"]["podIP"] != inside.pod("warm")["status"]["podIP"]
    assert condition(pod, "ContainersReady")["status"] == "True"
    assert state(pod)["running"]["startedAt"]
    inside.gone("warm")
    inside.gone("soon")


def test_readiness_follows_the_probe_both_ways(inside: Inside) -> None:
    inside.create("probed")
    url = f"http://{inside.until('probed', ready)['status']['podIP']}:9898"
    inside.app("POST", f"{url}/readyz/disable")
    pod = inside.until("probed", lambda pod: not ready(pod))
    assert condition(pod)["reason"] == "ContainersNotReady"
    assert "app" in condition(pod)["message"]
    inside.app("POST", f"{url}/readyz/enable")
    assert "reason" not in condition(inside.until("probed", ready))
    inside.gone("probed")


def test_environment_and_volumes_are_the_pods_own(inside: Inside) -> None:
    objects = "/api/v1/namespaces/default"
    config = {"metadata": {"name": "settings"}, "data": {"colour": "blue", "app.yaml": "a: 1\n"}}
    inside.call("POST", f"{objects}/configmaps", config)
    hidden = {"metadata": {"name": "hidden"}, "data": {"password": secret("opensesame")}}
    inside.call("POST", f"{objects}/secrets", hidden)
    env = [
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "password"}}},
        {"name": "MY_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MY_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "GREETING", "value": "$(MY_NAME) in $(COLOUR), $$(COLOUR)"},
        {"name": "CONFIG", "value": "/etc/app/app.yaml"},
        {"name": "OTHER", "value": "/etc/app-other/x:/etc/app/sub:/var/etc/app"},
        {"name": "KEYS", "value": "/etc/keys"},
    ]
    inside.create(
        "given",
        env=env,
        envFrom=[{"configMapRef": {"name": "settings"}, "prefix": "FROM_"}],
        volumeMounts=[
            {"name": "config", "mountPath": "/etc/app"},
            {"name": "keys", "mountPath": "/etc/keys"},
            {"name": "cache", "mountPath": "/cache"},
        ],
        pod_volumes=[
            {"name": "config", "configMap": {"name": "settings"}},
            {
                "name": "keys",
                "secret": {"secretName": "hidden", "items": [{"key": "password", "path": "p/w"}]},
            },
            {"name": "cache", "emptyDir": {}},
        ],
    )
    address = inside.until("given", ready)["status"]["podIP"]
    seen = inside.app("GET", f"http://{address}:9898/env").json()
    assert seen["POD_IP"] == seen["MY_IP"] == address
    assert (seen["VERSION"], seen["MY_NAME"], seen["MY_NAMESPACE"]) == ("6.3.0", "given", "default")
    assert (seen["COLOUR"], seen["PASSWORD"], seen["FROM_colour"]) == ("blue", "opensesame", "blue")
    assert seen["GREETING"] == "given in blue, $(COLOUR)"
    assert Path(seen["CONFIG"]).read_text() == "a: 1\n"
    assert (Path(seen["KEYS"]) / "p/w").read_text() == "opensesame"
    other, moved, nested = seen["OTHER"].split(":")
    assert (other, nested) == ("/etc/app-other/x", "/var/etc/app")
    assert moved == f"{Path(seen['CONFIG']).parent}/sub"
    assert "KUBECONFIG" not in seen, "nothing of the machine's own environment reaches a pod"
    inside.gone("given")
    assert not Path(seen["CONFIG"]).exists()


def test_what_is_missing_is_named_and_awaited(inside: Inside) -> None:
    inside.create("lacking", envFrom=[{"configMapRef": {"name": "later"}}])
    pod = inside.until("lacking", waits("CreateContainerConfigError"))
    assert 'configmaps "later" not found' in state(pod)["waiting"]["message"]
    assert pod["status"]["phase"] == "Pending"
    inside.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "later"}})
    inside.until("lacking", ready)
    inside.gone("lacking")


def test_an_unknown_image_cannot_be_pulled(inside: Inside) -> None:
    inside.create("strange", image="ghcr.io/stefanprodan/podimfo:6.3.0")
    pod = inside.until("strange", waits("ImagePullBackOff"))
    assert "ghcr.io/stefanprodan/podimfo: not found" in state(pod)["waiting"]["message"]
    assert pod["status"]["phase"] == "Pending"
    inside.gone("strange")


@pytest.mark.parametrize(
    ("fault", "code", "reason"), [("CRASH", 1, "Error"), ("OOM", 137, "OOMKilled")], ids=["crash", "memory"]
)
def test_a_process_that_ends_is_started_again_ever_later(inside: Inside, fault: str, code: int, reason: str) -> None:
    name = f"ends-{fault.lower()}"
    inside.create(name, env=[{"name": f"{fault}_AFTER_SECONDS", "value": "0.3"}])
    pod = inside.until(name, waits("CrashLoopBackOff"))
    ended = state(pod, "lastState")["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    assert "back-off 1s" in state(pod)["waiting"]["message"]
    assert not ready(pod)
    again = inside.until(name, lambda pod: "back-off 2s" in state(pod).get("waiting", {}).get("message", ""))
    assert again["status"]["containerStatuses"][0]["restartCount"] == 1
    inside.gone(name)


def test_a_pod_that_never_gets_ready_runs_on(inside: Inside) -> None:
    inside.create("never", env=[{"name": "NEVER_READY", "value": "1"}])
    inside.until("never", lambda pod: "running" in state(pod))
    time.sleep(1.5)
    pod = inside.pod("never")
    assert pod["status"]["phase"] == "Running" and not ready(pod)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    inside.gone("never")


def test_a_hanging_process_is_restarted_by_its_liveness_probe(inside: Inside) -> None:
    alive = {"httpGet": {"path": "/healthz", "port": 9898}, "periodSeconds": 1, "failureThreshold": 1}
    inside.create("hangs", livenessProbe=alive, env=[{"name": "GRACE_SECONDS", "value": "0.2"}])
    url = f"http://{inside.until('hangs', ready)['status']['podIP']}:9898"
    inside.app("POST", f"{url}/faults", {"HANG": 1})
    inside.until("hangs", lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1)
    inside.until("hangs", ready)
    inside.gone("hangs")


def test_the_other_probes_wait_for_the_startup_probe(inside: Inside) -> None:
    slow = {"name": "SLOW_START_SECONDS", "value": "1.5"}
    startup = {**READINESS, "failureThreshold": 10}
    impatient = {**READINESS, "failureThreshold": 1}
    inside.create("slow", env=[slow], startupProbe=startup, livenessProbe=impatient)
    pod = inside.until("slow", ready)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    inside.gone("slow")


def test_a_pod_that_fits_no_node_says_so_and_can_be_helped(inside: Inside) -> None:
    inside.create("picky", pod_nodeSelector={"disk": "ssd"})
    pod = inside.until("picky", lambda pod: condition(pod, "PodScheduled").get("status") == "False")
    assert condition(pod, "PodScheduled")["reason"] == "Unschedulable"
    assert "0/1 nodes are available" in condition(pod, "PodScheduled")["message"]
    assert pod["status"]["phase"] == "Pending"
    label = {"metadata": {"labels": {"disk": "ssd"}}}
    inside.call("PATCH", "/api/v1/nodes/lab", label, kind="merge-patch+json")
    inside.until("picky", ready)
    inside.gone("picky")


def test_a_finished_job_is_not_started_again(inside: Inside) -> None:
    words = {"image": "busybox", "readinessProbe": None, "pod_restartPolicy": "Never"}
    inside.create("good", command=["sh", "-c", "exit 0"], **words)
    inside.create("bad", command=["sh", "-c", "exit 3"], **words)
    assert inside.until("good", lambda pod: pod["status"]["phase"] == "Succeeded")
    pod = inside.until("bad", lambda pod: pod["status"]["phase"] == "Failed")
    assert state(pod)["terminated"]["exitCode"] == 3
    inside.gone("good")
    inside.gone("bad")


def test_init_containers_are_refused_in_words(inside: Inside) -> None:
    inside.create("prepared", pod_initContainers=[{"name": "first", "image": "busybox"}])
    pod = inside.until("prepared", waits("InitContainersUnsupported"))
    assert "no init containers" in state(pod)["waiting"]["message"]
    inside.gone("prepared")


def test_a_deleted_pod_is_unready_at_once_and_killed_when_its_grace_is_over(inside: Inside) -> None:
    stubborn = ["sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]
    inside.create("stubborn", image="busybox", command=stubborn, readinessProbe=None)
    inside.until("stubborn", ready)
    time.sleep(0.3)  # for the shell to set its trap
    began = time.monotonic()
    inside.call("DELETE", f"{PODS}/stubborn", {"gracePeriodSeconds": 2})
    pod = inside.until("stubborn", lambda pod: not ready(pod))
    assert pod["metadata"]["deletionTimestamp"] and time.monotonic() - began < 1
    inside.gone("stubborn")
    assert 1.9 < time.monotonic() - began < 4


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
    deploy(inside, "steady", GRACE_SECONDS="4")
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
            assert time.monotonic() - moved < 3
            time.sleep(0.02)
        time.sleep(3)
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
    inside.create("alone")
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
