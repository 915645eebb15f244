"""Commands that are given to a walk: obeyed, refused, recorded, unanswered. Aborting alone: test_back.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pulumi_rollout import lock
from pulumi_rollout.control import Control
from pulumi_rollout.core.commands import VERBS, obey
from pulumi_rollout.core.state import Phase
from tests.cli.conftest import BEGAN, COMMANDS, WALK, Scene
from tests.fake_world import PLAN

Walker = Callable[[], None]

# Somebody runs the walk: what is typed, and what is said.
OBEYED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "pause": (["pause", "shop"], {}, "shop: paused at weight 10 (ada@laptop)"),
    "resume": (["resume", "shop"], {"phase": "paused"}, "shop: resumed (ada@laptop)"),
    "promote": (["promote", "shop"], {}, "shop: goes on to the next step (ada@laptop)"),
    "promote-full": (
        ["promote", "shop", "--full"],
        {},
        "shop: all steps that are left are skipped; its gates still judge it (ada@laptop)",
    ),
    "abort": (["abort", "shop"], {}, "shop: all traffic goes back to the old version (ada@laptop)"),
    "restart": (
        ["restart", "shop"],
        {},
        "shop: all traffic goes back to the old version, and the rollout begins anew (ada@laptop)",
    ),
    "set-weight": (["set-weight", "shop", "33"], {}, "shop: weight 33, and paused there (ada@laptop)"),
    "with the revision that is meant": (
        ["pause", "shop", "--revision", "shop-v2"],
        {},
        "shop: paused at weight 10 (ada@laptop)",
    ),
}


@pytest.mark.parametrize(("typed", "state", "said"), OBEYED.values(), ids=OBEYED)
def test_a_command_is_obeyed(scene: Scene, walker: Walker, typed: list[str], state: dict[str, Any], said: str) -> None:
    scene.walks(**state)
    walker()
    given = scene.run(*typed)
    assert (given.exit_code, given.output) == (0, f"{said}\n")


def test_every_verb_is_tried() -> None:
    assert set(VERBS) <= set(OBEYED)


def test_what_is_written(scene: Scene, walker: Walker) -> None:
    scene.walks(command=7)
    walker()
    scene.run("set-weight", "shop", "33", "--reason", "a look at the logs")
    [command] = scene.asked()
    assert {name: command[name] for name in ("id", "verb", "walk", "step", "weight_percent", "reason", "by")} == {
        "id": 8,
        "verb": "set-weight",
        "walk": WALK,
        "step": 0,
        "weight_percent": 33,
        "reason": "a look at the logs",
        "by": "ada@laptop",
    }


# Nobody runs the walk: what the next update will do.
RECORDED: dict[str, tuple[list[str], str]] = {
    "promote": (["promote", "shop"], "goes on at weight 10"),
    "promote-full": (["promote", "shop", "--full"], "goes on at weight 10 and skips the steps that are left"),
    "resume": (["resume", "shop"], "goes on at weight 10"),
    "restart": (["restart", "shop"], "puts the old version back and begins anew"),
    "set-weight": (["set-weight", "shop", "33"], "sets weight 33 and pauses there"),
}


@pytest.mark.parametrize(("typed", "does"), RECORDED.values(), ids=RECORDED)
def test_a_command_to_a_held_walk_is_recorded(scene: Scene, typed: list[str], does: str) -> None:
    scene.held()
    given = scene.run(*typed)
    assert (given.exit_code, given.output) == (0, f"shop: recorded: the next `pulumi up` {does}\n")
    assert len(scene.asked()) == 1


def test_a_command_to_a_walk_that_was_cut_off_is_recorded(scene: Scene) -> None:
    scene.walks()
    assert scene.run("pause", "shop").output == "shop: recorded: the next `pulumi up` pauses at weight 10\n"


def test_a_silent_lock_belongs_to_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "EXPIRY_SECONDS", 0.1)
    scene.walks()
    scene.lock()
    assert scene.run("pause", "shop").output == "shop: recorded: the next `pulumi up` pauses at weight 10\n"


def test_what_was_asked_before_comes_first(scene: Scene) -> None:
    """The walk is paused, but not any more once it has read that it shall resume."""
    scene.held()
    scene.run("resume", "shop")
    again = scene.run("resume", "shop")
    assert (again.exit_code, again.stderr) == (1, "error: shop: it is not paused but shifting\n")
    assert scene.run("pause", "shop").exit_code == 0
    assert [one["verb"] for one in scene.asked()] == ["resume", "pause"]


# Refused before anything is written.
FORBIDS = PLAN.model_copy(update={"forbidden_commands": ("promote-full",)})
BEGINS_ANEW = PLAN.model_copy(update={"on_interrupted": "restart"})
REFUSED: dict[str, tuple[list[str], Any, str]] = {
    "resume while it shifts": (["resume", "shop"], {}, "shop: it is not paused but shifting"),
    "a weight above all": (
        ["set-weight", "shop", "120"],
        {},
        "shop: weights lie between 0 and 100 percent, not 120",
    ),
    "a forbidden command": (
        ["promote", "shop", "--full"],
        {"plan": FORBIDS},
        "shop: the rollout's policy forbids promote-full (forbiddenCommands)",
    ),
    "on its way back": (
        ["pause", "shop"],
        {"phase": "reverting", "move": 0},
        "shop: the rollout is reverting: there is nothing left to pause",
    ),
    "another revision": (
        ["abort", "shop", "--revision", "v1"],
        {},
        "the rollout of shop is to shop-v2 and not to v1: look at it first",
    ),
    "begun anew anyway": (
        ["pause", "shop"],
        {"plan": BEGINS_ANEW},
        "shop: the process that ran the rollout is gone, and the next `pulumi up` puts the old version back and begins "
        "anew (onInterrupted: restart), so there is nothing left to pause",
    ),
    "a way back that was not confirmed": (
        ["abort", "shop"],
        {"phase": "failed", "confirmed": False, "reason": "not confirmed: nobody knows"},
        "the rollout of shop is over, but its way back was not seen to be complete (not confirmed: nobody knows): "
        "`pulumi up` tries that again",
    ),
}


@pytest.mark.parametrize(("typed", "walk", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_command_is_refused_here(scene: Scene, typed: list[str], walk: dict[str, Any], reason: str) -> None:
    scene.walks(**walk)
    given = scene.run(*typed)
    assert (given.exit_code, given.stdout, given.stderr) == (1, "", f"error: {reason}\n")
    assert COMMANDS not in scene.api.objects


def test_a_guard_that_acted_leaves_nothing_to_pause(scene: Scene) -> None:
    scene.walks()
    journal = scene.journal()
    journal.guarded = "2026-11-21T10:01:09Z"
    assert journal.record is not None
    journal.save(journal.record.state, BEGAN)
    given = scene.run("promote", "shop")
    assert given.stderr == (
        "error: the guard has put the traffic of shop back at 2026-11-21T10:01:09Z: the next `pulumi up` begins anew, "
        "and there is nothing left to promote\n"
    )
    assert COMMANDS not in scene.api.objects


def test_a_refusal_by_the_walk(scene: Scene, monkeypatch: pytest.MonkeyPatch, walker: Walker) -> None:
    """It had moved on between our look and its own."""
    monkeypatch.setattr("pulumi_rollout.cli.orders.refusal", lambda *_: None)
    scene.walks()
    walker()
    given = scene.run("resume", "shop")
    assert (given.exit_code, given.stderr) == (1, "error: shop: it is not paused but shifting\n")


def test_no_answer_in_time(scene: Scene) -> None:
    scene.walks()
    scene.lock()
    given = scene.run("pause", "shop", "--timeout", "100ms")
    assert (given.exit_code, given.stderr) == (
        1,
        "error: bob@ci, who is releasing shop, has not answered within 0.1 s; the command stays recorded: see "
        "`rollout status shop`\n",
    )


def test_a_walk_that_is_over_before_it_answers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.walks()
    scene.lock()
    real = Control.send

    def send(self: Control, *arguments: Any, **named: Any) -> int:
        number = real(self, *arguments, **named)
        scene.walks(phase="succeeded", move=0)
        return number

    monkeypatch.setattr(Control, "send", send)
    given = scene.run("pause", "shop")
    assert (given.exit_code, given.stderr) == (
        1,
        "error: the rollout of shop was over before it could answer: see `rollout status shop`\n",
    )


def test_the_next_update_obeys_what_was_recorded(scene: Scene) -> None:
    """The journal's own state, and what was sent: taken up, it goes on."""
    state = scene.held()
    scene.run("promote", "shop")
    commands, _ = Control(scene.cluster, "prod", "shop").read()
    after = obey(PLAN, state, commands, BEGAN + 60)
    assert (after.phase, after.approved_move) == (Phase.SHIFTING, state.move)


# retry


def test_retry_lifts_the_memory_of_a_failure(scene: Scene) -> None:
    scene.walks(phase="failed", move=0, reason="3 of 9 failed", command=4)
    assert scene.journal().failure_of("v2", "") is not None
    given = scene.run("retry", "shop")
    assert given.output == "shop: shop-v2 may be tried again: run `pulumi up` (it had failed: 3 of 9 failed)\n"
    _, retries = Control(scene.cluster, "prod", "shop").read()
    assert [(one.id, one.revision, one.by) for one in retries] == [(5, "v2", "ada@laptop")]
    assert scene.journal().failure_of("v2", "", retries) is None
    assert scene.run("retry", "shop").output == "shop: shop-v2 may be tried again already: run `pulumi up`\n"
    assert len(Control(scene.cluster, "prod", "shop").read()[1]) == 1


@pytest.mark.parametrize("state", [{"phase": "succeeded"}, {"phase": "failed", "judged": False}, {}], ids=str)
def test_nothing_to_retry(scene: Scene, state: dict[str, Any]) -> None:
    scene.walks(**state)
    given = scene.run("retry", "shop")
    reason = "there is nothing to retry: no revision of shop is remembered to have failed"
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")
    assert COMMANDS not in scene.api.objects
