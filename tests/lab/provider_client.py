"""Drives a provider plugin as the engine does, across the lab's network border.

Lives here: the client for tests/lab/test_plugin.py. What is expected of the plugin is not.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import yaml
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb
from pulumi.runtime.proto import provider_pb2_grpc, status_pb2

from lab.cluster import Lab
from lab.plugin.api import Api
from lab.plugin.values import Object, from_struct, to_struct

PLUGIN = "pulumi-resource-kubernetes"


class Bridge:
    """A local port that leads to a port inside the lab: a socket belongs to where it was made."""

    def __init__(self, lab: Lab, port: int) -> None:
        self._lab, self._port = lab, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        self._lab.enter()
        while True:
            try:
                outside, _ = self._listener.accept()
            except OSError:
                return
            try:
                inside = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                outside.close()
                continue
            for source, target in ((outside, inside), (inside, outside)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def api(lab: Lab) -> Api:
    """The lab's API server, for looking at what the plugin did."""
    config = yaml.safe_load(lab.kubeconfig.read_text())
    bridges: dict[int, int] = {}
    for entry in config["clusters"]:
        server, _, port = entry["cluster"]["server"].rpartition(":")
        outer = bridges.setdefault(int(port), 0) or Bridge(lab, int(port)).port
        bridges[int(port)] = outer
        entry["cluster"]["server"] = f"{server}:{outer}"
    return Api(yaml.safe_dump(config))


class PartialFailure(Exception):
    """The plugin's partial failure: what is to be saved, and why."""

    def __init__(self, detail: pb.ErrorResourceInitFailed) -> None:
        super().__init__("\n".join(detail.reasons))
        self.properties = from_struct(detail.properties)
        self.reasons = list(detail.reasons)


class Refused(Exception):
    """The plugin's plain error."""


@dataclass
class Client:
    """One running, configured plugin process."""

    stub: provider_pb2_grpc.ResourceProviderStub
    process: subprocess.Popen[str]

    def call(self, method: str, request: Any, timeout_seconds: float = 60) -> Any:
        """One call; a gRPC error becomes Refused or PartialFailure."""
        try:
            return getattr(self.stub, method)(request, timeout=timeout_seconds)
        except grpc.RpcError as error:
            trailers = dict(error.trailing_metadata() or ())
            status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
            for packed in status.details:
                detail = pb.ErrorResourceInitFailed()
                if packed.Unpack(detail):
                    raise PartialFailure(detail) from error
            raise Refused(error.details()) from error

    def check(self, obj: Object, olds: Object | None = None, urn: str = "", **more: Any) -> Object:
        request = pb.CheckRequest(urn=urn or urn_of(obj), news=to_struct(obj), **more)
        if olds is not None:
            request.olds.update(to_struct(olds))
        request.randomSeed = b"seed"
        return from_struct(self.call("Check", request).inputs)

    def diff(self, state: Object, inputs: Object, ignored: tuple[str, ...] = ()) -> pb.DiffResponse:
        request = pb.DiffRequest(
            id="x", urn=urn_of(inputs), olds=to_struct(state), news=to_struct(inputs), ignoreChanges=ignored
        )
        return self.call("Diff", request)

    def create(self, inputs: Object, preview: bool = False, timeout: float = 0) -> tuple[str, Object]:
        request = pb.CreateRequest(urn=urn_of(inputs), properties=to_struct(inputs), preview=preview, timeout=timeout)
        answer = self.call("Create", request)
        return answer.id, from_struct(answer.properties)

    def made(self, obj: Object) -> Object:
        """Check and create, as the engine does: the state that is saved."""
        return self.create(self.check(obj))[1]

    def update(self, state: Object, inputs: Object, preview: bool = False, ignored: tuple[str, ...] = ()) -> Object:
        request = pb.UpdateRequest(
            id=id_of(state),
            urn=urn_of(inputs),
            olds=to_struct(state),
            news=to_struct(inputs),
            preview=preview,
            ignoreChanges=ignored,
        )
        return from_struct(self.call("Update", request).properties)

    def read(self, identifier: str, urn: str, state: Object, inputs: Object) -> tuple[str, Object, Object]:
        request = pb.ReadRequest(id=identifier, urn=urn, properties=to_struct(state), inputs=to_struct(inputs))
        answer = self.call("Read", request)
        return answer.id, from_struct(answer.properties), from_struct(answer.inputs)

    def delete(self, state: Object, timeout: float = 0) -> None:
        request = pb.DeleteRequest(id=id_of(state), urn=urn_of(state), properties=to_struct(state), timeout=timeout)
        self.call("Delete", request)

    def cancel(self) -> None:
        self.call("Cancel", empty_pb2.Empty())


def urn_of(obj: Object) -> str:
    group = obj["apiVersion"] if "/" in obj["apiVersion"] else f"core/{obj['apiVersion']}"
    return f"urn:pulumi:test::contract::kubernetes:{group}:{obj['kind']}::res"


def id_of(state: Object) -> str:
    named = state["metadata"]
    return f"{named['namespace']}/{named['name']}" if named.get("namespace") else str(named["name"])


@contextlib.contextmanager
def running(lab: Lab, **config: str) -> Iterator[Client]:
    """A plugin process inside the lab: the official one where that is on PATH, else the stand-in."""
    environment = lab.environment()
    program = shutil.which(PLUGIN, path=environment["PATH"])
    process = subprocess.Popen(
        lab.command(str(program), "127.0.0.1:1"), env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        bridge = Bridge(lab, int(process.stdout.readline()))  # type: ignore[union-attr]
        with grpc.insecure_channel(f"127.0.0.1:{bridge.port}") as channel:
            client = Client(provider_pb2_grpc.ResourceProviderStub(channel), process)
            variables = {"kubeconfig": str(lab.kubeconfig), **config}
            prefixed = {f"kubernetes:config:{key}": value for key, value in variables.items()}
            client.call("Configure", pb.ConfigureRequest(variables=prefixed, acceptSecrets=True))
            yield client
        bridge.close()
    finally:
        process.terminate()
        process.wait(10)
