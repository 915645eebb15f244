"""What a container is given: its volumes as directories, its environment, its command line.

Lives here: reading ConfigMaps and Secrets, and the rule that moves mount paths (see the package's
docstring). Nothing is started here, and files change only under the pod's own directory. As with
subPath on a real node, files are written once: later edits of a ConfigMap reach only new pods.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.kubelet.api import Api, ApiError, Json
from lab.kubelet.images import Image


class ConfigError(Exception):
    """Something that the container needs is not there (yet); the message is for its status."""


@dataclass(frozen=True)
class Mount:
    path: str
    real: Path


@dataclass(frozen=True)
class Place:
    """Where a pod runs."""

    address: str
    node: str
    node_address: str


async def volumes(api: Api, pod: Json, root: Path) -> dict[str, Path]:
    """Create the pod's volumes under `root`: name -> directory."""
    made: dict[str, Path] = {}
    namespace = pod["metadata"]["namespace"]
    for volume in pod["spec"].get("volumes", ()):
        made[volume["name"]] = directory = root / volume["name"]
        if "hostPath" in volume:
            made[volume["name"]] = Path(volume["hostPath"]["path"])
            continue
        if "emptyDir" in volume:
            directory.mkdir(parents=True, exist_ok=True)
            continue
        for kind, key in (("configmaps", "configMap"), ("secrets", "secret")):
            if key in volume:
                source = volume[key]
                name = source.get("name") or source["secretName"]
                files = await _contents(api, kind, namespace, name, source.get("optional", False))
                _write(directory, files, source.get("items"), name)
                break
        else:
            kinds = ", ".join(volume.keys() - {"name"})
            raise ConfigError(f'volume "{volume["name"]}": the lab\'s kubelet knows no {kinds}')
    return made


async def _contents(api: Api, kind: str, namespace: str, name: str, optional: bool) -> dict[str, bytes]:
    """The data of a ConfigMap or Secret; an optional one that is missing is empty."""
    try:
        found = await api.request("GET", f"/api/v1/namespaces/{namespace}/{kind}/{name}")
    except ApiError as error:
        if error.status == 404 and optional:
            return {}
        raise ConfigError(str(error)) from error
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return plain | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}


def _write(directory: Path, files: dict[str, bytes], items: list[Json] | None, name: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    wanted = {item["path"]: item["key"] for item in items} if items else {key: key for key in files}
    for path, key in wanted.items():
        if key not in files:
            raise ConfigError(f"references non-existent config key: {key} of {name}")
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files[key])


def mounts(container: Json, made: dict[str, Path]) -> list[Mount]:
    """The container's mounts, longest path first, so that the most specific one is replaced."""
    found = [
        Mount(mount["mountPath"].rstrip("/"), made[mount["name"]] / mount.get("subPath", ""))
        for mount in container.get("volumeMounts", ())
    ]
    return sorted(found, key=lambda mount: -len(mount.path))


def move(text: str, places: Iterable[Mount]) -> str:
    """Replace each mount's path in a text by its directory, where it is a whole path or begins one."""
    real = {mount.path: str(mount.real) for mount in places}
    if not real:
        return text
    paths = "|".join(re.escape(path) for path in real)
    return re.sub(rf"(?<![\w./-])({paths})(?![\w.-])", lambda match: real[match[1]], text)


def expand(text: str, env: dict[str, str]) -> str:
    """Kubernetes' `$(NAME)`: unknown names stay, and `$$` escapes."""
    return re.sub(
        r"\$\$|\$\(([^()]+)\)",
        lambda match: "$" if match[0] == "$$" else env.get(match[1], match[0]),
        text,
    )


async def environment(api: Api, pod: Json, container: Json, image: Image, place: Place) -> dict[str, str]:
    """The container's environment before mounts are moved: the image's, envFrom's, then env's."""
    namespace = pod["metadata"]["namespace"]
    env = {**image.env, "POD_IP": place.address, "HOSTNAME": pod["metadata"]["name"]}
    for source in container.get("envFrom", ()):
        for kind, key in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if ref := source.get(key):
                found = await _contents(api, kind, namespace, ref["name"], ref.get("optional", False))
                env |= {source.get("prefix", "") + name: data.decode() for name, data in found.items()}
    for entry in container.get("env", ()):
        if "valueFrom" in entry:
            value = await _value_from(api, pod, entry["valueFrom"], place)
        else:
            value = expand(entry.get("value") or "", env)
        if value is not None:
            env[entry["name"]] = value
    return env


async def _value_from(api: Api, pod: Json, source: Json, place: Place) -> str | None:
    if field := source.get("fieldRef"):
        return _field(pod, field["fieldPath"], place)
    for kind, key in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        if ref := source.get(key):
            optional = ref.get("optional", False)
            found = await _contents(api, kind, pod["metadata"]["namespace"], ref["name"], optional)
            if ref["key"] in found:
                return found[ref["key"]].decode()
            if optional:
                return None
            raise ConfigError(f"couldn't find key {ref['key']} in {kind[:-1]} {ref['name']}")
    raise ConfigError(f"the lab's kubelet knows no {', '.join(source)}")


def _field(pod: Json, path: str, place: Place) -> str:
    meta, spec = pod["metadata"], pod["spec"]
    if keyed := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str(meta.get(keyed[1], {}).get(keyed[2], ""))
    known = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": place.node,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": place.address,
        "status.podIPs": place.address,
        "status.hostIP": place.node_address,
    }
    if path not in known:
        raise ConfigError(f"the lab's kubelet knows no field {path}")
    return str(known[path])


def command_line(container: Json, image: Image, env: dict[str, str]) -> list[str]:
    """The image's command, then the container's words. A first word that is the image's own program is
    what the image's command stands for."""
    command = list(container.get("command", ()))
    if image.command and command and command[0].rpartition("/")[2] == image.program:
        command = command[1:]
    return [*image.command, *(expand(word, env) for word in [*command, *container.get("args", ())])]
