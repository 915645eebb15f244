"""Releases that fail without any load: pods that never get ready, and pods that crash at 50 %.

Told in one stack: a first release in which one application crashes, a release that fails for every
application, then a look at what Pulumi makes of it (traps 4, 5 and 16). Names that end in `-broken`
go without the countermeasure. Beside it a stack whose rollouts share one process (trap 9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from lab.stack import Result, Stack
from tests.e2e.world import GOOD, NEXT, World, changes, check_side_by_side, diagnostics, revisions

pytestmark = pytest.mark.lab
ABSENT = "ghcr.io/example/absent:1.0"
APPS = ("mortal", "mortal-broken", "absent", "absent-broken")
SHARED = tuple(f"shared-{number}" for number in range(5))


@dataclass
class Failing:
    """The commands' results and the revisions that serve throughout."""

    world: World
    first: Result
    stable: dict[str, str]
    release: Result
    refresh: Result
    again: Result
    shared: Result

    def canary(self, app: str) -> str:
        """The name of the release that fails."""
        named = [name for name in self.world.history.names("Deployment") if name[:-9] == app]
        return next(name for name in named if name != f"{app}-{self.stable.get(app)}")

    def replicas(self, app: str, result: Result) -> list[int]:
        """The failing release's replicas during a command, from before it on."""
        events = self.world.history.of("Deployment", self.canary(app))
        before = [event for event in events if event.at < result.began][-1:]
        during = [event for event in events if result.began <= event.at < result.ended]
        return [event.object["spec"].get("replicas", 1) for event in (*before, *during)]

    def weights(self, app: str, result: Result) -> list[int | None]:
        """The route's weights during a command."""
        seen = self.world.history.weights(app, result.began)
        return [weight for at, weight in seen if at < result.ended]

    def said(self, app: str, result: Result) -> str:
        """What stays on the application's Rollout in the summary."""
        return diagnostics(result.output).partition(f"Rollout ({app}):")[2].partition("\n\n")[0]


def configure(world: World, stack: Stack, *, release: bool) -> None:
    applications: dict[str, Any] = {}
    for app in APPS:
        canary = {"preparing": "3s" if app.startswith("absent") else "30s", "interval": "30s"} if release else {}
        env = {"CRASH_AFTER_SECONDS": "4"} if release else {}
        applications |= world.app(app, NEXT if release else GOOD, env=env, canary=canary)
        if release and app.startswith("absent"):
            applications[app]["image"] = ABSENT
    if not release:
        crash = {"CRASH_AFTER_SECONDS": "0.2", "SLOW_START_SECONDS": "60"}
        applications |= world.app("crashing", GOOD, env=crash, canary={"preparing": "5s"})
    stack.configure(applications=applications)


@pytest.fixture(scope="module")
def failing(world: World) -> Failing:
    stack = world.stack("failing")
    stack.break_("replicas:mortal-broken", "memory:mortal-broken", "await:absent-broken")
    configure(world, stack, release=False)
    first = stack.up("--skip-preview", "--continue-on-error")
    configure(world, stack, release=True)
    release = stack.up("--skip-preview", "--continue-on-error")
    stable = revisions(stack)
    refresh = stack.run("refresh", "--preview-only", "--expect-no-changes", "--stack", "failing")
    again = stack.up("--skip-preview", "--refresh", "--continue-on-error")
    return Failing(world, first, stable, release, refresh, again, share(world))


def share(world: World) -> Result:
    """First releases that take some seconds each, in one provider process."""
    stack = world.stack("shared")
    applications: dict[str, Any] = {}
    for app in SHARED:
        applications |= world.app(app, GOOD, replicas=1, env={"SLOW_START_SECONDS": "3"})
    stack.configure(applications=applications)
    stack.break_("shared-process")
    return stack.up()


def check_pods_own_reason(failing: Failing, app: str) -> None:
    """Trap 4: the walk says why pods are not ready, no traffic has moved, and they are scaled down."""
    said = failing.said(app, failing.release)
    assert "0 of 2 pods are ready: pod " in said
    assert "ImagePull" in said
    assert f"after 3 s (preparing); all traffic is back on {app}-{failing.stable[app]}" in said
    assert set(failing.weights(app, failing.release)) <= {None}
    assert failing.replicas(app, failing.release)[-1] == 0


def check_refresh_is_clean(failing: Failing, app: str) -> None:
    """Trap 5: of a failed release's Deployment."""
    assert changes(failing.refresh.output, failing.canary(app)) == []


def check_stays_scaled_down(failing: Failing, app: str) -> None:
    """Trap 5: with `up --refresh`."""
    assert failing.replicas(app, failing.release)[-1] == 0
    assert set(failing.replicas(app, failing.again)) == {0}


def check_is_refused(failing: Failing, app: str) -> None:
    """Trap 16."""
    assert 50 in failing.weights(app, failing.release)
    assert f"{failing.canary(app)} has failed before, and no traffic was moved" in failing.said(app, failing.again)
    assert set(failing.weights(app, failing.again)) <= {None}


CHECKS = [
    pytest.param(check_pods_own_reason, "absent", id="4-the-pods-own-reason"),
    pytest.param(check_refresh_is_clean, "mortal", id="5-refresh-is-clean"),
    pytest.param(check_stays_scaled_down, "mortal", id="5-up-refresh-does-not-scale-up"),
    pytest.param(check_is_refused, "mortal", id="16-a-failed-revision-is-refused"),
]


@pytest.mark.parametrize(("check", "app"), CHECKS)
def test_trap(failing: Failing, check: Any, app: str) -> None:
    """It holds, and without its countermeasure it does not."""
    check(failing, app)
    with pytest.raises(AssertionError):
        check(failing, f"{app}-broken")


def test_crashes_are_named(failing: Failing) -> None:
    """By the gate; or, where the pods are down at the same time, by what is said of pods that are not ready."""
    restart = r"restarts: the new version's pod mortal-\S+, container mortal restarted: Error \(exit code 1\)"
    down = r"the new version has no ready pod at 50 %: pod mortal-\S+: .*\(last exit code 1\)"
    assert re.search(f"{restart}|{down}", failing.said("mortal", failing.release))


def test_crash_loop_on_first_release(failing: Failing) -> None:
    said = failing.said("crashing", failing.first)
    assert "0 of 2 pods are ready: pod crashing-" in said
    assert "last exit code 1" in said
    assert f"{failing.canary('crashing')} was scaled down" in said
    assert failing.replicas("crashing", failing.first)[-1] == 0


def test_others_are_released_beside_a_failure(failing: Failing) -> None:
    """With --continue-on-error; the stable versions served all the time."""
    assert failing.first.code != 0
    for app in APPS:
        assert [serving for _, serving in failing.world.history.served(app)] == [failing.stable[app]]


def test_rollouts_need_a_process_each(failing: Failing) -> None:
    """Trap 9: a provider process serves four calls at a time (test_resume.py has the other side)."""
    assert failing.shared.code == 0, failing.shared.output
    states = [state for app in SHARED for state in failing.world.history.journal(app)]
    ended = min(at for at, state in states if state["phase"] == "succeeded")
    with pytest.raises(AssertionError):
        check_side_by_side(failing.world.history, SHARED, ended)
