"""What really happens: one function an Action. Each is idempotent and safe to repeat.

Lives here: writes to the application's objects. Not here: why or when (`core/machine.py`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

from pulumi_rollout import gitops
from pulumi_rollout.adoption import selecting
from pulumi_rollout.cluster import FIELD_MANAGER, Cluster
from pulumi_rollout.core.state import (
    Action,
    Phase,
    Pin,
    PointApex,
    ReplacePod,
    Resize,
    Restore,
    Scale,
    SetWeight,
    State,
    Unpin,
)
from pulumi_rollout.errors import Conflict, NotFound
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.observe import Observer
from pulumi_rollout.routers import ROUTERS, identity, understood

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
                self._observer.restored = False
                self._edit(partial(self._with_weight, percent), state)
            case PointApex(revision=revision):
                self._point_apex(revision, state)
            case Restore():
                self._go_home(state)
                self._observer.restored = True
            case ReplacePod(pod=pod):
                self._cluster.delete(f"/api/v1/namespaces/{self._inputs.namespace}/pods/{pod}")
            case Resize():
                self.resize(state.revision)
            case _:
                assert_never(action)

    def leave(self, state: State) -> None:
        """What is still there of the route, as it was before a walk that nobody will go on with."""
        self._go_home(state.model_copy(update={"phase": Phase.FAILED}))

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

    def _with_weight(self, percent: int, objects: list[Manifest]) -> list[Manifest]:
        changed = self._router.with_weight(objects, self._backends, percent)
        return gitops.paused(changed, objects, self._inputs.app, self._backends.canary.service)

    def _restored(self, state: State, objects: list[Manifest]) -> list[Manifest]:
        before = self._router.restored(objects, json.loads(state.original), self._backends)
        return gitops.resumed(before, self._inputs.app)

    def _go_home(self, state: State) -> None:
        self._edit(partial(self._restored, state), state, leave=True)
        # Books alone: where others are always faster, the end of a release or of a stack does not hang on them.
        for _ in range(0 if self._inputs.route.declared else WRITE_ATTEMPTS):
            with contextlib.suppress(Conflict, NotFound):
                self._disown()
                return

    def _disown(self) -> None:
        """Give up the fields that the walk has written in somebody else's route: by the API server's books they are
        ours now, and their owner's next server-side apply would be refused as a conflict."""
        for item in self._observer.route_objects(partly=True):
            entries = item["metadata"].get("managedFields", [])
            others = [entry for entry in entries if entry.get("manager") != FIELD_MANAGER]
            if others != entries:
                # An empty list would leave it as it is; a list of an empty entry resets it.
                metadata = {**item["metadata"], "managedFields": others or [{}]}
                ref = {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": metadata["name"]}
                self._cluster.replace(self._observer.route_path(ref), {**item, "metadata": metadata})

    def _edit(self, change: Callable[[list[Manifest]], list[Manifest]], state: State, *, leave: bool = False) -> None:
        """Change the route as it was last looked at: if somebody has written since, this is refused, and
        decided anew at the next look. The way back changes it as it is, and again."""
        back = state.phase in (Phase.REVERTING, Phase.FAILED)
        for attempt in range(WRITE_ATTEMPTS):
            live = None if back else self._observer.seen_route
            live = self._observer.route_objects(partly=back) if live is None else live
            try:
                with understood(live):
                    wanted = change(live)
                self._write(live, wanted, leave=leave)
                return
            except ValueError as error:  # somebody has given it a shape that is not understood
                raise Conflict(str(error), 409) from error
            except (Conflict, NotFound) as error:
                if not back or attempt + 1 == WRITE_ATTEMPTS:
                    raise Conflict(str(error), 409) from error

    def _write(self, live: list[Manifest], wanted: list[Manifest], *, leave: bool) -> None:
        """Each object that differs; what is wanted and absent is made, what is there and not wanted is deleted.
        + leave: in the order of the way home"""
        before, after = ({identity(item): item for item in items} for items in (live, wanted))
        parts = self._observer.route_parts
        for ref in reversed(parts) if leave else parts:
            path, old, new = self._observer.route_path(ref), before.get(identity(ref)), after.get(identity(ref))
            if new is None:
                if old is not None:
                    self._cluster.delete(path)
            elif old is None:
                self._cluster.create(path.rpartition("/")[0], new)
            elif new != old:
                self._cluster.replace(path, new)

    def _point_apex(self, revision: str, state: State) -> None:
        """As with the route: on the way forward only if nobody has written since it was looked at."""
        patch: Manifest = {"spec": {"selector": selecting(self._inputs, revision, state.adopted)}}
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
