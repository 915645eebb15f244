"""Where the traffic comes from: one class a kind of route, each with the objects at rest.

At rest a route sends everything to the apex Service, from release to release, so the declared
objects never change. The classes are the routers' own (`pulumi_rollout.routers`); here they get the
names that programs use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi_rollout.routers.alb import Route as AlbRoute
from pulumi_rollout.routers.apisix import Route as ApisixRoute
from pulumi_rollout.routers.appmesh import Route as AppMeshRoute
from pulumi_rollout.routers.contour import Route as ContourRoute
from pulumi_rollout.routers.gateway import Route as GatewayRoute
from pulumi_rollout.routers.gloo import Route as GlooRoute
from pulumi_rollout.routers.istio import Route as IstioRoute
from pulumi_rollout.routers.knative import Route as KnativeRoute
from pulumi_rollout.routers.kubernetes import Route as KubernetesRoute
from pulumi_rollout.routers.kuma import Route as KumaRoute
from pulumi_rollout.routers.linkerd import Route as LinkerdRoute
from pulumi_rollout.routers.nginx import Route as NginxRoute
from pulumi_rollout.routers.skipper import Route as SkipperRoute
from pulumi_rollout.routers.traefik import Route as TraefikRoute

__all__ = [
    "AlbRoute",
    "ApisixRoute",
    "AppMeshRoute",
    "ContourRoute",
    "ExistingRoute",
    "GatewayRoute",
    "GlooRoute",
    "IstioRoute",
    "KnativeRoute",
    "KubernetesRoute",
    "KumaRoute",
    "LinkerdRoute",
    "NginxRoute",
    "Routing",
    "SkipperRoute",
    "TraefikRoute",
    "reference",
]

Manifest = dict[str, Any]


class Routing(Protocol):
    """What Application needs of a route. + router: a key of `pulumi_rollout.routers.ROUTERS`"""

    @property
    def router(self) -> str: ...

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]: ...


@dataclass(frozen=True)
class ExistingRoute:
    """A route that belongs to somebody else, as to Git or to another stack: it is not declared, only edited for the
    time of a walk, and as it was before afterwards. At rest it sends its traffic to the application's Service.

    + router: what kind of route, such as "gateway"
    + objects: those that hold the backends, each as {"apiVersion": …, "kind": …, "name": …}, in the application's
      namespace
    + rules: names or positions of the rules that take part; all whose only backend is the application if left out
    """

    router: str
    objects: Sequence[Mapping[str, str]]
    rules: Sequence[str | int] | None = None


def declared(routing: Routing | ExistingRoute, app: str, namespace: str, port: int) -> list[Manifest]:
    """The objects that the application declares."""
    return [] if isinstance(routing, ExistingRoute) else routing.objects(app, namespace, port)


def reference(routing: Routing | ExistingRoute, objects: list[Manifest]) -> dict[str, Any]:
    """The Rollout's input `route`. + objects: those that are declared"""
    if isinstance(routing, ExistingRoute):
        named = {"router": routing.router, "objects": [dict(ref) for ref in routing.objects], "declared": False}
        return named if routing.rules is None else {**named, "rules": list(routing.rules)}
    return {
        "router": routing.router,
        "objects": [
            {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": item["metadata"]["name"]}
            for item in objects
        ],
    }
