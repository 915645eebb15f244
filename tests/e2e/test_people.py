"""People in command, under load: a second `up` elsewhere, commands from other processes, a walk that is
held in CI until the next day, and one that is frozen instead of put back.

The module tells one story of four releases; each test reads one thing out of it. What users saw is
the load generator's to say.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab.history import NAMESPACE
from lab.stack import Result, Running, Stack
from tests.e2e.world import BAD, GOOD, NEXT, THIRD, Load, World, diagnostics, revisions, until

pytestmark = pytest.mark.lab
APP = "people"
SLOW = {"weights": [20, 50], "interval": "60s"}
HOLD = {"weights": [20, 50], "confirmAt": [20], "onWait": "hold"}
GATES = [{"successRate": {"minPercent": 99}}]
FREEZE = {"weights": [20], "interval": "60s", "onFailure": "freeze", "gates": GATES, "minSamples": 10}


@dataclass
class Story:
    """Results by name, and what was seen in between."""

    world: World
    stack: Stack
    elsewhere: Stack
    load: Load = field(init=False)
    results: dict[str, Result] = field(default_factory=dict)
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    serving: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def configure(self, stack: Stack, tag: str, canary: dict[str, Any]) -> None:
        stack.configure(applications=self.world.app(APP, tag, canary=canary))

    def begin(self, weight: int) -> Running:
        """An `up` that has just reached a weight."""
        began = time.time()
        running = self.stack.start("up", "--yes", "--skip-preview", "--stack", "people")
        until(f"weight {weight}", lambda: weight in [one for _, one in self.world.history.weights(APP, began)])
        return running

    def end(self, name: str, running: Running | None = None) -> Result:
        """The end of an `up`, or a whole one."""
        self.results[name] = running.wait() if running else self.stack.up()
        self.serving[name] = revisions(self.stack)[APP]
        return self.results[name]

    def rollout(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, from another process."""
        self.said[name] = self.world.rollout(*arguments)
        return self.said[name]

    def at(self, weight: int | None) -> None:
        until(f"weight {weight}", lambda: self.world.weight(APP) == weight)

    def stays(self, weight: int) -> bool:
        """For two seconds."""
        deadline = time.time() + 2
        while time.time() < deadline and self.world.weight(APP) == weight:
            time.sleep(0.05)
        return self.world.weight(APP) == weight

    def journal(self) -> dict[str, Any]:
        state: dict[str, Any] = self.world.history.journal(APP)[-1][1]
        return state


def commanded(story: Story) -> None:
    """A second `up`, then pause, resume, promote, set-weight and promote --full."""
    story.configure(story.stack, NEXT, SLOW)
    running = story.begin(20)
    story.configure(story.elsewhere, THIRD, SLOW)
    story.results["second"] = story.elsewhere.up()
    story.seen["after second"] = story.world.weight(APP)
    story.rollout("status", "status", APP, "-o", "json")
    story.rollout("pause", "pause", APP, "--reason", "lunch")
    story.seen["paused"] = story.stays(20)
    story.rollout("resume", "resume", APP)
    story.rollout("promote", "promote", APP)
    story.at(50)
    story.rollout("set-weight", "set-weight", APP, "35")
    story.at(35)
    story.seen["set"] = story.stays(35)
    story.configure(story.elsewhere, NEXT, {**SLOW, "onLocked": "wait"})
    waiting = story.elsewhere.start("up", "--yes", "--skip-preview", "--stack", "people")
    until("the second one waits", lambda: "waiting for" in waiting.output)
    story.rollout("full", "promote", APP, "--full")
    story.end("commanded", running)
    story.results["waited"] = waiting.wait()
    story.seen["answers"] = story.journal()["answers"]


