"""What routers with weighted backends have in common: which rules take part, and how each finds its way back.

The Gateway API's HTTPRoute stands for all of them; the laws of each are in tests/test_routers.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.targets import Backends
from pulumi_rollout.routers import gateway
from tests.test_router_gateway import APEX, BOTH, backends_of, ref, route
from tests.test_routers import BACKENDS, weight_in


def only(*rules: str | int) -> Backends:
    return BACKENDS.model_copy(update={"rules": rules})


def named(objects: list[Any], *names: str) -> list[Any]:
    for rule, name in zip(objects[0]["spec"]["rules"], names, strict=True):
        rule["name"] = name
    return objects


def test_only_rules_that_are_named_take_part() -> None:
    three = named(route(APEX, APEX, APEX), "api", "web", "admin")
    for rules in (("web", "admin"), (1, 2), (1, "admin")):
        walked = gateway.with_weight(three, only(*rules), 30)
        assert backends_of(walked) == [APEX, BOTH, BOTH]
        assert weight_in(gateway, walked, only(*rules)) == 30
        assert weight_in(gateway, walked, only("api")) == 30, "whatever lists the canary is this walk's"
        assert gateway.restored(walked, three, only(*rules)) == three


def test_each_walk_puts_back_its_own_rules() -> None:
    """Two walks to two revisions of one application are not two walks; these are of two applications."""
    two = named(route(APEX, [ref("cart")]), "web", "cart")
    targets = {
        name: target.model_copy(update={"service": target.service.replace("podinfo", "cart")})
        for name, target in (("apex", BACKENDS.apex), ("canary", BACKENDS.canary))
    }
    cart = BACKENDS.model_copy(update=targets)
    both = gateway.with_weight(gateway.with_weight(two, BACKENDS, 30), cart, 60)
    assert backends_of(both) == [BOTH, [ref("cart", 40), ref("cart-v2", 60)]]
    # The second walk began while the first was under way, and remembers the route with its weights in it.
    back = gateway.restored(both, gateway.with_weight(two, BACKENDS, 10), cart)
    assert backends_of(back) == [BOTH, [ref("cart")]]
    assert gateway.restored(back, two, BACKENDS) == two


REFUSED: dict[str, tuple[list[Any], tuple[str | int, ...], str]] = {
    "an unknown name": (
        named(route(APEX, APEX), "api", "web"),
        ("admin",),
        "there is no rule admin in the route; there are: api, web",
    ),
    "an unknown position": (route(APEX, APEX), (2,), "there is no rule 2 in the route; there are: 0, 1"),
    "no rules at all": (route(), (0,), "there is no rule 0 in the route; there are: none"),
    "a rule of another application": (
        route(APEX, [ref("other")]),
        (0, 1),
        "spec.rules[1].backendRefs of HTTPRoute podinfo names other, and should name podinfo alone",
    ),
    "a rule without backends": (
        route(APEX, []),
        (1,),
        "spec.rules[1].backendRefs of HTTPRoute podinfo names no backend, and should name podinfo alone",
    ),
}


@pytest.mark.parametrize(("objects", "rules", "sentence"), REFUSED.values(), ids=REFUSED)
def test_rules_that_cannot_take_part(objects: list[Any], rules: tuple[str | int, ...], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        weight_in(gateway, objects, only(*rules))
    assert str(caught.value) == sentence


def matching(objects: list[Any], *paths: str) -> list[Any]:
    for rule, path in zip(objects[0]["spec"]["rules"], paths, strict=True):
        rule["matches"] = [{"path": {"value": path}}]
    return objects


def test_rules_that_were_moved_find_what_they_had() -> None:
    before = matching(route([ref("podinfo", 1)], [ref("podinfo", 7)]), "/a", "/b")
    walked = gateway.with_weight(before, BACKENDS, 30)
    rules = walked[0]["spec"]["rules"]
    walked[0]["spec"]["rules"] = [{"matches": ["new"], "backendRefs": [ref("podinfo")]}, rules[1], rules[0]]
    back = gateway.restored(walked, before, BACKENDS)
    assert backends_of(back) == [[ref("podinfo")], [ref("podinfo", 7)], [ref("podinfo", 1)]]


def test_positions_are_those_from_before_the_walk() -> None:
    """Somebody inserts a rule before ours, which then has the number of another."""
    before = matching(route(APEX, APEX), "/a", "/b")
    walked = gateway.with_weight(before, only(1), 30)
    theirs = {"matches": [{"path": {"value": "/c"}}], "backendRefs": [ref("podinfo")]}
    walked[0]["spec"]["rules"].insert(0, theirs)
    assert gateway.shares(walked, only(1)) == [30]
    walked = gateway.with_weight(walked, only(1), 60)
    assert backends_of(walked) == [[ref("podinfo")], APEX, [ref("podinfo", 40), ref("podinfo-v2", 60)]]
    assert backends_of(gateway.restored(walked, before, only(1))) == [[ref("podinfo")], APEX, APEX]


def test_a_rule_to_the_new_version_alone_is_somebody_elses() -> None:
    """As for testers, by a header: it is theirs to keep, at any position but ours."""
    testers = [ref("podinfo-v2")]
    walked = gateway.with_weight(route(testers, APEX), only(1), 30)
    assert backends_of(walked) == [testers, BOTH]
    assert gateway.shares(walked, only(1)) == [30]
    assert backends_of(gateway.restored(walked, route(testers, APEX), only(1))) == [testers, APEX]
    with pytest.raises(ValueError, match=r"spec.rules\[0\].* names podinfo-v2, and should name podinfo alone"):
        gateway.shares(walked, only(0, 1))


def test_a_port_that_somebody_changed_meanwhile_is_put_back() -> None:
    before = route(APEX)
    walked = gateway.with_weight(before, BACKENDS, 30)
    walked[0]["spec"]["rules"][0]["backendRefs"][0]["port"] = 80
    assert gateway.shares(walked, BACKENDS) == [30]
    assert gateway.restored(walked, before, BACKENDS) == before


def test_a_rule_that_lost_the_canary_is_still_ours() -> None:
    walked = gateway.with_weight(route(APEX, APEX, APEX), only(0, 1), 30)
    walked[0]["spec"]["rules"][1]["backendRefs"] = [ref("podinfo")]
    assert gateway.shares(walked, only(0, 1)) == [30, None]


def test_another_port_of_the_apex_is_somebody_elses() -> None:
    """The canary's Service has one port."""
    grpc = [{"name": "podinfo", "port": 9090}]
    two = route(APEX, grpc)
    assert backends_of(gateway.with_weight(two, BACKENDS, 30)) == [BOTH, grpc]
    with pytest.raises(ValueError) as caught:
        gateway.shares(two, only(1))
    assert "backendRefs of HTTPRoute podinfo names another port of podinfo, and should name" in str(caught.value)


def test_a_rule_whose_match_was_changed_keeps_its_place() -> None:
    before = matching(route([ref("podinfo", 1)], [ref("podinfo", 7)]), "/a", "/b")
    walked = matching(gateway.with_weight(before, BACKENDS, 30), "/a", "/c")
    assert backends_of(gateway.restored(walked, before, BACKENDS)) == [[ref("podinfo", 1)], [ref("podinfo", 7)]]
