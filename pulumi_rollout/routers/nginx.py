"""Ingress with the canary annotations of ingress-nginx (networking.k8s.io/v1).

Pure: objects in, objects out. The Ingress itself is never changed: a walk makes a second one beside it, with the paths
whose backend is the apex, the canary as their backend, and the weight in an annotation. Nothing is copied but what
routes, so that nobody takes it for one of their own objects.

The community's controller, kubernetes/ingress-nginx, was retired in March 2026 and gets no more security fixes. Traefik
reads the same annotations (its provider `kubernetesIngressNGINX`); for anything new, take the Gateway API.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends

Manifest = dict[str, Any]
Ref = dict[str, str]

API_VERSION = "networking.k8s.io/v1"
PREFIX = "nginx.ingress.kubernetes.io"
CANARY, WEIGHT, TOTAL = f"{PREFIX}/canary", f"{PREFIX}/canary-weight", f"{PREFIX}/canary-weight-total"
# Before spec.ingressClassName, the class was said here.
CLASS = "kubernetes.io/ingress.class"
OURS = {"app.kubernetes.io/managed-by": "pulumi-rollout"}
# An Ingress' status has addresses and nothing else.
REPORTS = False
PROXY = "nginx"
STRATEGIES = {"canary": "traffic"}


@dataclass(frozen=True)
class Route:
    """An Ingress for a controller that knows the canary annotations of ingress-nginx.

    + hosts: host names; none for all
    + ingress_class: of the controller
    + tls_secret: the Secret with the certificate
    """

    hosts: Sequence[str]
    ingress_class: str = "nginx"
    tls_secret: str | None = None
    router: ClassVar[str] = "nginx"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The Ingress at rest, all traffic on the apex Service."""
        backend = {"service": {"name": app, "port": {"number": port}}}
        http = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
        named: list[Manifest] = [{"host": host} for host in self.hosts] or [{}]
        spec: Manifest = {
            "ingressClassName": self.ingress_class,
            "rules": [{**rule, "http": deepcopy(http)} for rule in named],
        }
        if self.tls_secret is not None:
            spec["tls"] = [{"hosts": list(self.hosts), "secretName": self.tls_secret}]
        metadata = {"name": app, "namespace": namespace}
        return [{"apiVersion": API_VERSION, "kind": "Ingress", "metadata": metadata, "spec": spec}]


def parts(refs: list[Ref], backends: Backends) -> list[Ref]:
    """Each Ingress, and the one that a walk makes beside it."""
    return [*refs, *({**ref, "name": _canary_name(ref["name"], backends)} for ref in refs)]


