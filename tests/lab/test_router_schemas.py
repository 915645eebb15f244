"""What routers write, as an API server takes it that has the vendors' own kinds and is strict about them.

Lives here: every fixture from rest to weight and back, every route that a program can declare, and for each kind
objects that have to be refused. Schemas are the vendors' own where a module or a package ships them, and written from
their documentation where none does (tests/lab/crds). What the weights should be is tests/test_routers.py's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from lab import cluster, tools
from lab.objects import SERVER, connect, documents
from pulumi_rollout.observe import _declared
from pulumi_rollout.routers import ROUTERS, Router, identity
from tests.declared_routes import DECLARED
from tests.test_routers import AT_REST, BACKENDS, read, weight_in

pytestmark = pytest.mark.lab

Manifest = dict[str, Any]

CRDS = (
    ("contour", "crds/contour.yaml"),
    ("contour", "crds/gateway-api"),
    ("traefik", "crds/traefik.yaml"),
    ("crds", "crds/istio.yaml"),
    ("crds", "crds/smi.yaml"),
)


class Strict:
    """The API server, from inside its lab, refusing what its schemas do not know."""

    def __init__(self, lab: cluster.Lab) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=lab.enter)
        self._session = connect(lab.kubeconfig).session
        self._plurals: dict[tuple[str, str], str] = {}

    def ask(self, method: str, path: str, body: Manifest | None = None, **query: str) -> requests.Response:
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        return self._thread.submit(
            self._session.request,
            method,
            SERVER + path,
            params=query,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=20,
        ).result()

    def path(self, item: Manifest) -> str:
        version, kind = item["apiVersion"], item["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if (version, kind) not in self._plurals:
            listed = self.ask("GET", root)
            assert listed.ok, f"{version} is not served"
            for entry in listed.json()["resources"]:
                if "/" not in entry["name"]:
                    self._plurals[version, entry["kind"]] = entry["name"]
        return f"{root}/namespaces/shop/{self._plurals[version, kind]}/{item['metadata']['name']}"

    def apply(self, item: Manifest, **query: str) -> requests.Response:
        return self.ask("PATCH", self.path(item), item, fieldManager="test", fieldValidation="Strict", **query)

    def live(self, items: list[Manifest]) -> list[Manifest]:
        found = [self.ask("GET", self.path(item)) for item in items]
        assert all(one.ok for one in found), [one.text for one in found]
        return [one.json() for one in found]

    def write(self, before: list[Manifest], after: list[Manifest]) -> list[Manifest]:
        """As a walk does: replace what differs, create what is new, delete what is no more. What is there then."""
        old = {identity(item): item for item in before}
        for item in after:
            known = old.pop(identity(item), None)
            if item != known:
                path = self.path(item)
                method, path = ("POST", path.rpartition("/")[0]) if known is None else ("PUT", path)
                answer = self.ask(method, path, item, fieldValidation="Strict")
                assert answer.ok, answer.text
        for item in old.values():
            assert self.ask("DELETE", self.path(item)).ok
        return self.live(after)


@pytest.fixture(scope="module")
def server() -> Iterator[Strict]:
    name = f"schemas-{os.getpid()}"
    try:
        strict = Strict(cluster.up(name, parts=()))
        assert strict.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}}).ok
        install(strict)
        yield strict
    finally:
        cluster.down(name)


def kinds() -> list[Manifest]:
    """All CRDs. Of SMI's versions, the one that Linkerd reads is switched off in the file, as the latest is served."""
    paths = [tools.data(tool, name) for tool, name in CRDS] + [Path(__file__).parent / "crds"]
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    found = [item for item in documents(*files) if item.get("kind") == "CustomResourceDefinition"]
    for item in found:
        for version in item["spec"]["versions"]:
            version["served"] = True
    return found


def install(strict: Strict) -> None:
    """Have all kinds, and wait until they are served."""
    names = set()
    for item in kinds():
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{item['metadata']['name']}"
        answer = strict.ask("PATCH", path, item, fieldManager="test", force="true")
        assert answer.ok, answer.text
        names.add(item["metadata"]["name"])
    while names:
        listed = strict.ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions").json()["items"]
        for item in listed:
            conditions = {one["type"]: one["status"] for one in item.get("status", {}).get("conditions") or []}
            assert conditions.get("NonStructuralSchema") != "True", item["metadata"]["name"]
            if conditions.get("Established") == "True":
                names.discard(item["metadata"]["name"])


