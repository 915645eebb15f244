"""The laws of what people may expect: who asks for something, and who is asked.

Lives here: laws that people's commands, pauses, holds and frozen walks have, as functions from a history to
what breaks them. Not here: those that hold without people too (`laws.py`), or the mutants (`mutants_of_people.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pulumi_rollout.core import machine
from pulumi_rollout.core.plan import Verb
from pulumi_rollout.core.state import Answer, Command, Phase, PointApex, Seen, SetWeight
from tests.core.laws import FORWARD, Law
from tests.core.scripts import NEW, OLD
from tests.core.world import History, Moment, walked_seconds

AGREEMENTS: tuple[Verb, ...] = ("promote", "promote-full", "set-weight")


def paused_weight_never_rises(history: History) -> Iterator[str]:
    """The weight of a paused walk never rises, but by a set-weight."""
    allowed = 0
    for moment in history.moments:
        after = moment.decision.state
        if after.phase is not Phase.PAUSED:
            continue
        if moment.before.phase is not Phase.PAUSED or moment.accepted("set-weight"):
            # A pause in a look finds the weight that was being put in place.
            allowed = after.weight_percent if moment.accepted("set-weight") else moment.before.weight_percent
        asked = [action.percent for action in moment.decision.actions if isinstance(action, SetWeight)]
        if max([after.weight_percent, *asked]) > allowed:
            yield f"{after.weight_percent} % and {asked} while paused at {allowed} %"


def pauses_are_ended_by_people(history: History) -> Iterator[str]:
    """A paused walk goes on only when somebody said so; by itself it can only go back."""
    for moment in history.moments:
        before, after = moment.before.phase, moment.decision.state.phase
        goes_on = before is Phase.PAUSED and after in FORWARD
        if goes_on and not moment.accepted("resume", "promote", "promote-full"):
            yield f"{before} -> {after}"


def no_traffic_before_somebody_agreed(history: History) -> Iterator[str]:
    """Under `wait_before_traffic` the canary has weight 0 until somebody has agreed."""
    if not history.script.plan.wait_before_traffic:
        return
    for moment in history.moments:
        if _agrees(moment):
            return
        asked = [action.percent for action in moment.decision.actions if isinstance(action, SetWeight)]
        if max([moment.decision.state.weight_percent, *asked]) > 0:
            yield f"{moment.decision.state.weight_percent} % and {asked}"


def no_step_before_somebody_agreed(history: History) -> Iterator[str]:
    """The walk goes beyond a step with `wait_for_person` only after somebody has agreed at that step, has set
    a weight, or has skipped all steps."""
    agreed: set[int] = set()
    steps = history.script.plan.steps
    for moment in history.moments:
        if moment.accepted("promote-full", "set-weight"):
            return
        if _agrees(moment):
            agreed.add((moment.before.move - 2) // 3)
        after = moment.decision.state
        for number, step in enumerate(steps):
            beyond = after.phase in FORWARD and after.weight_percent > step.weight_percent
            if step.wait_for_person and number not in agreed and (beyond or after.phase is Phase.PROMOTING):
                yield f"{after.phase} at {after.weight_percent} %, and nobody agreed at step {number}"


def nobody_is_asked_twice(history: History) -> Iterator[str]:
    """Each step is asked about once, unless a set-weight took it back."""
    asked: set[int] = set()
    for moment in history.moments:
        if moment.accepted("set-weight"):
            asked.clear()
        if moment.decision.state.awaiting and not moment.before.awaiting:
            if moment.decision.state.move in asked:
                yield f"asked again at move {moment.decision.state.move}"
            asked.add(moment.decision.state.move)


def commands_are_answered_once(history: History) -> Iterator[str]:
    """Every command is answered at the first look that sees it, and at no other."""
    answered: set[int] = set()
    for moment in history.moments:
        new = [command.id for command in moment.seen.commands if command.id not in answered]
        told = [answer.id for answer in moment.answers]
        if told != new:
            yield f"asked {new}, and answered {told}"
        answered |= set(new)
    last = [answer.id for answer in history.end.answers]
    if last != sorted(set(last)):
        yield f"remembered {last}"


def answers_say_who_and_when(history: History) -> Iterator[str]:
    """An answer has the command's verb and giver, and the time at which it was given."""
    for moment in history.moments:
        given = {command.id: command for command in moment.seen.commands}
        for answer in moment.answers:
            if not _fits(answer, given[answer.id], moment.seen):
                yield f"{given[answer.id]} and {answer}"


def refusals_change_nothing(history: History) -> Iterator[str]:
    """A command that is refused leaves the walk as if it had not been given, but for the answer."""
    for moment in history.moments:
        if not moment.answers or any(answer.accepted for answer in moment.answers):
            continue
        without = machine.decide(history.script.plan, moment.before, moment.seen.model_copy(update={"commands": ()}))
        told = {"command": moment.decision.state.command, "answers": moment.decision.state.answers}
        if without.model_copy(update={"state": without.state.model_copy(update=told)}) != moment.decision:
            yield f"{moment.answers}"


