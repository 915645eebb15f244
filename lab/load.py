"""Open-loop load, and what its users saw: the lab's only source of "how many requests failed".

Lives here: the generator. What it writes down, and the sums of it, are `lab/records.py`'s (and reachable
from here as well).

Open loop: each request has its time on a fixed schedule and is counted from that time, however late it
is sent, so that a server which stalls cannot hide it. Connections are kept alive. As real clients do,
aiohttp sends an idempotent request once more when a *reused* connection turns out to be closed; any
other failure is recorded as it happened, status 0. Targets with `grpc://` are `lab/load_grpc.py`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lab.records import Phase, Record, Row, Stream, read, summary

if TYPE_CHECKING:
    import aiohttp

    from lab.load_grpc import Calls

__all__ = ["Phase", "Record", "Row", "Stream", "Target", "read", "running", "summary"]
ROOT = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS = 5.0
PRIORITY = -10
FLUSH_SECONDS = 0.2


@dataclass(frozen=True)
class Target:
    """Where to send: name, URL, the Host header if it differs, and its part of the rate."""

    name: str
    url: str
    host: str | None = None
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Target:
        """`name=url[,host=HOST][,share=0.5]`; other commas belong to the URL, which is HTTP or
        `grpc://address:port/package.Service/Method`."""
        name, _, rest = text.partition("=")
        url, *options = re.split(r",(?=(?:host|share)=)", rest)
        if not name or not re.match("https?://|grpc://", url):
            raise argparse.ArgumentTypeError(f"{text!r} is not name=url[,host=HOST][,share=0.5]")
        values = dict(option.split("=", 1) for option in options)
        return cls(name, url, values.get("host"), float(values.get("share", "1")))

    @property
    def headers(self) -> dict[str, str]:
        return {"Host": self.host} if self.host else {}


@contextlib.contextmanager
def running(
    prefix: Sequence[str],
    out: Path,
    targets: Sequence[str],
    *,
    rate: float = 100,
    seconds: float | None = None,
    streams: Sequence[str] = (),
) -> Iterator[Path]:
    """Load in a process of its own (`prefix` enters the lab), from its first answer to the end of the block.

    The end is told by closing its standard input, as a signal would stop at an `nsenter` in between.
    """
    command = [*prefix, sys.executable, "-m", "lab.load", "--rate", str(rate), "--out", str(out)]
    command += [word for target in targets for word in ("--target", target)]
    command += [word for stream in streams for word in ("--stream", stream)]
    command += ["--while-stdin", *(["--seconds", str(seconds)] if seconds else [])]
    out.unlink(missing_ok=True)
    # A session of its own, as Linux shares processors among sessions before it looks at priorities.
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True) as process:
        try:
            _await_first(process, out)
            yield out
        finally:
            if process.stdin:
                process.stdin.close()
            process.wait(timeout=TIMEOUT_SECONDS + 5)


def _await_first(process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + 15
    while not (out.exists() and out.stat().st_size):
        if process.poll() is not None:
            raise RuntimeError(f"the load generator ended with code {process.returncode}")
        if time.monotonic() > deadline:
            process.kill()
            raise RuntimeError("the load generator recorded nothing within 15 s")
        time.sleep(0.02)


class Generator:
    """Sends on schedule and writes what came back."""

    def __init__(self, session: aiohttp.ClientSession, calls: Calls | None, out: TextIO) -> None:
        self._session = session
        self._calls = calls
        self._out = out
        self._tasks: set[asyncio.Task[None]] = set()

    async def requests(self, targets: Sequence[Target], rate: float) -> None:
        """Send for ever. Times are multiples of 1/rate from now, so a late send delays none after it."""
        began, loop = time.time(), asyncio.get_running_loop()
        for number, target in enumerate(_shared(targets)):
            due = began + number / rate
            # Where it is late, answers are taken all the same: all that is due at once would time out together.
            await asyncio.sleep(max(0.0, due - time.time()))
            task = loop.create_task(self._send(target, due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for the answers that are still due; each has its own timeout."""
        await asyncio.gather(*self._tasks)

    async def _send(self, target: Target, due: float) -> None:
        if self._calls and target.url.startswith("grpc:"):
            status, version, error = await self._calls.ask(target.url, target.host)
        else:
            status, version, error = await self._get(target)
        self._write(due, target, status, version, error)

    async def _get(self, target: Target) -> tuple[int, str | None, str | None]:
        status, version, error = 0, None, None
        try:
            async with self._session.get(target.url, headers=target.headers) as response:
                await response.read()
                status, version = response.status, response.headers.get("X-Version")
        except Exception as problem:
            # Whatever went wrong, the user had no whole answer: even a status that came first is no success.
            error = f"{type(problem).__name__}: {problem}"
        return status, version, error

    async def stream(self, target: Target) -> None:
        """Read one long answer to its end, and never again."""
        import aiohttp

        due, status, version, error = time.time(), 0, None, None
        size, lines, last, end = 0, 0, b"", "broken"
        try:
            endless = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS)
            async with self._session.get(target.url, headers=target.headers, timeout=endless) as response:
                status, version = response.status, response.headers.get("X-Version")
                async for line in response.content:
                    size, lines, last = size + len(line), lines + 1, line
                end = "bye" if last.strip() == b"bye" else "complete"
        except asyncio.CancelledError:
            end = "open"
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
        self._write(due, target, status, version, error, {"bytes": size, "lines": lines, "end": end})

    def _write(
        self,
        due: float,
        target: Target,
        status: int,
        version: str | None,
        error: str | None,
        stream: dict[str, Any] | None = None,
    ) -> None:
        record = {
            "t": round(due, 6),
            "target": target.name,
            "status": status,
            "version": version,
            "seconds": round(time.time() - due, 6),
            "error": error,
        }
        self._out.write(json.dumps(record | ({"stream": stream} if stream else {})) + "\n")

    async def flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._out.flush()


