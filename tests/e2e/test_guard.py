"""The machine dies in the middle of a walk: SIGKILL for the CLI and the provider at 30 %, and nobody comes.

The guard, a Job in the cluster, puts the traffic back (docs/guard.md). The walk runs as an identity
that may do what docs/rbac.yaml says and nothing else. An `up` of the same code then finds out what
the guard did. Beside it an application without a guard.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from lab.cluster import REPOSITORY
from lab.history import NAMESPACE
from lab.stack import Result
from tests.e2e.world import GOOD, NEXT, Load, World, diagnostics, revisions, until

pytestmark = pytest.mark.lab
GUARDED, ALONE = "guarded", "alone"
LIMIT_SECONDS = 90
LONG = {"weights": [30], "interval": "10m", "drain": "2s"}
JUDGED = {"gates": [{"successRate": {"minPercent": 99}}], "source": {"direct": "contour"}}
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"


@dataclass
class Died:
    """What was seen. + killed_at: Unix time; stable: what served before"""

    world: World
    first: Result
    stable: dict[str, str]
    killed_at: float
    at_kill: dict[str, int | None]
    back_at: float
    load: Load
    states: list[dict[str, Any]]
    events: list[dict[str, Any]]
    alone_weight: int | None
    again: Result
    end: dict[str, str]
    jobs_left: list[str]


def grant(world: World) -> None:
    """What docs/rbac.yaml and docs/rbac-direct.yaml say, to the identity that may do nothing yet."""
    for file, namespace in (("rbac.yaml", NAMESPACE), ("rbac-direct.yaml", "projectcontour")):
        role = yaml.safe_load((REPOSITORY / "docs" / file).read_text())
        name = role["metadata"]["name"]
        binding = {
            "apiVersion": role["apiVersion"],
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "User", "name": "stranger", "apiGroup": "rbac.authorization.k8s.io"}],
        }
        world.apply({**role, "metadata": {"name": name, "namespace": namespace}})
        world.apply(binding)


@pytest.fixture(scope="module")
def died(world: World) -> Died:
    grant(world)
    stack = world.stack("guard")
    stack.configure(context="stranger", applications={**world.app(GUARDED, GOOD), **world.app(ALONE, GOOD)})
    first = stack.up()
    stable = revisions(stack)
    alone = world.app(ALONE, NEXT, canary={**LONG, "guard": False})
    stack.configure(applications={**world.app(GUARDED, NEXT, canary={**LONG, **JUDGED}), **alone})
    with world.load(GUARDED, rate=40) as load:
        running = stack.start("up", "--yes", "--skip-preview", "--stack", "guard")
        for app in (GUARDED, ALONE):
            until(f"{app} at 30 %", lambda app=app: world.weight(app) == 30)
        until("the guard runs", lambda: world.get(f"{JOBS}/rollout-{GUARDED}-guard")["status"].get("ready"))
        time.sleep(1)
        at_kill = {app: world.weight(app) for app in (GUARDED, ALONE)}
        stack.die(running)
        killed_at = time.time()
        until("the guard has put the route back", lambda: world.weight(GUARDED) is None, LIMIT_SECONDS + 30)
        back_at = time.time()
        until("no pod of the new version", lambda: world.canary_replicas(GUARDED, stable) == 0)
        time.sleep(2)
    journal = world.object("ConfigMap", f"rollout-{GUARDED}")["data"]
    assert stack.unlock().code == 0
    events = world.get(f"/api/v1/namespaces/{NAMESPACE}/events")["items"]
    alone_weight = world.weight(ALONE)
    quick = {"weights": [30]}
    stack.configure(applications={**world.app(GUARDED, NEXT, canary=quick), **world.app(ALONE, GOOD)})
    again = stack.up()
    jobs = [job["metadata"]["name"] for job in world.get(JOBS)["items"] if GUARDED in job["metadata"]["name"]]
    end = revisions(stack)
    return Died(
        world, first, stable, killed_at, at_kill, back_at, load, [journal], events, alone_weight, again, end, jobs
    )


def test_a_release_needs_no_more_rights_than_written(died: Died) -> None:
    assert died.first.code == 0, died.first.output
    assert "no guard" not in died.first.output


def test_all_traffic_is_back_in_time(died: Died) -> None:
    seconds = died.back_at - died.killed_at
    assert died.at_kill[GUARDED] == 30
    assert seconds < LIMIT_SECONDS
    after = died.load.records(died.back_at + 1, target="route")
    assert {record.version for record in after} == {GOOD}
    exposed = [record for record in died.load.records(died.killed_at, died.back_at + 1) if record.version == NEXT]
    print(f"killed at 30 %: back after {seconds:.0f} s; {len(exposed)} requests met the unwatched version")


def test_no_request_was_lost(died: Died) -> None:
    assert died.load.failed() == []


def test_without_a_guard_it_stays(died: Died) -> None:
    assert died.alone_weight == 30


def test_the_journal_and_an_event_say_so(died: Died) -> None:
    [data] = died.states
    assert data["phase"] == "shifting"
    assert data["walk"] in data["guard"]
    messages = [event["message"] for event in died.events if event["involvedObject"]["name"] == GUARDED]
    assert any("no heartbeat of" in message and f"{GUARDED}-{died.stable[GUARDED]}" in message for message in messages)
    assert any(message.endswith("canary weight 30") for message in messages)


def test_the_next_up_understands_what_it_did(died: Died) -> None:
    assert died.again.code == 0, died.again.output
    assert "the guard put the traffic back at" in died.again.output
    assert died.end[GUARDED] != died.stable[GUARDED]
    assert died.end[ALONE] == died.stable[ALONE]
    weights = [weight for _, weight in died.world.history.weights(GUARDED, died.again.began)]
    assert weights == [None, 0, 30, 100, 0, None] or weights == [0, 30, 100, 0, None]


def test_a_guard_ends_with_its_walk(died: Died) -> None:
    assert died.jobs_left == []
    assert "no guard" not in diagnostics(died.again.output)
