"""Kuma MeshHTTPRoute and MeshTCPRoute (kuma.io/v1alpha1): weights on `spec.to[].rules[].default.backendRefs`.

Pure: objects in, objects out. A backend is a MeshService, which Kuma makes of each Service: by its name, or by
that of the tag kuma.io/service, `<service>_<namespace>_svc_<port>`. Not here: TrafficRoute, which Kuma has
replaced by these.
"""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import manifest
from pulumi_rollout.routers.rules import Form, Rule, place, put_back, shares_at, split

Manifest = dict[str, Any]

API_VERSION = "kuma.io/v1alpha1"
TAG = re.compile(r"(?P<service>[^_]+)_(?P<namespace>[^_]+)_svc_(?P<port>\d+)")
# Policies have no status.
REPORTS = False
PROXY = "kuma"
STRATEGIES = {"canary": "fixture"}


@dataclass(frozen=True)
class Route:
    """How clients in the mesh reach the Service: a policy of its own namespace, which holds for all of them.

    + mesh: the name of the Mesh
    + protocol: `http` (gRPC too), for Services whose port says so by its appProtocol; or `tcp`
    """

    mesh: str = "default"
    protocol: Literal["http", "tcp"] = "http"
    router: ClassVar[str] = "kuma"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The policy at rest, all traffic on the apex Service."""
        rule: Manifest = {"default": {"backendRefs": [{"kind": "MeshService", "name": app, "port": port}]}}
        if self.protocol == "http":
            rule["matches"] = [{"path": {"type": "PathPrefix", "value": "/"}}]
        kind = {"http": "MeshHTTPRoute", "tcp": "MeshTCPRoute"}[self.protocol]
        spec = {"to": [{"targetRef": {"kind": "MeshService", "name": app}, "rules": [rule]}]}
        policy = manifest(API_VERSION, kind, app, namespace, spec)
        policy["metadata"]["labels"] = {"kuma.io/mesh": self.mesh}
        return [policy]


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
    what, where = "rule of a MeshHTTPRoute or MeshTCPRoute", "spec.to[].rules[].default.backendRefs"
    return shares_at(_rules(objects), FORM, backends, what, where)


def problem(objects: list[Manifest]) -> str | None:
    """None: a policy has no status."""
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    found = []
    for item in objects:
        places = [
            (f"spec.to[{number}].rules[{at}].default.backendRefs", rule["default"])
            for number, to in enumerate(item["spec"].get("to") or [])
            for at, rule in enumerate(to.get("rules") or [])
        ]
        found += [Rule(place(item, path), rest, "backendRefs", at) for at, (path, rest) in enumerate(places)]
    return found


def _service(backend: Manifest, namespace: str) -> str | None:
    if backend["kind"] != "MeshService" or backend.get("namespace", namespace) != namespace or "name" not in backend:
        return None
    tag = TAG.fullmatch(backend["name"])
    if tag is None:
        return str(backend["name"])
    return tag["service"] if tag["namespace"] == namespace else None


def _named(backend: Manifest, target: Target) -> Manifest:
    if TAG.fullmatch(backend["name"]):
        return {**backend, "name": f"{target.service}_{target.namespace}_svc_{target.port}"}
    return {**backend, "name": target.service, "port": target.port}


FORM = Form(service=_service, named=_named)
