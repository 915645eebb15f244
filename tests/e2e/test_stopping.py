"""A walk that is stopped: Ctrl-C, Ctrl-C twice, and a CLI that is killed (trap 10).

Each time somebody stops an `up` at 50 %, and the provider's process puts the traffic back by itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.stack import Result, Running, Stack
from tests.e2e.world import GOOD, NEXT, Load, World, diagnostics, revisions, summary, until

pytestmark = pytest.mark.lab
APP = "stopping"
# Until no request goes to the new version; then four changes and looks of a quarter second, settling and draining.
ZERO_SECONDS, REVERT_SECONDS = 5, 8


@dataclass
class Stopping:
    """The stack, its load, and the moment when it was stopped last."""

    world: World
    stack: Stack
    load: Load
    stable: str

    def at_half(self, hold: str = "30s") -> Running:
        """An `up` of the next version that has just reached 50 %, and would stay there."""
        began = time.time()
        canary = {"weights": [50], "interval": hold}
        self.stack.configure(applications=self.world.app(APP, NEXT, canary=canary))
        running = self.stack.start("up", "--yes", "--skip-preview", "--stack", "stopping")
        until("weight 50", lambda: 50 in [weight for _, weight in self.world.history.weights(APP, began)])
        time.sleep(0.5)
        return running

    def weight(self) -> int | None:
        """The route's weight now."""
        return self.world.history.weights(APP)[-1][1]

    def assert_back(self, since: float) -> None:
        """All traffic is on the old version within the time that a revert takes, and no pod is left."""
        until("the route is as it was", lambda: self.weight() is None, since + REVERT_SECONDS - time.time())
        settled = time.time() + 0.5
        [canary] = {name for name in self.world.history.names("Deployment") if self.is_canary(name)}
        until("no pod of the new version", lambda: self.replicas(canary) == 0, since + REVERT_SECONDS - time.time())
        until("half a second of load", lambda: time.time() > settled + 0.5)
        assert {record.version for record in self.load.records(settled)} == {GOOD}
        assert self.load.failed(since) == []

    def seconds_to_zero(self, since: float) -> float:
        """How long the proxy was still told to send requests to the new version."""
        return next(at for at, weight in self.world.history.weights(APP, since) if not weight) - since

    def is_canary(self, deployment: str) -> bool:
        return deployment.startswith(f"{APP}-") and not deployment.endswith(self.stable)

    def replicas(self, deployment: str) -> int:
        return int(self.world.history.of("Deployment", deployment)[-1].object["spec"]["replicas"])


@pytest.fixture(scope="module")
def stopping(world: World) -> Iterator[Stopping]:
    stack = world.first_release("stopping", world.app(APP, GOOD))
    with world.load(APP, rate=60) as load:
        yield Stopping(world, stack, load, revisions(stack)[APP])


def check_stop(stopping: Stopping, running: Running, how: str = "interrupt") -> Result:
    since = time.time()
    getattr(running, how)()
    stopping.assert_back(since)
    result = running.wait()
    zero = stopping.seconds_to_zero(since)
    print(f"{how}: weight 0 after {zero:.1f} s, `up` over after {result.ended - since:.1f} s")
    assert zero < ZERO_SECONDS
    return result


@pytest.mark.parametrize("how", ["interrupt", "terminate"])
def test_ctrl_c_and_sigterm_revert(stopping: Stopping, how: str) -> None:
    result = check_stop(stopping, stopping.at_half(), how)
    assert result.code != 0
    said = f"the update was cancelled; all traffic is back on {APP}-{stopping.stable}"
    assert said in diagnostics(result.output)
    assert revisions(stopping.stack)[APP] == stopping.stable


def test_ctrl_c_twice_reverts(stopping: Stopping) -> None:
    running = stopping.at_half()
    since = time.time()
    running.interrupt()
    time.sleep(0.05)
    running.interrupt()
    result = running.wait()
    stopping.assert_back(since)
    zero = stopping.seconds_to_zero(since)
    print(f"Ctrl-C twice: weight 0 after {zero:.1f} s, the CLI gone after {result.ended - since:.1f} s")
    assert revisions(stopping.stack)[APP] == stopping.stable


def test_killed_cli_reverts(stopping: Stopping) -> None:
    running = stopping.at_half()
    since = time.time()
    running.kill()
    stopping.assert_back(since)
    print(f"CLI killed: weight 0 after {stopping.seconds_to_zero(since):.1f} s")
    until("the journal's end", lambda: stopping.world.history.journal(APP, since)[-1][1]["phase"] == "failed", 5)
    stopping.stack.kill_providers()
    assert stopping.stack.unlock().code == 0
    # What was under way when the CLI died may still write its state once, without a reason.
    reasons = [state["reason"] for _, state in stopping.world.history.journal(APP, since) if state["reason"]]
    assert reasons and set(reasons) == {"the Pulumi CLI is gone"}


def test_up_of_the_old_code_cleans_up(stopping: Stopping) -> None:
    """After all of that: nothing but the new version's resources is touched."""
    began = time.time()
    stopping.stack.configure(applications=stopping.world.app(APP, GOOD))
    result = stopping.stack.up()
    assert result.code == 0, result.output
    assert summary(result.output) == {"deleted": 4}
    assert {weight for _, weight in stopping.world.history.weights(APP, began)} <= {None}
    assert {record.version for record in stopping.load.records(began)} == {GOOD}
    assert stopping.load.failed(began) == []


def test_stops_are_noticed(stopping: Stopping) -> None:
    """Without the eyes for it the walk goes on, and wins."""
    stopping.stack.break_("blind")
    running = stopping.at_half(hold="4s")
    with pytest.raises(AssertionError):
        check_stop(stopping, running)
    assert running.wait().code != 0
    assert stopping.world.history.served(APP)[-1][1] != stopping.stable
