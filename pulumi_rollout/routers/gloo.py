"""Gloo Edge: VirtualService and RouteTable (gateway.solo.io/v1) and UpstreamGroup (gloo.solo.io/v1), weights on a
list of `destinations`.

Pure: objects in, objects out. A destination is a Service, or the Upstream that Gloo's discovery makes of one. Not
here: HTTPRoutes, which Gloo and its successor kgateway serve too (`gateway.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import manifest
from pulumi_rollout.routers.rules import Form, Rule, ours, place, put_back, shares_at, split

Manifest = dict[str, Any]

API_VERSION = "gateway.solo.io/v1"
# A status says that an object was rejected, but not which generation of it was taken.
REPORTS = False
PROXY = "gloo"
STRATEGIES = {"canary": "fixture"}
NOTICE = (
    "the open-source Gloo ends on 2026-12-31: kgateway, its successor, takes the router `gateway` (docs/routers.md)"
)


@dataclass(frozen=True)
class Route:
    """A VirtualService of Gloo Edge, or a RouteTable that another one delegates to.

    + domains: host names; without any, it is a RouteTable
    + prefix: of the paths
    + request_timeout: for a whole answer, as in "60s"
    """

    domains: Sequence[str] = ()
    prefix: str = "/"
    request_timeout: str | None = None
    router: ClassVar[str] = "gloo"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The object at rest, all traffic on the apex Service."""
        target = {"kube": {"ref": {"name": app, "namespace": namespace}, "port": port}}
        route: Manifest = {
            "matchers": [{"prefix": self.prefix}],
            "routeAction": {"multi": {"destinations": [{"destination": target, "weight": 100}]}},
        }
        if self.request_timeout is not None:
            route["options"] = {"timeout": self.request_timeout}
        if not self.domains:
            return [manifest(API_VERSION, "RouteTable", app, namespace, {"routes": [route]})]
        host = {"domains": list(self.domains), "routes": [route]}
        return [manifest(API_VERSION, "VirtualService", app, namespace, {"virtualHost": host})]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our routes, with this share in percent; a route to a single
    destination becomes one to several."""
    changed = deepcopy(objects)
    for action, rule in _actions(changed):
        if "single" in action and ours([rule], FORM, backends):
            del action["single"]
            action["multi"] = rule.holder
    split([rule for _, rule in _actions(changed)], FORM, backends, percent)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our routes the destinations that it had before the walk."""
    changed = deepcopy(objects)
    actions, before = _actions(changed), _actions(original)
    put_back([rule for _, rule in actions], [rule for _, rule in before], FORM, backends)
    for (action, rule), (old, _) in zip(actions, before, strict=False):
        if "single" in old and "multi" in action and len(actions) == len(before) and ours([rule], FORM, backends):
            action["single"] = action.pop("multi")["destinations"][0]["destination"]
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each route; None where one does not list it. ValueError if none is ours."""
    what, where = "route of the VirtualService, RouteTable or UpstreamGroup", "routes[].routeAction"
    return shares_at([rule for _, rule in _actions(objects)], FORM, backends, what, where)


def problem(objects: list[Manifest]) -> str | None:
    """Why Gloo has rejected an object; None does not say that it has taken it."""
    for item in objects:
        for status in (item.get("status", {}).get("statuses") or {}).values():
            if status.get("state") in ("Rejected", 2):
                return f"Gloo rejects {item['kind']} {item['metadata']['name']}: {status.get('reason', '')}"
    return None


def _actions(objects: list[Manifest]) -> list[tuple[Manifest, Rule]]:
    """Each action that leads somewhere, with its list of destinations; that of a single one is a copy."""
    found = []
    for item in objects:
        spec = item["spec"]
        if item["kind"] == "UpstreamGroup":
            found.append((spec, Rule(place(item, "spec.destinations"), spec, "destinations", 0)))
        inner, path = (spec["virtualHost"], "spec.virtualHost") if "virtualHost" in spec else (spec, "spec")
        for number, route in enumerate(inner.get("routes") or []):
            action = route.get("routeAction") or {}
            single = [{"destination": action["single"], "weight": 100}] if "single" in action else []
            where = place(item, f"{path}.routes[{number}].routeAction")
            holder = action.get("multi") or {"destinations": single}
            found.append((action, Rule(where, holder, "destinations", number, route.get("name"))))
    return found


def _service(backend: Manifest, namespace: str) -> str | None:
    target = backend["destination"]
    if "subset" in target:
        return "a subset"
    if "kube" in target:
        ref = target["kube"]["ref"]
        return ref["name"] if ref.get("namespace") == namespace else None
    # As discovery names it: namespace, Service, port.
    named = (target.get("upstream") or {}).get("name", "")
    service, _, port = named.removeprefix(f"{namespace}-").rpartition("-")
    return service if port.isdecimal() and named.startswith(f"{namespace}-") else None


def _named(backend: Manifest, target: Target) -> Manifest:
    known = backend["destination"]
    if "kube" in known:
        made = {"kube": {**known["kube"], "ref": {**known["kube"]["ref"], "name": target.service}, "port": target.port}}
    else:
        name = f"{target.namespace}-{target.service}-{target.port}"
        made = {"upstream": {**known["upstream"], "name": name}}
    return {**backend, "destination": {**known, **made}}


FORM = Form(service=_service, named=_named, alone=100)
