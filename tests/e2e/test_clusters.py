"""Trap 8: a cluster that is not the stack's, and objects that are there before the stack knows them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lab.cluster import REPOSITORY
from lab.stack import Result
from tests.e2e.stub import Stub, other_cluster, serving
from tests.e2e.world import GOOD, World, diagnostics, revisions

pytestmark = pytest.mark.lab
APPS = ("near", "far", "far-blind")
# As a program does that gives its Kubernetes provider another cluster than its Application.
PROGRAM = """
import pulumi, runpy

def elsewhere(args):
    if args.type_ == "pulumi-python:dynamic/rollout:Rollout" and args.name in {far}:
        args.props["cluster"] = {{"kubeconfig": {far}[args.name]}}
        return pulumi.ResourceTransformationResult(args.props, args.opts)

pulumi.runtime.register_stack_transformation(elsewhere)
runpy.run_path("{program}")
"""


@dataclass
class Clusters:
    """The first `up`, the clusters that it was led to by mistake, and an `up` that knows nothing of it."""

    world: World
    result: Result
    serving: dict[str, str]
    stubs: dict[str, Stub]
    again: Result
    found: dict[str, str]


@pytest.fixture(scope="module")
def clusters(world: World) -> Clusters:
    with serving(world.lab, other_cluster) as far, serving(world.lab, other_cluster) as blind:
        stubs = {"far": far, "far-blind": blind}
        configs = {name: stub.kubeconfig() for name, stub in stubs.items()}
        stack = world.stack("clusters", PROGRAM.format(far=configs, program=REPOSITORY / "__main__.py"))
        stack.configure(applications={k: v for app in APPS for k, v in world.app(app, GOOD).items()})
        stack.break_("uid:far-blind")
        result = stack.up("--skip-preview", "--continue-on-error")
    # An engine that died between create and checkpoint: the cluster has the objects, the state does not.
    anew = world.stack("clusters", again="-again")
    anew.configure(applications={k: v for app in ("near", "far") for k, v in world.app(app, GOOD).items()})
    anew.break_("upsert:far")
    again = anew.up("--skip-preview", "--continue-on-error")
    return Clusters(world, result, revisions(stack), stubs, again, revisions(anew))


def check_other_cluster_is_left_alone(clusters: Clusters, app: str) -> None:
    assert "is not the one that this stack has made" in clusters.result.output.partition(f"Rollout ({app}):")[2]
    assert clusters.stubs[app].written == []


def test_other_cluster_is_refused(clusters: Clusters) -> None:
    assert clusters.result.code != 0
    assert "near" in clusters.serving
    check_other_cluster_is_left_alone(clusters, "far")
    with pytest.raises(AssertionError):
        check_other_cluster_is_left_alone(clusters, "far-blind")


def check_objects_are_taken_over(clusters: Clusters, app: str) -> None:
    assert f"Deployment ({app}-" not in diagnostics(clusters.again.output)
    assert app in clusters.found


def test_objects_that_are_there_are_taken_over(clusters: Clusters) -> None:
    check_objects_are_taken_over(clusters, "near")
    assert clusters.found["near"] == clusters.serving["near"]
    assert {weight for _, weight in clusters.world.history.weights("near")} == {None}
    with pytest.raises(AssertionError):
        check_objects_are_taken_over(clusters, "far")
    assert "already exists" in diagnostics(clusters.again.output)
