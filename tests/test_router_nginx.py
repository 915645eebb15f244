"""NGINX's own: the Ingress that a walk makes, whose it is, and how its weight is read.

The laws of all routers: tests/test_routers.py.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from pulumi_rollout.routers import ROUTERS, nginx, parts_of
from tests.test_routers import BACKENDS, refs_of, weight_in

AT_REST = nginx.Route(["a.example.com"], tls_secret="cert").objects("podinfo", "shop", 9898)


def walked(percent: int = 30) -> list[dict[str, Any]]:
    return nginx.with_weight(AT_REST, BACKENDS, percent)


def annotated(**annotations: str | None) -> list[dict[str, Any]]:
    """A walk under way, whose annotations somebody has changed."""
    objects = walked()
    for name, value in annotations.items():
        key = f"{nginx.PREFIX}/{name.replace('_', '-')}"
        if value is None:
            del objects[1]["metadata"]["annotations"][key]
        else:
            objects[1]["metadata"]["annotations"][key] = value
    return objects


@pytest.mark.parametrize(
    ("annotations", "percent"),
    [
        ({}, 30),
        ({"canary_weight": "1", "canary_weight_total": "1000"}, 1),
        ({"canary_weight": "50", "canary_weight_total": "200"}, 25),
        ({"canary_weight_total": None}, 30),
        ({"canary_weight": None}, 0),
        ({"canary": "false"}, 0),
        ({"canary_weight_total": "0"}, 0),
    ],
)
def test_the_weight_as_controllers_read_it(annotations: dict[str, Any], percent: int) -> None:
    assert weight_in(nginx, annotated(**annotations), BACKENDS) == percent


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(ValueError) as caught:
        weight_in(nginx, annotated(canary_weight="many"), BACKENDS)
    assert str(caught.value) == (
        "Ingress podinfo-canary has no number in metadata.annotations[nginx.ingress.kubernetes.io/canary-weight]"
    )


def test_an_ingress_of_that_name_that_is_somebody_elses() -> None:
    """It is neither written nor deleted."""
    theirs = deepcopy(walked()[1])
    theirs["metadata"]["labels"] = {}
    objects = [*AT_REST, theirs]
    with pytest.raises(ValueError) as caught:
        weight_in(nginx, objects, BACKENDS)
    assert str(caught.value) == (
        "Ingress podinfo-canary is there already, and a rollout would make one of that name: rename it"
    )
    assert nginx.with_weight(objects, BACKENDS, 60) == objects
    assert nginx.restored(objects, AT_REST, BACKENDS) == objects


def test_a_canary_of_another_revision() -> None:
    objects = walked()
    objects[1]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "podinfo-v1"
    with pytest.raises(ValueError) as caught:
        weight_in(nginx, objects, BACKENDS)
    assert str(caught.value) == (
        "Ingress podinfo-canary names podinfo-v1 in spec.rules, and should name podinfo-v2 alone"
    )


def test_what_is_left_of_a_walk_goes_with_its_ingress_too() -> None:
    """When the application is destroyed in the middle of a walk."""
    assert nginx.restored(walked()[1:], AT_REST, BACKENDS) == []


NONE = "no path of the Ingress has podinfo as its backend"


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({}, f"{NONE} (spec.rules)"),
        ({"rules": [{"host": "a"}]}, f"{NONE} (spec.rules)"),
        (
            {"rules": [{"http": {"paths": [{"path": "/x", "backend": {"service": {"name": "other"}}}]}}]},
            f"{NONE}: spec.rules[0] of Ingress podinfo has /x to other",
        ),
        (
            {"rules": [{"http": {"paths": [{"path": "/x", "backend": {"resource": {}}}]}}]},
            f"{NONE}: spec.rules[0] of Ingress podinfo has /x to no Service",
        ),
    ],
)
def test_shapes_that_are_not_ours(spec: dict[str, Any], sentence: str) -> None:
    objects = [{**AT_REST[0], "spec": spec}]
    with pytest.raises(ValueError) as caught:
        weight_in(nginx, objects, BACKENDS)
    assert str(caught.value) == sentence
    assert nginx.with_weight(objects, BACKENDS, 50) == objects


def test_two_applications_on_one_ingress_make_each_their_own() -> None:
    [shared] = deepcopy(AT_REST)
    shared["metadata"]["name"] = "web"
    paths = shared["spec"]["rules"][0]["http"]["paths"]
    paths.append({"path": "/cart", "pathType": "Prefix", "backend": {"service": {"name": "cart"}}})
    cart = BACKENDS.model_copy(
        update={
            name: target.model_copy(update={"service": target.service.replace("podinfo", "cart")})
            for name, target in (("apex", BACKENDS.apex), ("canary", BACKENDS.canary))
        }
    )
    made = [nginx.with_weight([shared], backends, 10)[1] for backends in (BACKENDS, cart)]
    assert [item["metadata"]["name"] for item in made] == ["web-podinfo-canary", "web-cart-canary"]
    assert [[path["path"] for path in item["spec"]["rules"][0]["http"]["paths"]] for item in made] == [["/"], ["/cart"]]
    refs = parts_of(ROUTERS["nginx"], refs_of([shared]), cart)
    assert [ref["name"] for ref in refs] == ["web", "web-cart-canary"]


def test_rules_are_known_by_their_host_or_position() -> None:
    objects = nginx.Route(["a.example.com", "b.example.com"]).objects("podinfo", "shop", 9898)
    for rules in ((1,), ("b.example.com",)):
        _, canary = nginx.with_weight(objects, BACKENDS.model_copy(update={"rules": rules}), 10)
        assert [rule["host"] for rule in canary["spec"]["rules"]] == ["b.example.com"]
    with pytest.raises(ValueError, match=r"^there is no rule c in the route; there are: a.example.com, b.example.com$"):
        weight_in(nginx, objects, BACKENDS.model_copy(update={"rules": ("c",)}))


def test_a_named_rule_without_a_path_of_ours_is_an_error_until_a_walk_is_under_way() -> None:
    objects = nginx.Route(["a.example.com", "b.example.com"]).objects("podinfo", "shop", 9898)
    objects[0]["spec"]["rules"][1]["http"]["paths"][0]["backend"]["service"]["name"] = "cart"
    for wanted in (1, "b.example.com"):
        backends = BACKENDS.model_copy(update={"rules": ("a.example.com", wanted)})
        sentence = f"rule {wanted} has no path to podinfo: spec.rules[1] of Ingress podinfo has / to cart"
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            weight_in(nginx, objects, backends)
        assert weight_in(nginx, nginx.with_weight(objects, backends, 10), backends) == 10


def test_the_declared_route() -> None:
    assert AT_REST[0]["spec"]["tls"] == [{"hosts": ["a.example.com"], "secretName": "cert"}]
    assert nginx.Route([]).objects("podinfo", "shop", 9898)[0]["spec"]["rules"] == [
        {"http": AT_REST[0]["spec"]["rules"][0]["http"]}
    ]
