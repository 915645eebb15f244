"""A small HTTP server that speaks the Kubernetes API's protocol as documented, for unit tests.

Objects by path, resourceVersion compare on PUT, JSON merge patch, the scale subresource, label
selectors, discovery, Status bodies, and faults on demand. No admission, no controllers: what follows
from a write is said by a test (`reactions`). kubernetes.io/docs/reference/using-api/api-concepts
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pulumi_rollout.cluster import Cluster

Manifest = dict[str, Any]

# Group and version -> kind -> plural, as discovery answers.
KINDS = {
    "/api/v1": {
        "ConfigMap": "configmaps",
        "Event": "events",
        "Pod": "pods",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "/apis/apps/v1": {"Deployment": "deployments"},
    "/apis/batch/v1": {"Job": "jobs"},
    "/apis/coordination.k8s.io/v1": {"Lease": "leases"},
    "/apis/gateway.networking.k8s.io/v1": {"HTTPRoute": "httproutes"},
    "/apis/networking.k8s.io/v1": {"Ingress": "ingresses"},
    "/apis/projectcontour.io/v1": {"HTTPProxy": "httpproxies"},
    "/apis/rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
    "/apis/traefik.io/v1alpha1": {"IngressRoute": "ingressroutes", "TraefikService": "traefikservices"},
}


@dataclass
class Fault:
    """What goes wrong, `times` times, with requests that match.

    + status, body: answered instead
    + drop: "before" the request has its effect, or "after" it, the connection is closed unanswered
    + delay_seconds: the answer comes late
    """

    method: str = ".*"
    path: str = ".*"
    times: float = 1
    status: int | None = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: str | None = None
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class FakeApi:
    """The server and its objects. Use it as a context manager.

    + objects: by path; change them freely between requests
    + faults: the first that matches is used up first
    + reactions: called with (api, path) after each write, as controllers would act
    + token: wanted from each request, if set
    + requests, connections: what arrived
    """

    def __init__(self, tls: tuple[str, str] | None = None) -> None:
        self.objects: dict[str, Manifest] = {}
        self.faults: list[Fault] = []
        self.reactions: list[Callable[[FakeApi, str], None]] = []
        self.requests: list[Request] = []
        self.token: str | None = None
        self.connections = 0
        self._version = 0
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"api": self}))
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeApi:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def kubeconfig(self, user: Manifest | None = None, cluster: Manifest | None = None) -> str:
        """A kubeconfig's content, as JSON on many lines (which is YAML)."""
        named = {
            "clusters": [{"name": "fake", "cluster": {"server": self.url, **(cluster or {})}}],
            "users": [{"name": "me", "user": user or {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        }
        return json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "fake", **named}, indent=1)

    def put(self, path: str, manifest: Manifest) -> Manifest:
        """Store an object as it is, as somebody else would write it."""
        with self._lock:
            self._version += 1
            old = self.objects.get(path, {}).get("metadata", {})
            metadata = {"name": path.rpartition("/")[2], "uid": old.get("uid") or str(uuid.uuid4())}
            metadata = {**metadata, **manifest.get("metadata", {}), "resourceVersion": str(self._version)}
            changed = manifest.get("spec") != self.objects.get(path, {}).get("spec")
            metadata["generation"] = old.get("generation", 0) + changed
            self.objects[path] = {**manifest, "metadata": metadata}
            return self.objects[path]

    def writes(self, path: str = "") -> list[Request]:
        """Requests that were not reads, to paths that contain this."""
        return [request for request in self.requests if request.method != "GET" and path in request.path]

    def answer(self, request: Request) -> tuple[int, Manifest]:
        """The effect of a request and its answer."""
        with self._lock:
            status, answer = self._dispatch(request)
            if request.method != "GET":
                for reaction in list(self.reactions):
                    reaction(self, request.path)
            return status, deepcopy(answer)

    def _dispatch(self, request: Request) -> tuple[int, Manifest]:
        path = request.path
        if request.method == "GET":
            return 200, self._read(path, request.query.get("labelSelector", ""))
        if request.method == "POST":
            path = f"{path}/{request.body['metadata']['name']}"
            if path in self.objects:
                raise ApiError(409, f'"{path.rpartition("/")[2]}" already exists')
            return 201, self.put(path, request.body)
        if path not in self.objects and path.removesuffix("/scale") not in self.objects:
            raise ApiError(404, f'"{path.rpartition("/")[2]}" not found')
        if request.method == "DELETE":
            return 200, self.objects.pop(path)
        if request.method == "PUT":
            self._compare(path, request.body)
            return 200, self.put(path, request.body)
        if request.headers.get("Content-Type") != "application/merge-patch+json":
            raise ApiError(415, "the body of the request was in an unknown format")
        if path.endswith("/scale"):
            replicas = {"spec": {"replicas": request.body["spec"]["replicas"]}}
            deployment = path.removesuffix("/scale")
            return 200, self.put(deployment, merged(self.objects[deployment], replicas))
        self._compare(path, request.body)
        return 200, self.put(path, merged(self.objects[path], request.body))

    def _compare(self, path: str, body: Manifest) -> None:
        """A write that names a version is refused on another one."""
        version = body.get("metadata", {}).get("resourceVersion")
        if version is not None and version != self.objects[path]["metadata"]["resourceVersion"]:
            raise ApiError(409, "the object has been modified; please apply your changes to the latest version")

    def _read(self, path: str, selector: str) -> Manifest:
        if path in self.objects:
            return self.objects[path]
        if path in KINDS:
            resources = [{"kind": kind, "name": plural} for kind, plural in KINDS[path].items()]
            return {"kind": "APIResourceList", "resources": [*resources, {"kind": "Scale", "name": "things/scale"}]}
        everywhere = re.fullmatch(r"(/api/v1|/apis/[^/]+/[^/]+)/([^/]+)", path)
        if not everywhere and not re.search(r"/namespaces/[^/]+/[^/]+$", path):
            raise ApiError(404, f'"{path.rpartition("/")[2]}" not found')
        wanted = dict(item.split("=") for item in selector.split(",") if item)
        collection = f"{everywhere[1]}/namespaces/[^/]+/{everywhere[2]}" if everywhere else re.escape(path)
        inside = [item for key, item in self.objects.items() if re.fullmatch(collection, key.rpartition("/")[0])]
        return {"kind": "List", "items": [item for item in inside if wanted.items() <= _labels(item).items()]}


def _labels(item: Manifest) -> dict[str, str]:
    labels: dict[str, str] = item["metadata"].get("labels", {})
    return labels


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Direct(Cluster):
    """A client of the server's objects without a connection, for many walks in little time.

    + before_request: called with each request's method and path; may raise
    """

    def __init__(self, api: FakeApi) -> None:
        super().__init__(api.kubeconfig())
        self.before_request: Callable[[str, str], None] = lambda method, path: None
        self._api = api

    def owed_seconds(self) -> float:
        """Nothing: that is counted in real time, and a test's clock is not real."""
        return 0.0

    def _send(self, method: str, target: str, data: str | None, content_type: str) -> Any:
        self.requests += 1
        split = urlsplit(target)
        self.before_request(method, split.path)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        headers = {"Content-Type": content_type}
        request = Request(method, split.path, query, headers, json.loads(data) if data else None)
        self._api.requests.append(request)
        try:
            status, answer = self._api.answer(request)
        except ApiError as error:
            return SimpleNamespace(status=error.status, data=_status(error.status, error.message))
        return SimpleNamespace(status=status, data=json.dumps(answer).encode())


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for a delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.api.connections += 1
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        request = Request(
            self.command, split.path, query, dict(self.headers.items()), json.loads(body) if body else None
        )
        self.api.requests.append(request)
        fault = self._fault(request)
        time.sleep(fault.delay_seconds)
        if fault.drop == "before":
            return self._hang_up()
        if fault.status is not None:
            return self._send(fault.status, fault.body or _status(fault.status, "as the test wants it"), fault.headers)
        try:
            if self.api.token is not None and request.headers.get("Authorization") != f"Bearer {self.api.token}":
                raise ApiError(401, "Unauthorized")
            status, answer = self.api.answer(request)
        except ApiError as error:
            status, data = error.status, _status(error.status, error.message)
        else:
            data = json.dumps(answer).encode()
        return self._hang_up() if fault.drop == "after" else self._send(status, fault.body or data, fault.headers)

    def _fault(self, request: Request) -> Fault:
        for fault in self.api.faults:
            if re.fullmatch(fault.method, request.method) and re.search(fault.path, request.path) and fault.times > 0:
                fault.times -= 1
                return fault
        return Fault()

    def _hang_up(self) -> None:
        self.close_connection = True

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve


def _status(status: int, message: str) -> bytes:
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": status}).encode()
