"""The gates, broken on purpose: for each law of `laws_of_gates.py` at least one mutant on which its test must fail.

As in `mutants.py`: a mutant replaces one function of what judges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest import MonkeyPatch

from pulumi_rollout.core import conditions, gates, judging, machine
from pulumi_rollout.core.counts import Look, Reading
from pulumi_rollout.core.gates import Evidence, Judgement, Verdict, objective, outage
from pulumi_rollout.core.gates.verdict import Numbers
from pulumi_rollout.core.measures import Gate
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Decision, Seen, State

Mutant = Callable[[MonkeyPatch], None]


def outages_are_believed(patch: MonkeyPatch) -> None:
    """Whatever the old version does, a failure is the new one's."""
    patch.setattr(outage, "judge", lambda plan, memory, numbers: None)


def outages_end_at_once(patch: MonkeyPatch) -> None:
    """The weight is not held for as long as the plan says."""
    original = outage.judge

    def impatient(plan: Plan, memory: outage.Outage, numbers: Numbers) -> dict[str, Any] | None:
        limits = plan.limits.model_copy(update={"outage_seconds": 0.0})
        said = original(plan.model_copy(update={"limits": limits}), memory, numbers)
        return said if said is None or said["verdict"] is not Verdict.FAIL else {**said, "judged": True}

    patch.setattr(outage, "judge", impatient)


def outages_excuse_for_ever(patch: MonkeyPatch) -> None:
    """What once was in an outage is never failed again."""
    original = outage.judge

    def forgiving(plan: Plan, memory: outage.Outage, numbers: Numbers) -> dict[str, Any] | None:
        said = original(plan, memory, numbers)
        return {"verdict": Verdict.UNDECIDED} if memory.since is not None else said

    patch.setattr(outage, "judge", forgiving)
    patch.setattr(outage.Outage, "is_over", False)


def outages_hide_what_is_worse(patch: MonkeyPatch) -> None:
    """In an outage nobody compares."""
    patch.setattr(outage, "log_e_worse", lambda comparison: 0.0)


def deaf_objectives(patch: MonkeyPatch) -> None:
    """No objective ever fails."""
    original = objective.judge

    def deaf(*args: Any) -> Judgement:
        judgement = original(*args)
        fails = judgement.verdict is Verdict.FAIL
        return judgement.model_copy(update={"verdict": Verdict.UNDECIDED}) if fails else judgement

    patch.setattr(objective, "judge", deaf)


def every_pod_is_replaced(patch: MonkeyPatch) -> None:
    """It is not remembered that one was."""
    original = machine._replace

    def forgetful(state: State, pod: str) -> Decision:
        decision = original(state, pod)
        return decision.model_copy(update={"state": decision.state.model_copy(update={"replaced": ()})})

    patch.setattr(machine, "_replace", forgetful)


def the_worst_pod_is_the_only_one(patch: MonkeyPatch) -> None:
    """Nobody looks at the others."""

    def worst(plan: Plan, gate: Any, memory: Any, canary: Any) -> str | None:
        return max(canary.pods, key=lambda pod: canary.pods[pod][1], default=None)

    patch.setattr(objective, "_only_pod", worst)


def dry_runs_judge(patch: MonkeyPatch) -> None:
    """What a dry run says is said."""
    original = judging.failing
    patch.setattr(judging, "failing", lambda plan, state, now: original(_wet(plan), state, now))


def dry_runs_hold(patch: MonkeyPatch) -> None:
    """A dry run that is silent holds the weight."""
    original = conditions.held_back
    patch.setattr(conditions, "held_back", lambda plan, state: original(_wet(plan), state))


def dry_runs_begin_the_warm_up(patch: MonkeyPatch) -> None:
    """Whoever counts the first request says when it was."""
    patch.setattr(judging, "_telling", lambda plan, evidence: list(evidence.values()))


def silence_is_ignored(patch: MonkeyPatch) -> None:
    """A gate that hears nothing says what it said last."""
    patch.setattr(gates, "_silence", lambda plan, gate, evidence, look: None)


def silence_does_not_hold(patch: MonkeyPatch) -> None:
    """It waits for its end, and the weight rises meanwhile."""
    original = gates._silence

    def waiting(plan: Plan, gate: Gate, evidence: Evidence, look: Look) -> Judgement | None:
        said = original(plan, gate, evidence, look)
        return said if said is not None and said.verdict is Verdict.FAIL else None

    patch.setattr(gates, "_silence", waiting)


def silence_is_blamed(patch: MonkeyPatch) -> None:
    """The revision is remembered as one that failed."""
    original = gates._silence

    def blaming(plan: Plan, gate: Gate, evidence: Evidence, look: Look) -> Judgement | None:
        said = original(plan, gate, evidence, look)
        return said and said.model_copy(update={"judged": True})

    patch.setattr(gates, "_silence", blaming)


def cold_requests_count(patch: MonkeyPatch) -> None:
    """A step may end by requests of the warm-up."""
    original = gates.look_at

    def eager(plan: Plan, gate: Gate, evidence: Evidence | None, reading: Reading | None, look: Look) -> Evidence:
        after = original(plan, gate, evidence, reading, look)
        total = after.judgement.step_total + after.canary.warm_total
        return after.model_copy(update={"judgement": after.judgement.model_copy(update={"step_total": total})})

    patch.setattr(gates, "look_at", eager)


def only_the_first_warm_up(patch: MonkeyPatch) -> None:
    """A rise begins none."""
    patch.setattr(judging, "risen", lambda plan, state, now: state.slow_until)


def _wet(plan: Plan) -> Plan:
    wet = tuple(gate.model_copy(update={"dry_run": False}) for gate in plan.gates)
    return plan.model_copy(update={"gates": wet})


def raised_in_silence(patch: MonkeyPatch) -> None:
    """What holds the weight is looked at at the end of a step only."""
    original = machine._actions

    def raising(plan: Plan, state: State, seen: Seen, move: Any) -> Any:
        with MonkeyPatch.context() as inner:
            inner.setattr(conditions, "held_back", lambda plan, state: None)
            return original(plan, state, seen, move)

    patch.setattr(machine, "_actions", raising)


MUTANTS_OF_GATES: dict[str, tuple[Mutant, ...]] = {
    "a_shared_outage_aborts_nothing": (outages_are_believed, outages_end_at_once),
    "what_is_bad_alone_is_not_promoted": (deaf_objectives, outages_excuse_for_ever),
    "worse_than_an_outage_is_bad": (outages_hide_what_is_worse,),
    "one_pod_is_replaced_at_most": (every_pod_is_replaced,),
    "a_whole_version_is_not_spared": (the_worst_pod_is_the_only_one,),
    "dry_runs_decide_nothing": (dry_runs_judge, dry_runs_hold, dry_runs_begin_the_warm_up),
    "silence_is_held_and_put_back": (silence_is_ignored, silence_does_not_hold, silence_is_blamed),
    "steps_count_warm_requests_only": (cold_requests_count, only_the_first_warm_up),
}
