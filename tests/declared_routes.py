"""Routes as programs declare them: each kind with the settings that change its shape.

Lives here: the routes. What is expected of them is tests/test_router_meshes.py's, and the API server's.
"""

from __future__ import annotations

from typing import Any

from components import routing

POLICY: dict[str, Any] = {
    "connectionPool": {"tcp": {"maxConnections": 100}},
    "outlierDetection": {"consecutive5xxErrors": 5},
}
# By router, and what is special about each.
DECLARED: dict[str, Any] = {
    "gateway": routing.GatewayRoute(["podinfo.example.com"], "infra/public", "60s"),
    "gateway, gRPC": routing.GatewayRoute(["podinfo.example.com"], "public", kind="GRPCRoute"),
    "gateway, TCP": routing.GatewayRoute([], "public", kind="TCPRoute", listener="tcp"),
    "istio": routing.IstioRoute(["podinfo.example.com"], ["infra/public"], request_timeout="60s"),
    "istio, the mesh alone": routing.IstioRoute(traffic_policy=POLICY),
    "istio, TLS": routing.IstioRoute(["podinfo.example.com"], ["infra/public"], protocol="tls"),
    "istio, TCP": routing.IstioRoute(protocol="tcp"),
    "istio, a delegate": routing.IstioRoute(delegate=True),
    "istio, subsets": routing.IstioRoute(subsets=True, traffic_policy=POLICY),
    "linkerd": routing.LinkerdRoute(request_timeout="60s"),
    "linkerd, gRPC": routing.LinkerdRoute("GRPCRoute"),
    "linkerd, SMI": routing.LinkerdRoute("TrafficSplit"),
    "kuma": routing.KumaRoute(),
    "kuma, TCP": routing.KumaRoute(protocol="tcp"),
    "gloo": routing.GlooRoute(["podinfo.example.com"], request_timeout="60s"),
    "gloo, a table": routing.GlooRoute(),
    "appmesh": routing.AppMeshRoute(calls=["cache"]),
    "appmesh, HTTP/2": routing.AppMeshRoute("http2"),
    "appmesh, gRPC": routing.AppMeshRoute("grpc"),
    "appmesh, TCP": routing.AppMeshRoute("tcp"),
    "apisix": routing.ApisixRoute(["podinfo.example.com"], ingress_class="apisix", request_timeout="60s"),
    "skipper": routing.SkipperRoute(["podinfo.example.com"], "skipper"),
    "skipper, all hosts": routing.SkipperRoute([]),
    "alb": routing.AlbRoute(["podinfo.example.com"], group="shop"),
    "alb, all hosts": routing.AlbRoute([]),
    "knative": routing.KnativeRoute(["podinfo.example.com"], public=False),
}
