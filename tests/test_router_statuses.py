"""What routers make of their objects' own statuses: App Mesh, APISIX, Gloo and Knative's networking layer.

The laws of all routers: tests/test_routers.py. The Gateway API's conditions: tests/test_router_gateway.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.routers import apisix, appmesh, gloo, knative

Manifest = dict[str, Any]


def item(kind: str, status: Manifest | None) -> list[Manifest]:
    """An object at its third generation."""
    found: Manifest = {"kind": kind, "metadata": {"name": "podinfo", "generation": 3}, "spec": {}}
    return [found if status is None else {**found, "status": status}]


def condition(kind: str, status: str, **rest: Any) -> Manifest:
    return {"type": kind, "status": status, **rest}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (None, "the APISIX controller has not said yet whether it accepts the ApisixRoute"),
        ({"conditions": []}, "the APISIX controller has not said yet whether it accepts the ApisixRoute"),
        (
            {"conditions": [condition("Accepted", "True", observedGeneration=2)]},
            "the APISIX controller has not seen the ApisixRoute's last change yet",
        ),
        (
            {"conditions": [condition("Accepted", "False", observedGeneration=3, message="service not found")]},
            "the APISIX controller refuses the ApisixRoute: service not found",
        ),
        ({"conditions": [condition("Accepted", "True", observedGeneration=3)]}, None),
        ({"conditions": [condition("ResourcesAvailable", "True", observedGeneration=3)]}, None),
    ],
)
def test_apisix(status: Manifest | None, problem: str | None) -> None:
    assert apisix.problem(item("ApisixRoute", status)) == problem


NOT_SEEN = "the App Mesh controller has not seen the last change of VirtualRouter podinfo yet"


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (None, NOT_SEEN),
        ({"observedGeneration": 2, "conditions": [condition("VirtualRouterActive", "True")]}, NOT_SEEN),
        ({"observedGeneration": None}, NOT_SEEN),
        (
            {"observedGeneration": 3},
            "VirtualRouter podinfo is not active: the App Mesh controller gives no reason",
        ),
        (
            {
                "observedGeneration": 3,
                "conditions": [condition("VirtualRouterActive", "False", message="no such node")],
            },
            "VirtualRouter podinfo is not active: no such node",
        ),
        ({"observedGeneration": 3, "conditions": [condition("VirtualRouterActive", "True")]}, None),
    ],
)
def test_app_mesh(status: Manifest | None, problem: str | None) -> None:
    assert appmesh.problem(item("VirtualRouter", status)) == problem


def test_app_mesh_waits_for_every_object() -> None:
    ready = item("VirtualRouter", {"observedGeneration": 3, "conditions": [condition("VirtualRouterActive", "True")]})
    node = item("VirtualNode", {"observedGeneration": 1})
    assert appmesh.problem([*ready, *node]) == NOT_SEEN.replace("VirtualRouter", "VirtualNode")


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (None, "the networking layer has not seen the Ingress's last change yet"),
        ({"observedGeneration": 2}, "the networking layer has not seen the Ingress's last change yet"),
        (
            {"observedGeneration": 3, "conditions": [condition("NetworkConfigured", "True")]},
            "the networking layer does not serve the Ingress yet: it is not Ready",
        ),
        (
            {"observedGeneration": 3, "conditions": [condition("Ready", "Unknown", message="waiting for probes")]},
            "the networking layer does not serve the Ingress yet: waiting for probes",
        ),
        ({"observedGeneration": 3, "conditions": [condition("Ready", "True")]}, None),
    ],
)
def test_knative(status: Manifest | None, problem: str | None) -> None:
    assert knative.problem(item("Ingress", status)) == problem


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (None, None),
        ({"statuses": {}}, None),
        ({"statuses": {"gloo-system": {"state": "Accepted"}}}, None),
        (
            {"statuses": {"gloo-system": {"state": 2, "reason": "no Upstream"}}},
            "Gloo rejects VirtualService podinfo: no Upstream",
        ),
        (
            {"statuses": {"a": {"state": "Warning"}, "b": {"state": "Rejected"}}},
            "Gloo rejects VirtualService podinfo: ",
        ),
    ],
)
def test_gloo(status: Manifest | None, problem: str | None) -> None:
    assert gloo.problem(item("VirtualService", status)) == problem
