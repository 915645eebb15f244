"""What the plugin says besides its answers: errors, partial failures, and lines on a resource's row.

Lives here: the gRPC ends of an exception, and the engine's log. When they happen is decided elsewhere.
"""

from __future__ import annotations

import contextlib
from collections import namedtuple
from typing import NoReturn

import grpc
from google.protobuf import any_pb2, struct_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, status_pb2
from pulumi.runtime.proto import provider_pb2 as pb

_Status = namedtuple("_Status", ("code", "details", "trailing_metadata"))


class Partial(Exception):
    """The object exists, but is not as it should be: Pulumi keeps it, and what went wrong with it."""

    def __init__(
        self,
        identifier: str,
        message: str,
        reasons: list[str],
        properties: struct_pb2.Struct,
        inputs: struct_pb2.Struct | None = None,
    ) -> None:
        super().__init__(message)
        self.detail = pb.ErrorResourceInitFailed(
            id=identifier, properties=properties, reasons=[message, *reasons], inputs=inputs
        )


class Engine:
    """The engine's side of the conversation; it may be absent (tests) or gone."""

    def __init__(self, address: str) -> None:
        self._stub: engine_pb2_grpc.EngineStub | None = None
        if address:
            self.attach(address)

    def attach(self, address: str) -> None:
        self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def status(self, urn: str, message: str) -> None:
        """Show a passing message on the resource's own row."""
        if self._stub is None:
            return
        request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn, ephemeral=True)
        with contextlib.suppress(grpc.RpcError):
            self._stub.Log(request, timeout=5)


def abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """End the call with this error; a Partial carries its object along."""
    if not isinstance(error, Partial):
        context.abort(grpc.StatusCode.UNKNOWN, str(error) or type(error).__name__)
        raise error  # not reached: abort raises, which its missing types do not tell
    packed = any_pb2.Any()
    packed.Pack(error.detail)
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error), details=[packed])
    trailer = (("grpc-status-details-bin", status.SerializeToString()),)
    context.abort_with_status(_Status(grpc.StatusCode.UNKNOWN, str(error), trailer))
    raise error
