"""The laws of what gates are for, as functions from a history to what breaks them.

Lives here: what is told by the numbers, and what must follow: outages, silence, single pods, dry runs, the warm-up;
said from what the simulated world knows. Not here: the other laws (`laws.py`), or the mutants (`mutants_of_gates.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import inf

from pulumi_rollout.core import machine
from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.gates import Verdict, objective
from pulumi_rollout.core.state import Phase, ReplacePod, State
from tests.core.laws import FORWARD, Law, rises, saying
from tests.core.world import History, Moment

# So many bad requests of a version that alone is bad are more than any gate with an objective needs.
PLENTY_BAD = 60
# Of fewer requests of stable's since it fails, none may have failed.
FEW_OF_STABLE = 5
# In so much time each ready pod is asked.
SOME_SECONDS = 4.0
# In these nothing but requests tells of a pod, and all pods are equally bad.
WHOLE_VERSIONS = ("bad", "late", "outage then bad", "bad in an outage")


def a_shared_outage_aborts_nothing(history: History) -> Iterator[str]:
    """While stable fails the same test, no objective fails before `outage_seconds`, as long as stable has requests
    to be seen by."""
    script, limits = history.script, history.script.plan.limits
    if script.kind != "outage":
        return
    begun = script.outage_from + history.world.begun
    objectives = {gate.id for gate in script.plan.gates if gate.test in ("objective", "baseline")}
    of_stable = 0.0
    for before, moment in pairwise(history.moments):
        in_outage = moment.seen.now - max(before.seen.now, begun)
        of_stable += max(0.0, in_outage) * script.rps * (100 - before.share) / 100
        outage = moment.seen.now < begun + min(limits.outage_seconds, script.outage_until - script.outage_from)
        walking = moment.before.phase in (*FORWARD, Phase.PAUSED)
        failing = objectives & set(saying(Verdict.FAIL, script.plan, moment.decision.state))
        blamed = [name for name in failing if moment.decision.state.evidence[name].judgement.judged]
        if (
            blamed
            and walking
            and outage
            and begun < moment.seen.now
            and max(before.share, moment.share) < 80
            and of_stable > FEW_OF_STABLE
        ):
            yield f"{blamed} fails {moment.seen.now - begun:.1f} s after an outage began, at {before.share} %"


def what_is_bad_alone_is_not_promoted(history: History) -> Iterator[str]:
    """A version that goes on failing while stable is well, after an outage too, is found by a gate that judges single
    requests. (Blocks of time take longer than these walks.)"""
    judges = [gate for gate in history.script.plan.gates if gate.id == "rate" and not gate.dry_run]
    slow = history.script.silent_from < inf or any(_by_blocks(history, moment) for moment in history.moments)
    # What came since the look before the last ones may not have been read yet.
    known = history.moments[max(0, len(history.moments) - 4)].seen.now
    bad = max(number for at, number in history.world.bad_alone if at <= known)
    if judges and not slow and history.script.bad_ratio and bad > PLENTY_BAD and history.end.phase is Phase.SUCCEEDED:
        yield f"promoted with {bad} bad requests of its own"


def _by_blocks(history: History, moment: Moment) -> bool:
    evidence = moment.decision.state.evidence.get("rate")
    memory = evidence.memory if evidence is not None else None
    return isinstance(memory, objective.Memory) and objective.is_bursty(history.script.plan, memory)


def worse_than_an_outage_is_bad(history: History) -> Iterator[str]:
    """A version that fails all requests in an outage of a few is held against it before `outage_seconds` are over.
    (What came while nobody watched may have been of a warm-up that had just begun.)"""
    script = history.script
    if script.kind != "bad in an outage" or any(moment.decision.state.held for moment in history.moments):
        return
    begun = script.outage_from + history.world.begun
    for moment in history.moments:
        state, known = moment.decision.state, moment.before.reason or moment.before.pause_reason or ""
        reason = state.reason or state.pause_reason or ""
        served = max(number for at, number in history.world.bad_in_outage if at <= moment.seen.now)
        new = "the same test for" in reason and "the same test for" not in known
        if new and moment.seen.now > begun and served > 2 * PLENTY_BAD:
            yield f"{reason}, with {served} bad requests"


def one_pod_is_replaced_at_most(history: History) -> Iterator[str]:
    """At most one pod is deleted in a walk, of several, and while there is a ready one."""
    deleted = [
        (action.pod, moment)
        for moment in history.moments
        for action in moment.decision.actions
        if isinstance(action, ReplacePod)
    ]
    if len(deleted) > 1:
        yield f"{[pod for pod, _ in deleted]} were deleted"
    for pod, moment in deleted:
        if moment.seen.canary_replicas < 2 or not moment.seen.canary_ready:
            yield f"{pod} was deleted, of {moment.seen.canary_ready} ready ones of {moment.seen.canary_replicas}"


def a_whole_version_is_not_spared(history: History) -> Iterator[str]:
    """Where all pods are equally bad, none is taken for the only one. (But where the others were not ready, and so not
    asked, while they would have failed.)"""
    if history.script.kind not in WHOLE_VERSIONS or any(moment.decision.state.held for moment in history.moments):
        return
    all_ready_since = inf
    for moment in history.moments:
        all_ready = moment.seen.canary_ready >= moment.seen.canary_replicas
        all_ready_since = min(all_ready_since, moment.seen.now) if all_ready else inf
        asked = moment.seen.now - all_ready_since > SOME_SECONDS
        for action in moment.decision.actions:
            if isinstance(action, ReplacePod) and asked:
                yield f"{action.pod} was deleted"


def dry_runs_decide_nothing(history: History) -> Iterator[str]:
    """The same sights without the gates that are dry runs give the same decisions."""
    plan = history.script.plan
    kept = tuple(gate for gate in plan.gates if not gate.dry_run)
    if len(kept) == len(plan.gates):
        return
    without, names = plan.model_copy(update={"gates": kept}), {gate.id for gate in kept}
    for moment in history.moments:
        readings = {name: one for name, one in moment.seen.readings.items() if name in names}
        before, seen = _only(names, moment.before), moment.seen.model_copy(update={"readings": readings})
        decision = machine.decide(without, before, seen)
        after = _only(names, moment.decision.state)
        counts = any(gate.test not in ("restarts", "alerts") for gate in kept)
        # Where only dry runs count requests, they alone know when the warm-up has begun.
        same = after if counts else after.model_copy(update={"warm_until": decision.state.warm_until})
        if (decision.state, decision.actions) != (same, moment.decision.actions):
            yield f"{decision.state.phase} {decision.actions} without, {after.phase} {moment.decision.actions} with"
            return


def _only(names: set[str], state: State) -> State:
    evidence = {name: one for name, one in state.evidence.items() if name in names}
    return state.model_copy(update={"evidence": evidence})


def silence_is_held_and_put_back(history: History) -> Iterator[str]:
    """A gate that has heard nothing for `no_data_hold_seconds` holds the weight; after `no_data_revert_seconds` the
    walk turns back, or is frozen, and nobody is blamed for that."""
    plan, limits = history.script.plan, history.script.plan.limits
    heard: dict[str, float] = {}
    numbers: dict[str, float] = {}
    for moment in history.moments:
        since = max(moment.before.watched_at, history.world.begun)
        for gate in plan.gates:
            reading = moment.seen.readings.get(gate.id)
            if reading is not None and reading.no_data is None:
                times = [sample.at for sample in (reading.canary, reading.stable) if sample.at is not None]
                newest = max(times, default=moment.seen.now)  # each answer of a source without series is news
                if newest > numbers.get(gate.id, -inf):
                    heard[gate.id], numbers[gate.id] = moment.seen.now, newest
        asked = [gate for gate in plan.gates if not gate.dry_run and gate.test != "restarts"]
        silent = max((moment.seen.now - max(heard.get(gate.id, since), since) for gate in asked), default=0.0)
        walking = moment.before.phase in (*FORWARD, Phase.PAUSED) and moment.before.weight_percent > 0
        if walking and silent > limits.no_data_hold_seconds and any(True for _ in rises(_alone(history, moment))):
            yield f"raised after {silent:.1f} s of silence"
        after = moment.decision.state
        goes_on = after.phase in FORWARD or (after.phase is Phase.PAUSED and not after.frozen)
        if walking and silent > limits.no_data_revert_seconds and goes_on and not _anew(moment):
            yield f"{after.phase} after {silent:.1f} s of silence"
        if "(noDataRevert)" in (after.reason or "") and after.judged:
            yield f"judged: {after.reason}"


def _anew(moment: Moment) -> bool:
    """People go on, or a pod was replaced: it is judged from here."""
    return moment.accepted("resume", "promote", "promote-full", "set-weight") or bool(moment.decision.state.replaced)


def _alone(history: History, moment: Moment) -> History:
    return History(history.script, [moment], history.events, history.world)


def steps_count_warm_requests_only(history: History) -> Iterator[str]:
    """A step that is over has seen its least number of requests behind the warm-up, which begins with the canary's
    first request and, for latency, again with each rise."""
    plan, limits = history.script.plan, history.script.plan.limits
    told = any(moment.accepted("promote", "promote-full", "set-weight", "resume") for moment in history.moments)
    if told or not limits.warms_up or history.script.kind in ("first", "outage", "outage then bad"):
        return
    counted = {gate.id: Counted() for gate in plan.gates if gate.source is not None and not gate.dry_run}
    judges = [gate.id for gate in plan.gates if gate.test == "objective" and not gate.dry_run]
    warm_until, slow_until, ready = inf, 0.0, 0
    for moment in history.moments:
        before, after, now = moment.before, moment.decision.state, moment.seen.now
        if moment.seen.canary_ready > ready:
            slow_until = now + limits.warm_up_step_seconds
        ready = moment.seen.canary_ready
        until = {name: max(warm_until, slow_until) if name == "latency" else warm_until for name in counted}
        new = [one.read(moment.seen.readings[name], until[name]) for name, one in counted.items()]
        if any(new) and warm_until == inf:
            warm_until, slow_until = now + limits.warm_up_seconds, 0.0
        over = after.move != before.move and before.move >= 4 and (before.move - 4) % 3 == 0
        if over and after.phase in FORWARD and before.phase is Phase.SHIFTING:
            for name in judges:
                if counted[name].behind < limits.min_samples:
                    yield f"{name}: a step was over after {counted[name].behind:.0f} of {limits.min_samples} requests"
        if after.weight_percent > before.weight_percent:
            slow_until = now + limits.warm_up_step_seconds
            for one in counted.values():
                one.behind = 0.0


class Counted:
    """What a law counts of one gate's readings of the canary. + behind: requests of a step, behind the warm-up"""

    def __init__(self) -> None:
        self.behind = 0.0
        self._counters: dict[str, float] | None = None
        self._at = inf

    def read(self, reading: Reading, warm_until: float) -> float:
        """Count one more reading, all of which is of the warm-up if any can be. Returns how many are new."""
        if reading.no_data is not None or reading.canary.at is None:
            return 0.0
        known = self._counters
        values = {name: value for name, (value, _) in reading.canary.series.items()}
        new = 0.0 if known is None else sum(_grown(value, known.get(name, 0.0)) for name, value in values.items())
        self.behind += new if self._at >= warm_until else 0.0
        self._counters, self._at = {**(known or {}), **values}, reading.canary.at
        return new


def _grown(value: float, before: float) -> float:
    return value - before if value >= before else value


LAWS_OF_GATES: dict[str, Law] = {
    law.__name__: law
    for law in (
        a_shared_outage_aborts_nothing,
        what_is_bad_alone_is_not_promoted,
        worse_than_an_outage_is_bad,
        one_pod_is_replaced_at_most,
        a_whole_version_is_not_spared,
        dry_runs_decide_nothing,
        silence_is_held_and_put_back,
        steps_count_warm_requests_only,
    )
}
