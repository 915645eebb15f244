"""From what a user writes to the plan: the only file that knows a strategy's name.

Lives here: the models of the policy as written (camelCase or snake_case, durations as strings)
and their expansion into steps. Not here: anything that happens during a walk.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from pulumi_rollout.core.plan import Gate, Limits, Plan, Source, Step, Verb, problems_of
from pulumi_rollout.errors import InvalidInput

# A shell and kubectl: Kubernetes' own image of kubectl has no shell.
GUARD_IMAGE = "docker.io/alpine/kubectl:1.33.3"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(value: Any) -> Any:
    """A duration with its unit, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a duration needs a number and a unit, as in 30s, 5m or 500ms, not {value!r}")
    return float(match[1]) * _UNITS[match[2]]


Duration = Annotated[float, BeforeValidator(_seconds)]
Deadline = Annotated[Duration, Field(gt=0)]


class Written(BaseModel):
    """Base of what users write: camelCase in stack files, snake_case in programs."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class PrometheusSource(Written):
    """A Prometheus server, and the proxy whose series are read."""

    prometheus: str
    proxy: str = "contour"


class SuccessRate(Written):
    """At least `min_percent` of the canary's requests are answered without a server error."""

    min_percent: float
    source: PrometheusSource | None = None


class Canary(Written):
    """Stepwise weights, judged at every step.

    Either `weights`, or every `step_weight` up to `max_weight`. After the last step the new
    version takes all traffic.
    """

    step_weight: int = 10
    max_weight: int = 50
    weights: list[int] | None = None
    interval: Duration = 30.0
    max_wait: Deadline = 600.0
    gates: list[dict[str, Any]] = []
    source: PrometheusSource | None = None
    alpha: float = 0.005
    beta: float = 0.05
    evidence: str = "sufficient"
    failures: Literal["auto", "independent", "bursty"] = "auto"
    min_samples: int = Field(default=50, ge=0)
    preparing: Deadline = 600.0
    propagation: Deadline = 60.0
    settle: Duration = 2.0
    drain: Duration = 15.0
    deadline: Deadline = 3600.0
    confirm_at: list[int] = []
    on_wait: Literal["wait", "hold"] = "wait"
    wait: Duration = 0.0
    on_failure: Literal["revert", "freeze"] = "revert"
    on_interrupted: Literal["resume", "restart"] = "resume"
    on_locked: Literal["refuse", "wait"] = "refuse"
    forbidden_commands: list[Verb] = []
    guard: bool = True
    guard_image: str = GUARD_IMAGE
    time_limit: Deadline | None = None


GATES = {"success_rate": SuccessRate}
STRATEGIES = {"canary": Canary}
# Settings that the plan has under the same name.
AS_WRITTEN = (
    "alpha",
    "beta",
    "evidence",
    "failures",
    "on_wait",
    "on_failure",
    "on_interrupted",
    "on_locked",
    "forbidden_commands",
)


def compile_policy(policy: dict[str, Any], proxies: dict[str, set[str]]) -> Plan:
    """The plan of a policy such as {"canary": {"stepWeight": 10, …}}.

    `proxies` names, for each kind of source, the proxies whose series it knows.
    Raises InvalidInput with every mistake that was found.
    """
    name, settings = _single(policy, STRATEGIES, "policy", "strategy")
    try:
        canary = STRATEGIES[name].model_validate(settings)
        weights = _weights(canary)
        _check_confirmations(canary, weights)
        gates, sources = _gates(canary, proxies)
        steps = [
            Step(
                weight_percent=weight,
                interval_seconds=canary.interval,
                max_wait_seconds=canary.max_wait,
                wait_for_person=weight in canary.confirm_at,
            )
            for weight in weights
        ]
        limits = Limits(
            preparing_seconds=canary.preparing,
            propagation_seconds=canary.propagation,
            settle_seconds=canary.settle,
            drain_seconds=canary.drain,
            rollout_seconds=canary.deadline,
            min_samples=canary.min_samples if gates else 0,
        )
        return Plan.model_validate(
            {
                "steps": steps,
                "gates": gates,
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


def _single(written: dict[str, Any], known: dict[str, Any], path: str, noun: str) -> tuple[str, Any]:
    """The one key of a mapping that names its kind; an unknown name lists the choices."""
    if not isinstance(written, dict) or len(written) != 1:
        raise InvalidInput([(path, f"names exactly one {noun}; there are: {', '.join(known)}")])
    [(name, settings)] = written.items()
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", str(name)).lower()
    if snake not in known:
        raise InvalidInput([(path, f"there is no {noun} {name}; there are: {', '.join(known)}")])
    return snake, settings


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


def _check_confirmations(canary: Canary, weights: list[int]) -> None:
    if unknown := [weight for weight in canary.confirm_at if weight not in (0, *weights)]:
        choices = ", ".join(map(str, (0, *weights)))
        reason = f"there is no step of weight {unknown[0]}; there are: {choices}"
        raise InvalidInput([("policy.canary.confirmAt", reason)])


def _gates(canary: Canary, proxies: dict[str, set[str]]) -> tuple[list[Gate], dict[str, Source]]:
    gates: list[Gate] = []
    sources: dict[str, Source] = {}
    for position, written in enumerate(canary.gates):
        path = f"policy.canary.gates.{position}"
        name, settings = _single(written, GATES, path, "gate")
        try:
            gate = GATES[name].model_validate(settings)
        except ValidationError as error:
            raise InvalidInput(problems_of(error, path)) from error
        if not 0 < gate.min_percent < 100:
            reason = f"lies between 0 and 100 percent, both excluded, not {gate.min_percent:g}"
            raise InvalidInput([(f"{path}.minPercent", reason)])
        source = _source(gate.source or canary.source, path, proxies)
        key = next((key for key, known in sources.items() if known == source), f"prometheus-{len(sources) + 1}")
        sources[key] = source
        unique = name if all(other.id != name for other in gates) else f"{name}-{position + 1}"
        gates.append(
            Gate(id=unique, metric="success_rate", max_bad_ratio=round(1 - gate.min_percent / 100, 12), source=key)
        )
    return gates, sources


def _source(written: PrometheusSource | None, path: str, proxies: dict[str, set[str]]) -> Source:
    if written is None:
        raise InvalidInput(
            [(path, 'has no source: give one, as in source=prometheus("http://prometheus.monitoring:9090")')]
        )
    if not re.match(r"https?://[^/]", written.prometheus):
        reason = f"is a URL with http:// or https://, not {written.prometheus!r}"
        raise InvalidInput([(f"{path}.source.prometheus", reason)])
    if "@" in written.prometheus.split("/")[2]:
        reason = "holds a password, and the plan is stored in plain: give the address without it"
        raise InvalidInput([(f"{path}.source.prometheus", reason)])
    if written.proxy not in proxies["prometheus"]:
        choices = ", ".join(sorted(proxies["prometheus"]))
        raise InvalidInput([(f"{path}.source.proxy", f"there is no proxy {written.proxy}; there are: {choices}")])
    return Source(kind="prometheus", address=written.prometheus.rstrip("/"), proxy=written.proxy)
