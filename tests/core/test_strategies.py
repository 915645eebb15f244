"""From what users write to the plan, and every mistake with its exact sentence."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from components import policy
from pulumi_rollout.core.plan import Gate, Limits, Plan, Source, Step, Verb
from pulumi_rollout.core.strategies import AS_WRITTEN, GATES, GUARD_IMAGE, STRATEGIES, compile_policy
from pulumi_rollout.errors import InvalidInput

PROXIES = {"prometheus": {"contour", "nginx"}}
SOURCE = {"prometheus": "http://prometheus.monitoring:9090/"}
RATE = {"successRate": {"minPercent": 99}}
DURATION = "a duration needs a number and a unit, as in 30s, 5m or 500ms, not "


def compiled(policy: Any) -> Plan:
    return compile_policy(policy, PROXIES)


def weights(**canary: Any) -> list[int]:
    return [step.weight_percent for step in compiled({"canary": canary}).steps]


def test_the_whole_plan() -> None:
    plan = compiled(
        {
            "canary": {
                "weights": [5, 50],
                "interval": "90s",
                "maxWait": "5m",
                "gates": [RATE],
                "source": SOURCE,
                "alpha": 0.01,
                "beta": 0.1,
                "evidence": "required",
                "failures": "independent",
                "minSamples": 30,
                "preparing": "20m",
                "propagation": "10s",
                "settle": "500ms",
                "drain": "1.5m",
                "deadline": "2h",
            }
        }
    )
    assert plan == Plan(
        steps=tuple(Step(weight_percent=weight, interval_seconds=90, max_wait_seconds=300) for weight in (5, 50)),
        gates=(Gate(id="success_rate", metric="success_rate", max_bad_ratio=0.01, source="prometheus-1"),),
        sources={
            "prometheus-1": Source(kind="prometheus", address="http://prometheus.monitoring:9090", proxy="contour")
        },
        alpha=0.01,
        beta=0.1,
        evidence="required",
        failures="independent",
        limits=Limits(
            preparing_seconds=1200,
            propagation_seconds=10,
            settle_seconds=0.5,
            drain_seconds=90,
            rollout_seconds=7200,
            min_samples=30,
        ),
        guard_image=GUARD_IMAGE,
    )


def test_the_whole_plan_of_what_people_may_do() -> None:
    plan = compiled(
        {
            "canary": {
                "weights": [5, 50],
                "confirmAt": [0, 50],
                "onWait": "hold",
                "wait": "10m",
                "onFailure": "freeze",
                "onInterrupted": "restart",
                "onLocked": "wait",
                "forbiddenCommands": ["promote-full", "set-weight"],
                "guardImage": "registry.example.com/kubectl:1",
                "timeLimit": "1h",
            }
        }
    )
    assert plan == Plan(
        steps=tuple(
            Step(weight_percent=weight, interval_seconds=30, max_wait_seconds=600, wait_for_person=weight == 50)
            for weight in (5, 50)
        ),
        limits=Limits(min_samples=0),
        wait_before_traffic=True,
        on_wait="hold",
        wait_seconds=600,
        on_failure="freeze",
        on_interrupted="restart",
        on_locked="wait",
        forbidden_commands=("promote-full", "set-weight"),
        guard_image="registry.example.com/kubectl:1",
        time_limit_seconds=3600,
    )


def test_defaults() -> None:
    plan = compiled({"canary": {}})
    assert [step.weight_percent for step in plan.steps] == [10, 20, 30, 40, 50]
    assert {(step.interval_seconds, step.max_wait_seconds) for step in plan.steps} == {(30, 600)}
    assert (plan.gates, plan.sources, plan.alpha, plan.beta, plan.evidence) == ((), {}, 0.005, 0.05, "sufficient")
    assert plan.limits == Limits(min_samples=0)
    assert (plan.wait_before_traffic, {step.wait_for_person for step in plan.steps}) == (False, {False})
    assert (plan.on_wait, plan.wait_seconds, plan.on_failure) == ("wait", 0, "revert")
    assert (plan.on_interrupted, plan.on_locked, plan.forbidden_commands) == ("resume", "refuse", ())
    assert (plan.guard_image, plan.time_limit_seconds) == (GUARD_IMAGE, None)


def test_a_plan_without_a_guard() -> None:
    assert compiled({"canary": {"guard": False}}).guard_image is None
    assert compiled({"canary": {"guard": False, "guardImage": "registry.example.com/kubectl:1"}}).guard_image is None


def test_the_guards_image_is_pinned() -> None:
    """Another version of it is a decision of this project, not of a registry."""
    assert re.fullmatch(r"[a-z0-9./-]+/kubectl:v?\d+\.\d+\.\d+", GUARD_IMAGE)


@pytest.mark.parametrize(
    ("confirm_at", "before_traffic", "asks"),
    [([], False, []), ([0], True, []), ([10, 30], False, [10, 30]), ([50, 0, 50], True, [50])],
)
def test_who_is_asked_where(confirm_at: list[int], before_traffic: bool, asks: list[int]) -> None:
    plan = compiled({"canary": {"confirmAt": confirm_at}})
    assert plan.wait_before_traffic is before_traffic
    assert [step.weight_percent for step in plan.steps if step.wait_for_person] == asks


@pytest.mark.parametrize("verb", get_args(Verb))
def test_every_command_can_be_forbidden(verb: str) -> None:
    assert compiled({"canary": {"forbiddenCommands": [verb]}}).forbidden_commands == (verb,)


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_what_is_taken_over_as_written(name: str) -> None:
    """A setting of the same name and default in the policy and in the plan, so that neither is forgotten."""
    policy_field, plan_field = STRATEGIES["canary"].model_fields[name], Plan.model_fields[name]
    default = policy_field.default
    assert plan_field.default == (tuple(default) if isinstance(default, list) else default)
    others = {"alpha": 0.25, "beta": 0.25, "evidence": "required", "on_wait": "hold", "on_failure": "freeze"}
    others |= {"on_interrupted": "restart", "on_locked": "wait", "forbidden_commands": ("abort",), "failures": "bursty"}
    assert getattr(compiled({"canary": {name: others[name]}}), name) == others[name] != default


def test_minimum_samples_need_a_gate_that_counts() -> None:
    """Without a gate nothing counts requests, and a minimum would never be reached."""
    assert compiled({"canary": {"minSamples": 50}}).limits.min_samples == 0
    assert compiled({"canary": {"gates": [RATE], "source": SOURCE}}).limits.min_samples == 50


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        ({"step_weight": 10, "max_weight": 50}, [10, 20, 30, 40, 50]),
        ({"step_weight": 20, "max_weight": 50}, [20, 40, 50]),
        ({"step_weight": 30, "max_weight": 100}, [30, 60, 90, 100]),
        ({"step_weight": 60, "max_weight": 50}, [50]),
        ({"step_weight": 1, "max_weight": 3}, [1, 2, 3]),
        ({"weights": [1, 2, 100]}, [1, 2, 100]),
        ({"weights": [7], "step_weight": 20}, [7]),
    ],
)
def test_weights(canary: dict[str, Any], expected: list[int]) -> None:
    assert weights(**canary) == expected


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("1.5m", 90), ("0s", 0)]
)
def test_durations(written: str, seconds: float) -> None:
    assert compiled({"canary": {"interval": written}}).steps[0].interval_seconds == seconds


def test_camel_and_snake_case_are_the_same() -> None:
    camel = {"stepWeight": 20, "maxWait": "2m", "minSamples": 7, "gates": [RATE], "source": SOURCE}
    snake = {
        "step_weight": 20,
        "max_wait": "2m",
        "min_samples": 7,
        "gates": [{"success_rate": {"min_percent": 99}}],
        "source": SOURCE,
    }
    assert compiled({"canary": camel}) == compiled({"canary": snake})


def test_what_the_components_write_is_the_same() -> None:
    """`components.policy` only collects arguments: each is a setting here, and none is missing."""
    source = policy.prometheus("http://prometheus.monitoring:9090", proxy="contour")
    written = policy.canary(step_weight=20, gates=[policy.success_rate(min_percent=99)], source=source)
    assert compiled(written) == compiled({"canary": {"stepWeight": 20, "gates": [RATE], "source": SOURCE}})
    arguments = set(policy.canary.__annotations__) - {"return"}
    assert arguments == set(STRATEGIES["canary"].model_fields)
    assert set(policy.success_rate.__annotations__) - {"return"} == set(GATES["success_rate"].model_fields)


def test_gates_share_a_source_and_have_names_of_their_own() -> None:
    other = {"successRate": {"minPercent": 95, "source": {"prometheus": "https://other", "proxy": "nginx"}}}
    plan = compiled({"canary": {"gates": [RATE, RATE, other], "source": SOURCE}})
    assert [(gate.id, gate.source) for gate in plan.gates] == [
        ("success_rate", "prometheus-1"),
        ("success_rate-2", "prometheus-1"),
        ("success_rate-3", "prometheus-2"),
    ]
    assert [gate.max_bad_ratio for gate in plan.gates] == [0.01, 0.01, 0.05]
    assert plan.sources["prometheus-2"] == Source(kind="prometheus", address="https://other", proxy="nginx")


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ({"blueGreen": {}}, "policy: there is no strategy blueGreen; there are: canary"),
        ({}, "policy: names exactly one strategy; there are: canary"),
        ({"canary": {}, "abTest": {}}, "policy: names exactly one strategy; there are: canary"),
        ("canary", "policy: names exactly one strategy; there are: canary"),
        ({5: {}}, "policy: there is no strategy 5; there are: canary"),
        ({"canary": None}, "policy.canary: input should be a valid dictionary or instance of Canary, not None"),
    ],
)
def test_unknown_strategies(policy: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled(policy)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("canary", "sentence"),
    [
        ({"weights": [10, 5]}, "policy.canary: weights must rise from step to step, but 5 follows 10"),
        ({"weights": [10, 10]}, "policy.canary: weights must rise from step to step, but 10 follows 10"),
        ({"weights": [0, 10]}, "policy.canary: weights lie between 1 and 100 percent, but one is 0"),
        ({"weights": [-5]}, "policy.canary: weights lie between 1 and 100 percent, but one is -5"),
        ({"weights": [10, 101]}, "policy.canary: weights lie between 1 and 100 percent, but one is 101"),
        ({"weights": []}, "policy.canary.weights: is empty: list at least one weight, or leave it out"),
        ({"weights": "10"}, "policy.canary.weights: input should be a valid list, not '10'"),
        (
            {"weights": [1.5]},
            "policy.canary.weights.0: input should be a valid integer, got a number with a fractional part, not 1.5",
        ),
        ({"stepWeight": 0}, "policy.canary.stepWeight: must be at least 1, not 0"),
        ({"maxWeight": 0}, "policy.canary.maxWeight: lies between 1 and 100 percent, not 0"),
        ({"maxWeight": 101}, "policy.canary.maxWeight: lies between 1 and 100 percent, not 101"),
        ({"interval": 30}, f"policy.canary.interval: {DURATION}30"),
        ({"interval": "30"}, f"policy.canary.interval: {DURATION}'30'"),
        ({"interval": "-3s"}, f"policy.canary.interval: {DURATION}'-3s'"),
        ({"interval": "1d"}, f"policy.canary.interval: {DURATION}'1d'"),
        ({"interval": None}, f"policy.canary.interval: {DURATION}None"),
        ({"interval": "1h30m"}, f"policy.canary.interval: {DURATION}'1h30m'"),
        ({"maxWait": "0s"}, "policy.canary.maxWait: input should be greater than 0, not '0s'"),
        ({"deadline": "0s"}, "policy.canary.deadline: input should be greater than 0, not '0s'"),
        ({"alpha": 0}, "policy.canary.alpha: input should be greater than 0, not 0.0"),
        ({"beta": 1}, "policy.canary.beta: input should be less than 1, not 1.0"),
        (
            {"failures": "rare"},
            "policy.canary.failures: input should be 'auto', 'independent' or 'bursty', not 'rare'",
        ),
        ({"evidence": "some"}, "policy.canary.evidence: input should be 'required' or 'sufficient', not 'some'"),
        ({"minSamples": -1}, "policy.canary.minSamples: input should be greater than or equal to 0, not -1"),
        (
            {"weights": [5, 50], "confirmAt": [20]},
            "policy.canary.confirmAt: there is no step of weight 20; there are: 0, 5, 50",
        ),
        (
            {"confirmAt": [100]},
            "policy.canary.confirmAt: there is no step of weight 100; there are: 0, 10, 20, 30, 40, 50",
        ),
        ({"confirmAt": 10}, "policy.canary.confirmAt: input should be a valid list, not 10"),
        ({"onWait": "stay"}, "policy.canary.onWait: input should be 'wait' or 'hold', not 'stay'"),
        ({"wait": 10}, f"policy.canary.wait: {DURATION}10"),
        ({"onFailure": "ignore"}, "policy.canary.onFailure: input should be 'revert' or 'freeze', not 'ignore'"),
        ({"onInterrupted": "go"}, "policy.canary.onInterrupted: input should be 'resume' or 'restart', not 'go'"),
        ({"onLocked": "steal"}, "policy.canary.onLocked: input should be 'refuse' or 'wait', not 'steal'"),
        (
            {"forbiddenCommands": ["abort", "stop"]},
            "policy.canary.forbiddenCommands.1: input should be 'pause', 'resume', 'promote', 'promote-full', 'abort', "
            "'restart' or 'set-weight', not 'stop'",
        ),
        (
            {"guard": "no, thanks"},
            "policy.canary.guard: input should be a valid boolean, unable to interpret input, not 'no, thanks'",
        ),
        ({"guardImage": None}, "policy.canary.guardImage: input should be a valid string, not None"),
        ({"timeLimit": "0s"}, "policy.canary.timeLimit: input should be greater than 0, not '0s'"),
        ({"stepWeigth": 10}, "policy.canary.stepWeigth: there is no setting of the name stepWeigth"),
        (
            {"step_weigth": 1, "interval": 5},
            f"policy.canary.interval: {DURATION}5; "
            "policy.canary.step_weigth: there is no setting of the name step_weigth",
        ),
    ],
)
def test_mistakes_in_the_canary(canary: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled({"canary": canary})
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("gate", "source", "sentence"),
    [
        ({"latency": {}}, SOURCE, "gates.0: there is no gate latency; there are: success_rate"),
        ({}, SOURCE, "gates.0: names exactly one gate; there are: success_rate"),
        ("successRate", SOURCE, "gates.0: input should be a valid dictionary, not 'successRate'"),
        ({"successRate": {}}, SOURCE, "gates.0.minPercent: is missing"),
        (
            {"successRate": {"minPercent": 99}},
            {"prometheus": "https://user:secret@prometheus:9090"},
            "gates.0.source.prometheus: holds a password, and the plan is stored in plain: give the address without it",
        ),
        (
            {"successRate": {"minPercent": 100}},
            SOURCE,
            "gates.0.minPercent: lies between 0 and 100 percent, both excluded, not 100",
        ),
        (
            {"successRate": {"minPercent": 0}},
            SOURCE,
            "gates.0.minPercent: lies between 0 and 100 percent, both excluded, not 0",
        ),
        (
            {"successRate": {"minPercent": float("nan")}},
            SOURCE,
            "gates.0.minPercent: lies between 0 and 100 percent, both excluded, not nan",
        ),
        (
            {"successRate": {"minPercent": 99, "maxPercent": 1}},
            SOURCE,
            "gates.0.maxPercent: there is no setting of the name maxPercent",
        ),
        (
            RATE,
            None,
            'gates.0: has no source: give one, as in source=prometheus("http://prometheus.monitoring:9090")',
        ),
        (
            RATE,
            {"prometheus": "prometheus:9090"},
            "gates.0.source.prometheus: is a URL with http:// or https://, not 'prometheus:9090'",
        ),
        (
            RATE,
            {"prometheus": "http://prometheus:9090", "proxy": "haproxy"},
            "gates.0.source.proxy: there is no proxy haproxy; there are: contour, nginx",
        ),
    ],
)
def test_mistakes_in_gates(gate: Any, source: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled({"canary": {"gates": [gate], "source": source}})
    assert str(caught.value) == f"policy.canary.{sentence}"
    assert [path for path, _ in caught.value.problems] == [f"policy.canary.{sentence.split(': ')[0]}"]
