"""Contour's own: what weights mean that are left out, and what its condition Valid says.

The laws of all routers: tests/test_routers.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.routers import contour
from tests.test_routers import BACKENDS, weight_in


def proxy(*routes: list[dict[str, Any]], generation: int = 3, **status: Any) -> list[dict[str, Any]]:
    """An HTTPProxy, its services by route."""
    return [
        {
            "apiVersion": contour.API_VERSION,
            "kind": contour.KIND,
            "metadata": {"name": "podinfo", "namespace": "shop", "generation": generation},
            "spec": {"routes": [{"services": services} for services in routes]},
            "status": status,
        }
    ]


def service(name: str, weight: int | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "port": 9898, **({} if weight is None else {"weight": weight}), **more}


@pytest.mark.parametrize(
    ("services", "percent"),
    [
        ([service("podinfo")], None),
        ([service("podinfo"), service("podinfo-v2")], 50),
        ([service("podinfo", 0), service("podinfo-v2", 0)], 50),
        ([service("podinfo"), service("podinfo-v2", 3)], 100),
        ([service("podinfo", 3), service("podinfo-v2")], 0),
        ([service("podinfo", 90), service("podinfo-v2", 10), service("other", 100, mirror=True)], 10),
        ([service("podinfo", 100), service("podinfo-v2", mirror=True)], None),
    ],
)
def test_weights_as_contour_reads_them(services: list[Any], percent: int | None) -> None:
    assert weight_in(contour, proxy(services), BACKENDS) == percent


def test_what_is_beside_the_backends_may_change_meanwhile() -> None:
    mirror, another = service("a", mirror=True), service("b", mirror=True)
    before = proxy([mirror, service("podinfo")])
    walked = contour.with_weight(before, BACKENDS, 30)
    walked[0]["spec"]["routes"][0]["services"].append(another)
    back = contour.restored(walked, before, BACKENDS)
    assert back[0]["spec"]["routes"][0]["services"] == [mirror, service("podinfo"), another]


def test_routes_of_other_shapes() -> None:
    with pytest.raises(ValueError) as caught:
        weight_in(contour, proxy([service("s1"), service("s2")], []), BACKENDS)
    assert str(caught.value) == (
        "no route of the HTTPProxy has podinfo as its only backend: spec.routes[0].services of HTTPProxy podinfo names "
        "s1 and s2, spec.routes[1].services of HTTPProxy podinfo names no backend"
    )


def valid(status: str = "True", seen: int = 3, **more: Any) -> dict[str, Any]:
    return {"type": "Valid", "status": status, "observedGeneration": seen, "reason": "Valid", **more}


ERRORS = [
    {"type": "ServiceError", "reason": "ServiceUnresolvedReference", "message": 'service "x" not found'},
    {"type": "RouteError", "reason": "PrefixReplace", "message": "ambiguous prefix replacement"},
]


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        pytest.param({"conditions": [valid()]}, None, id="valid"),
        pytest.param(
            {}, "no Contour has taken the HTTPProxy yet (status.conditions has no Valid)", id="no status at all"
        ),
        pytest.param(
            {"currentStatus": "NotReconciled", "description": "Waiting for controller", "conditions": [{"type": "x"}]},
            "no Contour has taken the HTTPProxy yet (status.conditions has no Valid)",
            id="as the CRD fills it in",
        ),
        pytest.param(
            {"conditions": [valid(seen=2)]}, "Contour has not seen the HTTPProxy's last change yet", id="old status"
        ),
        pytest.param(
            {"conditions": [valid("False", message="At least one error present, see Errors", errors=ERRORS)]},
            'Contour refuses the HTTPProxy: service "x" not found; ambiguous prefix replacement',
            id="errors",
        ),
        pytest.param(
            {"conditions": [valid("False", message="orphaned")]},
            "Contour refuses the HTTPProxy: orphaned",
            id="without details",
        ),
    ],
)
def test_problem(status: dict[str, Any], problem: str | None) -> None:
    assert contour.problem(proxy([service("podinfo")], **status)) == problem


def test_the_declared_route() -> None:
    [item] = contour.Route("a.example.com", "cert", "inside", "60s").objects("podinfo", "shop", 9898)
    assert item["spec"] == {
        "virtualhost": {"fqdn": "a.example.com", "tls": {"secretName": "cert"}},
        "ingressClassName": "inside",
        "routes": [{"services": [{"name": "podinfo", "port": 9898}], "timeoutPolicy": {"response": "60s"}}],
    }
    [included] = contour.Route(None).objects("podinfo", "shop", 9898)
    assert included["spec"] == {"routes": [{"services": [{"name": "podinfo", "port": 9898}]}]}