def the_policy_forbids(history: History) -> Iterator[str]:
    """No command that the plan forbids is obeyed, and none that was meant for another walk or step."""
    for moment in history.moments:
        given = {command.id: command for command in moment.seen.commands}
        for answer in moment.answers:
            foreign = given[answer.id].walk != moment.before.walk
            if answer.accepted and (foreign or answer.verb in history.script.plan.forbidden_commands):
                yield f"{answer}"


def an_abort_ends_on_the_old(history: History) -> Iterator[str]:
    """An abort that was accepted turns the walk back at that look, and it ends on the old version. It is
    remembered against the revision, a restart is not."""
    for moment in history.moments:
        if not moment.accepted("abort", "restart"):
            continue
        after, end = moment.decision.state, history.end
        if after.phase is not Phase.REVERTING or end.phase is not Phase.FAILED:
            yield f"{after.phase}, and it ends {end.phase}"
        if history.script.kind != "first" and history.world.apex != OLD:
            yield f"the apex is on {history.world.apex}"
        if not moment.seen.stop and end.judged is not moment.accepted("abort"):
            yield f"{end.reason}: judged is {end.judged}"


def held_is_left_alone(history: History) -> Iterator[str]:
    """A walk that is held is where its state says, and does nothing whatever is seen."""
    for moment in history.moments:
        after, seen = moment.decision.state, moment.seen
        if not after.held:
            continue
        if moment.decision.actions or after.phase is not Phase.PAUSED:
            yield f"{moment.decision.actions} in {after.phase}"
        if (seen.weight_percent or 0) > after.weight_percent or seen.apex_revision == NEW:
            yield f"held with {seen.weight_percent} % of {after.weight_percent} %, apex on {seen.apex_revision}"
        for other in (seen, Seen(now=seen.now + 1e6), seen.model_copy(update={"stop": "stop", "weight_percent": 50})):
            decision = machine.decide(history.script.plan, after, other)
            if decision.state != after or decision.actions:
                yield f"{decision.actions} although it is held"


def frozen_never_rises(history: History) -> Iterator[str]:
    """While a walk is frozen, no action gives the canary more traffic than it is seen to have. A walk is
    frozen only where the plan says so, in the middle of its steps, and with ready pods."""
    for moment in history.moments:
        before, after, seen = moment.before, moment.decision.state, moment.seen
        if not after.frozen or after.phase is not Phase.PAUSED:
            continue
        for action in moment.decision.actions:
            rises = isinstance(action, SetWeight) and action.percent > (seen.weight_percent or 0)
            if rises or action == PointApex(revision=NEW):
                yield f"{action} while frozen at {seen.weight_percent} %"
        begins = not before.frozen
        if begins and (seen.stop or not seen.canary_ready or before.phase not in (Phase.SHIFTING, Phase.PAUSED)):
            yield f"frozen from {before.phase} with {seen.canary_ready} pods, {seen.stop}"
        if begins and history.script.plan.on_failure != "freeze":
            yield "frozen without being asked to"


def pauses_cost_no_time(history: History) -> Iterator[str]:
    """No deadline ends a walk before it has walked for so long; pauses, and time that nobody watched, are
    left out."""
    entered = 0.0
    for moment, now in walked_seconds(history):
        before, after = moment.before, moment.decision.state
        reason = (after.reason if after.phase is Phase.REVERTING else after.pause_reason) or ""
        limit = re.search(r"after (\d+) s \((\w+)\)$", reason)
        turns = after.phase is Phase.REVERTING and before.phase is not Phase.REVERTING
        if limit is not None and (turns or (after.frozen and not before.frozen)):
            since = 0.0 if limit[2] == "deadline" else entered
            if now - since < int(limit[1]) - 1:
                yield f"{reason}, and it was {now - since:.0f} s"
        if after.move != before.move:
            entered = now


def _agrees(moment: Moment) -> bool:
    """Whether somebody agreed at this look that the walk goes on. A resume does so only where the walk has
    asked."""
    return moment.accepted(*AGREEMENTS) or (moment.before.awaiting and moment.accepted("resume"))


def _fits(answer: Answer, command: Command, seen: Seen) -> bool:
    known = answer.verb == command.verb and answer.by == command.by
    return known and answer.at == seen.now and bool(answer.by and answer.text)


LAWS_OF_PEOPLE: dict[str, Law] = {
    law.__name__: law
    for law in (
        paused_weight_never_rises,
        pauses_are_ended_by_people,
        no_traffic_before_somebody_agreed,
        no_step_before_somebody_agreed,
        nobody_is_asked_twice,
        commands_are_answered_once,
        answers_say_who_and_when,
        refusals_change_nothing,
        the_policy_forbids,
        an_abort_ends_on_the_old,
        held_is_left_alone,
        frozen_never_rises,
        pauses_cost_no_time,
    )
}
