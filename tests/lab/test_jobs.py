"""Jobs with a service account of their own, which talk to the API server from inside of the cluster.

Lives here: what the lab's kubelet and controllers promise to a Job. Pods without an account's rights are
tests/lab/test_kubelet.py's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import cluster
from tests.lab.inside import PODS, Inside, Json, ready, state

pytestmark = pytest.mark.lab

CORE = "/api/v1/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
IMAGE = "docker.io/alpine/kubectl:1.36.3"
SCRIPT = f"""
cd {ACCOUNT} && echo "files: $(ls)" && echo "namespace: $(cat namespace)"
kubectl get configmap allowed -o 'jsonpath={{.data.answer}}' > /tmp/$HOSTNAME || exit 1
echo "answer: $(cat /tmp/$HOSTNAME)"
kubectl get configmap other && exit 1
exit 0
"""
LOOP = ["/bin/sh", "-c", "while true; do sleep 0.1; done"]
LOCKED_DOWN = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def inside(whole: cluster.Lab) -> Inside:
    """With a service account that may read one ConfigMap by its name."""
    made = Inside(whole)
    for name, data in (("allowed", {"answer": "42"}), ("other", {"answer": "0"}), ("script", {"run.sh": SCRIPT})):
        made.call("POST", f"{CORE}/configmaps", {"metadata": {"name": name}, "data": data})
    named = {"metadata": {"name": "reader"}}
    made.call("POST", f"{CORE}/serviceaccounts", named)
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["allowed"], "verbs": ["get"]}
    made.call("POST", f"{RBAC}/roles", {**named, "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]
    made.call("POST", f"{RBAC}/rolebindings", {**named, "roleRef": role, "subjects": subjects})
    return made


def start(inside: Inside, name: str, command: list[str], **job: Any) -> None:
    """A Job of one pod, as strict as a cluster's policy may want it, with a script and a /tmp."""
    container = {
        "name": "main",
        "image": IMAGE,
        "command": command,
        "securityContext": LOCKED_DOWN,
        "volumeMounts": [{"name": "script", "mountPath": "/script"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "serviceAccountName": "reader",
        "restartPolicy": "OnFailure",
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "script", "configMap": {"name": "script"}}, {"name": "tmp", "emptyDir": {}}],
    }
    inside.call("POST", JOBS, {"metadata": {"name": name}, "spec": {"template": {"spec": pod}, **job}})


def pods_of(inside: Inside, job: str) -> list[Json]:
    return [pod for pod in inside.call("GET", PODS)["items"] if pod["metadata"]["name"].startswith(f"{job}-")]


def eventually(look: Callable[[], Any], seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen


def running(inside: Inside, job: str) -> str:
    """The name of the Job's pod, once that is ready."""
    pod = eventually(lambda: next((pod for pod in pods_of(inside, job) if ready(pod)), None))
    return str(pod["metadata"]["name"])


def counts(inside: Inside, job: str) -> tuple[int, int, int]:
    status = inside.call("GET", f"{JOBS}/{job}")["status"]
    return status.get("active", 0), status.get("ready", 0), status.get("failed", 0)


def finished(inside: Inside, job: str) -> Json | None:
    conditions = inside.call("GET", f"{JOBS}/{job}")["status"].get("conditions", ())
    ends = (one for one in conditions if one["type"] in ("Complete", "Failed") and one["status"] == "True")
    return next(ends, None)


def test_a_job_may_do_what_its_role_says_and_nothing_else(inside: Inside) -> None:
    """The paths are written in a file, where no replacement reaches them: the mounts are real."""
    start(inside, "reads", ["/bin/sh", "/script/run.sh"], backoffLimit=0, ttlSecondsAfterFinished=1)
    name = eventually(lambda: pods_of(inside, "reads"))[0]["metadata"]["name"]
    end = eventually(lambda: finished(inside, "reads"))
    said = inside.log(name)
    assert end["type"] == "Complete", said
    assert "files: ca.crt\nnamespace\ntoken\nnamespace: default\nanswer: 42\n" in said
    assert 'configmaps "other" is forbidden: User "system:serviceaccount:default:reader" cannot get' in said
    assert not Path("/tmp", name).exists(), "the container's /tmp is its own"
    eventually(lambda: not any(job["metadata"]["name"] == "reads" for job in inside.call("GET", JOBS)["items"]))
    eventually(lambda: not pods_of(inside, "reads"))


def test_a_killed_job_goes_on_and_a_deleted_one_ends(inside: Inside) -> None:
    start(inside, "lasts", LOOP, backoffLimit=100)
    name = running(inside, "lasts")
    eventually(lambda: counts(inside, "lasts") == (1, 1, 0))
    os.kill(first := inside.process(name), signal.SIGKILL)
    pod = inside.until(name, lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1 and ready(pod))
    ended = state(pod, "lastState")["terminated"]
    assert (ended["exitCode"], ended["signal"]) == (137, 9)
    second = inside.process(name)
    assert second != first
    assert pod["status"]["phase"] == "Running"
    eventually(lambda: counts(inside, "lasts") == (1, 1, 0))
    began = time.monotonic()
    inside.call("DELETE", f"{JOBS}/lasts", {"propagationPolicy": "Background"})
    eventually(lambda: not Path(f"/proc/{second}").exists(), seconds=5)
    eventually(lambda: not pods_of(inside, "lasts"), seconds=5)
    print(f"gone after {time.monotonic() - began:.2f} s")


def test_a_job_that_takes_too_long_is_ended(inside: Inside) -> None:
    start(inside, "late", LOOP, activeDeadlineSeconds=1)
    process = inside.process(running(inside, "late"))
    end = eventually(lambda: finished(inside, "late"))
    assert (end["type"], end["reason"]) == ("Failed", "DeadlineExceeded")
    eventually(lambda: not Path(f"/proc/{process}").exists(), seconds=5)
    assert counts(inside, "late")[:2] == (0, 0)
    inside.call("DELETE", f"{JOBS}/late", {"propagationPolicy": "Background"})


def test_an_account_is_only_given_to_those_who_want_it(inside: Inside) -> None:
    words = {"image": IMAGE, "readinessProbe": None, "pod_restartPolicy": "Never", "command": ["ls", "-A", ACCOUNT]}
    inside.create("with", **words)
    inside.create("without", pod_automountServiceAccountToken=False, **words)
    for name, said in (("with", "ca.crt\nnamespace\ntoken\n"), ("without", "")):
        pod = inside.until(name, lambda pod: pod["status"]["phase"] == "Succeeded")
        assert inside.log(name) == said
        assert bool(pod["spec"].get("volumes")) is bool(said)
        inside.gone(name)


@pytest.mark.parametrize("image", [IMAGE, "registry.k8s.io/kubectl:v1.36.3"], ids=["alpine", "kubernetes"])
def test_the_image_without_a_command_is_kubectl(inside: Inside, image: str) -> None:
    inside.create("bare", image=image, args=["version"], readinessProbe=None, pod_restartPolicy="Never")
    inside.until("bare", lambda pod: pod["status"]["phase"] == "Succeeded")
    said = inside.log("bare")
    assert "Client Version: v1.36.3" in said and "Server Version: v1.36.3" in said
    inside.gone("bare")
