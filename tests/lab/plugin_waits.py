"""The plugin's contract: when an object counts as ready or gone, and what is said when it is not.

Lives here: one function a behaviour.
"""

from __future__ import annotations

import threading
import time

import pytest

from lab.plugin.values import Object, plain
from tests.lab.plugin_world import (
    World,
    behaviour,
    config_map,
    deployment,
    exists,
    named,
    service,
)
from tests.lab.provider_client import PartialFailure, running, urn_of


@behaviour(
    "Delete is foreground, waits until the object is gone, and is content when it already is",
    "await/await.go Deletion",
)
def deletes(world: World) -> None:
    state = world.plugin.made(deployment(1, skipAwait="true"))
    state["__inputs"]["metadata"]["annotations"] = {}
    world.plugin.delete(state)
    assert not exists(world, state)
    assert not [
        entry
        for entry in world.api.list("apps/v1", "ReplicaSet", "default")
        if entry["metadata"]["name"].startswith(state["metadata"]["name"] + "-")
    ]
    world.plugin.delete(state)


@behaviour(
    "a deletion that a finalizer holds up is a partial failure when its time is over",
    "await/condition/deleted.go",
)
def delete_times_out(world: World) -> None:
    obj = config_map()
    obj["metadata"]["finalizers"] = ["example.com/hold"]
    state = world.plugin.made(obj)
    with pytest.raises(PartialFailure) as caught:
        world.plugin.delete(state, timeout=1)
    assert caught.value.properties["metadata"]["deletionTimestamp"] and exists(world, state)


@behaviour(
    "skipAwait on a Deployment does not wait for its deletion; on a Service or ConfigMap it does",
    "metadata/overrides.go allowsSkipAwaitWithDelete",
)
def delete_skips(world: World) -> None:
    held = deployment(0, skipAwait="true")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    state = world.plugin.made(held)
    world.plugin.delete(state, timeout=1)
    assert exists(world, state)
    other = named("v1", "ConfigMap", {"skipAwait": "true"}, data={"a": "1"})
    other["metadata"]["finalizers"] = ["example.com/hold"]
    state = world.plugin.made(other)
    with pytest.raises(PartialFailure):
        world.plugin.delete(state, timeout=1)


