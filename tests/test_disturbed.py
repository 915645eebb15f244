"""Whole walks on routes of several rules and objects that are disturbed: by other people's edits, by refusals between
two writes, and by the end of the process between them.

Not here: the same for one rule (`test_edits.py`, `test_existing.py`), and how each router edits (`test_router_*.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from pulumi_rollout.core.moves import dwell_of
from pulumi_rollout.errors import ClusterError, Conflict, RolloutFailed
from tests.fake_api import KINDS, FakeApi, Manifest
from tests.fake_app import NAMESPACE, ROUTE, SERVICES, FakeApp
from tests.fake_world import FakeEngine, Killed
from tests.release_calls import Up

LONG = {"interval": "5s", "settle": "1s"}
HTTPROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes"
WEB, WEB2 = f"{HTTPROUTES}/web", f"{HTTPROUTES}/web2"
REF = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "web"}
ISTIO = "networking.istio.io/v1"
MESH = f"/apis/{ISTIO}/namespaces/{NAMESPACE}"
INGRESS = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses/web"


def existing(router: str, *refs: Manifest, **more: Any) -> Manifest:
    return {"router": router, "objects": list(refs), "declared": False, **more}


def rule(path: str, service: str) -> Manifest:
    return {"matches": [{"path": {"value": path}}], "backendRefs": [{"name": service, "port": 9898}]}


def put_route(api: FakeApi, path: str, *rules: Manifest) -> None:
    spec = {"parentRefs": [{"name": "public"}], "rules": list(rules)}
    api.put(path, {"apiVersion": REF["apiVersion"], "kind": "HTTPRoute", "metadata": {}, "spec": spec})


def accepted(api: FakeApi, path: str) -> None:
    """What the Gateway says once it has a route."""
    if path.startswith(HTTPROUTES) and path in api.objects:
        item = api.objects[path]
        seen = {"status": "True", "observedGeneration": item["metadata"]["generation"], "message": ""}
        item["status"] = {"parents": [{"parentRef": {"name": "public"}, "conditions": [{"type": "Accepted", **seen}]}]}


def change(api: FakeApi, path: str, edit: Callable[[list[Manifest]], object]) -> None:
    """Somebody edits a route's rules."""
    item = deepcopy(api.objects[path])
    edit(item["spec"]["rules"])
    api.put(path, item)
    accepted(api, path)


def listed(api: FakeApi, path: str = WEB) -> list[dict[str, int | None]]:
    return [
        {ref["name"]: ref.get("weight") for ref in one["backendRefs"]} for one in api.objects[path]["spec"]["rules"]
    ]


