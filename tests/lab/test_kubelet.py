"""Pods of the lab's kubelet, as a Deployment's user meets them.

Lives here: what `lab/kubelet` promises, on a real API server. Traffic to pods is tests/lab/test_forwarder.py's,
the sample application alone tests/lab/test_app.py's.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest

from lab import cluster
from tests.lab.inside import PODS, READINESS, Inside, condition, ready, state, waits

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def inside(whole: cluster.Lab) -> Inside:
    return Inside(whole)


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
    inside.create("probed", readinessProbe={**READINESS, "failureThreshold": 2})
    url = f"http://{inside.until('probed', ready)['status']['podIP']}:9898"
    inside.app("POST", f"{url}/readyz/disable")
    pod = inside.until("probed", lambda pod: not ready(pod))
    assert condition(pod)["reason"] == "ContainersNotReady"
    assert "app" in condition(pod)["message"]
    inside.app("POST", f"{url}/readyz/enable")
    assert "reason" not in condition(inside.until("probed", ready))
    inside.gone("probed")


ENVIRONMENT = [
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
MOUNTS = [
    {"name": "config", "mountPath": "/etc/app"},
    {"name": "keys", "mountPath": "/etc/keys"},
    {"name": "cache", "mountPath": "/cache"},
]
VOLUMES = [
    {"name": "config", "configMap": {"name": "settings"}},
    {"name": "keys", "secret": {"secretName": "hidden", "items": [{"key": "password", "path": "p/w"}]}},
    {"name": "cache", "emptyDir": {}},
]


def test_environment_and_volumes_are_the_pods_own(inside: Inside) -> None:
    objects = "/api/v1/namespaces/default"
    config = {"metadata": {"name": "settings"}, "data": {"colour": "blue", "app.yaml": "a: 1\n"}}
    inside.call("POST", f"{objects}/configmaps", config)
    hidden = {"metadata": {"name": "hidden"}, "data": {"password": secret("opensesame")}}
    inside.call("POST", f"{objects}/secrets", hidden)
    whole_map = [{"configMapRef": {"name": "settings"}, "prefix": "FROM_"}]
    inside.create("given", env=ENVIRONMENT, envFrom=whole_map, volumeMounts=MOUNTS, pod_volumes=VOLUMES)
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
    # The folder goes a moment after the object.
    deadline = time.monotonic() + 10
    while Path(seen["CONFIG"]).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
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
