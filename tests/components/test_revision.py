"""A revision: its name and what it is made of. Traps 7 and 17 of the design.

The golden hashes are public: another hash for the same content would release every application again.
"""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components import Autoscaling
from components import revision as module
from components.revision import Content
from components.secrets import Secret
from tests.components.declared import (
    AUTOSCALER,
    BUDGET,
    CONFIGMAP,
    DEPLOYMENT,
    SECRET,
    SERVICE,
    TEMPLATE,
    Declared,
    changing,
    declare,
    from_template,
    rendered,
    shop,
)

# Trap 7.

GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, "140527c1"),
    "environment": ({"env": {"B": "2", "A": "1"}}, "ea9c96c8"),
    "readiness": ({"readiness_path": "/readyz"}, "f0ed809e"),
    "configs": ({"configs": {"A": "1"}}, "ce79fbbb"),
    "secrets": ({"secrets": {"TOKEN": Secret("hidden")}}, "3cd366d6"),
    "a digest": ({"image": "shop@sha256:" + "0" * 64}, "e7b2604f"),
    "a pod template": (from_template(), "d27d4e88"),
}


def check_golden(settings: dict[str, Any], golden: str) -> None:
    assert rendered(**settings).hash == golden


@pytest.mark.parametrize(("settings", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_trap_07_golden_hashes(settings: dict[str, Any], golden: str) -> None:
    check_golden(settings, golden)


def test_trap_07_without_a_new_default_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Content._template

    def newer(self: Content) -> dict[str, Any]:
        template = real(self)
        template["spec"]["terminationGracePeriodSeconds"] = 30
        return template

    monkeypatch.setattr(Content, "_template", newer)
    with pytest.raises(AssertionError):
        check_golden(*GOLDEN["plain"])


def test_everything_that_runs_is_in_the_name() -> None:
    names = [rendered(**settings).hash for settings, _ in GOLDEN.values()]
    other = [rendered(app="mall"), rendered(port=80), rendered(secrets={"TOKEN": Secret("other")})]
    names += [item.hash for item in other]
    assert len(set(names)) == len(names)


def test_what_is_not_content_is_not_in_the_name() -> None:
    assert rendered(namespace="blue").hash == rendered().hash, "moving is not a new version"
    assert rendered(env={"A": "1", "B": "2"}).hash == GOLDEN["environment"][1], "order is not content"


def test_a_name_of_ones_own() -> None:
    assert rendered(revision="v2").name == "shop-v2"


def frozen(declared: Declared, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Run the Deployment's hook as the engine does before an update in place."""
    deployment = declared.of(DEPLOYMENT)
    for name in deployment.request.hooks.before_update:
        inputs = {"new_inputs": new, "old_inputs": old}
        declared.hooks[name](pulumi.ResourceHookArgs(urn=deployment.urn, id="x", name="x", type=DEPLOYMENT, **inputs))


EDITS = {
    "template": {"spec": {"template": {"spec": {"containers": []}}}},
    "selector": {"spec": {"selector": {"matchLabels": {}}}},
}


def check_refused_edit(declared: Declared, part: str) -> None:
    old = declared.of(DEPLOYMENT).inputs
    new = {**old, "spec": {**old["spec"], **EDITS[part]["spec"]}}
    said = None
    try:
        frozen(declared, old, new)
    except RuntimeError as error:
        said = str(error)
    name = declared.of(DEPLOYMENT).name
    assert said == (
        f"Deployment {name} would change in place (spec.{part}), past the rollout: a transform or an unchanged "
        "`revision=` gives it other content under the same name"
    )


@pytest.mark.parametrize("part", EDITS)
def test_trap_07_an_edit_in_place_is_refused(part: str) -> None:
    check_refused_edit(declare(shop()), part)


def test_trap_07_without_the_hook() -> None:
    def unhook(args: Any) -> None:
        args.opts.hooks = None

    with pytest.raises(AssertionError):
        check_refused_edit(declare(shop(opts=changing(DEPLOYMENT, unhook))), "template")


def test_other_edits_of_a_deployment_pass() -> None:
    declared = declare(shop())
    old = declared.of(DEPLOYMENT).inputs
    frozen(declared, old, {**old, "metadata": {"labels": {"team": "shop"}}})
    frozen(declared, {}, {})


# Trap 17.


def check_children(declared: Declared) -> None:
    revision = declared.of(DEPLOYMENT).name
    children = [item for item in declared if item.name == revision]
    assert {item.type for item in children} >= {DEPLOYMENT, SERVICE, CONFIGMAP, SECRET, BUDGET, AUTOSCALER}
    for item in children:
        assert (item.request.protect, item.request.retainOnDelete) == (False, False), item.type
    assert {declared.of(kind).urn for kind in (CONFIGMAP, SECRET)} <= declared.of(DEPLOYMENT).depends_on


FULL: dict[str, Any] = {
    "configs": {"A": "1"},
    "secrets": {"TOKEN": Secret("hidden")},
    "autoscaling": Autoscaling(2, 5),
}


def test_trap_17_a_revision_can_always_be_deleted() -> None:
    protected = pulumi.ResourceOptions(protect=True, retain_on_delete=True)
    check_children(declare(shop(**FULL, opts=protected)))


@pytest.mark.parametrize("kind", [DEPLOYMENT, "pulumi-rollout:index:Revision"])
def test_trap_17_without_the_application_protects_it(kind: str) -> None:
    """A component that is protected cannot be deleted either, and its children inherit from it."""

    def inherit(args: Any) -> None:
        args.opts.protect = True if kind == DEPLOYMENT else None

    opts = pulumi.ResourceOptions.merge(changing(kind, inherit), pulumi.ResourceOptions(protect=True))
    with pytest.raises(AssertionError):
        check_children(declare(shop(**FULL, opts=opts)))


def test_trap_17_without_the_order_pods_start_before_their_config() -> None:
    def at_once(args: Any) -> None:
        args.opts.depends_on = []

    with pytest.raises(AssertionError):
        check_children(declare(shop(**FULL, opts=changing(DEPLOYMENT, at_once))))


def check_own_pods(declared: Declared) -> None:
    """Selectors on the application alone count both versions during a walk."""
    deployment = declared.of(DEPLOYMENT)
    own = {"app.kubernetes.io/name": "shop", "pulumi-rollout/revision": deployment.name.removeprefix("shop-")}
    spec = deployment.inputs["spec"]
    assert spec["selector"]["matchLabels"] == own
    assert own.items() <= spec["template"].get("metadata", {}).get("labels", {}).items()
    assert declared.of(BUDGET).inputs["spec"]["selector"]["matchLabels"] == own
    assert declared.of(SERVICE, deployment.name).inputs["spec"]["selector"] == own
    for spread in spec["template"]["spec"].get("topologySpreadConstraints", []):
        assert spread.get("matchLabelKeys") == ["pulumi-rollout/revision"]


SPREAD = {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "shop"}}}


def spreading() -> dict[str, Any]:
    return from_template(spec={**TEMPLATE["spec"], "topologySpreadConstraints": [SPREAD]})


def test_trap_17_selectors_and_spreading_are_of_one_revision() -> None:
    check_own_pods(declare(shop(**spreading())))


def test_trap_17_without_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_marked", lambda template, content, name: template)
    with pytest.raises(AssertionError):
        check_own_pods(declare(shop(**spreading())))


def test_a_spread_of_ones_own_is_kept() -> None:
    own = {**SPREAD, "matchLabelKeys": ["pod-template-hash"]}
    made = rendered(**from_template(spec={**TEMPLATE["spec"], "topologySpreadConstraints": [own]}))
    assert made.template["spec"]["topologySpreadConstraints"] == [own]


# What is rendered.


def test_configs_secrets_and_env_reach_the_first_container() -> None:
    given = {"configs": {"A": "1"}, "secrets": {"TOKEN": Secret("hidden")}, "env": {"B": "2"}}
    for base in ({}, from_template()):
        made = rendered(**base, **given)
        first, *others = made.template["spec"]["containers"]
        assert first["envFrom"] == [{"configMapRef": {"name": made.name}}, {"secretRef": {"name": made.name}}]
        assert first["env"] == [{"name": "B", "value": "2"}]
        assert all("envFrom" not in item and "env" not in item for item in others)


def test_a_templates_own_labels_and_annotations_are_kept() -> None:
    made = rendered(**from_template(metadata={"labels": {"team": "shop"}, "annotations": {"a": "b"}}))
    metadata = made.template["metadata"]
    assert metadata == {"labels": {"team": "shop", **made.labels}, "annotations": {"a": "b"}}


def test_a_template_is_not_changed_by_rendering() -> None:
    template = from_template()["pod_template"]
    before = repr(template)
    rendered(image=None, pod_template=template, env={"A": "1"}, configs={"B": "2"})
    assert repr(template) == before


def test_an_output_passes_through_under_a_name_of_ones_own() -> None:
    digest = pulumi.Output.from_input("shop@sha256:0")
    made = rendered(image=digest, revision="v2")
    assert made.template["spec"]["containers"][0]["image"] is digest
