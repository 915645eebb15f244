"""What can be read, in tests of what users write: proxies of several kinds, and sources for them.

Lives here: the names. Not here: the real ones (`metrics/`), or what is written (`test_gates_written.py`,
`test_sources_written.py`).
"""

from __future__ import annotations

from pulumi_rollout.core.measures import Pods
from pulumi_rollout.core.sources_written import Known

ALL = frozenset({"success_rate", "latency", "stalled", "share"})
PROXIES = {
    "contour": ALL,
    "nginx": frozenset({"success_rate", "latency", "share"}),
    "app": frozenset({"success_rate", "latency"}),
    "kuma": ALL,
    "alb": frozenset(),
}
KNOWN = Known(
    proxies=PROXIES,
    kinds={
        "prometheus": frozenset(PROXIES),
        "direct": frozenset({"contour", "app", "kuma"}),
        "alertmanager": frozenset({""}),
    },
    proxy="contour",
    credentials=frozenset({"bot", "grafana", "root-ca"}),
    places={
        "contour": Pods(namespace="projectcontour", labels={"app": "envoy"}, port=8002, path="/stats/prometheus"),
        "app": Pods(port=0),
    },
)
