"""Routers: the vendors' own shapes as data (tests/routers/<router>/*.yaml), and the laws of all.

A fixture has `why`, `source` (documentation with the date it was read), `before`, `weight`, and
`after`: the backends of each rule. Strict validation by the CRDs themselves is the lab's.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers import ROUTERS, Router, gateway

HERE = Path(__file__).parent / "routers"
FIXTURES = {f"{path.parent.name}/{path.stem}": path for path in sorted(HERE.glob("*/*.yaml"))}
BACKENDS = Backends(
    apex=Target(namespace="shop", service="podinfo", port=9898),
    canary=Target(namespace="shop", service="podinfo-v2", port=9898),
)
PERCENTS = (0, 1, 10, 33, 50, 99, 100)


def load(name: str) -> tuple[Router, dict[str, Any]]:
    fixture = yaml.safe_load(FIXTURES[name].read_text())
    return ROUTERS[name.split("/")[0]], fixture


def backends_of(route: dict[str, Any]) -> list[Any]:
    return [rule.get("backendRefs") for rule in route["spec"]["rules"]]


def without_backends(route: dict[str, Any]) -> dict[str, Any]:
    rest = deepcopy(route)
    for rule in rest["spec"]["rules"]:
        rule.pop("backendRefs", None)
    return rest


every_fixture = pytest.mark.parametrize("name", FIXTURES)


@every_fixture
def test_fixture(name: str) -> None:
    router, fixture = load(name)
    [changed] = router.with_weight([fixture["before"]], BACKENDS, fixture["weight"])
    assert backends_of(changed) == fixture["after"]


@every_fixture
def test_fixture_says_where_it_is_from(name: str) -> None:
    _, fixture = load(name)
    assert set(fixture) == {"why", "source", "before", "weight", "after"}
    assert "https://" in fixture["source"]
    assert "(read 20" in fixture["source"]


@every_fixture
@pytest.mark.parametrize("percent", PERCENTS)
def test_the_weight_that_was_set_is_read(name: str, percent: int) -> None:
    router, fixture = load(name)
    assert router.weight(router.with_weight([fixture["before"]], BACKENDS, percent), BACKENDS) == percent


@every_fixture
@pytest.mark.parametrize("percent", PERCENTS)
def test_only_our_backends_change(name: str, percent: int) -> None:
    router, fixture = load(name)
    before = deepcopy(fixture["before"])
    [changed] = router.with_weight([fixture["before"]], BACKENDS, percent)
    assert fixture["before"] == before, "the input is not changed"
    assert without_backends(changed) == without_backends(before)
    for refs, expected in zip(backends_of(changed), fixture["after"], strict=True):
        if refs is not None and any(ref["name"] == BACKENDS.canary.service for ref in refs):
            assert sum(ref["weight"] for ref in refs) == 100
            assert [ref["name"] for ref in refs] == [BACKENDS.apex.service, BACKENDS.canary.service]
        else:
            assert json.dumps(refs) == json.dumps(expected), "rules of others stay byte for byte"


@every_fixture
def test_a_change_of_one_copy_is_not_a_change_of_the_other(name: str) -> None:
    """Nothing nested is shared with the input."""
    router, fixture = load(name)
    [changed] = router.with_weight([fixture["before"]], BACKENDS, 10)
    for rule in changed["spec"]["rules"]:
        rule.setdefault("filters", []).append("changed")
        for ref in rule.get("backendRefs", []):
            ref.setdefault("filters", []).append("changed")
    assert "changed" not in json.dumps(fixture["before"])


@every_fixture
def test_setting_a_weight_twice_is_setting_it_once(name: str) -> None:
    router, fixture = load(name)
    once = router.with_weight([fixture["before"]], BACKENDS, 30)
    assert router.with_weight(once, BACKENDS, 30) == once
    again = router.with_weight(router.with_weight([fixture["before"]], BACKENDS, 70), BACKENDS, 30)
    assert again == once


@pytest.mark.parametrize("name", [name for name in FIXTURES if not name.endswith("/under-way")])
def test_restored_is_exact(name: str) -> None:
    router, fixture = load(name)
    original = [fixture["before"]]
    assert router.weight(original, BACKENDS) is None
    walked = router.with_weight(router.with_weight(original, BACKENDS, 10), BACKENDS, 100)
    walked[0]["metadata"]["resourceVersion"] = "99"
    back = router.restored(walked, original, BACKENDS)
    assert json.dumps(back[0]["spec"], sort_keys=True) == json.dumps(original[0]["spec"], sort_keys=True)
    assert back[0]["metadata"]["resourceVersion"] == "99", "what lives beside the spec stays as it is"
    assert router.weight(back, BACKENDS) is None
    assert router.weight(walked, BACKENDS) == 100, "the input is not changed"


def route(*rules: Any, generation: int = 1, parents: list[Any] | None = None) -> list[dict[str, Any]]:
    """An HTTPRoute of the namespace shop, its backends by rule."""
    return [
        {
            "apiVersion": gateway.API_VERSION,
            "kind": gateway.KIND,
            "metadata": {"name": "podinfo", "namespace": "shop", "generation": generation},
            "spec": {
                "parentRefs": [{"name": "public", "namespace": "infra"}],
                "rules": [{"backendRefs": refs} for refs in rules],
            },
            **({} if parents is None else {"status": {"parents": parents}}),
        }
    ]


def ref(name: str, weight: int | None = None) -> dict[str, Any]:
    return {"name": name, "port": 9898, **({} if weight is None else {"weight": weight})}


APEX, BOTH = [ref("podinfo")], [ref("podinfo", 70), ref("podinfo-v2", 30)]


def test_an_original_that_lists_the_canary_is_not_restored() -> None:
    """An earlier walk was given up and left it there; its weight would come back for ever."""
    back = gateway.restored(route(BOTH), route(BOTH), BACKENDS)
    assert backends_of(back[0]) == [[ref("podinfo", 1)]]


def test_a_route_whose_rules_were_changed_meanwhile_gets_the_apex_alone() -> None:
    """Which rule had which backends cannot be told any more; metadata and new rules stay."""
    back = gateway.restored(route(BOTH, BOTH), route(APEX), BACKENDS)
    assert backends_of(back[0]) == [[ref("podinfo", 1)], [ref("podinfo", 1)]]
    assert backends_of(gateway.restored(route(BOTH), [], BACKENDS)[0]) == [[ref("podinfo", 1)]]


@pytest.mark.parametrize(
    ("rules", "percent"),
    [
        ([APEX], None),
        ([BOTH], 30),
        ([[ref("podinfo", 1), ref("podinfo-v2", 1)]], 50),
        ([[ref("podinfo"), ref("podinfo-v2")]], 50),
        ([[ref("podinfo", 999), ref("podinfo-v2", 1)]], 1),
        ([[ref("podinfo", 0), ref("podinfo-v2", 0)]], 0),
        ([[ref("podinfo", 0), ref("podinfo-v2", 5)]], 100),
        ([APEX, BOTH], 30),
        ([BOTH, [ref("podinfo", 20), ref("podinfo-v2", 80)]], 80),
        ([APEX, [ref("podinfo", 100), ref("podinfo-v2", 0)]], 0),
    ],
)
def test_weights_of_somebody_elses_edit_are_never_understated(rules: list[Any], percent: int | None) -> None:
    assert gateway.weight(route(*rules), BACKENDS) == percent


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_weight_is_read_as_its_share_rounded_up(apex: int, canary: int) -> None:
    percent = gateway.weight(route([ref("podinfo", apex), ref("podinfo-v2", canary)]), BACKENDS)
    assert percent is not None
    assert percent - 1 < (100 * canary / (apex + canary) if apex + canary else 0) <= percent


@pytest.mark.parametrize(
    "objects",
    [[], route(), route([ref("other")]), route([ref("podinfo"), ref("other")]), route([ref("podinfo-v2")]), route([])],
    ids=["no route", "no rule", "another app", "a third backend", "the canary alone", "no backend"],
)
def test_a_shape_that_is_not_ours(objects: list[Any]) -> None:
    with pytest.raises(ValueError, match="no rule of the HTTPRoute has podinfo as its only backend") as caught:
        gateway.weight(objects, BACKENDS)
    assert str(caught.value) == "no rule of the HTTPRoute has podinfo as its only backend (spec.rules)"
    assert gateway.with_weight(objects, BACKENDS, 50) == objects


def condition(kind: str, status: str = "True", seen: int = 3, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "observedGeneration": seen, "message": message, "reason": kind}


def parent(*conditions: dict[str, Any], name: str = "public", **ref: str) -> dict[str, Any]:
    return {
        "parentRef": {"group": gateway.API_VERSION, "name": name, "namespace": "infra", **ref},
        "controllerName": "projectcontour.io/gateway-controller",
        "conditions": list(conditions),
    }


ACCEPTED, RESOLVED = condition("Accepted"), condition("ResolvedRefs")
NOT_SEEN = "the Gateway has not seen the HTTPRoute's last change yet"


@pytest.mark.parametrize(
    ("parents", "problem"),
    [
        pytest.param([parent(ACCEPTED, RESOLVED)], None, id="taken"),
        pytest.param([parent(ACCEPTED)], None, id="a controller that resolves nothing"),
        pytest.param(None, "no Gateway has taken the HTTPRoute yet (status.parents is empty)", id="no status"),
        pytest.param([], "no Gateway has taken the HTTPRoute yet (status.parents is empty)", id="no parent"),
        pytest.param([parent()], "the Gateway has not said yet whether it accepts the HTTPRoute", id="no condition"),
        pytest.param(
            [parent(RESOLVED)], "the Gateway has not said yet whether it accepts the HTTPRoute", id="not accepted yet"
        ),
        pytest.param([parent(condition("Accepted", seen=2), RESOLVED)], NOT_SEEN, id="old acceptance"),
        pytest.param([parent(ACCEPTED, condition("ResolvedRefs", seen=2))], NOT_SEEN, id="old references"),
        pytest.param(
            [parent(condition("Accepted", "False", message="no matching listener"), RESOLVED)],
            "the Gateway refuses the HTTPRoute: no matching listener",
            id="refused",
        ),
        pytest.param(
            [parent(ACCEPTED, condition("ResolvedRefs", "False", message='Service "podinfo-v2" not found'))],
            'the Gateway refuses the HTTPRoute: Service "podinfo-v2" not found',
            id="unknown backend",
        ),
        pytest.param(
            [parent(ACCEPTED, RESOLVED), parent(condition("Accepted", seen=1), name="former")],
            None,
            id="a former parent's leftover",
        ),
        pytest.param(
            [parent(ACCEPTED, RESOLVED, condition("Programmed", "False", seen=1))], None, id="a vendor's own condition"
        ),
    ],
)
def test_problem(parents: list[Any] | None, problem: str | None) -> None:
    assert gateway.problem(route(APEX, generation=3, parents=parents)) == problem


def test_every_gateway_that_the_route_names_must_have_it() -> None:
    both = route(APEX, generation=3, parents=[parent(ACCEPTED), parent(condition("Accepted", seen=2), name="internal")])
    both[0]["spec"]["parentRefs"].append({"name": "internal", "namespace": "infra"})
    assert gateway.problem(both) == NOT_SEEN


def test_a_parent_without_namespace_is_in_the_routes_own() -> None:
    named = route(APEX, generation=3, parents=[parent(ACCEPTED, namespace="shop"), parent(name="old")])
    named[0]["spec"]["parentRefs"] = [{"name": "public"}]
    assert gateway.problem(named) is None


def test_the_declared_route_is_at_rest_and_ours() -> None:
    objects = gateway.declared("podinfo", "shop", ["podinfo.example.com"], "infra/public", 9898)
    assert gateway.weight(objects, BACKENDS) is None
    assert objects[0]["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert gateway.restored(gateway.with_weight(objects, BACKENDS, 20), objects, BACKENDS) == objects
    assert gateway.declared("podinfo", "shop", [], "public", 9898)[0]["spec"]["parentRefs"] == [{"name": "public"}]
