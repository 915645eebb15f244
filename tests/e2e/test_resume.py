"""CLI and providers are killed with SIGKILL, and what the next `up` makes of it (traps 13 and 14).

All applications are in one stack and die at the same moment: some at 30 %, some between the end of
their walk and the checkpoint. Then one `up` asks for the new code of some, the old code of others,
and a third version of one. Names that end in `-broken` go without the countermeasure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.stack import Result, Stack
from tests.e2e.world import GOOD, NEXT, THIRD, Load, World, check_side_by_side, diagnostics, revisions, summary, until

pytestmark = pytest.mark.lab
CUT = ("resumed", "undone", "undone-broken", "third")
WON = ("won", "won-broken", "lost")
SAMPLES = [{"successRate": {"minPercent": 99}}]
# At 30 % until there is traffic, or for longer than anybody waits here. Two go without a guard, which on a slow
# machine would put the traffic back before the second `up` has come to them.
HOLD: dict[str, dict[str, Any]] = {"resumed": {"weights": [30], "gates": SAMPLES, "minSamples": 20, "guard": False}}
LONG = {"weights": [30], "interval": "60s"}


@dataclass
class Killed:
    """What was seen of the two runs. + first, second, end: each application's serving revision by the state"""

    world: World
    stack: Stack
    load: Load
    first: dict[str, str]
    killed_at: float
    result: Result
    end: dict[str, str]

    def weights(self, app: str) -> list[int | None]:
        """The route's weights in the second run, from the one that was left."""
        before = [weight for at, weight in self.world.history.weights(app) if at < self.killed_at][-1:]
        after = [weight for at, weight in self.world.history.weights(app) if at >= self.killed_at]
        return [*before, *after]

    def new(self, app: str) -> list[str]:
        """The names of the revisions after the first, oldest first."""
        names = [name for name in self.world.history.names("Deployment") if name[:-9] == app]
        return [name for name in names if name != f"{app}-{self.first[app]}"]


def configure(world: World, stack: Stack, tags: dict[str, str], canary: dict[str, dict[str, Any]]) -> None:
    applications: dict[str, Any] = {}
    for app, tag in tags.items():
        applications |= world.app(app, tag, replicas=1, canary=canary.get(app, {}))
    stack.configure(applications=applications)


def release_and_kill(world: World, stack: Stack) -> float:
    """Begin to release everywhere, and kill all when each application has come as far as it should."""
    alone = {"undone-broken": {**LONG, "guard": False}}
    configure(world, stack, dict.fromkeys((*CUT, *WON), NEXT), {**dict.fromkeys(CUT, LONG), **HOLD, **alone})
    stack.break_("lingers:" + "+".join(WON))
    running = stack.start("up", "--yes", "--skip-preview", "--stack", "resume")
    history = world.history

    def there() -> bool:
        cut = all(30 in [weight for _, weight in history.weights(app, running.began)] for app in CUT)
        return cut and all(_ended(history.journal(app, running.began)) for app in WON)

    until("all at 30 % or at their end", there, 180)
    stack.die(running)
    killed_at = time.time()
    stack.break_()
    assert stack.unlock().code == 0
    return killed_at


def _ended(states: list[tuple[float, dict[str, Any]]]) -> bool:
    return bool(states) and states[-1][1]["phase"] == "succeeded"


@pytest.fixture(scope="module")
def killed(world: World) -> Iterator[Killed]:
    stack = world.stack("resume")
    apps = (*CUT, *WON)
    configure(world, stack, dict.fromkeys(apps, GOOD), {})
    result = stack.up()
    assert result.code == 0, result.output
    first = revisions(stack)
    with world.load("undone", rate=50) as load:
        killed_at = release_and_kill(world, stack)
        assert revisions(stack) == first, "nothing of the killed run was to be checkpointed"
        old = dict.fromkeys(("undone", "undone-broken", "lost"), GOOD)
        configure(world, stack, {**dict.fromkeys(apps, NEXT), **old, "third": THIRD}, HOLD)
        stack.break_("diff:undone-broken", "truth:won-broken")
        with world.load("resumed", rate=50, apex=False):
            result = stack.up()
        yield Killed(world, stack, load, first, killed_at, result, revisions(stack))


