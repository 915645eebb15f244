"""Gateway API HTTPRoute, GRPCRoute and TCPRoute: weights on `spec.rules[].backendRefs`.

Pure: objects in, objects out. Only rules whose backends are the apex, or the apex and the canary,
are touched; every other rule belongs to somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.rules import Form, Rule, place, put_back, shares_at, split

Manifest = dict[str, Any]

GROUP = "gateway.networking.k8s.io"
API_VERSION = f"{GROUP}/v1"
KIND = "HTTPRoute"
# What they are declared as; the shape of their rules is the same.
KINDS = {KIND: API_VERSION, "GRPCRoute": API_VERSION, "TCPRoute": f"{GROUP}/v1alpha2"}
# The Gateway says in the route's status what it made of it.
REPORTS = True
PROXY = "contour"
STRATEGIES = {"canary": "traffic"}


@dataclass(frozen=True)
class Route:
    """A Gateway API HTTPRoute, GRPCRoute or TCPRoute.

    + hosts: host names; a TCPRoute has none
    + gateway: the Gateway that serves them, as `name` or `namespace/name`
    + request_timeout: for a whole answer, as in "60s"; "0s" for none, which streams need where the
      Gateway has a default; HTTPRoute only
    + kind: `HTTPRoute`, `GRPCRoute` or `TCPRoute`
    + listener: of the Gateway, by its name (`sectionName`), which a TCPRoute is told apart by
    """

    hosts: Sequence[str]
    gateway: str
    request_timeout: str | None = None
    kind: Literal["HTTPRoute", "GRPCRoute", "TCPRoute"] = "HTTPRoute"
    listener: str | None = None
    router: ClassVar[str] = "gateway"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The route at rest, all traffic on the apex Service."""
        parent_namespace, _, parent = self.gateway.rpartition("/")
        rule: Manifest = {"backendRefs": [{"name": app, "port": port}]}
        if self.request_timeout is not None and self.kind == KIND:
            rule["timeouts"] = {"request": self.request_timeout}
        parent_ref = {"name": parent, **({"namespace": parent_namespace} if parent_namespace else {})}
        if self.listener is not None:
            parent_ref["sectionName"] = self.listener
        return [
            {
                "apiVersion": KINDS[self.kind],
                "kind": self.kind,
                "metadata": {"name": app, "namespace": namespace},
                "spec": {
                    "parentRefs": [parent_ref],
                    **({} if self.kind == "TCPRoute" else {"hostnames": list(self.hosts)}),
                    "rules": [rule],
                },
            }
        ]


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
    kind = objects[0]["kind"] if objects else KIND
    return shares_at(_rules(objects), FORM, backends, f"rule of the {kind}", "spec.rules")


def problem(objects: list[Manifest]) -> str | None:
    """Why the Gateway has not taken the route as it is now, from the conditions of each parent that
    the route names; what is left of former parents does not count."""
    for item in objects:
        parents = item.get("status", {}).get("parents", [])
        if not parents:
            return f"no Gateway has taken the {item['kind']} yet (status.parents is empty)"
        for parent in [parent for parent in parents if _is_named(parent, item)] or parents:
            conditions = {condition["type"]: condition for condition in parent.get("conditions") or []}
            if "Accepted" not in conditions:
                return f"the Gateway has not said yet whether it accepts the {item['kind']}"
            for name in ("Accepted", "ResolvedRefs"):
                condition = conditions.get(name, conditions["Accepted"])
                if condition.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
                    return f"the Gateway has not seen the {item['kind']}'s last change yet"
                if condition["status"] != "True":
                    return f"the Gateway refuses the {item['kind']}: {condition['message']}"
    return None


def _is_named(parent: Manifest, route: Manifest) -> bool:
    """Whether a status is of a parent that the route names."""
    namespace = route["metadata"].get("namespace")

    def key(ref: Manifest) -> tuple[str | None, ...]:
        return ref.get("namespace", namespace), ref["name"], ref.get("sectionName")

    return key(parent["parentRef"]) in [key(ref) for ref in route["spec"].get("parentRefs", [])]


def _rules(objects: list[Manifest]) -> list[Rule]:
    return [
        Rule(place(item, f"spec.rules[{number}].backendRefs"), rule, "backendRefs", number, rule.get("name"))
        for item in objects
        for number, rule in enumerate(item.get("spec", {}).get("rules") or [])
    ]


def _service(ref: Manifest, namespace: str) -> str | None:
    plain = ref.get("kind", "Service") == "Service" and not ref.get("group")
    return ref["name"] if plain and ref.get("namespace", namespace) == namespace else None


def _named(ref: Manifest, target: Target) -> Manifest:
    return {**ref, "name": target.service, "port": target.port}


FORM = Form(service=_service, named=_named, alone=1)
