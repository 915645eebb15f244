"""The lab's data planes: how each is told to route, for tests that ask all of them the same things.

Lives here: the objects of each. A route goes to the Service `web` (version 1) and, if it lists it at all,
to `web-2` (version 2). What is expected of the traffic is the tests' to say.

Not our routers (pulumi_rollout/routers): these objects are written out here, so that a mistake there is not
taken for a property of the proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
APEX, CANARY, PORT = "web", "web-2", 80
ANNOTATION = "nginx.ingress.kubernetes.io"
HEADER, COOKIE = ("X-Canary", "always"), ("canary", "always")
COOKIE_PATTERN = "(^|; ?)canary=always(;|$)"


@dataclass(frozen=True)
class Plane:
    """+ objects: those of a route to the apex alone; `weighted(host, percent)` lists the canary too"""

    key: str
    name: str
    entry: str
    objects: Callable[[str], list[Json]]
    weighted: Callable[[str, int], list[Json]]
    header: Callable[[str], list[Json]]
    cookie: Callable[[str], list[Json]]
    mirror: Callable[[str], list[Json]]
    response_header: Callable[[str], list[Json]]
    affinity: Callable[[str], list[Json]]


def _named(version: str, kind: str, name: str, spec: Json, **annotations: str) -> Json:
    metadata: Json = {"name": name, "namespace": "default"}
    if annotations:
        metadata["annotations"] = {f"{ANNOTATION}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _name(host: str) -> str:
    return host.partition(".")[0]


# Contour's own kind


def _proxy(host: str, *routes: Json) -> list[Json]:
    spec = {"virtualhost": {"fqdn": host}, "routes": [*routes]}
    return [_named("projectcontour.io/v1", "HTTPProxy", _name(host), spec)]


def _service(name: str, **more: Any) -> Json:
    return {"name": name, "port": PORT, **more}


def _both(percent: int) -> list[Json]:
    return [_service(APEX, weight=100 - percent), _service(CANARY, weight=percent)]


def _proxy_matching(host: str, condition: Json) -> list[Json]:
    return _proxy(
        host, {"conditions": [{"header": condition}], "services": [_service(CANARY)]}, {"services": [_service(APEX)]}
    )


CONTOUR = Plane(
    "contour",
    "HTTPProxy (Contour)",
    "envoy",
    objects=lambda host: _proxy(host, {"services": [_service(APEX)]}),
    weighted=lambda host, percent: _proxy(host, {"services": _both(percent)}),
    header=lambda host: _proxy_matching(host, {"name": HEADER[0], "exact": HEADER[1]}),
    cookie=lambda host: _proxy_matching(host, {"name": "Cookie", "regex": f".*{COOKIE[0]}={COOKIE[1]}.*"}),
    mirror=lambda host: _proxy(host, {"services": [_service(APEX), _service(CANARY, mirror=True)]}),
    response_header=lambda host: _proxy(
        host,
        {
            "services": [
                _service(APEX, weight=50),
                _service(CANARY, weight=50, responseHeadersPolicy={"set": [{"name": "X-Track", "value": "canary"}]}),
            ]
        },
    ),
    affinity=lambda host: _proxy(host, {"services": _both(50), "loadBalancerPolicy": {"strategy": "Cookie"}}),
)


# Gateway API, for either Gateway


def _backends(percent: int) -> list[Json]:
    return [{"name": APEX, "port": PORT, "weight": 100 - percent}, {"name": CANARY, "port": PORT, "weight": percent}]


def _gateway(key: str, name: str, entry: str, gateway: str) -> Plane:
    def route(host: str, *rules: Json) -> list[Json]:
        spec = {"parentRefs": [{"name": gateway, "namespace": "infra"}], "hostnames": [host], "rules": [*rules]}
        return [_named("gateway.networking.k8s.io/v1", "HTTPRoute", _name(host), spec)]

    def matching(host: str, header: Json) -> list[Json]:
        to_canary = {"matches": [{"headers": [header]}], "backendRefs": [{"name": CANARY, "port": PORT}]}
        return route(host, to_canary, {"backendRefs": [{"name": APEX, "port": PORT}]})

    def tracked(host: str) -> list[Json]:
        added = {"set": [{"name": "X-Track", "value": "canary"}]}
        first, second = _backends(50)
        second["filters"] = [{"type": "ResponseHeaderModifier", "responseHeaderModifier": added}]
        return route(host, {"backendRefs": [first, second]})

    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": CANARY, "port": PORT}}}
    return Plane(
        key,
        name,
        entry,
        objects=lambda host: route(host, {"backendRefs": [{"name": APEX, "port": PORT, "weight": 100}]}),
        weighted=lambda host, percent: route(host, {"backendRefs": _backends(percent)}),
        header=lambda host: matching(host, {"name": HEADER[0], "value": HEADER[1]}),
        cookie=lambda host: matching(
            host, {"name": "Cookie", "type": "RegularExpression", "value": f".*{COOKIE[0]}={COOKIE[1]}.*"}
        ),
        mirror=lambda host: route(host, {"filters": [mirror], "backendRefs": [{"name": APEX, "port": PORT}]}),
        response_header=tracked,
        affinity=lambda host: route(
            host, {"backendRefs": _backends(50), "sessionPersistence": {"type": "Cookie", "sessionName": "user"}}
        ),
    )


# Traefik's own kinds


def _ingress_route(host: str, *routes: tuple[str, Json]) -> Json:
    rules = [
        {"kind": "Rule", "match": f"Host(`{host}`){condition}", "services": [service]} for condition, service in routes
    ]
    return _named("traefik.io/v1alpha1", "IngressRoute", _name(host), {"entryPoints": ["web"], "routes": rules})


def _ingress_matching(host: str, condition: str) -> list[Json]:
    return [_ingress_route(host, (f" && {condition}", _service(CANARY)), ("", _service(APEX)))]


def _traefik_service(host: str, spec: Json) -> list[Json]:
    """One TraefikService, and the IngressRoute that leads to it."""
    reference = {"kind": "TraefikService", "name": _name(host)}
    return [_named("traefik.io/v1alpha1", "TraefikService", _name(host), spec), _ingress_route(host, ("", reference))]


def _weighted_service(host: str, percent: int, **more: Any) -> list[Json]:
    return _traefik_service(host, {"weighted": {"services": _both(percent), **more}})


def _traefik_tracked(host: str) -> list[Json]:
    added = {"headers": {"customResponseHeaders": {"X-Track": "canary"}}}
    first, second = _both(50)
    second["middlewares"] = [{"name": _name(host)}]
    return [
        _named("traefik.io/v1alpha1", "Middleware", _name(host), added),
        *_traefik_service(host, {"weighted": {"services": [first, second]}}),
    ]


TRAEFIK = Plane(
    "traefik",
    "TraefikService (Traefik)",
    "traefik",
    objects=lambda host: _traefik_service(host, {"weighted": {"services": [_service(APEX, weight=100)]}}),
    weighted=_weighted_service,
    header=lambda host: _ingress_matching(host, f"Header(`{HEADER[0]}`, `{HEADER[1]}`)"),
    cookie=lambda host: _ingress_matching(host, f"HeaderRegexp(`Cookie`, `{COOKIE_PATTERN}`)"),
    mirror=lambda host: _traefik_service(
        host, {"mirroring": {**_service(APEX), "mirrors": [_service(CANARY, percent=100)]}}
    ),
    response_header=_traefik_tracked,
    affinity=lambda host: _weighted_service(host, 50, sticky={"cookie": {"name": "user"}}),
)


# NGINX's annotations, as Traefik reads them


def _ingress(name: str, host: str, service: str, **annotations: str) -> Json:
    backend = {"service": {"name": service, "port": {"number": PORT}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec = {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]}
    return _named("networking.k8s.io/v1", "Ingress", name, spec, **annotations)


def _pair(host: str, own: Json | None = None, **canary: str) -> list[Json]:
    """The application's Ingress with annotations of its `own`, and the canary's with its."""
    name = _name(host)
    return [
        _ingress(name, host, APEX, **(own or {})),
        _ingress(f"{name}-canary", host, CANARY, canary="true", **canary),
    ]


NGINX = Plane(
    "nginx",
    "NGINX annotations (Traefik)",
    "traefik",
    objects=lambda host: [_ingress(_name(host), host, APEX)],
    weighted=lambda host, percent: _pair(host, canary_weight=str(percent)),
    header=lambda host: _pair(host, canary_by_header=HEADER[0]),
    cookie=lambda host: _pair(host, canary_by_cookie=COOKIE[0]),
    mirror=lambda host: [_ingress(_name(host), host, APEX, mirror_target=f"http://{CANARY}.default.svc$request_uri")],
    response_header=lambda host: _pair(host, canary_weight="50", custom_headers="default/headers"),
    affinity=lambda host: _pair(host, {"affinity": "cookie", "session_cookie_name": "user"}, canary_weight="50"),
)

PLANES = {
    plane.key: plane
    for plane in (
        CONTOUR,
        _gateway("gateway-contour", "Gateway API (Contour)", "envoy", "public"),
        _gateway("gateway-traefik", "Gateway API (Traefik)", "traefik", "traefik"),
        TRAEFIK,
        NGINX,
    )
}
