"""The plan: what a walk will do, as data that is published and stored in users' state.

Lives here: the frozen models, their validation, and the JSON schema. Not here: how a strategy
becomes steps (`strategies.py`), or what a step does (`machine.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from pulumi_rollout.core.measures import BY_CHANCE, Gate, Source, warms_up_after_rises
from pulumi_rollout.core.model import Frozen

# What an operator can ask of a walk that is under way or held (`commands.py`).
Verb = Literal["pause", "resume", "promote", "promote-full", "abort", "restart", "set-weight"]


class Step(Frozen):
    """One weight and how long it is held.

    + interval_seconds: the least the step lasts
    + max_wait_seconds: the most; a step that is still undecided then ends the walk with a revert
    + wait_for_person: when it is over, the walk pauses until somebody promotes it
    """

    weight_percent: int
    interval_seconds: float = Field(ge=0)
    max_wait_seconds: float = Field(gt=0)
    wait_for_person: bool = False


class Limits(Frozen):
    """Deadlines and pauses of a walk, in seconds, and the least evidence for advancing.

    + preparing_seconds: for pods to become ready, before the first weight and before each later one
    + propagation_seconds: for the proxy to report that it has a changed route
    + settle_seconds: after each change, for data planes that report before they have applied it
    + drain_seconds: after the last change, before the old version may be deleted
    + rollout_seconds: the whole walk; then it reverts
    + min_samples: canary requests that each step must have seen before the next weight, those of the warm-up left out
    + warm_up_seconds: after the canary's first request, and for latency warm_up_step_seconds after each rise of its
      weight or number of pods, only what is badly broken fails
    + no_data_hold_seconds: a gate that has heard nothing for so long holds the weight; no_data_revert_seconds: the
      walk goes back
    + outage_seconds: how long the weight is held while the old version fails the same test
    """

    preparing_seconds: float = Field(default=600, gt=0)
    propagation_seconds: float = Field(default=60, gt=0)
    settle_seconds: float = Field(default=2, ge=0)
    drain_seconds: float = Field(default=15, ge=0)
    rollout_seconds: float = Field(default=3600, gt=0)
    min_samples: int = Field(default=50, ge=0)
    warm_up_seconds: float = Field(default=60, ge=0)
    warm_up_step_seconds: float = Field(default=15, ge=0)
    no_data_hold_seconds: float = Field(default=120, gt=0)
    no_data_revert_seconds: float = Field(default=600, gt=0)
    outage_seconds: float = Field(default=300, ge=0)

    @property
    def warms_up(self) -> bool:
        """Whether there is a warm-up at all."""
        return self.warm_up_seconds > 0 or self.warm_up_step_seconds > 0

    def warm_up_of_step(self, gate: Gate, number: int) -> float:
        """How many of a step's first seconds do not count for a gate. + number: of the step, from 1 on"""
        if number == 1:
            return self.warm_up_seconds
        return self.warm_up_step_seconds if warms_up_after_rises(gate) else 0.0


