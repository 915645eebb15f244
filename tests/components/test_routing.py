"""Routes as programs and configurations write them: every router's, and one that belongs to somebody else."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

import components
from components import (
    Canary,
    ContourRoute,
    ExistingRoute,
    GatewayRoute,
    IstioRoute,
    KubernetesRoute,
    NginxRoute,
    TraefikRoute,
    direct,
    prometheus,
    success_rate,
)
from components.settings import ROUTES, applications
from pulumi_rollout import provider
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.routers import ROUTERS
from tests.components.declared import ROLLOUT, Registered, declare, shop
from tests.components.test_settings import SHOP, config

REF = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "web"}
# As a program and as a configuration writes them.
SAME: dict[str, tuple[Any, dict[str, Any]]] = {
    "gateway": (
        GatewayRoute(["a.example.com"], "infra/public"),
        {"hosts": ["a.example.com"], "gateway": "infra/public"},
    ),
    "contour": (
        ContourRoute("a.example.com", tls_secret="cert", request_timeout="60s"),
        {"host": "a.example.com", "tlsSecret": "cert", "requestTimeout": "60s"},
    ),
    "traefik": (
        TraefikRoute(["a.example.com"], entry_points=["web"]),
        {"hosts": ["a.example.com"], "entryPoints": ["web"]},
    ),
    "nginx": (NginxRoute(["a.example.com"], "public"), {"hosts": ["a.example.com"], "ingressClass": "public"}),
    "kubernetes": (KubernetesRoute(), {}),
    "existing": (
        ExistingRoute("gateway", objects=[REF], rules=["web", 2]),
        {"router": "gateway", "objects": [REF], "rules": ["web", 2]},
    ),
}


def from_configuration(name: str, written: dict[str, Any] | None) -> Any:
    found: list[dict[str, Any]] = []
    settings = config({**SHOP, "routing": {name: written}})
    declare(lambda: found.append(applications(pulumi.Config())["shop"]), config=settings)
    return found[0]["routing"]


@pytest.mark.parametrize("name", SAME)
def test_a_configuration_writes_the_same_route_as_a_program(name: str) -> None:
    route, written = SAME[name]
    assert from_configuration(name, written) == route


def test_a_route_without_settings() -> None:
    assert from_configuration("kubernetes", None) == KubernetesRoute()


def test_a_mistake_in_a_routes_settings_is_said_with_its_path() -> None:
    with pytest.raises(pulumi.RunError) as caught:
        from_configuration("contour", {"hosts": ["a.example.com"], "requestTimeout": 60})
    assert str(caught.value) == (
        "applications.shop.routing.contour.host: is missing; "
        "applications.shop.routing.contour.requestTimeout: input should be a valid string, not 60; "
        "applications.shop.routing.contour.hosts: there is no setting of the name hosts"
    )


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_has_a_name_in_programs_and_in_configurations(router: str) -> None:
    """In a configuration by the registry alone; in a program it takes a line in components/routing.py."""
    classes = [getattr(components, name) for name in components.__all__ if name.endswith("Route")]
    assert [one for one in classes if getattr(one, "router", None) == router] == [ROUTERS[router].Route]
    assert ROUTERS[router].Route in ROUTES.values()


def objects(routing: Any) -> list[Registered]:
    known = {"Deployment", "Service", "PodDisruptionBudget"}
    return [
        item
        for item in declare(shop(routing=routing))
        if item.type.startswith("kubernetes:") and item.type.rpartition(":")[2] not in known
    ]


@pytest.mark.parametrize("name", [name for name in SAME if name not in ("existing", "kubernetes")])
def test_a_routes_objects_are_declared_as_they_are(name: str) -> None:
    """Behind the Rollout, with leave to take back what a walk has written, and without waiting for an address."""
    route, _ = SAME[name]
    declared = {item.type: item.inputs for item in objects(route)}
    wanted = {f"kubernetes:{one['apiVersion']}:{one['kind']}": one for one in route.objects("shop", "prod", 9898)}
    assert declared.keys() == wanted.keys()
    annotations = {"pulumi.com/patchForce": "true", "pulumi.com/skipAwait": "true"}
    for kind, manifest in wanted.items():
        assert declared[kind]["spec"] == manifest["spec"]
        assert declared[kind]["metadata"] == {**manifest["metadata"], "annotations": annotations}


@pytest.mark.parametrize("name", [name for name in SAME if name != "existing"])
def test_the_rollout_is_told_of_the_declared_objects(name: str) -> None:
    route, _ = SAME[name]
    inputs = Inputs.model_validate(declare(shop(routing=route)).of(ROLLOUT).inputs)
    named = [(ref["apiVersion"], ref["kind"], ref["name"]) for ref in inputs.route.objects]
    wanted = route.objects("shop", "prod", 9898)
    assert named == [(item["apiVersion"], item["kind"], item["metadata"]["name"]) for item in wanted]
    assert (inputs.route.router, inputs.route.declared, inputs.route.rules) == (name, True, None)


SHARED = {"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "name": "shop-revisions"}
VIRTUAL = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "name": "shop"}
READ: dict[str, tuple[Any, str]] = {
    "Services of their own": (IstioRoute(traffic_policy={"tls": {"mode": "DISABLE"}}), "istio"),
    "subsets": (IstioRoute(subsets=True), "istio-subsets"),
    "somebody else's Services": (ExistingRoute("istio", [VIRTUAL, {**SHARED, "name": "shop"}]), "istio"),
    "somebody else's subsets": (ExistingRoute("istio", [VIRTUAL, SHARED]), "istio-subsets"),
}


@pytest.mark.parametrize(("route", "proxy"), READ.values(), ids=READ)
def test_a_route_says_whose_series_tell_its_versions_apart(route: Any, proxy: str) -> None:
    policy = Canary(gates=[success_rate(min_percent=99)])
    inputs = declare(shop(routing=route, rollout=policy)).of(ROLLOUT).inputs
    [source] = provider._plan(provider._inputs(inputs)).sources.values()
    assert (source.kind, source.proxy) == ("direct", proxy)


@pytest.mark.parametrize("source", [direct("istio"), prometheus("http://server:9090", proxy="istio")])
def test_series_that_cannot_tell_subsets_apart_are_refused(source: Any) -> None:
    policy = Canary(gates=[success_rate(min_percent=99)], source=source)
    inputs = declare(shop(routing=IstioRoute(subsets=True), rollout=policy)).of(ROLLOUT).inputs
    [failure] = provider.RolloutProvider().check({}, inputs).failures
    assert (failure.property, failure.reason) == (
        "policy",
        "the series of istio cannot tell the two versions of this route apart: read those of istio-subsets",
    )


INGRESS = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "web"}


def test_an_ingress_that_traefik_counts_by_another_name_is_refused() -> None:
    """Both its versions have that name, in which other Services' could be contained."""
    policy = Canary(gates=[success_rate(min_percent=99)], source=direct("traefik"))
    theirs = declare(shop(routing=ExistingRoute("nginx", [INGRESS]), rollout=policy)).of(ROLLOUT).inputs
    [failure] = provider.RolloutProvider().check({}, theirs).failures
    assert (failure.property, failure.reason) == (
        "policy",
        "the series of traefik are found by the name of the Ingress where that is shop, and not web: read the "
        'application\'s own, with source=direct("app")',
    )
    ours = provider._inputs(declare(shop(routing=NginxRoute(["a.example.com"]), rollout=policy)).of(ROLLOUT).inputs)
    assert provider._blind(ours, provider._plan(ours)) == []


def test_a_route_of_somebody_else_is_not_declared() -> None:
    declared = declare(shop(routing=ExistingRoute("gateway", [REF], rules=["web", 2])))
    assert objects(ExistingRoute("gateway", [REF])) == []
    assert declared.of(ROLLOUT).inputs["route"] == {
        "router": "gateway",
        "objects": [REF],
        "declared": False,
        "rules": ["web", 2],
    }
    inputs = Inputs.model_validate(declared.of(ROLLOUT).inputs)
    assert inputs.backends().rules == ("web", 2)
