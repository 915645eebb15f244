"""Releases that are killed after each write of their journal, and what the next ones make of them.

The laws of a cut: the next release of the same code comes to the end that the uncut one would have come
to, the next one of the old code comes back, whatever the guard did in between, and no kill is ever taken
for a verdict.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pulumi_rollout.core.state import FINAL
from pulumi_rollout.errors import Refused, RolloutFailed
from tests.fake_api import FakeApi
from tests.fake_app import CONFIGMAP, FakeApp
from tests.fake_world import FakeEngine, Killed
from tests.release_calls import Up, guard_acts, guards_run

SETTINGS = {"guard": True}
WALKS = 24


class Scene:
    """v1 serves, v2 is released. + bad: v2 loses its pods under traffic; kill_at: the write that is the last"""

    def __init__(self, *, bad: bool) -> None:
        api = FakeApi()
        api._server.server_close()
        self.app, self.bad = FakeApp(api), bad
        self.app.deploy("v1", 2)
        self.app.deploy("v2", 1)
        self.app.serve("v1")
        guards_run(self.app)
        if bad:
            api.reactions.append(lambda _, path: self._lose_pods())
        self.up = Up(self.app, FakeEngine())

    def release(self, revision: str = "v2", kill_at: int = 0) -> int:
        """Release it, killed after that write of the journal. Returns how often that was written."""
        self.up.live()
        writes = 0

        def written(_: FakeApi, path: str) -> None:
            nonlocal writes
            writes += path in (CONFIGMAP, CONFIGMAP.rpartition("/")[0])
            if kill_at and writes == kill_at:
                self.app.api.reactions.remove(written)
                self.up.die()

        self.app.api.reactions.append(written)
        try:
            self.up(revision, settings=SETTINGS)
        except (Killed, RolloutFailed, Refused):
            pass
        finally:
            if written in self.app.api.reactions:
                self.app.api.reactions.remove(written)
        self.up.before_request = lambda method, path: None
        return writes

    def guard(self) -> None:
        """What the guard does, if it has something to do."""
        left = self.up.journal.unfinished
        if left is not None and left.state.phase not in FINAL:
            guard_acts(self.app, self.up)

    @property
    def end(self) -> tuple[str | None, dict[str, int | None], int]:
        return self.app.serving, self.app.backends, self.app.replicas("v2")

    def _lose_pods(self) -> None:
        if self.app.backends.get("shop-v2") == 20 and "v2" not in self.app.broken:
            self.app.broken.add("v2")
            self.app.react()


OLD, NEW = ("v1", {"shop": None}, 0), ("v2", {"shop": None}, 2)


def check_verdicts(scene: Scene) -> None:
    """What is held against v2 is what v2 did."""
    judged = [entry for entry in scene.up.journal.history if entry.phase == "failed" and entry.judged]
    assert all(scene.bad and "no ready pod at 20 %" in (entry.reason or "") for entry in judged)
    assert len(judged) <= 1
    assert scene.up.journal.unfinished is None
    assert scene.up.holder == ""


@pytest.mark.parametrize("between", [lambda scene: None, Scene.guard], ids=["nobody acts", "the guard acts"])
@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
@pytest.mark.parametrize("following", ["v2", "v1"], ids=["the same code", "the old code"])
def test_a_kill_after_any_write_and_the_next_release(
    bad: bool, following: str, between: Callable[[Scene], None]
) -> None:
    uncut = Scene(bad=bad)
    writes = uncut.release()
    assert uncut.end == (OLD if bad else NEW)
    assert writes > 8
    for number in range(1, writes + 1):
        scene = Scene(bad=bad)
        scene.release(kill_at=number)
        won = scene.app.serving == "v2" and scene.up.journal.unfinished is None
        between(scene)
        scene.release(following)
        check_verdicts(scene)
        if following == "v2":
            assert (number, scene.end) == (number, OLD if bad else NEW)
        else:
            # From a version that had won already, the old one is walked to as any other.
            assert (number, scene.end) == (number, (*OLD[:2], 2 if won else 0))


def test_any_sequence_of_kills_comes_to_an_end() -> None:
    """Up to four in a row, of either code, with or without the guard, and then a release that is let be."""
    chance = random.Random(23)
    ends = set()
    for _ in range(WALKS):
        scene = Scene(bad=chance.random() < 0.5)
        for _ in range(chance.randint(1, 4)):
            scene.release(chance.choice(["v2", "v2", "v1"]), kill_at=chance.randint(1, 12))
            if chance.random() < 0.4:
                scene.guard()
        last = chance.choice(["v2", "v1"])
        scene.release(last)
        check_verdicts(scene)
        assert len(scene.app.backends) == 1
        assert scene.app.serving == (last if not scene.bad else "v1")
        assert scene.app.replicas("v1") >= 2
        ends.add((scene.bad, last, scene.app.serving))
    assert len(ends) == 4, "all kinds of ends occur"