def check_traffic_left_before_the_delete(killed: Killed, app: str, doomed: str) -> None:
    """When the revision's Deployment was deleted, neither the route nor the apex led to it."""
    history = killed.world.history
    deleted = until(f"{doomed} is deleted", lambda: history.deleted("Deployment", doomed))
    listed = [backends for at, backends in history.listings(app) if at < deleted][-1]
    served = [serving for at, serving in history.served(app) if at < deleted][-1]
    assert not listed.get(doomed), f"the route sent {listed} when {doomed} was deleted"
    assert f"{app}-{served}" != doomed


def check_not_walked_again(killed: Killed, app: str) -> None:
    assert set(killed.weights(app)) == {None}


def test_second_up_succeeds(killed: Killed) -> None:
    assert killed.result.code == 0, killed.result.output
    print(f"`up` after the kill: {killed.result.seconds:.1f} s, {summary(killed.result.output)}")


def test_walks_run_side_by_side(killed: Killed) -> None:
    """Trap 9: more than the four that one provider process would serve; most of them never ended."""
    began = killed.world.history.journal("third")
    assert began
    check_side_by_side(killed.world.history, (*CUT, *WON), killed.killed_at)


def test_new_code_goes_on_where_it_was(killed: Killed) -> None:
    assert killed.weights("resumed") == [30, 100, 0, None]
    assert "going on at shifting, weight 30 %" in diagnostics(killed.result.output)
    assert killed.new("resumed") == [f"resumed-{killed.end['resumed']}"]


def test_old_code_puts_traffic_back_first(killed: Killed) -> None:
    """Trap 13: no input has changed, and still the Rollout has work before v2 may be deleted."""
    assert killed.end["undone"] == killed.first["undone"]
    assert killed.weights("undone") == [30, 0, None]
    [doomed] = killed.new("undone")
    check_traffic_left_before_the_delete(killed, "undone", doomed)
    assert killed.load.failed() == []
    print(f"old code after a kill at 30 %: {len(killed.load.records()):,} requests, none failed")


def test_old_code_needs_the_diff(killed: Killed) -> None:
    [doomed] = killed.new("undone-broken")
    with pytest.raises(AssertionError, match="the route sent"):
        check_traffic_left_before_the_delete(killed, "undone-broken", doomed)


def test_third_version_puts_the_first_back_first(killed: Killed) -> None:
    assert killed.weights("third") == [30, 0, None, 0, 50, 100, 0, None]
    second, third = killed.new("third")
    assert third == f"third-{killed.end['third']}"
    check_traffic_left_before_the_delete(killed, "third", second)
    listed = [name for _, listing in killed.world.history.listings("third", killed.killed_at) for name in listing]
    assert listed.index(third) > max(i for i, name in enumerate(listed) if name == second)


def test_walk_that_was_won_is_not_walked_again(killed: Killed) -> None:
    """Trap 14: the cluster knows, though the state does not."""
    check_not_walked_again(killed, "won")
    assert killed.new("won") == [f"won-{killed.end['won']}"]


def test_walk_that_was_won_needs_the_clusters_truth(killed: Killed) -> None:
    with pytest.raises(AssertionError):
        check_not_walked_again(killed, "won-broken")


def test_old_code_walks_back_from_a_walk_that_was_won(killed: Killed) -> None:
    assert killed.end["lost"] == killed.first["lost"]
    assert killed.weights("lost") == [None, 0, 50, 100, 0, None]
    [doomed] = killed.new("lost")
    check_traffic_left_before_the_delete(killed, "lost", doomed)
    assert killed.world.history.served("lost")[-1][1] == killed.first["lost"]
