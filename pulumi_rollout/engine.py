"""The Pulumi engine, as seen from a dynamic provider: progress lines, and when to stop.

Lives here: what Pulumi does not hand to dynamic providers and we need all the same. Each way in is
described where it is used. Outside a provider process all of it is quiet.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
import time
from typing import Any

# One flag for the process: the engine cancels a whole update, not one resource.
_cancelled = threading.Event()

# When this process began, and an update with it.
STARTED_AT = time.time()

# More wall-clock time than this, missing from the monotonic clock, is a machine that was asleep.
SLEPT_SECONDS = 30.0


class Engine:
    """One rollout's line to the engine. + urn: the rollout's, so that messages are on its own row"""

    def __init__(self, urn: str) -> None:
        self._urn = urn
        self._address = _engine_address()
        self._stub = _log_stub(self._address) if self._address else None
        self._awake = time.time() - time.monotonic()
        self._reason: str | None = None
        if self._address:
            _listen_for_cancel()

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    def say(self, message: str, *, keep: bool = False) -> None:
        """Show a message on the rollout's row; `keep` leaves it in the summary as well."""
        self._log("INFO", message, ephemeral=not keep)

    def warn(self, message: str) -> None:
        """Show a warning, which stays."""
        self._log("WARNING", message, ephemeral=False)

    def stop_reason(self) -> str | None:
        """Why the walk has to end, or None: a cancelled update, an engine that is gone, a machine
        that slept. Once given, a reason stays."""
        if self._reason is None:
            self._reason = self._find_reason()
        return self._reason

    def is_cancelled(self) -> bool:
        """Whether the update was cancelled: after a second Ctrl-C there are 5 s left."""
        return _cancelled.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until the update is cancelled."""
        if self._reason is None:
            _cancelled.wait(seconds)
        else:
            time.sleep(seconds)

    def _find_reason(self) -> str | None:
        if _cancelled.is_set():
            return "the update was cancelled"
        awake = time.time() - time.monotonic()
        asleep, self._awake = awake - self._awake, awake
        if asleep > SLEPT_SECONDS:
            return f"this machine was asleep for {asleep:.0f} s, and nobody watched the new version"
        if self._address and not _listens(self._address):
            return "the Pulumi CLI is gone"
        return None

    def _log(self, severity: str, message: str, *, ephemeral: bool) -> None:
        if self._stub is None:
            return
        import grpc
        from pulumi.runtime.proto import engine_pb2

        request = engine_pb2.LogRequest(
            severity=getattr(engine_pb2, severity), urn=self._urn, message=message, ephemeral=ephemeral
        )
        # A lost engine is noticed by stop_reason, not by a log line.
        with contextlib.suppress(grpc.RpcError):
            self._stub.Log(request, timeout=2)


def _engine_address() -> str | None:
    """The engine passes its address as the provider's last argument."""
    last = sys.argv[-1] if len(sys.argv) > 1 else ""
    return last if re.fullmatch(r"127\.0\.0\.1:\d+", last) else None


def _log_stub(address: str) -> Any:
    import grpc
    from pulumi.runtime.proto import engine_pb2_grpc

    return engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))


def _listens(address: str) -> bool:
    """Whether the engine is still there. A killed CLI leaves the provider running, so that its
    parent's id tells nothing; its closed port does."""
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return True


def _listen_for_cancel() -> None:
    """Learn of the first Ctrl-C. The SDK's servicer answers the Cancel call with an empty message and
    tells nobody; the module that it takes the message from is looked up at each call, so a stand-in
    for that module sees which handler asks. (pulumi 3.258, pulumi/dynamic/__main__.py.)"""
    servicer: Any = sys.modules["__main__"]
    if hasattr(servicer, "DynamicResourceProviderServicer") and not isinstance(servicer.empty_pb2, _CancelSpy):
        servicer.empty_pb2 = _CancelSpy(servicer.empty_pb2)


class _CancelSpy:
    """Stands in for the protobuf module inside the servicer."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def Empty(self) -> Any:
        if sys._getframe(1).f_code.co_name == "Cancel":
            _cancelled.set()
        return self._module.Empty()
