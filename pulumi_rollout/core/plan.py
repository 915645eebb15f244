"""The plan: what a walk will do, as data that is published and stored in users' state.

Lives here: the frozen models, their validation, and the JSON schema. Not here: how a strategy
becomes steps (`strategies.py`), or what a step does (`machine.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Frozen(BaseModel):
    """Base of every model here: immutable, and an unknown key is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Frozen):
    """Where counts come from; `kind` is a key of `metrics.SOURCES`.

    + address: base URL of the metrics server
    + proxy: whose series are read; a key of the source's built-in queries
    """

    kind: str
    address: str
    proxy: str


class Gate(Frozen):
    """One condition on the new version: the share of bad requests stays at or under a limit.

    + max_bad_ratio: the objective p0, in (0, 1); 0.01 for "at least 99 % succeed"
    + source: a key of `Plan.sources`
    """

    id: str
    metric: Literal["success_rate"]
    max_bad_ratio: float = Field(gt=0, lt=1)
    source: str


class Step(Frozen):
    """One weight and how long it is held.

    + interval_seconds: the least the step lasts
    + max_wait_seconds: the most; a step that is still undecided then ends the walk with a revert
    """

    weight_percent: int
    interval_seconds: float = Field(ge=0)
    max_wait_seconds: float = Field(gt=0)


class Limits(Frozen):
    """Deadlines and pauses of a walk, in seconds, and the least evidence for advancing.

    + preparing_seconds: for pods to become ready, before the first weight and before each later one
    + propagation_seconds: for the proxy to report that it has a changed route
    + settle_seconds: after each change, for data planes that report before they have applied it
    + drain_seconds: after the last change, before the old version may be deleted
    + rollout_seconds: the whole walk; then it reverts
    + min_samples: canary requests that each step must have seen before the next weight
    """

    preparing_seconds: float = Field(default=600, gt=0)
    propagation_seconds: float = Field(default=60, gt=0)
    settle_seconds: float = Field(default=2, ge=0)
    drain_seconds: float = Field(default=15, ge=0)
    rollout_seconds: float = Field(default=3600, gt=0)
    min_samples: int = Field(default=50, ge=0)


class Plan(Frozen):
    """A whole walk from one revision to the next.

    + alpha: chance to revert a version that meets its objectives, over the whole rollout,
      shared equally by the gates
    + beta: chance to promote one that does not; kept under `evidence: required` only
    + evidence: `required` = a step ends only when every gate has shown that its objective is met;
      `sufficient` = interval and min_samples are enough as long as no gate has failed
    """

    version: Literal[1] = 1
    steps: tuple[Step, ...] = Field(min_length=1)
    gates: tuple[Gate, ...] = ()
    sources: dict[str, Source] = {}
    alpha: float = Field(default=0.005, gt=0, lt=1)
    beta: float = Field(default=0.05, gt=0, lt=1)
    evidence: Literal["required", "sufficient"] = "sufficient"
    limits: Limits = Limits()

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
    def _gates_have_sources(self) -> Plan:
        for gate in self.gates:
            if gate.source not in self.sources:
                known = ", ".join(sorted(self.sources)) or "none"
                raise ValueError(f"gate {gate.id} reads source {gate.source}; the plan has: {known}")
        return self

    @property
    def gate_alpha(self) -> float:
        """Each gate's share of alpha."""
        return self.alpha / max(1, len(self.gates))

    def worst_case_seconds(self) -> float:
        """The longest that this plan can take before it has promoted or reverted."""
        steps = sum(max(step.interval_seconds, step.max_wait_seconds) for step in self.steps)
        return min(self.limits.rollout_seconds, self.limits.preparing_seconds + steps) + self.limits.drain_seconds


def schema() -> dict[str, Any]:
    """The plan's JSON schema, as published in docs/plan.schema.json for policy packs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Plan.model_json_schema()}


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
        elif item["type"] != "value_error":
            reason = f"{reason[0].lower()}{reason[1:]}, not {item['input']!r}"
        found.append((path, reason))
    return found
