"""Skipper and the AWS load balancer, whose weights are in annotations of an Ingress: others' edits, and no JSON.

The laws of all routers: tests/test_routers.py.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from pulumi_rollout.routers import alb, skipper
from tests.test_routers import BACKENDS, PERCENTS, read, weight_in

Manifest = dict[str, Any]


def weights(item: Manifest) -> Any:
    return json.loads(item["metadata"]["annotations"][skipper.ANNOTATION])


@pytest.mark.parametrize("percent", PERCENTS)
def test_weights_in_annotations_come_to_a_hundred(percent: int) -> None:
    [ingress] = skipper.with_weight(read("skipper/several-paths")[1]["before"], BACKENDS, percent)
    assert weights(ingress)["podinfo"] + weights(ingress)["podinfo-v2"] == 100
    [ingress] = alb.with_weight(read("alb/plain")[1]["before"], BACKENDS, percent)
    action = json.loads(ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.podinfo"])
    assert sum(group["weight"] for group in action["forwardConfig"]["targetGroups"]) == 100


@pytest.mark.parametrize(
    ("written", "percent"),
    [
        ({"podinfo": 0.9, "podinfo-v2": 0.1}, 10),
        ({"podinfo": 0.999, "podinfo-v2": 0.001}, 1),
        ({"podinfo": 3}, 0),
        ({"podinfo-v2": 3}, 100),
        ({}, 50),
        ({"podinfo": 0, "podinfo-v2": 0}, 50),
        ({"podinfo": 1, "podinfo-v2": 2, "other": 100}, 67),
    ],
)
def test_fractions_of_somebody_elses_edit_are_never_understated(written: Manifest, percent: int) -> None:
    [ingress] = deepcopy(read("skipper/under-way")[1]["before"])
    ingress["metadata"]["annotations"][skipper.ANNOTATION] = json.dumps(written)
    assert weight_in(skipper, [ingress], BACKENDS) == percent


@pytest.mark.parametrize("written", ["", "[]", "podinfo: 1", '{"podinfo": "most"}', '{"podinfo": null}'])
def test_an_annotation_that_is_no_json_of_weights(written: str) -> None:
    [ingress] = deepcopy(read("skipper/under-way")[1]["before"])
    ingress["metadata"]["annotations"][skipper.ANNOTATION] = written
    assert weight_in(skipper, [ingress], BACKENDS) == 50, "as Skipper has it: evenly"
    [after] = skipper.with_weight([ingress], BACKENDS, 0)
    assert weights(after) == {"podinfo": 100, "podinfo-v2": 0}


def test_an_annotation_that_became_unreadable_is_put_back() -> None:
    original = read("skipper/several-paths")[1]["before"]
    [ingress] = skipper.with_weight(original, BACKENDS, 10)
    ingress["metadata"]["annotations"][skipper.ANNOTATION] = "{podinfo: 1"
    assert skipper.restored([ingress], original, BACKENDS) == original
    assert skipper.restored(skipper.with_weight([ingress], BACKENDS, 0), original, BACKENDS) == original


def test_a_path_shared_with_a_third_service_needs_an_ingress_of_its_own() -> None:
    """Its share is one of the whole Ingress: at 100 % for the canary it would get everything on such a path."""
    [ingress] = deepcopy(read("skipper/plain")[1]["before"])
    paths = ingress["spec"]["rules"][0]["http"]["paths"]
    third = {"service": {"name": "cart", "port": {"number": 80}}}
    paths += [
        {**path, "path": "/old", "backend": backend} for path in paths[:1] for backend in (path["backend"], third)
    ]
    with pytest.raises(ValueError, match=r"of /old of Ingress \S+ names cart beside podinfo, and the weights hold for"):
        weight_in(skipper, [ingress], BACKENDS)


def test_other_weights_that_were_changed_meanwhile_stay() -> None:
    original = read("skipper/several-paths")[1]["before"]
    [ingress] = skipper.with_weight(original, BACKENDS, 10)
    ingress["metadata"]["annotations"][skipper.ANNOTATION] = json.dumps({**weights(ingress), "carts-1": 0.5})
    [back] = skipper.restored([ingress], original, BACKENDS)
    assert weights(back) == {"carts-1": 0.5, "carts-2": 0.2}


def test_a_canary_that_an_earlier_walk_left_goes() -> None:
    """From the annotation too, though the original has it; others' annotations stay."""
    [ingress] = deepcopy(read("skipper/under-way")[1]["before"])
    ingress["metadata"]["annotations"]["other"] = "kept"
    [back] = skipper.restored([ingress], [ingress], BACKENDS)
    assert back["metadata"]["annotations"] == {"other": "kept"}
    assert [path["backend"]["service"]["name"] for path in back["spec"]["rules"][0]["http"]["paths"]] == ["podinfo"]
    [unknown] = skipper.restored(read("skipper/under-way")[1]["before"], [], BACKENDS)
    assert "annotations" not in unknown["metadata"]


def test_paths_that_do_not_take_part_keep_the_apex() -> None:
    before = read("skipper/several-paths")[1]["before"]
    [after] = skipper.with_weight(before, BACKENDS.model_copy(update={"rules": (1,)}), 10)
    assert [len(rule["http"]["paths"]) for rule in after["spec"]["rules"][:2]] == [5, 1]


def test_an_action_that_is_no_json() -> None:
    [ingress] = deepcopy(read("alb/plain")[1]["before"])
    ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.podinfo"] = "forward"
    where = r'metadata.annotations\["alb.ingress.kubernetes.io/actions.podinfo"\] of Ingress podinfo names no backend$'
    with pytest.raises(ValueError, match=where):
        weight_in(alb, [ingress], BACKENDS)


def test_somebody_elses_action_may_be_unreadable() -> None:
    [ingress] = deepcopy(read("alb/plain")[1]["before"])
    ingress["metadata"]["annotations"][f"{alb.ACTION}theirs"] = "forward"
    [after] = alb.with_weight([ingress], BACKENDS, 10)
    assert weight_in(alb, [after], BACKENDS) == 10
    assert alb.restored([after], [ingress], BACKENDS) == [ingress]


def test_a_path_to_a_service_by_itself_is_not_an_action() -> None:
    ingress = {"kind": "Ingress", "metadata": {"name": "podinfo"}, "spec": {}}
    with pytest.raises(
        ValueError, match=r"^no forward action of the Ingress has podinfo as its only backend \(annotations"
    ):
        weight_in(alb, [ingress], BACKENDS)
    listed = {**ingress, "metadata": {"name": "podinfo", "annotations": {f"{alb.ACTION}x": "[]"}}}
    with pytest.raises(ValueError, match="names no backend"):
        weight_in(alb, [listed], BACKENDS)


def test_an_action_whose_original_is_not_known_gets_the_apex_alone() -> None:
    before = read("alb/under-way")[1]["before"]
    unknown: list[Manifest] = []
    for original in (unknown, before):
        [back] = alb.restored(before, original, BACKENDS)
        assert json.loads(back["metadata"]["annotations"]["alb.ingress.kubernetes.io/actions.podinfo"]) == {
            "type": "forward",
            "forwardConfig": {"targetGroups": [{"serviceName": "podinfo", "servicePort": 9898, "weight": 100}]},
        }


def test_actions_are_chosen_by_name() -> None:
    before = read("alb/several-actions")[1]["before"]
    assert alb.with_weight(before, BACKENDS.model_copy(update={"rules": ("legacy",)}), 10) == before
    assert alb.with_weight(before, BACKENDS.model_copy(update={"rules": ("api",)}), 10) != before
