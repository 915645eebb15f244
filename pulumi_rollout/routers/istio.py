"""Istio VirtualService (networking.istio.io/v1): weights on `spec.http|tls|tcp[].route`.

Pure: objects in, objects out. Where the route has a DestinationRule for the apex, the walk makes one of the
same policy for the canary. Where it has one named `<apex>-revisions`, the versions are subsets of a Service of
that name, which the walk makes, and which selects the pods of both. Not here: which rules are ours (`rules.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import Ref, find, in_order, manifest, refs, with_made, without_made
from pulumi_rollout.routers.rules import Form, Rule, ours, place, put_back, shares_at, split

Manifest = dict[str, Any]
Setting = str | int | bool
# As deep as traffic policies go: loadBalancer.consistentHash.httpCookie.ttl, and lists, as portLevelSettings is one.
Flat = Mapping[str, Setting | Sequence[str]]
Nested = Mapping[str, Setting | Sequence[str] | Flat]
Deep = Mapping[str, Setting | Sequence[str] | Nested]
TrafficPolicy = Mapping[str, Deep | Sequence[Mapping[str, Deep]]]

API_VERSION = "networking.istio.io/v1"
# What follows the application's name in the names of the Service of both versions and of its DestinationRule.
SHARED, STABLE, CANARY = "revisions", "stable", "canary"
# By which pods of two revisions are told apart, as `inputs.py` has it.
REVISION_LABEL = "pulumi-rollout/revision"
# Istio writes no status unless it is told to, and none that says what proxies have.
REPORTS = False
PROXY = "istio"
STRATEGIES = {"canary": "schema"}


@dataclass(frozen=True)
class Route:
    """An Istio VirtualService, and a DestinationRule where there is a traffic policy or there are subsets.

    + hosts: names that the gateways serve, beside the Service's own in the mesh
    + gateways: as `name` or `namespace/name`
    + mesh: callers inside the mesh are routed too
    + delegate: it has neither hosts nor gateways, as another VirtualService delegates to it
    + protocol: `http` (gRPC too), `tcp`, or `tls` that is passed through by its server name
    + request_timeout: for a whole answer, as in "60s"; HTTP only
    + traffic_policy: of a DestinationRule; holds for both versions
    + subsets: both versions are subsets of one Service
    """

    hosts: Sequence[str] = ()
    gateways: Sequence[str] = ()
    mesh: bool = True
    delegate: bool = False
    protocol: Literal["http", "tls", "tcp"] = "http"
    request_timeout: str | None = None
    traffic_policy: TrafficPolicy | None = None
    subsets: bool = False
    router: ClassVar[str] = "istio"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The objects at rest, all traffic on the apex Service."""
        rule: Manifest = {"route": [{"destination": {"host": app, "port": {"number": port}}}]}
        hosts = [*self.hosts, *([app] if self.mesh else [])]
        if self.protocol == "tls":
            rule["match"] = [{"sniHosts": hosts}]
        if self.protocol == "http" and self.request_timeout is not None:
            rule["timeout"] = self.request_timeout
        spec: Manifest = {self.protocol: [rule]}
        if not self.delegate:
            spec |= {"hosts": hosts, "gateways": [*self.gateways, *(["mesh"] if self.mesh else [])]}
        made = [manifest(API_VERSION, "VirtualService", app, namespace, spec)]
        if self.subsets or self.traffic_policy is not None:
            host = f"{app}-{SHARED}" if self.subsets else app
            policy = {} if self.traffic_policy is None else {"trafficPolicy": deepcopy(dict(self.traffic_policy))}
            made.insert(0, manifest(API_VERSION, "DestinationRule", host, namespace, {"host": host, **policy}))
        return made


