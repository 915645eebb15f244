"""The walk's memory in the cluster: one ConfigMap per application, `rollout-<app>`.

Lives here: its format, compare-and-swap, and what counts as unfinished or as remembered. Written
before the actions of a decision are performed, so that whoever comes next knows what may have been
done. Not here: what to do about it (`driver.py`, `provider.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, STATE_FORMAT, Phase, Retry, State
from pulumi_rollout.errors import Conflict, Fenced, JournalError
from pulumi_rollout.inputs import Inputs, own_object

HISTORY_LENGTH = 20


def _to_format_2(record: dict[str, Any]) -> dict[str, Any]:
    """Walks have got an id."""
    state = record["state"]
    return {**record, "state": {**state, "format": 2, "walk": f"{state['revision']}-{int(state['started_at'])}"}}


def _to_format_3(record: dict[str, Any]) -> dict[str, Any]:
    """Gates are of several kinds. What was counted is left behind: the walk is judged from where it is taken up."""
    plan = record["plan"]
    gates = [
        {**gate, "test": "objective", "metric": {"name": gate["metric"]}} if isinstance(gate["metric"], str) else gate
        for gate in plan.get("gates", [])
    ]
    state = {**record["state"], "format": 3, "evidence": {}}
    return {**record, "plan": {**plan, "gates": gates}, "state": state}


# From a format to the next one.
MIGRATIONS = {1: _to_format_2, 2: _to_format_3}


def migrated(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """A record as it was written, in today's format. One of a newer format stays as it is."""
    while record is not None and (step := MIGRATIONS.get(record["state"]["format"])):
        record = step(record)
    return record


class Entry(Frozen):
    """One walk that ended.

    + retry: the rollout's retry token, which lifts a failure's memory
    + command: the last command that the walk had answered; a later `retry` lifts the memory too
    + image, commit, by: what was released, from which commit, by whom
    """

    revision: str
    stable: str | None
    phase: Phase
    reason: str | None
    judged: bool
    retry: str
    ended_at: float
    started_at: float | None = None
    command: int = 0
    image: str | None = None
    commit: str | None = None
    by: str | None = None


class Record(Frozen):
    """The walk that is under way or was cut off.

    + inputs: the Rollout's, without credentials, for whoever has to put it back; None before format 2
    + image, commit, by: as in `Entry`
    """

    state: State
    plan: Plan
    saved_at: float
    retry: str = ""
    inputs: Inputs | None = None
    image: str | None = None
    commit: str | None = None
    by: str | None = None