@behaviour(
    "Create and Update of a Deployment wait until it is rolled out; no replicas is rolled out",
    "await/deployment.go",
)
def awaits_deployment(world: World) -> None:
    state = world.plugin.made(deployment(1))
    assert state["status"]["readyReplicas"] == 1
    inputs = plain(state["__inputs"])
    inputs["spec"]["template"]["metadata"]["annotations"] = {"restart": "now"}
    after = world.plugin.update(state, inputs)
    assert after["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    assert after["status"]["updatedReplicas"] == 1
    inputs["spec"]["replicas"] = 0
    assert "readyReplicas" not in world.plugin.update(after, inputs)["status"]
    world.plugin.delete(after)


@behaviour(
    "not ready in time (custom_timeouts, pulumi.com/timeoutSeconds, 10 min): a partial failure with reasons",
    "metadata/overrides.go TimeoutDuration; await/error.go",
)
def await_times_out(world: World) -> None:
    for given, timeout in (({"timeoutSeconds": "2"}, 0.0), ({"timeoutSeconds": "600"}, 2.0)):
        inputs = world.plugin.check(deployment(1, "registry.example.com/missing:1", **given))
        started = time.monotonic()
        with pytest.raises(PartialFailure, match="ImagePull") as caught:  # the pod's own reason
            world.plugin.create(inputs, timeout=timeout)
        assert 1.5 < time.monotonic() - started < 10
        assert inputs["metadata"]["name"] in caught.value.reasons[0]
        assert caught.value.properties["metadata"]["uid"] and exists(world, inputs)


@behaviour(
    'pulumi.com/skipAwait: "true" does not wait for a Deployment or a Service',
    "metadata/overrides.go SkipAwaitLogic",
)
def skips_await(world: World) -> None:
    started = time.monotonic()
    world.plugin.made(deployment(1, "registry.example.com/missing:1", skipAwait="true"))
    world.plugin.made(service(skipAwait="true"))
    assert time.monotonic() - started < 6


@behaviour(
    "a Service with a selector waits 10 s for its endpoints to settle, pods or none; without one it does not",
    "await/service.go",
)
def awaits_service(world: World) -> None:
    started = time.monotonic()
    world.plugin.made(named("v1", "Service", spec={"ports": [{"port": 80}]}))
    assert time.monotonic() - started < 6
    started = time.monotonic()
    world.plugin.made(service())
    assert 9 < time.monotonic() - started < 20


@behaviour("an Ingress waits until a controller has published an address", "await/ingress.go")
def awaits_ingress(world: World) -> None:
    def ingress() -> Object:
        spec = {"ingressClassName": "nobodys", "rules": [{"host": "a.example.com"}]}
        return named("networking.k8s.io/v1", "Ingress", {"timeoutSeconds": "3"}, spec=spec)

    with pytest.raises(PartialFailure) as caught:
        world.plugin.made(ingress())
    assert not caught.value.properties["status"]["loadBalancer"]
    inputs = world.plugin.check(ingress())
    threading.Timer(1, publish, (world, inputs)).start()
    assert world.plugin.create(inputs)[1]["status"]["loadBalancer"] == {"ingress": [{"ip": "192.0.2.1"}]}


def publish(world: World, obj: Object) -> None:
    """Give an Ingress its address, in its controller's place."""
    path = world.api.path(obj, obj["metadata"]["name"]) + "/status"
    body = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    world.api.request("PATCH", path, body, content_type="application/merge-patch+json")


@behaviour("pulumi.com/waitFor replaces the built-in wait", "metadata/overrides.go ReadyCondition")
def waits_for(world: World) -> None:
    obj = deployment(0, waitFor='["condition=Available", "jsonpath={.status.observedGeneration}=1"]')
    assert world.plugin.made(obj)["status"]["observedGeneration"] == 1
    never = deployment(0, waitFor="condition=Never", timeoutSeconds="1")
    with pytest.raises(PartialFailure) as caught:
        world.plugin.made(never)
    assert caught.value.properties["metadata"]["uid"]


@behaviour(
    "refresh of a Deployment that is not ready is a partial failure, with skipAwait it is not",
    "await/await.go Read",
)
def read_unready(world: World) -> None:
    loud = world.plugin.check(deployment(1, "registry.example.com/missing:1", timeoutSeconds="1"))
    with pytest.raises(PartialFailure) as caught:
        world.plugin.create(loud)
    name = f"default/{loud['metadata']['name']}"
    with pytest.raises(PartialFailure):
        world.plugin.read(name, urn_of(loud), caught.value.properties, loud)
    loud["metadata"]["annotations"]["pulumi.com/skipAwait"] = "true"
    assert world.plugin.read(name, urn_of(loud), caught.value.properties, loud)[0] == name


@behaviour("Cancel ends what is being waited for: a partial failure", "provider/provider.go Cancel; await/error.go")
def cancels(world: World) -> None:
    with running(world.lab) as other:
        inputs = other.check(deployment(1, "registry.example.com/missing:1"))
        started = time.monotonic()
        threading.Timer(2, other.cancel).start()
        with pytest.raises(PartialFailure) as caught:
            other.create(inputs)
    assert 1.9 < time.monotonic() - started < 10
    assert caught.value.properties["metadata"]["uid"] and exists(world, inputs)


@behaviour(
    "pulumi.com/deletionPropagationPolicy: orphan leaves what the object owns",
    "metadata/overrides.go DeletionPropagation",
)
def deletes_orphan(world: World) -> None:
    state = world.plugin.made(deployment(0, deletionPropagationPolicy="orphan"))
    world.plugin.delete(state)
    left = [entry["metadata"]["name"] for entry in world.api.list("apps/v1", "ReplicaSet", "default")]
    assert any(name.startswith(f"{state['metadata']['name']}-") for name in left)
