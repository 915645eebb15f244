"""The laws of cuts: what a walk that is ended and taken up again must have in common with one that is not.

Lives here: replays of a history with its process ended between looks. Not here: the laws of uncut walks
(`laws.py`, `laws_of_people.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pulumi_rollout.core import machine
from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.gates import Evidence, Judgement, objective
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, Decision, Phase, Seen, State, taken_up
from tests.core.laws import FORWARD, Law
from tests.core.world import History, Moment, walk

LOST_SECONDS = 5000.0
CLOCKS = ("move_at", "phase_at")


def cut_is_the_same(history: History) -> Iterator[str]:
    """A history that is cut after every look, and goes on from JSON, is the uncut one."""
    resumed = walk(history.script, cut=True)
    for number, (one, other) in enumerate(zip(history.moments, resumed.moments, strict=False)):
        if one.decision != other.decision:
            yield f"look {number}: {one.decision.state.phase} and {other.decision.state.phase}"
            return
    if len(history.moments) != len(resumed.moments):
        yield f"{len(history.moments)} looks and {len(resumed.moments)}"


def lost_time_changes_no_verdict(history: History) -> Iterator[str]:
    """A walk that is cut at every look, and taken up more than an hour later, decides from the same sights
    what the uncut one does, and its gates judge the same counters the same way. Its clocks leave out what
    nobody watched. (But for a cut in a settling time, which begins anew: `cuts_lose_no_request`; for silence, which
    is nobody's before a process listens; and for the warm-up, which no cut makes longer.)"""
    if history.script.plan.limits.warms_up:
        return
    for moment, now, decision in replayed(history, may_cut, watched_until_the_cut=True):
        if any(_silent(evidence) for evidence in moment.decision.state.evidence.values()):
            return
        one, other = essence(moment.decision, moment.seen.now), essence(decision, now)
        if one != other:
            yield f"{ {name: (one[name], other.get(name)) for name in one if one[name] != other.get(name)} }"
            return


def cuts_lose_no_request(history: History) -> Iterator[str]:
    """Wherever a walk is cut, each gate has counted the same requests at each look as in the uncut one: in the
    warm-up, which a cut does not make longer, and behind it."""
    cut = replayed(history, lambda plan, state: True, watched_until_the_cut=False, numbers_too=True)
    for moment, _, decision in cut:
        one, other = moment.decision.state, decision.state
        if any(_is_judged_anew(state) for state in (one, other)):
            return
        # From here on it depends on the moment which counters are the canary's, and which are looked at.
        apart = (*FINAL, Phase.PROMOTING, Phase.REVERTING)
        if one.phase in apart or other.phase in apart or one.frozen or other.frozen:
            return
        if counted(one.evidence) != counted(other.evidence):
            yield f"{counted(one.evidence)} and {counted(other.evidence)} in {one.phase}"
            return


def replayed(
    history: History, cut_at: Callable[[Plan, State], bool], *, watched_until_the_cut: bool, numbers_too: bool = False
) -> Iterator[tuple[Moment, float, Decision]]:
    """The same sights again, for a walk that is cut between any two of them where `cut_at` says so, and each
    time taken up LOST_SECONDS later: the look of the uncut walk, the time of this one's, its decision.

    + watched_until_the_cut: the process is ended just before its next look, not right after its last
    + numbers_too: the sources' clock goes on as well; else all numbers are as old as in the uncut walk
    """
    first, lost = history.moments[0], 0.0
    state, saved_at = first.before, first.seen.now
    for moment in history.moments:
        if state.held or (moment is not first and cut_at(history.script.plan, state)):
            saved_at = moment.seen.now + lost if watched_until_the_cut and not state.held else saved_at
            lost += LOST_SECONDS
            state = taken_up(State.model_validate_json(state.model_dump_json()), saved_at, moment.seen.now + lost)
        now = moment.seen.now + lost
        seen = moment.seen.model_copy(update={"now": now})
        seen = _with_numbers_of(seen, lost) if numbers_too else seen
        decision = machine.decide(history.script.plan, state, seen)
        state, saved_at = decision.state, now
        yield moment, now, decision


def _with_numbers_of(seen: Seen, lost: float) -> Seen:
    """The same sight, with numbers that are so much later."""

    def later(sample: Sample) -> Sample:
        return sample.model_copy(update={"at": None if sample.at is None else sample.at + lost})

    def shifted(reading: Reading) -> Reading:
        return reading.model_copy(update={"canary": later(reading.canary), "stable": later(reading.stable)})

    return seen.model_copy(update={"readings": {name: shifted(one) for name, one in seen.readings.items()}})


def _silent(evidence: Evidence) -> bool:
    return (evidence.judgement.reason or "").startswith("no new number")


def _is_judged_anew(state: State) -> bool:
    """Whether counts begin anew when that is depends on what is seen at a look."""
    memories = [one.memory for one in state.evidence.values()]
    outages = [memory.outage.since for memory in memories if isinstance(memory, objective.Memory)]
    return bool(state.replaced) or any(since is not None for since in outages)


def may_cut(plan: Plan, state: State) -> bool:
    """Whether nothing is under way that a cut begins anew: a settling time, or the wait before a hold."""
    if state.listed_at is not None:
        return False
    if state.phase is Phase.PAUSED:
        return plan.on_wait == "wait" or plan.wait_seconds == 0
    return state.met_at is None


def essence(decision: Decision, now: float) -> dict[str, Any]:
    """A decision without its times of day: how long things have lasted, pauses left out, and all else."""
    state = decision.state
    until = state.phase_at if state.phase is Phase.PAUSED else now
    # Reasons and answers hold times of day; the numbers in them are the evidence.
    timed = {
        *CLOCKS,
        "started_at",
        "met_at",
        "listed_at",
        "reason",
        "pause_reason",
        "answers",
        "watched_at",
        "warm_until",
        "slow_until",
        "evidence",
    }
    # On the way back nothing is measured from the begin.
    clocks = ("started_at", *CLOCKS) if state.phase in (*FORWARD, Phase.PAUSED) else CLOCKS
    return {
        **{name: round(until - getattr(state, name), 3) for name in clocks},
        **{name: value for name, value in state if name not in timed},
        "actions": decision.actions,
        "wait_seconds": decision.wait_seconds,
        "answers": [(answer.id, answer.accepted) for answer in state.answers],
        "evidence": {name: one.model_copy(update={"heard_at": None}) for name, one in state.evidence.items()},
    }


def verdicts(state: State) -> dict[str, Judgement]:
    """What each gate says, with its numbers."""
    return {name: one.judgement for name, one in state.evidence.items()}


def counted(evidence: dict[str, Evidence]) -> dict[str, tuple[int, ...]]:
    """Requests of the canary and of stable, and how many of them were bad, those of the warm-up too."""
    arms = {name: (one.canary, one.stable) for name, one in evidence.items()}
    return {
        name: tuple(number for arm in both for number in (arm.total + arm.warm_total, arm.bad + arm.warm_bad))
        for name, both in arms.items()
    }


LAWS_OF_CUTS: dict[str, Law] = {
    law.__name__: law for law in (cut_is_the_same, lost_time_changes_no_verdict, cuts_lose_no_request)
}
