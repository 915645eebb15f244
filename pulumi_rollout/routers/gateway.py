"""Gateway API HTTPRoute (gateway.networking.k8s.io/v1): weights on `spec.rules[].backendRefs`.

Pure: objects in, objects out. Only rules whose backends are the apex, or the apex and the canary,
are touched; every other rule belongs to somebody else.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from pulumi_rollout.core.targets import Backends

API_VERSION = "gateway.networking.k8s.io/v1"
KIND = "HTTPRoute"


def declared(
    name: str, namespace: str, hosts: list[str], gateway: str, port: int, request_timeout: str | None = None
) -> list[dict[str, Any]]:
    """The route at rest: every request of `hosts` to the apex, the Service of the same name.
    `gateway` is name or namespace/name."""
    parent_namespace, _, parent = gateway.rpartition("/")
    rule: dict[str, Any] = {"backendRefs": [{"name": name, "port": port}]}
    if request_timeout is not None:
        rule["timeouts"] = {"request": request_timeout}
    parent_ref = {"name": parent, **({"namespace": parent_namespace} if parent_namespace else {})}
    return [
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "parentRefs": [parent_ref],
                "hostnames": list(hosts),
                "rules": [rule],
            },
        }
    ]


def with_weight(objects: list[dict[str, Any]], backends: Backends, percent: int) -> list[dict[str, Any]]:
    """List the canary beside the apex in each of our rules, with this share in percent."""
    changed = deepcopy(objects)
    for rule in _our_rules(changed, backends):
        apex = next(ref for ref in rule["backendRefs"] if ref["name"] == backends.apex.service)
        canary = {**apex, "name": backends.canary.service, "port": backends.canary.port, "weight": percent}
        rule["backendRefs"] = [{**apex, "weight": 100 - percent}, canary]
    return changed


def restored(objects: list[dict[str, Any]], original: list[dict[str, Any]], backends: Backends) -> list[dict[str, Any]]:
    """Give each of our rules the backends that it had before the walk; the apex alone where those
    cannot be told, or listed the canary, which an earlier walk left behind."""
    changed = deepcopy(objects)
    before = [rule["backendRefs"] for rule in _our_rules(original, backends)]
    rules = _our_rules(changed, backends)
    for position, rule in enumerate(rules):
        apex = next(ref for ref in rule["backendRefs"] if ref["name"] == backends.apex.service)
        refs = before[position] if len(before) == len(rules) else []
        alone = [ref for ref in refs if ref["name"] == backends.apex.service] == refs
        rule["backendRefs"] = deepcopy(refs) if refs and alone else [{**apex, "weight": 1}]
    return changed


def weight(objects: list[dict[str, Any]], backends: Backends) -> int | None:
    """The canary's share in percent; None when no rule lists it. ValueError if no rule is ours."""
    shares = set()
    for rule in _our_rules(objects, backends):
        weights = {ref["name"]: ref.get("weight", 1) for ref in rule["backendRefs"]}
        canary, total = weights.get(backends.canary.service), sum(weights.values())
        # Rounded up, so that a share of somebody's edit is never understated.
        shares.add(None if canary is None else -(-100 * canary // total) if total else 0)
    if not shares:
        raise ValueError(f"no rule of the HTTPRoute has {backends.apex.service} as its only backend (spec.rules)")
    # Rules that differ count as the highest, for the same reason.
    return max(shares, key=lambda share: -1 if share is None else share)


def problem(objects: list[dict[str, Any]]) -> str | None:
    """Why the Gateway has not taken the route as it is now, from the conditions of each parent that
    the route names; what is left of former parents does not count."""
    for item in objects:
        parents = item.get("status", {}).get("parents", [])
        if not parents:
            return "no Gateway has taken the HTTPRoute yet (status.parents is empty)"
        for parent in [parent for parent in parents if _is_named(parent, item)] or parents:
            conditions = {condition["type"]: condition for condition in parent.get("conditions", [])}
            if "Accepted" not in conditions:
                return "the Gateway has not said yet whether it accepts the HTTPRoute"
            for name in ("Accepted", "ResolvedRefs"):
                condition = conditions.get(name, conditions["Accepted"])
                if condition.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
                    return "the Gateway has not seen the HTTPRoute's last change yet"
                if condition["status"] != "True":
                    return f"the Gateway refuses the HTTPRoute: {condition['message']}"
    return None


def _is_named(parent: dict[str, Any], route: dict[str, Any]) -> bool:
    """Whether a status is of a parent that the route names."""
    namespace = route["metadata"].get("namespace")

    def key(ref: dict[str, Any]) -> tuple[str | None, ...]:
        return ref.get("namespace", namespace), ref["name"], ref.get("sectionName")

    return key(parent["parentRef"]) in [key(ref) for ref in route["spec"].get("parentRefs", [])]


def _our_rules(objects: list[dict[str, Any]], backends: Backends) -> list[dict[str, Any]]:
    apex, canary = backends.apex.service, backends.canary.service
    ours = ({apex}, {apex, canary})
    return [
        rule
        for item in objects
        for rule in item["spec"].get("rules", [])
        if {_service(ref, backends.apex.namespace) for ref in rule.get("backendRefs", [])} in ours
    ]


def _service(ref: dict[str, Any], namespace: str) -> str | None:
    """The name of a Service of this namespace; None for any other kind of backend."""
    plain = ref.get("kind", "Service") == "Service" and not ref.get("group")
    return ref["name"] if plain and ref.get("namespace", namespace) == namespace else None
