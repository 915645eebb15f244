"""Create, update and delete one object: who owns which field, and what a conflict says.

Lives here: the writing half of the plugin. Waiting for what was written is `waiting.py`'s work.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any

from lab.plugin.api import APPLY_PATCH, JSON_PATCH, Api, ApiError
from lab.plugin.values import Object, annotation, metadata

CREATE_MANAGER = "pulumi-kubernetes"
# Clients that write without server-side apply (kubectl may do either): our first apply takes their fields over.
CLIENT_SIDE = ("kubectl", "before-first-apply", "pulumi-kubernetes", "pulumi-resource-kubernetes")
RETRIES = 5


class NoNamespace(Exception):
    """A preview met a namespace that the same update is going to create."""


class Conflict(Exception):
    """Another manager owns a field and we may not force it."""


@dataclass(frozen=True)
class Writer:
    """How this provider writes: the switches of its configuration."""

    api: Api
    cancelled: threading.Event
    force_always: bool = False
    upsert: bool = False

    def create(self, inputs: Object, manager: str, preview: bool) -> Object:
        """Create the object; what is missing (a namespace, a CRD) may still be on its way, so retry."""
        attempt = 0
        while True:
            try:
                if self.upsert:
                    return self._apply(inputs, manager, self._force(inputs, None, preview), preview)
                query = {"fieldManager": CREATE_MANAGER} | _dry_run(preview)
                return self.api.request("POST", self.api.path(inputs), inputs, query=query)
            except ApiError as error:
                if error.code != 404:
                    raise
                if preview and error.details.get("kind") == "namespaces":
                    raise NoNamespace from error
                if attempt == RETRIES or self.cancelled.wait(2**attempt):
                    raise
            attempt += 1

    def update(self, old: Object, inputs: Object, manager: str, ignored: list[str], preview: bool) -> Object:
        """Bring the live object to the new inputs. `old` only says which object it is."""
        live = self.api.get({**inputs, "metadata": {**metadata(inputs), "name": metadata(old)["name"]}})
        inputs = copy.deepcopy(inputs)
        if inputs.get("kind") == "CustomResourceDefinition":
            inputs["metadata"]["resourceVersion"] = metadata(live)["resourceVersion"]
            query = {"fieldManager": manager} | _dry_run(preview)
            return self.api.request("PUT", self.api.path(inputs, metadata(live)["name"]), inputs, query=query)
        if not preview:
            live = self._take_over(live, manager)
        _leave_ignored(inputs, live, manager, ignored)
        return self._apply(inputs, manager, self._force(inputs, live, preview), preview)

    def delete(self, live: Object, propagation: str) -> None:
        """Ask for deletion. What is gone already is fine."""
        policy = {"orphan": "Orphan", "background": "Background"}.get(propagation.lower(), "Foreground")
        try:
            path = self.api.path(live, metadata(live)["name"])
            self.api.request("DELETE", path, {"propagationPolicy": policy})
        except ApiError as error:
            if error.code != 404:
                raise

    def relinquish(self, live: Object, manager: str) -> None:
        """Give up a former manager's fields, after the annotation named another one."""
        place = {key: live[key] for key in ("apiVersion", "kind")}
        place["metadata"] = {key: live["metadata"][key] for key in ("name", "namespace") if key in live["metadata"]}
        self._apply(place, manager, force=True, preview=False)

    def _apply(self, inputs: Object, manager: str, force: bool, preview: bool) -> Object:
        query = {"fieldManager": manager, "force": str(force).lower()} | _dry_run(preview)
        try:
            path = self.api.path(inputs, metadata(inputs)["name"])
            return self.api.request("PATCH", path, inputs, content_type=APPLY_PATCH, query=query)
        except ApiError as error:
            if error.code != 409:
                raise
            raise Conflict(
                f"somebody else owns fields that {manager} wants to write: {error}\nLeave them out of the"
                f' program, or take them over with the annotation pulumi.com/patchForce: "true"'
            ) from error

    def _force(self, inputs: Object, live: Object | None, preview: bool) -> bool:
        if self.force_always or annotation(inputs, "patchForce") == "true":
            return True
        if live is None:
            # A preview of a replacement would otherwise meet the object that is to be deleted.
            return preview
        entries = metadata(live).get("managedFields") or []
        # In a real update the create manager's fields are taken over first; a preview writes nothing.
        ours = any(entry["operation"] == "Update" and entry["manager"] == CREATE_MANAGER for entry in entries)
        return not entries or (preview and ours)

    def _take_over(self, live: Object, manager: str) -> Object:
        """Move the fields of clients that do not apply server-side to our manager.

        Without it a field that was set at creation could never be removed again.
        """
        entries = metadata(live).get("managedFields") or []
        taken = [entry for entry in entries if _is_taken_over(entry)]
        if not taken:
            return live
        ours = next(
            (entry for entry in entries if entry["manager"] == manager and entry["operation"] == "Apply"),
            None,
        )
        merged = {**(ours or taken[-1]), "manager": manager, "operation": "Apply", "fieldsV1": {}}
        for entry in [*taken, *([ours] if ours else [])]:
            _merge(merged["fieldsV1"], entry.get("fieldsV1") or {})
        kept = [entry for entry in entries if entry not in taken and entry is not ours]
        # No resourceVersion: a controller may write the status in between, and the server retries by itself.
        patch = [{"op": "replace", "path": "/metadata/managedFields", "value": [*kept, merged]}]
        path = self.api.path(live, live["metadata"]["name"])
        return self.api.request("PATCH", path, patch, content_type=JSON_PATCH)


def _dry_run(preview: bool) -> dict[str, str]:
    return {"dryRun": "All"} if preview else {}


def _is_taken_over(entry: Object) -> bool:
    applied = entry["operation"] == "Apply"
    return not entry.get("subresource") and entry["manager"].startswith("kubectl" if applied else CLIENT_SIDE)


def _merge(target: Object, more: Object) -> None:
    for key, value in more.items():
        _merge(target.setdefault(key, {}), value)


def _leave_ignored(inputs: Object, live: Object, manager: str, ignored: list[str]) -> None:
    """`ignoreChanges` under server-side apply: leave out what others own, repeat the live value of ours.

    A path is split at dots only, so one inside a list is not honoured.
    """
    entries = metadata(live).get("managedFields") or []
    for text in ignored:
        path = text.split(".")
        owners = {entry["manager"] == manager for entry in entries if _owns(entry, path)}
        if owners == {False}:
            _remove(inputs, path)
            continue
        found, value = _find(live, path)
        if found:
            target = inputs
            for part in path[:-1]:
                target = target.setdefault(part, {})
            target[path[-1]] = copy.deepcopy(value)


def _owns(entry: Object, path: list[str]) -> bool:
    return _find(entry.get("fieldsV1") or {}, [f"f:{part}" for part in path])[0]


def _find(tree: Any, path: list[str]) -> tuple[bool, Any]:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return False, None
        tree = tree[part]
    return True, tree


def _remove(tree: Any, path: list[str]) -> None:
    found, parent = _find(tree, path[:-1])
    if found and isinstance(parent, dict):
        parent.pop(path[-1], None)
