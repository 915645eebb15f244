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
    name: str, namespace: str, hosts: list[str], gateway: str, backend: str, port: int
) -> list[dict[str, Any]]:
    """The route at rest: every request of `hosts` to the apex. `gateway` is name or namespace/name."""
    parent_namespace, _, parent = gateway.rpartition("/")
    parent_ref = {"name": parent, **({"namespace": parent_namespace} if parent_namespace else {})}
    return [
        {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "parentRefs": [parent_ref],
                "hostnames": list(hosts),
                "rules": [{"backendRefs": [{"name": backend, "port": port}]}],
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
    """Give each of our rules the backends that it had before the walk."""
    changed = deepcopy(objects)
    before = [rule["backendRefs"] for rule in _our_rules(original, backends)]
    rules = list(_our_rules(changed, backends))
    for position, rule in enumerate(rules):
        apex = next(ref for ref in rule["backendRefs"] if ref["name"] == backends.apex.service)
        alone = [{**apex, "weight": 1}]
        rule["backendRefs"] = deepcopy(before[position]) if len(before) == len(rules) else alone
    return changed


def weight(objects: list[dict[str, Any]], backends: Backends) -> int | None:
    """The canary's share in percent; None when no rule lists it. ValueError if no rule is ours."""
    shares = set()
    for rule in _our_rules(objects, backends):
        weights = {ref["name"]: ref.get("weight", 1) for ref in rule["backendRefs"]}
        total = sum(weights.values())
        share = (
            round(100 * weights[backends.canary.service] / total)
            if backends.canary.service in weights and total
            else None
        )
        shares.add(share)
    if not shares:
        raise ValueError(f"no rule of the HTTPRoute has {backends.apex.service} as its only backend (spec.rules)")
    # Rules that differ (somebody's edit) count as the highest, so that it is never understated.
    return max(shares, key=lambda share: -1 if share is None else share)


def problem(objects: list[dict[str, Any]]) -> str | None:
    """Why the Gateway has not taken the route as it is now, from each parent's conditions."""
    for item in objects:
        generation = item["metadata"].get("generation", 0)
        parents = item.get("status", {}).get("parents", [])
        if not parents:
            return "no Gateway has taken the HTTPRoute yet (status.parents is empty)"
        for parent in parents:
            for condition in parent.get("conditions", []):
                if condition.get("observedGeneration", 0) < generation:
                    return "the Gateway has not seen the HTTPRoute's last change yet"
                if condition["status"] != "True" and condition["type"] in ("Accepted", "ResolvedRefs"):
                    return f"the Gateway refuses the HTTPRoute: {condition['message']}"
    return None


def _our_rules(objects: list[dict[str, Any]], backends: Backends) -> list[dict[str, Any]]:
    apex, canary = backends.apex.service, backends.canary.service
    ours = ({apex}, {apex, canary})
    return [
        rule
        for item in objects
        for rule in item["spec"].get("rules", [])
        if {ref["name"] for ref in rule.get("backendRefs", [])} in ours
    ]
