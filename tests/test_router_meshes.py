"""Istio, Gloo, App Mesh and Knative: shapes that are not ours, and what is left of earlier walks or of others' edits.

The laws of all routers: tests/test_routers.py. The order of writes: tests/test_router_order.py.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from pulumi_rollout import inputs
from pulumi_rollout.routers import ROUTERS, appmesh, gateway, gloo, identity, istio, knative, made, parts_of
from tests.declared_routes import DECLARED
from tests.fake_app import FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER
from tests.test_routers import BACKENDS, read, refs_of, weight_in

Manifest = dict[str, Any]


def test_labels_are_those_that_components_declare() -> None:
    """Routers import nothing of the rest, so the names are written twice."""
    assert istio.REVISION_LABEL == inputs.REVISION_LABEL
    assert appmesh.APP_LABEL == inputs.APP_LABEL
    assert made.without_made([{"metadata": {"labels": {**inputs.MANAGED_BY, "more": "x"}}}]) == []


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("podinfo", True),
        ("podinfo.shop", True),
        ("podinfo.shop.svc", True),
        ("podinfo.shop.svc.cluster.local", True),
        ("podinfo.bakery", False),
        ("podinfo.bakery.svc.cluster.local", False),
        ("podinfo.example.com", False),
        ("podinfo.shop.example.com", False),
        ("podinfo-v2.shop", False),
    ],
)
def test_the_forms_of_a_host(host: str, ours: bool) -> None:
    route = {"apiVersion": istio.API_VERSION, "kind": "VirtualService", "metadata": {"name": "podinfo"}}
    objects = [{**route, "spec": {"http": [{"route": [{"destination": {"host": host}}]}]}}]
    if ours:
        assert weight_in(istio, objects, BACKENDS) is None
        assert weight_in(istio, istio.with_weight(objects, BACKENDS, 7), BACKENDS) == 7
    else:
        with pytest.raises(ValueError, match="no rule of the VirtualService has podinfo as its only backend"):
            weight_in(istio, objects, BACKENDS)


def test_rules_of_a_virtual_service_are_chosen_by_name_or_position() -> None:
    _, fixture = read("istio/several-routes")
    [before] = fixture["before"]
    chosen = BACKENDS.model_copy(update={"rules": ("api",)})
    [after] = istio.with_weight([before], chosen, 10)
    assert [rule["name"] for rule in after["spec"]["http"] if len(rule.get("route", [])) == 2] == ["shared", "api"]
    [after] = istio.with_weight([before], BACKENDS.model_copy(update={"rules": (6,)}), 10)
    assert [rule["name"] for rule in after["spec"]["http"] if len(rule.get("route", [])) == 2] == ["shared", "primary"]


def test_a_route_that_shares_with_a_third_is_named() -> None:
    _, fixture = read("istio/several-routes")
    with pytest.raises(
        ValueError, match=r"^spec.http\[3\].route of VirtualService front names reviews, and should name"
    ):
        weight_in(istio, fixture["before"], BACKENDS.model_copy(update={"rules": ("shared",)}))


def test_a_subset_of_somebody_elses_is_named() -> None:
    [route] = deepcopy(read("istio/plain")[1]["before"])
    for rule in route["spec"]["http"]:
        for one in rule["route"]:
            one["destination"]["subset"] = "v1"
    with pytest.raises(ValueError, match=r"of VirtualService \S+ names subset v1 of podinfo"):
        weight_in(istio, [route], BACKENDS)


@pytest.mark.parametrize("name", ["stable", "canary"])
def test_somebody_elses_subset_of_our_name_is_refused(name: str) -> None:
    """It would be taken for one that a walk has left."""
    _, fixture = read("istio/subsets")
    objects = deepcopy(fixture["before"])
    objects[1]["spec"]["subsets"] = [{"name": name, "labels": {"track": name}}]
    with pytest.raises(
        ValueError, match=f"^spec.subsets of DestinationRule podinfo-revisions has one of the name {name},"
    ):
        weight_in(istio, objects, BACKENDS)
    assert weight_in(istio, istio.with_weight(fixture["before"], BACKENDS, 10), BACKENDS) == 10


def test_subsets_need_the_apex_and_its_label() -> None:
    """Before there is one, or where it is somebody else's, nothing is written."""
    _, fixture = read("istio/subsets")
    for broken in (fixture["before"][1:], deepcopy(fixture["before"])):
        if broken[0]["kind"] == "Service":
            del broken[0]["spec"]["selector"]["pulumi-rollout/revision"]
        assert istio.with_weight(broken, BACKENDS, 10) == broken
        with pytest.raises(ValueError, match="Service podinfo selects no pulumi-rollout/revision, by which subsets"):
            weight_in(istio, broken, BACKENDS)


