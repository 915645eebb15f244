"""Traps of declaring what a walk changes: each check, and the same check without its countermeasure.

All in one stack, release by release: `kept` has every countermeasure, and each of the others lacks
some. A countermeasure of the walk (6, 15, 22) is judged by the order of events in the API server's
history: without it, in some walks requests are lost and in others not, as the lab's app is patient
when it has to go. That none is lost with all of them is test_story.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import pytest

from lab.cluster import REPOSITORY
from lab.stack import Result, Stack
from pulumi_rollout.inputs import REVISION_LABEL
from tests.e2e.world import GOOD, NEXT, THIRD, World, diagnostics, resource, revisions, until

pytestmark = pytest.mark.lab
APPS = ("kept", "hasty", "stale", "stringy")
BREAKS = (
    *("capacity:hasty", "pin:hasty", "drain:hasty", "zero-weight:hasty", "patch-force:hasty"),
    *("ignore-changes:stale", "own-selector:stringy"),
)
DRAIN_SECONDS = 1.0
STABLE_PODS = 6
# Puts a label on the apex, as a stack-wide transform of a platform team would.
PROGRAM = """
import pulumi, runpy, sys

def labelled(args):
    if args.type_ == "kubernetes:core/v1:Service" and args.name in {apps}:
        args.props["metadata"]["labels"]["team"] = pulumi.Config().require("team")
        return pulumi.ResourceTransformationResult(args.props, args.opts)

