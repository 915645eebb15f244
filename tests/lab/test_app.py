"""The sample application alone: its answers, each of its faults, and how it leaves.

Lives here: what `lab/app` promises, on loopback and without a cluster.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.app.faults import Faults

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    port: int
    process: subprocess.Popen[bytes]

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def ask(self, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """A request on a connection of its own: the status and the body, read as JSON where it is."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else text

    def statuses(self, count: int, path: str = "/") -> list[int]:
        with contextlib.closing(self.connect()) as connection:
            return [status(connection, path) for _ in range(count)]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def status(connection: http.client.HTTPConnection, path: str = "/") -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


@contextlib.contextmanager
def app(**environ: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"],
        "POD_IP": "127.0.0.1",
        "PORT": str(port),
        "VERSION": "6.3.0",
        **environ,
    }
    with subprocess.Popen([sys.executable, "-m", "lab.app", "--level=info"], cwd=ROOT, env=env) as process:
        try:
            deadline = time.monotonic() + 5
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            yield Running(port, process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def healthy() -> Iterator[Running]:
    with app() as running:
        yield running


def test_it_says_which_version_answers(healthy: Running) -> None:
    with contextlib.closing(healthy.connect()) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.headers["X-Version"] == "6.3.0"
        assert json.load(answer)["version"] == "6.3.0"
    assert healthy.ask("/version") == (200, {"version": "6.3.0"})
    assert healthy.ask("/env")[1]["PORT"] == str(healthy.port)


def test_other_paths(healthy: Running) -> None:
    assert [healthy.ask(path)[0] for path in ("/healthz", "/readyz", "/status/418", "/none")] == [
        200,
        200,
        418,
        404,
    ]
    assert healthy.ask("/status/x")[0] == 400
    began = time.monotonic()
    assert healthy.ask("/delay/0.2")[0] == 200
    assert time.monotonic() - began >= 0.2


def test_requests_in_one_packet_are_answered_in_order(healthy: Running) -> None:
    request = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /status/203 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", healthy.port), timeout=5) as sock:
        sock.sendall(request % b"delay/0.1" + request % b"status/202" + last)
        text = sock.makefile().read()
    codes = [line.split()[1] for line in text.splitlines() if line.startswith("HTTP/")]
    assert codes == ["200", "202", "203"]


def test_metrics_count_what_users_asked_and_not_the_probes() -> None:
    with app() as running:
        running.statuses(3)
        running.statuses(2, "/status/503")
        running.statuses(4, "/healthz")
        text = running.ask("/metrics")[1]
    assert 'http_requests_total{status="200"} 3\n' in text
    assert 'http_requests_total{status="503"} 2\n' in text
    assert 'http_request_duration_seconds_bucket{status="200",le="+Inf"} 3\n' in text


def test_a_stream_has_a_line_every_100_ms(healthy: Running) -> None:
    code, text = healthy.ask("/stream?seconds=0.45")
    assert (code, text.splitlines()) == (200, [f"6.3.0 {number}" for number in range(5)])


def test_error_rate_spares_the_probes() -> None:
    with app(ERROR_RATE="0.5") as running:
        failed = running.statuses(400).count(500)
        assert 150 < failed < 250
        assert set(running.statuses(50, "/readyz") + running.statuses(50, "/healthz")) == {200}


def test_faults_change_at_run_time(healthy: Running) -> None:
    try:
        assert healthy.ask("/faults", "POST", {"ERROR_RATE": 1, "DELAY_SECONDS": 0.1})[0] == 200
        assert healthy.ask("/faults")[1]["ERROR_RATE"] == 1
        began = time.monotonic()
        assert healthy.ask("/")[0] == 500
        assert time.monotonic() - began >= 0.1
        answer, words = healthy.ask("/faults", "POST", {"EROR_RATE": 1})
        assert answer == 400 and "unknown fault EROR_RATE" in words["error"]
        assert healthy.ask("/faults", "POST", [1])[0] == 400
    finally:
        healthy.ask("/faults", "POST", {"ERROR_RATE": 0, "DELAY_SECONDS": 0})
    assert healthy.ask("/")[0] == 200


@pytest.mark.parametrize(
    ("faults", "age_seconds", "requests_per_second", "probability"),
    [
        (Faults(error_rate=0.3), 0, 1, 0.3),
        (Faults(error_burst_seconds=1, error_burst_every_seconds=10), 20.5, 1, 1.0),
        (Faults(error_burst_seconds=1, error_burst_every_seconds=10), 21.5, 1, 0.0),
        (Faults(error_burst_seconds=1, error_burst_every_seconds=10, error_rate=0.2), 0.5, 1, 0.2),
        (Faults(error_after_seconds=5), 4.9, 1, 0.0),
        (Faults(error_after_seconds=5), 5.0, 1, 1.0),
        (Faults(error_above_rps=50), 9, 50, 0.0),
        (Faults(error_above_rps=50), 9, 51, 1.0),
        (Faults(error_above_rps=50, error_after_seconds=10), 9, 51, 0.0),
    ],
)
def test_when_errors_are_due(
    faults: Faults, age_seconds: float, requests_per_second: float, probability: float
) -> None:
    assert faults.error_probability(age_seconds, requests_per_second) == probability


def test_errors_after_a_time_count_from_the_change() -> None:
    with app() as running:
        running.ask("/faults", "POST", {"ERROR_AFTER_SECONDS": 0.3})
        assert running.ask("/")[0] == 200
        time.sleep(0.35)
        assert running.ask("/")[0] == 500


def test_errors_above_a_rate() -> None:
    with app(ERROR_ABOVE_RPS="20") as running:
        answers = running.statuses(40)
    assert answers == [200] * 20 + [500] * 20


@pytest.mark.parametrize(("fault", "code"), [("CRASH", 1), ("OOM", 137)])
def test_ends_of_its_own(fault: str, code: int) -> None:
    with app(**{f"{fault}_AFTER_SECONDS": "0.2"}) as running:
        assert running.process.wait(2) == code


def test_readiness() -> None:
    with app(SLOW_START_SECONDS="0.6") as running:
        assert running.ask("/readyz")[0] == 503
        assert running.ask("/healthz")[0] == 200
        time.sleep(0.6)
        assert running.ask("/readyz")[0] == 200
        running.ask("/readyz/disable", "POST")
        assert running.ask("/readyz")[0] == 503
        running.ask("/readyz/enable", "POST")
        assert running.ask("/readyz")[0] == 200
        running.ask("/faults", "POST", {"NEVER_READY": True})
        assert running.ask("/readyz")[0] == 503


def test_hanging() -> None:
    with app(HANG="2") as running:
        assert running.ask("/healthz")[0] == 200
        hung = running.connect()
        hung.timeout = 0.2
        with pytest.raises(TimeoutError):
            status(hung)
        running.ask("/faults", "POST", {"HANG": 1})
        hung = running.connect()
        hung.timeout = 0.2
        with pytest.raises(TimeoutError):
            status(hung, "/healthz")


def test_after_sigterm_it_serves_on_until_its_clients_have_left() -> None:
    with app() as running:
        busy, idle = running.connect(), running.connect()
        assert (status(busy), status(idle)) == (200, 200)
        began = time.monotonic()
        running.terminate()
        time.sleep(0.2)
        assert running.ask("/readyz")[0] == 503
        busy.request("GET", "/")
        answer = busy.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        time.sleep(0.4)
        assert status(idle) == 200, "an idle connection is not cut at once"
        assert running.statuses(1) == [200], "nor is a new one refused"
        assert running.process.wait(5) == 0
        assert 1.9 < time.monotonic() - began < 3


def test_after_sigterm_a_slow_answer_is_still_given() -> None:
    with app() as running:
        slow = running.connect()
        slow.request("GET", "/delay/2.5")
        running.terminate()
        assert slow.getresponse().status == 200
        assert running.process.wait(1) == 0


def test_after_sigterm_streams_end_with_bye_when_the_grace_is_over() -> None:
    with app(GRACE_SECONDS="0.5") as running:
        connection = running.connect()
        connection.request("GET", "/stream?seconds=60")
        answer = connection.getresponse()
        began = time.monotonic()
        running.terminate()
        lines = answer.read().decode().splitlines()  # raises if the last chunk is missing
        assert lines[-1] == "bye"
        assert 0.4 < time.monotonic() - began < 1
        assert running.process.wait(2) == 0


def test_what_hangs_does_not_outlive_the_grace() -> None:
    with app(HANG="2", GRACE_SECONDS="0.3") as running:
        running.connect().request("GET", "/")
        running.terminate()
        assert running.process.wait(2) == 0


def test_it_starts_and_serves_fast_enough_for_the_lab() -> None:
    with app() as running:
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as sock:
            began, count = time.monotonic(), 0
            while time.monotonic() - began < 0.5:
                sock.sendall(request)
                received = b""
                while received.count(b'"hello"') < 50:
                    received += sock.recv(65536)
                count += 50
        rate = count / (time.monotonic() - began)
    print(f"{rate:.0f} requests/s")
    assert rate > 1000
