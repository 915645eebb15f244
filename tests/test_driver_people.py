"""What operators ask of a walk, as it arrives in their ConfigMap: obeyed or refused, answered with who and when."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.plan import Plan, Verb
from pulumi_rollout.core.state import Answer, Phase, State, taken_up
from pulumi_rollout.driver import LISTEN_SECONDS
from tests.fake_app import COMMANDS
from tests.fake_world import (
    JOURNAL,
    PLAN,
    PROMOTED,
    REVERTED,
    FakeEngine,
    Killed,
    MemoryCluster,
    World,
    ask,
    begin,
    loaded,
    walk,
    weights,
    when,
)

HOLDS = PLAN.model_copy(update={"on_wait": "hold"})
ASKS = PLAN.model_copy(
    update={"steps": tuple(step.model_copy(update={"wait_for_person": True}) for step in PLAN.steps)}
)
FREEZES = PLAN.model_copy(update={"on_failure": "freeze"})


@pytest.fixture
def world() -> World:
    return World(FakeEngine(), MemoryCluster())


def at(percent: int, phase: Phase = Phase.SHIFTING) -> Any:
    """While this weight is judged."""
    return lambda state: state.weight_percent == percent and state.phase is phase


def paused(state: State) -> bool:
    return state.phase is Phase.PAUSED


def answers(world: World) -> list[Answer]:
    record = loaded(world).record
    assert record is not None
    return list(record.state.answers)


def said(world: World) -> list[tuple[str, bool, str]]:
    return [(answer.verb, answer.accepted, answer.text) for answer in answers(world)]


def test_a_pause_holds_the_weight_until_somebody_resumes(world: World) -> None:
    times: list[float] = []

    def wait_an_hour(state: State) -> None:
        times.append(world.engine.now())
        world.engine.clock += 3600
        ask(world, "resume", state)

    when(world, at(10), lambda state: ask(world, "pause", state, reason="lunch"))
    when(world, paused, wait_an_hour)
    final = begin(world)
    assert (final.phase, world.end, weights(world)) == (Phase.SUCCEEDED, PROMOTED, [0, 10, 50, 100, 0])
    assert said(world) == [("pause", True, "paused at weight 10"), ("resume", True, "resumed")]
    assert "paused: paused by ada@laptop: lunch" not in world.engine.kept, "the answer says so already"
    assert "ada@laptop says pause: paused at weight 10" in world.engine.kept
    first, second = answers(world)
    assert (first.by, second.by, second.at - times[0] >= 3600) == ("ada@laptop", "ada@laptop", True)


def test_a_command_is_heard_within_a_moment(world: World) -> None:
    asked: list[float] = []

    def pause(state: State) -> None:
        asked.append(world.engine.now())
        ask(world, "pause", state)

    when(world, at(10), pause)
    when(world, paused, lambda state: ask(world, "resume", state))
    begin(world)
    assert answers(world)[0].at - asked[0] <= LISTEN_SECONDS + 0.5


def test_a_walk_does_not_ask_more_often_than_it_listens(world: World) -> None:
    heard: list[float] = []

    def count(method: str, path: str) -> None:
        if (method, path) == ("GET", COMMANDS):
            heard.append(world.engine.now())

    world.memory.before_request = count
    started = world.engine.now()
    begin(world)
    assert len(heard) <= (world.engine.now() - started) / LISTEN_SECONDS + 2


def test_a_step_that_waits_for_promotion(world: World) -> None:
    when(world, paused, lambda state: ask(world, "promote", state))
    when(world, lambda state: paused(state) and state.weight_percent == 50, lambda state: ask(world, "promote", state))
    final = begin(world, plan=ASKS)
    assert (final.phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
    assert said(world) == [("promote", True, "goes on to the next step"), ("promote", True, "goes on to promotion")]
    assert "paused: waits for promotion at weight 10" in world.engine.kept


def test_promote_full_skips_the_steps(world: World) -> None:
    when(world, at(10), lambda state: ask(world, "promote-full", state))
    assert (begin(world).phase, weights(world)) == (Phase.SUCCEEDED, [0, 10, 100, 0])


def test_an_abort_puts_everything_back_and_is_remembered(world: World) -> None:
    when(world, at(50), lambda state: ask(world, "abort", state, reason="wrong config"))
    final = begin(world)
    assert (final.phase, final.reason, final.judged) == (Phase.FAILED, "aborted by ada@laptop: wrong config", True)
    assert world.end == REVERTED
    assert loaded(world).failure_of("v2", "") is not None


def test_set_weight_goes_there_and_on_from_there(world: World) -> None:
    when(world, at(10), lambda state: ask(world, "set-weight", state, weight_percent=30))
    when(world, lambda state: paused(state) and world.weight == 30, lambda state: ask(world, "resume", state))
    assert (begin(world).phase, weights(world)) == (Phase.SUCCEEDED, [0, 10, 30, 50, 100, 0])


REFUSED: dict[str, tuple[Verb, dict[str, Any], str]] = {
    "another walk": ("pause", {"walk": "v1-3"}, "it was given to an earlier rollout"),
    "another step": ("promote", {"step": 1}, "it has moved on to another step since you looked: look again"),
    "not paused": ("resume", {}, "it is not paused but shifting"),
    "forbidden": ("promote-full", {}, "the rollout's policy forbids promote-full (forbiddenCommands)"),
}


@pytest.mark.parametrize(("verb", "changes", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_answered_and_changes_nothing(
    world: World, verb: Verb, changes: dict[str, Any], text: str
) -> None:
    def asked(state: State) -> None:
        ask(world, verb, state.model_copy(update={"walk": changes.get("walk", state.walk)}), **without_walk)

    without_walk = {name: value for name, value in changes.items() if name != "walk"}
    when(world, at(10), asked)
    final = begin(world, plan=PLAN.model_copy(update={"forbidden_commands": ("promote-full",)}))
    [answer] = answers(world)
    assert (answer.verb, answer.by, answer.accepted) == (verb, "ada@laptop", False)
    assert answer.text.startswith(text)
    assert (final.phase, weights(world)) == (Phase.SUCCEEDED, [0, 10, 50, 100, 0])


def test_what_was_asked_of_an_earlier_walk_is_not_meant_for_this_one(world: World) -> None:
    earlier = walk(world).begin("v1")
    ask(world, "abort", earlier)
    assert (begin(world).phase, said(world)) == (Phase.SUCCEEDED, [])


def test_commands_that_cannot_be_read_end_no_walk(world: World) -> None:
    """Whoever breaks the ConfigMap must not leave the traffic where it is."""

    def break_it(state: State) -> None:
        ask(world, "pause", state)
        world.memory.patch(COMMANDS, {"data": {"commands": "["}})

    when(world, at(10), break_it)
    assert (begin(world).phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
    assert world.engine.warned == [
        "ConfigMap prod/rollout-shop.commands cannot be read as commands: delete it, and give the command again; "
        "until then the rollout goes on without commands"
    ]


def test_commands_are_heard_again_once_the_configmap_is_right(world: World) -> None:
    def break_it(state: State) -> None:
        ask(world, "pause", state)
        world.memory.patch(COMMANDS, {"data": {"commands": "["}})

    def mend_it(state: State) -> None:
        world.memory.objects.pop(COMMANDS)
        ask(world, "abort", state)

    when(world, at(10), break_it)
    when(world, at(50), mend_it)
    assert (begin(world).reason, world.end) == ("aborted by ada@laptop", REVERTED)


# Held: paused, and no process walks.


def hold(world: World, plan: Plan = HOLDS) -> State:
    if not plan.steps[0].wait_for_person:
        when(world, at(10), lambda state: ask(world, "pause", state))
    return begin(world, plan=plan)


def test_a_held_walk_returns_and_is_left_as_it_is(world: World) -> None:
    final = hold(world)
    assert (final.phase, final.held, final.weight_percent, world.weight) == (Phase.PAUSED, True, 10, 10)
    data = world.memory.objects[JOURNAL]["data"]
    assert (data["held"], data["phase"], data["weight"]) == ("true", "paused", "10")
    record = loaded(world).record
    assert record is not None
    assert record.state == final


def test_a_held_walk_writes_nothing_after_it_is_saved(world: World) -> None:
    written: list[str] = []

    def note(method: str, path: str) -> None:
        held = world.memory.objects.get(JOURNAL, {}).get("data", {}).get("held")
        if method != "GET" and held:
            written.append(path)

    world.memory.before_request = note
    done: list[int] = []
    world.memory.after_write = lambda: done.append(len(world.done))
    hold(world)
    assert len(world.done) == done[-1]
    assert [path for path in written if "/events/" not in path and "/deployments/" not in path] == []


def test_a_wait_before_it_is_held(world: World) -> None:
    final = hold(world, HOLDS.model_copy(update={"wait_seconds": 120}))
    assert 120 <= world.engine.now() - final.phase_at < 122


@pytest.mark.parametrize("verb", ["promote", "resume"])
def test_a_held_walk_goes_on_when_it_was_promoted(world: World, verb: Verb) -> None:
    held = hold(world)
    world.engine.clock += 86_400
    ask(world, verb, held)
    made = walk(world)
    final = made.run(HOLDS, taken_up(held, held.phase_at, world.engine.now()))
    assert (final.phase, world.end, weights(world)) == (Phase.SUCCEEDED, PROMOTED, [0, 10, 50, 100, 0])


def test_a_held_walk_that_nobody_promoted_is_held_again(world: World) -> None:
    held = hold(world)
    world.engine.clock += 86_400
    again = walk(world).run(HOLDS, taken_up(held, held.phase_at, world.engine.now()))
    assert (again.held, again.weight_percent, world.weight) == (True, 10, 10)


def test_a_failed_gate_freezes_for_people_to_decide(world: World) -> None:
    world.bad_ratio = 0.3
    frozen = begin(world, plan=FREEZES)
    assert (frozen.held, frozen.frozen, world.weight) == (True, True, 10)
    assert (frozen.pause_reason or "").startswith("frozen: success rate: ")
    ask(world, "abort", frozen)
    final = walk(world).run(FREEZES, taken_up(frozen, world.engine.now(), world.engine.now()))
    assert (final.phase, final.judged, world.end) == (Phase.FAILED, True, REVERTED)


def test_a_kill_while_it_is_paused_keeps_the_pause(world: World) -> None:
    def die(state: State) -> None:
        raise Killed

    when(world, at(10), lambda state: ask(world, "pause", state))
    when(world, paused, die)
    with pytest.raises(Killed):
        begin(world)
    left = loaded(world).unfinished
    assert left is not None
    assert (left.state.phase, [answer.verb for answer in left.state.answers]) == (Phase.PAUSED, ["pause"])
    when(world, paused, lambda state: ask(world, "resume", state))
    final = walk(world).run(PLAN, taken_up(left.state, left.saved_at, world.engine.now() + 100))
    assert (final.phase, world.end) == (Phase.SUCCEEDED, PROMOTED)
