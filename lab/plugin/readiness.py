"""What a live object still lacks to be ready, by its kind.

Lives here: one check a kind, from live objects to what is missing. How long to wait for it is `waiting.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.plugin.api import Api, ApiError
from lab.plugin.names import REVISION
from lab.plugin.values import Object, metadata

SETTLE_SECONDS = 10.0
NO_ENDPOINTS_SECONDS = 60.0


@dataclass
class Seen:
    """What a check remembers from one look to the next."""

    started: float = field(default_factory=time.monotonic)
    endpoints_version: str | None = None
    endpoints_changed: float | None = None


# A check returns what is missing: empty means ready.
Check = Callable[[Api, Object, Seen], list[str]]


def condition(live: Object, name: str) -> Object:
    conditions = live.get("status", {}).get("conditions") or ()
    return next((entry for entry in conditions if entry["type"] == name), {})


def _deployment(api: Api, live: Object, _seen: Seen) -> list[str]:
    """The rollout of the current generation is complete; no replicas at all is fine too."""
    status = live.get("status", {})
    if status.get("observedGeneration") != metadata(live).get("generation"):
        return ["its controller has not looked at the change yet"]
    revision = (metadata(live).get("annotations") or {}).get(REVISION)
    available, progressing = condition(live, "Available"), condition(live, "Progressing")
    missing = [
        f"{entry['message']} ({entry['reason']})"
        for entry in (progressing, available)
        if entry.get("status") == "False" and entry.get("reason") and entry.get("message")
    ]
    if available.get("status") != "True":
        missing.append("too few of its pods are available")
    elif revision != "1" and not (
        progressing.get("status") == "True" and progressing.get("reason") == "NewReplicaSetAvailable"
    ):
        missing.append("the rollout to the new pods is still going on")
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
        return [f"there is no ReplicaSet for revision {revision} yet"]
    wanted = owned[0].get("spec", {}).get("replicas", 1)
    ready = owned[0].get("status", {}).get("readyReplicas", 0)
    if ready >= wanted:
        return []
    return [f"{ready} of {wanted} new pods are ready"]


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
        scheduled = condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            troubles.append(f"pod {name} has no node: {scheduled.get('message')} ({scheduled.get('reason')})")
        for container in status.get("containerStatuses") or ():
            if waiting := container.get("state", {}).get("waiting"):
                words = [waiting[key] for key in ("reason", "message") if waiting.get(key)] or ["not started yet"]
                troubles.append(f"pod {name}, container {container['name']}: {': '.join(words)}")
    return troubles


def _service(api: Api, live: Object, seen: Seen) -> list[str]:
    """Endpoints have been seen and have not changed for 10 s; a load balancer has its address."""
    spec = live.get("spec", {})
    missing = []
    if spec.get("type") == "LoadBalancer" and not _addresses(live):
        missing.append("no load balancer has given it an address")
    if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
        return missing
    endpoints = endpoints_of(api, live)
    version = metadata(endpoints).get("resourceVersion")
    if version != seen.endpoints_version:
        seen.endpoints_version, seen.endpoints_changed = version, time.monotonic()
    changed = seen.endpoints_changed
    settled = changed is not None and time.monotonic() - changed >= SETTLE_SECONDS
    if not settled or _pending(endpoints):
        missing.append("its endpoints have not come to rest")
    return missing


def enough_at_the_end(api: Api, live: Object) -> bool:
    """When time is up, a Service without pending endpoints is ready enough, settled or not."""
    if live.get("kind") != "Service" or live.get("apiVersion") != "v1":
        return False
    if live.get("spec", {}).get("type") == "LoadBalancer" and not _addresses(live):
        return False
    return not _pending(endpoints_of(api, live))


def _addresses(live: Object) -> list[Object]:
    return list(live.get("status", {}).get("loadBalancer", {}).get("ingress") or ())


def endpoints_of(api: Api, live: Object) -> Object:
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
        missing.append(f"it leads to Services without endpoints: {', '.join(sorted(wanted - known))}")
    if not _addresses(live):
        missing.append("no controller has given it an address (status.loadBalancer)")
    return missing


CHECKS: dict[str, Check] = {
    "apps/v1/Deployment": _deployment,
    "v1/Service": _service,
    "networking.k8s.io/v1/Ingress": _ingress,
}
