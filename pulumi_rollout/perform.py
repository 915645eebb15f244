"""What really happens: one function an Action. Each is idempotent and safe to repeat.

Lives here: writes to the application's objects. Not here: why or when (`core/machine.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, assert_never

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.state import (
    Action,
    Phase,
    Pin,
    PointApex,
    Resize,
    Restore,
    Scale,
    SetWeight,
    State,
    Unpin,
)
from pulumi_rollout.errors import Conflict
from pulumi_rollout.inputs import REVISION_LABEL, Inputs
from pulumi_rollout.observe import Observer
from pulumi_rollout.routers import ROUTERS

Manifest = dict[str, Any]

# An autoscaler's declared minimum, kept on the object itself while the walk holds a higher one.
MINIMUM_ANNOTATION = "pulumi-rollout/min-replicas"
WRITE_ATTEMPTS = 5


class Performer:
    """Hands on one application. + inputs: with the walk's canary as the revision"""

    def __init__(self, inputs: Inputs, cluster: Cluster, observer: Observer) -> None:
        self._inputs, self._cluster, self._observer = inputs, cluster, observer
        self._router = ROUTERS[inputs.route.router]
        self._backends = inputs.backends()

    def perform(self, action: Action, state: State) -> None:
        """Do it. Raises ClusterError; the walk then looks again and repeats what is not so yet."""
        match action:
            case Scale(replicas=replicas):
                if replicas:
                    self._hold_minimum(state.revision, replicas)
                self.scale(state.revision, replicas)
            case Pin(replicas=replicas):
                if state.stable is not None:
                    self._hold_minimum(state.stable, replicas)
            case Unpin():
                for revision in filter(None, (state.revision, state.stable)):
                    self._release_minimum(revision)
            case SetWeight(percent=percent):
                self._edit(lambda objects: self._router.with_weight(objects, self._backends, percent), state)
            case PointApex(revision=revision):
                self._point_apex(revision, state)
            case Restore():
                original = json.loads(state.original)
                self._edit(lambda objects: self._router.restored(objects, original, self._backends), state)
            case Resize():
                self.resize(state.revision)
            case _:
                assert_never(action)

    def settle(self, revision: str) -> None:
        """What follows a walk that was won, for a run that was cut off before it."""
        self.resize(revision)
        self._release_minimum(revision)

    def resize(self, revision: str) -> None:
        """The declared number of replicas, unless an autoscaler owns it."""
        if self._cluster.find(self._inputs.autoscaler_path(revision)) is None:
            self.scale(revision, self._inputs.revision.replicas)

    def scale(self, revision: str, replicas: int) -> None:
        """Write the Deployment's scale, and only that; a Deployment that is gone has no pods to scale."""
        path = self._inputs.deployment_path(revision)
        if replicas or self._cluster.find(path):
            self._cluster.patch(f"{path}/scale", {"spec": {"replicas": replicas}})

    def _edit(self, change: Callable[[list[Manifest]], list[Manifest]], state: State) -> None:
        """Change the route as it was last looked at: if somebody has written since, this is refused, and
        decided anew at the next look. The way back changes it as it is, and again."""
        back = state.phase in (Phase.REVERTING, Phase.FAILED)
        for attempt in range(WRITE_ATTEMPTS):
            live = None if back else self._observer.seen_route
            live = self._observer.route_objects() if live is None else live
            try:
                for ref, before, after in zip(self._inputs.route.objects, live, change(live), strict=True):
                    if after != before:
                        self._cluster.replace(self._observer.route_path(ref), after)
                return
            except Conflict:
                if not back or attempt + 1 == WRITE_ATTEMPTS:
                    raise

    def _point_apex(self, revision: str, state: State) -> None:
        """As with the route: on the way forward only if nobody has written since it was looked at."""
        patch: Manifest = {"spec": {"selector": {REVISION_LABEL: revision}}}
        if state.phase is Phase.PROMOTING and self._observer.seen_apex is not None:
            patch["metadata"] = {"resourceVersion": self._observer.seen_apex}
        self._cluster.patch(self._inputs.apex_path(), patch)

    def _hold_minimum(self, revision: str, replicas: int) -> None:
        path = self._inputs.autoscaler_path(revision)
        autoscaler = self._cluster.find(path)
        if autoscaler is None:
            return
        minimum = autoscaler["spec"].get("minReplicas", 1)
        declared = int(autoscaler["metadata"].get("annotations", {}).get(MINIMUM_ANNOTATION, minimum))
        held = min(max(declared, replicas), autoscaler["spec"]["maxReplicas"])
        annotations = {MINIMUM_ANNOTATION: str(declared)}
        self._cluster.patch(path, {"metadata": {"annotations": annotations}, "spec": {"minReplicas": held}})

    def _release_minimum(self, revision: str) -> None:
        path = self._inputs.autoscaler_path(revision)
        autoscaler = self._cluster.find(path)
        declared = (autoscaler or {}).get("metadata", {}).get("annotations", {}).get(MINIMUM_ANNOTATION)
        if declared is not None:
            annotations = {MINIMUM_ANNOTATION: None}
            patch = {"metadata": {"annotations": annotations}, "spec": {"minReplicas": int(declared)}}
            self._cluster.patch(path, patch)
