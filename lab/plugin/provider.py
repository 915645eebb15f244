"""The gRPC service: what the engine asks about resources, in terms of the other files.

Lives here: request in, answer out. How a thing is written, waited for or compared is not.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2 as pb

from lab.plugin import diff, waiting
from lab.plugin.answers import Partial
from lab.plugin.api import ApiError, NoKind, Unreachable
from lab.plugin.apply import Conflict, NoNamespace
from lab.plugin.names import autoname, identifier, imported, manager_name, place_of, refuse, type_token
from lab.plugin.session import Session, operation
from lab.plugin.values import (
    API_VERSION,
    Object,
    annotation,
    checkpoint,
    from_struct,
    mark_secrets,
    metadata,
    normalize,
    parse_checkpoint,
    plain,
    prune,
    to_struct,
)

CRD = "CustomResourceDefinition"


class Provider(Session):
    """The resources' half of the service."""

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
            if not named.get("namespace") and self.namespaced(inputs):
                named["namespace"] = self.namespace
        mark_secrets(inputs, given)
        return pb.CheckResponse(inputs=to_struct(inputs, self.keep_secrets))

    @operation
    def Diff(self, request: pb.DiffRequest) -> pb.DiffResponse:
        old_inputs, live = parse_checkpoint(from_struct(request.olds))
        new = normalize(plain(from_struct(request.news)))
        old = prune(live, normalize(old_inputs))
        for side in (old, new):
            if "metadata" in side and not isinstance(side["metadata"], dict):
                continue
            if self.namespaced(new):
                metadata(side)["namespace"] = metadata(side).get("namespace") or "default"
            else:
                metadata(side).pop("namespace", None)
        if metadata(new).get("name"):
            metadata(old)["name"] = metadata(live)["name"]
        flags = self.settings.mutable_config_maps, self.settings.mutable_secrets
        changes = diff.detailed(old, new, diff.force_new(new, *flags), list(request.ignoreChanges))
        replaces = diff.replaced(changes)
        # Only an object that keeps its name and place has to make room first.
        same_place = annotation(new, "autonamed") != "true" and identifier(new) == identifier(live)
        return pb.DiffResponse(
            changes=pb.DiffResponse.DIFF_SOME if changes else pb.DiffResponse.DIFF_NONE,
            replaces=replaces,
            deleteBeforeReplace=bool(replaces) and same_place,
            detailedDiff=changes,
            hasDetailedDiff=True,
        )

    @operation
    def Create(self, request: pb.CreateRequest) -> pb.CreateResponse:
        given = from_struct(request.properties)
        inputs = plain(given)
        if request.preview and not self.previewable(inputs):
            return pb.CreateResponse(properties=request.properties)
        manager = manager_name({}, inputs)
        try:
            live = self.writer.create(inputs, manager, request.preview)
        except (ApiError, Conflict, NoNamespace) as error:
            if request.preview and _preview_may_fail(error):
                return pb.CreateResponse(properties=request.properties)
            raise RuntimeError(_not_created(inputs, error)) from error
        problem: Exception | None = None
        if request.preview:
            live.pop("status", None)
        else:
            if inputs.get("kind") == CRD:
                self.cluster.forget_kinds()
            live, problem = self._wait(request, inputs, live)
        state = checkpoint(inputs, live, given, inputs["apiVersion"], manager)
        properties = to_struct(state, self.keep_secrets)
        if problem:
            words = f"{_called(live)} was created, but {problem}"
            raise Partial(identifier(live), words, _reasons(problem), properties) from problem
        return pb.CreateResponse(id="" if request.preview else identifier(live), properties=properties)

    @operation
    def Update(self, request: pb.UpdateRequest) -> pb.UpdateResponse:
        state, given = from_struct(request.olds), from_struct(request.news)
        inputs = normalize(plain(given))
        old_inputs, old = parse_checkpoint(state)
        if request.preview and not self.previewable(inputs):
            return pb.UpdateResponse(properties=request.news)
        api_version = plain(state).get(API_VERSION) or old_inputs.get("apiVersion", "")
        former, manager = manager_name(state, old_inputs), manager_name(state, inputs)
        problem: Exception | None = None
        try:
            live = self.writer.update(old, inputs, manager, list(request.ignoreChanges), request.preview)
            if not request.preview:
                live, problem = self._wait(request, inputs, live)
        except NoKind as error:
            raise RuntimeError(f"{_called(old)} cannot be updated: {error}") from error
        except (ApiError, Conflict) as error:
            if request.preview and getattr(error, "reason", "") == "Forbidden":
                return pb.UpdateResponse(properties=request.news)
            # What the cluster has is what the state must say, also after a refusal.
            problem, live = error, self.cluster.get(old)
        properties = to_struct(checkpoint(inputs, live, given, api_version, manager), self.keep_secrets)
        if problem:
            words = f"the update of {_called(live)} is not complete: {problem}"
            raise Partial(identifier(live), words, _reasons(problem), properties) from problem
        if former != manager and not request.preview:
            self.writer.relinquish(live, former)
        return pb.UpdateResponse(properties=properties)

    @operation
    def Read(self, request: pb.ReadRequest) -> pb.ReadResponse:
        if self.given_up:
            return pb.ReadResponse()
        state, given = from_struct(request.properties), from_struct(request.inputs)
        inputs, old = normalize(plain(given)), parse_checkpoint(state)[1]
        first = not (inputs.get("kind") or old.get("kind"))
        namespace, _, name = request.id.rpartition("/")
        place = place_of(request.urn, inputs, old, namespace, name)
        try:
            live = self.cluster.get(place)
            missing = [] if first else waiting.ready_now(self.cluster, inputs, live)
        except ApiError as error:
            if error.code != 404:
                raise
            return pb.ReadResponse()
        read = imported(live) if first else prune(live, inputs or place)
        api_version = plain(state).get(API_VERSION) or place["apiVersion"]
        manager = manager_name(state, place)
        properties = to_struct(checkpoint(read, live, given, api_version, manager), self.keep_secrets)
        mark_secrets(read, given)
        read_struct = to_struct(read, self.keep_secrets)
        if missing:
            words = f"{_called(live)} exists, but is not ready"
            raise Partial(request.id, words, missing, properties, read_struct)
        return pb.ReadResponse(id=request.id, properties=properties, inputs=read_struct)

    @operation
    def Delete(self, request: pb.DeleteRequest) -> empty_pb2.Empty:
        if self.given_up:
            return empty_pb2.Empty()
        state = from_struct(request.properties)
        inputs, live = parse_checkpoint(state)
        metadata(live)["name"] = request.id.rpartition("/")[2]
        self.writer.delete(live, annotation(inputs, "deletionPropagationPolicy"))
        seconds = waiting.timeout_seconds(request.timeout, inputs)
        try:
            waiting.until_gone(self.cluster, inputs, live, seconds, self.cancelled)
        except waiting.NotReady as error:
            saved = checkpoint(live, error.live, state, plain(state).get(API_VERSION, ""), manager_name(state, inputs))
            words = f"the deletion of {_called(live)} is not complete: {error}"
            raise Partial(request.id, words, error.reasons, to_struct(saved, self.keep_secrets)) from error
        if live.get("kind") == CRD:
            self.cluster.forget_kinds()
        return empty_pb2.Empty()

    def _wait(self, request: Any, inputs: Object, live: Object) -> tuple[Object, Exception | None]:
        """The live object when it is ready, or as last seen with what went wrong."""
        seconds = waiting.timeout_seconds(request.timeout, inputs)
        say = functools.partial(self.engine.status, request.urn)
        try:
            return waiting.until_ready(self.cluster, inputs, live, seconds, self.cancelled, say), None
        except waiting.NotReady as error:
            return error.live, error
        except (ApiError, Unreachable, ValueError) as error:
            return live, error
        finally:
            say("")  # what was waited for is no longer news


def _called(obj: Object) -> str:
    """How a sentence names an object: its kind, namespace and name."""
    return f"{obj.get('kind')} {identifier(obj)}"


def _not_created(inputs: Object, error: Exception) -> str:
    words = f"{_called(inputs)} could not be created: {error}"
    if getattr(error, "reason", "") == "AlreadyExists":
        words += (
            "\nIf it is meant to be managed here, run `pulumi import` or set the provider's upsertExistingObjects;"
            " if the program has given it another resource name, add an alias."
        )
    return words


def _reasons(problem: Exception) -> list[str]:
    return list(getattr(problem, "reasons", ()))


def _preview_may_fail(error: Exception) -> bool:
    reason = getattr(error, "reason", "")
    return isinstance(error, NoNamespace) or reason in ("Forbidden", "AlreadyExists")