class Journal:
    """One application's journal. Every write is compared with what was read last.

    + guarded: when the guard has put the recorded walk's traffic back; None if it has not
    """

    def __init__(self, cluster: Cluster, namespace: str, app: str, owner: str = "") -> None:
        self._cluster = cluster
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self.name = f"rollout-{app}"
        self._namespace, self._app, self._owner = namespace, app, owner
        self._object: dict[str, Any] | None = None
        self.record: Record | None = None
        self.history: list[Entry] = []
        self.guarded: str | None = None

    def load(self) -> Journal:
        """Read it. An absent journal is an empty one; a broken or newer one is an error."""
        return self.read(self._cluster.find(f"{self._collection}/{self.name}"))

    def read(self, found: dict[str, Any] | None) -> Journal:
        """The same from its ConfigMap, as a list has it."""
        self._object = found
        data = (self._object or {}).get("data") or {}
        if self._owner and (owner := data.get("owner")) and owner != self._owner:
            raise JournalError(
                f"ConfigMap {self._namespace}/{self.name} belongs to the stack {owner}, and one application "
                "is released by one stack: if that stack is no more, delete the ConfigMap"
            )
        try:
            raw = migrated(json.loads(data.get("state", "null")))
            if raw is not None and raw["state"]["format"] > STATE_FORMAT:
                raise JournalError(
                    f"ConfigMap {self._namespace}/{self.name} was written by a newer version of pulumi-rollout: "
                    "upgrade before you go on"
                )
            self.record = None if raw is None else Record.model_validate(raw)
            self.history = [Entry.model_validate(item) for item in json.loads(data.get("history", "[]"))]
            guard = json.loads(data.get("guard", "{}"))
            self.guarded = guard.get("at") if self.record and guard.get("walk") == self.record.state.walk else None
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise JournalError(
                f"ConfigMap {self._namespace}/{self.name} cannot be read as a journal: look at the route's "
                "weights, put them right by hand, then delete the ConfigMap"
            ) from error
        self._owner = self._owner or data.get("owner", "")
        return self

    @property
    def owner(self) -> str:
        """The stack that it belongs to, `<project>/<stack>`; empty if it is not known."""
        return self._owner

    @property
    def unfinished(self) -> Record | None:
        """A walk that was cut off before its end, or whose way back was not seen to be complete."""
        if self.record is None or (self.record.state.phase in FINAL and self.record.state.confirmed):
            return None
        return self.record

    def failure_of(self, revision: str, retry: str, retries: Sequence[Retry] = ()) -> Entry | None:
        """The last walk to this revision, if it was judged bad, no other retry token is given, and nobody
        has said `rollout retry` since."""
        last = next((entry for entry in reversed(self.history) if entry.revision == revision), None)
        if last is None or last.phase is not Phase.FAILED or not last.judged or last.retry != retry:
            return None
        lifted = any(one.revision == revision and one.id > last.command for one in retries)
        return None if lifted else last

    def begin(self, record: Record) -> None:
        """Remember a new walk, or one that is taken up. Raises JournalError when somebody else wrote."""
        if self.record is None or self.record.state.walk != record.state.walk:
            self.guarded = None
        self._write(record, self.history)

    def save(self, state: State, now: float) -> None:
        """Remember a walk's state."""
        self._write(self._following(state, now), self.history)

    def end(self, state: State, now: float) -> None:
        """Remember a walk's last state, and its end in the history; once, when it has to be repeated."""
        record = self._following(state, now)
        entry = Entry(
            revision=state.revision,
            stable=state.stable,
            phase=state.phase,
            reason=state.reason,
            judged=state.judged,
            retry=record.retry,
            ended_at=now,
            started_at=state.begun_at,
            command=state.command,
            image=record.image,
            commit=record.commit,
            by=record.by,
        )
        self._write(record, [*self.history, entry][-HISTORY_LENGTH:])

    def delete(self) -> None:
        """Forget everything, when the application is destroyed."""
        self._cluster.delete(f"{self._collection}/{self.name}")

    def _following(self, state: State, now: float) -> Record:
        if self.record is None:
            raise JournalError(f"ConfigMap {self._namespace}/{self.name} knows of no walk that could go on")
        return self.record.model_copy(update={"state": state, "saved_at": now})

    def _write(self, record: Record, history: list[Entry]) -> None:
        """Compare and swap. What could not be written is not known afterwards either."""
        data = self._data(record, history)
        try:
            if self._object is None:
                fresh = own_object("v1", "ConfigMap", self._namespace, self.name, self._app)
                self._object = self._cluster.create(self._collection, {**fresh, "data": data})
            else:
                changed = {**self._object, "data": data}
                self._object = self._cluster.replace(f"{self._collection}/{self.name}", changed)
        except Conflict as error:
            self._object = self._own(data, error)
        self.record, self.history = record, history
        self.written()

    def written(self) -> None:
        """Called after each write that the cluster has taken: here tests end the process."""

    def _own(self, data: dict[str, str], error: Conflict) -> dict[str, Any]:
        """The ConfigMap, if it was our own write that is repeated because its answer was lost, or if nothing
        but its metadata was changed."""
        found = self._cluster.find(f"{self._collection}/{self.name}")
        written = (found or {}).get("data") or {}
        if found is not None and written == data:
            return found
        if found is not None and self._object is not None and written == self._object["data"]:
            # Somebody has labelled or annotated it, which is nothing to the walk.
            return self._cluster.replace(f"{self._collection}/{self.name}", {**found, "data": data})
        if self.guarded is None and "guard" in written and written.get("walk") == data["walk"]:
            self._object, self.guarded = found, json.loads(written["guard"]).get("at", "some time ago")
            raise Fenced(f"the guard in the cluster is putting the traffic of {self._app} back") from error
        raise JournalError(
            f"another run is releasing {self._app}: it changed ConfigMap {self._namespace}/{self.name}; "
            "wait for it to end, then run `pulumi up` again"
        ) from error

    def _data(self, record: Record, history: list[Entry]) -> dict[str, str]:
        """All of it, and beside it in plain words what people and the guard look for."""
        state = record.state
        data = {
            "state": record.model_dump_json(),
            "history": json.dumps([entry.model_dump(mode="json") for entry in history]),
            "owner": self._owner,
            "walk": state.walk,
            "phase": str(state.phase),
            "weight": str(state.weight_percent),
        }
        data |= {"held": "true"} if state.held else {}
        return data | ({"guard": json.dumps({"walk": state.walk, "at": self.guarded})} if self.guarded else {})
