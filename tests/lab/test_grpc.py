"""gRPC through the lab's proxies: where a failed call can be seen, and where it looks like a success.

Lives here: what each proxy counts of calls that end with a gRPC status over HTTP 200. The application and
the load alone are tests/lab/test_greeter.py's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from lab import cluster, load, pods, traefik
from lab.greeter import GREET
from lab.objects import connect
from tests.lab.inside import Inside, Json
from tests.lab.plane_world import eventually

NAMES = {"greeter": "1.0.0", "greeter-2": "2.0.0"}
FAILED = (500, "2.0.0", "UNAVAILABLE: injected fault")


def named(version: str, kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def application(name: str, version: str) -> list[Json]:
    container = {
        "name": "app",
        "image": f"registry.example.com/greeter:{version}",
        "ports": [{"containerPort": 9999}],
        "readinessProbe": {"grpc": {"port": 9999}, "periodSeconds": 1},
    }
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    port = {"name": "grpc", "port": 80, "targetPort": 9999, "appProtocol": "kubernetes.io/h2c"}
    return [
        named("apps/v1", "Deployment", name, {"selector": {"matchLabels": {"app": name}}, "template": template}),
        named("v1", "Service", name, {"selector": {"app": name}, "ports": [port]}),
    ]


def grpc_route(host: str, gateway: str) -> list[Json]:
    backends = [{"name": name, "port": 80, "weight": 50} for name in NAMES]
    parent = {"name": gateway, "namespace": "infra"}
    spec = {"parentRefs": [parent], "hostnames": [host], "rules": [{"backendRefs": backends}]}
    return [named("gateway.networking.k8s.io/v1", "GRPCRoute", host.partition(".")[0], spec)]


def http_proxy(host: str) -> list[Json]:
    services = [{"name": name, "port": 80, "weight": 50, "protocol": "h2c"} for name in NAMES]
    spec = {"virtualhost": {"fqdn": host}, "routes": [{"services": services}]}
    return [named("projectcontour.io/v1", "HTTPProxy", host.partition(".")[0], spec)]


def traefik_service(host: str) -> list[Json]:
    name = host.partition(".")[0]
    services = [{"name": service, "port": 80, "weight": 50, "scheme": "h2c"} for service in NAMES]
    reference = {"kind": "TraefikService", "name": name}
    rule = {"kind": "Rule", "match": f"Host(`{host}`)", "services": [reference]}
    return [
        named("traefik.io/v1alpha1", "TraefikService", name, {"weighted": {"services": services}}),
        named("traefik.io/v1alpha1", "IngressRoute", name, {"entryPoints": ["web"], "routes": [rule]}),
    ]


class World:
    """Both versions, the second with failures."""

    def __init__(self, lab: cluster.Lab) -> None:
        self.lab = lab
        self.inside = Inside(lab)
        self.api = connect(lab.kubeconfig)
        for name, version in NAMES.items():
            self.apply(*application(name, version))
        eventually(lambda: all(self._ready(name) for name in NAMES), 30)
        (pod,) = pods.find(lab, "app=greeter-2")
        assert pods.ail(lab, pod, port=pods.GRPC_PORT, error_rate=0.5, error_code=14)["ERROR_RATE"] == 0.5

    def apply(self, *manifests: Json) -> None:
        for manifest in manifests:
            self.inside.run(self.api.apply, manifest, 5)

    def remove(self, *manifests: Json) -> None:
        for manifest in manifests:
            self.inside.call("DELETE", str(self.inside.run(self.api.path, manifest)))

    def _ready(self, name: str) -> Any:
        path = f"/apis/apps/v1/namespaces/default/deployments/{name}"
        return self.inside.call("GET", path)["status"].get("readyReplicas")

    def page(self, url: str) -> dict[str, float]:
        """A page of metrics: values by series, whose labels are in the order of the alphabet."""
        found = re.findall(r"^(\w+){([^}]*)} ([\d.e+]+)$", self.inside.app("GET", url).text, re.M)
        return {f"{name}{{{','.join(sorted(labels.split(',')))}}}": float(value) for name, labels, value in found}

    def call(self, out: Path, entry: str, host: str, seconds: float) -> list[load.Record]:
        """Load at 100 calls a second, all of which are over."""
        target = f"a=grpc://{entry.removeprefix('http://')}{GREET},host={host}"
        words = ("-m", "lab.load", "--rate", "100", "--seconds", str(seconds), "--out", str(out), "--target", target)
        subprocess.run(self.lab.command(sys.executable, *words), cwd=cluster.REPOSITORY, check=True, timeout=60)
        return load.read(out)

    def counted(self, out: Path, entry: str, host: str, url: str) -> tuple[Counter[Any], dict[str, float]]:
        """What the callers saw once both versions answer, and by how much each series of the page has grown."""
        eventually(lambda: {record.version for record in self.call(out, entry, host, 0.3)} >= {*NAMES.values()}, 30)
        before = self.page(url)
        seen = Counter((record.status, record.version, record.error) for record in self.call(out, entry, host, 2))
        after = self.page(url)
        assert seen.keys() == {(200, "1.0.0", None), (200, "2.0.0", None), FAILED}
        return seen, {series: value - before.get(series, 0) for series, value in after.items()}


@pytest.fixture(scope="module")
def world(whole: cluster.Lab) -> Iterator[World]:
    traefik.add(whole)
    made = World(whole)
    yield made
    for name, version in NAMES.items():
        made.remove(*application(name, version))


@pytest.mark.lab
@pytest.mark.parametrize("kind", ["HTTPProxy", "GRPCRoute"])
def test_envoy_counts_failed_calls_apart_and_as_http_200(world: World, tmp_path: Path, kind: str) -> None:
    host = f"envoy-{kind.lower()}.example.com"
    objects = http_proxy(host) if kind == "HTTPProxy" else grpc_route(host, "public")
    world.apply(*objects)
    url = "http://10.44.0.1:8002/stats/prometheus"
    seen, grown = world.counted(tmp_path / "out", world.lab.envoy_url, host, url)
    world.remove(*objects)
    cluster_name = 'envoy_cluster_name="default_greeter-2_80"'
    failed, fine = seen[FAILED], seen[200, "2.0.0", None]
    assert grown[f"envoy_cluster_grpc_failure{{{cluster_name}}}"] == failed
    assert grown[f"envoy_cluster_grpc_14{{{cluster_name}}}"] == failed
    assert grown[f"envoy_cluster_grpc_success{{{cluster_name}}}"] == fine
    assert grown[f'envoy_cluster_upstream_rq{{{cluster_name},envoy_response_code="200"}}'] == failed + fine
    other = [series for series in grown if f"envoy_cluster_upstream_rq{{{cluster_name}" in series]
    assert sum(grown[series] for series in other) == failed + fine, "no other code has grown"


@pytest.mark.lab
@pytest.mark.parametrize(
    ("kind", "service"),
    [
        ("TraefikService", "default-greeter-2-80@kubernetescrd"),
        ("GRPCRoute", "default-greeter-2-80-grpc@kubernetesgateway"),
    ],
)
def test_traefik_takes_the_status_of_a_good_call_for_unknown(
    world: World, tmp_path: Path, kind: str, service: str
) -> None:
    """It looks for the status before the answer, where only a failure without an answer has it: no share of
    failed calls can be made of such counters."""
    host = f"traefik-{kind.lower()}.example.com"
    objects = traefik_service(host) if kind == "TraefikService" else grpc_route(host, "traefik")
    world.apply(*objects)
    seen, grown = world.counted(tmp_path / "out", world.lab.traefik_url, host, "http://10.44.0.2:9100/metrics")
    world.remove(*objects)

    def of(code: grpc.StatusCode) -> float:
        labels = f'code="{code.value[0]}",method="POST",protocol="grpc",service="{service}"'
        return grown.get(f"traefik_service_requests_total{{{labels}}}", 0)

    assert of(grpc.StatusCode.OK) == 0
    assert of(grpc.StatusCode.UNKNOWN) == seen[200, "2.0.0", None]
    assert of(grpc.StatusCode.UNAVAILABLE) == seen[FAILED]
