"""Routers: the vendors' own shapes as data (tests/routers/<router>/*.yaml), and the laws of all.

A fixture has `why`, `source` (documentation with the date it was read), `before` (an object, or a list of
them), `weight`, and `after`: all that this weight changes, by its place ("spec.rules[0].backendRefs of HTTPRoute
podinfo", or "Ingress podinfo-canary" for an object that is made). Its apex is podinfo, its canary podinfo-v2, in
the namespace shop, port 9898. A name that begins with `under-way` has the canary in `before`. Strict validation by
the CRDs themselves is the lab's.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.routers import ROUTERS, Router, highest, identity, parts_of, understood

Manifest = dict[str, Any]

HERE = Path(__file__).parent / "routers"
FIXTURES = {f"{path.parent.name}/{path.stem}": path for path in sorted(HERE.glob("*/*.yaml"))}
AT_REST = [name for name in FIXTURES if not name.split("/")[1].startswith("under-way")]
BACKENDS = Backends(
    apex=Target(namespace="shop", service="podinfo", port=9898),
    canary=Target(namespace="shop", service="podinfo-v2", port=9898),
)
PERCENTS = (0, 1, 10, 33, 50, 99, 100)
ABLE = [name for name, router in ROUTERS.items() if router.STRATEGIES]


@cache
def loaded(name: str) -> dict[str, Any]:
    """A fixture as it is written."""
    found: dict[str, Any] = yaml.safe_load(FIXTURES[name].read_text())
    return found


def read(name: str) -> tuple[Router, dict[str, Any]]:
    """A fixture, with the objects before and after."""
    router, fixture = ROUTERS[name.split("/")[0]], deepcopy(loaded(name))
    before = fixture["before"] if isinstance(fixture["before"], list) else [fixture["before"]]
    after = deepcopy(before)
    for place, value in fixture["after"].items():
        _put(after, place, value)
    order = [identity(ref) for ref in parts_of(router, refs_of(before), BACKENDS)]
    return router, {**fixture, "before": before, "changed": sorted(after, key=lambda item: order.index(identity(item)))}


def parsed(place: str) -> tuple[str, list[Any]]:
    """A place such as "spec.rules[0] of HTTPRoute podinfo": the object, and the way to it in there."""
    path, _, named = place.rpartition(" of ")
    found = re.findall(r'\[(\d+)\]|\["([^"]+)"\]|([^.\[\]]+)', path)
    return named, [int(number) if number else quoted or word for number, quoted, word in found]


def _put(objects: list[Manifest], place: str, value: Any) -> None:
    named, steps = parsed(place)
    if not steps:
        objects.append(value)
        return
    holder: Any = by_name(objects)[named]
    for step in steps[:-1]:
        holder = holder[step]
    holder[steps[-1]] = value


def weight_in(router: Router, objects: list[Manifest], backends: Backends) -> int | None:
    """The canary's weight in a route."""
    return highest(router.shares(objects, backends))


def refs_of(objects: list[Manifest]) -> list[dict[str, str]]:
    return [{"apiVersion": item["apiVersion"], "kind": item["kind"], "name": identity(item)[1]} for item in objects]


def changed_places(before: Any, after: Any, path: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    """Where two JSON values differ; a list whose length changes differs as a whole."""
    if json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True):
        return set()
    if isinstance(before, dict) and isinstance(after, dict):
        keys = before.keys() | after.keys()
        return {at for key in keys for at in changed_places(before.get(key), after.get(key), (*path, key))}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return {at for number, (old, new) in pairs for at in changed_places(old, new, (*path, number))}
    return {path}


def by_name(objects: list[Manifest]) -> dict[str, Manifest]:
    return {" ".join(identity(item)): item for item in objects}


every_fixture = pytest.mark.parametrize("name", FIXTURES)
every_percent = pytest.mark.parametrize("percent", PERCENTS)


@every_fixture
def test_fixture(name: str) -> None:
    router, fixture = read(name)
    assert router.with_weight(fixture["before"], BACKENDS, fixture["weight"]) == fixture["changed"]
    assert fixture["changed"] != fixture["before"]


@every_fixture
def test_fixture_says_where_it_is_from(name: str) -> None:
    assert set(loaded(name)) == {"why", "source", "before", "weight", "after"}
    _, fixture = read(name)
    assert "https://" in fixture["source"]
    assert re.search(r"\(read 20\d\d-\d\d-\d\d\)", fixture["source"])


@every_fixture
@every_percent
def test_the_weight_that_was_set_is_read(name: str, percent: int) -> None:
    router, fixture = read(name)
    assert weight_in(router, router.with_weight(fixture["before"], BACKENDS, percent), BACKENDS) == percent


@every_fixture
@every_percent
def test_only_what_the_fixture_says_changes(name: str, percent: int) -> None:
    """At any weight, and the input is not changed."""
    router, fixture = read(name)
    before = deepcopy(fixture["before"])
    changed = router.with_weight(fixture["before"], BACKENDS, percent)
    assert fixture["before"] == before
    found = changed_places(by_name(before), by_name(changed))
    allowed = [(named, *steps) for named, steps in map(parsed, fixture["after"])]
    assert [at for at in found if not any(at[: len(one)] == one for one in allowed)] == []


