"""The Kubernetes API over HTTP: kubeconfig, session, discovery, and errors that say what the server said.

Lives here: requests and their answers. What to ask for is `apply.py`'s and `waiting.py`'s business.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import requests
import yaml
from requests.adapters import HTTPAdapter

from lab.plugin.values import Object, decoded, metadata

JSON_PATCH, APPLY_PATCH = "application/json-patch+json", "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused: its HTTP status, its reason and its own message."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details or {}


class NoKind(ApiError):
    """The API server does not know the kind: a CRD is missing, or was deleted."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(404, "NotFound", f"the cluster knows no {kind} of {api_version}")


class Unreachable(Exception):
    """There is no usable kubeconfig, or nothing answers where it points."""


def load_kubeconfig(path_or_content: str) -> Object:
    """The parsed kubeconfig; the argument is a path, the content itself, or "" for the ambient one."""
    text = path_or_content
    if not text:
        text = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config"
    path = Path(text).expanduser() if len(text) < 4096 and "\n" not in text else None
    if path is not None and path.is_file():
        loaded = yaml.safe_load(path.read_text())
        base = path.parent
    elif path_or_content:
        loaded, base = yaml.safe_load(text), Path.cwd()
    else:
        raise Unreachable(f"there is no kubeconfig at {path}")
    if not isinstance(loaded, dict):
        raise Unreachable("the kubeconfig is neither an existing file nor YAML with clusters")
    return {**loaded, "_base": base}


def active_cluster(config: Object, context: str = "", cluster: str = "") -> Object | None:
    """The cluster entry that the kubeconfig's (or the given) context points at."""
    chosen = _named(config, "contexts", context or config.get("current-context", ""), "context")
    return _named(config, "clusters", cluster or (chosen or {}).get("cluster", ""), "cluster")


def _named(config: Object, section: str, name: str, inner: str) -> Object | None:
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            found: Object = entry.get(inner) or {}
            return found
    return None


class Api:
    """One cluster, one user. Safe to use from many threads."""

    def __init__(self, kubeconfig: str, context: str = "", cluster: str = "") -> None:
        config = load_kubeconfig(kubeconfig)
        chosen = _named(config, "contexts", context or config.get("current-context", ""), "context")
        target = active_cluster(config, context, cluster)
        if not target or not target.get("server"):
            raise Unreachable(f"the kubeconfig has no cluster for context {context or 'current-context'!r}")
        self.server = target["server"].rstrip("/")
        self.namespace = (chosen or {}).get("namespace") or "default"
        self._kinds: dict[str, dict[str, Object]] = {}
        self._lock = threading.Lock()
        self._folder: str | None = None
        self._session = requests.Session()
        # Otherwise a proxy or a CA bundle named by the environment would win over the kubeconfig.
        self._session.trust_env = False
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=64))
        user = _named(config, "users", (chosen or {}).get("user", ""), "user") or {}
        self._trust(target, config["_base"])
        self._identify(user, config["_base"])

    def _trust(self, target: Object, base: Path) -> None:
        if target.get("insecure-skip-tls-verify"):
            self._session.verify = False
            requests.packages.urllib3.disable_warnings()  # type: ignore[attr-defined]
        elif authority := self._file(target, "certificate-authority", base):
            self._session.verify = authority

    def _identify(self, user: Object, base: Path) -> None:
        if "exec" in user or "auth-provider" in user:
            raise Unreachable("the stand-in plugin knows tokens and client certificates, no exec credentials")
        token = user.get("token")
        if user.get("tokenFile"):
            token = (base / user["tokenFile"]).read_text().strip()
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        certificate = self._file(user, "client-certificate", base)
        key = self._file(user, "client-key", base)
        if certificate and key:
            self._session.cert = (certificate, key)

    def _file(self, entry: Object, name: str, base: Path) -> str | None:
        if data := entry.get(f"{name}-data"):
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="lab-plugin-")
                atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
            path = Path(self._folder) / name
            path.touch(mode=0o600)
            path.write_bytes(decoded(data))
            return str(path)
        return str(base / entry[name]) if entry.get(name) else None

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
        timeout_seconds: float = 32,
    ) -> Object:
        """The parsed answer. Raises ApiError for a refusal, Unreachable when nothing answers."""
        try:
            answer = self._session.request(
                method,
                self.server + path,
                json=body,
                headers={"Content-Type": content_type},
                params=query,
                timeout=timeout_seconds,
            )
        except requests.RequestException as error:
            raise Unreachable(f"{method} {self.server}{path}: {error}") from error
        try:
            parsed = answer.json()
        except requests.JSONDecodeError:
            parsed = {"message": answer.text.strip()}
        if answer.status_code >= 400:
            raise ApiError(
                answer.status_code,
                parsed.get("reason", answer.reason),
                parsed.get("message", answer.reason),
                parsed.get("details"),
            )
        return dict(parsed)

    def resource(self, api_version: str, kind: str) -> Object:
        """The discovery entry of a kind (its plural `name`, whether `namespaced`). Raises NoKind."""
        with self._lock:
            found = self._kinds.get(api_version, {}).get(kind)
        if found is None:
            # A CRD may have been created a moment ago, so only hits are remembered.
            path = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            try:
                listed = self.request("GET", path)
            except ApiError as error:
                if error.code != 404:
                    raise
                raise NoKind(api_version, kind) from error
            kinds = {entry["kind"]: entry for entry in listed["resources"] if "/" not in entry["name"]}
            with self._lock:
                self._kinds[api_version] = kinds
            found = kinds.get(kind)
        if found is None:
            raise NoKind(api_version, kind)
        return found

    def forget_kinds(self) -> None:
        """Discover anew: a CRD was created, changed or deleted."""
        with self._lock:
            self._kinds.clear()

    def path(self, obj: Object, name: str | None = None) -> str:
        """Where objects of this kind and namespace lie; with a name, where that object does."""
        entry = self.resource(obj.get("apiVersion", ""), obj.get("kind", ""))
        base = "/api/" if "/" not in obj["apiVersion"] else "/apis/"
        space = f"/namespaces/{metadata(obj).get('namespace') or 'default'}" if entry["namespaced"] else ""
        return f"{base}{obj['apiVersion']}{space}/{entry['name']}" + (f"/{name}" if name else "")

    def get(self, obj: Object) -> Object:
        """The live state of the object with this object's kind, namespace and name."""
        return self.request("GET", self.path(obj, metadata(obj)["name"]))

    def list(self, api_version: str, kind: str, namespace: str) -> list[Object]:
        """All objects of a kind in a namespace; list items lack apiVersion and kind."""
        place = {"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}}
        return list(self.request("GET", self.path(place)).get("items") or ())
