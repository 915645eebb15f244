"""Probes: one check of a container, and when a row of them is a verdict.

Lives here: HTTP, TCP, gRPC and exec checks, thresholds and timing. What follows from a verdict is the
container's business (container.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from lab.kubelet.api import Json

KNOCK_SECONDS = 0.03


class Outcome(Enum):
    OK = auto()
    BAD = auto()
    REFUSED = auto()
    """Nothing listens (yet)."""


@dataclass(frozen=True)
class Probe:
    """A probe with Kubernetes' defaults filled in."""

    check: Callable[[], Awaitable[Outcome]]
    delay_seconds: float
    period_seconds: float
    failures: int
    successes: int


def parse(spec: Json, container: Json, address: str, execute: Callable[[list[str]], Awaitable[int]]) -> Probe:
    """A probe from its manifest; `execute` runs a command as the container would."""
    timeout = spec.get("timeoutSeconds") or 1
    check: Callable[[], Awaitable[Outcome]]
    if "httpGet" in spec:
        check = _http(spec["httpGet"], container, address)
    elif "tcpSocket" in spec:
        target = spec["tcpSocket"]
        check = _tcp(target.get("host") or address, _port(target["port"], container))
    elif "grpc" in spec:
        check = _grpc(spec["grpc"], address, timeout)
    elif "exec" in spec:

        async def check() -> Outcome:
            return Outcome.BAD if await execute(spec["exec"]["command"]) else Outcome.OK

    else:
        raise ValueError(f"the lab's kubelet knows no probe {', '.join(spec)}")

    async def timed() -> Outcome:
        try:
            return await asyncio.wait_for(check(), timeout)
        except ConnectionRefusedError:
            return Outcome.REFUSED
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return Outcome.BAD  # a timeout is an OSError too

    return Probe(
        timed,
        spec.get("initialDelaySeconds") or 0,
        spec.get("periodSeconds") or 10,
        spec.get("failureThreshold") or 3,
        spec.get("successThreshold") or 1,
    )


async def verdicts(probe: Probe) -> AsyncIterator[bool]:
    """Probe for ever; yields whenever a threshold makes the verdict another one, the first included."""
    loop = asyncio.get_running_loop()
    verdict: bool | None = None
    streak, last = 0, Outcome.BAD
    tick = loop.time() + probe.delay_seconds
    await asyncio.sleep(probe.delay_seconds)
    outcome = await _first(probe, tick + probe.period_seconds)
    while True:
        good = outcome is Outcome.OK
        streak = streak + 1 if good == (last is Outcome.OK) else 1
        last = outcome
        if good != verdict and streak >= (probe.successes if good else probe.failures):
            verdict = good
            yield good
        tick = max(tick + probe.period_seconds, loop.time())
        await asyncio.sleep(tick - loop.time())
        outcome = await probe.check()


async def _first(probe: Probe, until: float) -> Outcome:
    """The first outcome. Within the first period a refused connection is no outcome but a process that
    is starting, and it is tried again at once: a real node would make each test wait a whole period."""
    while (outcome := await probe.check()) is Outcome.REFUSED:
        if asyncio.get_running_loop().time() + KNOCK_SECONDS >= until:
            break
        await asyncio.sleep(KNOCK_SECONDS)
    return outcome


def _port(port: int | str, container: Json) -> int:
    if isinstance(port, int):
        return port
    for known in container.get("ports", ()):
        if known.get("name") == port:
            return int(known["containerPort"])
    return int(port)


def _http(spec: Json, container: Json, address: str) -> Callable[[], Awaitable[Outcome]]:
    host, port = spec.get("host") or address, _port(spec["port"], container)
    headers = {"Host": f"{host}:{port}", "User-Agent": "kube-probe/lab", "Connection": "close"}
    headers |= {header["name"]: header["value"] for header in spec.get("httpHeaders", ())}
    lines = [
        f"GET {spec.get('path') or '/'} HTTP/1.1",
        *(f"{key}: {value}" for key, value in headers.items()),
    ]
    request = "\r\n".join([*lines, "", ""]).encode()

    async def check() -> Outcome:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            status = int((await reader.readuntil(b"\r\n")).split()[1])
        except IndexError:
            return Outcome.BAD
        finally:
            writer.close()
        return Outcome.OK if 200 <= status < 400 else Outcome.BAD

    return check


def _tcp(host: str, port: int) -> Callable[[], Awaitable[Outcome]]:
    async def check() -> Outcome:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return Outcome.OK

    return check


def _grpc(spec: Json, address: str, timeout_seconds: float) -> Callable[[], Awaitable[Outcome]]:
    """The health protocol's Check; its messages are small enough to be written out here."""
    target, name = f"{address}:{spec['port']}", (spec.get("service") or "").encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    serving = b"\x08\x01"

    async def check() -> Outcome:
        # It takes longer to import than all the rest, and few labs have such a probe.
        import grpc.aio

        options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            try:
                answer = await channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=timeout_seconds)
            except grpc.aio.AioRpcError as error:
                return Outcome.REFUSED if error.code() is grpc.StatusCode.UNAVAILABLE else Outcome.BAD
        return Outcome.OK if answer == serving else Outcome.BAD

    return check
