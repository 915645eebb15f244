"""Skipper Ingress (networking.k8s.io/v1): weights in the annotation zalando.org/backend-weights.

Pure: objects in, objects out. Each path that leads to the apex gets a second entry for the canary; the weights are
by Service, for the whole Ingress. Not here: which paths are ours (`rules.py`), and RouteGroups.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends
from pulumi_rollout.routers.made import manifest
from pulumi_rollout.routers.rules import Form, Rule, names, ours, place, shares_at

Manifest = dict[str, Any]

ANNOTATION = "zalando.org/backend-weights"
# An Ingress's status has an address, and nothing of its routes.
REPORTS = False
PROXY = "skipper"
STRATEGIES = {"canary": "fixture"}


@dataclass(frozen=True)
class Route:
    """An Ingress that Skipper serves.

    + hosts: host names; all, where there are none
    + ingress_class: which controller serves it, where there are several
    """

    hosts: Sequence[str]
    ingress_class: str | None = None
    router: ClassVar[str] = "skipper"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The Ingress at rest, all traffic on the apex Service."""
        backend = {"service": {"name": app, "port": {"number": port}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        rules = [{"host": host, "http": {"paths": deepcopy(paths)}} for host in self.hosts]
        spec: Manifest = {"rules": rules or [{"http": {"paths": paths}}]}
        if self.ingress_class is not None:
            spec["ingressClassName"] = self.ingress_class
        return [manifest("networking.k8s.io/v1", "Ingress", app, namespace, spec)]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex at each of our paths, and give both their weights."""
    changed = deepcopy(objects)
    for item in changed:
        mine = ours(_rules([item]), FORM, backends)
        for rule in mine:
            _list_canary(rule, backends)
        if mine:
            shares = {backends.apex.service: 100 - percent, backends.canary.service: percent}
            item["metadata"]["annotations"] = {
                **(item["metadata"].get("annotations") or {}),
                ANNOTATION: json.dumps({**_others(item, backends), **shares}),
            }
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Take the canary from each of our paths, and its weight; the annotation is as it was before the walk."""
    changed = deepcopy(objects)
    before = {item["metadata"]["name"]: item for item in original}
    for item in changed:
        mine = ours(_rules([item]), FORM, backends)
        for rule in mine:
            http = rule.holder["http"]
            http["paths"] = [path for path in http["paths"] if _name(path) != backends.canary.service]
        if mine:
            _put_annotation_back(item, before.get(item["metadata"]["name"]), backends)
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each path; None where one does not list it. ValueError if none is ours."""
    rules, apex = _rules(objects), backends.apex.service
    for rule in rules:
        found = names(rule, FORM, backends)
        others = found - {apex, backends.canary.service}
        if apex in found and others:
            named = " and ".join(sorted(map(str, others)))
            raise ValueError(
                f"{rule.path} names {named} beside {apex}, and the weights hold for the whole Ingress: give that path"
                " an Ingress of its own"
            )
    return shares_at(rules, FORM, backends, "path of the Ingress", "spec.rules[].http.paths")


def problem(objects: list[Manifest]) -> str | None:
    """None: an Ingress does not say what Skipper has made of it."""
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    """The paths of each host; entries of the same path are its backends, as Skipper takes them together."""
    found = []
    for item in objects:
        weights, number = _weights(item), 0
        for at, rule in enumerate(item["spec"].get("rules") or []):
            http = rule.get("http") or {}
            for path in dict.fromkeys(entry.get("path") for entry in http.get("paths") or []):
                names = [_name(entry) for entry in http["paths"] if entry.get("path") == path]
                # In thousandths, as Skipper allows fractions.
                listed = [{"name": name, "weight": ceil(1000 * weights.get(name, 0))} for name in names]
                view = {"http": http, "path": path, "listed": listed}
                found.append(Rule(place(item, f"spec.rules[{at}].http.paths of {path}"), view, "listed", number))
                number += 1
    return found


def _name(entry: Manifest) -> str:
    return str((entry["backend"].get("service") or {}).get("name"))


def _weights(item: Manifest) -> dict[str, float]:
    """None of them where the annotation cannot be read, as Skipper has it."""
    written = (item["metadata"].get("annotations") or {}).get(ANNOTATION, "{}")
    try:
        return {str(name): float(weight) for name, weight in json.loads(written).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _others(item: Manifest, backends: Backends) -> dict[str, float]:
    """The weights of Services that are not ours."""
    ours_ = (backends.apex.service, backends.canary.service)
    return {name: weight for name, weight in _weights(item).items() if name not in ours_}


def _list_canary(rule: Rule, backends: Backends) -> None:
    http, path = rule.holder["http"], rule.holder["path"]
    entries: list[Manifest] = []
    for entry in http["paths"]:
        at_path = entry.get("path") == path
        if at_path and _name(entry) == backends.canary.service:
            continue
        entries.append(entry)
        if at_path and _name(entry) == backends.apex.service:
            service = {"name": backends.canary.service, "port": {"number": backends.canary.port}}
            entries.append({**deepcopy(entry), "backend": {"service": service}})
    http["paths"] = entries


def _put_annotation_back(item: Manifest, original: Manifest | None, backends: Backends) -> None:
    """As it was; where somebody has changed other Services' weights since, those as they are. That there are none
    is no such change: what cannot be read has none."""
    annotations = item["metadata"].get("annotations") or {}
    others, written = _others(item, backends), ((original or {}).get("metadata") or {}).get("annotations") or {}
    annotations.pop(ANNOTATION, None)
    known = original is not None and backends.canary.service not in _weights(original)
    if known and original is not None and (not others or others == _others(original, backends)):
        if ANNOTATION in written:
            annotations[ANNOTATION] = written[ANNOTATION]
    elif others:
        annotations[ANNOTATION] = json.dumps(others)
    if not annotations and "annotations" not in ((original or {}).get("metadata") or {}):
        item["metadata"].pop("annotations", None)


# Weights that come to nothing are as good as none: Skipper then shares evenly.
FORM = Form(service=lambda backend, _: str(backend["name"]), named=lambda backend, _: backend, even=True)
