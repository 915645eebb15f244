"""The story of the README under load: a first release, a good one, nothing, a bad one, and what follows.

What users saw is the load generator's to say, when weights moved the API server's history. The module
tells the story once; each test reads one thing out of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import sqrt
from typing import Any

import pytest

from lab.stack import Result, Stack
from tests.e2e.world import BAD, GOOD, NEXT, Load, World, diagnostics, resource, revisions, summary

pytestmark = pytest.mark.lab
APP = "story"
CANARY = {
    "weights": [20, 50],
    "interval": "2s",
    "settle": "500ms",
    "minSamples": 10,
    "gates": [{"successRate": {"minPercent": 99}}],
}
VERDICT = re.compile(
    r"success rate: [\d,]+ of (?:the last )?[\d,]+ canary requests failed \(\d+\.\d\d %, limit 1 %\), E = \S+ >= 200 "
    r"\(alpha 0\.005 over 1 gate\), \d+ s at (20|50) %, data \d+\.\d s old; stable 0\.00 % of [\d,]+; "
    r"all traffic is back on story-[0-9a-f]{8}"
)
PLAIN = """
import pulumi_kubernetes as k8s, pulumi
labels = {"app": "plain"}
opts = pulumi.ResourceOptions(provider=k8s.Provider("plain"))
quick = {"annotations": {"pulumi.com/skipAwait": "true"}}
pod = {"containers": [{"name": "plain", "image": "ghcr.io/stefanprodan/podinfo:6.3.0"}]}
template = {"metadata": {"labels": labels}, "spec": pod}
spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
k8s.apps.v1.Deployment("plain", metadata={"name": "plain", **quick}, spec=spec, opts=opts)
ports = {"selector": labels, "ports": [{"port": 9898}]}
k8s.core.v1.Service("plain", metadata={"name": "plain", **quick}, spec=ports, opts=opts)
k8s.apiextensions.CustomResource(
    "plain", api_version="gateway.networking.k8s.io/v1", kind="HTTPRoute", metadata={"name": "plain"},
    spec={
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["plain.example.com"],
        "rules": [{"backendRefs": [{"name": "plain", "port": 9898}]}],
    },
    opts=opts,
)
"""


@dataclass
class Story:
    """The commands' results, by the names that the tests use, and the load's records."""

    world: World
    stack: Stack
    load: Load = field(init=False)
    results: dict[str, Result] = field(default_factory=dict)
    serving: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def release(self, name: str, tag: str, **changes: object) -> None:
        """An `up` of that image."""
        self.stack.configure(applications=self.world.app(APP, tag, canary=CANARY, **changes))
        self.results[name] = self.stack.up()
        self.serving[name] = revisions(self.stack)[APP]

    def weights(self, name: str) -> list[tuple[float, int | None]]:
        """The route's weights while a command ran."""
        result = self.results[name]
        return [change for change in self.world.history.weights(APP, result.began) if change[0] < result.ended]


@pytest.fixture(scope="module")
def story(world: World) -> Iterator[Story]:
    told = Story(world, world.stack("story"))
    plain = world.stack("plain", PLAIN)
    first = plain.start("up", "--yes", "--skip-preview", "--stack", "plain")
    told.release("first", GOOD)
    assert told.results["first"].code == 0, told.results["first"].output
    assert first.wait().code == 0, first.output
    told.results["plain"] = plain.up()
    with world.load(APP, streams=True) as told.load:
        told.release("good", NEXT)
        before = world.versions(APP)
        told.seen["objects"] = len(before)
        told.release("nothing", NEXT)
        told.seen["written"] = set(world.versions(APP).items()) ^ set(before.items())
        told.release("bad", BAD)
        told.seen["rollout"] = resource(told.stack, "dynamic/rollout:Rollout", APP)
        told.seen["apex"] = resource(told.stack, "kubernetes:core/v1:Service", APP)
        preview = told.stack.start("preview", "--stack", "story")
        told.results["refresh"] = told.stack.run("refresh", "--preview-only", "--expect-no-changes", "--stack", "story")
        told.results["preview"] = preview.wait()
        told.release("again", BAD)
        told.release("retried", BAD, retry="once more")
        told.release("back", NEXT)
        time.sleep(1)
    print({name: round(result.seconds, 1) for name, result in told.results.items()})
    yield told


def test_first_release_serves(story: Story) -> None:
    assert summary(story.results["first"].output) == {"created": 11}
    assert story.world.history.weights(APP)[0][1] is None


def test_good_release_loses_no_request(story: Story) -> None:
    assert story.results["good"].code == 0, story.results["good"].output
    failed = story.load.failed(until=story.results["bad"].began)
    assert failed == []
    sent = story.load.records(until=story.results["bad"].began)
    print(f"good release and no-change up: {len(sent):,} requests, none failed")
    assert {record.target for record in sent} == {"route", "apex"}


def test_streams_are_not_broken(story: Story) -> None:
    streams = story.load.streams()
    assert sorted(record.target for record in streams) == ["apex", "route"]
    assert {record.stream.end for record in streams if record.stream} <= {"complete", "bye"}
    # They were begun on the old version, and outlived its time at 100 %.
    assert all(record.version == GOOD and record.seconds > 10 for record in streams)