def _shared(targets: Sequence[Target]) -> Iterator[Target]:
    """For ever, the target that is furthest behind its share: exact shares over any stretch of time."""
    total = sum(target.share for target in targets)
    sent = [0.0] * len(targets)
    for number in itertools.count(1):
        index = max(range(len(targets)), key=lambda i: targets[i].share / total * number - sent[i])
        sent[index] += 1
        yield targets[index]


def _stop_event(while_stdin: bool) -> asyncio.Event:
    """Set by SIGTERM, SIGINT or, if so wished, the end of standard input."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if while_stdin:

        def readable() -> None:
            if not os.read(sys.stdin.fileno(), 1024):
                loop.remove_reader(sys.stdin)
                stop.set()

        loop.add_reader(sys.stdin, readable)
    return stop


async def run(arguments: argparse.Namespace) -> None:
    """Load until told to stop, then wait for the answers still due and write them too."""
    import aiohttp

    stop = _stop_event(arguments.while_stdin)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=arguments.timeout)
    with arguments.out.open("w") as out:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            calls = _calls(arguments)
            generator = Generator(session, calls, out)
            tasks = [asyncio.create_task(generator.stream(target)) for target in arguments.stream]
            tasks.append(asyncio.create_task(generator.flush()))
            if arguments.target:
                tasks.append(asyncio.create_task(generator.requests(arguments.target, arguments.rate)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), arguments.seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await generator.settle()
            if calls:
                await calls.close()


def _calls(arguments: argparse.Namespace) -> Calls | None:
    """What sends to gRPC targets, imported only where there are any."""
    if not any(target.url.startswith("grpc:") for target in arguments.target):
        return None
    from lab.load_grpc import Calls

    return Calls(arguments.timeout)


def _hurry() -> None:
    """Be served first. Users are not slower because this machine is busy: a generator that falls behind measures
    itself. Alone in its session it speaks for the session too (sched(7), "The autogroup feature")."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # not every kernel has it
            Path("/proc/self/autogroup").write_text(str(PRIORITY))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.load", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=float, default=100, help="requests a second, over all targets")
    parser.add_argument("--seconds", type=float, help="how long; without it until SIGTERM or SIGINT")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds for each request")
    parser.add_argument("--out", type=Path, required=True, help="file of records, one JSON line each")
    parser.add_argument("--target", type=Target.parse, action="append", default=[])
    parser.add_argument("--stream", type=Target.parse, action="append", default=[])
    parser.add_argument("--while-stdin", action="store_true", help="stop when standard input ends")
    arguments = parser.parse_args()
    _hurry()
    asyncio.run(run(arguments))


if __name__ == "__main__":
    main()
