"""Alerts as events: which of them are the application's, and what is said of them.

Lives here: what Prometheus' own list and Alertmanager's have in common.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.measures import Alerts
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics.series import name_of
from pulumi_rollout.metrics.shapes import Fleet

# Labels that say nothing of an object.
OF_THE_ALERT = ("alertname", "alertstate", "severity", "namespace", "prometheus", "job", "instance", "endpoint")


def reading(gate: Alerts, firing: Iterable[tuple[dict[str, str], str]], backends: Backends, fleet: Fleet) -> Reading:
    """The application's alerts of all that fire. + firing: each alert's labels and its summary"""
    events = {}
    for labels, summary in firing:
        if any(not isinstance(value, str) for value in labels.values()):
            raise ValueError("an alert's label is no text")
        if _matches(gate, labels, backends, fleet):
            name = labels.get("alertname", "an alert without a name")
            severity = f" ({labels['severity']})" if labels.get("severity") else ""
            events[f"{name}/{name_of('alert', _identity(labels))}"] = (
                1.0,
                f"{name}{severity}{_about(labels, summary)}",
            )
    return Reading(events=events)


def _matches(gate: Alerts, labels: dict[str, str], backends: Backends, fleet: Fleet) -> bool:
    if gate.matchers:
        return all(labels.get(label) == value for label, value in gate.matchers.items())
    if labels.get("namespace") != backends.apex.namespace:
        return False
    app = backends.apex.service
    objects = {app, backends.canary.service, *([f"{app}-{fleet.stable}"] if fleet.stable else [])}
    # Pods and ReplicaSets begin with their Deployment's name; the application's own name is also how others begin.
    begins = tuple(f"{name}-" for name in objects - {app})
    return any(
        value in objects or value.startswith(begins) for label, value in labels.items() if label not in OF_THE_ALERT
    )


def _identity(labels: dict[str, str]) -> dict[str, str]:
    """What makes an alert the same one at the next look."""
    return {label: value for label, value in labels.items() if label != "alertstate"}


def _about(labels: dict[str, Any], summary: str) -> str:
    if summary:
        return f": {summary}"
    about = [f"{label} {labels[label]}" for label in ("pod", "container", "deployment", "service") if labels.get(label)]
    return f" of {', '.join(about)}" if about else ""
