"""Patches: applied by the letter of RFC 6902 they lead to what was meant, or to nothing at all."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pulumi_rollout.patches import Operation, done, entries, patch

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=2)
KEYS = st.text("ab/~", max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


class Refused(Exception):
    """A test operation, or a place that is not there."""


def applied(document: Any, operations: list[Operation]) -> Any:
    """RFC 6902, of which `move` and `copy` are not known here: all operations or none."""
    holder = {"": deepcopy(document)}
    for operation in operations:
        parent, key = located(holder, operation["path"], adds=operation["op"] == "add")
        if operation["op"] == "test":
            if exact(parent[key]) != exact(operation["value"]):
                raise Refused(operation)
        elif operation["op"] in ("add", "replace"):
            parent[key] = deepcopy(operation["value"])
        elif operation["op"] == "remove":
            del parent[key]
        else:
            raise AssertionError(operation)
    return holder[""]


def located(holder: Any, pointer: str, *, adds: bool = False) -> tuple[Any, Any]:
    """RFC 6901: the value that holds the place, and the place in it. + adds: to an object, where it may be new"""
    parent, key = holder, ""
    for word in pointer.split("/")[1:]:
        if isinstance(parent, dict) and key not in parent:
            raise Refused(pointer)
        parent = parent[key]
        if isinstance(parent, list):
            key = int(word)  # type: ignore[assignment]
            if key >= len(parent):  # type: ignore[operator]
                raise Refused(pointer)
        elif isinstance(parent, dict):
            key = word.replace("~1", "/").replace("~0", "~")
            if key not in parent and not adds:
                raise Refused(pointer)
        else:
            raise Refused(pointer)
    return parent, key


def exact(value: Any) -> str:
    """Equal as JSON: to Python, 1 and true are equal."""
    return json.dumps(value, sort_keys=True)


@given(VALUES, VALUES)
def test_a_patch_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    assert exact(applied(before, patch(before, after))) == exact(after)


@given(VALUES, VALUES)
def test_done_tells_that_it_has_been_applied(before: Any, after: Any) -> None:
    operations = patch(before, after)
    assert {operation["op"] for operation in done(operations)} <= {"test"}
    assert exact(applied(after, done(operations))) == exact(after)
    if operations:
        with pytest.raises(Refused):
            applied(before, done(operations))


@given(VALUES)
def test_equal_values_need_no_patch(value: Any) -> None:
    assert patch(value, deepcopy(value)) == []


@st.composite
def routes(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rules of named backends before and after a change of weights."""
    names = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)
    rules = draw(st.lists(names, min_size=1, max_size=3))

    def weighed(weight: st.SearchStrategy[int]) -> dict[str, Any]:
        return {"rules": [{"refs": [{"name": name, "weight": draw(weight)} for name in rule]} for rule in rules]}

    return weighed(st.integers(0, 50)), weighed(st.integers(51, 100))


@given(routes(), st.integers(0, 100))
def test_weights_may_be_what_they_are(route: tuple[dict[str, Any], dict[str, Any]], other: int) -> None:
    before, after = route
    live = deepcopy(before)
    for rule in live["rules"]:
        for ref in rule["refs"]:
            ref["weight"] = other
    assert applied(live, patch(before, after)) == after


@given(routes(), st.data())
def test_what_was_reshaped_is_refused(route: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject) -> None:
    before, after = route
    live = deepcopy(before)
    rule = data.draw(st.sampled_from(live["rules"]))
    match data.draw(st.sampled_from(["renamed", "reversed", "taken away", "without a name", "rule taken away"])):
        case "renamed":
            data.draw(st.sampled_from(rule["refs"]))["name"] = "other"
        case "reversed":
            assume(len(rule["refs"]) > 1)
            rule["refs"].reverse()
        case "taken away":
            rule["refs"].pop()
        case "without a name":
            del data.draw(st.sampled_from(rule["refs"]))["name"]
        case "rule taken away":
            live["rules"].pop()
    with pytest.raises(Refused):
        applied(live, patch(before, after))


CANARY = [{"name": "shop", "port": 80, "weight": 100}, {"name": "shop-v2", "port": 80, "weight": 0}]


def test_a_list_that_grows_or_shrinks_is_compared_and_replaced_as_a_whole() -> None:
    home = [{"name": "shop", "port": 80}]
    assert patch({"refs": CANARY}, {"refs": home}) == [
        {"op": "test", "path": "/refs", "value": CANARY},
        {"op": "replace", "path": "/refs", "value": home},
    ]
    with pytest.raises(Refused):
        applied({"refs": [*CANARY, {"name": "theirs"}]}, patch({"refs": CANARY}, {"refs": home}))


def test_a_weight_is_replaced_whatever_it_is_where_the_backend_is_the_same() -> None:
    changed = [CANARY[0], {**CANARY[1], "weight": 7}]
    assert patch({"refs": CANARY}, {"refs": changed}) == [
        {"op": "test", "path": "/refs/1/name", "value": "shop-v2"},
        {"op": "test", "path": "/refs/1/port", "value": 80},
        {"op": "replace", "path": "/refs/1/weight", "value": 7},
    ]


def test_a_weight_without_a_name_beside_it_is_replaced_where_the_rest_is_the_same() -> None:
    """The rest by which it differs from its neighbours, that is: what they have in common says nothing."""
    shared = {"headers": {"x": "y"}}
    before = [{"to": {"host": host}, "weight": 50, **shared} for host in ("shop", "shop-v2")]
    after = [before[0], {**before[1], "weight": 0}]
    assert patch(before, after) == [
        {"op": "test", "path": "/1/to", "value": {"host": "shop-v2"}},
        {"op": "replace", "path": "/1/weight", "value": 0},
    ]


def test_names_with_slashes_and_tildes() -> None:
    before = {"annotations": {"nginx.io/weight~": "30", "team": "shop"}}
    after = {"annotations": {"nginx.io/weight~": "0", "team": "shop"}}
    assert patch(before, after) == [
        {"op": "test", "path": "/annotations/team", "value": "shop"},
        {"op": "replace", "path": "/annotations/nginx.io~1weight~0", "value": "0"},
    ]


MAPPINGS = st.dictionaries(KEYS, st.text("ab/~", max_size=2), max_size=4)


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_entries_lead_from_one_to_the_other_and_leave_others_alone(
    before: dict[str, str], after: dict[str, str], others: dict[str, str]
) -> None:
    operations = entries(before, after, "/metadata/annotations")
    theirs = {f"their {key}": value for key, value in others.items()}
    found = applied({"metadata": {"annotations": {**theirs, **before}}}, operations)
    assert found == {"metadata": {"annotations": {**theirs, **after}}}


@given(MAPPINGS, MAPPINGS)
def test_entries_are_not_done_before_they_are(before: dict[str, str], after: dict[str, str]) -> None:
    operations = entries(before, after, "")
    assume(operations)
    with pytest.raises(Refused):
        applied(before, done(operations))
    if before.keys() <= after.keys():
        assert applied(after, done(operations)) == after


def test_an_entry_that_somebody_else_has_written_is_not_removed() -> None:
    operations = entries({"a": "1"}, {}, "")
    assert applied({"a": "1"}, operations) == {}
    for other in ({"a": "2"}, {}):
        with pytest.raises(Refused):
            applied(other, operations)
