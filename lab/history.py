"""What happened to the cluster's objects, and when: watches that run for the whole session.

Lives here: the events, and the few readings that all stories need (weights, selectors, journals).
The walk's own words about itself are not asked.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lab.cluster import Lab
from lab.objects import SERVER, connect
from pulumi_rollout.inputs import REVISION_LABEL

NAMESPACE = "default"
COLLECTIONS = {
    "HTTPRoute": f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes",
    "Service": f"/api/v1/namespaces/{NAMESPACE}/services",
    "Deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    "ConfigMap": f"/api/v1/namespaces/{NAMESPACE}/configmaps",
    "HorizontalPodAutoscaler": f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers",
}
Object = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One change of an object. + at: Unix time; type: ADDED, MODIFIED or DELETED"""

    at: float
    type: str
    object: Object


class History:
    """Every change of the watched kinds, from the moment it was opened."""

    def __init__(self, lab: Lab) -> None:
        self._events: dict[tuple[str, str], list[Event]] = {}
        self._closed = threading.Event()
        for kind, path in COLLECTIONS.items():
            threading.Thread(target=self._watch, args=(lab, kind, path), daemon=True).start()

    def close(self) -> None:
        """Ask no more: the lab is about to go."""
        self._closed.set()

    def _watch(self, lab: Lab, kind: str, path: str) -> None:
        lab.enter()
        session = connect(lab.kubeconfig).session
        # The server ends each watch after half an hour or more; the next one goes on behind what was seen.
        seen = {"watch": "true", "allowWatchBookmarks": "true"}
        while not self._closed.wait(0.05):
            with (
                contextlib.suppress(OSError),  # the server is away
                session.get(SERVER + path, params=seen, stream=True, timeout=(5, None)) as answer,
            ):
                answer.raise_for_status()
                for line in answer.iter_lines(chunk_size=None):
                    self._add(kind, json.loads(line), seen)

    def _add(self, kind: str, event: Object, seen: dict[str, str]) -> None:
        if event["type"] == "ERROR":
            # Its place is lost, as when a kind's definition is applied anew: begin again with what there is now.
            seen.pop("resourceVersion", None)
            return
        meta = event["object"]["metadata"]
        # What there was already comes first, in no order.
        seen["resourceVersion"] = max(seen.get("resourceVersion", "0"), meta["resourceVersion"], key=int)
        if event["type"] == "BOOKMARK":
            return
        self._events.setdefault((kind, meta["name"]), []).append(Event(time.time(), event["type"], event["object"]))

    def of(self, kind: str, name: str, since: float = 0.0) -> list[Event]:
        """An object's events, oldest first."""
        return [event for event in self._events.get((kind, name), ()) if event.at >= since]

    def names(self, kind: str) -> list[str]:
        """All objects of a kind that there have been."""
        return [name for known, name in self._events if known == kind]

    def listings(self, app: str, since: float = 0.0) -> list[tuple[float, dict[str, int]]]:
        """The route's backends with their weights, at each change of them."""
        return _changes(self.of("HTTPRoute", app, since), _backends)

    def weights(self, app: str, since: float = 0.0) -> list[tuple[float, int | None]]:
        """The new version's weight in the route at each change; None while it is not listed."""
        return _changes(self.of("HTTPRoute", app, since), lambda item: _weight(app, _backends(item)))

    def served(self, app: str, since: float = 0.0) -> list[tuple[float, str]]:
        """The revision that the apex selects, at each change."""
        return _changes(self.of("Service", app, since), lambda item: item["spec"]["selector"][REVISION_LABEL])

    def journal(self, app: str, since: float = 0.0) -> list[tuple[float, Object]]:
        """The walk's saved states."""
        events = [event for event in self.of("ConfigMap", f"rollout-{app}", since) if event.type != "DELETED"]
        return _changes(events, lambda item: json.loads(item["data"]["state"])["state"])

    def deleted(self, kind: str, name: str) -> float | None:
        """When an object was told to go."""
        gone = (e.at for e in self.of(kind, name) if e.type == "DELETED" or "deletionTimestamp" in e.object["metadata"])
        return next(gone, None)


def _changes(events: Iterable[Event], value: Callable[[Object], Any]) -> list[tuple[float, Any]]:
    """The value at each event where it differs from the one before."""

    def found() -> Iterator[tuple[float, Any]]:
        last: Any = object()
        for event in events:
            if event.type != "DELETED" and (now := value(event.object)) != last:
                last = now
                yield event.at, now

    return list(found())


def _backends(route: Object) -> dict[str, int]:
    return {ref["name"]: ref.get("weight", 1) for ref in route["spec"]["rules"][0]["backendRefs"]}


def _weight(app: str, backends: dict[str, int]) -> int | None:
    others = [weight for name, weight in backends.items() if name != app]
    return others[0] if others else None
