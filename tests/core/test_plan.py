"""The plan's validation, its arithmetic, and its published schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from pulumi_rollout.core.plan import Plan, problems_of, schema

SOURCE = {"kind": "prometheus", "address": "http://prometheus:9090", "proxy": "contour"}
# Propagation, settling twice, and the drain time, by default.
WAY_BACK = 60 + 2 * 2 + 15
GATE = {
    "id": "success_rate",
    "test": "objective",
    "metric": {"name": "success_rate"},
    "max_bad_ratio": 0.01,
    "source": "main",
}


def step(weight: int, interval: float = 30, max_wait: float = 600) -> dict[str, Any]:
    return {"weight_percent": weight, "interval_seconds": interval, "max_wait_seconds": max_wait}


def written(**changes: Any) -> dict[str, Any]:
    """A good plan, as stored in users' state, with changes."""
    return {"steps": [step(10), step(50)], "gates": [GATE], "sources": {"main": SOURCE}, **changes}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"steps": [step(10), step(5)]}, ("plan", "weights must rise from step to step, but 5 follows 10")),
        ({"steps": [step(10), step(10)]}, ("plan", "weights must rise from step to step, but 10 follows 10")),
        ({"steps": [step(0)]}, ("plan", "weights lie between 1 and 100 percent, but one is 0")),
        ({"steps": [step(-1)]}, ("plan", "weights lie between 1 and 100 percent, but one is -1")),
        ({"steps": [step(101)]}, ("plan", "weights lie between 1 and 100 percent, but one is 101")),
        ({"sources": {}}, ("plan", "gate success_rate reads source main; the plan has: none")),
        ({"sources": {"b": SOURCE, "a": SOURCE}}, ("plan", "gate success_rate reads source main; the plan has: a, b")),
        ({"alpha": 0}, ("plan.alpha", "input should be greater than 0, not 0")),
        ({"beta": 1}, ("plan.beta", "input should be less than 1, not 1")),
        ({"evidence": "some"}, ("plan.evidence", "input should be 'required' or 'sufficient', not 'some'")),
        (
            {"evidence": "required", "failures": "bursty"},
            ("plan", "evidence cannot be required with bursty failures: to show that they are few takes hours"),
        ),
        ({"colour": "red"}, ("plan.colour", "there is no setting of the name colour")),
        ({"version": 2}, ("plan.version", "input should be 1, not 2")),
        ({"on_wait": "stay"}, ("plan.on_wait", "input should be 'wait' or 'hold', not 'stay'")),
        ({"wait_seconds": -1}, ("plan.wait_seconds", "input should be greater than or equal to 0, not -1")),
        ({"on_failure": "go"}, ("plan.on_failure", "input should be 'revert' or 'freeze', not 'go'")),
        ({"time_limit_seconds": 0}, ("plan.time_limit_seconds", "input should be greater than 0, not 0")),
        (
            {"forbidden_commands": ["stop"]},
            (
                "plan.forbidden_commands.0",
                "input should be 'pause', 'resume', 'promote', 'promote-full', 'abort', 'restart' or 'set-weight', "
                "not 'stop'",
            ),
        ),
        (
            {"gates": [{**GATE, "max_bad_ratio": 1}]},
            ("plan.gates.0.objective.max_bad_ratio", "input should be less than 1, not 1"),
        ),
        (
            {"gates": [{**GATE, "test": "sorcery"}]},
            (
                "plan.gates.0",
                "input tag 'sorcery' found using 'test' does not match any of the expected tags: 'objective', "
                "'baseline', 'share', 'stalled', 'restarts', 'alerts', not "
                "{'id': 'success_rate', 'test': 'sorcery', 'metric': {'name': 'success_rate'}, 'max_bad_ratio': 0.01, "
                "'source': 'main'}",
            ),
        ),
        (
            {"gates": [{"id": "r", "test": "restarts", "source": "main"}]},
            ("plan.gates.0.restarts.source", "input should be None, not 'main'"),
        ),
        (
            {"limits": {"warm_up_seconds": -1}},
            ("plan.limits.warm_up_seconds", "input should be greater than or equal to 0, not -1"),
        ),
        (
            {"limits": {"no_data_hold_seconds": 0}},
            ("plan.limits.no_data_hold_seconds", "input should be greater than 0, not 0"),
        ),
        (
            {"steps": [step(10, interval=-1), step(20)]},
            ("plan.steps.0.interval_seconds", "input should be greater than or equal to 0, not -1"),
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], problem: tuple[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Plan.model_validate(written(**changes))
    assert problems_of(caught.value, "plan") == [problem]


def test_every_mistake_is_reported() -> None:
    with pytest.raises(ValidationError) as caught:
        Plan.model_validate(written(alpha=2, beta=2, colour="red"))
    assert [path for path, _ in problems_of(caught.value, "plan")] == ["plan.alpha", "plan.beta", "plan.colour"]


def test_a_plan_is_the_same_after_json() -> None:
    plan = Plan.model_validate(written())
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert Plan.model_validate(json.loads(json.dumps(plan.model_dump(mode="json")))) == plan


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Plan.model_validate(written()).alpha = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(("gates", "share"), [(0, 0.005), (1, 0.005), (2, 0.0025), (5, 0.001)])
def test_alpha_is_shared_equally(gates: int, share: float) -> None:
    several = [{**GATE, "id": f"gate-{number}"} for number in range(gates)]
    assert Plan.model_validate(written(gates=several)).gate_alpha == pytest.approx(share)


OTHERS: list[tuple[dict[str, Any], bool]] = [
    ({"id": "a", "test": "baseline", "metric": {"name": "success_rate"}, "source": "main"}, True),
    ({"id": "b", "test": "share", "source": "main"}, True),
    ({"id": "c", "test": "stalled", "source": "main"}, False),
    ({"id": "d", "test": "restarts"}, False),
    ({"id": "e", "test": "alerts", "source": "main"}, False),
    ({**GATE, "id": "f", "dry_run": True}, False),
]


@pytest.mark.parametrize(("gate", "shares"), OTHERS)
def test_only_gates_that_judge_by_chance_share_alpha(gate: dict[str, Any], shares: bool) -> None:
    plan = Plan.model_validate(written(gates=[GATE, gate]))
    assert plan.judging == (["success_rate", gate["id"]] if shares else ["success_rate"])
    assert plan.gate_alpha == pytest.approx(0.005 / len(plan.judging))


def test_a_gate_of_every_kind_is_the_same_after_json() -> None:
    latency = {**GATE, "id": "g", "metric": {"name": "latency", "bound_seconds": 0.5}}
    query = {**GATE, "id": "h", "metric": {"name": "query", "title": "Lost", "bad": "b", "total": "t"}}
    plan = Plan.model_validate(written(gates=[*(gate for gate, _ in OTHERS), latency, query]))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    jsonschema.validate(plan.model_dump(mode="json"), schema())


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 600 + 2 * 600 + WAY_BACK),
        ({"steps": [step(10, interval=900)]}, 600 + 900 + WAY_BACK),
        ({"limits": {"rollout_seconds": 100}}, 100 + WAY_BACK),
        ({"limits": {"rollout_seconds": 100, "settle_seconds": 7, "drain_seconds": 1}}, 100 + 60 + 2 * 7 + 1),
    ],
)
def test_worst_case(changes: dict[str, Any], seconds: float) -> None:
    """People's waiting is left out, and the way back is part of it."""
    assert Plan.model_validate(written(**changes)).worst_case_seconds() == seconds


def test_the_schema_is_one_and_takes_a_plan() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(Plan.model_validate(written()).model_dump(mode="json"), schema())


@pytest.mark.parametrize(
    "changes", [{"colour": "red"}, {"alpha": 0}, {"steps": []}, {"evidence": "some"}, {"on_wait": "stay"}]
)
def test_the_schema_refuses_what_the_model_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written(**changes), schema())
    with pytest.raises(ValidationError):
        Plan.model_validate(written(**changes))
