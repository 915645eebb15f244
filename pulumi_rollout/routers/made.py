"""Objects that a walk makes beside those of the route: how they are marked, found and put in order.

Pure. Not here: which ones a router makes.
"""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]
Ref = dict[str, str]

# On what a walk makes, and on nothing else of a route.
MARK = {"app.kubernetes.io/managed-by": "pulumi-rollout"}


def manifest(api_version: str, kind: str, name: str, namespace: str, spec: Manifest) -> Manifest:
    """An object of a route."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def with_made(objects: list[Manifest], wanted: Manifest) -> list[Manifest]:
    """With an object that the walk makes. One that is there already is left as it is: the cluster has completed it."""
    if find(objects, wanted["kind"], wanted["metadata"]["name"]) is not None:
        return objects
    return [*objects, {**wanted, "metadata": {**wanted["metadata"], "labels": dict(MARK)}}]


def without_made(objects: list[Manifest]) -> list[Manifest]:
    """Without the objects that a walk has made, this one or an earlier one that was given up."""
    return [item for item in objects if not MARK.items() <= (item["metadata"].get("labels") or {}).items()]


def find(objects: list[Manifest], kind: str, name: str) -> Manifest | None:
    """The object of this kind and name, if there is one."""
    return next((item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)), None)


def in_order(objects: list[Manifest], parts: list[Ref]) -> list[Manifest]:
    """The objects in the order of their parts, in which they are written."""
    order = [(ref["kind"], ref["name"]) for ref in parts]
    return sorted(objects, key=lambda item: order.index((item["kind"], item["metadata"]["name"])))


def refs(objects: list[Manifest]) -> list[Ref]:
    """What names these objects."""
    return [{"apiVersion": one["apiVersion"], "kind": one["kind"], "name": one["metadata"]["name"]} for one in objects]
