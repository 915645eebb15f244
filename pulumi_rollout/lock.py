"""The lock and heartbeat of an application's releases: one Lease, `rollout-<app>`.

Lives here: taking, renewing and giving it back. Whether a holder is alive is judged by whether its
Lease changes while we look, never by comparing clocks of two machines; or by the process itself
where it ran on this machine. Not here: what a walk does with it (`release.py`, `driver.py`).
(kubernetes.io/docs/concepts/architecture/leases)
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

from pulumi_rollout import origin
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.errors import ClusterError, Conflict, JournalError, Locked, NotFound, Refused
from pulumi_rollout.inputs import WALK_ANNOTATION, own_object

HEARTBEAT_SECONDS = 3.0
# A Lease that does not change for so long belongs to nobody any more.
EXPIRY_SECONDS = 15.0
LOOK_SECONDS = 0.5

PROCESS_ANNOTATION = "pulumi-rollout/process"

Manifest = dict[str, Any]


class Lock:
    """One application's Lease. + clock: the engine's `now`, `wait` and `stop_reason`"""

    def __init__(self, cluster: Cluster, namespace: str, app: str, clock: Any) -> None:
        self._cluster, self._namespace, self._app, self._clock = cluster, namespace, app, clock
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self.path = f"{self._collection}/rollout-{app}"
        self._lease: Manifest | None = None
        self._renewed_at = 0.0

    def take(self, *, wait: bool = False) -> None:
        """Take it, from a holder that is gone too. Raises Locked when somebody holds it, or waits for
        its end with `wait`; Refused when the process is stopped meanwhile."""
        version, silent_seconds, alive = None, 0.0, False
        while True:
            lease = self._cluster.find(self.path)
            if lease is not None and lease["metadata"]["resourceVersion"] != version:
                alive = version is not None
                version, silent_seconds = lease["metadata"]["resourceVersion"], 0.0
            # Looks are counted and not time: a cluster that did not answer must not look like a dead holder.
            if lease is None or _is_free(lease) or silent_seconds >= EXPIRY_SECONDS:
                with contextlib.suppress(Conflict):
                    return self._write(lease, {})
                continue
            if alive and not wait:
                raise Locked(holder(lease) or "somebody")
            if (stopped := self._clock.stop_reason()) is not None:
                raise Refused(f"{stopped} while it waited for {holder(lease)}, who is releasing {self._app}")
            self._clock.say(f"waiting for {holder(lease)}, who is releasing {self._app}")
            self._clock.wait(LOOK_SECONDS)
            silent_seconds += LOOK_SECONDS

    def renew(self, walk: str, *, at_once: bool = False) -> None:
        """The heartbeat: now and then, however often this is called. Raises JournalError when it is lost."""
        # A clock that was set back is no reason to wait.
        if abs(self._clock.now() - self._renewed_at) < HEARTBEAT_SECONDS and not at_once:
            return
        try:
            self._write(self._lease, {WALK_ANNOTATION: walk})
        except (Conflict, NotFound):
            lease = self._cluster.find(self.path)
            if lease is not None and _annotations(lease).get(PROCESS_ANNOTATION) != origin.process():
                raise JournalError(
                    f"{holder(lease) or 'somebody'} has taken the release of {self._namespace}/{self._app} over: "
                    "wait for its end, then run `pulumi up` again"
                ) from None
            self._write(lease, {WALK_ANNOTATION: walk})

    def release(self) -> None:
        """Give it back. Without an answer it expires by itself."""
        if self._lease is None:
            return
        free = {**self._lease, "spec": {**self._lease["spec"], "holderIdentity": ""}}
        with contextlib.suppress(ClusterError):
            self._cluster.replace(self.path, free)
        self._lease = None

    def delete(self) -> None:
        """When the application is destroyed."""
        self._cluster.delete(self.path)

    def _write(self, lease: Manifest | None, annotations: dict[str, str]) -> None:
        fresh = own_object("coordination.k8s.io/v1", "Lease", self._namespace, f"rollout-{self._app}", self._app)
        known = lease or fresh
        mine = {**_annotations(known), PROCESS_ANNOTATION: origin.process(), **annotations}
        spec = known.get("spec", {})
        transitions = spec.get("leaseTransitions", 0) + (self._lease is None)
        acquired = spec.get("acquireTime") if self._lease is not None else None
        now = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changed = {
            **known,
            "metadata": {**known["metadata"], "annotations": mine},
            "spec": {
                "holderIdentity": origin.person(),
                "leaseDurationSeconds": int(EXPIRY_SECONDS),
                "acquireTime": acquired or now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
        if lease is None:
            self._lease = self._cluster.create(self._collection, changed)
        else:
            self._lease = self._cluster.replace(self.path, changed)
        self._renewed_at = self._clock.now()


def holder(lease: Manifest | None) -> str | None:
    """Who holds it; None if nobody does."""
    return ((lease or {}).get("spec") or {}).get("holderIdentity") or None


def _is_free(lease: Manifest) -> bool:
    """Given back, ours, or of a process of this machine that is gone."""
    process = _annotations(lease).get(PROCESS_ANNOTATION, "")
    return holder(lease) is None or process == origin.process() or origin.gone(process)


def _annotations(lease: Manifest) -> dict[str, str]:
    return lease["metadata"].get("annotations") or {}
