"""What an application declares. Traps 1 to 5, 9 and 20 of the design.

Each trap has a sibling that takes its countermeasure away and expects the same check to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest

from components import Application, Autoscaling, Canary, GatewayRoute
from components import application as application_module
from components import revision as revision_module
from components import rollout as rollout_module
from components.secrets import Secret
from pulumi_rollout.inputs import TYPE, Inputs
from tests.components.declared import (
    AUTOSCALER,
    BUDGET,
    CLUSTER,
    CONFIGMAP,
    DEPLOYMENT,
    PROCESS,
    ROLLOUT,
    ROUTE,
    SECRET,
    SERVICE,
    SERVING,
    Declared,
    Hidden,
    changing,
    declare,
    shop,
)

ROUTING = GatewayRoute(hosts=["cart.example.com"], gateway="public")


def named(declared: Declared) -> str:
    """The declared revision's hash."""
    return str(declared.of(ROLLOUT).inputs["revision"]["hash"])


@pytest.mark.parametrize("option", ["provider", "providers"])
def test_a_kubernetes_provider_is_refused(option: str) -> None:
    """A rollout's own process cannot use it, and the two must not mean different clusters."""

    def program() -> Any:
        given = kubernetes.Provider("prod", context="prod")
        opts = pulumi.ResourceOptions(**{option: given if option == "provider" else [given]})
        return shop(opts=opts)()

    with pytest.raises(pulumi.RunError, match=r"give it kubeconfig= and context= instead"):
        declare(program)


def test_the_declared_objects() -> None:
    declared = declare(shop(configs={"A": "1"}, autoscaling=Autoscaling(2, 9)))
    revision = f"shop-{named(declared)}"
    kubernetes = {(item.type, item.name) for item in declared if item.type.startswith("kubernetes:")}
    assert kubernetes == {
        (DEPLOYMENT, revision),
        (SERVICE, revision),
        (CONFIGMAP, revision),
        (BUDGET, revision),
        (AUTOSCALER, revision),
        (SERVICE, "shop"),
        (ROUTE, "shop"),
    }
    assert all(item.inputs["metadata"]["namespace"] == "prod" for item in declared.all_of(DEPLOYMENT, SERVICE, ROUTE))
    assert all(item.inputs["metadata"]["name"] == item.name for item in declared.all_of(DEPLOYMENT, SERVICE, ROUTE))


def test_the_rollouts_inputs_are_what_the_provider_reads() -> None:
    declared = declare(shop(replicas=3, retry="again", context="blue"))
    rollout = declared.of(ROLLOUT)
    inputs = Inputs.model_validate(rollout.inputs)
    assert rollout.type == TYPE
    assert (inputs.app, inputs.namespace, inputs.retry, inputs.cluster.context) == ("shop", "prod", "again", "blue")
    assert (inputs.revision.port, inputs.revision.replicas) == (9898, 3)
    assert inputs.revision.uid == f"uid-of-shop-{named(declared)}"
    assert rollout.inputs["serving_revision"] == named(declared), "an input too, so that preview knows it"
    assert inputs.route.objects == [{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "shop"}]
    assert inputs.urn.endswith(f"Application${TYPE}::shop")


def test_the_rollout_waits_for_the_whole_revision_of_its_application() -> None:
    declared = declare(shop(configs={"A": "1"}))
    revision = f"shop-{named(declared)}"
    children = {item.urn for item in declared if item.name == revision and item.type.startswith("kubernetes:")}
    assert len(children) == 4
    assert children <= declared.of(ROLLOUT).depends_on


