"""Labs: side by side, under real traffic, after a crash, and gone without a trace.

Lives here: what `lab/cluster.py` promises. What pods do is tests/lab/test_kubelet.py's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import requests

from lab import cluster
from lab.objects import SERVER, Api, connect, true
from lab.supervisor import PARTS

APP = {"app": "hello"}
PORTS = [{"name": "http", "port": 80, "targetPort": 9898}]
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "hello"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": APP},
        "template": {
            "metadata": {"labels": APP},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "app",
                        "image": "ghcr.io/stefanprodan/podinfo:6.3.0",
                        "ports": [{"containerPort": 9898}],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9898}, "periodSeconds": 1},
                    }
                ],
            },
        },
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "hello"},
    "spec": {"selector": APP, "ports": PORTS},
}
ROUTE: dict[str, Any] = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "hello"},
    "spec": {
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["hello.example.com"],
        "rules": [{"backendRefs": [{"name": "hello", "port": 80}]}],
    },
}


@contextlib.contextmanager
def inside(lab: cluster.Lab) -> Iterator[Callable[..., Any]]:
    """A way to call a function in the lab's network, from a thread that lives there."""
    with ThreadPoolExecutor(1, initializer=lab.enter) as thread:
        yield lambda function, *args: thread.submit(function, *args).result()


@pytest.fixture(scope="module")
def small() -> Iterator[str]:
    """The name of a second lab, which any test may bring up (as `up` does it), crash and remove."""
    name = f"test-small-{os.getpid()}"
    yield name
    cluster.down(name)


def up(name: str) -> cluster.Lab:
    return cluster.up(name, parts=("kubelet", "prometheus"))


def ask(url: str, **headers: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, headers=headers, timeout=5)


