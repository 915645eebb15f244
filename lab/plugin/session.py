"""One configured provider: its settings, its cluster, and what the engine asks besides the resources.

Lives here: the half of the service that is about the provider itself, and what the other half stands on:
how a call ends, and how many are under way. Resources are `provider.py`'s.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as pb

from lab.plugin.answers import Engine, abort
from lab.plugin.api import Api, ApiError, NoKind, Unreachable
from lab.plugin.apply import Writer
from lab.plugin.settings import Settings, diff_settings, settings
from lab.plugin.values import Object, from_struct, has_unknown, plain

Method = Callable[[Any, Any], Any]


def operation(method: Method) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
    """A method of the service: its exceptions become gRPC errors, and it counts as work in flight."""

    @functools.wraps(method)
    def serve(self: Session, request: Any, context: grpc.ServicerContext) -> Any:
        with self.lock:
            self.in_flight += 1
        try:
            return method(self, request)
        except Exception as error:  # the engine must hear of every failure, whatever it is
            abort(context, error)
        finally:
            with self.lock:
                self.in_flight -= 1

    return serve


class Session(provider_pb2_grpc.ResourceProviderServicer):
    """One cluster, many requests at once."""

    def __init__(self, engine: Engine, version: str) -> None:
        self.lock = threading.Lock()
        self.in_flight = 0
        self.engine = engine
        self.cancelled = threading.Event()
        self.settings = Settings()
        self.namespace = "default"
        self.keep_secrets = True
        self.api: Api | None = None
        self._version = version
        self._why = "the provider was not configured"

    @property
    def cluster(self) -> Api:
        """The API server. Raises Unreachable if it did not answer when the provider was configured."""
        if self.api is None:
            raise Unreachable(f"there is no cluster to work on: {self._why}")
        return self.api

    @property
    def writer(self) -> Writer:
        return Writer(self.cluster, self.cancelled, self.settings.force_always, self.settings.upsert)

    @property
    def given_up(self) -> bool:
        """There is no cluster, and the user wants its objects to count as gone."""
        return self.api is None and self.settings.delete_unreachable

    def namespaced(self, inputs: Object) -> bool:
        """Whether the kind lives in namespaces; a kind whose CRD is still to come is assumed to."""
        try:
            return self.api is None or bool(
                self.api.resource(inputs.get("apiVersion", ""), inputs.get("kind", ""))["namespaced"]
            )
        except NoKind:
            return True

    def previewable(self, inputs: Object) -> bool:
        """Whether the API server could dry-run these inputs."""
        if has_unknown(inputs) or self.api is None:
            return False
        try:
            self.api.resource(inputs["apiVersion"], inputs["kind"])
        except NoKind:
            return False
        return True

    @operation
    def CheckConfig(self, request: pb.CheckRequest) -> pb.CheckResponse:
        return pb.CheckResponse(inputs=request.news)

    @operation
    def DiffConfig(self, request: pb.DiffRequest) -> pb.DiffResponse:
        return diff_settings(plain(from_struct(request.olds)), plain(from_struct(request.news)))

    @operation
    def Configure(self, request: pb.ConfigureRequest) -> pb.ConfigureResponse:
        self.settings = settings(dict(request.variables))
        self.keep_secrets = request.acceptSecrets
        try:
            api = Api(self.settings.kubeconfig, self.settings.context, self.settings.cluster)
            api.request("GET", "/version", timeout_seconds=10)
            self.api = api
            self.namespace = self.settings.namespace or api.namespace
        except (Unreachable, ApiError, OSError, ValueError) as error:
            # Only what really needs the cluster fails, and later: a program may be about to make it.
            self._why = str(error)
        return pb.ConfigureResponse(acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True)

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.cancelled.set()
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: pb.GetSchemaRequest, context: grpc.ServicerContext) -> pb.GetSchemaResponse:
        return pb.GetSchemaResponse(schema=json.dumps({"name": "kubernetes", "version": self._version}))

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.engine.attach(request.address)
        return empty_pb2.Empty()

    @operation
    def Invoke(self, request: pb.InvokeRequest) -> pb.InvokeResponse:
        raise ValueError(f"the stand-in plugin has no functions: {request.tok} needs the official plugin")

    @operation
    def Construct(self, request: pb.ConstructRequest) -> pb.ConstructResponse:
        raise ValueError(f"the stand-in plugin has no components: {request.type} needs the official plugin")