def aborted(story: Story) -> None:
    """abort, the memory of it, and retry into a release that is held and goes on the next day."""
    story.configure(story.stack, THIRD, SLOW)
    running = story.begin(20)
    story.rollout("abort", "abort", APP, "--reason", "too slow")
    story.end("aborted", running)
    story.end("remembered")
    story.rollout("retry", "retry", APP)
    story.configure(story.stack, THIRD, HOLD)
    story.end("held")
    story.seen["held"] = story.stays(20), story.journal()["phase"]
    story.seen["lease"] = story.world.get(f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/rollout-{APP}")
    story.rollout("held status", "status", APP)
    story.end("held again")
    story.rollout("promote held", "promote", APP)
    story.stack.break_("tomorrow")
    story.end("next day")
    story.stack.break_()


def frozen(story: Story) -> None:
    """A bad version under `onFailure: freeze`, and an abort where nobody walks."""
    story.configure(story.stack, BAD, FREEZE)
    with story.world.proxy_traffic():
        story.end("frozen")
        story.seen["frozen"] = story.stays(20), story.journal()
        story.rollout("abort frozen", "abort", APP)
    story.seen["aborted at"] = time.time()
    story.seen["weight after abort"] = story.world.weight(APP)
    story.configure(story.stack, THIRD, SLOW)
    story.end("old code")


@pytest.fixture(scope="module")
def story(world: World) -> Iterator[Story]:
    stack = world.stack("people")
    made = Story(world, stack, world.stack("people", again="-elsewhere"))
    made.configure(stack, GOOD, SLOW)
    assert stack.up().code == 0
    with world.load(APP, rate=60) as load:
        made.load = load
        commanded(made)
        aborted(made)
        made.seen["bad from"] = time.time()
        frozen(made)
        time.sleep(0.5)
    print({name: round(result.seconds, 1) for name, result in made.results.items()})
    yield made


def test_no_request_was_lost_by_commands(story: Story) -> None:
    before = story.load.failed(until=story.seen["bad from"])
    assert before == []
    print(f"{len(story.load.records(until=story.seen['bad from'])):,} requests under commands, none failed")


def test_a_second_up_is_refused(story: Story) -> None:
    result = story.results["second"]
    assert result.code != 0
    said = diagnostics(result.output)
    assert f"is releasing {APP} (shifting, weight 20 %)" in said
    assert f"`rollout abort {APP} -n default`" in said
    assert story.seen["after second"] == 20


def test_or_waits_if_told_to(story: Story) -> None:
    result = story.results["waited"]
    assert result.code == 0, result.output
    assert f"{APP}-{story.serving['commanded']} serves" in json.dumps(
        [item.get("outputs", {}).get("outcome") for item in story.elsewhere.state()]
    )


def test_status_says_what_is_under_way(story: Story) -> None:
    said = story.said["status"]
    assert said.returncode == 4, said.stderr
    status = json.loads(said.stdout)
    assert (status["phase"], status["weight_percent"]) == ("shifting", 20)


def test_commands_are_obeyed_and_answered(story: Story) -> None:
    for name in ("pause", "resume", "promote", "set-weight", "full"):
        assert story.said[name].returncode == 0, (name, story.said[name].stdout, story.said[name].stderr)
    assert story.seen["paused"]
    assert story.seen["set"]
    assert story.results["commanded"].code == 0, story.results["commanded"].output
    answered = [(answer["verb"], answer["accepted"]) for answer in story.seen["answers"]]
    verbs = ("pause", "resume", "promote", "set-weight", "promote-full")
    assert answered == [(verb, True) for verb in verbs]
    assert all("@" in answer["by"] and answer["at"] > 0 for answer in story.seen["answers"])
    began, ended = story.results["commanded"].began, story.results["commanded"].ended
    weights = [weight for at, weight in story.world.history.weights(APP, began) if at < ended]
    assert weights == [None, 0, 20, 50, 35, 100, 0, None] or weights == [0, 20, 50, 35, 100, 0, None]


def test_an_abort_puts_back_and_is_remembered(story: Story) -> None:
    result = story.results["aborted"]
    assert result.code != 0
    assert story.said["abort"].returncode == 0, story.said["abort"].stderr
    assert ": too slow; all traffic is back on" in diagnostics(result.output)
    assert story.serving["aborted"] == story.serving["commanded"]
    again = story.results["remembered"]
    assert again.code != 0
    assert "has failed before, and no traffic was moved to it again: aborted by" in diagnostics(again.output)


def test_a_held_walk_ends_the_up_and_keeps_its_weight(story: Story) -> None:
    for name in ("held", "held again"):
        assert story.results[name].code != 0
        said = diagnostics(story.results[name].output)
        assert "waits for promotion at weight 20; weight 20 % is held" in said
        assert story.serving[name] == story.serving["commanded"]
    assert story.seen["held"] == (True, "paused")
    assert story.seen["lease"]["spec"].get("holderIdentity", "") == ""
    assert story.said["held status"].returncode == 3


def test_it_goes_on_the_next_day(story: Story) -> None:
    assert story.said["promote held"].returncode == 0, story.said["promote held"].stderr
    result = story.results["next day"]
    assert result.code == 0, result.output
    assert story.serving["next day"] not in (story.serving["commanded"], story.serving["held"])
    weights = [weight for at, weight in story.world.history.weights(APP, result.began) if at < result.ended]
    assert weights in ([20, 50, 100, 0, None], [50, 100, 0, None])
    saved = [state for at, state in story.world.history.journal(APP, result.began) if at < result.ended]
    assert saved[-1]["phase_at"] - result.ended > 80_000, "the clock has moved"


def test_freeze_instead_of_rollback(story: Story) -> None:
    result = story.results["frozen"]
    assert result.code != 0
    assert "frozen: success rate: " in diagnostics(result.output)
    stays, state = story.seen["frozen"]
    assert stays
    assert (state["phase"], state["held"], state["frozen"]) == ("paused", True, True)


def test_abort_where_nobody_walks(story: Story) -> None:
    said = story.said["abort frozen"]
    assert said.returncode == 0, said.stdout + said.stderr
    assert story.seen["weight after abort"] is None
    bad = [record for record in story.load.failed(story.seen["bad from"]) if record.version != BAD]
    assert bad == [], "all failures are the bad version's own"
    assert story.load.failed(story.seen["aborted at"] + 1) == []
    assert story.results["old code"].code == 0, story.results["old code"].output
    assert story.serving["old code"] == story.serving["next day"]


def test_the_api_server_is_asked_within_bounds(story: Story) -> None:
    """200 requests at once and 600 a minute, for each walk."""
    for name in ("commanded", "aborted", "held", "next day", "frozen"):
        asked = re.search(r"([\d,]+) requests to the Kubernetes API in (\d+) s", story.results[name].output)
        assert asked is not None, story.results[name].output
        requests, seconds = int(asked[1].replace(",", "")), int(asked[2])
        print(f"{name}: {asked[0]}, {60 * requests / max(1, seconds):.0f} a minute")
        # What the way back asks is not counted against it.
        assert requests <= 200 + 10 * (seconds + 1) + (100 if name == "aborted" else 0)
