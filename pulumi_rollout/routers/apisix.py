"""APISIX ApisixRoute (apisix.apache.org/v2): weights on `spec.http[].backends`.

Pure: objects in, objects out. Not here: `spec.stream`, whose rules have one backend each, and HTTPRoutes that
APISIX serves too (`gateway.py`).
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

API_VERSION = "apisix.apache.org/v2"
# The controller says in the status which generation it has synchronised.
REPORTS = True
PROXY = "apisix"
STRATEGIES = {"canary": "fixture"}


@dataclass(frozen=True)
class Route:
    """An ApisixRoute.

    + hosts: host names; all, where there are none
    + paths: as APISIX writes them: "/api" is that path, "/api/*" all below it
    + ingress_class: which controller serves it, where there are several
    + request_timeout: for an answer's next bytes, as in "60s"
    """

    hosts: Sequence[str] = ()
    paths: Sequence[str] = ("/*",)
    ingress_class: str | None = None
    request_timeout: str | None = None
    router: ClassVar[str] = "apisix"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """The route at rest, all traffic on the apex Service."""
        rule: Manifest = {
            "name": app,
            "match": {"paths": list(self.paths), **({"hosts": list(self.hosts)} if self.hosts else {})},
            "backends": [{"serviceName": app, "servicePort": port}],
        }
        if self.request_timeout is not None:
            rule["timeout"] = {"read": self.request_timeout}
        chosen = {} if self.ingress_class is None else {"ingressClassName": self.ingress_class}
        return [manifest(API_VERSION, "ApisixRoute", app, namespace, {**chosen, "http": [rule]})]


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """List the canary beside the apex in each of our rules, with this share in percent."""
    changed = deepcopy(objects)
    split(_rules(changed), FORM, backends, percent)
    return changed


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """Give each of our rules the backends that it had before the walk."""
    changed = deepcopy(objects)
    put_back(_rules(changed), _rules(original), FORM, backends)
    return changed


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """The canary's share in percent in each rule; None where one does not list it. ValueError if none is ours."""
    return shares_at(_rules(objects), FORM, backends, "rule of the ApisixRoute", "spec.http")


def problem(objects: list[Manifest]) -> str | None:
    """Why the controller has not taken the route as it is now. Its condition is called Accepted, and
    ResourcesAvailable before version 2."""
    for item in objects:
        conditions = {one["type"]: one for one in item.get("status", {}).get("conditions") or []}
        condition = conditions.get("Accepted") or conditions.get("ResourcesAvailable")
        if condition is None:
            return "the APISIX controller has not said yet whether it accepts the ApisixRoute"
        if condition.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
            return "the APISIX controller has not seen the ApisixRoute's last change yet"
        if condition["status"] != "True":
            return f"the APISIX controller refuses the ApisixRoute: {condition.get('message', '')}"
    return None


def _rules(objects: list[Manifest]) -> list[Rule]:
    return [
        Rule(place(item, f"spec.http[{number}].backends"), rule, "backends", number, rule.get("name"))
        for item in objects
        for number, rule in enumerate(item["spec"].get("http") or [])
        # Requests are split among upstreams as well, where a rule has both.
        if not rule.get("upstreams")
    ]


def _service(backend: Manifest, _: str) -> str | None:
    # A subset is of an ApisixUpstream, which the canary does not have.
    name = str(backend["serviceName"])
    return f"subset {backend['subset']} of {name}" if "subset" in backend else name


def _named(backend: Manifest, target: Target) -> Manifest:
    return {**backend, "serviceName": target.service, "servicePort": target.port}


FORM = Form(service=_service, named=_named, absent=100)
