"""What a change of inputs means: the detailed diff, and which fields make a replacement.

Lives here: pure functions. The cluster is never read for a diff: the last
saved live state, pruned to the old inputs' shape, is compared with the new inputs.
"""

from __future__ import annotations

import re
from typing import Any

from pulumi.runtime.proto import provider_pb2 as pb

from lab.plugin.values import Object

# Field -> the kinds (group/Kind) where a change of it is a replacement: the API server refuses most of them.
_FORCE_NEW = {
    "parameters": "storage.k8s.io/StorageClass",
    "provisioner": "storage.k8s.io/StorageClass",
    "roleRef": "rbac.authorization.k8s.io/ClusterRoleBinding rbac.authorization.k8s.io/RoleBinding",
    "spec.accessModes": "/PersistentVolumeClaim",
    "spec.clusterIP": "/Service",
    "spec.completions": "batch/Job",
    "spec.parallelism": "batch/Job",
    "spec.podManagementPolicy": "apps/StatefulSet",
    "spec.revisionHistoryLimit": "apps/StatefulSet",
    "spec.scopes": "/ResourceQuota",
    "spec.selector": "apps/DaemonSet apps/Deployment apps/StatefulSet batch/Job /PersistentVolumeClaim",
    "spec.serviceName": "apps/StatefulSet",
    "spec.storageClassName": "/PersistentVolumeClaim",
    "spec.template": "batch/Job",
    "spec.volumeClaimTemplates": "apps/StatefulSet",
    "spec.volumeName": "/PersistentVolumeClaim",
}
_REPLACES: dict[pb.PropertyDiff.Kind.ValueType, pb.PropertyDiff.Kind.ValueType] = {
    pb.PropertyDiff.ADD: pb.PropertyDiff.ADD_REPLACE,
    pb.PropertyDiff.DELETE: pb.PropertyDiff.DELETE_REPLACE,
    pb.PropertyDiff.UPDATE: pb.PropertyDiff.UPDATE_REPLACE,
}
Path = tuple[str | int, ...]


def force_new(obj: Object, mutable_config_maps: bool, mutable_secrets: bool) -> set[str]:
    """The fields of this object whose change is a replacement.

    ConfigMaps and Secrets are treated as immutable unless the provider says otherwise.
    """
    group = obj.get("apiVersion", "").rpartition("/")[0]
    kind = f"{group}/{obj.get('kind', '')}"
    fields = {"metadata.name", "metadata.namespace"}
    fields |= {field for field, kinds in _FORCE_NEW.items() if kind in kinds.split()}
    fixed = obj.get("immutable") is True
    if kind == "/ConfigMap" and (fixed or not mutable_config_maps):
        fields |= {"data", "binaryData"}
    if kind == "/Secret":
        fields |= {"type"} if mutable_secrets and not fixed else {"type", "data", "stringData"}
    return fields


def detailed(old: Object, new: Object, forced: set[str], ignored: list[str]) -> dict[str, pb.PropertyDiff]:
    """Property path -> kind of change, between the pruned live state and the new inputs."""
    found: list[tuple[Path, pb.PropertyDiff.Kind.ValueType, Any]] = []
    _compare((), old, new, found)
    result = {}
    for path, kind, value in found:
        text = _text(path)
        if any(text == entry or re.match(re.escape(entry) + r"[.\[]", text) for entry in ignored):
            continue
        chosen = _REPLACES[kind] if _is_forced(path, value, forced) else kind
        result[text] = pb.PropertyDiff(kind=chosen, inputDiff=kind == pb.PropertyDiff.DELETE)
    return result


def replaced(changes: dict[str, pb.PropertyDiff]) -> list[str]:
    """The paths that make the change a replacement."""
    return sorted(path for path, change in changes.items() if change.kind in _REPLACES.values())


def _compare(path: Path, old: Any, new: Any, found: list[tuple[Path, pb.PropertyDiff.Kind.ValueType, Any]]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in new:
                found.append(((*path, key), pb.PropertyDiff.DELETE, None))
            elif key in old:
                _compare((*path, key), old[key], new[key], found)
            elif new[key] not in ({}, []):  # the API server drops what is empty
                found.append(((*path, key), pb.PropertyDiff.ADD, new[key]))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            if index >= len(new):
                found.append(((*path, index), pb.PropertyDiff.DELETE, None))
            elif index >= len(old):
                found.append(((*path, index), pb.PropertyDiff.ADD, new[index]))
            else:
                _compare((*path, index), old[index], new[index], found)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        found.append((path, pb.PropertyDiff.UPDATE, new))


def _is_forced(path: Path, value: Any, forced: set[str]) -> bool:
    names = [part for part in path if isinstance(part, str)]
    for entry in forced:
        wanted = entry.split(".")
        if names[: len(wanted)] == wanted:
            return True
        inner = value
        if wanted[: len(names)] == names:
            for part in wanted[len(names) :]:
                inner = inner.get(part) if isinstance(inner, dict) else None
            if inner is not None:
                return True
    return False


def _text(path: Path) -> str:
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.search(r'[."\[\]]', part):
            text += '["{}"]'.format(part.replace('"', '\\"'))
        else:
            text += f".{part}" if text else part
    return text