def parts(refs: list[Ref], backends: Backends) -> list[Ref]:
    """What destinations are, before the VirtualServices that name them, together with what the walk makes."""
    services, policies = ([ref for ref in refs if ref["kind"] == kind] for kind in ("Service", "DestinationRule"))
    apex, both = backends.apex.service, _both(backends).service
    if any(ref["name"] == both for ref in policies):
        needed = [{"apiVersion": "v1", "kind": "Service", "name": name} for name in (apex, both)]
        services += [ref for ref in needed if ref not in services]
    elif policies and all(ref["name"] != backends.canary.service for ref in policies):
        policies.append({**policies[0], "name": backends.canary.service})
    return [*services, *policies, *(ref for ref in refs if ref not in services and ref not in policies)]


def proxy(refs: list[Ref], backends: Backends) -> str:
    """Whose series tell the versions apart: subsets are of one Service, and differ by their Deployments alone."""
    shared = {"kind": "DestinationRule", "name": _both(backends).service}
    return "istio-subsets" if any(shared.items() <= ref.items() for ref in refs) else PROXY


def blind(refs: list[Ref], backends: Backends, read: str) -> str | None:
    """Why the series of a proxy cannot tell the versions apart, or None."""
    fits = proxy(refs, backends)
    if read != PROXY or fits == PROXY:
        return None
    return f"the series of {PROXY} cannot tell the two versions of this route apart: read those of {fits}"


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our rules, with this share in percent, and declare it."""
    changed = deepcopy(objects)
    rules, shared, apex = ours(_rules(changed), _form(backends), backends), *_divided(changed, backends)
    if not rules or (shared and not apex):
        return changed
    if shared and apex:
        _split_subsets(rules, backends, percent)
        _add_subsets(shared, apex, backends)
        changed = with_made(changed, _service_of_both(apex, backends))
    else:
        split(rules, _form(backends), backends, percent)
        for policy in [item for item in changed if _is_of_apex(item, backends)]:
            changed = with_made(changed, _policy_of_canary(policy, backends))
    return in_order(changed, parts(refs(changed), backends))


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our rules the destinations that it had before the walk; what the walk made goes after them."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), _form(backends), backends)
    shared, _ = _divided(changed, backends)
    if shared:
        rest = [one for one in shared["spec"].pop("subsets", []) if one["name"] not in (STABLE, CANARY)]
        shared["spec"] |= {"subsets": rest} if rest else {}
    return without_made(changed)


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each rule; None where one does not list it. ValueError if none is ours."""
    shared, apex = _divided(objects, backends)
    if shared and not apex:
        raise ValueError(
            f"Service {backends.apex.service} selects no {REVISION_LABEL}, by which subsets are told apart"
        )
    for one in (shared or {}).get("spec", {}).get("subsets") or []:
        if one["name"] in (STABLE, CANARY) and (one.get("labels") or {}).keys() != {REVISION_LABEL}:
            raise ValueError(
                f"{place(shared or {}, 'spec.subsets')} has one of the name {one['name']}, which is what a"
                " rollout would call its own: rename it"
            )
    what, where = "rule of the VirtualService", "spec.http, spec.tls, spec.tcp"
    return shares_at(_rules(objects), _form(backends), backends, what, where)


def problem(objects: list[Manifest]) -> str | None:
    """None: Istio does not say what its proxies have."""
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    found = []
    for item in objects:
        spec = item.get("spec", {}) if item["kind"] == "VirtualService" else {}
        rules = [(key, at, rule) for key in ("http", "tls", "tcp") for at, rule in enumerate(spec.get(key) or [])]
        for number, (key, at, rule) in enumerate(rules):
            found.append(Rule(place(item, f"spec.{key}[{at}].route"), rule, "route", number, rule.get("name")))
    return found


def _form(backends: Backends) -> Form:
    """Destinations are Services, or subsets of the one that selects both."""
    subsets = {STABLE: backends.apex.service, CANARY: backends.canary.service}

    def service(route: Manifest, namespace: str) -> str | None:
        named, subset = _named(route["destination"]["host"], namespace), route["destination"].get("subset")
        if subset is None or named is None:
            return named
        return subsets.get(subset) if named == _both(backends).service else f"subset {subset} of {named}"

    # Without a weight, a destination beside others gets nothing.
    return Form(service=service, named=_to, absent=0)


