"""Traefik's own objects (traefik.io/v1alpha1): weights on a TraefikService's `spec.weighted.services`, and on the
`spec.routes[].services` of an IngressRoute that names Services itself.

Pure: objects in, objects out. What an IngressRoute or a TraefikService names that is no Service belongs to somebody
else, and so do a TraefikService's mirrors, fail-overs and highest random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.rules import Form, Rule, place, put_back, shares_at, split

Manifest = dict[str, Any]

API_VERSION = "traefik.io/v1alpha1"
# These objects have no status.
REPORTS = False
PROXY = "traefik"
STRATEGIES = {"canary": "traffic"}


@dataclass(frozen=True)
class Route:
    """A Traefik IngressRoute to a TraefikService.

    + hosts: host names; none for all
    + entry_points: of Traefik; none for its default ones
    + tls_secret: the Secret with the certificate
    """

    hosts: Sequence[str]
    entry_points: Sequence[str] = ()
    tls_secret: str | None = None
    router: ClassVar[str] = "traefik"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The TraefikService at rest, all traffic on the apex Service, and the IngressRoute to it."""
        match = " || ".join(f"Host(`{host}`)" for host in self.hosts) or "PathPrefix(`/`)"
        route = {"kind": "Rule", "match": match, "services": [{"kind": "TraefikService", "name": app}]}
        ingress: Manifest = {"routes": [route]}
        if self.entry_points:
            ingress["entryPoints"] = list(self.entry_points)
        if self.tls_secret is not None:
            ingress["tls"] = {"secretName": self.tls_secret}
        weighted = {"weighted": {"services": [{"name": app, "port": port}]}}
        return [
            {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": app, "namespace": namespace}, "spec": spec}
            for kind, spec in (("TraefikService", weighted), ("IngressRoute", ingress))
        ]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our lists of services, with this share in percent."""
    changed = deepcopy(objects)
    split(_rules(changed), FORM, backends, percent)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our lists of services what it had before the walk."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), FORM, backends)
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each list of services of ours; None where one does not have it. ValueError
    if no list is ours."""
    what = "weighted TraefikService and no route of an IngressRoute"
    return shares_at(_rules(objects), FORM, backends, what, "spec.weighted.services, spec.routes")


def problem(objects: list[Manifest]) -> str | None:
    """Nothing: Traefik does not say in these objects what it made of them."""
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    found = []
    for item in objects:
        spec = item.get("spec", {})
        if "weighted" in spec:
            found.append(Rule(place(item, "spec.weighted.services"), spec["weighted"], "services", 0))
        for number, route in enumerate(spec.get("routes") or []):
            found.append(Rule(place(item, f"spec.routes[{number}].services"), route, "services", number))
    return found


def _service(service: Manifest, namespace: str) -> str | None:
    plain = service.get("kind", "Service") == "Service"
    return service["name"] if plain and service.get("namespace", namespace) == namespace else None


def _named(service: Manifest, target: Target) -> Manifest:
    return {**service, "name": target.service, "port": target.port}


FORM = Form(service=_service, named=_named)
