"""A lab's cluster from inside its network, for tests that make pods there and look at them.

Lives here: the calls, and what a pod's status says. What is expected of it is not.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import requests

from lab import cluster
from lab.objects import SERVER, connect

Json = dict[str, Any]
T = TypeVar("T")
PODS = "/api/v1/namespaces/default/pods"
APP = "ghcr.io/stefanprodan/podinfo:6.3.0"
READINESS = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1}


class Inside:
    """The cluster from inside its lab's network: every call runs in a thread that lives there."""

    def __init__(self, lab: cluster.Lab) -> None:
        self.lab = lab
        self._thread = ThreadPoolExecutor(1, initializer=lab.enter)
        self._session = connect(lab.kubeconfig).session
        self._plain = requests.Session()
        self._plain.trust_env = False

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the lab's network."""
        return self._thread.submit(function, *args).result()

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

    def log(self, name: str) -> str:
        """All that the pod's one container has said."""
        logs = (self.lab.directory / "pods" / "logs").glob(f"default_{name}_{self.pod(name)['metadata']['uid']}_*.log")
        return next(logs).read_text()

    def process(self, name: str) -> int:
        """The process of the pod's one container, by its id out here."""
        home = f"default_{name}_{self.pod(name)['metadata']['uid']}"
        for path in Path("/proc").glob("[0-9]*"):
            # Others may end while we look; what the process has started is not the first of its session.
            with contextlib.suppress(OSError):
                if (path / "cwd").readlink().name == home and os.getsid(int(path.name)) == int(path.name):
                    return int(path.name)
        raise AssertionError(f"{name} has no process")

    def gone(self, name: str, seconds: float = 10) -> None:
        """Delete a pod and wait until there is none of that name."""
        self.call("DELETE", f"{PODS}/{name}")
        deadline = time.monotonic() + seconds
        while any(pod["metadata"]["name"] == name for pod in self.call("GET", PODS)["items"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def state(pod: Json, key: str = "state") -> Json:
    statuses = pod["status"].get("containerStatuses") or [{}]
    return dict(statuses[0].get(key) or {})


def waits(reason: str) -> Callable[[Json], bool]:
    return lambda pod: state(pod).get("waiting", {}).get("reason") == reason


def condition(pod: Json, kind: str = "Ready") -> Json:
    return next((one for one in pod["status"].get("conditions", ()) if one["type"] == kind), {})


def ready(pod: Json) -> bool:
    return condition(pod).get("status") == "True"
