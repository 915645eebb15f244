"""Kubernetes Events and annotations: how a walk shows itself to whoever looks at the cluster.

Lives here: writing them. Nobody waits for it, and a cluster that refuses them loses no release. Not
here: the words (`tell.py`).
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial

from pulumi_rollout.cluster import FIELD_MANAGER, Cluster
from pulumi_rollout.core.state import Phase, State
from pulumi_rollout.errors import ClusterError
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.tell import Event

# After a write that got no answer, nothing is written for so long.
SILENT_SECONDS = 60.0


class Recorder:
    """Events on the apex Service, as it stays, and annotations on the walk's Deployment."""

    def __init__(self, inputs: Inputs, cluster: Cluster) -> None:
        self._inputs, self._cluster = inputs, cluster
        self._uid: str | None = None
        self._silent_until = 0.0

    def record(self, event: Event, state: State, now: float) -> None:
        """Write it, if the cluster lets us and is quick about it: meanwhile nobody watches the gates."""
        if now < self._silent_until:
            return
        before = self._cluster.hurried
        self._cluster.hurry()
        for write in (partial(self._create, event, now), partial(self._annotate, event, state)):
            try:
                write()
            except ClusterError as error:
                if error.status == 0:
                    self._silent_until = now + SILENT_SECONDS
                    break
        self._cluster.hurry(before)

    def _create(self, event: Event, now: float) -> None:
        self._cluster.create(f"/api/v1/namespaces/{self._inputs.namespace}/events", self._object(event, now))

    def _annotate(self, event: Event, state: State) -> None:
        notes = {
            "pulumi-rollout/phase": str(state.phase),
            # The route's backend of a version that was promoted is gone.
            "pulumi-rollout/weight": "100" if state.phase is Phase.SUCCEEDED else str(state.weight_percent),
            "pulumi-rollout/message": event.message,
        }
        path = self._inputs.deployment_path(state.revision)
        self._cluster.patch(path, {"metadata": {"annotations": notes}})

    def _object(self, event: Event, now: float) -> dict[str, object]:
        app, namespace = self._inputs.app, self._inputs.namespace
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        regarding = {"apiVersion": "v1", "kind": "Service", "name": app, "namespace": namespace, "uid": self._apex()}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{app}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": regarding,
            "reason": event.reason,
            "message": event.message[:1024],
            "type": "Warning" if event.warning else "Normal",
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "reportingInstance": FIELD_MANAGER,
        }

    def _apex(self) -> str:
        """Its uid, which `kubectl describe` looks for; empty before the first release has made it."""
        if self._uid is None:
            apex = self._cluster.find(self._inputs.apex_path())
            self._uid = apex["metadata"]["uid"] if apex else ""
        return self._uid