@pytest.fixture
def up(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> Up:
    """The application's own route is not there: each test has its own."""
    del api.objects[ROUTE]
    api.reactions.append(accepted)
    return Up(app, fake_engine)


@pytest.mark.parametrize("good", [True, False])
def test_a_rule_that_is_inserted_before_ours_is_left_alone(app: FakeApp, api: FakeApi, up: Up, good: bool) -> None:
    put_route(api, WEB, rule("/a", "shop"), rule("/b", "shop"))

    def insert() -> None:
        change(api, WEB, lambda rules: rules.insert(0, rule("/new", "shop")))
        if not good:
            app.broken.add("v2")
            app.react()

    up.when(lambda: listed(api)[-1].get("shop-v2") == 20, insert)
    route = existing("gateway", REF, rules=[1])
    if good:
        up(settings=LONG, route=route)
    else:
        with pytest.raises(RolloutFailed):
            up(settings=LONG, route=route)
    assert app.serving == ("v2" if good else "v1")
    assert api.objects[WEB]["spec"]["rules"] == [rule("/new", "shop"), rule("/a", "shop"), rule("/b", "shop")]


@pytest.mark.parametrize("policy", ["abort", "restore"])
def test_one_rule_of_two_that_loses_the_canary_is_an_edit(app: FakeApp, api: FakeApi, up: Up, policy: str) -> None:
    put_route(api, WEB, rule("/a", "shop"), rule("/b", "shop"))
    seen: list[list[dict[str, int | None]]] = []
    api.reactions.append(lambda api, path: seen.append(listed(api)) if path == WEB else None)

    def edit() -> None:
        seen.clear()
        change(api, WEB, lambda rules: rules[1].update(backendRefs=[{"name": "shop", "port": 9898}]))

    up.when(lambda: listed(api)[1].get("shop-v2") == 20 and up.state.move == dwell_of(0), edit)
    if policy == "abort":
        with pytest.raises(RolloutFailed, match="one of its rules does not list the new version, which had weight 20"):
            up(settings={**LONG, "on_edited": policy}, route=existing("gateway", REF))
        assert app.serving == "v1"
    else:
        up(settings={**LONG, "on_edited": policy}, route=existing("gateway", REF))
        assert seen[0] == [{"shop": 100, "shop-v2": 0}] * 2, "a backend enters at weight 0"
        assert seen[1] == [{"shop": 80, "shop-v2": 20}] * 2
        assert app.serving == "v2"
    assert listed(api) == [{"shop": None}] * 2


def test_an_object_that_could_not_be_written_holds_the_weight_back(app: FakeApp, api: FakeApi, up: Up) -> None:
    put_route(api, WEB, rule("/a", "shop"))
    put_route(api, WEB2, rule("/b", "shop"))
    refused: list[str] = []

    def once(method: str, path: str) -> None:
        if method == "PUT" and path == WEB2 and not refused:
            refused.append(path)
            raise Conflict("somebody else was faster", 409)

    up.before_request = once
    entered: list[int | None] = []
    api.reactions.append(
        lambda api, path: entered.append(listed(api, WEB2)[0].get("shop-v2")) if path == WEB2 else None
    )
    up(settings=LONG, route=existing("gateway", REF, {**REF, "name": "web2"}))
    assert refused
    assert entered[:2] == [0, 20], "no proxy meets a weight on a backend that it does not know"
    assert app.serving == "v2"


@pytest.fixture
def mesh(app: FakeApp, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Manifest]:
    """The route of an Istio mesh, with a policy for the apex, or for subsets of one Service."""
    kinds = {"VirtualService": "virtualservices", "DestinationRule": "destinationrules"}
    monkeypatch.setitem(KINDS, f"/apis/{ISTIO}", kinds)
    apex = deepcopy(api.objects[f"{SERVICES}/shop"])
    apex |= {"apiVersion": "v1", "kind": "Service"}
    apex["spec"]["ports"] = [{"port": 9898}]
    api.put(f"{SERVICES}/shop", apex)

    def made(subsets: bool) -> Manifest:
        host = "shop-revisions" if subsets else "shop"
        specs = {
            "DestinationRule": (host, {"host": host, "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}),
            "VirtualService": ("shop", {"hosts": ["shop"], "http": [{"route": [{"destination": {"host": "shop"}}]}]}),
        }
        for kind, (name, spec) in specs.items():
            path = f"{MESH}/{kinds[kind]}/{name}"
            api.put(path, {"apiVersion": ISTIO, "kind": kind, "metadata": {}, "spec": spec})
        return existing(
            "istio", *({"apiVersion": ISTIO, "kind": kind, "name": name} for kind, (name, _) in specs.items())
        )

    return made


def of_the_mesh(api: FakeApi) -> dict[str, Manifest]:
    """What people write of it, and the Service of both versions."""
    return {path: item["spec"] for path, item in api.objects.items() if path.startswith(MESH) or "revisions" in path}


@pytest.mark.parametrize("how", ["refused", "killed"])
@pytest.mark.parametrize("subsets", [False, True])
def test_what_the_walk_made_goes_also_after_a_cut_between_two_writes_home(
    app: FakeApp, api: FakeApi, up: Up, mesh: Callable[[bool], Manifest], how: str, subsets: bool
) -> None:
    """The VirtualService is as it was by then, and says nothing of the rest."""
    route = mesh(subsets)
    before = json.dumps(of_the_mesh(api), sort_keys=True)
    cut: list[str] = []

    def once(method: str, path: str) -> None:
        home = "weight" not in json.dumps(api.objects[f"{MESH}/virtualservices/shop"]["spec"])
        last = method == "PUT" and home if subsets else method == "DELETE"
        if not cut and app.serving == "v2" and last and "destinationrules" in path:
            cut.append(path)
            if how == "killed":
                up.die()
            raise ClusterError("etcdserver: request timed out", 500)

    up.before_request = once
    if how == "killed":
        with pytest.raises(Killed):
            up(settings=LONG, route=route)
        up.live()
    up(settings=LONG, route=route)
    assert cut
    assert app.serving == "v2"
    assert json.dumps(of_the_mesh(api), sort_keys=True) == before


def test_weights_that_cannot_be_read_any_more_are_written_anew(app: FakeApp, api: FakeApi, up: Up) -> None:
    """Skipper shares evenly then, which is more than the canary may have."""
    weights = "zalando.org/backend-weights"
    paths = [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "shop", "port": {"number": 9898}}}}]
    spec = {"rules": [{"host": "shop.example.com", "http": {"paths": paths}}]}
    kind = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
    api.put(INGRESS, {**kind, "metadata": {}, "spec": deepcopy(spec)})
    written: list[str | None] = []

    def annotation() -> str | None:
        found: str | None = (api.objects[INGRESS]["metadata"].get("annotations") or {}).get(weights)
        return found

    def edit() -> None:
        item = deepcopy(api.objects[INGRESS])
        item["metadata"]["annotations"][weights] = "{shop: 1"
        written.clear()
        api.put(INGRESS, item)

    api.reactions.append(lambda api, path: written.append(annotation()) if path == INGRESS else None)
    up.when(lambda: '"shop-v2": 20' in (annotation() or ""), edit)
    up(settings=LONG, route=existing("skipper", {**kind, "name": "web"}))
    assert written[:1] == ['{"shop": 80, "shop-v2": 20}']
    assert (app.serving, annotation(), api.objects[INGRESS]["spec"]) == ("v2", None, spec)
