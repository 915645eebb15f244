"""SIGKILL of the provider right after each write of its journal, and what the next `up` makes of it.

Each round releases to all applications at once. Every provider kills itself after its own number of
writes, of a good walk or of a bad one, and an `up` follows: of the new code for some, of the old code
for the others. `make test` takes a sample of the writes; with $ROLLOUT_KILLS=all it is each of them
(`make kills`).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lab import load
from lab.stack import Result, Stack
from tests.e2e.world import BAD, GOOD, NEXT, THIRD, Load, World, revisions

pytestmark = pytest.mark.lab
EVERY = os.environ.get("ROLLOUT_KILLS") == "all"
APPS = tuple(f"kill-{letter}" for letter in ("abcdefgh" if EVERY else "abcd"))
# Of the `up` that follows.
CODES = ("new", "old")
RATE_PER_APP = 20
CANARY = {"weights": [50], "gates": [{"successRate": {"minPercent": 99}}], "minSamples": 5, "settle": "200ms"}
# More than either walk writes: one that ends before its write is seen to do so, and counts for nothing.
MOST_WRITES = {"good": 18, "bad": 14}
SAMPLE = {"good": (2, 6, 10, 14), "bad": (2, 5, 7, 9)}


@dataclass(frozen=True)
class Point:
    """Where to kill. + kind: of the walk; code: of the `up` that follows; write: the journal's, from 1"""

    kind: str
    code: str
    write: int


@dataclass
class Cut:
    """One application's kill and what followed.

    + phase: at the last write before the kill; weight: of the live route then
    + died: before the walk was over; writes: of the killed walk
    + old: the tag that served; at, until: of the kill, and of the next `up`'s first change
    """

    point: Point
    app: str
    died: bool
    writes: int
    before: str
    wanted: str
    phase: str
    weight: int
    serving: str
    listed: int | None
    canary_replicas: int
    old: str
    at: float
    until: float

    def exposed(self, records: list[load.Record]) -> int:
        """Requests that met the new version between the kill and the next change of the route."""
        return sum(self.at <= one.t < self.until and one.version not in (None, self.old) for one in records)


@dataclass
class Kills:
    """All of it. + tags: that each application serves"""

    world: World
    stack: Stack
    load: Load = field(init=False)
    cuts: list[Cut] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=lambda: dict.fromkeys(APPS, GOOD))

    def application(self, app: str, tag: str, **changes: Any) -> dict[str, Any]:
        env = {"ERROR_RATE": "1"} if tag == BAD else {}
        return self.world.app(app, tag, replicas=1, canary=CANARY, env=env, **changes)

    def round(self, number: int, points: dict[str, Point]) -> None:
        """Release to all, die, release again."""
        before = revisions(self.stack)
        new = {app: BAD if point.kind == "bad" else self._next(app) for app, point in points.items()}
        retry = {"retry": str(number)}
        self._configure({app: self.application(app, tag, **retry) for app, tag in new.items()})
        self.stack.break_("dies:" + "+".join(points))
        died_at = ",".join(f"{app}={point.write}" for app, point in points.items())
        arguments = ("up", "--yes", "--skip-preview", "--continue-on-error", "--stack", "kills")
        killed = self.stack.start(*arguments, LAB_DIES_AT=died_at + ",").wait()
        self.stack.break_()
        self.stack.unlock()
        again = {app: new[app] if point.code == "new" else self.tags[app] for app, point in points.items()}
        self._configure({app: self.application(app, tag, **retry) for app, tag in again.items()})
        result = self.stack.up("--skip-preview", "--continue-on-error")
        for app, point in points.items():
            self.cuts.append(self._cut(app, point, before[app], killed, result))
        for app in points:
            if self._served(app) != before[app]:
                self.tags[app] = again[app]

    def _next(self, app: str) -> str:
        return {GOOD: NEXT, NEXT: THIRD, THIRD: GOOD}[self.tags[app]]

    def _configure(self, applications: dict[str, dict[str, Any]]) -> None:
        self.stack.configure(applications={key: value for one in applications.values() for key, value in one.items()})

    def _served(self, app: str) -> str:
        return self.world.history.served(app)[-1][1]

    def _weight(self, app: str, at: float) -> int | None:
        """The new version's weight in the live route at a time."""
        seen = [weight for when, weight in self.world.history.weights(app) if when < at]
        return seen[-1] if seen else None

    def _cut(self, app: str, point: Point, before: str, killed: Result, result: Result) -> Cut:
        history = self.world.history
        states = [entry for entry in history.journal(app, killed.began) if entry[0] < result.began]
        at, last = states[-1]
        canary = last["revision"]
        changed = [one for one in history.weights(app, result.began) if one[1] != self._weight(app, result.began)]
        until = min([when for when, _ in changed[:1]] + [result.ended])
        deployment = history.of("Deployment", f"{app}-{canary}")[-1]
        gone = deployment.type == "DELETED" or "deletionTimestamp" in deployment.object["metadata"]
        writes = [
            event.at for event in history.of("ConfigMap", f"rollout-{app}", killed.began) if event.at < result.began
        ]
        return Cut(
            point=point,
            app=app,
            died=len(writes) == point.write,
            writes=len(writes),
            before=before,
            wanted=canary if (point.kind, point.code) == ("good", "new") else before,
            phase=last["phase"],
            weight=self._weight(app, result.began) or 0,
            serving=self._served(app),
            listed=self.world.weight(app),
            canary_replicas=0 if gone else int(deployment.object["spec"].get("replicas", 1)),
            old=self.tags[app],
            at=at,
            until=until,
        )


