"""What Prometheus scrapes: the pods of the applications, each at its own moment, under labels of their own.

Lives here: the file that the kubelet writes, and that Prometheus follows it in a real lab. What the
applications count is tests/lab/test_app.py's.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, pods
from lab.kubelet import images
from lab.kubelet.targets import Targets
from tests.lab.inside import Inside, ready

Json = dict[str, Any]


def manifest(uid: str, image: str, **labels: str) -> Json:
    return {
        "metadata": {"uid": uid, "name": f"pod-{uid}", "namespace": "shop", "labels": labels},
        "spec": {"containers": [{"name": "sidecar", "image": "busybox"}, {"name": "app", "image": image}]},
    }


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    file = tmp_path / "images.toml"
    file.write_text(
        '[image."docker.io/library/busybox"]\ncommand = []\n[image."ghcr.io/a/web"]\ncommand = []\nmetrics = 9898\n'
    )
    return file


def test_the_file_follows_the_pods_that_have_metrics(tmp_path: Path, catalogue: Path) -> None:
    file = tmp_path / "targets.json"
    targets = Targets(file, catalogue)
    targets.add(manifest("1", "ghcr.io/a/other:1"), "10.44.1.1")
    assert not file.exists()
    labels = {"app.kubernetes.io/name": "web", "app": "shadowed", "pulumi-rollout/revision": "web-1234"}
    targets.add(manifest("2", "ghcr.io/a/web:1", **labels), "10.44.1.2")
    targets.add(manifest("3", "ghcr.io/a/web:2", app="plain"), "10.44.1.3")
    first, second = json.loads(file.read_text())
    assert first == {
        "targets": ["10.44.1.2:9898"],
        "labels": {"namespace": "shop", "pod": "pod-2", "app": "web", "revision": "web-1234"},
    }
    assert second == {"targets": ["10.44.1.3:9898"], "labels": {"namespace": "shop", "pod": "pod-3", "app": "plain"}}
    targets.remove("2")
    assert json.loads(file.read_text()) == [second]
    targets.remove("2")
    targets.remove("3")
    assert json.loads(file.read_text()) == []


@pytest.mark.parametrize(
    ("name", "repository", "tag"),
    [
        ("busybox", "docker.io/library/busybox", "latest"),
        ("traefik:v3.7.5", "docker.io/library/traefik", "v3.7.5"),
        ("docker.io/traefik:v3.7.5", "docker.io/library/traefik", "v3.7.5"),
        ("docker.io/alpine/kubectl", "docker.io/alpine/kubectl", "latest"),
        ("alpine/kubectl:1", "docker.io/alpine/kubectl", "1"),
        ("localhost:5000/web@sha256:12", "localhost:5000/web", "sha256:12"),
    ],
)
def test_names_of_images_are_completed_as_container_runtimes_do(name: str, repository: str, tag: str) -> None:
    assert images.split(name) == (repository, tag)


@pytest.fixture(scope="module")
def slow() -> Iterator[Inside]:
    """A lab whose Prometheus scrapes as seldom as most people's does."""
    name = f"test-slow-{os.getpid()}"
    try:
        yield Inside(cluster.up(name, scrape_seconds=15, parts=("kubelet", "prometheus")))
    finally:
        cluster.down(name)


def eventually(probe: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)
    return found


@pytest.mark.lab
def test_pods_are_scraped_at_the_labs_interval_and_each_at_its_own_moment(slow: Inside) -> None:
    names = [f"web-{number}" for number in range(6)]
    for name in names:
        slow.create(name)
    for name in names:
        slow.until(name, ready)
    url = f"{slow.lab.prometheus_url}/api/v1/query"

    def scraped() -> dict[str, float]:
        answer = slow.app("GET", f'{url}?query=timestamp(up{{job="pods"}})').json()
        return {entry["metric"]["pod"]: float(entry["value"][1]) for entry in answer["data"]["result"]}

    eventually(lambda: scraped().keys() == set(names), 30)
    first = scraped()
    moments = sorted(at % 15 for at in first.values())
    assert moments[-1] - moments[0] > 1, "targets that are read all at once are what real ones are not"
    changed = eventually(lambda: {pod: at for pod, at in scraped().items() if at != first[pod]}, 20)
    assert all(at - first[pod] == pytest.approx(15, abs=0.5) for pod, at in changed.items())
    labels = slow.app("GET", f'{url}?query=up{{job="pods"}}').json()["data"]["result"][0]["metric"]
    assert (labels["namespace"], labels["app"]) == ("default", labels["pod"])
    for name in names:
        slow.gone(name)


@pytest.mark.lab
def test_one_pod_is_made_ill_and_the_other_stays_well(whole: cluster.Lab) -> None:
    inside = Inside(whole)
    for name in ("ill", "well"):
        inside.create(name)
        inside.until(name, ready)
    ill, well = (pods.find(whole, f"app={name}")[0] for name in ("ill", "well"))
    assert (ill.name, ill.address) == ("ill", inside.pod("ill")["status"]["podIP"])
    assert pods.ail(whole, ill, error_rate=1)["ERROR_RATE"] == 1
    assert inside.app("GET", f"http://{ill.address}:9898/").status_code == 500
    assert inside.app("GET", f"http://{well.address}:9898/").status_code == 200
    with pytest.raises(cluster.LabError, match="refused its faults: unknown fault EROR_RATE"):
        pods.ail(whole, well, eror_rate=1)

    def counted() -> Any:
        """Prometheus has the ill pod's errors, and none of the other's."""
        query = 'http_requests_total{status="500",namespace="default"}'
        found = inside.app("GET", f"{whole.prometheus_url}/api/v1/query?query={query}").json()["data"]["result"]
        return [entry["metric"]["pod"] for entry in found if entry["metric"]["pod"] in ("ill", "well")]

    assert eventually(counted, 10) == ["ill"]
    inside.gone("ill")
    inside.gone("well")
    assert pods.find(whole, "app=ill") == []
