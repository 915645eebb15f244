"""`rollout abort` where nobody runs the walk: the real way back, on an application in the local API."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pulumi_rollout.cli import orders
from pulumi_rollout.cli.back import Terminal, walk_back
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, State
from pulumi_rollout.driver import Walk
from pulumi_rollout.lock import Lock, holder
from tests.cli.conftest import COMMANDS, LEASE, QUICK, Scene
from tests.fake_api import Fault
from tests.fake_app import ROUTE

BACK = "shop: aborted by ada@laptop: it is Friday; all traffic is back on shop-v1\n"


@pytest.fixture
def at_10(scene: Scene) -> Scene:
    """The route sends 10 % to v2."""
    scene.app.deploy("v1", 2)
    scene.app.deploy("v2", 2)
    scene.app.serve("v1")
    scene.app.list_on_route(v2=10)
    return scene


def original(scene: Scene) -> str:
    """The route as it was before the walk."""
    route = json.loads(json.dumps(scene.api.objects[ROUTE]))
    route["spec"]["rules"][0]["backendRefs"] = [{"name": "shop", "port": 9898}]
    return json.dumps([{key: route[key] for key in ("apiVersion", "kind", "spec")}])


def where(scene: Scene) -> tuple[dict[str, int | None], int, str | None]:
    """The route's backends, the new version's pods, and who holds the lock."""
    return scene.app.backends, scene.app.replicas("v2"), holder(scene.api.objects.get(LEASE))


HOME: tuple[Any, ...] = ({"shop": None}, 0, None)


@pytest.mark.parametrize("left", [Scene.held, Scene.walks], ids=["held", "cut off"])
def test_abort_walks_back_here(at_10: Scene, left: Callable[..., State]) -> None:
    left(at_10, QUICK, original=original(at_10))
    given = at_10.run("abort", "shop", "--reason", "it is Friday")
    assert (given.exit_code, given.stdout) == (0, BACK)
    assert where(at_10) == HOME
    [entry] = at_10.journal().history
    assert (entry.phase, entry.judged, entry.reason) == (Phase.FAILED, True, "aborted by ada@laptop: it is Friday")
    told = given.stderr.splitlines()
    assert told[0] == "nobody runs the rollout of shop: putting the old version back from here"
    assert "ada@laptop says abort: all traffic goes back to the old version" in told
    assert at_10.run("status", "shop").exit_code == 5


def test_abort_takes_a_silent_lock(at_10: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_rollout.lock.EXPIRY_SECONDS", 0.1)
    at_10.walks(QUICK, original=original(at_10))
    at_10.lock()
    given = at_10.run("abort", "shop", "--reason", "it is Friday")
    assert (given.stdout, where(at_10)) == (BACK, HOME)


def test_abort_goes_on_with_a_way_back_that_was_cut_off(at_10: Scene) -> None:
    at_10.walks(QUICK, original=original(at_10), phase="reverting", move=0, weight_percent=0, reason="3 of 9 failed")
    given = at_10.run("abort", "shop")
    assert (given.stdout, where(at_10)) == ("shop: 3 of 9 failed; all traffic is back on shop-v1\n", HOME)
    assert COMMANDS not in at_10.api.objects


def test_abort_leaves_a_way_back_to_whoever_walks_it(at_10: Scene, walker: Callable[[], None]) -> None:
    at_10.walks(QUICK, original=original(at_10), phase="reverting", move=0, weight_percent=0)
    walker()
    given = at_10.run("abort", "shop")
    assert (given.exit_code, where(at_10)[2]) == (1, "bob@ci")
    assert given.stderr.splitlines()[-1] == (
        "error: bob@ci is putting the old version back already: `rollout watch` shows it"
    )


def test_a_first_release_is_scaled_down(scene: Scene) -> None:
    scene.app.deploy("v2", 2)
    scene.walks(QUICK, stable=None, phase="preparing", move=0, weight_percent=0)
    given = scene.run("abort", "shop")
    assert given.stdout == "shop: aborted by ada@laptop; shop-v2 was scaled down\n"
    assert scene.app.replicas("v2") == 0


def test_somebody_takes_the_walk_up_just_then(
    at_10: Scene, monkeypatch: pytest.MonkeyPatch, walker: Callable[[], None]
) -> None:
    """They read the same commands, and their answer is ours."""
    at_10.held(QUICK, original=original(at_10))
    real = walk_back

    def late(*arguments: Any) -> str:
        walker()
        return real(*arguments)

    monkeypatch.setattr(orders, "walk_back", late)
    given = at_10.run("abort", "shop")
    assert given.stdout == "shop: all traffic goes back to the old version (ada@laptop)\n"
    assert at_10.app.backends["shop-v2"] == 10


def test_a_way_back_that_cannot_be_confirmed_is_an_error(at_10: Scene) -> None:
    limits = QUICK.limits.model_copy(update={"propagation_seconds": 0.2})
    plan: Plan = QUICK.model_copy(update={"limits": limits})
    at_10.walks(plan, original=original(at_10))
    at_10.api.faults.append(Fault(method="PUT", path="httproutes", status=403, times=float("inf")))
    given = at_10.run("abort", "shop")
    assert given.exit_code == 1
    assert given.stderr.splitlines()[-1].startswith("error: shop: aborted by ada@laptop; not confirmed: ")


def test_a_journal_of_an_older_version_has_no_way_back(at_10: Scene) -> None:
    at_10.walks(QUICK, original=original(at_10))
    journal = at_10.journal()
    assert journal.record is not None
    journal.begin(journal.record.model_copy(update={"inputs": None}))
    given = at_10.run("abort", "shop")
    assert (given.exit_code, given.stderr) == (
        1,
        "error: the rollout of shop was begun by an older version of pulumi-rollout: `pulumi up` of the old code puts "
        "the old version back\n",
    )


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As in a terminal: a shell starts background jobs, and CI its tests, with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_one_interrupt_does_not_stop_the_way_back(at_10: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    at_10.walks(QUICK, original=original(at_10))
    presses = iter([True])
    real = Terminal.wait

    def wait(self: Terminal, seconds: float) -> None:
        if at_10.app.backends.get("shop-v2") == 0 and next(presses, False):
            os.kill(os.getpid(), signal.SIGINT)
        real(self, seconds)

    monkeypatch.setattr(Terminal, "wait", wait)
    given = at_10.run("abort", "shop", "--reason", "it is Friday")
    assert next(presses, None) is None
    assert (given.stdout, where(at_10)) == (BACK, HOME)
    assert "warning: the way back goes on; Ctrl-C once more leaves the rest of it" in given.stderr


@pytest.mark.usefixtures("interruptible")
def test_two_interrupts_do(at_10: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is not given back: the guard, and the next update, see a walk that was cut off."""
    at_10.walks(QUICK, original=original(at_10))
    monkeypatch.setattr(Terminal, "wait", lambda self, seconds: os.kill(os.getpid(), signal.SIGINT))
    given = at_10.run("abort", "shop")
    assert given.exit_code == 130
    assert where(at_10)[2] == "ada@laptop"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_off_the_main_thread_there_is_no_handler(at_10: Scene) -> None:
    state = at_10.walks(QUICK, original=original(at_10))
    found: list[State] = []

    def run() -> None:
        at_10.run("abort", "shop")
        record = at_10.journal().record
        found.extend([record.state] if record else [])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert [one.phase for one in found] == [Phase.FAILED]
    assert state.phase is Phase.SHIFTING


def test_the_way_back_is_the_real_walk(at_10: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that all that is tested of it elsewhere holds here."""
    begun: list[Any] = []
    real = Walk.__init__

    def init(self: Walk, *arguments: Any) -> None:
        begun.append(arguments)
        real(self, *arguments)

    monkeypatch.setattr(Walk, "__init__", init)
    at_10.walks(QUICK, original=original(at_10))
    at_10.run("abort", "shop")
    [(inputs, _, _, lock, terminal)] = begun
    assert (inputs.revision.hash, type(lock), type(terminal)) == ("v2", Lock, Terminal)