def points() -> list[Point]:
    if EVERY:
        return [
            Point(kind, code, write)
            for kind, most in MOST_WRITES.items()
            for code in CODES
            for write in range(1, most + 1)
        ]
    by_turns = itertools.cycle(CODES)
    return [Point(kind, next(by_turns), write) for kind, writes in SAMPLE.items() for write in writes]


def batches(points: list[Point]) -> Iterator[list[Point]]:
    """As many as there are applications; good and bad ones mixed, so that each round takes as long. The `up` that
    follows is of one code for all: beside a release that fails, Pulumi deletes nothing."""
    for code in CODES:
        mixed = sorted((point for point in points if point.code == code), key=lambda point: point.write)
        for begin in range(0, len(mixed), len(APPS)):
            yield mixed[begin : begin + len(APPS)]


@pytest.fixture(scope="module")
def kills(world: World) -> Iterator[Kills]:
    stack = world.stack("kills")
    made = Kills(world, stack)
    made._configure({app: made.application(app, GOOD) for app in APPS})
    first = stack.up()
    assert first.code == 0, first.output
    out = world.directory / "kills.jsonl"
    targets = [f"{app}={world.lab.envoy_url}/,host={app}.example.com" for app in APPS]
    with load.running(world.lab.command(), out, targets, rate=RATE_PER_APP * len(APPS)):
        made.load = Load(out)
        for number, chosen in enumerate(batches(points())):
            made.round(number, dict(zip(APPS, chosen, strict=False)))
        time.sleep(0.5)
    yield made


def test_all_ended_right(kills: Kills) -> None:
    for cut in kills.cuts:
        assert (cut.serving, cut.listed) == (cut.wanted, None), cut
        if cut.wanted == cut.before:
            assert cut.canary_replicas == 0, cut


def test_the_kills_were_spread_over_the_walks(kills: Kills) -> None:
    phases = {cut.phase for cut in kills.cuts if cut.died}
    assert phases >= {"preparing", "shifting", "promoting", "reverting"}


def test_no_request_was_lost_but_by_the_canary(kills: Kills) -> None:
    lost = [record for record in kills.load.failed() if record.version != BAD]
    assert lost == []
    total, bad = len(kills.load.records()), len(kills.load.failed())
    print(f"{len(kills.cuts)} kills: {total:,} requests, {bad} failed, all by a bad version itself")


def test_exposure_after_a_kill_is_bounded(kills: Kills) -> None:
    """The new version gets no more than its weight of what came between the kill and the next `up`'s first change."""
    by_app: dict[str, list[load.Record]] = {app: [] for app in APPS}
    for record in kills.load.records():
        by_app[record.target].append(record)
    for cut in kills.cuts:
        exposed, seconds = cut.exposed(by_app[cut.app]), cut.until - cut.at
        where = f"write {cut.point.write:2} of a {cut.point.kind} walk, {cut.phase}, weight {cut.weight} %"
        print(f"{where}, then the {cut.point.code} code: {exposed} requests met it in {seconds:.0f} s")
        if cut.died and cut.phase in ("preparing", "shifting", "reverting"):
            most = cut.weight / 100 * RATE_PER_APP * seconds
            assert exposed <= most + 5 * (most + 1) ** 0.5 + RATE_PER_APP, cut
