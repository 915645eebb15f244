"""Declared in a program: the application, its revisions, its routing and its canary policy.

What is executed during `pulumi up` lives in `pulumi_rollout`. Nothing here reads, writes or waits.
"""

from .application import Application
from .policy import (
    alertmanager,
    alerts,
    direct,
    latency,
    prometheus,
    query,
    restarts,
    stalled,
    success_rate,
    traffic_share,
)
from .policy import canary as Canary
from .revision import Autoscaling
from .rollout import Rollout
from .routing import (
    AlbRoute,
    ApisixRoute,
    AppMeshRoute,
    ContourRoute,
    ExistingRoute,
    GatewayRoute,
    GlooRoute,
    IstioRoute,
    KnativeRoute,
    KubernetesRoute,
    KumaRoute,
    LinkerdRoute,
    NginxRoute,
    SkipperRoute,
    TraefikRoute,
)
from .secrets import stack_secret

__all__ = [
    "AlbRoute",
    "ApisixRoute",
    "AppMeshRoute",
    "Application",
    "Autoscaling",
    "Canary",
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
    "Rollout",
    "SkipperRoute",
    "TraefikRoute",
    "alertmanager",
    "alerts",
    "direct",
    "latency",
    "prometheus",
    "query",
    "restarts",
    "stack_secret",
    "stalled",
    "success_rate",
    "traffic_share",
]
