"""In kube-proxy's place: each connection to a ClusterIP goes to one ready endpoint of its Service.

Lives here: Services and EndpointSlices watched, listeners, and pipes between two sockets. As with
kube-proxy, a change of endpoints or of a selector matters to new connections only, an endpoint that
refuses is not replaced by another one, and without a ready endpoint a connection is refused (here: reset
as soon as it is made). TCP only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import socket
import struct
from collections.abc import Set
from pathlib import Path
from typing import Any, cast

from lab.kubelet.api import Api, connect

Address = tuple[str, int]
Json = dict[str, Any]
CONNECT_SECONDS = 5.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Pipe(asyncio.Protocol):
    """One side of a forwarded connection: bytes, back-pressure and half-closes go to the other side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Pipe | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end on, and keep our own way open until the other side ends too."""
        self._ended = True
        if self.other and self.other.transport and not self.other.transport.is_closing():
            self.other.transport.write_eof()
            return not self.other._ended
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other and self.other.transport:
            if exc or not self._ended:
                reset(self.other.transport)
            else:
                self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()


class Inbound(Pipe):
    """The client's side: chooses an endpoint as soon as the connection is there."""

    def __init__(self, forwarder: Forwarder, service: Address) -> None:
        super().__init__()
        self._forwarder = forwarder
        self._service = service

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        endpoints = self._forwarder.endpoints(self._service)
        if not endpoints:
            reset(transport)
            return
        client = cast(asyncio.Transport, transport)
        # What the client says before the other side is there waits in the kernel.
        client.pause_reading()
        self._forwarder.spawn(self._reach(client, random.choice(endpoints)))

    async def _reach(self, client: asyncio.Transport, endpoint: Address) -> None:
        outbound = Pipe()
        outbound.other = self
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: outbound, *endpoint)
        except OSError:
            reset(client)
            return
        self.other = outbound
        if client.is_closing():
            reset(outbound.transport)
        else:
            client.resume_reading()


def reset(transport: asyncio.BaseTransport | None) -> None:
    """End a connection as one that broke: what is unsent is dropped, and the peer learns at once."""
    if isinstance(transport, asyncio.Transport):
        if sock := transport.get_extra_info("socket"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()


class Forwarder:
    """Which Services there are, where they lead, and a listener for each of their ports."""

    def __init__(self) -> None:
        self._services: dict[str, Json] = {}
        self._slices: dict[str, Json] = {}
        self._routes: dict[Address, list[Address]] = {}
        self._listeners: dict[Address, asyncio.Server] = {}
        self._listening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def endpoints(self, service: Address) -> list[Address]:
        return self._routes.get(service, [])

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def follow(self, api: Api, path: str, known: dict[str, Json]) -> None:
        """Keep `known` as the API has it, and act on each change before the next one is read."""
        async for kind, seen in api.watch(path):
            if kind == "LISTED":
                known.clear()
                known.update((key(found), found) for found in seen)
            elif kind == "DELETED":
                known.pop(key(seen), None)
            else:
                known[key(seen)] = seen
            await self._refresh()

    async def _refresh(self) -> None:
        self._routes = routed(list(self._services.values()), list(self._slices.values()))
        async with self._listening:
            await self._listen(self._routes.keys())

    async def _listen(self, wanted: Set[Address]) -> None:
        for address in self._listeners.keys() - wanted:
            self._listeners.pop(address).close()
        loop = asyncio.get_running_loop()
        for address in wanted - self._listeners.keys():
            try:
                self._listeners[address] = await loop.create_server(
                    lambda address=address: Inbound(self, address),  # type: ignore[misc]
                    *address,
                    backlog=1024,
                )
            except OSError as error:
                print(f"cannot listen on {address[0]}:{address[1]}: {error}", flush=True)

    async def run(self, api: Api) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.follow(api, "/api/v1/services", self._services))
            slices = "/apis/discovery.k8s.io/v1/endpointslices"
            group.create_task(self.follow(api, slices, self._slices))


def key(found: Json) -> str:
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}"


def routed(services: list[Json], slices: list[Json]) -> dict[Address, list[Address]]:
    """ClusterIP and port -> ready endpoints, for every TCP port of every Service that has a ClusterIP."""
    by_service: dict[str, list[Json]] = {}
    for one in slices:
        name = one["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        by_service.setdefault(f"{one['metadata']['namespace']}/{name}", []).append(one)
    routes: dict[Address, list[Address]] = {}
    for service in services:
        address = service["spec"].get("clusterIP") or "None"
        for port in service["spec"].get("ports", ()) if address != "None" else ():
            if port.get("protocol", "TCP") == "TCP":
                mine = by_service.get(key(service), [])
                routes[address, port["port"]] = _ready(mine, port.get("name") or "")
    return routes


def _ready(slices: list[Json], port_name: str) -> list[Address]:
    return [
        (address, port["port"])
        for one in slices
        for port in one.get("ports") or ()
        if (port.get("name") or "") == port_name
        for endpoint in one.get("endpoints") or ()
        # An endpoint that does not say is to be taken as ready.
        if endpoint.get("conditions", {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]


async def run(kubeconfig: Path) -> None:
    async with connect(kubeconfig) as api:
        work = asyncio.create_task(Forwarder().run(api))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.forwarder", description="ClusterIPs of the lab.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    asyncio.run(run(parser.parse_args().kubeconfig))


if __name__ == "__main__":
    main()