def _named(host: str, namespace: str) -> str | None:
    """The Service of this namespace that a host names, in a short form or in full."""
    name, *rest = host.split(".")
    return name if rest[:1] in ([], [namespace]) and rest[1:2] in ([], ["svc"]) else None


def _renamed(host: str, service: str) -> str:
    return ".".join([service, *host.split(".")[1:]])


def _to(route: Manifest, target: Target, **subset: str) -> Manifest:
    destination = {**route["destination"], "host": _renamed(route["destination"]["host"], target.service), **subset}
    if "port" in destination:
        destination["port"] = {"number": target.port}
    return {**deepcopy(route), "destination": destination}


def _is_of_apex(item: Manifest, backends: Backends) -> bool:
    host = item["spec"]["host"] if item["kind"] == "DestinationRule" else ""
    return _named(host, backends.apex.namespace) == backends.apex.service


def _policy_of_canary(policy: Manifest, backends: Backends) -> Manifest:
    """Both versions are called in the same way: connection pools, outlier detection, TLS."""
    spec = {key: value for key, value in deepcopy(policy["spec"]).items() if key != "subsets"}
    spec["host"] = _renamed(spec["host"], backends.canary.service)
    return manifest(policy["apiVersion"], "DestinationRule", backends.canary.service, backends.apex.namespace, spec)


def _both(backends: Backends) -> Target:
    """The Service that selects the pods of every revision."""
    return backends.apex.model_copy(update={"service": f"{backends.apex.service}-{SHARED}"})


def _divided(objects: list[Manifest], backends: Backends) -> tuple[Manifest | None, Manifest | None]:
    """The DestinationRule that divides that Service, and the apex, whose selector says which revision is stable."""
    apex = find(objects, "Service", backends.apex.service)
    known = apex if apex and REVISION_LABEL in (apex["spec"].get("selector") or {}) else None
    return find(objects, "DestinationRule", _both(backends).service), known


def _split_subsets(rules: list[Rule], backends: Backends, percent: int) -> None:
    """The apex keeps all as long as the canary has nothing, so that both subsets enter and leave at weight 0."""
    for rule in rules:
        plain = (route for route in rule.listed if "subset" not in route["destination"])
        apex = next(plain, None) or _without_subset(rule.listed[0], backends)
        rule.holder[rule.key] = [
            {**apex, "weight": 0 if percent else 100},
            {**_to(apex, _both(backends), subset=STABLE), "weight": 100 - percent if percent else 0},
            {**_to(apex, _both(backends), subset=CANARY), "weight": percent},
        ]


def _without_subset(route: Manifest, backends: Backends) -> Manifest:
    """The apex, where somebody has taken it from beside its subsets."""
    named = _to(route, backends.apex)
    return {**named, "destination": {key: value for key, value in named["destination"].items() if key != "subset"}}


def _add_subsets(shared: Manifest, apex: Manifest, backends: Backends) -> None:
    canary = backends.canary.service.removeprefix(f"{backends.apex.service}-")
    revisions = {STABLE: apex["spec"]["selector"][REVISION_LABEL], CANARY: canary}
    others = [one for one in shared["spec"].get("subsets", []) if one["name"] not in revisions]
    made = [{"name": name, "labels": {REVISION_LABEL: revision}} for name, revision in revisions.items()]
    shared["spec"]["subsets"] = [*others, *made]


def _service_of_both(apex: Manifest, backends: Backends) -> Manifest:
    selector = {key: value for key, value in apex["spec"]["selector"].items() if key != REVISION_LABEL}
    kept = ("name", "protocol", "port", "targetPort", "appProtocol")
    ports = [{key: port[key] for key in kept if key in port} for port in apex["spec"]["ports"]]
    namespace, name = backends.apex.namespace, _both(backends).service
    return manifest("v1", "Service", name, namespace, {"selector": selector, "ports": ports})
