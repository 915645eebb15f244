"""From what a user writes to the plan: the only file that knows a strategy's name.

Lives here: the models of the policy as written (camelCase or snake_case, durations as strings)
and their expansion into steps. Not here: anything that happens during a walk.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from pulumi_rollout.core.gates_written import GATES, DefaultGate, gates
from pulumi_rollout.core.measures import counting
from pulumi_rollout.core.plan import Limits, Plan, Step, Verb, lasting, problems_of
from pulumi_rollout.core.sources_written import Known, SourceWritten
from pulumi_rollout.core.written import Deadline, Duration, Written, in_snake_case, is_snake_case, single
from pulumi_rollout.errors import InvalidInput

# A shell and kubectl: Kubernetes' own image of kubectl has no shell.
GUARD_IMAGE = "docker.io/alpine/kubectl:1.33.3"


class Canary(Written):
    """Stepwise weights, judged at every step.

    Either `weights`, or every `step_weight` up to `max_weight`, and all traffic for as long as `bake` says. After the
    last step the new version takes all traffic.
    """

    step_weight: int = 10
    max_weight: int = 50
    weights: list[int] | None = None
    interval: Duration = 30.0
    max_wait: Deadline = 600.0
    bake: Duration = 0.0
    gates: list[dict[str, Any]] = []
    default_gates: list[DefaultGate] = ["restarts", "stalled"]
    source: SourceWritten | None = None
    alpha: float = 0.005
    beta: float = 0.05
    evidence: str = "sufficient"
    failures: Literal["auto", "independent", "bursty"] = "auto"
    fix_forward: bool = False
    min_samples: int = Field(default=50, ge=0)
    warm_up: Duration = 60.0
    warm_up_step: Duration = 15.0
    no_data_hold: Deadline = 120.0
    no_data_revert: Deadline = 600.0
    outage: Duration = 300.0
    preparing: Deadline = 600.0
    propagation: Deadline = 60.0
    settle: Duration = 2.0
    drain: Duration = 15.0
    deadline: Deadline = 3600.0
    confirm_at: list[int] = []
    on_wait: Literal["wait", "hold"] = "wait"
    wait: Duration = 0.0
    on_failure: Literal["revert", "freeze"] = "revert"
    on_edited: Literal["restore", "abort"] = "restore"
    on_interrupted: Literal["resume", "restart"] = "resume"
    on_locked: Literal["refuse", "wait"] = "refuse"
    forbidden_commands: list[Verb] = []
    guard: bool = True
    guard_image: str = GUARD_IMAGE
    time_limit: Deadline | None = None


STRATEGIES = {"canary": Canary}
# Settings that the plan has under the same name.
AS_WRITTEN = (
    "alpha",
    "beta",
    "evidence",
    "failures",
    "fix_forward",
    "on_wait",
    "on_failure",
    "on_edited",
    "on_interrupted",
    "on_locked",
    "forbidden_commands",
)


def compile_policy(policy: dict[str, Any], known: Known) -> Plan:
    """The plan of a policy such as {"canary": {"stepWeight": 10, …}}.

    `known`: what can be read here.
    Raises InvalidInput with every mistake that was found, in the names that the policy is written in.
    """
    try:
        return _compiled(policy, known)
    except InvalidInput as error:
        if not is_snake_case(policy):
            raise
        models: tuple[type[Written], ...] = (*STRATEGIES.values(), *GATES.values(), SourceWritten)
        told = [(in_snake_case(path, models), in_snake_case(reason, models)) for path, reason in error.problems]
        raise InvalidInput(told) from error


def _compiled(policy: dict[str, Any], known: Known) -> Plan:
    name, settings = single(policy, STRATEGIES, "policy", "strategy")
    try:
        canary = STRATEGIES[name].model_validate(settings)
        _check_pairs(canary)
        weights = _weights(canary)
        _check_confirmations(canary, weights)
        judging, sources = gates(canary.gates, canary.source, canary.default_gates, known, f"policy.{name}")
        steps = [
            Step(
                weight_percent=weight,
                interval_seconds=canary.interval,
                max_wait_seconds=canary.max_wait,
                wait_for_person=weight in canary.confirm_at,
            )
            for weight in weights
        ]
        if canary.bake:
            most = max(canary.bake, canary.max_wait)
            steps.append(Step(weight_percent=100, interval_seconds=canary.bake, max_wait_seconds=most))
        limits = Limits(
            preparing_seconds=canary.preparing,
            propagation_seconds=canary.propagation,
            settle_seconds=canary.settle,
            drain_seconds=canary.drain,
            rollout_seconds=canary.deadline,
            min_samples=canary.min_samples,
            warm_up_seconds=canary.warm_up,
            warm_up_step_seconds=canary.warm_up_step,
            no_data_hold_seconds=canary.no_data_hold,
            no_data_revert_seconds=canary.no_data_revert,
            outage_seconds=canary.outage,
        )
        plan = Plan.model_validate(
            {
                "steps": steps,
                "gates": judging,
                "sources": sources,
                "limits": limits,
                "wait_before_traffic": 0 in canary.confirm_at,
                "wait_seconds": canary.wait,
                "guard_image": canary.guard_image if canary.guard else None,
                "time_limit_seconds": canary.time_limit,
                **{name: getattr(canary, name) for name in AS_WRITTEN},
            }
        )
    except ValidationError as error:
        raise InvalidInput(problems_of(error, f"policy.{name}")) from error
    check_times(plan)
    return plan


def check_times(plan: Plan) -> None:
    """Whether a walk can come to its end at all. Not part of the plan's own validation, as those that are under way
    have to be read. Raises InvalidInput."""
    limits, most = plan.limits, plan.steps[0].max_wait_seconds
    if counting(plan.gates) and limits.min_samples and most <= limits.warm_up_seconds:
        reason = (
            f"has to be longer than warmUp ({limits.warm_up_seconds:g} s): until then no request counts, so the first "
            f"step would end after {most:g} s without one of the {limits.min_samples} that minSamples wants"
        )
        raise InvalidInput([("policy.canary.maxWait", reason)])
    if plan.least_seconds() >= limits.rollout_seconds:
        reason = (
            f"the steps last at least {lasting(plan.least_seconds())}, and the rollout ends after "
            f"{lasting(limits.rollout_seconds)}: raise deadline, or shorten interval"
        )
        raise InvalidInput([("policy.canary.deadline", reason)])


def _weights(canary: Canary) -> list[int]:
    """Those that are listed, or every step_weight up to max_weight, and max_weight itself."""
    if canary.weights is not None and not canary.weights:
        raise InvalidInput([("policy.canary.weights", "is empty: list at least one weight, or leave it out")])
    if canary.weights is not None:
        return canary.weights
    if canary.step_weight < 1:
        raise InvalidInput([("policy.canary.stepWeight", f"must be at least 1, not {canary.step_weight}")])
    if not 1 <= canary.max_weight <= 100:
        raise InvalidInput([("policy.canary.maxWeight", f"lies between 1 and 100 percent, not {canary.max_weight}")])
    return [*range(canary.step_weight, canary.max_weight, canary.step_weight), canary.max_weight]


def _check_pairs(canary: Canary) -> None:
    """Settings that were written although another one leaves them without effect. A default may be."""
    given, found = canary.model_fields_set, []
    if canary.weights is not None and given & {"step_weight", "max_weight"}:
        found.append(
            ("weights", "are listed, so stepWeight and maxWeight have no effect: leave these out, or the list")
        )
    if "max_wait" in given and canary.max_wait < canary.interval:
        reason = f"is the most that a step lasts, and interval, {lasting(canary.interval)}, the least: raise it"
        found.append(("maxWait", reason))
    if "no_data_hold" in given and canary.no_data_hold > canary.no_data_revert:
        reason = f"is longer than noDataRevert, {lasting(canary.no_data_revert)}, so nothing would be held: shorten it"
        found.append(("noDataHold", reason))
    if canary.bake and (canary.weights or [canary.max_weight])[-1] == 100:
        found.append(("bake", "is a last step at 100 %, which there is already: leave it out, or that step"))
    if canary.wait and canary.on_wait == "wait":
        found.append(
            ("wait", "has no effect while people are waited for without end: leave it out, or set onWait: hold")
        )
    if found:
        raise InvalidInput([(f"policy.canary.{name}", reason) for name, reason in found])


def _check_confirmations(canary: Canary, weights: list[int]) -> None:
    if unknown := [weight for weight in canary.confirm_at if weight not in (0, *weights)]:
        choices = ", ".join(map(str, (0, *weights)))
        reason = f"there is no step of weight {unknown[0]}; there are: {choices}"
        raise InvalidInput([("policy.canary.confirmAt", reason)])
