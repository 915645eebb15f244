"""The provider's own configuration: what it may hold, and when a change of it means another cluster.

Lives here: from configuration variables to a Settings, and the diff of two configurations.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from pulumi.runtime.proto import provider_pb2 as pb

from lab.plugin.api import Unreachable, active_cluster, load_kubeconfig
from lab.plugin.values import Object, has_unknown

PREFIX = "kubernetes:config:"


@dataclass(frozen=True)
class Settings:
    """The switches that this stand-in knows."""

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    namespace: str = ""
    force_always: bool = False
    upsert: bool = False
    mutable_config_maps: bool = False
    mutable_secrets: bool = False
    delete_unreachable: bool = False


def settings(variables: dict[str, str]) -> Settings:
    """The settings out of the engine's variables. Raises ValueError for what a stand-in cannot do."""

    def switch(name: str, environment: str, default: bool = False) -> bool:
        value = variables.get(PREFIX + name) or os.environ.get(f"PULUMI_K8S_{environment}")
        return default if value is None else value == "true"

    if not switch("enableServerSideApply", "ENABLE_SERVER_SIDE_APPLY", default=True):
        raise ValueError("the stand-in plugin only does server-side apply: leave enableServerSideApply true")
    if variables.get(f"{PREFIX}renderYamlToDirectory"):
        raise ValueError("the stand-in plugin does not render YAML: renderYamlToDirectory needs the official one")
    return Settings(
        kubeconfig=variables.get(f"{PREFIX}kubeconfig", ""),
        context=variables.get(f"{PREFIX}context", ""),
        cluster=variables.get(f"{PREFIX}cluster", ""),
        namespace=variables.get(f"{PREFIX}namespace", ""),
        force_always=switch("enablePatchForce", "ENABLE_PATCH_FORCE"),
        upsert=switch("upsertExistingObjects", "UPSERT_EXISTING_OBJECTS"),
        mutable_config_maps=switch("enableConfigMapMutable", "ENABLE_CONFIGMAP_MUTABLE"),
        mutable_secrets=switch("enableSecretMutable", "ENABLE_SECRET_MUTABLE"),
        delete_unreachable=switch("deleteUnreachable", "DELETE_UNREACHABLE"),
    )


def diff_settings(old: Object, new: Object) -> pb.DiffResponse:
    """Another active cluster, or another clusterIdentifier, replaces the provider and all it holds."""
    changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    if not changed:
        return pb.DiffResponse(changes=pb.DiffResponse.DIFF_NONE)
    before, after = old.get("clusterIdentifier"), new.get("clusterIdentifier")
    replaces = ["clusterIdentifier"] if before and after and before != after else []
    if not (after and before == after):
        places = [key for key in ("kubeconfig", "context", "cluster") if key in changed]
        unknown = [key for key in places if has_unknown(new.get(key))]
        if unknown:
            replaces += unknown
        elif places and _another(_cluster(old), _cluster(new)):
            replaces += places
    return pb.DiffResponse(changes=pb.DiffResponse.DIFF_SOME, diffs=changed, replaces=replaces)


def _another(old: Any, new: Any) -> bool:
    return bool(old and new and old != new)


def _cluster(config: Object) -> Object | None:
    given = config.get("kubeconfig")
    if not given:
        return None
    text = given if isinstance(given, str) else json.dumps(given)
    try:
        return active_cluster(load_kubeconfig(text), config.get("context") or "", config.get("cluster") or "")
    except (Unreachable, OSError):
        return None
