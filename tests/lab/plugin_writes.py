"""The plugin's contract: names, what is written, who owns it, what is read and previewed.

Lives here: one function a behaviour. Waiting and diffs are in the files beside this one.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.plugin.values import UNKNOWN, Secret, plain
from tests.lab.plugin_world import (
    World,
    behaviour,
    config_map,
    deployment,
    exists,
    managers,
    named,
    steal,
)
from tests.lab.provider_client import PartialFailure, Refused, running, urn_of


@behaviour("an object without a name is named after its resource and marked autonamed", "metadata/naming.go")
def autonames(world: World) -> None:
    first = world.plugin.check({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}})
    assert re.fullmatch(r"res-[0-9a-f]{7,8}", first["metadata"]["name"])
    assert first["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}
    again = world.plugin.check({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "2"}}, first)
    assert again["metadata"] == first["metadata"]


@behaviour(
    "a namespaced object without a namespace gets the provider's; others get none",
    "provider/provider.go Check",
)
def default_namespace(world: World) -> None:
    assert world.plugin.check(config_map())["metadata"]["namespace"] == "default"
    assert "namespace" not in world.plugin.check(named("v1", "Namespace"))["metadata"]
    with running(world.lab, namespace="elsewhere") as other:
        assert other.check(config_map())["metadata"]["namespace"] == "elsewhere"


@behaviour("unknown values pass through Check and through a previewed Create", "provider/provider.go skipPreview")
def unknowns(world: World) -> None:
    inputs = world.plugin.check(config_map(a=UNKNOWN))
    assert inputs["data"] == {"a": UNKNOWN}
    assert world.plugin.create(inputs, preview=True) == ("", inputs)


@behaviour(
    "a Secret's data and whatever was given as secret stay secret in the state",
    "provider/provider.go annotateSecrets",
)
def secret_values(world: World) -> None:
    state = world.plugin.made(named("v1", "Secret", stringData={"token": Secret("s3cret")}))
    assert state["data"] == Secret({"token": "czNjcmV0"})
    assert isinstance(state["__inputs"]["data"], Secret)
    assert world.plugin.made(config_map(a=Secret("hidden"), b="open"))["data"] == {
        "a": Secret("hidden"),
        "b": "open",
    }


@behaviour(
    "Create is client-side (manager pulumi-kubernetes, Update); the state is the live object plus ours",
    "await/await.go Creation",
)
def creates(world: World) -> None:
    inputs = world.plugin.check(config_map())
    identifier, state = world.plugin.create(inputs)
    live = world.api.get(state)
    assert identifier == f"default/{inputs['metadata']['name']}"
    assert managers(live) == {"pulumi-kubernetes": "Update"}
    assert {key: state[key] for key in live} == live
    assert state["metadata"]["uid"]
    assert (state["__inputs"], state["__initialApiVersion"]) == (inputs, "v1")
    assert re.fullmatch(r"pulumi-kubernetes-[0-9a-f]+", state["__fieldManager"])


@behaviour("creating what exists is an error, and nothing is written", "CHANGELOG 4.29.0; await/await.go Creation")
def already_exists(world: World) -> None:
    obj = config_map(a="theirs")
    world.plugin.made(obj)
    with pytest.raises(Refused, match=obj["metadata"]["name"]):
        world.plugin.made({**obj, "data": {"a": "ours"}})
    assert world.api.get(world.plugin.check(obj))["data"] == {"a": "theirs"}


@behaviour("upsertExistingObjects makes Create a server-side apply", "await/await.go Creation")
def upserts(world: World) -> None:
    obj = config_map(a="old")
    world.plugin.made(config_map())
    with running(world.lab, upsertExistingObjects="true") as other:
        first = other.made(obj)
        with pytest.raises(Refused, match=r"data\.a"):
            other.made({**obj, "data": {"a": "new"}})
    assert world.api.get(first)["data"] == {"a": "old"}
    assert list(managers(world.api.get(first)).values()) == ["Apply"]


@behaviour(
    "the first Update takes over what Create set, so a field that is left out is removed",
    "await/await.go fixCSAFieldManagers",
)
def takes_over(world: World) -> None:
    state = world.plugin.made(config_map(a="1", b="2"))
    inputs = {**state["__inputs"], "data": {"a": "3"}}
    after = world.plugin.update(state, inputs)
    live = world.api.get(state)
    assert live["data"] == {"a": "3"} == after["data"]
    assert managers(live) == {state["__fieldManager"]: "Apply"}
    assert after["__fieldManager"] == state["__fieldManager"]


@behaviour(
    "a field of another manager is a conflict: a partial failure, new inputs saved beside the live object",
    "await/await.go handleSSAErr; provider/provider.go Update",
)
def conflicts(world: World) -> None:
    state = world.plugin.made(config_map(a="1"))
    steal(world, state, a="theirs")
    with pytest.raises(PartialFailure, match=r"(?s)pulumi-rollout.*data\.a") as caught:
        world.plugin.update(state, {**state["__inputs"], "data": {"a": "2"}})
    assert caught.value.properties["data"] == {"a": "theirs"}
    assert caught.value.properties["__inputs"]["data"] == {"a": "2"}


@behaviour(
    'pulumi.com/patchForce: "true" (or the provider\'s enablePatchForce) takes the field',
    "await/await.go patchForce",
)
def forces(world: World) -> None:
    forced = world.plugin.made(named("v1", "ConfigMap", {"patchForce": "true"}, data={"a": "1"}))
    steal(world, forced, a="theirs")
    assert world.plugin.update(forced, {**forced["__inputs"], "data": {"a": "2"}})["data"] == {"a": "2"}
    plain_one = world.plugin.made(config_map(a="1"))
    steal(world, plain_one, a="theirs")
    with running(world.lab, enablePatchForce="true") as other:
        assert other.update(plain_one, {**plain_one["__inputs"], "data": {"a": "2"}})["data"] == {"a": "2"}


@behaviour("pulumi.com/patchFieldManager names the manager", "provider/provider.go fieldManagerName")
def names_manager(world: World) -> None:
    state = world.plugin.made(named("v1", "ConfigMap", {"patchFieldManager": "me"}, data={"a": "1"}))
    world.plugin.update(state, {**state["__inputs"], "data": {"a": "2"}})
    assert managers(world.api.get(state)) == {"me": "Apply"}


@behaviour(
    "ignoreChanges: what only others own is left out, what is ours is sent as it is live",
    "await/await.go handleSSAIgnoreFields",
)
def ignores(world: World) -> None:
    first = world.plugin.made(config_map(a="1", b="1"))
    state = world.plugin.update(first, {**first["__inputs"], "data": {"a": "1", "b": "2"}})
    steal(world, state, a="theirs")
    inputs = {**state["__inputs"], "data": {"a": "ignored", "b": "3"}}
    assert set(world.plugin.diff(state, inputs, ("data.a",)).detailedDiff) == {"data.b"}
    assert world.plugin.update(state, inputs, ignored=("data.a",))["data"] == {"a": "theirs", "b": "3"}
    ours = world.plugin.made(deployment(0, skipAwait="true"))
    inputs = plain(ours["__inputs"])
    inputs["spec"]["replicas"] = 5
    assert world.plugin.update(ours, inputs, ignored=("spec.replicas",))["spec"]["replicas"] == 0


@behaviour(
    "a previewed Create is a dry run: defaults, no status, no id, nothing created",
    "provider/provider.go Create",
)
def previews_create(world: World) -> None:
    inputs = world.plugin.check(deployment(1))
    identifier, properties = world.plugin.create(inputs, preview=True)
    assert (identifier, properties["spec"]["revisionHistoryLimit"], "status" in properties) == ("", 10, False)
    assert not exists(world, inputs)


@behaviour(
    "no dry run possible (no namespace or kind yet, exists already): the inputs are the preview",
    "provider/provider.go Create; await/await.go namespaceError",
)
def previews_blind(world: World) -> None:
    homeless = config_map()
    homeless["metadata"]["namespace"] = "not-yet"
    existing = config_map()
    world.plugin.made(existing)
    for obj in (homeless, existing, named("example.com/v1", "Nothing", spec={})):
        inputs = world.plugin.check(obj)
        assert world.plugin.create(inputs, preview=True) == ("", inputs)


@behaviour("a previewed Update is a dry run, forced over what Create set", "await/await.go patchForce")
def previews_update(world: World) -> None:
    state = world.plugin.made(config_map(a="1"))
    after = world.plugin.update(state, {**state["__inputs"], "data": {"a": "2"}}, preview=True)
    assert after["data"] == {"a": "2"}
    assert world.api.get(state)["data"] == {"a": "1"}


@behaviour("Read answers the live state, and inputs of the old shape with live values", "provider/provider.go Read")
def reads(world: World) -> None:
    state = world.plugin.made(config_map(a="1"))
    steal(world, state, a="theirs", b="more")
    identifier, after, inputs = world.plugin.read(
        f"default/{state['metadata']['name']}", urn_of(state), state, state["__inputs"]
    )
    assert identifier.startswith("default/")
    assert after["data"] == {"a": "theirs", "b": "more"}
    assert inputs["data"] == {"a": "theirs"} and "uid" not in inputs["metadata"]
    assert after["__fieldManager"] == state["__fieldManager"]


@behaviour("Read of what is gone answers no id; Read without inputs imports the object", "provider/provider.go Read")
def imports(world: World) -> None:
    state = world.plugin.made(config_map(a="1"))
    identifier, _, inputs = world.plugin.read(f"default/{state['metadata']['name']}", urn_of(state), {}, {})
    assert identifier and inputs["data"] == {"a": "1"}
    assert not {"uid", "managedFields", "resourceVersion"} & set(inputs["metadata"])
    assert world.plugin.read("default/nobody", urn_of(state), state, state["__inputs"])[0] == ""


@behaviour("forty Creates at once are forty Creates", "a process without a limit on requests in flight")
def parallel(world: World) -> None:
    with ThreadPoolExecutor(40) as pool:
        states = list(pool.map(world.plugin.made, [config_map() for _ in range(40)]))
    assert len({state["metadata"]["uid"] for state in states}) == 40


@behaviour(
    "custom resources are found by discovery, also right after their definition",
    "await/await.go Creation (retries)",
)
def custom_resources(world: World) -> None:
    kind = {"plural": "walks", "singular": "walk", "kind": "Walk"}
    schema = {"openAPIV3Schema": {"type": "object", "x_kubernetes_preserve_unknown_fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "example.com", "scope": "Namespaced", "names": kind, "versions": versions}
    definition = named("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec=spec)
    definition["metadata"]["name"] = "walks.example.com"
    crd = world.plugin.made(definition)
    # Foreground deletion waits until the garbage collector has heard of the new kind: up to 30 s.
    quick = {"deletionPropagationPolicy": "background"}
    walk = world.plugin.made(named("example.com/v1", "Walk", quick, spec={"limits": 1000}))
    assert world.api.get(walk)["spec"] == {"limits": 1000}
    world.plugin.delete(walk)
    world.plugin.delete(crd)


@behaviour(
    "an unreachable cluster fails Create and Read, not Configure, Check or a preview",
    "provider/provider.go clusterUnreachable",
)
def unreachable(world: World) -> None:
    dead = world.lab.kubeconfig.read_text().replace(":6443", ":6444")
    with running(world.lab, kubeconfig=dead) as other:
        inputs = other.check(config_map())
        assert other.create(inputs, preview=True) == ("", inputs)
        with pytest.raises(Refused, match=":6444"):  # where nothing answers
            other.create(inputs)
        with pytest.raises(Refused, match=":6444"):
            other.read(f"default/{inputs['metadata']['name']}", urn_of(inputs), inputs, inputs)
