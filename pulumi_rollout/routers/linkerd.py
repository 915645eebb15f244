"""Linkerd: HTTPRoute and GRPCRoute whose parent is the apex Service, and SMI's TrafficSplit.

Pure: objects in, objects out. Clients' proxies split what is sent to the apex; the apex stays one of its own
backends. HTTPRoutes of policy.linkerd.io have the same shape. Not here: routes of a Gateway (`gateway.py`).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import manifest
from pulumi_rollout.routers.rules import Form, Rule, place, put_back, shares_at, split

Manifest = dict[str, Any]

GATEWAY, SPLIT = "gateway.networking.k8s.io/v1", "split.smi-spec.io/v1alpha2"
# Conditions of Linkerd's carry no generation, so an old one cannot be told from a new one.
REPORTS = False
PROXY = "linkerd"
STRATEGIES = {"canary": "schema"}


@dataclass(frozen=True)
class Route:
    """How meshed clients reach the Service.

    + kind: HTTPRoute or GRPCRoute of the Gateway API; or TrafficSplit, for clusters that still have the SMI
      extension, which Linkerd has deprecated
    + request_timeout: for a whole answer, as in "60s"; HTTPRoute only
    """

    kind: Literal["HTTPRoute", "GRPCRoute", "TrafficSplit"] = "HTTPRoute"
    request_timeout: str | None = None
    router: ClassVar[str] = "linkerd"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The object at rest, all traffic on the apex Service."""
        if self.kind == "TrafficSplit":
            spec: Manifest = {"service": app, "backends": [{"service": app, "weight": 100}]}
            return [manifest(SPLIT, self.kind, app, namespace, spec)]
        rule: Manifest = {"backendRefs": [{"name": app, "port": port}]}
        if self.kind == "HTTPRoute" and self.request_timeout is not None:
            rule["timeouts"] = {"request": self.request_timeout}
        parent = {"group": "core", "kind": "Service", "name": app, "port": port}
        return [manifest(GATEWAY, self.kind, app, namespace, {"parentRefs": [parent], "rules": [rule]})]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our rules, with this share in percent."""
    changed = deepcopy(objects)
    split(_rules(changed), FORM, backends, percent)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our rules the backends that it had before the walk."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), FORM, backends)
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each rule; None where one does not list it. ValueError if none is ours."""
    what, where = "rule of an HTTPRoute, GRPCRoute or TrafficSplit", "spec.rules, spec.backends"
    return shares_at(_rules(objects), FORM, backends, what, where)


def problem(objects: list[Manifest]) -> str | None:
    """None: what Linkerd says of a route may be of an earlier state of it."""
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    found = []
    for item in objects:
        spec = item["spec"]
        if item["kind"] == "TrafficSplit":
            found.append(Rule(place(item, "spec.backends"), spec, "backends", 0))
        for number, rule in enumerate(spec.get("rules") or []):
            path = place(item, f"spec.rules[{number}].backendRefs")
            found.append(Rule(path, rule, "backendRefs", number, rule.get("name")))
    return found


def _service(backend: Manifest, namespace: str) -> str | None:
    if "service" in backend:
        return str(backend["service"])
    plain = backend.get("kind", "Service") == "Service" and backend.get("group", "") in ("", "core")
    return backend["name"] if plain and backend.get("namespace", namespace) == namespace else None


def _named(backend: Manifest, target: Target) -> Manifest:
    if "service" in backend:
        return {**backend, "service": target.service}
    return {**backend, "name": target.service, "port": target.port}


FORM = Form(service=_service, named=_named, alone=1)