def test_subsets_beside_which_somebody_has_taken_the_apex_away_get_it_back() -> None:
    _, fixture = read("istio/subsets")
    objects = istio.with_weight(fixture["before"], BACKENDS, 10)
    route = next(item for item in objects if item["kind"] == "VirtualService")
    for rule in route["spec"]["http"]:
        subsets = [one for one in rule["route"] if "subset" in one["destination"]]
        rule["route"] = subsets or rule["route"]
    assert istio.with_weight(objects, BACKENDS, 10) == istio.with_weight(fixture["before"], BACKENDS, 10)


def test_subsets_of_a_walk_that_was_given_up_go_with_the_next_one() -> None:
    """As does the Service of both, though the original has them."""
    _, fixture = read("istio/under-way-subsets")
    back = istio.restored(fixture["before"], fixture["before"], BACKENDS)
    assert [(item["kind"], item["metadata"]["name"]) for item in back] == [
        ("Service", "podinfo"),
        ("DestinationRule", "podinfo-revisions"),
        ("VirtualService", "podinfo"),
    ]
    assert back[1]["spec"] == {"host": "podinfo-revisions"}
    assert back[2]["spec"]["http"] == [{"route": [{"destination": {"host": "podinfo"}}]}]


def test_a_destination_rule_for_somebody_else_is_not_copied() -> None:
    _, fixture = read("istio/traffic-policy")
    policy, route = deepcopy(fixture["before"])
    policy["spec"]["host"] = "reviews"
    assert len(istio.with_weight([policy, route], BACKENDS, 10)) == 2


def test_a_mesh_route_is_for_the_service_and_a_gateway_route_for_its_hosts() -> None:
    [both] = istio.Route(["podinfo.example.com"], ["infra/public"]).objects("podinfo", "shop", 9898)
    assert both["spec"]["hosts"] == ["podinfo.example.com", "podinfo"]
    assert both["spec"]["gateways"] == ["infra/public", "mesh"]
    [public] = istio.Route(["podinfo.example.com"], ["infra/public"], mesh=False).objects("podinfo", "shop", 9898)
    assert (public["spec"]["hosts"], public["spec"]["gateways"]) == (["podinfo.example.com"], ["infra/public"])
    [delegate] = istio.Route(delegate=True).objects("podinfo", "shop", 9898)
    assert set(delegate["spec"]) == {"http"}


def test_a_single_destination_that_was_edited_meanwhile_stays_a_list() -> None:
    """Which of the routes had one destination cannot be told where there are more of them than before."""
    _, fixture = read("gloo/single-destination")
    walked = gloo.with_weight(fixture["before"], BACKENDS, 10)
    routes = walked[0]["spec"]["virtualHost"]["routes"]
    routes.insert(0, {"matchers": [{"prefix": "/new"}], "redirectAction": {"pathRedirect": "/"}})
    [back] = gloo.restored(walked, fixture["before"], BACKENDS)
    assert back["spec"]["virtualHost"]["routes"][4]["routeAction"] == {
        "multi": {
            "destinations": [
                {
                    "destination": {"kube": {"ref": {"name": "podinfo", "namespace": "shop"}, "port": 9898}},
                    "weight": 100,
                }
            ]
        }
    }


def test_subsets_of_an_upstream_are_not_ours() -> None:
    _, fixture = read("gloo/upstream-group")
    fixture["before"][0]["spec"]["destinations"][0]["destination"]["subset"] = {"values": {"version": "v1"}}
    with pytest.raises(ValueError, match=r"spec.destinations of UpstreamGroup my-service-group names a subset$"):
        weight_in(gloo, fixture["before"], BACKENDS)


