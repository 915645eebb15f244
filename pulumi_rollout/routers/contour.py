"""Contour's HTTPProxy (projectcontour.io/v1): weights on `spec.routes[].services`.

Pure: objects in, objects out. A service with `mirror: true` gets copies and no share, and stays as it is. An HTTPProxy
that is included by another one is walked like any other; what it includes itself is other objects.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.rules import Form, Rule, place, put_back, shares_at, split

Manifest = dict[str, Any]

API_VERSION = "projectcontour.io/v1"
KIND = "HTTPProxy"
# Contour says in the condition Valid what it made of it.
REPORTS = True
PROXY = "contour"
STRATEGIES = {"canary": "traffic"}


@dataclass(frozen=True)
class Route:
    """A Contour HTTPProxy.

    + host: the virtual host's name; None for an HTTPProxy that another one includes
    + tls_secret: the Secret with its certificate
    + ingress_class: of the Contour that serves it, where there are several
    + request_timeout: for a whole answer, as in "60s"
    """

    host: str | None
    tls_secret: str | None = None
    ingress_class: str | None = None
    request_timeout: str | None = None
    router: ClassVar[str] = "contour"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The HTTPProxy at rest, all traffic on the apex Service."""
        route: Manifest = {"services": [{"name": app, "port": port}]}
        if self.request_timeout is not None:
            route["timeoutPolicy"] = {"response": self.request_timeout}
        spec: Manifest = {"routes": [route]}
        if self.host is not None:
            spec["virtualhost"] = {"fqdn": self.host}
            if self.tls_secret is not None:
                spec["virtualhost"]["tls"] = {"secretName": self.tls_secret}
        if self.ingress_class is not None:
            spec["ingressClassName"] = self.ingress_class
        metadata = {"name": app, "namespace": namespace}
        return [{"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our routes, with this share in percent."""
    changed = deepcopy(objects)
    split(_rules(changed), FORM, backends, percent)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our routes the services that it had before the walk."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), FORM, backends)
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each route; None where one does not list it. ValueError if none is ours."""
    return shares_at(_rules(objects), FORM, backends, "route of the HTTPProxy", "spec.routes")


def problem(objects: list[Manifest]) -> str | None:
    """Why Contour has not taken the HTTPProxy as it is now, in Contour's own words."""
    for item in objects:
        conditions = item.get("status", {}).get("conditions") or []
        valid = next((condition for condition in conditions if condition["type"] == "Valid"), None)
        if valid is None:
            return "no Contour has taken the HTTPProxy yet (status.conditions has no Valid)"
        if valid.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
            return "Contour has not seen the HTTPProxy's last change yet"
        if valid["status"] != "True":
            errors = [error["message"] for error in valid.get("errors", [])] or [valid.get("message", valid["status"])]
            return f"Contour refuses the HTTPProxy: {'; '.join(errors)}"
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    return [
        Rule(place(item, f"spec.routes[{number}].services"), route, "services", number)
        for item in objects
        for number, route in enumerate(item.get("spec", {}).get("routes") or [])
    ]


def _named(service: Manifest, target: Target) -> Manifest:
    return {**service, "name": target.service, "port": target.port}


FORM = Form(
    # Always of the HTTPProxy's own namespace.
    service=lambda service, _: service["name"],
    named=_named,
    absent=0,
    even=True,
    beside=lambda service: bool(service.get("mirror")),
)
