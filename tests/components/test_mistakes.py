"""What is refused before anything is declared, in words. Traps 18 and 23 of the design."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from pulumi.dynamic import CheckResult

from components import Autoscaling, Canary, ExistingRoute, GatewayRoute, IstioRoute
from components import revision as module
from components.secrets import Secret
from pulumi_rollout.errors import InvalidInput
from pulumi_rollout.provider import RolloutProvider
from tests.components.declared import DEPLOYMENT, ROLLOUT, SERVICE, TEMPLATE, declare, from_template, rendered, shop

# Trap 18.

CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
HOST_PORT = [{"name": "web", "image": "shop:1.0", "ports": [{"hostPort": 80}]}]
TWICE: dict[str, tuple[dict[str, Any], str]] = {
    "a claim": (
        {"spec": {**TEMPLATE["spec"], "volumes": [CLAIM]}},
        "podTemplate.spec.volumes: volume data is a claim that both versions would write: make it readOnly",
    ),
    "a host port": (
        {"spec": {"containers": HOST_PORT}},
        "podTemplate.spec.containers.ports: hostPort 80 can be taken by one version only: remove it",
    ),
    "a host port of an init container": (
        {"spec": {**TEMPLATE["spec"], "initContainers": HOST_PORT}},
        "podTemplate.spec.containers.ports: hostPort 80 can be taken by one version only: remove it",
    ),
    "the host's network": (
        {"spec": {**TEMPLATE["spec"], "hostNetwork": True}},
        "podTemplate.spec.hostNetwork: two versions cannot share the node's ports: remove it",
    ),
    "a StatefulSet": (
        {"kind": "StatefulSet"},
        "podTemplate.kind: a StatefulSet cannot run two versions beside each other: only Deployments can",
    ),
}


def check_refused(settings: dict[str, Any], sentence: str) -> None:
    said = None
    try:
        rendered(**settings)
    except InvalidInput as error:
        said = str(error)
    except Exception as error:  # users would see a traceback
        said = repr(error)
    assert said == sentence


@pytest.mark.parametrize(("settings", "sentence"), TWICE.values(), ids=TWICE)
def test_trap_18_what_two_versions_cannot_have_at_once(settings: dict[str, Any], sentence: str) -> None:
    check_refused(from_template(**settings), sentence)


@pytest.mark.parametrize(("settings", "sentence"), TWICE.values(), ids=TWICE)
def test_trap_18_without_looking(settings: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "template_problems", lambda template: [])
    monkeypatch.setattr(module, "content_problems", lambda content: [])
    with pytest.raises(AssertionError):
        check_refused(from_template(**settings), sentence)


def test_a_claim_that_is_only_read_is_fine() -> None:
    read = {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}}
    rendered(**from_template(spec={**TEMPLATE["spec"], "volumes": [read, {"name": "tmp", "emptyDir": {}}]}))


def test_several_mistakes_are_said_at_once() -> None:
    spec = {"containers": [*HOST_PORT, {"name": "side", "image": "side"}], "volumes": [CLAIM], "hostNetwork": True}
    with pytest.raises(InvalidInput) as caught:
        rendered(**from_template(spec=spec))
    assert [path for path, _ in caught.value.problems] == [
        "image",
        "podTemplate.spec.volumes",
        "podTemplate.spec.containers.ports",
        "podTemplate.spec.hostNetwork",
    ]


# Trap 23: names need plain strings.

LATER = pulumi.Output.from_input("later")
NAMED_BY_IT = (
    "is an Output, which has no value yet when the revision is named: pass the resolved string "
    "(an image's digest, say), or name the revision yourself with revision="
)
NAMES_ALL = "is an Output, which has no value yet when the objects are named: pass a plain value"
STACK_SECRET = "is read by stack_secret(...), as the revision is named by it: any other value is hidden or has none yet"
BESIDE = "belongs into the podTemplate where there is one: give either of them"
UNNAMABLE = (
    "cannot be the name of a Service: 63 lower-case letters, digits and hyphens at most, beginning with a letter "
    "(<application>-<revision>)"
)
OUTPUTS: dict[str, tuple[dict[str, Any], str]] = {
    "the image": ({"image": LATER}, f"image: {NAMED_BY_IT}"),
    "a variable": ({"env": {"A": LATER}}, f"env.A: {NAMED_BY_IT}"),
    "a config": ({"configs": {"A": LATER}}, f"configs.A: {NAMED_BY_IT}"),
    "deep in a template": (
        from_template(spec={"containers": [{"name": "web", "image": LATER}]}),
        f"podTemplate.spec.containers.0.image: {NAMED_BY_IT}",
    ),
    "the namespace": ({"namespace": LATER}, f"namespace: {NAMES_ALL}"),
    "the namespace, with a name of one's own": ({"namespace": LATER, "revision": "v2"}, f"namespace: {NAMES_ALL}"),
    "the port": ({"port": LATER}, f"port: {NAMES_ALL}"),
    "a secret": ({"secrets": {"TOKEN": LATER}}, f"secrets.TOKEN: {STACK_SECRET}"),
}
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "a secret in plain": ({"secrets": {"TOKEN": "hidden"}}, f"secrets.TOKEN: {STACK_SECRET}"),
    "no image": ({"image": None}, "image: is missing: name the image, with its tag or digest"),
    "a number in the environment": (
        {"env": {"PORT": 8080}},
        "env.PORT: has to be a string, not 8080: put it in quotes",
    ),
    "a boolean in the environment, of a revision with a name": (
        {"env": {"DEBUG": True}, "revision": "v2"},
        "env.DEBUG: has to be a string, not True: put it in quotes",
    ),
    "a number among the configs": (
        {"configs": {"LIMIT": 1.5}},
        "configs.LIMIT: has to be a string, not 1.5: put it in quotes",
    ),
    "an environment as containers have it": (
        {"env": [{"name": "A", "value": "1"}]},
        "env: is a list: give a dict of names and strings",
    ),
    "no tag": (
        {"image": "reg:5000/shop"},
        "image: reg:5000/shop has no tag, so nobody can tell which version it is: add one",
    ),
    "image and template": ({"pod_template": TEMPLATE}, f"image: {BESIDE}"),
    "readiness and template": ({**from_template(), "readiness_path": "/"}, f"readinessPath: {BESIDE}"),
    "a whole Deployment": (
        from_template(kind="Deployment"),
        "podTemplate.kind: is a whole Deployment: give its spec.template",
    ),
    "no containers": (from_template(spec={}), "podTemplate.spec.containers: is missing: name at least one container"),
    "no template": (
        {"image": None, "pod_template": {}},
        "podTemplate.spec.containers: is missing: name at least one container",
    ),
    "an object of the SDK": (
        {"image": None, "pod_template": pulumi.ResourceOptions()},
        "podTemplate: is a ResourceOptions: a revision is named by plain dicts, lists, strings and numbers",
    ),
    "an object of the SDK, named": (
        {"image": None, "pod_template": pulumi.ResourceOptions(), "revision": "v2"},
        "podTemplate: is a ResourceOptions: give a plain dict",
    ),
    "a version with dots": ({"revision": "v1.2.3"}, f"revision: shop-v1.2.3 {UNNAMABLE}"),
    "a name in capitals": ({"app": "Shop", "revision": "v1"}, f"revision: Shop-v1 {UNNAMABLE}"),
    "a long name": ({"app": "a" * 60, "revision": "v12"}, f"revision: {'a' * 60}-v12 {UNNAMABLE}"),
}


@pytest.mark.parametrize(("settings", "sentence"), OUTPUTS.values(), ids=OUTPUTS)
def test_trap_23_an_output_is_refused_with_the_way_out(settings: dict[str, Any], sentence: str) -> None:
    check_refused(settings, sentence)


@pytest.mark.parametrize(("settings", "sentence"), OUTPUTS.values(), ids=OUTPUTS)
def test_trap_23_without_looking(settings: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "content_problems", lambda content: [])
    with pytest.raises(AssertionError):
        check_refused(settings, sentence)


@pytest.mark.parametrize(("settings", "sentence"), OTHERS.values(), ids=OTHERS)
def test_other_mistakes(settings: dict[str, Any], sentence: str) -> None:
    check_refused(settings, sentence)


def test_every_output_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        rendered(image=LATER, env={"A": LATER, "B": "plain", "C": LATER})
    assert [path for path, _ in caught.value.problems] == ["image", "env.A", "env.C"]


# How they are said: as property errors of the Rollout, and nothing else is declared.


def test_a_mistake_declares_nothing_but_the_rollout_that_says_it() -> None:
    declared = declare(shop(image="shop"))
    assert declared.all_of(DEPLOYMENT, SERVICE) == []
    result: CheckResult = RolloutProvider().check({}, declared.of(ROLLOUT).inputs)
    [failure] = result.failures
    assert (failure.property, failure.reason) == (
        "image",
        "shop has no tag, so nobody can tell which version it is: add one",
    )


@pytest.mark.parametrize(
    "given",
    ["hidden-token", 7, None, pulumi.Output.from_input("hidden-token")],
    ids=["a string", "a number", "nothing", "an Output"],
)
def test_a_credential_is_a_secret_of_the_stack(given: Any) -> None:
    declared = declare(shop(credentials={"good": Secret("hidden-token"), "prom": given}))
    assert declared.all_of(DEPLOYMENT, SERVICE) == []
    [failure] = RolloutProvider().check({}, declared.of(ROLLOUT).inputs).failures
    assert (failure.property, failure.reason) == (
        "credentials.prom",
        "is read by stack_secret(...), so that it is known at preview and hidden everywhere",
    )


REF = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "web"}
TYPED: dict[str, tuple[dict[str, Any], str, str]] = {
    "one host of a Gateway": (
        {"routing": GatewayRoute("shop.example.com", "public")},
        "routing.hosts",
        "is a list: write ['shop.example.com'], not 'shop.example.com'",
    ),
    "one host of Istio": (
        {"routing": IstioRoute(hosts="reviews")},
        "routing.hosts",
        "is a list: write ['reviews'], not 'reviews'",
    ),
    "a kind that there is not": (
        {"routing": GatewayRoute(["a.example.com"], "public", kind="HttpRoute")},  # type: ignore[arg-type]
        "routing.kind",
        "input should be 'HTTPRoute', 'GRPCRoute' or 'TCPRoute', not 'HttpRoute'",
    ),
    "one rule of somebody else's": (
        {"routing": ExistingRoute("gateway", [REF], rules="web")},
        "routing.rules",
        "is a list: write ['web'], not 'web'",
    ),
    "a minimum above the maximum": (
        {"autoscaling": Autoscaling(5, 2)},
        "autoscaling",
        "minReplicas 5 is above maxReplicas 2: raise the second",
    ),
}


@pytest.mark.parametrize(("given", "path", "reason"), TYPED.values(), ids=TYPED)
def test_a_program_is_refused_what_a_stack_file_is(given: dict[str, Any], path: str, reason: str) -> None:
    declared = declare(shop(**given))
    assert [item for item in declared if item.type.startswith("kubernetes:")] == []
    [failure] = RolloutProvider().check({}, declared.of(ROLLOUT).inputs).failures
    assert (failure.property, failure.reason) == (path, reason)


def test_what_will_be_a_host_and_what_is_the_vendors_own_are_fine() -> None:
    declare(shop(routing=GatewayRoute([LATER], "public"), autoscaling=Autoscaling(2, 2))).of(DEPLOYMENT)  # type: ignore[list-item]
    cookie = {"loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "0s"}}}}
    declare(shop(routing=IstioRoute(hosts=("a.example.com",), traffic_policy=cookie))).of(DEPLOYMENT)


def next_key(changes: dict[str, Any]) -> str:
    return next(iter(changes))


@pytest.mark.parametrize("changes", [{"namespace": LATER}, {"port": LATER}, {"image": LATER}], ids=next_key)
def test_an_output_anywhere_is_said_and_not_a_traceback(changes: dict[str, Any]) -> None:
    declared = declare(shop(**changes))
    [failure] = RolloutProvider().check({}, declared.of(ROLLOUT).inputs).failures
    assert failure.property == next_key(changes)


def test_what_users_write_is_plain_data() -> None:
    assert Canary(step_weight=5) == {"canary": {"step_weight": 5}}
    assert GatewayRoute(hosts=["a"], gateway="g").router == "gateway"
