"""What a container is given: its environment, its command line, and what both are read from.

Lives here: reading ConfigMaps, Secrets and fields of the pod, and the rule that moves mount paths (see the
package's docstring). Nothing is started and no file is written here: volumes are in volumes.py.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.kubelet.api import Api, ApiError, Json
from lab.kubelet.images import Image

API_PORT = "443"


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
    api_address: str
    """The ClusterIP of the Service `kubernetes`."""


async def contents(api: Api, kind: str, namespace: str, name: str, optional: bool) -> dict[str, bytes]:
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
    env = {
        **image.env,
        "POD_IP": place.address,
        "HOSTNAME": pod["metadata"]["name"],
        # Where clients inside of a pod look for the API server.
        "KUBERNETES_SERVICE_HOST": place.api_address,
        "KUBERNETES_SERVICE_PORT": API_PORT,
        "KUBERNETES_SERVICE_PORT_HTTPS": API_PORT,
    }
    for source in container.get("envFrom", ()):
        for kind, key in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if ref := source.get(key):
                found = await contents(api, kind, namespace, ref["name"], ref.get("optional", False))
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
        return field_of(pod, field["fieldPath"], place)
    for kind, key in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        if ref := source.get(key):
            optional = ref.get("optional", False)
            found = await contents(api, kind, pod["metadata"]["namespace"], ref["name"], optional)
            if ref["key"] in found:
                return found[ref["key"]].decode()
            if optional:
                return None
            raise ConfigError(f"couldn't find key {ref['key']} in {kind[:-1]} {ref['name']}")
    raise ConfigError(f"the lab's kubelet knows no {', '.join(source)}")


def field_of(pod: Json, path: str, place: Place) -> str:
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
    command = list(container.get("command") or image.entrypoint)
    if image.command and command and command[0].rpartition("/")[2] == image.program:
        command = command[1:]
    return [*image.command, *(expand(word, env) for word in [*command, *container.get("args", ())])]