def weights_of(value: Any) -> list[list[int]]:
    """The weights of each list that names both Services, and has them there."""
    if isinstance(value, dict):
        return [found for item in value.values() for found in weights_of(item)]
    if not isinstance(value, list):
        return []
    # Quoted, as the one name is part of the other.
    ours = [f'"{target.service}"' for target in (BACKENDS.apex, BACKENDS.canary)]
    named = [[name in json.dumps(item) for name in ours] for item in value]
    if [True, False] not in named or [False, True] not in named:
        return [found for item in value for found in weights_of(item)]
    shares = [item.get("weight", item.get("percent")) for item, found in zip(value, named, strict=True) if any(found)]
    return [[share or 0 for share in shares]] if any(share is not None for share in shares) else []


@every_fixture
@every_percent
def test_weights_come_to_a_hundred(name: str, percent: int) -> None:
    router, fixture = read(name)
    changed = router.with_weight(fixture["before"], BACKENDS, percent)
    assert all(sum(weights) == 100 for item in changed for weights in weights_of(item["spec"]))


@every_fixture
def test_nothing_nested_is_shared_with_the_input(name: str) -> None:
    router, fixture = read(name)
    before = json.dumps(fixture["before"])
    changed = router.with_weight(fixture["before"], BACKENDS, 10)
    back = router.restored(changed, fixture["before"], BACKENDS)
    kept = json.dumps(changed)
    for value in (back, changed):
        _spoil(value)
    assert json.dumps(fixture["before"]) == before
    assert json.dumps(back) != kept


def _spoil(value: Any) -> None:
    for item in list(value.values()) if isinstance(value, dict) else list(value):
        if isinstance(item, dict | list):
            _spoil(item)
    if isinstance(value, dict):
        value["spoiled"] = True
    else:
        value.append("spoiled")


@every_fixture
def test_setting_a_weight_twice_is_setting_it_once(name: str) -> None:
    router, fixture = read(name)
    once = router.with_weight(fixture["before"], BACKENDS, 30)
    assert router.with_weight(once, BACKENDS, 30) == once
    assert router.with_weight(router.with_weight(fixture["before"], BACKENDS, 70), BACKENDS, 30) == once


@pytest.mark.parametrize("name", AT_REST)
def test_restored_is_exact(name: str) -> None:
    router, fixture = read(name)
    original = fixture["before"]
    assert weight_in(router, original, BACKENDS) is None
    walked = router.with_weight(router.with_weight(original, BACKENDS, 10), BACKENDS, 100)
    for item in walked:
        item["metadata"]["resourceVersion"] = "99"
    back = router.restored(walked, original, BACKENDS)
    assert len(back) == len(original), "what the walk made is gone, and nothing else is"
    for now, before in zip(back, original, strict=True):
        assert now["metadata"]["resourceVersion"] == "99", "what lives beside it stays as it is"
        now["metadata"]["resourceVersion"] = before["metadata"].get("resourceVersion")
        rest = {**before, "metadata": {"resourceVersion": None, **before["metadata"]}}
        assert json.dumps(now, sort_keys=True) == json.dumps(rest, sort_keys=True)
    assert weight_in(router, back, BACKENDS) is None
    assert weight_in(router, walked, BACKENDS) == 100, "the input is not changed"
    assert router.restored(back, original, BACKENDS) == back


@pytest.mark.parametrize("name", AT_REST)
def test_what_is_still_there_is_restored_without_the_rest(name: str) -> None:
    """An application that is destroyed in the middle of a walk may have lost any of its objects."""
    router, fixture = read(name)
    walked = router.with_weight(fixture["before"], BACKENDS, 30)
    whole = by_name(router.restored(walked, fixture["before"], BACKENDS))
    for lost in walked:
        left = [item for item in walked if item is not lost]
        back = by_name(router.restored(left, fixture["before"], BACKENDS))
        assert back == {key: item for key, item in whole.items() if key != " ".join(identity(lost))}


@pytest.mark.parametrize("name", AT_REST)
@every_percent
def test_objects_are_known_by_their_parts_and_in_their_order(name: str, percent: int) -> None:
    router, fixture = read(name)
    parts = [identity(ref) for ref in parts_of(router, refs_of(fixture["before"]), BACKENDS)]
    changed = [identity(item) for item in router.with_weight(fixture["before"], BACKENDS, percent)]
    assert changed == [one for one in parts if one in changed]
    assert {identity(item) for item in fixture["before"]} <= set(changed), "a walk deletes nothing of others"


@every_fixture
def test_without_a_route_it_is_said_what_is_missing(name: str) -> None:
    router, _ = read(name)
    with pytest.raises(ValueError, match=BACKENDS.apex.service):
        weight_in(router, [], BACKENDS)
    assert router.with_weight([], BACKENDS, 10) == []
    assert router.restored([], [], BACKENDS) == []


