"""The sample application for gRPC and the load that speaks to it, on loopback and without a cluster.

Lives here: what `lab/greeter.py` and `lab/load_grpc.py` promise. Proxies in between are tests/lab/test_grpc.py's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from lab import load
from lab.greeter import FAULTS, GREET, HEALTH, NOT_SERVING, SERVING

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Running:
    """A process and a connection to it."""

    port: int
    process: subprocess.Popen[bytes]
    channel: Any

    def call(self, method: str = GREET, message: bytes = b"", seconds: float = 2) -> tuple[bytes, dict[str, str]]:
        answer, call = self.channel.unary_unary(method).with_call(message, timeout=seconds)
        return answer, dict(call.initial_metadata())

    def failure(self) -> tuple[grpc.StatusCode, dict[str, str], dict[str, str]]:
        """A failed call's code, initial and trailing metadata."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call()
        error: Any = caught.value
        return error.code(), dict(error.initial_metadata()), dict(error.trailing_metadata())

    def code(self, method: str = GREET, message: bytes = b"", seconds: float = 2) -> grpc.StatusCode:
        try:
            self.call(method, message, seconds)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    def change(self, **faults: float) -> dict[str, float]:
        return dict(json.loads(self.call(FAULTS, json.dumps(faults).encode())[0]))

    def health(self) -> bytes:
        return self.call(f"/{HEALTH}/Check")[0]


@contextlib.contextmanager
def greeter(**environ: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(environ.pop("PORT", probe.getsockname()[1]))
    env = {"PATH": os.environ["PATH"], "POD_IP": "127.0.0.1", "PORT": str(port), "VERSION": "1.0.0", **environ}
    options = (("grpc.enable_http_proxy", 0),)
    with (
        subprocess.Popen([sys.executable, "-m", "lab.greeter"], cwd=ROOT, env=env) as process,
        grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        try:
            deadline = time.monotonic() + 10
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            yield Running(port, process, channel)
        finally:
            process.kill()


def test_it_says_which_version_answers() -> None:
    with greeter() as running:
        answer, metadata = running.call()
        assert answer == b"hello from 1.0.0"
        assert metadata["x-version"] == "1.0.0"
        assert running.health() == SERVING


def test_faults_by_the_environment_and_at_run_time() -> None:
    with greeter(ERROR_RATE="1") as running:
        assert running.failure() == (grpc.StatusCode.INTERNAL, {}, {"x-version": "1.0.0"})
        assert running.change(error_code=14)["ERROR_CODE"] == 14
        assert running.code() is grpc.StatusCode.UNAVAILABLE
        running.change(error_rate=0)
        assert running.code() is grpc.StatusCode.OK
        assert running.code(FAULTS, b'{"eror_rate": 1}') is grpc.StatusCode.INVALID_ARGUMENT
        running.change(delay_seconds=0.2)
        began = time.monotonic()
        running.call()
        assert time.monotonic() - began >= 0.2
        running.change(hang=2)
        assert running.code(seconds=0.3) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert running.health() == SERVING
        running.change(never_ready=1)
        assert running.health() == NOT_SERVING
        running.change(hang=1)
        assert running.code(f"/{HEALTH}/Check", seconds=0.3) is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("fault", "code"), [("CRASH_AFTER_SECONDS", 1), ("OOM_AFTER_SECONDS", 137)])
def test_it_can_end_by_itself(fault: str, code: int) -> None:
    with greeter(**{fault: "0.1"}) as running:
        assert running.process.wait(5) == code


def test_after_sigterm_it_is_not_ready_and_serves_on() -> None:
    with greeter() as running:
        running.call()
        began = time.monotonic()
        running.process.terminate()
        time.sleep(0.3)
        assert running.health() == NOT_SERVING
        assert running.code() is grpc.StatusCode.OK
        assert running.process.wait(5) == 0
        assert 1.9 < time.monotonic() - began < 4


def run(out: Path, *arguments: str) -> list[load.Record]:
    command = [sys.executable, "-m", "lab.load", "--out", str(out), *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=30)
    return load.read(out)


def test_load_records_calls_as_it_does_requests(tmp_path: Path) -> None:
    with greeter() as good, greeter(VERSION="2.0.0", ERROR_RATE="1", ERROR_CODE="14") as bad, greeter(HANG="2") as mute:
        targets = {
            "good": f"grpc://127.0.0.1:{good.port}{GREET}",
            "bad": f"grpc://127.0.0.1:{bad.port}{GREET}",
            "mute": f"grpc://127.0.0.1:{mute.port}{GREET}",
            "closed": f"grpc://127.0.0.1:1{GREET}",
        }
        words = [
            word for name, url in targets.items() for word in ("--target", f"{name}={url},host={name}.example.com")
        ]
        records = run(tmp_path / "out", "--rate", "80", "--seconds", "1.5", "--timeout", "0.5", *words)
    assert 119 <= len(records) <= 121
    found = {record.target: record for record in records}
    seen = Counter((record.target, record.status, record.version) for record in records)
    assert seen.keys() == {("good", 200, "1.0.0"), ("bad", 500, "2.0.0"), ("mute", 0, None), ("closed", 500, None)}
    assert found["good"].error is None
    assert found["bad"].error == "UNAVAILABLE: injected fault"
    assert (found["mute"].error or "").startswith("DEADLINE_EXCEEDED")
    assert (found["closed"].error or "").startswith("UNAVAILABLE")
    assert {record.failed for record in records if record.target != "good"} == {True}
    assert found["mute"].seconds == pytest.approx(0.5, abs=0.2)


def test_load_reaches_again_what_was_away(tmp_path: Path) -> None:
    with greeter() as first:
        port, out = first.port, tmp_path / "out"
        with load.running([], out, [f"a=grpc://127.0.0.1:{port}{GREET}"], rate=50):
            first.process.kill()
            first.process.wait()
            time.sleep(0.3)
            with greeter(PORT=str(port), VERSION="1.0.1"):
                back = time.time()
                deadline = time.monotonic() + 5
                while not any(record.version == "1.0.1" for record in load.read(out)):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                took = min(record.t for record in load.read(out) if record.version == "1.0.1") - back
    failed = [record for record in load.read(out) if record.failed]
    assert failed and took < 2
