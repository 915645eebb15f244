"""A real Envoy, set up as Contour does it: what it says through the filter of the `direct` source.

Not here: the cluster's part of it (`test_readings.py`), which has the same paths.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
import yaml

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.measures import Source
from pulumi_rollout.metrics import direct
from pulumi_rollout.metrics.shapes import Fleet, Pod, Response
from tests.metrics_fixtures import BACKENDS, SUCCESS_RATE, gate

pytestmark = pytest.mark.lab

ENVOY = Path(sys.executable).parent / "envoy"
SOURCE = Source(kind="direct", proxy="contour")
FLEET = Fleet(asked=(Pod("envoy-a", "projectcontour"),), stable="v1")
GATES = [
    gate(**SUCCESS_RATE),
    gate(id="latency", test="objective", metric={"name": "latency", "bound_seconds": 0.1}, max_bad_ratio=0.01),
    gate(id="stalled", test="stalled"),
]
STABLE, CANARY = "shop_podinfo_9898", "shop_podinfo-v2_9898"
HTTP = "type.googleapis.com/envoy.extensions.filters.http"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address(port)}}
    made: dict[str, Any] = {
        # Contour's name of a cluster holds a hash, and is not the one of its statistics.
        "name": f"{name}/da39a3ee5e",
        "alt_stat_name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if http2:
        options = {"@type": f"type.googleapis.com/{UPSTREAM}", "explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {UPSTREAM: options}
    return made


def written(admin: int, port: int, web: int, rpc: int) -> str:
    to = {
        "/canary": {"cluster": f"{CANARY}/da39a3ee5e", "timeout": "0.2s"},
        "/retried": {"cluster": f"{CANARY}/da39a3ee5e", "retry_policy": {"retry_on": "5xx", "num_retries": 1}},
        "/": {"cluster": f"{STABLE}/da39a3ee5e"},
    }
    routes = [{"match": {"prefix": path}, "route": route} for path, route in to.items()]
    manager = {
        "@type": (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.grpc_stats",
                "typed_config": {
                    "@type": f"{HTTP}.grpc_stats.v3.FilterConfig",
                    "emit_filter_state": True,
                    "enable_upstream_stats": True,
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    static = {
        "listeners": [{"name": "http", "address": address(port), "filter_chains": [chain]}],
        "clusters": [cluster(CANARY, web), cluster(STABLE, rpc, http2=True), cluster("shop_cart_9898", web)],
    }
    return yaml.safe_dump({"admin": {"address": address(admin)}, "static_resources": static})


class Web(BaseHTTPRequestHandler):
    """Answers as the path says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        time.sleep(1 if "slow" in self.path else 0)
        self.send_response(500 if "bad" in self.path else 200)
        self.send_header("Content-Length", "0")
        with contextlib.suppress(BrokenPipeError):
            self.end_headers()


class Rpc(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Fails as the method is called."""

    def service(self, details: Any) -> Any:
        def answer(request: bytes, context: Any) -> bytes:
            code = details.method.rpartition("/")[2]
            if code != "OK":
                context.abort(grpc.StatusCode[code], "as the test wants it")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """An Envoy in front of both versions: the ports of its administration and of its listener."""
    from concurrent.futures import ThreadPoolExecutor

    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    rpc = grpc.server(ThreadPoolExecutor(2), handlers=[Rpc()])
    rpc_port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    admin, port = free_port(), free_port()
    config = tmp_path / "envoy.yaml"
    config.write_text(written(admin, port, web.server_address[1], rpc_port))
    command = [str(ENVOY), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "--log-level", "off"]
    with subprocess.Popen(command) as envoy:
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"http://127.0.0.1:{admin}/ready", timeout=1).ok:
                        break
                time.sleep(0.05)
            yield admin, port
        finally:
            envoy.kill()
            rpc.stop(None)
            web.shutdown()


def read(admin: int) -> dict[str, Reading]:
    [request] = direct.requests(SOURCE, GATES, BACKENDS, FLEET)
    path = request.target.partition("/proxy")[2]
    body = requests.get(f"http://127.0.0.1:{admin}{path}", timeout=5).text
    assert "shop_cart" not in body
    return direct.parse(SOURCE, GATES, [Response(body, 1.0)], BACKENDS, FLEET)


def sums(reading: Reading) -> dict[str, tuple[float, float]]:
    """Both versions' unmarked and marked numbers."""
    samples = {"canary": reading.canary, "stable": reading.stable}
    return {
        name: (
            sum(value for value, mark in one.series.values() if not mark),
            sum(value for value, mark in one.series.values() if mark),
        )
        for name, one in samples.items()
    }


def test_what_envoy_counts_is_what_users_saw(ports: tuple[int, int]) -> None:
    admin, port = ports
    probe = direct.probe(SOURCE, GATES, BACKENDS, FLEET)[0].target.partition("/proxy")[2]
    for path in ["canary/ok"] * 5 + ["canary/bad", "canary/slow", "retried/bad"]:
        requests.get(f"http://127.0.0.1:{port}/{path}", timeout=5)
    with contextlib.suppress(requests.Timeout):
        requests.get(f"http://127.0.0.1:{port}/retried/slow", timeout=0.2)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for code in ["OK"] * 4 + ["UNAVAILABLE"] * 3 + ["NOT_FOUND"] * 2:
            with contextlib.suppress(grpc.RpcError):
                channel.unary_unary(f"/shop.Podinfo/{code}")(b"", timeout=5)
    # Histograms are merged now and then (stats_flush_interval).
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not sums(read(admin)["latency"])["stable"][0]:
        time.sleep(0.1)
    found = read(admin)
    # Of the retried request the last attempt counts; the one that its client gave up is neither good nor bad.
    assert sums(found["success_rate"]) == {"canary": (5, 3), "stable": (6, 3)}
    # One that timed out has no duration, and is in the success rate.
    fast, slow = sums(found["latency"])["canary"]
    assert (fast + slow, sums(found["latency"])["stable"]) == (7, (9, 0))
    begun, ended = sums(found["stalled"])["canary"]
    assert (begun, ended, sums(found["stalled"])["stable"]) == (10, 9, (9, 9))
    body = requests.get(f"http://127.0.0.1:{admin}{probe}", timeout=5).text
    assert direct.problems(SOURCE, GATES, [Response(body, 1.0)], BACKENDS, FLEET) == []
