"""How commands reach a walk: one ConfigMap, `rollout-<app>.commands`, that only operators write.

So an operator never races the walk's compare-and-swap of its journal. Lives here: its format, and
sending. Not here: what a command means (`core/commands.py`), or how it is typed (`cli/`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.state import Command, Retry
from pulumi_rollout.errors import Conflict, JournalError
from pulumi_rollout.inputs import own_object

COMMANDS_KEPT = 20
WRITE_ATTEMPTS = 5


class Control:
    """One application's commands."""

    def __init__(self, cluster: Cluster, namespace: str, app: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._name, self._app = f"rollout-{app}.commands", app

    def read(self) -> tuple[tuple[Command, ...], tuple[Retry, ...]]:
        """All that is kept, oldest first. Raises JournalError when it cannot be read."""
        return self._parse(self._cluster.find(self._path))

    def send(self, command: Command | Retry, after: int) -> int:
        """Add it, and return the id that it got: above all others, and above `after`. Raises ClusterError."""
        sent: Command | Retry | None = None
        attempts = 0
        while True:
            found = self._cluster.find(self._path)
            commands, retries = self._parse(found)
            if sent is not None and sent in (*commands, *retries):
                return sent.id  # our own write, repeated because its answer was lost
            known = [*(one.id for one in commands), *(one.id for one in retries)]
            sent = command.model_copy(update={"id": max([after, *known]) + 1})
            if isinstance(sent, Command):
                commands = (*commands, sent)[-COMMANDS_KEPT:]
            else:
                retries = (*retries, sent)[-COMMANDS_KEPT:]
            data = {"commands": _dumped(commands), "retries": _dumped(retries)}
            try:
                if found is None:
                    fresh = own_object("v1", "ConfigMap", self._namespace, self._name, self._app)
                    self._cluster.create(self._collection, {**fresh, "data": data})
                else:
                    self._cluster.replace(self._path, {**found, "data": data})
                return sent.id
            except Conflict:
                attempts += 1
                if attempts == WRITE_ATTEMPTS:
                    raise

    def delete(self) -> None:
        """When the application is destroyed."""
        self._cluster.delete(self._path)

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    def _parse(self, found: dict[str, Any] | None) -> tuple[tuple[Command, ...], tuple[Retry, ...]]:
        data = (found or {}).get("data") or {}
        try:
            commands = [Command.model_validate(item) for item in json.loads(data.get("commands", "[]"))]
            retries = [Retry.model_validate(item) for item in json.loads(data.get("retries", "[]"))]
        except (ValueError, TypeError, ValidationError) as error:
            raise JournalError(
                f"ConfigMap {self._namespace}/{self._name} cannot be read as commands: delete it, and give the "
                "command again"
            ) from error
        return tuple(commands), tuple(retries)


def _dumped(kept: Sequence[Command] | Sequence[Retry]) -> str:
    return json.dumps([one.model_dump() for one in kept])
