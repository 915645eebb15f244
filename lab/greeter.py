"""`python -m lab.greeter`: the lab's sample application for gRPC, with the faults of its HTTP sister.

Lives here: the methods by their names and what they answer, without generated code: messages are bytes,
and those that others give a shape to (health) are written out. What can be wrong is in lab/app/faults.py.

The version is in the initial metadata of an answer, and in the trailing metadata of a failure. A failure is
a gRPC status over HTTP 200, which a proxy that looks at HTTP alone takes for a success; it comes without
an answer before it, as servers mostly do it for a unary method.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from lab.app.condition import Condition
from lab.app.faults import Faults

SERVICE, HEALTH = "lab.Greeter", "grpc.health.v1.Health"
GREET, FAULTS = f"/{SERVICE}/Greet", f"/{SERVICE}/Faults"
VERSION_KEY = "x-version"
# HealthCheckResponse with its one field.
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
LISTEN_SECONDS = 2.0
"""How long it serves on after SIGTERM: proxies learn of it late, up to a second or so."""

Context = Any
"""grpc.aio.ServicerContext; the grpc package has no types."""
Method = Callable[[bytes, Context], Awaitable[bytes]]


@dataclass(frozen=True)
class GrpcFaults(Faults):
    """+ error_code: the status of failures, by its number: 13 is INTERNAL, 14 UNAVAILABLE"""

    error_code: float = grpc.StatusCode.INTERNAL.value[0]


class Greeter:
    """The methods."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.version = environ.get("VERSION", "unknown")
        self.condition = Condition(GrpcFaults(), environ)

    async def greet(self, request: bytes, context: Context) -> bytes:
        faults = self.condition.faults
        if faults.hang:
            await asyncio.Event().wait()
        if faults.delay_seconds:
            await asyncio.sleep(faults.delay_seconds)
        version = ((VERSION_KEY, self.version),)
        if self.condition.fails():
            await context.abort(_code(faults.error_code), "injected fault", trailing_metadata=version)
        await context.send_initial_metadata(version)
        return b"hello from " + self.version.encode()

    async def change_faults(self, request: bytes, context: Context) -> bytes:
        """As `POST /faults` of the HTTP application: JSON in, JSON out."""
        try:
            self.condition.change(dict(json.loads(request or b"{}")))
        except (TypeError, ValueError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return json.dumps(self.condition.told()).encode()

    async def check_health(self, request: bytes, context: Context) -> bytes:
        if self.condition.faults.hang == 1:
            await asyncio.Event().wait()
        return SERVING if self.condition.ready() else NOT_SERVING

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            _service(SERVICE, Greet=self.greet, Faults=self.change_faults),
            _service(HEALTH, Check=self.check_health),
        ]


def _code(number: float) -> grpc.StatusCode:
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)


def _service(name: str, **methods: Method) -> grpc.GenericRpcHandler:
    handlers = {key: grpc.unary_unary_rpc_method_handler(method) for key, method in methods.items()}
    return grpc.method_handlers_generic_handler(name, handlers)


async def serve(environ: dict[str, str]) -> None:
    """Until SIGTERM; then not ready, serving on for a while, and $GRACE_SECONDS for what is under way."""
    greeter = Greeter(environ)
    # Two processes must not share a port: the second one is a mistake.
    server = grpc.aio.server(handlers=greeter.handlers(), options=(("grpc.so_reuseport", 0),))
    server.add_insecure_port(f"{environ.get('POD_IP', '0.0.0.0')}:{environ.get('PORT') or '9999'}")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    greeter.condition.arm()
    await stopped.wait()
    greeter.condition.draining = True
    grace_seconds = float(environ.get("GRACE_SECONDS", "20"))
    await asyncio.sleep(min(LISTEN_SECONDS, grace_seconds))
    await server.stop(grace_seconds)


def ask_faults(address: str, faults: str) -> int:
    """Send another one's faults (JSON) to it, print what it has then, or say on stderr why it refused."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            print(channel.unary_unary(FAULTS)(faults.encode(), timeout=5).decode())
        except grpc.RpcError as error:
            print(error.details(), file=sys.stderr)
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.greeter", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faults", nargs=2, metavar=("ADDRESS", "JSON"), help="change another one's faults")
    if options := parser.parse_args().faults:
        return ask_faults(*options)
    asyncio.run(serve(dict(os.environ)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
