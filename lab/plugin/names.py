"""Which object a request means: type tokens, ids, names, managers, and what is refused by its kind.

Lives here: pure functions over one request or object. No cluster, and no answers.
"""

from __future__ import annotations

import hashlib
import secrets

from pulumi.runtime.proto import provider_pb2 as pb

from lab.plugin.values import FIELD_MANAGER, READ_ONLY_METADATA, Object, annotation, metadata, plain

REVISION = "deployment.kubernetes.io/revision"


def type_token(urn: str) -> str:
    return urn.split("::")[2].rpartition("$")[2]


def identifier(obj: Object) -> str:
    named = metadata(obj)
    return f"{named['namespace']}/{named['name']}" if named.get("namespace") else str(named.get("name", ""))


def refuse(token: str, inputs: Object) -> None:
    """Kinds that are not single objects of the API need the official plugin."""
    module, kind = token.split(":")[1], token.split(":")[2]
    patch = kind.endswith("Patch") and inputs.get("kind") != kind
    if patch or kind.endswith("List") or module.startswith(("helm.sh", "kustomize", "yaml")):
        raise ValueError(f"the stand-in plugin handles single objects only: {token} needs the official plugin")
    if metadata(inputs).get("generateName") and not metadata(inputs).get("name"):
        raise ValueError("server-side apply needs metadata.name: metadata.generateName is not enough")


def autoname(named: Object, olds: Object, request: pb.CheckRequest) -> None:
    if named.get("name"):
        return
    if olds:
        if annotation(olds, "autonamed") != "true":
            return
        named["name"] = metadata(olds)["name"]
    elif request.autonaming.mode == pb.CheckRequest.AutonamingOptions.DISABLE and request.HasField("autonaming"):
        raise ValueError("metadata.name is missing, and autonaming is switched off")
    elif request.HasField("autonaming") and request.autonaming.proposed_name:
        named["name"] = request.autonaming.proposed_name
    else:
        seed = request.randomSeed or secrets.token_bytes(16)
        named["name"] = f"{request.urn.split('::')[3]}-{hashlib.sha256(seed).hexdigest()[:8]}"
    annotations = named.setdefault("annotations", {})
    if isinstance(annotations, dict):
        annotations["pulumi.com/autonamed"] = "true"


def manager_name(state: Object, inputs: Object) -> str:
    """The field manager: the annotation's, else the one in the state, else a new random one."""
    name = annotation(inputs, "patchFieldManager") or plain(state.get(FIELD_MANAGER))
    return str(name or f"pulumi-kubernetes-{secrets.token_hex(4)}")


def place_of(urn: str, inputs: Object, old: Object, namespace: str, name: str) -> Object:
    """Which object a read is about: by its inputs, else by its state, else by its type and id alone."""
    source = inputs if inputs.get("kind") else old
    api_version, kind = source.get("apiVersion"), source.get("kind")
    if not kind:
        _, module, kind = type_token(urn).split(":")
        group, _, version = module.partition("/")
        api_version = version if group == "core" else module
    space = metadata(source).get("namespace") or namespace
    annotations = {"annotations": metadata(source).get("annotations") or {}}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, **({"namespace": space} if space else {}), **annotations},
    }


def imported(live: Object) -> Object:
    """Inputs made from a live object that Pulumi sees for the first time."""
    inputs = {key: value for key, value in live.items() if key != "status"}
    kept = {key: value for key, value in live["metadata"].items() if key not in READ_ONLY_METADATA}
    if annotations := kept.get("annotations"):
        added = (REVISION, "kubectl.kubernetes.io/last-applied-configuration")
        kept["annotations"] = {key: value for key, value in annotations.items() if key not in added}
    return {**inputs, "metadata": kept}
