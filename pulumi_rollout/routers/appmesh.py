"""AWS App Mesh VirtualRouter (appmesh.k8s.aws/v1beta2): weights on `spec.routes[].*Route.action.weightedTargets`.

Pure: objects in, objects out. A target is a VirtualNode. The apex's is declared and is what all pods of the
application are; the walk makes one for the canary that differs in the Service that it finds. AWS has ended App
Mesh on 2026-09-30; this is for who has to leave it in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import Ref, find, in_order, manifest, refs, with_made, without_made
from pulumi_rollout.routers.rules import Form, Rule, ours, place, put_back, shares_at, split

Manifest = dict[str, Any]

API_VERSION = "appmesh.k8s.aws/v1beta2"
NODE, ROUTER, SERVICE = "VirtualNode", "VirtualRouter", "VirtualService"
PROTOCOLS = ("http", "http2", "grpc", "tcp")
# The application's name on the pods of all its revisions, as `inputs.py` has it.
APP_LABEL = "app.kubernetes.io/name"
# The controller says in the status which generation AWS has.
REPORTS = True
PROXY = "appmesh"
STRATEGIES = {"canary": "fixture"}
NOTICE = "AWS has ended App Mesh on 2026-09-30: move to another router (docs/routers.md)"


@dataclass(frozen=True)
class Route:
    """A VirtualService with its VirtualRouter, and the VirtualNode of the application.

    + protocol: of the port
    + calls: VirtualServices of the same namespace that the application itself calls
    """

    protocol: Literal["http", "http2", "grpc", "tcp"] = "http"
    calls: Sequence[str] = ()
    router: ClassVar[str] = "appmesh"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The objects at rest, all traffic on the apex Service."""
        listener = {"portMapping": {"port": port, "protocol": self.protocol}}
        node = {
            "podSelector": {"matchLabels": {APP_LABEL: app}},
            "listeners": [listener],
            "serviceDiscovery": {"dns": {"hostname": f"{app}.{namespace}.svc.cluster.local"}},
            "backends": [{"virtualService": {"virtualServiceRef": {"name": name}}} for name in self.calls],
        }
        action = {"action": {"weightedTargets": [{"virtualNodeRef": {"name": app}, "weight": 1}]}}
        match = {"http": {"prefix": "/"}, "http2": {"prefix": "/"}, "grpc": {}, "tcp": None}[self.protocol]
        rule = action if match is None else {"match": match, **action}
        routes = [{"name": app, f"{self.protocol}Route": rule}]
        provider = {"virtualRouter": {"virtualRouterRef": {"name": app}}}
        host = f"{app}.{namespace}.svc.cluster.local"
        return [
            manifest(API_VERSION, NODE, app, namespace, node),
            manifest(API_VERSION, ROUTER, app, namespace, {"listeners": [deepcopy(listener)], "routes": routes}),
            manifest(API_VERSION, SERVICE, app, namespace, {"awsName": host, "provider": provider}),
        ]


def parts(refs: list[Ref], backends: Backends) -> list[Ref]:
    """VirtualNodes, the one that the walk makes among them, before the VirtualRouters that name them."""
    nodes = [ref for ref in refs if ref["kind"] == NODE]
    made = {"apiVersion": API_VERSION, "kind": NODE, "name": backends.canary.service}
    return [*nodes, *([] if made in nodes else [made]), *(ref for ref in refs if ref["kind"] != NODE)]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our routes, with this share in percent, and make its node."""
    changed = deepcopy(objects)
    apex = _node_of_apex(changed, backends)
    if apex is None or not ours(_rules(changed), FORM, backends):
        return changed
    split(_rules(changed), FORM, backends, percent)
    changed = with_made(changed, _node_of_canary(apex, backends))
    return in_order(changed, parts(refs(changed), backends))


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our routes the targets that it had before the walk, and take the canary's node away."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), FORM, backends)
    return without_made(changed)


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each route; None where one does not list it. ValueError if none is ours."""
    if _node_of_apex(objects, backends) is None:
        name = backends.apex.service
        raise ValueError(f"{NODE} {name} with spec.serviceDiscovery.dns, from which the canary's is made, is not there")
    return shares_at(_rules(objects), FORM, backends, f"route of the {ROUTER}", "spec.routes")


def problem(objects: list[Manifest]) -> str | None:
    """Why AWS does not have the objects as they are now."""
    for item in objects:
        named, status = f"{item['kind']} {item['metadata']['name']}", item.get("status", {})
        if (status.get("observedGeneration") or 0) < item["metadata"].get("generation", 0):
            return f"the App Mesh controller has not seen the last change of {named} yet"
        active: Manifest = next(
            (one for one in status.get("conditions") or [] if one["type"] == f"{item['kind']}Active"), {}
        )
        if active.get("status") != "True":
            return f"{named} is not active: {active.get('message') or 'the App Mesh controller gives no reason'}"
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    return [
        Rule(
            place(item, f"spec.routes[{number}].{protocol}Route.action.weightedTargets"),
            route[f"{protocol}Route"]["action"],
            "weightedTargets",
            number,
            route.get("name"),
        )
        for item in objects
        if item["kind"] == ROUTER
        for number, route in enumerate(item["spec"].get("routes") or [])
        for protocol in PROTOCOLS
        if f"{protocol}Route" in route
    ]


def _node_of_apex(objects: list[Manifest], backends: Backends) -> Manifest | None:
    """That finds its Service by DNS, in which the canary's differs from it."""
    apex = find(objects, NODE, backends.apex.service)
    return apex if apex and "dns" in (apex["spec"].get("serviceDiscovery") or {}) else None


def _node_of_canary(apex: Manifest, backends: Backends) -> Manifest:
    """Without pods of its own: what a pod is, is settled when it is made, and outlasts the walk."""
    kept = {key: value for key, value in deepcopy(apex["spec"]).items() if key not in ("podSelector", "awsName")}
    dns = kept["serviceDiscovery"]["dns"]
    dns["hostname"] = ".".join([backends.canary.service, *dns["hostname"].split(".")[1:]])
    return manifest(API_VERSION, NODE, backends.canary.service, backends.canary.namespace, kept)


def _service(target: Manifest, namespace: str) -> str | None:
    ref = target.get("virtualNodeRef") or {}
    return ref.get("name") if ref.get("namespace", namespace) == namespace else None


def _named(target: Manifest, to: Target) -> Manifest:
    return {**target, "virtualNodeRef": {**target["virtualNodeRef"], "name": to.service}}


FORM = Form(service=_service, named=_named, alone=1)
