"""The Kubernetes API: the only place that talks to it. Objects are plain dicts, paths are raw.

Lives here: credentials (by the kubernetes package, which renews them for each call), retries, and
the mapping of failures to our errors. Not here: what any object means.
"""

from __future__ import annotations

import contextlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pulumi_rollout.errors import ClusterError, Conflict, NotFound

Manifest = dict[str, Any]

# Shown in managedFields. Must not be one of the names that Pulumi's Kubernetes provider takes over.
FIELD_MANAGER = "pulumi-rollout"
TIMEOUT_SECONDS = 5.0
MERGE_PATCH = "application/merge-patch+json"


class Cluster:
    """One cluster, by kubeconfig (a path or the file's content) and context; both may be None for
    the ambient ones: $KUBECONFIG, ~/.kube/config, or a pod's service account."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._kubeconfig, self._context = kubeconfig, context

    @cached_property
    def _client(self) -> Any:
        """The kubernetes package's client, imported late: it takes as long as all else together."""
        import yaml
        from kubernetes import config

        try:
            # Content is YAML, or JSON on a single line.
            if self._kubeconfig and ("\n" in self._kubeconfig or self._kubeconfig.lstrip().startswith("{")):
                content = yaml.safe_load(self._kubeconfig)
                return config.new_client_from_config_dict(content, context=self._context)
            path = str(Path(self._kubeconfig).expanduser()) if self._kubeconfig else None
            return config.new_client_from_config(path, context=self._context)
        except (yaml.YAMLError, UnicodeDecodeError):
            # Their messages quote the file, and the file holds credentials.
            raise ClusterError("the kubeconfig cannot be used: it is not YAML") from None
        except (config.ConfigException, OSError) as error:
            if self._kubeconfig is None and (client := _in_cluster()) is not None:
                return client
            raise ClusterError(f"the kubeconfig cannot be used: {error}") from error

    @property
    def address(self) -> str:
        """The API server's URL, for messages."""
        return str(self._client.configuration.host)

    def get(self, path: str, **query: str) -> Manifest:
        """Read an object or a list. Raises NotFound, ClusterError."""
        return self._request("GET", path, query=query)

    def find(self, path: str) -> Manifest | None:
        """Read an object that may be absent."""
        try:
            return self.get(path)
        except NotFound:
            return None

    def create(self, path: str, manifest: Manifest) -> Manifest:
        """Create an object in a collection. Raises Conflict if it exists."""
        return self._request("POST", path, body=manifest)

    def replace(self, path: str, manifest: Manifest) -> Manifest:
        """Write a whole object back; its resourceVersion is compared. Raises Conflict."""
        return self._request("PUT", path, body=manifest)

    def patch(self, path: str, patch: Manifest) -> Manifest:
        """JSON merge patch (RFC 7386)."""
        return self._request("PATCH", path, body=patch, content_type=MERGE_PATCH)

    def delete(self, path: str) -> None:
        """Delete an object; an absent one is fine."""
        with contextlib.suppress(NotFound):
            self._request("DELETE", path)

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
        import urllib3

        client = self._client
        token = client.configuration.get_api_key_with_prefix("authorization", alias="BearerToken")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if token:
            headers["Authorization"] = token
        arguments = {**(query or {}), **({} if method in ("GET", "DELETE") else {"fieldManager": FIELD_MANAGER})}
        url = f"{client.configuration.host}{path}" + (f"?{urlencode(arguments)}" if arguments else "")
        try:
            response = client.rest_client.pool_manager.request(
                method,
                url,
                body=json.dumps(body) if body is not None else None,
                headers=headers,
                timeout=TIMEOUT_SECONDS,
                retries=_retries(),
            )
        except urllib3.exceptions.HTTPError as error:
            reason, host = getattr(error, "reason", None) or error, client.configuration.host
            if isinstance(reason, urllib3.exceptions.SSLError):
                raise ClusterError(f"there is no trusted connection to the cluster at {host}: {reason}") from error
            raise ClusterError(f"the cluster at {host} does not answer ({type(reason).__name__})") from error
        return _answer(method, path, response.status, response.data)


def _retries() -> Any:
    """Three quick retries, of reads and writes alike: every write here is idempotent or compared. How
    long an answer wants us to wait (Retry-After) is not heeded: the driver has a patience of its own."""
    import urllib3

    return urllib3.Retry(
        total=3,
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
    if status == 404:
        raise NotFound(message, status)
    if status == 409:
        raise Conflict(message, status)
    raise ClusterError(message, status)


def _in_cluster() -> Any | None:
    """A client for the pod that this runs in, or None."""
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return None
    return client.ApiClient(configuration)
