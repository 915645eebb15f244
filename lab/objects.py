"""Cluster objects from files to the API server, over its raw HTTP interface.

Lives here: reading manifests, server-side apply and reading conditions. What is applied, and when,
is `lab/supervisor.py`'s to know.
"""

from __future__ import annotations

import concurrent.futures
import json
import string
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from lab.crew import LabFailed

SERVER = "https://127.0.0.1:6443"


@dataclass
class Api:
    """The API server, asked the raw way."""

    session: requests.Session
    kinds: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=dict)

    def ok(self, path: str) -> bool:
        return self.session.get(SERVER + path, timeout=5).ok

    def get(self, path: str) -> dict[str, Any]:
        answer = self.session.get(SERVER + path, timeout=10)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def path(self, manifest: dict[str, Any]) -> str | None:
        """Where an object lives, from the API server's own list of kinds; None if it has no such kind."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if kind not in self.kinds.get(version, {}):
            answer = self.session.get(SERVER + root, timeout=10)
            listed = answer.json()["resources"] if answer.ok else ()
            self.kinds[version] = {
                entry["kind"]: (entry["name"], entry["namespaced"]) for entry in listed if "/" not in entry["name"]
            }
        if kind not in self.kinds[version]:
            return None
        plural, namespaced = self.kinds[version][kind]
        metadata = manifest["metadata"]
        scope = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{root}{scope}/{plural}/{metadata['name']}"

    def apply(self, manifest: dict[str, Any], patience_seconds: float = 15) -> None:
        """Server-side apply. Patient, as a new kind is served only some moments after it is accepted."""
        deadline = time.monotonic() + patience_seconds
        while True:
            refusal = self._refusal(manifest)
            if refusal is None:
                return
            if time.monotonic() > deadline:
                named = f"{manifest['kind']} {manifest['metadata']['name']}"
                raise LabFailed(f"the API server refused {named}: {refusal}")
            time.sleep(0.1)

    def _refusal(self, manifest: dict[str, Any]) -> str | None:
        path = self.path(manifest)
        if path is None:
            return f"it does not serve {manifest['kind']} of {manifest['apiVersion']}"
        answer = self.session.patch(
            SERVER + path,
            params={"fieldManager": "lab", "force": "true"},
            data=json.dumps(manifest),
            headers={"Content-Type": "application/apply-patch+yaml"},
            timeout=30,
        )
        return None if answer.ok else answer.text[:500]


def connect(kubeconfig: Path, identity: str = "admin") -> Api:
    """The API server as one of the kubeconfig's identities sees it."""
    config = yaml.safe_load(kubeconfig.read_text())
    tokens = {entry["name"]: entry["user"]["token"] for entry in config["users"]}
    session = requests.Session()
    session.trust_env = False
    session.verify = config["clusters"][0]["cluster"]["certificate-authority"]
    session.headers["Authorization"] = f"Bearer {tokens[identity]}"
    return Api(session)


def apply_kinds(api: Api, paths: Iterable[Path]) -> None:
    """The custom resource definitions in some files, or folders of files, applied side by side."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    crds = [document for document in documents(*files) if document.get("kind") == "CustomResourceDefinition"]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(api.apply, crds))


def established(api: Api) -> bool:
    """Whether all kinds that were applied are served."""
    items = api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    return all(true(item, "Established") for item in items)


def documents(*files: Path, **values: str) -> list[dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    texts = (string.Template(file.read_text()).safe_substitute(values) for file in files)
    return [document for text in texts for document in yaml.load_all(text, Loader=loader) if document]


def true(item: dict[str, Any], condition: str) -> bool:
    """Whether a condition holds. A definition that is a moment old has null for its conditions."""
    conditions = item.get("status", {}).get("conditions") or ()
    return any(entry["type"] == condition and entry["status"] == "True" for entry in conditions)
