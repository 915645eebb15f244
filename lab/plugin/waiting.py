"""When an object counts as ready, or as gone.

Lives here: one check a kind, from live objects to what is still missing, and the loops that wait for
them. The times are the official plugin's: 10 min, and 10 s for the endpoints of a Service to settle.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lab.plugin.api import Api, ApiError
from lab.plugin.names import REVISION
from lab.plugin.values import Object, annotation, metadata

TIMEOUT_SECONDS = 600.0
SETTLE_SECONDS = 10.0
NO_ENDPOINTS_SECONDS = 60.0
POLL_SECONDS = 0.3
# Kinds for whose deletion the official plugin heeds skipAwait; all others are always waited for.
SKIP_DELETE_WAIT = frozenset(
    (
        "v1/Namespace",
        "v1/Pod",
        "v1/ReplicationController",
        "apps/v1/DaemonSet",
        "apps/v1/Deployment",
        "apps/v1/StatefulSet",
        "batch/v1/Job",
    )
)


class NotReady(Exception):
    """The object is there, but not ready: the message, the reasons and the object as last seen."""

    def __init__(self, message: str, reasons: list[str], live: Object) -> None:
        super().__init__(message)
        self.reasons = reasons
        self.live = live


@dataclass
class Seen:
    """What a check remembers from one look to the next."""

    started: float = field(default_factory=time.monotonic)
    endpoints_version: str | None = None
    endpoints_changed: float | None = None


# A check returns what is missing: empty means ready.
Check = Callable[[Api, Object, Seen], list[str]]


def timeout_seconds(requested: float, inputs: Object) -> float:
    """custom_timeouts wins over the annotation, which wins over 10 minutes."""
    if requested:
        return requested
    text = annotation(inputs, "timeoutSeconds")
    return float(text) if text.isdigit() else TIMEOUT_SECONDS


def until_ready(
    api: Api,
    inputs: Object,
    live: Object,
    seconds: float,
    cancelled: threading.Event,
    say: Callable[[str], None],
) -> Object:
    """Wait until the object is ready; returns its live state. Raises NotReady."""
    check = _check(inputs)
    if check is None:
        return live
    seen, said = Seen(), ""
    while True:
        missing = check(api, live, seen)
        if not missing:
            return live
        name = metadata(live)["name"]
        late = time.monotonic() - seen.started >= seconds
        if (late or cancelled.is_set()) and _enough_at_the_end(api, live):
            return live
        if cancelled.is_set():
            raise NotReady(f'Resource operation was cancelled for "{name}"', missing, live)
        if late:
            raise NotReady(f"'{name}' timed out waiting to be Ready", missing, live)
        if missing[0] != said:
            said = missing[0]
            say(said)
        cancelled.wait(POLL_SECONDS)
        live = api.get(live)


def ready_now(api: Api, inputs: Object, live: Object) -> list[str]:
    """What is missing at this moment, without waiting: for refresh."""
    kind = f"{live['apiVersion']}/{live['kind']}"
    if annotation(inputs, "skipAwait") == "true" or kind not in CHECKS:
        return []
    settled = time.monotonic() - max(SETTLE_SECONDS, NO_ENDPOINTS_SECONDS)
    version = metadata(_endpoints(api, live)).get("resourceVersion") if kind == "v1/Service" else None
    return CHECKS[kind](api, live, Seen(settled, version, settled))


def until_gone(api: Api, inputs: Object, live: Object, seconds: float, cancelled: threading.Event) -> None:
    """Wait until the object is deleted (or replaced by one of the same name). Raises NotReady."""
    kind = f"{live['apiVersion']}/{live['kind']}"
    if annotation(inputs, "skipAwait") == "true" and kind in SKIP_DELETE_WAIT:
        return
    started, uid = time.monotonic(), metadata(live).get("uid")
    while True:
        try:
            live = api.get(live)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if uid and metadata(live)["uid"] != uid:
            return
        finalizers = metadata(live).get("finalizers") or []
        reasons = [f"finalizers might be preventing deletion ({', '.join(finalizers)})"] if finalizers else []
        if cancelled.is_set():
            raise NotReady(f'Resource operation was cancelled for "{metadata(live)["name"]}"', reasons, live)
        if time.monotonic() - started >= seconds:
            raise NotReady("timed out waiting for the condition", reasons, live)
        cancelled.wait(POLL_SECONDS)


def _check(inputs: Object) -> Check | None:
    if annotation(inputs, "skipAwait") == "true":
        return None
    if text := annotation(inputs, "waitFor"):
        return _custom(text)
    return CHECKS.get(f"{inputs.get('apiVersion')}/{inputs.get('kind')}")


def _custom(text: str) -> Check:
    """The check of `pulumi.com/waitFor`: one expression or a JSON list of them."""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = text
    expressions = parsed if isinstance(parsed, list) else [text]
    for expression in expressions:
        if not str(expression).startswith(("condition=", "jsonpath=")):
            raise ValueError(f'expected a "jsonpath=" or "condition=" prefix, got "{expression}"')

    def check(_api: Api, live: Object, _seen: Seen) -> list[str]:
        return [f"waiting for {expression}" for expression in expressions if not _holds(expression, live)]

    return check


def _holds(expression: str, live: Object) -> bool:
    how, _, rest = expression.partition("=")
    name, equals, wanted = rest.partition("=")
    if how == "condition":
        return _condition(live, name).get("status") == (wanted or "True")
    value: Any = live
    for part in name.strip("{}").strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return str(value) == wanted if equals else value is not None


def _condition(live: Object, name: str) -> Object:
    conditions = live.get("status", {}).get("conditions") or ()
    return next((entry for entry in conditions if entry["type"] == name), {})


def _deployment(api: Api, live: Object, _seen: Seen) -> list[str]:
    """The rollout of the current generation is complete; no replicas at all is fine too."""
    status = live.get("status", {})
    if status.get("observedGeneration") != metadata(live).get("generation"):
        return ["Waiting for the Deployment controller to see the change"]
    revision = (metadata(live).get("annotations") or {}).get(REVISION)
    available, progressing = _condition(live, "Available"), _condition(live, "Progressing")
    missing = [
        f"[{entry['reason']}] {entry['message']}"
        for entry in (progressing, available)
        if entry.get("status") == "False" and entry.get("reason") and entry.get("message")
    ]
    if available.get("status") != "True":
        missing.append("Minimum number of live Pods was not attained")
    elif revision != "1" and not (
        progressing.get("status") == "True" and progressing.get("reason") == "NewReplicaSetAvailable"
    ):
        missing.append("Minimum number of Pods to consider the application live was not attained")
    else:
        missing += _replica_set(api, live, revision)
    return missing + _pod_troubles(api, live) if missing else []


def _replica_set(api: Api, live: Object, revision: str | None) -> list[str]:
    space = metadata(live)["namespace"]
    owned = [
        entry
        for entry in api.list("apps/v1", "ReplicaSet", space)
        if _owned(entry, live) and (metadata(entry).get("annotations") or {}).get(REVISION) == revision
    ]
    if not owned:
        return ["Attempted to roll forward to new ReplicaSet, which does not exist yet"]
    wanted = owned[0].get("spec", {}).get("replicas", 1)
    ready = owned[0].get("status", {}).get("readyReplicas", 0)
    if ready >= wanted:
        return []
    return [f"Waiting for app ReplicaSet to be available ({ready}/{wanted} Pods available)"]


def _owned(entry: Object, owner: Object) -> bool:
    references = metadata(entry).get("ownerReferences") or ()
    return any(reference["uid"] == metadata(owner)["uid"] for reference in references)


def _pod_troubles(api: Api, live: Object) -> list[str]:
    """Why pods are not ready, in their own words."""
    labels = live.get("spec", {}).get("selector", {}).get("matchLabels") or {}
    troubles = []
    for pod in api.list("v1", "Pod", metadata(live)["namespace"]):
        own = metadata(pod).get("labels") or {}
        if not labels or any(own.get(key) != value for key, value in labels.items()):
            continue
        name, status = metadata(pod)["name"], pod.get("status", {})
        scheduled = _condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            troubles.append(f"[Pod {name}]: [{scheduled.get('reason')}] {scheduled.get('message')}")
        for container in status.get("containerStatuses") or ():
            if waiting := container.get("state", {}).get("waiting"):
                reason = waiting.get("reason", "Waiting")
                troubles.append(f"[Pod {name}]: containers with issues: [{container['name']}] {reason}")
    return troubles


def _service(api: Api, live: Object, seen: Seen) -> list[str]:
    """Endpoints have been seen and have not changed for 10 s; a load balancer has its address."""
    spec = live.get("spec", {})
    missing = []
    if spec.get("type") == "LoadBalancer" and not _addresses(live):
        missing.append("Service was not allocated an IP address; does your cloud provider support this?")
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
        return missing
    endpoints = _endpoints(api, live)
    version = metadata(endpoints).get("resourceVersion")
    if version != seen.endpoints_version:
        seen.endpoints_version, seen.endpoints_changed = version, time.monotonic()
    changed = seen.endpoints_changed
    settled = changed is not None and time.monotonic() - changed >= SETTLE_SECONDS
    if not settled or _pending(endpoints):
        missing.append("Service does not target any Pods that are ready and settled")
    return missing


def _enough_at_the_end(api: Api, live: Object) -> bool:
    """When time is up, a Service without pending endpoints is ready enough, settled or not."""
    if live.get("kind") != "Service" or live.get("apiVersion") != "v1":
        return False
    if live.get("spec", {}).get("type") == "LoadBalancer" and not _addresses(live):
        return False
    return not _pending(_endpoints(api, live))


def _addresses(live: Object) -> list[Object]:
    return list(live.get("status", {}).get("loadBalancer", {}).get("ingress") or ())


def _endpoints(api: Api, live: Object) -> Object:
    try:
        return api.get({**live, "kind": "Endpoints"})
    except ApiError as error:
        if error.code != 404:
            raise
        return {}


def _pending(endpoints: Object) -> bool:
    return any(subset.get("notReadyAddresses") for subset in endpoints.get("subsets") or ())


def _ingress(api: Api, live: Object, seen: Seen) -> list[str]:
    """Some controller has published an address, and each path's Service has endpoints (or 60 s passed)."""
    missing = []
    space = metadata(live)["namespace"]
    known = {metadata(entry)["name"] for entry in api.list("v1", "Endpoints", space)}
    services = api.list("v1", "Service", space)
    known |= {metadata(entry)["name"] for entry in services if entry["spec"].get("type") == "ExternalName"}
    paths = [path for rule in live["spec"].get("rules") or () for path in rule.get("http", {}).get("paths", ())]
    wanted = {path["backend"]["service"]["name"] for path in paths if "service" in path["backend"]}
    patience = SETTLE_SECONDS if known else NO_ENDPOINTS_SECONDS
    if not wanted <= known and time.monotonic() - seen.started < patience:
        missing.append("Ingress has at least one rule with an unavailable target endpoint.")
    if not _addresses(live):
        missing.append("Ingress .status.loadBalancer field was not updated with a hostname/IP address.")
    return missing


CHECKS: dict[str, Check] = {
    "apps/v1/Deployment": _deployment,
    "v1/Service": _service,
    "networking.k8s.io/v1/Ingress": _ingress,
}
