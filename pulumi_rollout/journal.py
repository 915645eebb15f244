"""The walk's memory in the cluster: one ConfigMap per application, `rollout-<app>`.

Lives here: its format, compare-and-swap, and what counts as unfinished or as remembered. Written
before the actions of a decision are performed, so that whoever comes next knows what may have been
done. Not here: what to do about it (`driver.py`, `provider.py`).
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.plan import Frozen, Plan
from pulumi_rollout.core.state import FINAL, STATE_FORMAT, Phase, State
from pulumi_rollout.errors import Conflict, JournalError

HISTORY_LENGTH = 20


class Entry(Frozen):
    """One walk that ended. + retry: the rollout's retry token, which lifts a failure's memory."""

    revision: str
    stable: str | None
    phase: Phase
    reason: str | None
    judged: bool
    retry: str
    ended_at: float


class Record(Frozen):
    """The walk that is under way or was cut off."""

    state: State
    plan: Plan
    saved_at: float
    retry: str = ""


class Journal:
    """One application's journal. Every write is compared with what was read last."""

    def __init__(self, cluster: Cluster, namespace: str, app: str, owner: str) -> None:
        self._cluster = cluster
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self.name = f"rollout-{app}"
        self._namespace, self._app, self._owner = namespace, app, owner
        self._object: dict[str, Any] | None = None
        self.record: Record | None = None
        self.history: list[Entry] = []

    def load(self) -> Journal:
        """Read it. An absent journal is an empty one; a broken or newer one is an error."""
        self._object = self._cluster.find(f"{self._collection}/{self.name}")
        data = (self._object or {}).get("data") or {}
        if self._owner and (owner := data.get("owner")) and owner != self._owner:
            raise JournalError(
                f"ConfigMap {self._namespace}/{self.name} belongs to the stack {owner}, and one application "
                "is released by one stack: if that stack is no more, delete the ConfigMap"
            )
        try:
            raw = json.loads(data.get("state", "null"))
            if raw is not None and raw["state"]["format"] > STATE_FORMAT:
                raise JournalError(
                    f"ConfigMap {self._namespace}/{self.name} was written by a newer version of pulumi-rollout: "
                    "upgrade before you go on"
                )
            self.record = None if raw is None else Record.model_validate(raw)
            self.history = [Entry.model_validate(item) for item in json.loads(data.get("history", "[]"))]
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise JournalError(
                f"ConfigMap {self._namespace}/{self.name} cannot be read as a journal: look at the route's "
                "weights, put them right by hand, then delete the ConfigMap"
            ) from error
        return self

    @property
    def unfinished(self) -> Record | None:
        """A walk that was cut off before its end, or whose way back was not seen to be complete."""
        if self.record is None or (self.record.state.phase in FINAL and self.record.state.confirmed):
            return None
        return self.record

    def failure_of(self, revision: str, retry: str) -> Entry | None:
        """The last walk to this revision, if it was judged bad and no other retry token is given."""
        last = next((entry for entry in reversed(self.history) if entry.revision == revision), None)
        remembered = last is not None and last.phase is Phase.FAILED and last.judged and last.retry == retry
        return last if remembered else None

    def save(self, plan: Plan, state: State, now: float, retry: str = "") -> None:
        """Remember a walk's state, and the retry token that it was begun under."""
        self.record = Record(state=state, plan=plan, saved_at=now, retry=retry)
        self._write()

    def end(self, plan: Plan, state: State, now: float, *, judged: bool, retry: str) -> None:
        """Remember a walk's last state, and its end in the history; once, when it has to be repeated."""
        entry = Entry(
            revision=state.revision,
            stable=state.stable,
            phase=state.phase,
            reason=state.reason,
            judged=judged,
            retry=retry,
            ended_at=now,
        )
        if self.history[-1:] != [entry]:
            self.history = [*self.history, entry][-HISTORY_LENGTH:]
        self.save(plan, state, now, retry)

    def delete(self) -> None:
        """Forget everything, when the application is destroyed."""
        self._cluster.delete(f"{self._collection}/{self.name}")

    def _write(self) -> None:
        data = {
            "state": self.record.model_dump_json() if self.record else "null",
            "history": json.dumps([entry.model_dump(mode="json") for entry in self.history]),
            "owner": self._owner,
        }
        try:
            if self._object is None:
                self._object = self._cluster.create(self._collection, {**self._skeleton(), "data": data})
            else:
                changed = {**self._object, "data": data}
                self._object = self._cluster.replace(f"{self._collection}/{self.name}", changed)
        except Conflict as error:
            self._object = self._cluster.find(f"{self._collection}/{self.name}")
            if (self._object or {}).get("data") == data:
                return  # our own write, repeated because its answer was lost
            raise JournalError(
                f"another run is releasing {self._app}: it changed ConfigMap {self._namespace}/{self.name}; "
                "wait for it to end, then run `pulumi up` again"
            ) from error

    def _skeleton(self) -> dict[str, Any]:
        labels = {"app.kubernetes.io/name": self._app, "app.kubernetes.io/managed-by": "pulumi-rollout"}
        metadata = {"name": self.name, "namespace": self._namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