def damaged(objects: list[Manifest]) -> Iterator[list[Manifest]]:
    """The objects with something of their specs taken away, or something else in its place, or in an annotation's.
    What else an object has is the cluster's own."""
    for number, item in enumerate(objects):
        for name in item["metadata"].get("annotations") or {}:
            for text in (
                "",
                "{",
                "1",
                "[1]",
                '{"a": 1}',
                '{"forwardConfig": 1}',
                '{"forwardConfig": {"targetGroups": 1}}',
            ):
                found = deepcopy(objects)
                found[number]["metadata"]["annotations"][name] = text
                yield found
        for *way, last in _ways(item.get("spec", {})):
            for instead in (None, "", 1, [], {}, [{}]):
                found = deepcopy(objects)
                holder = found[number]["spec"]
                for step in way:
                    holder = holder[step]
                if instead is None:
                    del holder[last]
                else:
                    holder[last] = instead
                yield found


def _ways(value: Any) -> Iterator[tuple[Any, ...]]:
    """To each member of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in pairs:
        yield (key,)
        yield from ((key, *way) for way in _ways(held))


@every_fixture
def test_a_shape_that_no_router_expects_is_an_error_in_words_and_never_another_one(name: str) -> None:
    """Not every CRD is strict, and a release that ends in a traceback leaves its traffic where it was."""
    router, fixture = read(name)
    refused = 0
    for objects in damaged(fixture["changed"]):
        for call in (
            lambda given: router.shares(given, BACKENDS),
            lambda given: router.with_weight(given, BACKENDS, 10),
            lambda given: router.restored(given, fixture["before"], BACKENDS),
            router.problem,
        ):
            with contextlib.suppress(ValueError), understood(objects):
                refused += 1
                call(objects)
                refused -= 1
    assert refused


def test_what_nobody_has_thought_of_names_the_object() -> None:
    with pytest.raises(ValueError, match=r"^HTTPRoute web is not understood: KeyError at 'rules'$"), understood([WEB]):
        WEB["spec"]["rules"]


WEB: Manifest = {"kind": "HTTPRoute", "metadata": {"name": "web"}, "spec": {}}


@pytest.mark.parametrize("router", ROUTERS)
def test_what_a_router_says_of_itself(router: str) -> None:
    module = ROUTERS[router]
    assert module.Route.router == router
    assert set(module.STRATEGIES.values()) <= {"traffic", "schema", "fixture"}
    assert module.REPORTS or module.problem([]) is None


RBAC = yaml.safe_load((Path(__file__).parents[1] / "docs" / "rbac.yaml").read_text())


@pytest.mark.parametrize("name", AT_REST)
def test_the_published_role_allows_what_a_walk_writes(name: str) -> None:
    """With all verbs, as a program declares these objects too."""
    router, fixture = read(name)
    for ref in parts_of(router, refs_of(fixture["before"]), BACKENDS):
        group, kind = ref["apiVersion"].rpartition("/")[0], ref["kind"].lower()
        plurals = {f"{kind}s", f"{kind}es", f"{kind.removesuffix('y')}ies"}
        allowed = [rule for rule in RBAC["rules"] if group in rule["apiGroups"] and plurals & set(rule["resources"])]
        wanted = {"get", "list", "watch", "create", "update", "patch", "delete"}
        assert [set(rule["verbs"]) for rule in allowed] == [wanted], ref


# Over generated objects: the vendors' with other names, and what a user may declare.

PORT = BACKENDS.apex.port
names = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)


@st.composite
def walks(draw: st.DrawFn) -> tuple[Router, list[Manifest], Backends]:
    """A router, a route of its shape at rest, and the two Services."""
    app, revision = draw(names), draw(names)
    port = draw(st.integers(1, 65535))
    apex = Target(namespace="shop", service=app, port=port)
    canary = Target(namespace="shop", service=f"{app}-{revision}", port=port)
    backends = Backends(apex=apex, canary=canary)
    if draw(st.booleans()):
        fixture = draw(st.sampled_from(AT_REST))
        router, read_ = read(fixture)
        text = json.dumps(read_["before"]).replace("podinfo-v2", f"{app}-{revision}").replace("podinfo", app)
        ports = {
            name: target.model_copy(update={"port": PORT}) for name, target in (("apex", apex), ("canary", canary))
        }
        return router, json.loads(text), backends.model_copy(update=ports)
    module = ROUTERS[draw(st.sampled_from(ABLE))]
    return module, draw(st.builds(module.Route)).objects(app, "shop", port), backends


@given(walks(), st.lists(st.integers(0, 100), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_walk_reads_what_it_writes_and_leaves_no_trace(
    walk: tuple[Router, list[Manifest], Backends], percents: list[int]
) -> None:
    router, original, backends = walk
    before = deepcopy(original)
    assert weight_in(router, original, backends) is None
    objects = original
    for percent in percents:
        objects = router.with_weight(objects, backends, percent)
        assert weight_in(router, objects, backends) == percent
        assert objects == router.with_weight(original, backends, percent), "the way there does not matter"
    assert router.restored(objects, original, backends) == original == before
