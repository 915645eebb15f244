"""What was there before a rollout: a route that belongs to somebody else, and an application to take over.

One HTTPRoute, which Flux seems to manage, holds a rule for each of two applications; both are released at once, so two
walks edit it. Then one of them is killed in the middle, and destroyed. Beside that, a Deployment behind a Service and a
route, all made with `kubectl`, become an application, under load through both.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from lab import load
from lab.history import Object
from lab.stack import Result, Running
from tests.e2e.world import GOOD, NEXT, THIRD, Load, World, revisions, until

pytestmark = pytest.mark.lab
LEFT, RIGHT, OLD, TAKEN = "taken-left", "taken-right", "taken-old", "taken"
CANARY = {"weights": [50], "interval": "3s", "gates": []}
# Both walks of a release wait at 50 % for each other, however long they take to get there.
TOGETHER = {**CANARY, "confirmAt": [50]}
REF = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "taken-web"}
FLUX = "kustomize.toolkit.fluxcd.io"


def backends(*services: str) -> list[Object]:
    return [{"name": service, "port": 9898} for service in services]


def shared_route() -> Object:
    """In Git, as it were. Both applications have the same host, and are told apart by the query."""
    rules = [
        {"matches": [{"queryParams": [{"name": "app", "value": name}]}], "backendRefs": backends(name)}
        for name in (LEFT, RIGHT)
    ]
    metadata = {"name": REF["name"], "labels": {f"{FLUX}/name": "web"}, "annotations": {"team": "web"}}
    spec = {"parentRefs": [{"name": "public", "namespace": "infra"}], "hostnames": ["taken.example.com"]}
    return {
        "apiVersion": REF["apiVersion"],
        "kind": REF["kind"],
        "metadata": metadata,
        "spec": {**spec, "rules": rules},
    }


def old_application() -> list[Object]:
    """A Deployment, a Service of another name than its own, and a route."""
    labels = {"app": "legacy"}
    container = {
        "name": "web",
        "image": f"ghcr.io/stefanprodan/podinfo:{GOOD}",
        "ports": [{"containerPort": 9898}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 9898}, "periodSeconds": 1},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"name": "http", "port": 9898, "targetPort": 9898}]
    rules = [{"backendRefs": backends(TAKEN)}]
    parents = [{"name": "public", "namespace": "infra"}]
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": OLD}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": TAKEN},
            "spec": {"selector": labels, "ports": ports},
        },
        {
            "apiVersion": REF["apiVersion"],
            "kind": REF["kind"],
            "metadata": {"name": TAKEN},
            "spec": {"parentRefs": parents, "hostnames": [f"{TAKEN}.example.com"], "rules": rules},
        },
    ]


def promoted(world: World, app: str) -> bool:
    """Whether somebody's word is taken, for which the walk has to be at its weight."""
    return world.rollout("promote", app).returncode == 0


@dataclass
class Story:
    """What was done. + before, after: what people write of the shared route; uid: of the Service before"""

    world: World
    releases: Result
    before: str
    after: list[str]
    refused: list[str]
    loads: dict[str, Load]
    adopted: Result
    preview: Result
    uid: str
    served: dict[str, str]


def written(route: Object) -> str:
    """What people write of a route."""
    metadata = {key: route["metadata"].get(key) for key in ("labels", "annotations")}
    return json.dumps([metadata, route["spec"]], sort_keys=True)


def listed(route: Object) -> dict[str, list[int]]:
    """The weights of each rule that lists two Services, by the application."""
    rules = [rule["backendRefs"] for rule in route["spec"]["rules"]]
    return {refs[0]["name"]: [ref["weight"] for ref in refs] for refs in rules if len(refs) > 1}


@contextlib.contextmanager
def shared_load(world: World) -> Iterator[dict[str, Load]]:
    """To both applications by the route that they share."""
    found = {}
    with contextlib.ExitStack() as running:
        for app in (LEFT, RIGHT):
            out = world.directory / f"{app}.jsonl"
            target = f"route={world.lab.envoy_url}/?app={app},host=taken.example.com"
            running.enter_context(load.running(world.lab.command(), out, [target], rate=50))
            found[app] = Load(out)
        yield found


