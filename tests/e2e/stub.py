"""A server in the lab that is not what it is taken for: another cluster, an empty Prometheus."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.cluster import Lab

EMPTY_PROMETHEUS = {"status": "success", "data": {"resultType": "vector", "result": []}}


@dataclass
class Stub:
    """Its address, and the writes that it was asked for."""

    url: str
    written: list[str] = field(default_factory=list)

    def kubeconfig(self) -> str:
        """A kubeconfig on one line that leads here."""
        named = {"name": "stub"}
        content = {
            "clusters": [{**named, "cluster": {"server": self.url}}],
            "users": [{**named, "user": {"token": "stub"}}],
            "contexts": [{**named, "context": {"cluster": "stub", "user": "stub"}}],
            "current-context": "stub",
        }
        return json.dumps(content)


def other_cluster(path: str) -> Any:
    """What a cluster answers that has everybody's Deployment already, ready, and nothing else."""
    if "/deployments/" not in path:
        return None
    status = {"replicas": 2, "readyReplicas": 2}
    metadata = {"name": path.rpartition("/")[2], "uid": "somebody-elses"}
    return {"metadata": metadata, "spec": {"replicas": 2}, "status": status}


@contextlib.contextmanager
def serving(lab: Lab, answer: Callable[[str], Any]) -> Iterator[Stub]:
    """Serve `answer(path)` to reads, 404 where it is None; writes get back what they sent."""
    stub = Stub("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer(self.path.partition("?")[0])
            self._send({"message": "not found"} if found is None else found, 404 if found is None else 200)

        def do_POST(self) -> None:
            stub.written.append(f"{self.command} {self.path}")
            self._send(json.loads(self.rfile.read(int(self.headers["Content-Length"]))), 200)

        do_PUT = do_PATCH = do_POST

        def _send(self, body: Any, status: int) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadPoolExecutor(1, initializer=lab.enter) as inside:
        server = inside.submit(ThreadingHTTPServer, ("127.0.0.1", 0), Handler).result()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