def test_shares_follow_the_weights(story: Story) -> None:
    changes = story.weights("good")
    assert [weight for _, weight in changes if weight] == [20, 50, 100]
    for (at, weight), (following, _) in pairwise(changes):
        if not weight:
            continue
        # From the end of the settling time: only then the proxy is held to have the weight.
        sent = story.load.records(at + 0.5, following, "route")
        share, wanted = sum(record.version == NEXT for record in sent) / len(sent), weight / 100
        allowed = max(4.5 * sqrt(wanted * (1 - wanted) / len(sent)), 0.015)
        print(f"weight {weight}: {share:.1%} of {len(sent)} requests (allowed: {allowed:.1%} off)")
        assert abs(share - wanted) <= allowed


def test_apex_is_switched_once(story: Story) -> None:
    end = story.results["good"].ended
    sent = story.load.records(until=end, target="apex")
    order = [version for i, version in enumerate(r.version for r in sent) if i == 0 or version != sent[i - 1].version]
    # Kept-alive connections to the old pods may live on beside new ones, for the time of the drain.
    assert order[0] == GOOD
    assert order[-1] == NEXT
    [(switched, _)] = story.world.history.served(APP, story.results["good"].began)
    assert {record.version for record in sent if record.t < switched} == {GOOD}


def test_no_change_writes_nothing(story: Story) -> None:
    nothing, plain = story.results["nothing"], story.results["plain"]
    assert summary(nothing.output) == {}
    assert story.seen["written"] == set()
    assert story.seen["objects"] > 10
    ratio = nothing.seconds / plain.seconds
    print(f"no-change up: {nothing.seconds:.1f} s, {ratio:.2f} times as long as without rollouts")
    assert ratio < 5


def test_bad_release_fails_with_its_verdict(story: Story) -> None:
    result = story.results["bad"]
    assert result.code != 0
    said = diagnostics(result.output)
    of_rollout = said.partition("Rollout (story):")[2].partition("\n\n")[0]
    assert VERDICT.search(of_rollout), said
    assert "Traceback" not in result.output


def test_bad_release_costs_few_requests(story: Story) -> None:
    failed = story.load.failed(story.results["bad"].began, story.results["again"].began)
    seconds = max(r.t for r in failed) - min(r.t for r in failed)
    print(f"bad release: {len(failed)} requests failed, the last one {seconds:.1f} s after the first")
    assert {record.version for record in failed} == {BAD}
    assert len(failed) <= 25


def test_bad_release_leaves_state_and_pods_as_they_were(story: Story) -> None:
    assert story.serving["bad"] == story.serving["good"]
    assert story.seen["rollout"]["inputs"]["revision"]["hash"] == story.serving["good"]
    assert story.seen["rollout"]["inputs"]["serving_revision"] == story.serving["good"]
    assert story.seen["apex"]["inputs"]["spec"]["selector"]["pulumi-rollout/revision"] == story.serving["good"]
    bad = next(name for name in story.world.history.names("Deployment") if _is_bad(story, name))
    replicas = [e.object["spec"]["replicas"] for e in story.world.history.of("Deployment", bad)]
    assert max(replicas) == 2
    state = [e for e in story.world.history.of("Deployment", bad) if e.at < story.results["refresh"].ended][-1]
    assert state.object["spec"]["replicas"] == 0


def _is_bad(story: Story, name: str) -> bool:
    template = story.world.history.of("Deployment", name)[0].object["spec"]["template"]
    return name.startswith(f"{APP}-") and template["spec"]["containers"][0]["image"].endswith(BAD)


def test_preview_still_shows_the_change(story: Story) -> None:
    assert story.results["preview"].code == 0
    shown = summary(story.results["preview"].output)
    assert shown["to update"] == 2
    assert shown["to delete"] == 4
    assert "to create" not in shown


def test_refresh_is_clean_after_a_failure(story: Story) -> None:
    assert story.results["refresh"].code == 0, story.results["refresh"].output


def test_failed_revision_is_refused(story: Story) -> None:
    """Trap 16: each further try would be another chance for a bad version to slip through."""
    again = story.results["again"]
    assert again.code != 0
    assert "has failed before, and no traffic was moved to it again: success rate: " in diagnostics(again.output)
    assert {weight for _, weight in story.weights("again")} <= {None}
    assert story.load.failed(again.began, story.results["retried"].began) == []


def test_retry_token_tries_again(story: Story) -> None:
    retried = story.results["retried"]
    assert retried.code != 0
    assert VERDICT.search(diagnostics(retried.output))
    assert 20 in [weight for _, weight in story.weights("retried")]
    failed = story.load.failed(retried.began, story.results["back"].began)
    assert {record.version for record in failed} == {BAD}
    assert len(failed) <= 25


def test_up_of_the_good_code_only_deletes(story: Story) -> None:
    back = story.results["back"]
    assert back.code == 0, back.output
    assert summary(back.output) == {"deleted": 4}
    assert {weight for _, weight in story.weights("back")} <= {None}
    assert story.load.failed(back.began) == []