class Plan(Frozen):
    """A whole walk from one revision to the next.

    + alpha: chance to revert a version that meets its objectives, over the whole rollout,
      shared equally by the gates that judge by chance (`judging`)
    + beta: chance to promote one that does not; kept under `evidence: required` only
    + evidence: `required` = a step ends only when every gate has shown that its objective is met;
      `sufficient` = interval and min_samples are enough as long as no gate has failed
    + failures: `independent` = each request fails on its own; `bursty` = many at once, which is judged by blocks
      of time; `auto` = as stable's own failures are seen to come
    + fix_forward: a version that is shown to be better than the old one passes while both fail the same test
    + wait_before_traffic: somebody has to promote the walk before the first weight
    + on_wait, wait_seconds: `wait` = a paused walk waits for people without end; `hold` = after
      wait_seconds the update ends with an error, the weight stays, and the next one goes on
    + on_failure: `revert`, or `freeze` = a failed gate or deadline holds the weight for people to decide
    + on_edited: a weight of the route that somebody else has changed is put right, or ends the walk with a revert
    + on_interrupted: a walk that was cut off is taken up where it stood, or put back and begun anew
    + on_locked: while somebody else releases the application, `refuse` or `wait`
    + forbidden_commands: what operators may not ask of this walk
    + guard_image: of the Job that puts traffic back when nobody walks any more; None = no guard
    + time_limit_seconds: how long the process may run, as a CI job may; None = without a limit
    """

    version: Literal[1] = 1
    steps: tuple[Step, ...] = Field(min_length=1)
    gates: tuple[Gate, ...] = ()
    sources: dict[str, Source] = {}
    alpha: float = Field(default=0.005, gt=0, lt=1)
    beta: float = Field(default=0.05, gt=0, lt=1)
    evidence: Literal["required", "sufficient"] = "sufficient"
    failures: Literal["auto", "independent", "bursty"] = "auto"
    fix_forward: bool = False
    limits: Limits = Limits()
    wait_before_traffic: bool = False
    on_wait: Literal["wait", "hold"] = "wait"
    wait_seconds: float = Field(default=0, ge=0)
    on_failure: Literal["revert", "freeze"] = "revert"
    on_edited: Literal["restore", "abort"] = "restore"
    on_interrupted: Literal["resume", "restart"] = "resume"
    on_locked: Literal["refuse", "wait"] = "refuse"
    forbidden_commands: tuple[Verb, ...] = ()
    guard_image: str | None = None
    time_limit_seconds: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _weights_rise(self) -> Plan:
        before = 0
        for step in self.steps:
            weight = step.weight_percent
            if not 0 < weight <= 100:
                raise ValueError(f"weights lie between 1 and 100 percent, but one is {weight}")
            if weight <= before:
                raise ValueError(f"weights must rise from step to step, but {weight} follows {before}")
            before = weight
        return self

    @model_validator(mode="after")
    def _bursts_can_be_judged(self) -> Plan:
        if self.failures == "bursty" and self.evidence == "required":
            raise ValueError("evidence cannot be required with bursty failures: to show that they are few takes hours")
        return self

    @model_validator(mode="after")
    def _gates_have_sources(self) -> Plan:
        for gate in self.gates:
            if gate.source is not None and gate.source not in self.sources:
                known = ", ".join(sorted(self.sources)) or "none"
                raise ValueError(f"gate {gate.id} reads source {gate.source}; the plan has: {known}")
        return self

    @property
    def judging(self) -> list[str]:
        """The gates that alpha is shared by: those that judge by chance, and not only for show."""
        return [gate.id for gate in self.gates if gate.test in BY_CHANCE and not gate.dry_run]

    @property
    def gate_alpha(self) -> float:
        """Each judging gate's share of alpha."""
        return self.alpha / max(1, len(self.judging))

    def least_seconds(self) -> float:
        """The shortest that its steps can last together, people's waiting left out."""
        return sum(self.limits.settle_seconds + step.interval_seconds for step in self.steps)

    def worst_case_seconds(self) -> float:
        """The longest that this plan can take before it has promoted or reverted, people's waiting left out."""
        steps = sum(max(step.interval_seconds, step.max_wait_seconds) for step in self.steps)
        forward = min(self.limits.rollout_seconds, self.limits.preparing_seconds + steps)
        return forward + self.way_back_seconds()

    def way_back_seconds(self) -> float:
        """What a way back needs at most, as long as the proxy and the cluster answer."""
        return self.limits.propagation_seconds + 2 * self.limits.settle_seconds + self.limits.drain_seconds


def schema() -> dict[str, Any]:
    """The plan's JSON schema, as published in docs/plan.schema.json for policy packs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Plan.model_json_schema()}


def lasting(seconds: float) -> str:
    """A duration in words."""
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:g} s"


def problems_of(error: ValidationError, prefix: str) -> list[tuple[str, str]]:
    """A validation error in plain words: (property path, reason) for each mistake."""
    found = []
    for item in error.errors(include_url=False):
        path = ".".join([prefix, *(str(part) for part in item["loc"])])
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            reason = f"there is no setting of the name {item['loc'][-1]}"
        elif item["type"] == "missing":
            # Its input is all that stands beside it, secrets too.
            reason = "is missing"
        elif item["type"] == "sequence_str":
            reason = f"is a list: write [{item['input']!r}], not {item['input']!r}"
        elif item["type"] != "value_error":
            reason = f"{reason[0].lower()}{reason[1:]}, not {item['input']!r}"
        found.append((path, reason))
    return found
