"""A pod's volumes as directories, and how its containers come to see them.

Lives here: what is in a volume, the tokens of its service account, and which mounts are real ones. Reading
ConfigMaps and fields is content.py's, as is the rule that moves paths. As with subPath on a real node, files
are written once: later edits of a ConfigMap reach only new pods. Only tokens are renewed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from lab import tools
from lab.kubelet import content, images
from lab.kubelet.api import UNREACHABLE, Api, ApiError, Json

TOKEN_SECONDS = 3600
TOKEN_RENEWED_AT = 0.8
"""Of a token's life, as on a real node."""
RETRY_SECONDS = 1.0
MOUNT = """
while [ "$1" != -- ]; do [ -d "$2" ] || mkdir -p "$2"; mount --rbind "$1" "$2"; shift 2; done
shift; exec "$@"
"""


async def prepare(api: Api, pod: Json, root: Path, place: content.Place) -> dict[str, Path]:
    """Create the pod's volumes under `root`: name -> directory."""
    made: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes", ()):
        made[volume["name"]] = directory = root / volume["name"]
        if "hostPath" in volume:
            made[volume["name"]] = Path(volume["hostPath"]["path"])
            continue
        directory.mkdir(parents=True, exist_ok=True)
        if "emptyDir" not in volume:
            all_files = await asyncio.gather(*(_files(api, pod, source, place) for source in _sources(volume)))
            for path, data in ((path, data) for files in all_files for path, data in files.items()):
                _write(directory / path, data)
    return made


def _sources(volume: Json) -> list[Json]:
    """A volume's sources; one that is not projected has a single one, of the same form."""
    if "projected" in volume:
        return list(volume["projected"]["sources"])
    return [{kind: source for kind, source in volume.items() if kind != "name"}]


async def _files(api: Api, pod: Json, source: Json, place: content.Place) -> dict[str, bytes]:
    """The files of one source: path below the volume -> data."""
    for kind, key in (("configmaps", "configMap"), ("secrets", "secret")):
        if wanted := source.get(key):
            name = wanted.get("name") or wanted["secretName"]
            optional = wanted.get("optional", False)
            files = await content.contents(api, kind, pod["metadata"]["namespace"], name, optional)
            return _chosen(files, wanted.get("items"), name, optional)
    if wanted := source.get("downwardAPI"):
        return {
            item["path"]: content.field_of(
                pod, item.get("fieldRef", {}).get("fieldPath", "of resources"), place
            ).encode()
            for item in wanted.get("items", ())
        }
    if wanted := source.get("serviceAccountToken"):
        return {wanted["path"]: await _token(api, pod, wanted)}
    raise content.ConfigError(f"the lab's kubelet knows no volume of {', '.join(source)}")


def _chosen(files: dict[str, bytes], items: list[Json] | None, name: str, optional: bool) -> dict[str, bytes]:
    if not items:
        return files
    for item in items:
        if item["key"] not in files and not optional:
            raise content.ConfigError(f"references non-existent config key: {item['key']} of {name}")
    return {item["path"]: files[item["key"]] for item in items if item["key"] in files}


def _write(target: Path, data: bytes) -> None:
    """In one move: whoever reads a token sees the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"..{target.name}")
    partial.write_bytes(data)
    partial.replace(target)


async def _token(api: Api, pod: Json, source: Json) -> bytes:
    """A token of the pod's service account that is worth nothing once the pod is gone."""
    meta, account = pod["metadata"], pod["spec"].get("serviceAccountName") or "default"
    spec: Json = {
        "expirationSeconds": source.get("expirationSeconds") or TOKEN_SECONDS,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
    }
    if audience := source.get("audience"):
        spec["audiences"] = [audience]
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
    try:
        answer = await api.request("POST", path, body)
    except ApiError as error:
        raise content.ConfigError(f"failed to fetch token: {error}") from error
    return str(answer["status"]["token"]).encode()


async def renew_tokens(api: Api, pod: Json, root: Path) -> None:
    """Keep the tokens that `prepare` wrote valid, for ever; returns at once where there are none."""
    tokens = [
        (root / volume["name"] / source["serviceAccountToken"]["path"], source["serviceAccountToken"])
        for volume in pod["spec"].get("volumes", ())
        for source in volume.get("projected", {}).get("sources", ())
        if "serviceAccountToken" in source
    ]
    lives = [source.get("expirationSeconds") or TOKEN_SECONDS for _, source in tokens]
    while tokens:
        await asyncio.sleep(min(lives) * TOKEN_RENEWED_AT)
        for target, source in tokens:
            await _renew(api, pod, target, source)


async def _renew(api: Api, pod: Json, target: Path, source: Json) -> None:
    while True:
        try:
            _write(target, await _token(api, pod, source))
            return
        except (content.ConfigError, *UNREACHABLE):
            await asyncio.sleep(RETRY_SECONDS)


def mounts(container: Json, made: dict[str, Path]) -> list[content.Mount]:
    """The container's mounts, longest path first, so that the most specific one is replaced."""
    found = [
        content.Mount(mount["mountPath"].rstrip("/"), made[mount["name"]] / mount.get("subPath", ""))
        for mount in container.get("volumeMounts", ())
    ]
    return sorted(found, key=lambda mount: -len(mount.path))


def mounting(places: Iterable[content.Mount], pods: Path) -> list[str]:
    """What goes before a command so that it finds the mounts at their own paths: a mount namespace.

    Only where the path is a directory of this machine: the lab has one for service accounts, and there is /tmp."""
    outermost_first = sorted(places, key=lambda place: len(place.path))
    pairs = [pair for place in outermost_first for pair in _binds(place, pods)]
    if not pairs:
        return []
    return ["unshare", "--mount", "sh", "-ec", MOUNT, "sh", *(str(path) for pair in pairs for path in pair), "--"]


def _binds(place: content.Mount, pods: Path) -> list[tuple[Path, Path]]:
    """What to bind where, so that a volume is seen at its mount's path; nothing if it cannot be.

    What the lab's own programs are made of may lie below that path (a checkout in /tmp): it stays visible."""
    path = Path(os.path.realpath(place.path or "/"))
    folders = (pods, images.ROOT, tools.cache_dir(), Path(sys.prefix), Path(sys.base_prefix))
    needed = [folder.resolve() for folder in folders if folder.resolve().is_relative_to(path)]
    if path in (*needed, Path("/")) or not path.is_dir() or not place.real.is_dir():
        return []
    return [*((folder, place.real / folder.relative_to(path)) for folder in needed), (place.real, path)]