def eventually(probe: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def processes_of(lab: cluster.Lab, network: str) -> list[str]:
    """Every process that names the lab's folder or lives in its network, zombies aside."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(lab.directory) in words or os.readlink(process / "ns/net") == network:
                found.append(f"{process.name} {words}")
    return found


def network_of(lab: cluster.Lab) -> str:
    return os.readlink(f"/proc/{lab.pid}/ns/net")


@pytest.mark.lab
def test_two_labs_run_side_by_side(whole: cluster.Lab, small: str) -> None:
    labs = (whole, up(small))
    assert network_of(labs[0]) != network_of(labs[1])
    with inside(labs[0]) as first, inside(labs[1]) as second:
        apis = [connect(lab.kubeconfig) for lab in labs]
        assert first(apis[0].ok, "/readyz") and second(apis[1].ok, "/readyz")
        mark = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mark"}, "data": {}}
        first(apis[0].apply, mark)
        path = "/api/v1/namespaces/default/configmaps/mark"
        assert first(apis[0].ok, path)
        assert not second(apis[1].ok, path)


@pytest.mark.lab
def test_identities_may_do_what_they_are_for(whole: cluster.Lab) -> None:
    """The seconds are for the controller that adds our rules to the roles view and edit."""
    routes = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"

    def codes(identity: str) -> list[int]:
        session = connect(whole.kubeconfig, identity).session
        read = session.get(SERVER + routes, timeout=5)
        write = session.post(SERVER + routes, params={"dryRun": "All"}, json=ROUTE, timeout=5)
        return [read.status_code, write.status_code]

    with inside(whole) as call:
        for identity, expected in (
            ("viewer", [200, 403]),
            ("deployer", [200, 201]),
            ("stranger", [403, 403]),
        ):
            eventually(lambda who=identity, wanted=expected: call(codes, who) == wanted)  # type: ignore[misc]


def answers(url: str) -> bool:
    """Envoy listens from the first route on."""
    with contextlib.suppress(requests.ConnectionError):
        return ask(url, Host="hello.example.com").ok
    return False


def keep_alive(api: Api) -> set[str]:
    """Versions seen by fifty requests on one connection to the ClusterIP."""
    address = api.get("/api/v1/namespaces/default/services/hello")["spec"]["clusterIP"]
    with contextlib.closing(http.client.HTTPConnection(address, timeout=5)) as connection:
        connection.connect()
        connection.auto_open = 0  # a closed connection is an error now
        versions = set()
        for _ in range(50):
            connection.request("GET", "/")
            versions.add(json.load(connection.getresponse())["version"])
    return versions


def counted(lab: cluster.Lab) -> float:
    """Requests to the Service through Envoy, as Prometheus knows them."""
    query = 'sum(envoy_cluster_upstream_rq{envoy_cluster_name="default_hello_80"})'
    answer = ask(f"{lab.prometheus_url}/api/v1/query?query={query}").json()["data"]["result"]
    return float(answer[0]["value"][1]) if answer else 0


def rejected() -> set[float]:
    """What Envoy has refused of Contour's: such a pair asks and answers without pause, unseen."""
    lines = ask("http://10.44.0.1:8002/stats/prometheus").text.splitlines()
    return {float(line.split()[-1]) for line in lines if re.match(r"envoy_\w+_update_rejected{", line)}


@pytest.mark.lab
def test_a_deployment_gets_traffic_from_outside_and_from_inside(whole: cluster.Lab) -> None:
    api = connect(whole.kubeconfig)
    with inside(whole) as call:
        for manifest in (DEPLOYMENT, SERVICE, ROUTE):
            call(api.apply, manifest)
        eventually(lambda: call(answers, whole.envoy_url))
        for _ in range(20):
            assert call(ask, whole.envoy_url + "/version").status_code == 404  # no Host, no route
            assert call(answers, whole.envoy_url)
        assert call(keep_alive, api) == {"6.3.0"}
        eventually(lambda: call(counted, whole) >= 21)
        assert call(rejected) == {0}


@pytest.mark.lab
def test_a_lab_gets_traefik_when_it_is_asked_for(whole: cluster.Lab) -> None:
    """A Gateway API route through it is served, beside the one through Envoy."""
    api = connect(whole.kubeconfig)
    began = time.monotonic()
    assert cluster.up(whole.name, parts=(*PARTS, "traefik")) == whole
    print(f"Traefik serves after {time.monotonic() - began:.1f} s")
    route = deepcopy(ROUTE)
    route["metadata"]["name"] = "hello-traefik"
    route["spec"]["parentRefs"][0]["name"] = "traefik"
    with inside(whole) as call:
        for manifest in (DEPLOYMENT, SERVICE, ROUTE, route):
            call(api.apply, manifest)
        for url in (whole.envoy_url, whole.traefik_url):
            eventually(lambda url=url: call(answers, url))  # type: ignore[misc]


@pytest.mark.lab
def test_a_program_runs_inside(whole: cluster.Lab) -> None:
    program = "import os, socket; socket.create_connection(('127.0.0.1', 6443)); print(os.environ['KUBECONFIG'])"
    command = [sys.executable, "-m", "lab", "exec", "--name", whole.name, "--", sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(whole.kubeconfig)


@pytest.mark.lab
@pytest.mark.parametrize("victim", ["supervisor", "unshare"])
def test_a_crash_leaves_nothing_that_stops_the_next_up(small: str, victim: str) -> None:
    lab = up(small)
    network = network_of(lab)
    parent = int(Path(f"/proc/{lab.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(lab.pid if victim == "supervisor" else parent, signal.SIGKILL)
    eventually(lambda: cluster.find(lab.name) is None, seconds=5)
    eventually(lambda: not processes_of(lab, network), seconds=5)
    assert cluster.status(lab.name)["state"] == "down"
    again = up(small)
    assert again.pid != lab.pid
    with inside(again) as call:
        assert call(connect(again.kubeconfig).ok, "/readyz")


@pytest.mark.lab
def test_a_dead_part_is_shown_and_down_leaves_nothing(small: str) -> None:
    """The supervisor goes on without the part: a test may have killed it on purpose."""
    lab = up(small)
    network = network_of(lab)
    alive = processes_of(lab, network)
    assert len(alive) >= 7
    os.kill(next(int(line.split()[0]) for line in alive if "prometheus.yaml" in line), signal.SIGKILL)
    eventually(lambda: cluster.status(lab.name)["parts"]["prometheus"] == "ended with -9", seconds=3)
    assert cluster.find(lab.name) == lab
    started = time.monotonic()
    assert cluster.down(lab.name)
    assert time.monotonic() - started < 4
    assert processes_of(lab, network) == []
    assert not lab.directory.exists()
    assert not cluster.down(lab.name)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("exec --name no -- true", "lab no is not up: run `python -m lab up --name no`"),
        ("up --name ../x", "'../x' cannot be a lab's name: use lower-case letters, digits and dashes"),
        ("up --parts etcd", "etcd is no part of a lab: there are kubelet, forwarder, prometheus, gateway, traefik"),
        ("up --parts kubelet,gateway,traefik", "traefik needs forwarder, prometheus too: add it to --parts"),
        ("up --name unbuilt", "etcd is not built yet: run `make setup`"),
    ],
)
def test_errors_are_one_sentence(words: str, sentence: str, tmp_path: Path) -> None:
    environment = {**os.environ, "ROLLOUT_LAB_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "lab", *words.split()]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (result.returncode, result.stderr) == (1, f"lab: {sentence}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "holds"),
    [
        ({}, False),
        ({"conditions": None}, False),
        ({"conditions": [{"type": "Established", "status": "False"}]}, False),
        ({"conditions": [{"type": "Established", "status": "True"}]}, True),
    ],
)
def test_a_definition_that_is_a_moment_old_has_no_condition(status: dict[str, Any], holds: bool) -> None:
    assert true({"status": status}, "Established") is holds
