"""What Prometheus is told of this node's pods: a file of targets, written anew when they change.

Lives here: which pods are scraped and under which labels, in the place of Prometheus' own discovery of
pods, which the lab's Prometheus is built without. Which image has metrics, and where, is images.toml's
to say. When each target is scraped is Prometheus' choice: it spreads them over the interval.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab.kubelet import images
from lab.kubelet.api import Json

LABELS = {"app": ("app.kubernetes.io/name", "app"), "revision": ("pulumi-rollout/revision",)}
"""A series' label, and the pod's labels that it is taken from: the first one that is there."""


class Targets:
    """Use: `add` each pod once it has an address, `remove` it when it is gone; the file follows."""

    def __init__(self, file: Path, catalogue: Path) -> None:
        self._file = file
        self._catalogue = catalogue
        self._known: dict[str, Json] = {}

    def add(self, manifest: Json, address: str) -> None:
        for container in manifest["spec"]["containers"]:
            if port := images.metrics_port(self._catalogue, container["image"]):
                target = {"targets": [f"{address}:{port}"], "labels": _labels(manifest["metadata"])}
                self._known[manifest["metadata"]["uid"]] = target
                self._write()
                return

    def remove(self, uid: str) -> None:
        if self._known.pop(uid, None):
            self._write()

    def _write(self) -> None:
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps([*self._known.values()]))
        partial.replace(self._file)


def _labels(meta: Json) -> dict[str, str]:
    known = meta.get("labels") or {}
    taken = {name: [known[key] for key in keys if key in known] for name, keys in LABELS.items()}
    labels = {"namespace": meta["namespace"], "pod": meta["name"]}
    return labels | {name: values[0] for name, values in taken.items() if values}
