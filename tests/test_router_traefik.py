"""Traefik's own: shapes of its two kinds of objects, and what is declared.

The laws of all routers: tests/test_routers.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.routers import traefik
from tests.test_routers import BACKENDS, weight_in


def item(kind: str, spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": traefik.API_VERSION,
        "kind": kind,
        "metadata": {"name": "podinfo", "namespace": "shop"},
        "spec": spec,
    }


NONE = "no weighted TraefikService and no route of an IngressRoute has podinfo as its only backend"


@pytest.mark.parametrize(
    ("objects", "sentence"),
    [
        pytest.param([], f"{NONE} (spec.weighted.services, spec.routes)", id="no objects"),
        pytest.param(
            [item("TraefikService", {"mirroring": {"name": "podinfo", "port": 1}})],
            f"{NONE} (spec.weighted.services, spec.routes)",
            id="another type",
        ),
        pytest.param(
            [item("TraefikService", {"weighted": {"services": [{"name": "podinfo", "kind": "TraefikService"}]}})],
            f"{NONE}: spec.weighted.services of TraefikService podinfo names a backend that is no Service of this "
            "namespace",
            id="another kind",
        ),
        pytest.param(
            [item("IngressRoute", {"routes": [{"services": [{"name": "other"}]}]})],
            f"{NONE}: spec.routes[0].services of IngressRoute podinfo names other",
            id="another Service",
        ),
    ],
)
def test_shapes_that_are_not_ours(objects: list[Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        weight_in(traefik, objects, BACKENDS)
    assert str(caught.value) == sentence


def test_the_declared_route() -> None:
    service, route = traefik.Route(["a.example.com", "b.example.com"], ["web"], "cert").objects("podinfo", "shop", 9898)
    assert service["spec"] == {"weighted": {"services": [{"name": "podinfo", "port": 9898}]}}
    assert route["spec"] == {
        "entryPoints": ["web"],
        "routes": [
            {
                "kind": "Rule",
                "match": "Host(`a.example.com`) || Host(`b.example.com`)",
                "services": [{"kind": "TraefikService", "name": "podinfo"}],
            }
        ],
        "tls": {"secretName": "cert"},
    }
    [_, everything] = traefik.Route([]).objects("podinfo", "shop", 9898)
    assert everything["spec"]["routes"][0]["match"] == "PathPrefix(`/`)"
    assert everything["spec"].keys() == {"routes"}
