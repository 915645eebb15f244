"""The plugin's contract: what is a change, and which change replaces.

Lives here: one function a behaviour.
"""

from __future__ import annotations

from pulumi.runtime.proto import provider_pb2 as pb

from lab.plugin.values import Object, plain, to_struct
from tests.lab.plugin_world import (
    World,
    behaviour,
    config_map,
    deployment,
    named,
    steal,
)
from tests.lab.provider_client import running


@behaviour("Diff never reads the cluster: drift is no change until it is refreshed", "provider/provider.go Diff")
def diff_is_blind(world: World) -> None:
    state = world.plugin.made(config_map(a="1"))
    steal(world, state, a="theirs")
    assert world.plugin.diff(state, state["__inputs"]).changes == pb.DiffResponse.DIFF_NONE


@behaviour("a changed field is an update in place, with a detailed diff", "provider/provider.go convertPatchToDiff")
def diff_details(world: World) -> None:
    state = world.plugin.made(deployment(0, skipAwait="true"))
    inputs = plain(state["__inputs"])
    inputs["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    inputs["metadata"]["annotations"]["example.com/note"] = "x"
    answer = world.plugin.diff(state, inputs)
    kinds = {path: change.kind for path, change in answer.detailedDiff.items()}
    assert kinds == {
        "spec.template.spec.containers[0].image": pb.PropertyDiff.UPDATE,
        'metadata.annotations["example.com/note"]': pb.PropertyDiff.ADD,
    }
    assert not answer.replaces


@behaviour("quantities are compared as the API server spells them", "clients/unstructured.go Normalize")
def diff_quantities(world: World) -> None:
    state = world.plugin.made(deployment(0, skipAwait="true"))
    inputs = plain(state["__inputs"])
    inputs["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": 0.1, "memory": "16384Ki"}}
    assert world.plugin.diff(state, inputs).changes == pb.DiffResponse.DIFF_NONE


@behaviour(
    "a new selector, name or namespace replaces; deleted first only where name and place stay",
    "provider/diff.go; provider/provider.go deleteBeforeReplace",
)
def diff_replaces(world: World) -> None:
    state = world.plugin.made(deployment(0, skipAwait="true"))
    inputs = plain(state["__inputs"])
    inputs["spec"]["selector"]["matchLabels"] = {"app": "other"}
    answer = world.plugin.diff(state, inputs)
    assert list(answer.replaces) == ["spec.selector.matchLabels.app"] and answer.deleteBeforeReplace
    renamed = plain(state["__inputs"])
    renamed["metadata"]["name"] = "new-name"
    answer = world.plugin.diff(state, renamed)
    assert list(answer.replaces) == ["metadata.name"]
    assert not answer.deleteBeforeReplace


@behaviour(
    "data of a ConfigMap or Secret replaces it, unless enableConfigMapMutable or enableSecretMutable",
    "provider/diff.go forceNewProperties",
)
def diff_immutable(world: World) -> None:
    for obj in (config_map(a="1"), named("v1", "Secret", stringData={"a": "1"})):
        state = world.plugin.made(obj)
        changed = {**plain(state["__inputs"]), "data": {"a": "Mg=="}}
        answer = world.plugin.diff(state, changed)
        assert list(answer.replaces) == ["data.a"] and answer.deleteBeforeReplace
        with running(world.lab, enableConfigMapMutable="true", enableSecretMutable="true") as other:
            answer = other.diff(state, changed)
            assert answer.changes == pb.DiffResponse.DIFF_SOME and not answer.replaces
    unnamed = world.plugin.made({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}})
    answer = world.plugin.diff(unnamed, {**unnamed["__inputs"], "data": {"a": "2"}})
    assert answer.replaces and not answer.deleteBeforeReplace


@behaviour(
    "another active cluster replaces the provider, another spelling does not; clusterIdentifier wins",
    "provider/provider.go DiffConfig",
)
def diff_config(world: World) -> None:
    text = world.lab.kubeconfig.read_text()

    def replaces(old: Object, new: Object) -> bool:
        request = pb.DiffRequest(urn="urn:pulumi:test::contract::pulumi:providers:kubernetes::p")
        request.olds.update(to_struct(old))
        request.news.update(to_struct(new))
        return bool(world.plugin.call("DiffConfig", request).replaces)

    other = text.replace(":6443", ":6444")
    assert not replaces({"kubeconfig": text}, {"kubeconfig": f"{text}\n"})
    assert replaces({"kubeconfig": text}, {"kubeconfig": other})
    assert not replaces({"kubeconfig": text, "clusterIdentifier": "a"}, {"kubeconfig": other, "clusterIdentifier": "a"})
    assert replaces({"kubeconfig": text, "clusterIdentifier": "a"}, {"kubeconfig": text, "clusterIdentifier": "b"})