def test_an_autoscaler_owns_the_number_of_pods() -> None:
    declared = declare(shop(replicas=7, autoscaling=Autoscaling(3, 9, cpu_percent=60)))
    spec = declared.of(AUTOSCALER).inputs["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 9)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 60
    assert spec["scaleTargetRef"]["name"] == declared.of(DEPLOYMENT).name
    assert declared.of(AUTOSCALER).inputs["metadata"]["annotations"] == {"pulumi.com/patchForce": "true"}
    assert declared.of(ROLLOUT).inputs["revision"]["replicas"] == 3


def test_a_preview_declares_the_same() -> None:
    found = [{(item.type, item.name) for item in declare(shop(), preview=preview)} for preview in (True, False)]
    assert found[0] == found[1]


def test_both_providers_get_the_same_cluster_and_hide_it() -> None:
    declared = declare(shop(kubeconfig="hidden-kubeconfig", context="blue"))
    hidden = Hidden("hidden-kubeconfig")
    assert declared.of(CLUSTER).inputs["kubeconfig"] == hidden
    assert declared.of(CLUSTER).inputs["context"] == "blue"
    assert declared.of(CLUSTER).inputs["upsertExistingObjects"] == "true"
    assert declared.of(ROLLOUT).inputs["cluster"] == {"kubeconfig": hidden, "context": "blue"}
    kubernetes = [item for item in declared if item.type.startswith("kubernetes:")]
    assert {item.request.provider.rpartition("::")[0] for item in kubernetes} == {declared.of(CLUSTER).urn}


def test_the_ambient_cluster_is_said_by_saying_nothing() -> None:
    declared = declare(shop())
    assert declared.of(ROLLOUT).inputs["cluster"] == {}
    assert "kubeconfig" not in declared.of(CLUSTER).inputs


STACK = {"kubernetes:kubeconfig": "hidden-kubeconfig", "kubernetes:context": "prod-eu"}
CLUSTERS: dict[str, tuple[dict[str, str], dict[str, str], dict[str, Any]]] = {
    "the stack's": (STACK, {}, {"kubeconfig": Hidden("hidden-kubeconfig"), "context": "prod-eu"}),
    "the stack's context": ({"kubernetes:context": "prod-eu"}, {}, {"context": "prod-eu"}),
    "another context": (STACK, {"context": "blue"}, {"kubeconfig": Hidden("hidden-kubeconfig"), "context": "blue"}),
    "another kubeconfig, with its own context": (STACK, {"kubeconfig": "mine"}, {"kubeconfig": Hidden("mine")}),
}


@pytest.mark.parametrize(("config", "given", "cluster"), CLUSTERS.values(), ids=CLUSTERS)
def test_the_stack_says_which_cluster_where_the_program_does_not(
    config: dict[str, str], given: dict[str, str], cluster: dict[str, Any]
) -> None:
    declared = declare(shop(**given), config=config)
    assert declared.of(ROLLOUT).inputs["cluster"] == cluster
    provider = declared.of(CLUSTER).inputs
    assert {key: provider[key] for key in ("kubeconfig", "context") if key in provider} == cluster


# Traps.


def check_no_ignored_changes(declared: Declared) -> None:
    """The plugin would re-apply the stale inputs of a revision that is long deleted."""
    for item in declared:
        assert list(item.request.ignoreChanges) == [], item.name


def test_trap_01_nothing_ignores_changes() -> None:
    check_no_ignored_changes(declare(shop()))


def test_trap_01_without() -> None:
    def ignore(args: Any) -> None:
        args.opts.ignore_changes = ["spec"]

    with pytest.raises(AssertionError):
        check_no_ignored_changes(declare(shop(opts=changing(ROUTE, ignore))))


def check_ownership(declared: Declared) -> None:
    """The walk takes fields of both, and neither may be written while it runs."""
    rollout = declared.of(ROLLOUT).urn
    for item in (declared.of(SERVICE, "shop"), declared.of(ROUTE)):
        assert item.inputs["metadata"].get("annotations", {}).get("pulumi.com/patchForce") == "true"
        assert rollout in item.depends_on


def test_trap_02_apex_and_route_take_fields_back_after_the_rollout() -> None:
    check_ownership(declare(shop()))


def test_trap_02_without_the_annotation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_module, "PATCH_FORCE", {})
    with pytest.raises(AssertionError):
        check_ownership(declare(shop()))


def test_trap_02_without_the_order() -> None:
    def at_once(args: Any) -> None:
        args.opts.depends_on = []

    with pytest.raises(AssertionError):
        check_ownership(declare(shop(opts=changing(ROUTE, at_once))))


def check_selector(declared: Declared) -> None:
    selector = declared.of(SERVICE, "shop").inputs["spec"]["selector"]
    assert selector == {"app.kubernetes.io/name": "shop", "pulumi-rollout/revision": SERVING}
    assert named(declared) != SERVING


def test_trap_03_the_apex_selects_what_the_rollout_says() -> None:
    check_selector(declare(shop()))


def test_trap_03_without_the_program_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(rollout_module.Rollout):
        def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
            super().__init__(name, props, opts)
            self.serving_revision = pulumi.Output.from_input(props["revision"]["hash"])

    monkeypatch.setattr(application_module, "Rollout", Deaf)
    with pytest.raises(AssertionError):
        check_selector(declare(shop()))


