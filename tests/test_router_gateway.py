"""The Gateway API's own: shapes that are not ours, weights of others' edits, and the conditions of its status.

The laws of all routers: tests/test_routers.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.routers import gateway
from tests.test_routers import BACKENDS, weight_in


def backends_of(objects: list[Any]) -> list[Any]:
    return [rule.get("backendRefs") for item in objects for rule in item["spec"]["rules"]]


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
    assert backends_of(back) == [[ref("podinfo", 1)]]


def test_a_route_whose_rules_were_changed_meanwhile_gets_the_apex_alone() -> None:
    """Which rule had which backends cannot be told any more; all else of the rules stays."""
    back = gateway.restored(route(BOTH, BOTH), route(APEX), BACKENDS)
    assert backends_of(back) == [APEX, [ref("podinfo", 1)]]
    assert backends_of(gateway.restored(route(BOTH), [], BACKENDS)) == [[ref("podinfo", 1)]]


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
    assert weight_in(gateway, route(*rules), BACKENDS) == percent


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_weight_is_read_as_its_share_rounded_up(apex: int, canary: int) -> None:
    percent = weight_in(gateway, route([ref("podinfo", apex), ref("podinfo-v2", canary)]), BACKENDS)
    assert percent is not None
    assert percent - 1 < (100 * canary / (apex + canary) if apex + canary else 0) <= percent


NO_RULE = "no rule of the HTTPRoute has podinfo as its only backend"
AT = "spec.rules[0].backendRefs of HTTPRoute podinfo names"
NOT_OURS: dict[str, tuple[list[Any], str]] = {
    "no route": ([], f"{NO_RULE} (spec.rules)"),
    "no rule": (route(), f"{NO_RULE} (spec.rules)"),
    "another app": (route([ref("other")]), f"{NO_RULE}: {AT} other"),
    "another kind": (
        route([{**ref("podinfo"), "kind": "ServiceImport"}]),
        f"{NO_RULE}: {AT} a backend that is no Service of this namespace",
    ),
    "a third backend": (route([ref("podinfo"), ref("other")]), f"{NO_RULE}: {AT} other and podinfo"),
    "a third backend beside the canary": (
        route([*BOTH, ref("other")]),
        f"{AT} other, and should name podinfo alone",
    ),
    "the canary alone": (route([ref("podinfo-v2")]), f"{NO_RULE}: {AT} podinfo-v2"),
    "no backend": (route([]), f"{NO_RULE}: {AT} no backend"),
}


@pytest.mark.parametrize(("objects", "sentence"), NOT_OURS.values(), ids=NOT_OURS)
def test_a_shape_that_is_not_ours(objects: list[Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        weight_in(gateway, objects, BACKENDS)
    assert str(caught.value) == sentence
    assert gateway.with_weight(objects, BACKENDS, 50) == objects


def test_others_backends_beside_the_canary_are_seen_in_any_rule() -> None:
    """The rule is nobody's any more, and the canary's share in it would stay for ever."""
    with pytest.raises(ValueError, match=r"spec.rules\[1\].backendRefs of HTTPRoute podinfo names other"):
        weight_in(gateway, route(BOTH, [*BOTH, ref("other")]), BACKENDS)


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
    objects = gateway.Route(["podinfo.example.com"], "infra/public").objects("podinfo", "shop", 9898)
    assert weight_in(gateway, objects, BACKENDS) is None
    assert objects[0]["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert gateway.restored(gateway.with_weight(objects, BACKENDS, 20), objects, BACKENDS) == objects
    assert gateway.Route([], "public").objects("podinfo", "shop", 9898)[0]["spec"]["parentRefs"] == [{"name": "public"}]
