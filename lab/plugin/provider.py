"""The gRPC service: what the engine asks, in terms of the other files.

Lives here: request in, answer out. How a thing is written, waited for or compared is not.
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

from lab.plugin import diff, waiting
from lab.plugin.answers import Engine, Partial, abort
from lab.plugin.api import Api, ApiError, NoKind, Unreachable
from lab.plugin.apply import Conflict, NoNamespace, Writer
from lab.plugin.names import autoname, identifier, imported, manager_name, place_of, refuse, type_token
from lab.plugin.settings import Settings, diff_settings, settings
from lab.plugin.values import (
    API_VERSION,
    Object,
    annotation,
    checkpoint,
    from_struct,
    has_unknown,
    mark_secrets,
    metadata,
    normalize,
    parse_checkpoint,
    plain,
    prune,
    to_struct,
)

ALREADY_EXISTS = (
    "The resource already exists in the cluster. It may have been renamed in the program (use an alias), "
    "belong to somebody else (use a Patch resource), or have to be adopted (`pulumi import`, or the "
    "provider's upsertExistingObjects)."
)
Operation = Callable[["Provider", Any], Any]
Method = Callable[["Provider", Any, grpc.ServicerContext], Any]


def operation(method: Operation) -> Method:
    """A method of the service: its exceptions become gRPC errors, and it counts as work in flight."""

    @functools.wraps(method)
    def serve(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
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


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One configured provider: one cluster, many requests at once."""

    def __init__(self, engine: Engine, version: str) -> None:
        self.lock = threading.Lock()
        self.in_flight = 0
        self._engine = engine
        self._version = version
        self._cancelled = threading.Event()
        self._settings = Settings()
        self._api: Api | None = None
        self._why = "the provider was not configured"
        self._namespace = "default"
        self._keep_secrets = True

    @property
    def _cluster(self) -> Api:
        if self._api is None:
            raise Unreachable(f"configured Kubernetes cluster is unreachable: {self._why}")
        return self._api

    @property
    def _writer(self) -> Writer:
        return Writer(self._cluster, self._cancelled, self._settings.force_always, self._settings.upsert)

    @operation
    def CheckConfig(self, request: pb.CheckRequest) -> pb.CheckResponse:
        return pb.CheckResponse(inputs=request.news)

    @operation
    def DiffConfig(self, request: pb.DiffRequest) -> pb.DiffResponse:
        return diff_settings(plain(from_struct(request.olds)), plain(from_struct(request.news)))

    @operation
    def Configure(self, request: pb.ConfigureRequest) -> pb.ConfigureResponse:
        self._settings = settings(dict(request.variables))
        self._keep_secrets = request.acceptSecrets
        try:
            api = Api(self._settings.kubeconfig, self._settings.context, self._settings.cluster)
            api.request("GET", "/version", timeout_seconds=10)
            self._api = api
            self._namespace = self._settings.namespace or api.namespace
        except (Unreachable, ApiError, OSError, ValueError) as error:
            # As in the official plugin only what really needs the cluster fails, and later.
            self._why = str(error)
        return pb.ConfigureResponse(acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True)

    @operation
    def Check(self, request: pb.CheckRequest) -> pb.CheckResponse:
        given = from_struct(request.news)
        inputs, olds = normalize(plain(given)), plain(from_struct(request.olds))
        refuse(type_token(request.urn), inputs)
        named = metadata(inputs)
        if "metadata" not in inputs:
            inputs["metadata"] = named
        if inputs["metadata"] is named:
            autoname(named, olds, request)
            if not named.get("namespace") and self._namespaced(inputs):
                named["namespace"] = self._namespace
        mark_secrets(inputs, given)
        return pb.CheckResponse(inputs=to_struct(inputs, self._keep_secrets))

    @operation
    def Diff(self, request: pb.DiffRequest) -> pb.DiffResponse:
        old_inputs, live = parse_checkpoint(from_struct(request.olds))
        new = normalize(plain(from_struct(request.news)))
        old = prune(live, normalize(old_inputs))
        for side in (old, new):
            if "metadata" in side and not isinstance(side["metadata"], dict):
                continue
            if self._namespaced(new):
                metadata(side)["namespace"] = metadata(side).get("namespace") or "default"
            else:
                metadata(side).pop("namespace", None)
        if metadata(new).get("name"):
            metadata(old)["name"] = metadata(live)["name"]
        flags = self._settings.mutable_config_maps, self._settings.mutable_secrets
        changes = diff.detailed(old, new, diff.force_new(new, *flags), list(request.ignoreChanges))
        replaces = diff.replaced(changes)
        return pb.DiffResponse(
            changes=pb.DiffResponse.DIFF_SOME if changes else pb.DiffResponse.DIFF_NONE,
            replaces=replaces,
            # Only an object that keeps its name and place has to make room first.
            deleteBeforeReplace=bool(replaces)
            and annotation(new, "autonamed") != "true"
            and identifier(new) == identifier(live),
            detailedDiff=changes,
            hasDetailedDiff=True,
        )

    @operation
    def Create(self, request: pb.CreateRequest) -> pb.CreateResponse:
        given = from_struct(request.properties)
        inputs = plain(given)
        if request.preview and not self._previewable(inputs):
            return pb.CreateResponse(properties=request.properties)
        manager = manager_name({}, inputs)
        try:
            live = self._writer.create(inputs, manager, request.preview)
        except (ApiError, Conflict, NoNamespace) as error:
            if request.preview and _preview_may_fail(error):
                return pb.CreateResponse(properties=request.properties)
            hint = f"\n\n{ALREADY_EXISTS}" if getattr(error, "reason", "") == "AlreadyExists" else ""
            words = f'resource "{request.urn}" was not successfully created by the Kubernetes API server'
            raise RuntimeError(f"{words}: {error}{hint}") from error
        if request.preview:
            live.pop("status", None)
            state = checkpoint(inputs, live, given, inputs["apiVersion"], manager)
            return pb.CreateResponse(properties=to_struct(state, self._keep_secrets))
        if inputs.get("kind") == "CustomResourceDefinition":
            self._cluster.forget_kinds()
        live, problem = self._wait(request, inputs, live)
        state = checkpoint(inputs, live, given, inputs["apiVersion"], manager)
        properties = to_struct(state, self._keep_secrets)
        if problem:
            words = (
                f'resource "{request.urn}" was successfully created, but the Kubernetes API server '
                f"reported that it failed to fully initialize or become live: {problem}"
            )
            raise Partial(identifier(live), words, _reasons(problem), properties) from problem
        return pb.CreateResponse(id=identifier(live), properties=properties)

    @operation
    def Update(self, request: pb.UpdateRequest) -> pb.UpdateResponse:
        state, given = from_struct(request.olds), from_struct(request.news)
        inputs = normalize(plain(given))
        old_inputs, old = parse_checkpoint(state)
        if request.preview and not self._previewable(inputs):
            return pb.UpdateResponse(properties=request.news)
        api_version = plain(state).get(API_VERSION) or old_inputs.get("apiVersion", "")
        former, manager = manager_name(state, old_inputs), manager_name(state, inputs)
        problem: Exception | None = None
        try:
            live = self._writer.update(old, inputs, manager, list(request.ignoreChanges), request.preview)
            if not request.preview:
                live, problem = self._wait(request, inputs, live)
        except NoKind as error:
            raise RuntimeError(f'update of resource "{request.urn}" failed: {error}') from error
        except (ApiError, Conflict) as error:
            if request.preview and getattr(error, "reason", "") == "Forbidden":
                return pb.UpdateResponse(properties=request.news)
            # What the cluster has is what the state must say, also after a refusal.
            problem, live = error, self._cluster.get(old)
        properties = to_struct(checkpoint(inputs, live, given, api_version, manager), self._keep_secrets)
        if problem:
            words = (
                f'the Kubernetes API server reported that "{identifier(live)}" failed to fully initialize '
                f"or become live: {problem}"
            )
            raise Partial(identifier(live), words, _reasons(problem), properties) from problem
        if former != manager and not request.preview:
            self._writer.relinquish(live, former)
        return pb.UpdateResponse(properties=properties)

    @operation
    def Read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        if self._api is None and self._settings.delete_unreachable:
            return pb.ReadResponse()
        state, given = from_struct(request.properties), from_struct(request.inputs)
        inputs, old = normalize(plain(given)), parse_checkpoint(state)[1]
        first = not (inputs.get("kind") or old.get("kind"))
        namespace, _, name = request.id.rpartition("/")
        place = place_of(request.urn, inputs, old, namespace, name)
        try:
            live = self._cluster.get(place)
            missing = [] if first else waiting.ready_now(self._cluster, inputs, live)
        except ApiError as error:
            if error.code != 404:
                raise
            return pb.ReadResponse()
        read = imported(live) if first else prune(live, inputs or place)
        api_version = plain(state).get(API_VERSION) or place["apiVersion"]
        manager = manager_name(state, place)
        properties = to_struct(checkpoint(read, live, given, api_version, manager), self._keep_secrets)
        mark_secrets(read, given)
        read_struct = to_struct(read, self._keep_secrets)
        if missing:
            words = f"Resource '{name}' was created but failed to initialize"
            raise Partial(request.id, words, missing, properties, read_struct)
        return pb.ReadResponse(id=request.id, properties=properties, inputs=read_struct)

    @operation
    def Delete(self, request: pb.DeleteRequest) -> empty_pb2.Empty:
        if self._api is None and self._settings.delete_unreachable:
            return empty_pb2.Empty()
        state = from_struct(request.properties)
        inputs, live = parse_checkpoint(state)
        metadata(live)["name"] = request.id.rpartition("/")[2]
        self._writer.delete(live, annotation(inputs, "deletionPropagationPolicy"))
        seconds = waiting.timeout_seconds(request.timeout, inputs)
        try:
            waiting.until_gone(self._cluster, inputs, live, seconds, self._cancelled)
        except waiting.NotReady as error:
            saved = checkpoint(live, error.live, state, plain(state).get(API_VERSION, ""), manager_name(state, inputs))
            properties = to_struct(saved, self._keep_secrets)
            raise Partial(request.id, str(error), error.reasons, properties) from error
        if live.get("kind") == "CustomResourceDefinition":
            self._cluster.forget_kinds()
        return empty_pb2.Empty()

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._cancelled.set()
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: pb.GetSchemaRequest, context: grpc.ServicerContext) -> pb.GetSchemaResponse:
        return pb.GetSchemaResponse(schema=json.dumps({"name": "kubernetes", "version": self._version}))

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._engine.attach(request.address)
        return empty_pb2.Empty()

    @operation
    def Invoke(self, request: pb.InvokeRequest) -> pb.InvokeResponse:
        raise ValueError(f"the stand-in plugin has no functions: {request.tok} needs the official plugin")

    @operation
    def Construct(self, request: pb.ConstructRequest) -> pb.ConstructResponse:
        raise ValueError(f"the stand-in plugin has no components: {request.type} needs the official plugin")

    def _namespaced(self, inputs: Object) -> bool:
        """Whether the kind lives in namespaces; a kind whose CRD is still to come is assumed to."""
        try:
            return self._api is None or bool(
                self._api.resource(inputs.get("apiVersion", ""), inputs.get("kind", ""))["namespaced"]
            )
        except NoKind:
            return True

    def _previewable(self, inputs: Object) -> bool:
        if has_unknown(inputs) or self._api is None:
            return False
        try:
            self._api.resource(inputs["apiVersion"], inputs["kind"])
        except NoKind:
            return False
        return True

    def _wait(self, request: Any, inputs: Object, live: Object) -> tuple[Object, Exception | None]:
        """The live object when it is ready, or as last seen with what went wrong."""
        seconds = waiting.timeout_seconds(request.timeout, inputs)
        say = functools.partial(self._engine.status, request.urn)
        try:
            return waiting.until_ready(self._cluster, inputs, live, seconds, self._cancelled, say), None
        except waiting.NotReady as error:
            return error.live, error
        except (ApiError, Unreachable, ValueError) as error:
            return live, error
        finally:
            say("")  # what was waited for is no longer news


def _reasons(problem: Exception) -> list[str]:
    return list(getattr(problem, "reasons", ()))


def _preview_may_fail(error: Exception) -> bool:
    reason = getattr(error, "reason", "")
    return isinstance(error, NoNamespace) or reason in ("Forbidden", "AlreadyExists")