pulumi.runtime.register_stack_transformation(labelled)
runpy.run_path("{program}")
"""


@dataclass
class Released:
    """What four commands did. + stable, serving: revisions by application, before and after the release"""

    world: World
    stack: Stack
    stable: dict[str, str]
    serving: dict[str, str]
    release: Result
    target: Result
    targeted: dict[str, str]
    label: Result

    def name(self, app: str, revisions: dict[str, str]) -> str:
        return f"{app}-{revisions[app]}"


def configure(world: World, stack: Stack, tag: str, team: str, hosts: int) -> None:
    applications: dict[str, Any] = {}
    for app in APPS:
        scaling = {"autoscaling": {"minReplicas": 2, "maxReplicas": 8}} if app in ("kept", "hasty") else {}
        named = [f"{app}.example.com", f"www.{app}.example.com"][:hosts]
        route = {"gateway": {"hosts": named, "gateway": "infra/public"}}
        applications |= world.app(app, tag, routing=route, canary={"drain": f"{DRAIN_SECONDS:.0f}s"}, **scaling)
    stack.configure(applications=applications, team=team)


def scale_by_hand(world: World, stable: dict[str, str]) -> None:
    """What a person or an autoscaler does to the version that serves."""
    names = [f"{app}-{stable[app]}" for app in ("kept", "hasty")]
    for name in names:
        world.scale(name, STABLE_PODS)
    until("the stable versions are scaled up", lambda: all(world.ready(name) == STABLE_PODS for name in names))


@pytest.fixture(scope="module")
def released(world: World) -> Released:
    stack = world.stack("traps", PROGRAM.format(apps=APPS, program=REPOSITORY / "__main__.py"))
    configure(world, stack, GOOD, "blue", 1)
    stack.break_(*BREAKS)
    first = stack.up()
    assert first.code == 0, first.output
    stable = revisions(stack)
    scale_by_hand(world, stable)
    configure(world, stack, NEXT, "blue", 1)
    release = stack.up()
    assert release.code == 0, release.output
    serving = revisions(stack)
    # The target of a new image is the apex alone, whose selector the program would know.
    configure(world, stack, THIRD, "blue", 1)
    urns = [resource(stack, "kubernetes:core/v1:Service", app)["urn"] for app in ("kept", "stringy")]
    target = stack.up("--skip-preview", *(word for urn in urns for word in ("--target", urn)))
    targeted = {app: world.history.served(app)[-1][1] for app in APPS}
    configure(world, stack, NEXT, "red", 2)
    label = stack.up("--skip-preview", "--continue-on-error")
    return Released(world, stack, stable, serving, release, target, targeted, label)


def check_route_and_apex_can_change(released: Released, app: str) -> None:
    """A change of theirs after a walk has owned their fields."""
    assert f"/{app}: " not in released.label.output, "a conflict"
    assert len(released.world.object("HTTPRoute", app)["spec"]["hostnames"]) == 2
    assert released.world.object("Service", app)["metadata"]["labels"]["team"] == "red"


def check_state_applies_what_serves(released: Released, app: str) -> None:
    """The inputs in the state, which the next replacement, or a path inside a list, would apply again."""
    apex = resource(released.stack, "kubernetes:core/v1:Service", app)
    assert apex["inputs"]["spec"]["selector"][REVISION_LABEL] == released.serving[app]
    assert released.world.object("Service", app)["spec"]["selector"][REVISION_LABEL] == released.serving[app]


def check_target_leaves_traffic_alone(released: Released, app: str) -> None:
    assert released.target.code == 0, released.target.output
    assert released.targeted[app] == released.serving[app]


def check_capacity_before_weight(released: Released, app: str) -> None:
    history, canary = released.world.history, released.name(app, released.serving)
    for at, weight in history.weights(app, released.release.began):
        if weight:
            ready = [e.object["status"].get("readyReplicas", 0) for e in history.of("Deployment", canary) if e.at <= at]
            assert ready[-1] >= ceil(weight * STABLE_PODS / 100), f"{ready[-1]} pods at {weight} %"


def check_minimum_is_held(released: Released, app: str) -> None:
    history, kind = released.world.history, "HorizontalPodAutoscaler"
    first = next(at for at, weight in history.weights(app, released.release.began) if weight)
    stable = history.of(kind, released.name(app, released.stable))
    before = [event.object["spec"]["minReplicas"] for event in stable if event.at <= first]
    assert before[-1] == STABLE_PODS
    assert released.world.object(kind, released.name(app, released.serving))["spec"]["minReplicas"] == 2


def check_drained_before_the_delete(released: Released, app: str) -> None:
    history = released.world.history
    left = max(at for at, _ in history.listings(app, released.release.began) if at < released.release.ended)
    over = next(at for at, state in history.journal(app, released.release.began) if state["phase"] == "succeeded")
    deleted = history.deleted("Deployment", released.name(app, released.stable))
    assert deleted is not None
    # An event reaches us some milliseconds after the write that the walk counts from.
    assert over - left >= DRAIN_SECONDS - 0.05
    assert deleted > over


def check_enters_and_leaves_at_zero(released: Released, app: str) -> None:
    began, ended = released.release.began, released.release.ended
    weights = [weight for at, weight in released.world.history.weights(app, began) if at < ended]
    listed = weights[weights.index(None) + 1 :] if None in weights[:1] else weights
    assert (listed[0], listed[-2], listed[-1]) == (0, 0, None), listed
    for _, backends in released.world.history.listings(app, began):
        assert app in backends, "the apex stays listed, or its first request after the walk is lost"


CHECKS = [
    pytest.param(check_state_applies_what_serves, "stale", id="1-no-stale-inputs-to-apply-again"),
    pytest.param(check_route_and_apex_can_change, "hasty", id="2-the-walks-fields-can-be-applied"),
    pytest.param(check_target_leaves_traffic_alone, "stringy", id="3-target-does-not-cut-traffic"),
    pytest.param(check_capacity_before_weight, "hasty", id="6-capacity-before-weight"),
    pytest.param(check_minimum_is_held, "hasty", id="6-autoscalers-minimum-is-held"),
    pytest.param(check_drained_before_the_delete, "hasty", id="15-drained-before-the-delete"),
    pytest.param(check_enters_and_leaves_at_zero, "hasty", id="22-enters-and-leaves-at-zero"),
]


@pytest.mark.parametrize(("check", "broken"), CHECKS)
def test_trap(released: Released, check: Any, broken: str) -> None:
    """It holds, and without its countermeasure it does not."""
    check(released, "kept")
    with pytest.raises(AssertionError):
        check(released, broken)


def test_conflict_is_the_plugins(released: Released) -> None:
    """What users would see without patchForce."""
    assert released.label.code != 0
    assert "conflict" in diagnostics(released.label.output).lower()
