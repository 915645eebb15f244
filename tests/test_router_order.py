"""The order of writes of routers with several objects: no proxy meets a destination that it cannot know.

Proxies learn of each object for itself. So after each single write, on the way forward and on the way home, what a
route names has to be there already, or still.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pulumi_rollout.routers import Router, identity, parts_of
from tests.test_routers import BACKENDS, FIXTURES, read, refs_of

Manifest = dict[str, Any]
Objects = dict[tuple[str, str], Manifest]


def istio(objects: Objects) -> tuple[set[Any], set[Any]]:
    """The subsets and hosts that are named, and those that there are. Hosts need a DestinationRule if one has."""
    named = {
        (route["destination"]["host"], route["destination"].get("subset"))
        for (kind, _), item in objects.items()
        if kind == "VirtualService"
        for rule in item["spec"]["http"]
        for route in rule["route"]
        if route["destination"]["host"].startswith(BACKENDS.apex.service)
    }
    rules = [item["spec"] for (kind, _), item in objects.items() if kind == "DestinationRule"]
    known = {(rule["host"].split(".")[0], subset["name"]) for rule in rules for subset in rule.get("subsets", [])}
    hosts = {name for kind, name in objects if kind == "Service"} or {rule["host"].split(".")[0] for rule in rules}
    return named, {(host, None) for host in hosts} | {(host, subset) for host, subset in known if host in hosts}


def appmesh(objects: Objects) -> tuple[set[Any], set[Any]]:
    """The VirtualNodes that are named, and those that there are."""
    named = {
        target["virtualNodeRef"]["name"]
        for (kind, _), item in objects.items()
        if kind == "VirtualRouter"
        for route in item["spec"]["routes"]
        for target in next(iter(rest for key, rest in route.items() if key != "name"))["action"]["weightedTargets"]
    }
    return named, {name for kind, name in objects if kind == "VirtualNode"}


CASES: dict[str, Callable[[Objects], tuple[set[Any], set[Any]]]] = {
    "istio/subsets": istio,
    "istio/subsets-own-service": istio,
    "istio/traffic-policy": istio,
    "appmesh/plain": appmesh,
}


def states(router: Router, objects: list[Manifest], order: list[tuple[str, str]]) -> Iterator[Objects]:
    """A walk to the end and back, after each single write, as `perform.py` does them."""
    state: Objects = {identity(item): item for item in objects}
    yield state

    def written(wanted: list[Manifest], order: list[tuple[str, str]]) -> Iterator[Objects]:
        nonlocal state
        after = {identity(item): item for item in wanted}
        for key in order:
            if state.get(key) != after.get(key):
                state = {**state, key: after[key]} if key in after else {k: v for k, v in state.items() if k != key}
                yield state

    for percent in (0, 20, 100, 0):
        live = [state[key] for key in order if key in state]
        yield from written(router.with_weight(live, BACKENDS, percent), order)
    live = [state[key] for key in order if key in state]
    yield from written(router.restored(live, objects, BACKENDS), order[::-1])
    assert state == {identity(item): item for item in objects}


@pytest.mark.parametrize("name", CASES)
def test_what_is_named_is_there(name: str) -> None:
    router, fixture = read(name)
    order = [identity(ref) for ref in parts_of(router, refs_of(fixture["before"]), BACKENDS)]
    seen = 0
    for state in states(router, fixture["before"], order):
        named, known = CASES[name](state)
        assert named <= known
        seen += 1
    assert seen > len(order)


@pytest.mark.parametrize("name", CASES)
def test_any_other_order_names_what_is_not_there(name: str) -> None:
    """So that the test above can fail: the route before what it names, either way."""
    router, fixture = read(name)
    order = [identity(ref) for ref in parts_of(router, refs_of(fixture["before"]), BACKENDS)]
    wrong = [order[-1], *order[:-1]]
    assert any(not named <= known for named, known in map(CASES[name], states(router, fixture["before"], wrong)))


def test_every_router_that_makes_destinations_is_here() -> None:
    """Those whose `parts` come before the objects that people name; NGINX makes a second route instead."""
    makes = set()
    for name, fixture in ((name, read(name)[1]) for name in FIXTURES):
        router = read(name)[0]
        refs = refs_of(fixture["before"])
        parts = parts_of(router, refs, BACKENDS)
        if parts[-1] in refs and len(parts) > len(refs):
            makes.add(name.split("/")[0])
    assert makes == {name.split("/")[0] for name in CASES}


def test_the_apex_keeps_all_until_the_subsets_are_known() -> None:
    """Both subsets enter and leave at weight 0, the stable one too."""
    router, fixture = read("istio/subsets")
    route = ("VirtualService", "podinfo")
    order = [identity(ref) for ref in parts_of(router, refs_of(fixture["before"]), BACKENDS)]
    weights = [
        [destination.get("weight", 100) for destination in state[route]["spec"]["http"][1]["route"]]
        for state in states(router, fixture["before"], order)
    ]
    assert [one for one, _ in itertools.groupby(weights)] == [
        [100],
        [100, 0, 0],
        [0, 80, 20],
        [0, 0, 100],
        [100, 0, 0],
        [100],
    ]
