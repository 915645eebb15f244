"""The Kubernetes API: the only place that talks to it. Objects are plain dicts, paths are raw.

Lives here: credentials (obtained by the kubernetes package, fresh for each call), retries, and the
mapping of failures to our errors. Not here: what any object means, or when a credential that cannot
be renewed ends (`expiry.py`).
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from pulumi_rollout.errors import ClusterError, Conflict, NotFound

Manifest = dict[str, Any]

# Shown in managedFields. Must not be one of the names that Pulumi's Kubernetes provider takes over.
FIELD_MANAGER = "pulumi-rollout"
TIMEOUT_SECONDS, HURRIED_SECONDS = 5.0, 2.0
RETRIES = 3
# What one walk may ask of the API server: so many at once, and so many a minute.
REQUESTS_AT_ONCE, REQUESTS_PER_MINUTE = 200, 600
# How often a login program is run at most. The kubernetes package alone would run it for every call
# in a token's last five minutes, and some tokens live no longer than that.
RENEW_EVERY_SECONDS = 10.0
MERGE_PATCH, TEXT = "application/merge-patch+json", "text/plain"


class Cluster:
    """One cluster, by kubeconfig (a path or the file's content) and context; both may be None for
    the ambient ones: $KUBECONFIG, ~/.kube/config, or a pod's service account."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._kubeconfig, self._context = kubeconfig, context
        self._began, self.requests = time.monotonic(), 0
        self.hurry(False)

    @cached_property
    def _client(self) -> Any:
        """The kubernetes package's client, imported late: it takes as long as all else together."""
        from kubernetes import client

        return client.ApiClient(login(self._kubeconfig, self._context).configuration)

    def hurry(self, hurried: bool = True) -> None:
        """From now on wait less for answers: there are seconds left, or they are not worth more."""
        self.hurried = hurried
        self._timeout_seconds, self._retries = (HURRIED_SECONDS, 0) if hurried else (TIMEOUT_SECONDS, RETRIES)

    def owed_seconds(self) -> float:
        """How long to ask nothing, so that over its life this asks no more often than it may."""
        due = (self.requests - REQUESTS_AT_ONCE) * 60 / REQUESTS_PER_MINUTE
        return max(0.0, due - (time.monotonic() - self._began))

    def usage(self) -> str:
        """How much it has asked so far, in words."""
        seconds = time.monotonic() - self._began
        rate = f" ({60 * self.requests / seconds:.0f} a minute)" if seconds >= 60 else ""
        return f"{self.requests:,} requests to the Kubernetes API in {seconds:.0f} s{rate}"

    @property
    def address(self) -> str:
        """The API server's URL, for messages."""
        return str(self._client.configuration.host)

    def get(self, path: str, **query: str) -> Manifest:
        """Read an object or a list. Raises NotFound, ClusterError."""
        return self._request("GET", path, query=query)

    def find(self, path: str) -> Manifest | None:
        """Read an object that may be absent."""
        with contextlib.suppress(NotFound):
            return self.get(path)
        return None

    def text(self, path: str) -> str:
        """What a pod says through the API, which is no object. Raises NotFound, ClusterError."""
        response = self._send("GET", path, None, TEXT)
        if response.status >= 300:
            _answer("GET", path, response.status, response.data)
        return str(response.data.decode(errors="replace"))

    def create(self, path: str, manifest: Manifest) -> Manifest:
        """Create an object in a collection. Raises Conflict if it exists."""
        return self._request("POST", path, body=manifest)

    def replace(self, path: str, manifest: Manifest) -> Manifest:
        """Write a whole object back; its resourceVersion is compared. Raises Conflict."""
        return self._request("PUT", path, body=manifest)

    def patch(self, path: str, patch: Manifest) -> Manifest:
        """JSON merge patch (RFC 7386)."""
        return self._request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    def delete(self, path: str, **query: str) -> None:
        """Delete an object; an absent one is fine. + query: such as propagationPolicy"""
        with contextlib.suppress(NotFound):
            self._request("DELETE", path, query=query)

    def path(self, api_version: str, kind: str, namespace: str, name: str = "") -> str:
        """The path of an object, or of its collection, by the API's own discovery."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        plural = self._plurals(root).get(kind)
        if plural is None:
            raise NotFound(f"the cluster has no {kind} in {api_version}: is its CRD installed?", 404)
        return f"{root}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

    def _plurals(self, root: str) -> dict[str, str]:
        known: dict[str, dict[str, str]] = self.__dict__.setdefault("_discovered", {})
        if root not in known:
            resources = (self.find(root) or {}).get("resources", [])
            known[root] = {item["kind"]: item["name"] for item in resources if "/" not in item["name"]}
        return known[root]

    def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        arguments = {**(query or {}), **({} if method in ("GET", "DELETE") else {"fieldManager": FIELD_MANAGER})}
        target = path + (f"?{urlencode(arguments)}" if arguments else "")
        data = json.dumps(body) if body is not None else None
        response = self._send(method, target, data, content_type)
        if response.status == 401:
            # The credential ended before its time, or was replaced: log in anew, once.
            self.__dict__.pop("_client", None)
            response = self._send(method, target, data, content_type)
        return _answer(method, path, response.status, response.data)

    def _send(self, method: str, target: str, data: str | None, content_type: str) -> Any:
        import urllib3

        self.requests += 1
        client = self._client
        token = client.configuration.get_api_key_with_prefix("authorization", alias="BearerToken")
        # The API's own errors are JSON all the same.
        accepted = f"{TEXT}, application/json;q=0.5" if content_type == TEXT else "application/json"
        headers = {"Accept": accepted, "Content-Type": content_type}
        if token:
            # A line's end, as editors leave it in token files, is not allowed in a header.
            headers["Authorization"] = token.strip()
        try:
            return client.rest_client.pool_manager.request(
                method,
                f"{client.configuration.host}{target}",
                body=data,
                headers=headers,
                timeout=self._timeout_seconds,
                retries=_retries(self._retries),
            )
        except urllib3.exceptions.HTTPError as error:
            reason, host = getattr(error, "reason", None) or error, client.configuration.host
            if isinstance(reason, urllib3.exceptions.SSLError):
                raise ClusterError(f"there is no trusted connection to the cluster at {host}: {reason}") from error
            raise ClusterError(f"the cluster at {host} does not answer ({type(reason).__name__})") from error


def _retries(total: int) -> Any:
    """Quick retries, of reads and writes alike: every write here is idempotent or compared. How
    long an answer wants us to wait (Retry-After) is not heeded: the driver has a patience of its own."""
    import urllib3

    return urllib3.Retry(
        total=total,
        backoff_factor=0.2,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=False,
    )


def _answer(method: str, path: str, status: int, data: bytes) -> Manifest:
    try:
        answer = json.loads(data)
    except ValueError:
        answer = data[:200].decode(errors="replace").strip()
    if status < 300:
        if not isinstance(answer, dict):
            raise ClusterError(f"{method} {path}: this is not how the Kubernetes API answers: {str(answer)[:200]}")
        return answer
    reason = answer.get("message") if isinstance(answer, dict) else answer
    message = f"{method} {path}: {reason or status}"
    kinds: dict[int, type[ClusterError]] = {404: NotFound, 409: Conflict}
    raise kinds.get(status, ClusterError)(message, status)


class Login(NamedTuple):
    """Who is logged in, and with what.

    + user, settings: the user's name and entry in the kubeconfig; empty for a pod's service account
    + configuration: the kubernetes package's; asking it for the token renews the token
    """

    user: str
    settings: dict[str, Any]
    configuration: Any


def login(kubeconfig: str | None, context: str | None) -> Login:
    """Log in as Cluster does (its arguments). Runs the login program, if there is one."""
    import yaml
    from kubernetes import config

    try:
        return _by_kubeconfig(kubeconfig, context)
    except (yaml.YAMLError, UnicodeDecodeError):
        # Their messages quote the file, and the file holds credentials.
        raise ClusterError("the kubeconfig cannot be used: it is not YAML") from None
    except (config.ConfigException, OSError) as error:
        if kubeconfig is None and (configuration := _in_cluster()) is not None:
            return Login("", {}, configuration)
        # The package names a place in the file by quoting what lies there.
        reason = re.sub(r"/?\{.*\}", "", str(error), flags=re.DOTALL)
        raise ClusterError(f"the kubeconfig cannot be used: {reason}") from None
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ClusterError("the kubeconfig cannot be used: it has not the form of a kubeconfig") from None


def _by_kubeconfig(kubeconfig: str | None, context: str | None) -> Login:
    import yaml
    from kubernetes import client, config
    from kubernetes.config import kube_config as package

    save = None
    # Content is YAML, or JSON on a single line.
    if kubeconfig and ("\n" in kubeconfig or kubeconfig.lstrip().startswith("{")):
        content = package.ConfigNode("kube-config", yaml.safe_load(kubeconfig))
    else:
        path = str(Path(kubeconfig).expanduser()) if kubeconfig else package.KUBE_CONFIG_DEFAULT_LOCATION
        files = package.KubeConfigMerger(path)
        content, save = files.config, files.save_changes
    if content is None:
        raise config.ConfigException("Invalid kube-config file. No configuration found.")
    loader = package.KubeConfigLoader(content, active_context=context, config_base_path=None, config_persister=save)
    configuration = client.Configuration()
    loader.load_and_set(configuration)
    name = loader.current_context["context"].get("user") or ""
    entry: Any = content["users"].get_with_name(name, safe=True) if name and content.safe_get("users") else None
    settings = entry["user"].value if entry else {}
    if "exec" in settings and not (configuration.api_key or configuration.cert_file):
        # The package only logs why, and would go on as nobody, for as long as the process lives.
        raise ClusterError(f"the login program of user {name} in the kubeconfig fails: run it by hand to see why")
    if "tokenFile" in settings and "auth-provider" not in settings:
        folder = Path(entry["user"].path).parent if entry["user"].path else Path()
        configuration.refresh_api_key_hook = _from_file(folder / settings["tokenFile"])
    elif configuration.refresh_api_key_hook is not None:
        configuration.refresh_api_key_hook = _seldom(configuration.refresh_api_key_hook)
    return Login(name, settings, configuration)


def _in_cluster() -> Any | None:
    """The configuration of the pod that this runs in, or None."""
    from kubernetes import client, config
    from kubernetes.config import incluster_config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration, try_refresh_token=False)
    except config.ConfigException:
        return None
    configuration.refresh_api_key_hook = _from_file(Path(incluster_config.SERVICE_TOKEN_FILENAME))
    return configuration


def _from_file(path: Path) -> Callable[[Any], None]:
    """Read the token's file again for each call: it is replaced long before the token in it ends."""

    def renew(configuration: Any) -> None:
        # What was read last still counts while the file is being replaced.
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if token := path.read_text().strip():
                configuration.api_key["BearerToken"] = f"Bearer {token}"

    return renew


def _seldom(renew: Callable[[Any], None]) -> Callable[[Any], None]:
    """The package's own way to renew, now and then. Where it fails, the token stays as it is: either
    that still counts, or the answer is 401."""
    renewed_at = time.monotonic()

    def renew_at_times(configuration: Any) -> None:
        nonlocal renewed_at
        if time.monotonic() - renewed_at >= RENEW_EVERY_SECONDS:
            renewed_at = time.monotonic()
            with contextlib.suppress(Exception):
                renew(configuration)

    return renew_at_times