def test_app_mesh_needs_the_node_of_the_apex() -> None:
    """Found by DNS, as the canary's differs from it in the name there."""
    _, fixture = read("appmesh/plain")
    node, router = fixture["before"]
    node["spec"]["serviceDiscovery"] = {"awsCloudMap": {"namespaceName": "shop", "serviceName": "podinfo"}}
    for broken in ([router], [node, router]):
        with pytest.raises(ValueError, match=r"^VirtualNode podinfo with spec.serviceDiscovery.dns, from which"):
            weight_in(appmesh, broken, BACKENDS)
    assert appmesh.with_weight([router], BACKENDS, 10) == [router]
    assert appmesh.with_weight([node, router], BACKENDS, 10) == [node, router]


def test_pods_of_both_revisions_are_of_one_node() -> None:
    """What a pod's sidecar is, is settled when it is made: before the walk makes a node, and after it is gone."""
    node, *_ = appmesh.Route().objects("podinfo", "shop", 9898)
    assert node["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "podinfo"}}


@pytest.mark.parametrize(
    ("router", "notice"),
    [
        ("appmesh", "AWS has ended App Mesh on 2026-09-30: "),
        ("gloo", "the open-source Gloo ends on 2026-12-31: "),
        ("istio", ""),
    ],
)
def test_a_vendor_that_has_come_to_its_end_is_said_at_preview(
    app: FakeApp, fake_engine: FakeEngine, router: str, notice: str
) -> None:
    refs = [{"apiVersion": "example.com/v1", "kind": "Route", "name": "shop"}]
    PROVIDER.check({}, app.inputs("v2", route={"router": router, "objects": refs}))
    # The kinds of the local API are others, which is said too.
    said = [line for line in fake_engine.warned if not line.startswith("the cluster has no ")]
    assert [line[: len(notice)] for line in said] == ([notice] if notice else [])
    fake_engine.warned.clear()
    serves = app.inputs("v1", route={"router": router, "objects": refs})
    PROVIDER.check({**serves, "serving_revision": "v1"}, serves)
    assert fake_engine.warned == [], "only where something is released"


@pytest.mark.parametrize("kind", ["Service", "Route"])
def test_a_knative_service_is_refused_with_the_reason(kind: str) -> None:
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": kind,
        "metadata": {"name": "hello"},
        "spec": {"traffic": [{"revisionName": "hello-00001", "percent": 100}]},
    }
    with pytest.raises(ValueError) as caught:
        weight_in(knative, [service], BACKENDS)
    assert str(caught.value) == (
        f"{kind} hello of serving.knative.dev/v1 splits requests among revisions of Knative's own, and not among"
        " Services like podinfo: name an Ingress"
    )
    assert knative.with_weight([service], BACKENDS, 10) == [service]


def test_what_is_missing_is_said_in_the_words_of_the_kind() -> None:
    _, fixture = read("gateway/grpc")
    fixture["before"][0]["spec"]["rules"] = []
    with pytest.raises(ValueError, match=r"^no rule of the GRPCRoute has podinfo as its only backend \(spec.rules\)$"):
        weight_in(gateway, fixture["before"], BACKENDS)
    assert gateway.problem(fixture["before"]) == "no Gateway has taken the GRPCRoute yet (status.parents is empty)"


@pytest.mark.parametrize("name", DECLARED)
def test_what_is_declared_is_at_rest_and_ours(name: str) -> None:
    route = DECLARED[name]
    router, objects = ROUTERS[route.router], route.objects("podinfo", "shop", 9898)
    if name == "istio, subsets":
        objects.insert(0, read("istio/subsets")[1]["before"][0])
    assert weight_in(router, objects, BACKENDS) is None
    walked = router.with_weight(objects, BACKENDS, 20)
    assert weight_in(router, walked, BACKENDS) == 20
    parts = [identity(ref) for ref in parts_of(router, refs_of(objects), BACKENDS)]
    assert [identity(item) for item in walked] == [one for one in parts if one in map(identity, walked)]
    assert router.restored(walked, objects, BACKENDS) == objects


def test_time_limits_are_where_a_protocol_has_them() -> None:
    assert DECLARED["istio"].objects("podinfo", "shop", 9898)[0]["spec"]["http"][0]["timeout"] == "60s"
    tcp = istio.Route(protocol="tcp", request_timeout="60s").objects("podinfo", "shop", 9898)
    assert "timeout" not in tcp[0]["spec"]["tcp"][0]
    grpc = gateway.Route([], "public", "60s", "GRPCRoute").objects("podinfo", "shop", 9898)
    assert "timeouts" not in grpc[0]["spec"]["rules"][0]
