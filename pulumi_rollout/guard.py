"""The guard: a Job in the cluster that puts traffic back when the process that walks is gone.

Lives here: its four objects, and starting and stopping it. What it does is in `guard.sh`, which runs
in the Job; what it may write is prepared here as patches, so that no router needs code of its own
there. Not here: whether a walk has a guard, and what the next update makes of its work.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

from pulumi_rollout.adoption import selecting
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.plan import Limits
from pulumi_rollout.core.strategies import GUARD_IMAGE
from pulumi_rollout.errors import ClusterError, Conflict
from pulumi_rollout.inputs import MANAGED_BY, WALK_ANNOTATION, Inputs
from pulumi_rollout.observe import pod_reason
from pulumi_rollout.parts import Part, parts
from pulumi_rollout.patches import Operation
from pulumi_rollout.routers import Ref

Manifest = dict[str, Any]

IMAGE = GUARD_IMAGE
HEARTBEAT_LIMIT_SECONDS = 60.0
POLL_SECONDS = 5.0
# For an earlier guard to end, before a new one is started: less than the lock takes to expire (`lock.py`).
GONE_SECONDS = 10.0
LOOK_SECONDS = 0.2

SCRIPT = Path(__file__).with_name("guard.sh")
RBAC = "rbac.authorization.k8s.io"
COLLECTIONS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": f"/apis/{RBAC}/v1/namespaces/{{}}/roles",
    "RoleBinding": f"/apis/{RBAC}/v1/namespaces/{{}}/rolebindings",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}


class Walk(NamedTuple):
    """What a guard needs to know of a walk. + id; stable: the revision that gets all traffic back; adopted: as in
    `State`"""

    id: str
    stable: str
    limits: Limits
    adopted: dict[str, str] | None = None


class Guard:
    """One application's guard. + inputs: with the walk's canary as the revision"""

    def __init__(self, inputs: Inputs, cluster: Cluster, image: str = IMAGE) -> None:
        self._inputs, self._cluster, self._image = inputs, cluster, image
        self._name = f"rollout-{inputs.app}-guard"

    def start(self, walk: Walk, objects: list[Manifest], original: list[Manifest]) -> None:
        """Start one, in place of an earlier one. The Lease and the journal have to name the walk
        already: a guard that finds another one there ends. Raises ClusterError."""
        namespace = self._inputs.namespace

        def path_of(ref: Ref) -> str:
            return self._cluster.path(ref["apiVersion"], ref["kind"], namespace, ref["name"])

        lease = self._cluster.get(
            f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/rollout-{self._inputs.app}"
        )
        if self._guards(walk.id, lease["metadata"]["uid"]):
            return
        self._await_end_of_another()
        made = manifests(
            self._inputs,
            walk,
            parts(self._inputs, path_of, objects, original),
            lease["metadata"]["uid"],
            image=self._image,
            limit_seconds=HEARTBEAT_LIMIT_SECONDS,
            poll_seconds=POLL_SECONDS,
        )
        for manifest in made:
            self._write(manifest)

    def problem(self) -> str | None:
        """Why no guard runs now; None when one does."""
        where = f"Job {self._inputs.namespace}/{self._name}"
        job = self._cluster.find(self._path("Job"))
        if job is None:
            return f"{where} is not there"
        for condition in job.get("status", {}).get("conditions", []):
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                return f"{where} has ended"
        selector = f"batch.kubernetes.io/job-name={self._name}"
        pods = self._cluster.get(f"/api/v1/namespaces/{self._inputs.namespace}/pods", labelSelector=selector)["items"]
        if any(_runs(pod) for pod in pods):
            return None
        reasons = (reason for pod in pods if (reason := pod_reason(pod)))
        return f"{where}: " + next(reasons, "no pod of it runs yet")

    def stop(self) -> None:
        """Take it away, with what it was allowed; what is absent is fine."""
        self._cluster.delete(self._path("Job"), propagationPolicy="Background")
        for kind in ("RoleBinding", "Role", "ServiceAccount"):
            self._cluster.delete(self._path(kind))

    def _guards(self, walk: str, lease_uid: str) -> bool:
        """Whether a guard of this very walk is there already, of a process that was cut off."""
        job = self._cluster.find(self._path("Job")) or {}
        ended = any(one["status"] == "True" for one in job.get("status", {}).get("conditions", []))
        metadata = job.get("metadata", {})
        same = (metadata.get("annotations") or {}).get(WALK_ANNOTATION) == walk
        owned = any(owner["uid"] == lease_uid for owner in metadata.get("ownerReferences", []))
        return same and owned and not ended and "deletionTimestamp" not in metadata

    def _await_end_of_another(self) -> None:
        """A Job cannot be changed. It is gone when its pods are, so that no two guards are at work."""
        path, deadline = self._path("Job"), time.monotonic() + GONE_SECONDS
        self._cluster.delete(path, propagationPolicy="Foreground")
        while self._cluster.find(path) is not None:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"Job {self._inputs.namespace}/{self._name} of an earlier walk does not end: look at its pods"
                )
            time.sleep(LOOK_SECONDS)

    def _write(self, manifest: Manifest) -> None:
        kind = manifest["kind"]
        try:
            self._cluster.create(COLLECTIONS[kind].format(self._inputs.namespace), manifest)
        except Conflict:
            if kind == "Job":
                raise
            self._cluster.patch(self._path(kind), manifest)

    def _path(self, kind: str) -> str:
        return f"{COLLECTIONS[kind].format(self._inputs.namespace)}/{self._name}"


def _runs(pod: Manifest) -> bool:
    ready = any(container.get("ready") for container in pod.get("status", {}).get("containerStatuses", []))
    return ready and "deletionTimestamp" not in pod["metadata"]


def manifests(
    inputs: Inputs,
    walk: Walk,
    route: list[Part],
    lease_uid: str,
    *,
    image: str = IMAGE,
    limit_seconds: float = HEARTBEAT_LIMIT_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> list[Manifest]:
    """Its objects: ServiceAccount, Role, RoleBinding and Job, in the order in which they are made."""
    name, lease = f"rollout-{inputs.app}-guard", f"rollout-{inputs.app}"
    # Not the application's own label: its Services and disruption budgets must not select the guard.
    labels = {**MANAGED_BY, "app.kubernetes.io/component": "guard"}
    owner = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": lease, "uid": lease_uid}
    metadata = {"name": name, "namespace": inputs.namespace, "labels": labels, "ownerReferences": [owner]}
    noted = {WALK_ANNOTATION: walk.id}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": inputs.namespace}
    bound = {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name}, "subjects": [subject]}
    words = [
        argument
        for part in route
        for argument in (part.resource, *map(_compact, (part.done, part.zero, part.home)), part.trace)
    ]
    pod = _pod(name, image, words, _environment(inputs, walk, limit_seconds, poll_seconds))
    # A sidecar would keep the Job from ending, and might keep the guard from the API server.
    alone = {"labels": {**labels, "sidecar.istio.io/inject": "false"}, "annotations": {"linkerd.io/inject": "disabled"}}
    template = {"metadata": alone, "spec": pod}
    job = {"backoffLimit": 1_000_000, "ttlSecondsAfterFinished": 3600, "template": template}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": _rules(inputs, route)},
        {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": metadata, **bound},
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {**metadata, "annotations": noted}, "spec": job},
    ]


def _compact(operations: list[Operation]) -> str:
    return json.dumps(operations, separators=(",", ":"))


def _environment(inputs: Inputs, walk: Walk, limit_seconds: float, poll_seconds: float) -> dict[str, str]:
    return {
        "NAME": f"rollout-{inputs.app}",
        "NAMESPACE": inputs.namespace,
        "WALK": walk.id,
        "APP": inputs.app,
        "CANARY": inputs.name_of(inputs.revision.hash),
        "STABLE": inputs.name_of(walk.stable),
        "REVISION": walk.stable,
        "APEX": json.dumps({"spec": {"selector": selecting(inputs, walk.stable, walk.adopted)}}),
        "LIMIT_POLLS": str(math.ceil(limit_seconds / poll_seconds)),
        "LIMIT_SECONDS": f"{limit_seconds:g}",
        "POLL_SECONDS": f"{poll_seconds:g}",
        "SETTLE_SECONDS": f"{walk.limits.settle_seconds:g}",
        "DRAIN_SECONDS": f"{walk.limits.drain_seconds:g}",
        "HOME": "/tmp",
    }


def _pod(name: str, image: str, words: list[str], environment: dict[str, str]) -> Manifest:
    """The pod, as the Pod Security Standard `restricted` wants it."""
    container = {
        "name": "guard",
        "image": image,
        # The word after the script is its $0. A kubelet makes one `$` of two.
        "command": ["/bin/sh", "-c", SCRIPT.read_text(), "guard", *(word.replace("$", "$$") for word in words)],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    return {
        "serviceAccountName": name,
        "automountServiceAccountToken": True,
        "restartPolicy": "OnFailure",
        # It may run on the very machine that dies: then it is wanted elsewhere in seconds, not in the usual 5 min.
        "tolerations": [
            {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
            for state in ("not-ready", "unreachable")
        ],
        # A shell as process 1 does not hear SIGTERM, and nothing here has to be tidied up.
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _rules(inputs: Inputs, route: list[Part]) -> list[Manifest]:
    """What it may do, and with which objects; only Events cannot be limited by name."""
    canary, own = inputs.name_of(inputs.revision.hash), f"rollout-{inputs.app}"
    return [
        _rule("coordination.k8s.io", "leases", own, "get"),
        _rule("", "configmaps", own, "get", "patch"),
        *(_rule(part.group, part.plural, part.name, "get", "patch") for part in route),
        _rule("", "services", inputs.app, "get", "patch"),
        _rule("apps", "deployments", canary, "get"),
        _rule("apps", "deployments/scale", canary, "get", "patch"),
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    ]


def _rule(group: str, resource: str, name: str, *verbs: str) -> Manifest:
    return {"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": list(verbs)}