def walk(server: Strict, router: Router, objects: list[Manifest]) -> None:
    """From rest through some weights and back; the API server has the same as before."""
    for item in objects:
        answer = server.apply(item)
        assert answer.ok, answer.text
    made = rest = server.live(objects)
    original = [_declared(item) for item in rest]
    assert weight_in(router, rest, BACKENDS) is None
    try:
        for percent in (0, 10, 100, 0):
            made = server.write(made, router.with_weight(made, BACKENDS, percent))
            assert weight_in(router, made, BACKENDS) == percent
            assert router.with_weight(made, BACKENDS, percent) == made, "nothing is left to write"
        made = server.write(made, router.restored(made, original, BACKENDS))
        assert [_declared(item) for item in made] == original
    finally:
        for item in made:
            server.ask("DELETE", server.path(item))


@pytest.mark.parametrize("name", AT_REST)
def test_a_walk_through_what_the_vendor_documents(server: Strict, name: str) -> None:
    router, fixture = read(name)
    walk(server, router, fixture["before"])


@pytest.mark.parametrize("name", DECLARED)
def test_a_walk_through_what_a_program_declares(server: Strict, name: str) -> None:
    route = DECLARED[name]
    assert route.router == name.split(",")[0]
    apex = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "podinfo", "namespace": "shop"},
        "spec": {
            "selector": {"app.kubernetes.io/name": "podinfo", "pulumi-rollout/revision": "v1"},
            "ports": [{"port": 9898, "targetPort": 9898}],
        },
    }
    objects = route.objects("podinfo", "shop", 9898)
    walk(server, ROUTERS[route.router], [apex, *objects] if name == "istio, subsets" else objects)


def one_of_each_kind() -> dict[str, Manifest]:
    """An object of each kind, at weight 10; one that the walk changes, where it changes some."""
    found: dict[str, Manifest] = {}
    for name in AT_REST:
        router, fixture = read(name)
        for item in router.with_weight(fixture["before"], BACKENDS, 10):
            kind = f"{item['kind']} of {item['apiVersion']}"
            if item["kind"] != "Service" and (kind not in found or found[kind] in fixture["before"]):
                found[kind] = item
    return found


EACH = one_of_each_kind()


@pytest.mark.parametrize("kind", EACH)
def test_a_field_that_the_vendor_does_not_have_is_refused(server: Strict, kind: str) -> None:
    assert server.apply(EACH[kind], dryRun="All").ok
    broken = deepcopy(EACH[kind])
    broken["spec"]["wieghts"] = []
    answer = server.apply(broken, dryRun="All")
    assert not answer.ok
    assert "wieghts" in answer.text


def with_words_for_weights(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: "some" if key in ("weight", "percent") else with_words_for_weights(item) for key, item in value.items()
        }
    return [with_words_for_weights(item) for item in value] if isinstance(value, list) else value


WEIGHTED = {kind: item for kind, item in EACH.items() if with_words_for_weights(item["spec"]) != item["spec"]}


def test_weights_are_fields_of_all_but_these() -> None:
    """An Ingress has them in annotations, a DestinationRule and a VirtualNode have none."""
    assert {kind.split()[0] for kind in set(EACH) - set(WEIGHTED)} == {"Ingress", "DestinationRule", "VirtualNode"}


@pytest.mark.parametrize("kind", WEIGHTED)
def test_a_weight_that_is_no_number_is_refused(server: Strict, kind: str) -> None:
    broken = {**WEIGHTED[kind], "spec": with_words_for_weights(WEIGHTED[kind]["spec"])}
    answer = server.apply(broken, dryRun="All")
    assert not answer.ok
    assert answer.status_code in (400, 422, 500), answer.text


def test_schemas_that_are_written_here_say_where_they_are_from() -> None:
    for path in (Path(__file__).parent / "crds").glob("*.yaml"):
        head = path.read_text().split("apiVersion:")[0]
        assert "https://" in head, path
        assert "(read 2026-" in head, path
        assert all(item["kind"] == "CustomResourceDefinition" for item in yaml.safe_load_all(path.read_text()))
