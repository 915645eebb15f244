"""The application's sockets: HTTP/1.1 with keep-alive, streams, and a polite end after SIGTERM.

Lives here: how requests and answers travel. What is answered is in answers.py.
"""

from __future__ import annotations

import asyncio
import time
from urllib.parse import parse_qs

from lab.app.answers import UNCOUNTED, Answer, App, Request

IDLE_SECONDS = 1.0
"""How long an idle connection outlives SIGTERM: its client may be sending just now."""
LISTEN_SECONDS = 2.0
"""How long new connections are awaited after SIGTERM: proxies learn of it late, up to a second or so."""
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error", 503: "Unavailable"}


class Connection(asyncio.Protocol):
    """One client: requests in, answers out in the same order, and a polite end when the app drains."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._transport: asyncio.Transport
        self._later: asyncio.TimerHandle | None = None
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._later:
            self._later.cancel()
        self._server.connections.discard(self)
        self._server.finish_if_done()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def close(self) -> None:
        self._transport.close()

    def _next(self) -> None:
        """Begin on the next request, once it is here whole and the one before it is answered."""
        while not self.busy and not self._transport.is_closing():
            request = self._take()
            if request is None:
                return
            self.busy = True
            began = time.monotonic()
            answer = self._server.app.answer(request)
            if answer is None:
                return
            if answer.wait_seconds:
                self._later = asyncio.get_running_loop().call_later(
                    answer.wait_seconds, self._send_late, request, answer, began
                )
                return
            self._send(request, answer, began)

    def _take(self) -> Request | None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        method, _, target = lines[0].partition(" ")
        target, _, protocol = target.partition(" ")
        path, _, query = target.partition("?")
        close = headers.get("connection", "").lower() == "close" or protocol == "HTTP/1.0"
        return Request(method, path, parse_qs(query), rest[:length], close)

    def _send_late(self, request: Request, answer: Answer, began: float) -> None:
        self._send(request, answer, began)
        self._next()

    def _send(self, request: Request, answer: Answer, began: float) -> None:
        app = self._server.app
        close = request.close or app.condition.draining
        streamed = answer.stream_seconds is not None
        size = "Transfer-Encoding: chunked" if streamed else f"Content-Length: {len(answer.body)}"
        ending = "Connection: close\r\n" if close else ""
        head = (
            f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Status')}\r\nX-Version: {app.version}\r\n"
            f"Content-Type: {answer.kind}\r\n{size}\r\n{ending}\r\n"
        )
        self._transport.write(head.encode() + (b"" if request.method == "HEAD" else answer.body))
        if request.path not in UNCOUNTED:
            app.metrics.count(answer.status, time.monotonic() - began)
        if answer.stream_seconds is not None:
            self._stream(0, time.monotonic() + answer.stream_seconds, close)
        else:
            self._answered(close)

    def _answered(self, close: bool) -> None:
        self.busy = False
        if close or self._server.app.condition.draining:
            self._transport.close()

    def _stream(self, number: int, until: float, close: bool) -> None:
        """One line, then the next in 100 ms; the last one is `bye` when the process must go first."""
        leaving = self._server.out_of_grace()
        if leaving or time.monotonic() >= until:
            self._chunk(b"bye\n" if leaving else b"")
            if leaving:
                self._chunk(b"")
            self._answered(close)
            self._next()
            return
        self._chunk(f"{self._server.app.version} {number}\n".encode())
        self._later = asyncio.get_running_loop().call_later(0.1, self._stream, number + 1, until, close)

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))


class Server:
    """The listening socket, its connections, and the order of things after SIGTERM."""

    def __init__(self, app: App, grace_seconds: float) -> None:
        self.app = app
        self.connections: set[Connection] = set()
        self.done = asyncio.Event()
        self._grace_seconds = grace_seconds
        self._stopped_at = float("inf")

    def stop(self) -> None:
        """Begin to drain: not ready, each answer ends its connection, new ones are still served."""
        if self.app.condition.draining:
            return
        self.app.condition.draining = True
        self._stopped_at = time.monotonic()
        loop = asyncio.get_running_loop()
        loop.call_later(min(IDLE_SECONDS, self._grace_seconds), self._close_idle)
        loop.call_later(min(LISTEN_SECONDS, self._grace_seconds), self.finish_if_done)
        # A stream notices the end of the grace at its next line; what hangs then is left behind.
        loop.call_later(self._grace_seconds + 0.5, self.done.set)

    def out_of_grace(self) -> bool:
        return time.monotonic() >= self._stopped_at + self._grace_seconds

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            if not connection.busy:
                connection.close()

    def finish_if_done(self) -> None:
        listened = time.monotonic() - self._stopped_at >= min(LISTEN_SECONDS, self._grace_seconds)
        if listened and not self.connections:
            self.done.set()
