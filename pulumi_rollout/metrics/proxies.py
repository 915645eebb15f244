"""What each proxy counts, as data: its series, how they name a version, and where its pods are.

Lives here: the vendors' names. Not here: how a server is asked for them (`prometheus.py`, `direct.py`),
or what they come to (`series.py`). docs/metrics.md says the same for people.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Direct:
    """Where a proxy's pods are, and what they are asked.

    + namespace: None = the application's
    + labels: what selects them; none = the application's own pods
    + port: 0 = the application's
    + filter: for Envoy, a regular expression of the statistics to send; {backends} stands for both versions'
    + probe: the same, for whether they are there at all
    """

    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    port: int = 0
    path: str = "/metrics"
    filter: str = ""
    probe: str = ""


@dataclass(frozen=True)
class Proxy:
    """One proxy's series. Values of labels are regular expressions of the whole value.

    + backend: labels that name a version. {namespace}, {app}, {service}, {port} are the version's Service, {route}
      is {service} as Skipper writes it, {pods} and {addresses} are its pods, {workload} is its Deployment; stable:
      where the old version's differ
    + only: labels that all of the series must have; never: or must not have
    + renamed: labels that Prometheus calls exported_… where the scraped target has one of the same name
    + requests, bad: the counters of requests, and the labels that tell the bad ones: one of them suffices
    + grpc: counters of requests that failed in their trailers, which `requests` has as answered with 200
    + duration, unit_seconds: the histogram without its suffix, and what its numbers are
    + begun, ended: counters of requests that have been given to a version, and of those that have come to an end
    + pod: the label with the application's pod, or its address
    + past: requests that have not come by the route are counted too
    + none: why there are no series at all
    """

    backend: dict[str, str] = field(default_factory=dict)
    stable: dict[str, str] | None = None
    only: dict[str, str] = field(default_factory=dict)
    never: dict[str, str] = field(default_factory=dict)
    renamed: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    bad: dict[str, str] = field(default_factory=dict)
    grpc: tuple[str, ...] = ()
    duration: str = ""
    unit_seconds: float = 1.0
    begun: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    pod: str = ""
    past: bool = False
    direct: Direct | None = None
    none: str = ""


# gRPC statuses that say what a 5xx says (google/rpc/code.proto): UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
# UNAVAILABLE, DATA_LOSS.
GRPC_BAD = ("2", "4", "12", "13", "14", "15")

# Envoy's clusters, whoever configures it. A request counts when the answer's headers come. An attempt that was retried
# for its answer is counted apart (…_retry_…); one that was reset, and a request that its client gave up, have begun
# and never end.
ENVOY = Proxy(
    backend={"envoy_cluster_name": "{namespace}_{service}_{port}"},
    requests=("envoy_cluster_upstream_rq",),
    bad={"envoy_response_code": "5.."},
    grpc=tuple(f"envoy_cluster_grpc_{status}" for status in GRPC_BAD),
    duration="envoy_cluster_upstream_rq_time",
    unit_seconds=0.001,
    begun=("envoy_cluster_upstream_rq_total",),
    ended=("envoy_cluster_upstream_rq_completed", "envoy_cluster_retry_upstream_rq_completed"),
)
ENVOY_FILTERS = (r"^cluster\.(?:{backends})\.", r"^cluster\..*\.upstream_rq_(?:\d+|time|total|completed)$")

ISTIO = Proxy(
    backend={"destination_service_name": "{service}", "destination_service_namespace": "{namespace}"},
    only={"reporter": "source|waypoint"},
    requests=("istio_requests_total",),
    bad={"response_code": "5..", "grpc_response_status": "|".join(GRPC_BAD)},
    duration="istio_request_duration_milliseconds",
    unit_seconds=0.001,
    direct=Direct(
        "istio-system",
        {"istio": "ingressgateway"},
        15090,
        "/stats/prometheus",
        *["istio_request(?:s_|_duration)"] * 2,
    ),
)

# A Service, as Traefik names it for its own kinds, for routes of the Gateway API up to 3.7.5, and for those since: the
# hash there makes sure where the name of the Service begins. Measured for its own kinds and for GRPCRoutes up to 3.7.5;
# the rest is from the source of Traefik (3.2 to 3.7.9), and not measured.
TRAEFIK = (
    "{namespace}-{service}-{port}@kubernetescrd"
    "|{namespace}-{service}-(?:http-{port}|{port}-grpc)@kubernetesgateway"
    "|(?:http|grpc)route-.+-[0-9a-f]{20}-svc-{namespace}-{service}-[0-9]+@kubernetesgateway"
)
# An Ingress with NGINX's annotations, from the source of 3.7, the first that knows canaries, and not measured: both
# versions are named by the Ingress and the old version's Service. With any name in the Ingress' place other Services
# would be meant too, so it has to be the application's.
TRAEFIK_INGRESS = "{namespace}-{app}-{app}-{port}"

PROXIES: dict[str, Proxy] = {
    "contour": replace(
        ENVOY, direct=Direct("projectcontour", {"app": "envoy"}, 8002, "/stats/prometheus", *ENVOY_FILTERS)
    ),
    # One cluster for each rule, whatever its backends: only the endpoints' own counters tell versions apart, and they
    # have to be switched on (EnvoyProxy, telemetry.metrics.enablePerEndpointStats).
    "envoy-gateway": Proxy(
        backend={"envoy_endpoint_address": r"(?:{addresses}):\d+"},
        requests=("envoy_cluster_endpoint_rq_success", "envoy_cluster_endpoint_rq_error"),
        bad={"__name__": "envoy_cluster_endpoint_rq_error"},
        begun=("envoy_cluster_endpoint_rq_total",),
        ended=("envoy_cluster_endpoint_rq_success", "envoy_cluster_endpoint_rq_error"),
        pod="envoy_endpoint_address",
        direct=Direct(
            "envoy-gateway-system",
            {"app.kubernetes.io/managed-by": "envoy-gateway", "app.kubernetes.io/component": "proxy"},
            19001,
            "/stats/prometheus",
            r"\.endpoint\.",
            r"\.endpoint\..*\.rq_",
        ),
    ),
    # An Upstream that was discovered, or a Kubernetes destination in the route itself. Since 1.18 both end with the
    # Service's names, before that with the namespace of the Upstream.
    "gloo": replace(
        ENVOY,
        backend={
            "envoy_cluster_name": (
                "kube-(?:upstream|svc)_.+_{namespace}_{service}_{port}"
                "|{namespace}-{service}-{port}_gloo-system|kube-svc_{namespace}-{service}-{port}_{namespace}"
            )
        },
        direct=Direct("gloo-system", {"gateway-proxy": "live"}, 8081, "/metrics", *ENVOY_FILTERS),
    ),
    # A MeshService as Kuma 3 names it (kri_…, with the name of the port), and as it did before; and the tag
    # kuma.io/service, with a hash behind it where there are other tags.
    "kuma": replace(
        ENVOY,
        backend={
            "envoy_cluster_name": (
                "kri_msvc_[^_]+_[^_]*_{namespace}_{service}_[^_]*"
                "|[^_]+_{service}_{namespace}_[^_]*_msvc_{port}|{service}_{namespace}_svc_{port}(?:-[a-z0-9]+)?"
            )
        },
    ),
    # The VirtualNode, and the port of its listener, which need not be the Service's.
    "appmesh": replace(
        ENVOY,
        backend={"envoy_cluster_name": r"cds_egress_.+_{service}_{namespace}_(?:http|http2|grpc)_\d+"},
    ),
    # Kourier: the Service that the Ingress splits to.
    "knative": replace(
        ENVOY,
        backend={"envoy_cluster_name": "{namespace}/{service}"},
        direct=Direct("kourier-system", {"app": "3scale-kourier-gateway"}, 9000, "/stats/prometheus", *ENVOY_FILTERS),
    ),
    # The code of a gRPC request is its status. UNKNOWN is not taken as bad: Traefik says so of a good answer too, where
    # its status is in a trailer that the headers have not announced.
    "traefik": Proxy(
        backend={"service": f"{TRAEFIK}|{TRAEFIK_INGRESS}-canary@kubernetesingressnginx"},
        stable={"service": f"{TRAEFIK}|{TRAEFIK_INGRESS}@kubernetesingressnginx"},
        renamed=("service",),
        requests=("traefik_service_requests_total",),
        bad={"code": "|".join(["5..", *GRPC_BAD[1:]])},
        duration="traefik_service_request_duration_seconds",
        direct=Direct("traefik", {"app.kubernetes.io/name": "traefik"}, 9100),
    ),
    # The canary's requests are those of the first Ingress, with the second one's backend beside it.
    "nginx": Proxy(
        backend={"service": "{app}", "namespace": "{namespace}", "canary": "{namespace}-{service}-{port}"},
        stable={"service": "{app}", "namespace": "{namespace}", "canary": "-?"},
        renamed=("service", "namespace"),
        requests=("nginx_ingress_controller_requests",),
        bad={"status": "5.."},
        duration="nginx_ingress_controller_request_duration_seconds",
        direct=Direct(
            "ingress-nginx",
            {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"},
            10254,
        ),
    ),
    # The side that sends also counts what a dead pod does not answer, and the Service that the route has chosen.
    "istio": ISTIO,
    # Subsets are of one Service: there a version is told by its Deployment.
    "istio-subsets": replace(
        ISTIO, backend={"destination_workload": "{workload}", "destination_workload_namespace": "{namespace}"}
    ),
    # Each pod's own proxy. The kubelet's probes are requests too, with a route of their own. Its gRPC failures are
    # those of GRPC_BAD without UNIMPLEMENTED, and PERMISSION_DENIED.
    "linkerd": Proxy(
        backend={"pod": "{pods}"},
        only={"direction": "inbound"},
        never={"route_name": "probe"},
        requests=("response_total",),
        bad={"classification": "failure"},
        duration="response_latency_ms",
        unit_seconds=0.001,
        begun=("request_total",),
        ended=("response_total",),
        pod="pod",
        direct=Direct(port=4191),
    ),
    # What the application says of itself, by the names that most libraries use.
    "app": Proxy(
        backend={"pod": "{pods}"},
        requests=("http_requests_total",),
        bad={"status": "5..", "code": "5..", "status_code": "5.."},
        duration="http_request_duration_seconds",
        pod="pod",
        past=True,
        direct=Direct(),
    ),
    # What it serves, errors of its own included: skipper_response_… has only what a backend has answered, and times the
    # sending of the answer alone.
    "skipper": Proxy(
        backend={"route": "kube(?:ew)?_{route_namespace}__.*__{route}"},
        requests=("skipper_serve_route_count",),
        bad={"code": "5.."},
        duration="skipper_serve_route_duration_seconds",
        direct=Direct("kube-system", {"application": "skipper-ingress"}, 9911),
    ),
    # A route of several backends has one name: the pods' addresses tell versions apart.
    "apisix": Proxy(
        backend={"node": "{addresses}"},
        only={"type": "request|"},
        requests=("apisix_http_status",),
        bad={"code": "5.."},
        duration="apisix_http_latency",
        unit_seconds=0.001,
        pod="node",
        direct=Direct("apisix", {"app.kubernetes.io/name": "apisix"}, 9091, "/apisix/prometheus/metrics"),
    ),
    "alb": Proxy(none="an Application Load Balancer has its numbers in CloudWatch"),
}
