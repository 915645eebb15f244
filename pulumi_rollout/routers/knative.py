"""Knative's networking layer: its Ingress (networking.internal.knative.dev/v1alpha1), percents on
`spec.rules[].http.paths[].splits`.

Pure: objects in, objects out. This Ingress splits requests among Services, as Kourier, Istio and Contour serve it
for Knative. Not here: a Knative Service, which has revisions, Deployments and Services of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import manifest
from pulumi_rollout.routers.rules import Form, Rule, place, put_back, shares_at, split

Manifest = dict[str, Any]

API_VERSION = "networking.internal.knative.dev/v1alpha1"
SERVING = "serving.knative.dev/"
CLASS = "networking.knative.dev/ingress.class"
# It is ready when the layer has asked its own proxies for the new state.
REPORTS = True
PROXY = "knative"
STRATEGIES = {"canary": "fixture"}


@dataclass(frozen=True)
class Route:
    """An Ingress of Knative's networking layer.

    + hosts: host names
    + ingress_class: which layer serves it, as in "istio.ingress.networking.knative.dev"
    + public: served outside the cluster too
    """

    hosts: Sequence[str]
    ingress_class: str = "kourier.ingress.networking.knative.dev"
    public: bool = True
    router: ClassVar[str] = "knative"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The Ingress at rest, all traffic on the apex Service."""
        splits = [{"serviceName": app, "serviceNamespace": namespace, "servicePort": port, "percent": 100}]
        rule = {
            "hosts": list(self.hosts),
            "visibility": "ExternalIP" if self.public else "ClusterLocal",
            "http": {"paths": [{"splits": splits}]},
        }
        ingress = manifest(API_VERSION, "Ingress", app, namespace, {"rules": [rule]})
        ingress["metadata"]["annotations"] = {CLASS: self.ingress_class}
        return [ingress]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our paths, with this share in percent."""
    changed = deepcopy(objects)
    split(_rules(changed), FORM, backends, percent)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our paths the splits that it had before the walk."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), FORM, backends)
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each path; None where one does not list it. ValueError if none is ours."""
    for item in objects:
        if item["apiVersion"].startswith(SERVING):
            raise ValueError(
                f"{item['kind']} {item['metadata']['name']} of {item['apiVersion']} splits requests among revisions"
                f" of Knative's own, and not among Services like {backends.apex.service}: name an Ingress"
            )
    return shares_at(_rules(objects), FORM, backends, "path of the Ingress", "spec.rules[].http.paths")


def problem(objects: list[Manifest]) -> str | None:
    """Why the networking layer does not serve the Ingress as it is now."""
    for item in objects:
        status = item.get("status", {})
        if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
            return "the networking layer has not seen the Ingress's last change yet"
        ready: Manifest = next((one for one in status.get("conditions") or [] if one["type"] == "Ready"), {})
        if ready.get("status") != "True":
            return f"the networking layer does not serve the Ingress yet: {ready.get('message') or 'it is not Ready'}"
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    found = []
    for item in objects:
        places = [
            (f"spec.rules[{number}].http.paths[{at}].splits", path)
            for number, rule in enumerate(item["spec"].get("rules") or [])
            for at, path in enumerate((rule.get("http") or {}).get("paths") or [])
        ]
        found += [Rule(place(item, where), path, "splits", at) for at, (where, path) in enumerate(places)]
    return found


def _service(backend: Manifest, namespace: str) -> str | None:
    return backend["serviceName"] if backend["serviceNamespace"] == namespace else None


def _named(backend: Manifest, target: Target) -> Manifest:
    return {**backend, "serviceName": target.service, "servicePort": target.port}


FORM = Form(service=_service, named=_named, weight="percent", absent=0, alone=100)