def check_skip_await(declared: Declared) -> None:
    for item in declared.all_of(DEPLOYMENT, SERVICE):
        assert item.inputs["metadata"].get("annotations", {}).get("pulumi.com/skipAwait") == "true", item.name


def test_trap_04_readiness_is_left_to_the_walk() -> None:
    check_skip_await(declare(shop()))


def test_trap_04_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision_module, "SKIP_AWAIT", {})
    with pytest.raises(AssertionError):
        check_skip_await(declare(shop()))


def check_no_replicas(declared: Declared) -> None:
    assert "replicas" not in declared.of(DEPLOYMENT).inputs["spec"]


@pytest.mark.parametrize("autoscaling", [None, Autoscaling(2, 5)], ids=["fixed", "autoscaled"])
def test_trap_05_the_deployment_declares_no_replicas(autoscaling: Autoscaling | None) -> None:
    check_no_replicas(declare(shop(replicas=4, autoscaling=autoscaling)))


def test_trap_05_without() -> None:
    def count(args: Any) -> None:
        args.props["spec"] = {**args.props["spec"], "replicas": 4}

    with pytest.raises(AssertionError):
        check_no_replicas(declare(shop(opts=changing(DEPLOYMENT, count))))


def two_applications() -> None:
    shop()()
    Application("cart", image="cart:1", port=80, routing=ROUTING, rollout=Canary())


def check_processes(declared: Declared) -> None:
    """One process serves 4 calls at a time, and Cancel is one of them."""
    used = [item.request.provider.rpartition("::")[0] for item in declared.all_of(ROLLOUT)]
    assert sorted(used) == sorted(item.urn for item in declared.all_of(PROCESS))
    assert len(set(used)) == len(used) == 2


def test_trap_09_each_rollout_has_a_process_of_its_own() -> None:
    check_processes(declare(two_applications))


def test_trap_09_without_they_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pulumi.ProviderResource
    made: list[pulumi.ProviderResource] = []

    def shared(pkg: str, name: str, *rest: Any) -> pulumi.ProviderResource:
        made.append(made[0] if made else real(pkg, name, *rest))
        return made[-1]

    monkeypatch.setattr(rollout_module.pulumi, "ProviderResource", shared)
    with pytest.raises(AssertionError):
        check_processes(declare(two_applications))


def check_exported(program: Callable[[], Any]) -> None:
    """Outputs of a failed `up` are the new values, unless they come from the Rollout."""
    assert declare(program).outputs == {"serving": SERVING}


def test_trap_20_the_serving_revision_is_the_rollouts_output() -> None:
    check_exported(shop())


def test_trap_20_without() -> None:
    def program() -> dict[str, Any]:
        application = Application("shop", image="shop:1", port=80, routing=ROUTING, rollout=Canary())
        return {"serving": application.rollout.urn.apply(lambda _: "the program's own string")}

    with pytest.raises(AssertionError):
        check_exported(program)


def test_the_secret_kind_is_only_there_with_secrets() -> None:
    assert declare(shop()).all_of(SECRET, CONFIGMAP) == []


def test_credentials_go_to_the_rollout_alone_and_marked() -> None:
    declared = declare(shop(credentials={"prom": Secret("hidden-token")}))
    assert declared.of(ROLLOUT).inputs["credentials"] in (
        Hidden({"prom": "hidden-token"}),
        {"prom": Hidden("hidden-token")},
    )
    others = [item for item in declared if item.type != ROLLOUT]
    assert "hidden-token" not in repr([item.inputs for item in others])
    assert "credentials" not in declare(shop()).of(ROLLOUT).inputs


def test_what_is_adopted_is_named_with_the_labels_that_the_new_pods_have() -> None:
    """By which the Rollout's check sees whether the Service that is there would select them at once."""
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "ghcr.io/acme/shop:1.0"}]},
    }
    declared = declare(shop(adopt="web", image=None, pod_template=template))
    labels = {"app": "web", "app.kubernetes.io/name": "shop", "pulumi-rollout/revision": named(declared)}
    assert declared.of(ROLLOUT).inputs["adopt"] == {"deployment": "web", "labels": labels}
    assert "adopt" not in declare(shop()).of(ROLLOUT).inputs