def owners_next() -> Object:
    """The route as its owner changes it next."""
    manifest = shared_route()
    manifest["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7
    return manifest


@pytest.fixture(scope="module")
def story(world: World) -> Iterator[Story]:
    world.apply(shared_route())
    for item in old_application():
        world.apply(item)
    stack = world.stack("taken")

    def route() -> Object:
        return world.object("HTTPRoute", REF["name"])

    def release(tag: str) -> Running:
        """Begin one of both applications, until both are at 50 %."""
        settings: dict[str, Any] = {}
        for position, app in enumerate((LEFT, RIGHT)):
            existing = {"router": "gateway", "objects": [REF], "rules": [position]}
            settings |= world.app(app, tag, canary=TOGETHER, routing={"existing": existing})
        stack.configure(applications=settings)
        return stack.start("up", "--yes", "--skip-preview", "--stack", stack.name)

    def are_at_50() -> bool:
        return listed(route()) == {LEFT: [50, 50], RIGHT: [50, 50]}

    first = release(GOOD).wait()
    assert first.code == 0, first.output
    before = written(route())
    with shared_load(world) as loads:
        running = release(NEXT)
        until("both walks are at 50 %", are_at_50)
        refused = [world.refusal(owners_next())]
        for app in (LEFT, RIGHT):
            until(f"{app} is promoted", partial(promoted, world, app))
        releases = running.wait()
        for seen in loads.values():
            seen.goes_on()
    assert releases.code == 0, releases.output
    after = [written(route())]
    refused.append(world.refusal(owners_next()))
    cut = release(THIRD)
    until("both walks are at 50 % once more", are_at_50)
    stack.die(cut)
    stack.unlock()
    destroyed = stack.destroy()
    assert destroyed.code == 0, destroyed.output
    after.append(written(route()))

    until("the old application is ready", lambda: world.ready(OLD) == 2)
    uid = world.object("Service", TAKEN)["metadata"]["uid"]
    owner = world.stack("adopting")
    owner.configure(applications=world.app(TAKEN, NEXT, canary=CANARY, adopt=OLD))
    with world.load(TAKEN) as under_load:
        adopted = owner.up("--skip-preview=false")
        under_load.goes_on()
        preview = owner.run("refresh", "--preview-only", "--expect-no-changes", "--stack", owner.name)
    loads[TAKEN] = under_load
    yield Story(world, releases, before, after, refused, loads, adopted, preview, uid, revisions(owner))


@pytest.mark.parametrize("app", [LEFT, RIGHT])
def test_two_walks_on_one_route_lose_nothing(story: Story, app: str) -> None:
    sent = story.loads[app].records()
    assert [record for record in sent if record.failed] == []
    assert {record.version for record in sent if record.t > story.releases.ended + 0.5} == {NEXT}
    assert len(story.loads[app].met(NEXT)) > 20


def test_both_walks_were_under_way_at_once_and_each_wrote_its_own_rule(story: Story) -> None:
    events = story.world.history.of("HTTPRoute", REF["name"], story.releases.began)
    during = [event.object for event in events if event.at < story.releases.ended]
    assert any(len(listed(route)) == 2 for route in during)
    for app in (LEFT, RIGHT):
        seen = [listed(route).get(app) for route in during]
        changes = [one for number, one in enumerate(seen) if number == 0 or one != seen[number - 1]]
        assert [one for one in changes if one] == [[100, 0], [50, 50], [0, 100], [100, 0]], app


def test_flux_was_told_for_as_long_as_a_walk_was_under_way(story: Story) -> None:
    events = story.world.history.of("HTTPRoute", REF["name"], story.releases.began)
    during = [event.object for event in events if event.at < story.releases.ended]
    told = [route["metadata"]["annotations"].get(f"{FLUX}/reconcile") for route in during]
    assert told[0] == "disabled" and told[-1] is None
    assert all(word == "disabled" for word, route in zip(told, during, strict=True) if listed(route))


def test_afterwards_the_route_is_as_before(story: Story) -> None:
    """By promotion, and by a destroy in the middle of two walks that were killed."""
    assert story.after == [story.before] * 2


def test_afterwards_its_owner_may_apply_as_before(story: Story) -> None:
    """The API server keeps books on who wrote which field, and the walk's entries are gone with it."""
    during, after = story.refused
    assert "1 conflict" in during and "pulumi-rollout" in during
    assert after == ""


def test_an_application_is_taken_over_without_a_lost_request(story: Story) -> None:
    assert story.adopted.code == 0, story.adopted.output
    records = story.loads[TAKEN].records()
    assert [record for record in records if record.failed] == []
    assert {record.version for record in records if record.t < story.adopted.began} == {GOOD}
    assert {record.version for record in records if record.t > story.adopted.ended + 0.5} == {NEXT}
    by_route = [record for record in records if record.target == "route"]
    assert len({record.version for record in by_route}) == 2
    print(f"{len(records):,} requests, none failed")


def test_the_service_is_the_same_and_the_old_pods_are_gone(story: Story) -> None:
    service = story.world.object("Service", TAKEN)
    assert service["metadata"]["uid"] == story.uid
    labels = {"app.kubernetes.io/name": TAKEN, "pulumi-rollout/revision": story.served[TAKEN]}
    assert service["spec"]["selector"] == labels
    assert story.world.object("Deployment", OLD)["spec"]["replicas"] == 0
    assert story.preview.code == 0, story.preview.output
