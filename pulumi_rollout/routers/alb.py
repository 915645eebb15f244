"""AWS Load Balancer Controller Ingress (networking.k8s.io/v1): weights in the annotations
alb.ingress.kubernetes.io/actions.<action>.

Pure: objects in, objects out. An action forwards to the target groups of Services; paths lead to it by its name
and the port `use-annotation`, and are not touched. Not here: paths that lead to a Service by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers.made import manifest
from pulumi_rollout.routers.rules import Form, Rule, ours, place, put_back, shares_at, split

Manifest = dict[str, Any]

PREFIX = "alb.ingress.kubernetes.io/"
ACTION = f"{PREFIX}actions."
# An Ingress's status has an address, and nothing of the listener's rules.
REPORTS = False
PROXY = "alb"
STRATEGIES = {"canary": "fixture"}


@dataclass(frozen=True)
class Route:
    """An Ingress of the AWS Load Balancer Controller.

    + hosts: host names; all, where there are none
    + ingress_class: which class the controller serves
    + scheme: `internal`, or `internet-facing`
    + target_type: `ip` sends to pods, `instance` to node ports, which Services of the type ClusterIP have not
    + group: of Ingresses that share a load balancer
    """

    hosts: Sequence[str]
    ingress_class: str = "alb"
    scheme: Literal["internal", "internet-facing"] = "internal"
    target_type: Literal["ip", "instance"] = "ip"
    group: str | None = None
    router: ClassVar[str] = "alb"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The Ingress at rest, all traffic on the apex Service."""
        groups = [{"serviceName": app, "servicePort": port, "weight": 100}]
        annotations = {
            f"{PREFIX}scheme": self.scheme,
            f"{PREFIX}target-type": self.target_type,
            f"{ACTION}{app}": _written({"type": "forward", "forwardConfig": {"targetGroups": groups}}),
        }
        if self.group is not None:
            annotations[f"{PREFIX}group.name"] = self.group
        backend = {"service": {"name": app, "port": {"name": "use-annotation"}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        rules = [{"host": host, "http": {"paths": deepcopy(paths)}} for host in self.hosts]
        spec = {"ingressClassName": self.ingress_class, "rules": rules or [{"http": {"paths": paths}}]}
        ingress = manifest("networking.k8s.io/v1", "Ingress", app, namespace, spec)
        ingress["metadata"]["annotations"] = annotations
        return [ingress]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our actions, with this share in percent."""
    changed = deepcopy(objects)
    for item, key, action, rule in _actions(changed):
        if ours([rule], FORM, backends):
            split([rule], FORM, backends, percent)
            item["metadata"]["annotations"][key] = _written(action)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our actions the target groups that it had before the walk, in the very words."""
    changed = deepcopy(objects)
    before = {(item["metadata"]["name"], key): (item, action, rule) for item, key, action, rule in _actions(original)}
    for item, key, action, rule in _actions(changed):
        if not ours([rule], FORM, backends):
            continue
        old = before.get((item["metadata"]["name"], key))
        put_back([rule], [old[2]] if old else [], FORM, backends)
        same = old is not None and old[1] == action
        item["metadata"]["annotations"][key] = (
            old[0]["metadata"]["annotations"][key] if old and same else _written(action)
        )
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each action; None where one does not list it. ValueError if none is ours."""
    rules = [rule for _, _, _, rule in _actions(objects)]
    return shares_at(rules, FORM, backends, "forward action of the Ingress", f"annotations {ACTION}*")


def problem(objects: list[Manifest]) -> str | None:
    """None: an Ingress does not say what the load balancer has."""
    return None


def _actions(objects: list[Manifest]) -> list[tuple[Manifest, str, Manifest, Rule]]:
    """Each action that forwards to several target groups: its Ingress, its annotation, what that says, and its rule."""
    found = []
    for item in objects:
        annotations = item["metadata"].get("annotations") or {}
        for number, key in enumerate(sorted(key for key in annotations if key.startswith(ACTION))):
            where = place(item, f'metadata.annotations["{key}"]')
            try:
                action = json.loads(annotations[key])
            except ValueError:
                action = None  # like one that forwards nowhere: it may be somebody else's
            config = action.get("forwardConfig") if isinstance(action, dict) else None
            config = config if isinstance(config, dict) else {}
            found.append((item, key, action, Rule(where, config, "targetGroups", number, key.removeprefix(ACTION))))
    return found


def _written(action: Manifest) -> str:
    return json.dumps(action, separators=(",", ":"))


def _service(target: Manifest, _: str) -> str | None:
    # Others name a target group of AWS, by its ARN or name.
    return target.get("serviceName")


def _named(target: Manifest, to: Target) -> Manifest:
    return {**target, "serviceName": to.service, "servicePort": to.port}


# The controller takes a weight that is left out for 1 where a target group is alone, and asks for it elsewhere.
FORM = Form(service=_service, named=_named, alone=100)
