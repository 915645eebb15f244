"""gRPC for the load generator: one unary call a request, told as HTTP's records are.

Lives here: the calls and what counts as what. When they are sent is `lab/load.py`'s to know.

A call that ends with OK has status 200 and one that ends with another code 500, with the code's name as
its error; one without an answer in time has none, as for HTTP (status 0). The version is the one in the
initial or the trailing metadata. Nothing is tried again: what failed once, its user saw.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

VERSION_KEY = "x-version"
OPTIONS = (
    # No proxy of this machine's, no retries, and a connection that was lost is made anew at once.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Calls:
    """Use: `await ask(url, host)`, and `await close()` at the end. One connection for each url and host."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._channels: dict[tuple[str, str | None], Any] = {}

    async def ask(self, url: str, host: str | None) -> tuple[int, str | None, str | None]:
        """One call of `grpc://address:port/package.Service/Method` with an empty message: its status, the
        version that answered, and what went wrong."""
        parts = urlsplit(url)
        call = self._channel(parts.netloc, host).unary_unary(parts.path)(b"", timeout=self._timeout_seconds)
        try:
            await call
            code, error = grpc.StatusCode.OK, None
        except grpc.aio.AioRpcError as problem:
            code, error = problem.code(), f"{problem.code().name}: {problem.details()}"
        version = _version(await call.initial_metadata()) or _version(await call.trailing_metadata())
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and version is None:
            return 0, None, error
        return (500 if error else 200), version, error

    def _channel(self, address: str, host: str | None) -> Any:
        if (address, host) not in self._channels:
            options = (*OPTIONS, *([("grpc.default_authority", host)] if host else []))
            self._channels[address, host] = grpc.aio.insecure_channel(address, options=options)
        return self._channels[address, host]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()


def _version(metadata: Any) -> str | None:
    return next((str(value) for key, value in metadata or () if key == VERSION_KEY), None)
