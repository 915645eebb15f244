"""The load generator: on schedule, honest about failures, and cheap.

Lives here: what `lab/load.py` promises, on loopback and without a cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import load
from lab.load import Phase, Record, Row, Target

ANSWER = b"HTTP/1.1 %d Status\r\nX-Version: %b\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def server(handle: Callable[[bytes, socket.socket], None]) -> Iterator[str]:
    """A server that hands each request to `handle`, one thread a connection; yields its URL."""

    def converse(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := client.recv(65536):
                handle(data, client)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=converse, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def answering(code: int = 200, version: bytes = b"v1") -> Callable[[bytes, socket.socket], None]:
    return lambda data, client: client.sendall(ANSWER % (code, version))


def run(out: Path, *arguments: str) -> list[Record]:
    command = [sys.executable, "-m", "lab.load", "--out", str(out), *arguments]
    subprocess.run(command, cwd=load.ROOT, check=True, timeout=30)
    return load.read(out)


def test_a_target_is_read_from_its_text() -> None:
    assert Target.parse("a=http://h/x?a=1,b=2,host=e.com,share=0.5") == Target("a", "http://h/x?a=1,b=2", "e.com", 0.5)
    assert Target.parse("a=http://h/") == Target("a", "http://h/")
    with pytest.raises(argparse.ArgumentTypeError, match="is not name=url"):
        Target.parse("http://h/")


def test_rate_shares_and_host_are_kept(tmp_path: Path) -> None:
    hosts: Counter[bytes] = Counter()

    def handle(data: bytes, client: socket.socket) -> None:
        hosts[data.split(b"Host: ")[1].split(b"\r\n")[0]] += 1
        client.sendall(ANSWER % (200, b"v1"))

    with server(handle) as url:
        targets = ("--target", f"a={url},host=a.com,share=0.25", "--target", f"b={url},host=b.com,share=0.75")
        records = run(tmp_path / "out", "--rate", "100", "--seconds", "1.5", *targets)
    assert 149 <= len(records) <= 151
    assert abs(hosts[b"a.com"] * 3 - hosts[b"b.com"]) <= 3
    assert {(record.status, record.version, record.error) for record in records} == {(200, "v1", None)}
    times = sorted(record.t for record in records)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(abs(gap - 0.01) < 0.0001 for gap in gaps), "the schedule does not depend on when it is sent"


def test_a_stall_is_seen_by_every_request_that_was_due_in_it(tmp_path: Path) -> None:
    first: list[float] = []

    def handle(data: bytes, client: socket.socket) -> None:
        first.append(time.monotonic())
        if 0.4 < (age := time.monotonic() - first[0]) < 0.9:
            time.sleep(0.9 - age)
        client.sendall(ANSWER % (200, b"v1"))

    with server(handle) as url:
        records = run(tmp_path / "out", "--rate", "100", "--seconds", "1.2", "--target", f"a={url}")
    slow = [record.seconds for record in records if record.seconds > 0.1]
    assert 30 <= len(slow) <= 50, "a closed loop would have counted one"
    assert not any(record.failed for record in records)


def half(data: bytes, client: socket.socket) -> None:
    """All of an answer but its last byte."""
    client.sendall((ANSWER % (200, b"v1"))[:-1])
    client.shutdown(socket.SHUT_RDWR)


def test_every_kind_of_failure_is_recorded(tmp_path: Path) -> None:
    cases: dict[str, Callable[[bytes, socket.socket], None]] = {
        "error": answering(503),
        "cut": lambda data, client: client.shutdown(socket.SHUT_RDWR),
        "half": half,
        "silent": lambda data, client: None,
    }
    with contextlib.ExitStack() as stack:
        words = ["--target", "closed=http://127.0.0.1:1/"]
        for name, handle in cases.items():
            words += ["--target", f"{name}={stack.enter_context(server(handle))}"]
        records = run(tmp_path / "out", "--rate", "50", "--seconds", "1", "--timeout", "0.4", *words)
    assert Counter(record.target for record in records).keys() == {*cases, "closed"}
    assert all(record.failed for record in records)
    found = {record.target: record for record in records}
    assert found["error"].status == 503 and found["error"].error is None
    for name, error in (("closed", "ConnectorError"), ("cut", "Disconnected"), ("half", "Payload")):
        assert found[name].status == 0 and error in (found[name].error or "")
    assert "Timeout" in (found["silent"].error or "") and found["silent"].seconds == pytest.approx(0.4, abs=0.2)


def chunks(*lines: bytes, whole: bool | None = True) -> Callable[[bytes, socket.socket], None]:
    """A chunked answer: whole, cut off (False), or left open (None)."""

    def handle(data: bytes, client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nX-Version: v1\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in lines:
            client.sendall(b"%x\r\n%b\r\n" % (len(line), line))
        if whole:
            client.sendall(b"0\r\n\r\n")
        elif whole is False:
            client.shutdown(socket.SHUT_RDWR)

    return handle


def test_streams_say_how_they_ended(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        urls = {
            "complete": stack.enter_context(server(chunks(b"one\n", b"two\n"))),
            "bye": stack.enter_context(server(chunks(b"one\n", b"bye\n"))),
            "broken": stack.enter_context(server(chunks(b"one\n", whole=False))),
            "open": stack.enter_context(server(chunks(b"one\n", whole=None))),
        }
        words = [word for name, url in urls.items() for word in ("--stream", f"{name}={url}")]
        records = run(tmp_path / "out", "--seconds", "0.7", *words)
    ends = {record.target: record.stream.end for record in records if record.stream}
    assert ends == {name: name for name in urls}
    whole = next(record for record in records if record.target == "complete")
    assert whole.version == "v1" and whole.stream
    assert (whole.stream.bytes, whole.stream.lines) == (8, 2)
    assert [record.target for record in records if record.failed] == ["broken"]


def test_sigterm_ends_it_with_all_records_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with server(answering()) as url:
        command = [
            sys.executable,
            "-m",
            "lab.load",
            "--out",
            str(out),
            "--rate",
            "50",
            "--target",
            f"a={url}",
        ]
        with subprocess.Popen(command, cwd=load.ROOT) as process:
            while not (out.exists() and len(load.read(out)) >= 10):
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
    assert out.read_text().endswith("\n")


def test_running_lasts_as_long_as_its_block_and_costs_little(tmp_path: Path) -> None:
    prefix = ["env", "WHO=lab"]
    with server(answering()) as url:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with load.running(prefix, tmp_path / "out", [f"a={url}"], rate=100) as out:
            assert load.read(out), "the first answer is there"
            time.sleep(2)
            pids = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is(path, str(out))]
            assert pids
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{used:.2f} s of CPU, its start included")
    assert used < 1.3  # measured: 0.4 s for the start, 0.1 s a second


def _is(process: Path, word: str) -> bool:
    with contextlib.suppress(OSError):
        return word.encode() in (process / "cmdline").read_bytes() and process.name != str(os.getpid())
    return False


def test_it_is_served_first_in_a_session_of_its_own(tmp_path: Path) -> None:
    with server(answering()) as url, load.running([], tmp_path / "out", [f"a={url}"]) as out:
        [mine] = [path for path in Path("/proc").glob("[0-9]*") if _is(path, str(out))]
        pid = int(mine.name)
        assert os.getsid(pid) == pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == load.PRIORITY
        if (group := mine / "autogroup").exists():
            assert group.read_text().split()[-1] == str(load.PRIORITY)


def test_one_that_has_fallen_behind_catches_up_without_a_failure_of_its_own(tmp_path: Path) -> None:
    """What was due meanwhile is sent as answers come in; sent all at once, it would be late all at once."""
    out = tmp_path / "out"
    with server(answering()) as url:
        command = [sys.executable, "-m", "lab.load", "--out", str(out), "--target", f"a={url}", "--timeout", "1"]
        with subprocess.Popen([*command, "--rate", "500", "--seconds", "6"], cwd=load.ROOT) as process:
            load._await_first(process, out)
            process.send_signal(signal.SIGSTOP)
            time.sleep(4)
            process.send_signal(signal.SIGCONT)
            assert process.wait(20) == 0
    records = load.read(out)
    assert max(record.seconds for record in records) > 2, "it was stopped, and does not hide it"
    assert [record for record in records if record.failed and record.seconds < 4] == []


def test_a_generator_that_cannot_start_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="ended with code 1"),
        load.running(["false"], tmp_path / "out", ["a=http://127.0.0.1:1/"]),
    ):
        pass


def test_records_are_read_while_they_are_written(tmp_path: Path) -> None:
    record = {"t": 1.0, "target": "a", "status": 200, "version": "v1", "seconds": 0.1, "error": None}
    (tmp_path / "out").write_text(json.dumps(record) + '\n{"t": 2.0, "tar')
    assert load.read(tmp_path / "out") == [Record(1.0, "a", 200, "v1", 0.1)]


def test_the_summary_counts_by_phase_and_version() -> None:
    records = [
        Record(0.5, "a", 500, "v1", 0.1),  # before the first phase
        Record(1.0, "a", 200, "v1", 0.1),
        Record(1.5, "a", 500, "v2", 0.1),
        Record(1.6, "a", 200, "v2", 0.1),
        Record(2.0, "a", 0, None, 5.0, "TimeoutError: "),
        Record(2.1, "a", 404, None, 0.1),
        Record(2.2, "a", 200, "v1", 9.0, None, load.Stream(1, 1, "complete")),
    ]
    rows = load.summary(records, [Phase("before", 1.0), Phase("after", 2.0)])
    assert rows == [Row("before", "v1", 1, 0), Row("before", "v2", 2, 1), Row("after", None, 2, 2)]