def blind(refs: list[Ref], backends: Backends, read: str) -> str | None:
    """Why the series of a proxy cannot tell the versions apart, or None. Traefik names both by the Ingress and the
    old version's Service."""
    others = [ref["name"] for ref in refs if ref["name"] != backends.apex.service]
    if read != "traefik" or not others:
        return None
    return (
        f"the series of traefik are found by the name of the Ingress where that is {backends.apex.service}, and not "
        f'{others[0]}: read the application\'s own, with source=direct("app")'
    )


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """The Ingresses as they are, and beside each with paths of ours its canary with this weight."""
    changed = deepcopy(objects)
    for ingress in _lasting(objects, backends):
        rules = _our_rules(ingress, backends)
        canary = _find(changed, _canary_name(_name(ingress), backends))
        if not rules or (canary is not None and not _is_made(canary)):
            continue
        if canary is None:
            canary = _made(ingress, backends)
            changed.append(canary)
        annotations = canary["metadata"].setdefault("annotations", {})
        annotations.update({CANARY: "true", WEIGHT: str(percent), TOTAL: "100"})
        canary["spec"]["rules"] = [_to_canary(rule, backends) for rule in rules]
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """The Ingresses as they are, without what the walk has made."""
    return deepcopy([item for item in objects if not _is_made(item)])


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent beside each Ingress with paths of ours; None where it has no canary Ingress.
    ValueError if no path is ours, or where an Ingress of the canary's name is somebody else's."""
    found: list[int | None] = []
    lasting = _lasting(objects, backends)
    _check(lasting, backends)
    # Of a walk that is under way, somebody may have moved the rules: its way back does not hang on their positions.
    if not any(map(_is_made, objects)):
        _check_named(lasting, backends)
    for ingress in lasting:
        canary = _find(objects, _canary_name(_name(ingress), backends))
        if not _our_rules(ingress, backends):
            continue
        if canary is None:
            found.append(None)
            continue
        where = f"Ingress {_name(canary)}"
        if not _is_made(canary):
            raise ValueError(f"{where} is there already, and a rollout would make one of that name: rename it")
        if others := {_service(path) for _, path in _paths(canary)} - {backends.canary.service}:
            named = " and ".join(sorted(map(str, others)))
            raise ValueError(f"{where} names {named} in spec.rules, and should name {backends.canary.service} alone")
        annotations = canary["metadata"].get("annotations", {})
        try:
            share, total = int(annotations.get(WEIGHT, "0")), int(annotations.get(TOTAL, "100"))
        except ValueError:
            raise ValueError(f"{where} has no number in metadata.annotations[{WEIGHT}]") from None
        active = annotations.get(CANARY) == "true" and total > 0
        found.append(-(-100 * share // total) if active else 0)
    return found


def problem(objects: list[Manifest]) -> str | None:
    """Nothing: no controller says in an Ingress what it made of its paths."""
    return None


def _canary_name(ingress: str, backends: Backends) -> str:
    """Of what a walk makes beside an Ingress. Two applications on one Ingress have each their own."""
    app = backends.apex.service
    return f"{ingress}-canary" if ingress == app else f"{ingress}-{app}-canary"


def _made(ingress: Manifest, backends: Backends) -> Manifest:
    """A canary Ingress without rules."""
    metadata: Manifest = {
        "name": _canary_name(_name(ingress), backends),
        "namespace": backends.apex.namespace,
        "labels": dict(OURS),
        "annotations": {},
    }
    spec: Manifest = {}
    if "ingressClassName" in ingress["spec"]:
        spec["ingressClassName"] = ingress["spec"]["ingressClassName"]
    elif CLASS in ingress["metadata"].get("annotations", {}):
        metadata["annotations"][CLASS] = ingress["metadata"]["annotations"][CLASS]
    return {"apiVersion": API_VERSION, "kind": "Ingress", "metadata": metadata, "spec": spec}


def _lasting(objects: list[Manifest], backends: Backends) -> list[Manifest]:
    """The Ingresses that are there beside walks."""
    canaries = {_canary_name(_name(item), backends) for item in objects}
    return [item for item in objects if _name(item) not in canaries]


def _our_rules(ingress: Manifest, backends: Backends) -> list[Manifest]:
    """The rules that take part, with the paths whose backend is the apex and no others."""
    found: dict[int, Manifest] = {}
    rules = ingress.get("spec", {}).get("rules") or []
    for number, path in _paths(ingress):
        if _takes_part(rules[number], number, backends) and _service(path) == backends.apex.service:
            rule = found.setdefault(number, {**rules[number], "http": {"paths": []}})
            rule["http"]["paths"].append(path)
    return deepcopy(list(found.values()))


def _takes_part(rule: Manifest, number: int, backends: Backends) -> bool:
    return backends.rules is None or number in backends.rules or rule.get("host") in backends.rules


def _check(ingresses: list[Manifest], backends: Backends) -> None:
    """ValueError where there is nothing to walk on."""
    apex = backends.apex.service
    ours = [rule for ingress in ingresses for rule in _our_rules(ingress, backends)]
    rules = [(number, rule) for _, number, rule in _numbered(ingresses)]
    for wanted in backends.rules or ():
        if all(wanted not in (number, rule.get("host")) for number, rule in rules):
            there = ", ".join(rule.get("host", str(number)) for number, rule in rules) or "none"
            raise ValueError(f"there is no rule {wanted} in the route; there are: {there}")
    if not ours:
        said = [_leading(ingress, number, path) for ingress in ingresses for number, path in _paths(ingress)]
        because = f": {', '.join(said)}" if said else " (spec.rules)"
        raise ValueError(f"no path of the Ingress has {apex} as its backend{because}")


def _check_named(ingresses: list[Manifest], backends: Backends) -> None:
    """ValueError where a rule that is named has no path to the apex."""
    for wanted in backends.rules or ():
        meant = [(one, at) for one, at, rule in _numbered(ingresses) if wanted in (at, rule.get("host"))]
        paths = [(one, at, path) for one, number in meant for at, path in _paths(one) if at == number]
        if all(_service(path) != backends.apex.service for _, _, path in paths):
            said = ", ".join(_leading(*path) for path in paths) or "it has no paths"
            raise ValueError(f"rule {wanted} has no path to {backends.apex.service}: {said}")


def _numbered(ingresses: list[Manifest]) -> list[tuple[Manifest, int, Manifest]]:
    """Each rule with its Ingress and its position there."""
    return [
        (ingress, number, rule)
        for ingress in ingresses
        for number, rule in enumerate(ingress.get("spec", {}).get("rules") or [])
    ]


def _leading(ingress: Manifest, number: int, path: Manifest) -> str:
    """Where a path leads, in words."""
    where = f"spec.rules[{number}] of Ingress {_name(ingress)}"
    return f"{where} has {path.get('path', '/')} to {_service(path) or 'no Service'}"


def _paths(ingress: Manifest) -> list[tuple[int, Manifest]]:
    """Each path with the position of its rule."""
    return [
        (number, path)
        for _, number, rule in _numbered([ingress])
        for path in (rule.get("http") or {}).get("paths") or []
    ]


def _service(path: Manifest) -> str | None:
    name: str | None = path.get("backend", {}).get("service", {}).get("name")
    return name


def _to_canary(rule: Manifest, backends: Backends) -> Manifest:
    service = {"name": backends.canary.service, "port": {"number": backends.canary.port}}
    return {**rule, "http": {"paths": [{**path, "backend": {"service": service}} for path in rule["http"]["paths"]]}}


def _is_made(item: Manifest) -> bool:
    labels: dict[str, str] = item["metadata"].get("labels", {})
    return OURS.items() <= labels.items()


def _find(objects: list[Manifest], name: str) -> Manifest | None:
    return next((item for item in objects if _name(item) == name), None)


def _name(item: Manifest) -> str:
    return str(item["metadata"]["name"])
