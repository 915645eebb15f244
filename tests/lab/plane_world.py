"""Two versions of an application behind the lab's data planes, for tests of these.

Lives here: the application, the calls, and how long to wait for a proxy. What is expected is the tests' to say.
"""

from __future__ import annotations

import contextlib
import http.cookiejar
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import requests

from lab import cluster, pods
from lab.objects import connect
from tests.lab.inside import Inside, Json
from tests.lab.planes import APEX, CANARY, PORT, Plane

VERSIONS = {APEX: "6.3.0", CANARY: "6.3.1"}
OLD, NEW = VERSIONS[APEX], VERSIONS[CANARY]


class World:
    """Use: `apply` objects, `ask` through a plane, `remove` them."""

    def __init__(self, lab: cluster.Lab) -> None:
        self.lab = lab
        self.inside = Inside(lab)
        self.api = connect(lab.kubeconfig)
        for name, version in VERSIONS.items():
            self.apply(*_application(name, version))
        eventually(lambda: all(self._ready(name) for name in VERSIONS), 30)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the lab's network."""
        return self.inside.run(function, *args)

    def apply(self, *manifests: Json) -> None:
        for manifest in manifests:
            self.run(self.api.apply, manifest, 5)

    def remove(self, *manifests: Json) -> None:
        for manifest in reversed(manifests):
            self.inside.call("DELETE", str(self.run(self.api.path, manifest)))

    def get(self, manifest: Json) -> Json:
        return self.inside.call("GET", str(self.run(self.api.path, manifest)))

    def url(self, plane: Plane) -> str:
        return {"envoy": self.lab.envoy_url, "traefik": self.lab.traefik_url}[plane.entry]

    def ask(self, plane: Plane, host: str, count: int = 1, headers: dict[str, str] | None = None) -> list[Answer]:
        """So many requests, one after another."""
        sent = {"Host": host, **(headers or {})}

        def work() -> list[Answer]:
            with requests.Session() as session:
                session.trust_env = False
                # Each request is another user's: what cookies there are is the caller's to say.
                session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
                return [Answer(session.get(self.url(plane), headers=sent, timeout=5)) for _ in range(count)]

        answers: list[Answer] = self.run(work)
        return answers

    def versions(
        self, plane: Plane, host: str, count: int = 20, headers: dict[str, str] | None = None
    ) -> Counter[str | None]:
        """Which versions answered; None for whatever was no answer of the application."""
        with contextlib.suppress(requests.ConnectionError):
            return Counter(answer.version for answer in self.ask(plane, host, count, headers))
        return Counter([None])  # Envoy listens from its first route on

    def statuses(self, plane: Plane, host: str, count: int = 20) -> Counter[int]:
        """With which statuses the proxy answered; 0 where it does not listen."""
        with contextlib.suppress(requests.ConnectionError):
            return Counter(answer.status for answer in self.ask(plane, host, count))
        return Counter([0])

    @contextlib.contextmanager
    def without_pods(self, name: str) -> Iterator[None]:
        """The application's Service has no endpoints in this block."""
        self._scale(name, 0)
        eventually(lambda: not pods.find(self.lab, f"app={name}"))
        yield
        self._scale(name, 2)
        eventually(lambda: self._ready(name))

    def _scale(self, name: str, replicas: int) -> None:
        path = f"/apis/apps/v1/namespaces/default/deployments/{name}/scale"
        self.inside.call("PATCH", path, {"spec": {"replicas": replicas}}, kind="merge-patch+json")

    def _ready(self, name: str, namespace: str = "default") -> bool:
        live = self.inside.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        counted = {live["status"].get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")}
        current = bool(live["status"].get("observedGeneration") == live["metadata"]["generation"])
        return current and counted == {live["spec"]["replicas"]}

    @contextlib.contextmanager
    def traefik_without(self, option: str) -> Iterator[None]:
        """Traefik without one of its options in this block."""
        path = "/apis/apps/v1/namespaces/traefik/deployments/traefik"
        options = self.inside.call("GET", path)["spec"]["template"]["spec"]["containers"][0]["args"]
        assert option in options
        self._restart_traefik([one for one in options if one != option])
        yield
        self._restart_traefik(options)

    def _restart_traefik(self, options: list[str]) -> None:
        path = "/apis/apps/v1/namespaces/traefik/deployments/traefik"
        containers = [{"name": "traefik", "args": options}]
        body = {"spec": {"template": {"spec": {"containers": containers}}}}
        self.inside.call("PATCH", path, body, kind="strategic-merge-patch+json")
        eventually(lambda: self._ready("traefik", "traefik"), 30)

    def counted(self, name: str) -> int:
        """Requests that the application's pods have answered, by their own count."""
        total = 0
        for pod in pods.find(self.lab, f"app={name}"):
            text = self.inside.app("GET", f"http://{pod.address}:9898/metrics").text
            total += sum(int(number) for number in re.findall(r"^http_requests_total{.*} (\d+)$", text, re.M))
        return total


class Answer:
    """What one request got."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.version = response.headers.get("X-Version")
        self.track = response.headers.get("X-Track")
        # One header each: joined by commas they could not be told apart.
        self.cookies = "; ".join(one.partition(";")[0] for one in response.raw.headers.getlist("Set-Cookie"))


def eventually(probe: Callable[[], Any], seconds: float = 15) -> Any:
    """Wait until it comes true, and return what it came to. Envoy listens from its first route on."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(requests.ConnectionError):
            if found := probe():
                return found
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def _application(name: str, version: str) -> list[Json]:
    container = {
        "name": "app",
        "image": f"ghcr.io/stefanprodan/podinfo:{version}",
        "ports": [{"name": "http", "containerPort": 9898}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9898}, "periodSeconds": 1},
    }
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    deployment = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"name": "http", "port": PORT, "targetPort": 9898}]}
    named = {"metadata": {"name": name, "namespace": "default"}}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", **named, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", **named, "spec": service},
    ]
