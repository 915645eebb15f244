"""Other owners of a route's objects: what keeps Flux from putting them back during a walk, and who else might.

Pure. Lives here: the annotations that are written for the time of a walk, what was there before, and the marks by which
several walks on one object agree on when to take them off. Not here: who writes them (`perform.py`, `parts.py`).
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

Manifest = dict[str, Any]

# The label by which a controller of Flux knows its objects -> the annotation that it heeds on them, at once.
FLUX = {
    "kustomize.toolkit.fluxcd.io/name": "kustomize.toolkit.fluxcd.io/reconcile",
    "helm.toolkit.fluxcd.io/name": "helm.toolkit.fluxcd.io/driftDetection",
}
PAUSED = "disabled"
# By which Argo CD knows its objects. There is no annotation that it heeds on one of them.
ARGO_CD = ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance")
# On each object that has been paused for a walk: by application, what its annotations were before.
MARK = "walking.pulumi-rollout"


def paused(objects: list[Manifest], live: list[Manifest], app: str, canary: str) -> list[Manifest]:
    """The objects, with a word to the other owners of those that are no longer as they are live.
    + canary: the walk's; the guard looks for its name"""
    changed = deepcopy(objects)
    for item in [item for item in changed if item not in live]:
        metadata = item["metadata"]
        keys = [key for label, key in FLUX.items() if label in (metadata.get("labels") or {})]
        if not keys:
            continue
        annotations = metadata["annotations"] = dict(metadata.get("annotations") or {})
        # Another walk's mark knows what was there before either of them.
        before = next(iter(_marks(annotations).values()), {key: annotations.get(key) for key in keys})
        annotations.setdefault(f"{MARK}/{app}", json.dumps({"canary": canary, "before": before}, sort_keys=True))
        annotations.update(dict.fromkeys(keys, PAUSED))
    return changed


def resumed(objects: list[Manifest], app: str) -> list[Manifest]:
    """The objects, as their other owners had them before the walk; the last of several walks is the one to do it."""
    changed = deepcopy(objects)
    for item in changed:
        annotations = item["metadata"].get("annotations") or {}
        before = _marks(annotations).get(app)
        if before is None:
            continue
        del annotations[f"{MARK}/{app}"]
        if not _marks(annotations):
            for key, value in before.items():
                if annotations.get(key) == PAUSED:
                    del annotations[key]
                    annotations.update({} if value is None else {key: value})
        if not annotations:
            del item["metadata"]["annotations"]
    return changed


def walking(objects: list[Manifest]) -> set[str]:
    """The applications for whose walks an object is paused."""
    return {app for item in objects for app in _marks(item["metadata"].get("annotations") or {})}


def unheeding(objects: list[Manifest]) -> list[str]:
    """The objects whose other owner cannot be told by an annotation, in words."""
    found = []
    for item in objects:
        metadata = item["metadata"]
        known = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
        if by := next((known[key] for key in ARGO_CD if key in known), None):
            found.append(f"{item['kind']} {metadata.get('namespace')}/{metadata['name']} is managed by Argo CD ({by})")
    return found


def _marks(annotations: dict[str, str]) -> dict[str, dict[str, str | None]]:
    """What was there before, by application. A mark that somebody has changed says that there was nothing."""
    found = {}
    for key, value in annotations.items():
        prefix, _, app = key.partition("/")
        if prefix == MARK:
            try:
                found[app] = dict(json.loads(value)["before"])
            except (ValueError, KeyError, TypeError):
                found[app] = dict.fromkeys(FLUX.values())
    return found
