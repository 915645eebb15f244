"""From what users write to the plan, and every mistake with its exact sentence."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from components import policy
from pulumi_rollout.core.gates_written import GATES
from pulumi_rollout.core.measures import Objective, Restarts, Source, Stalled, SuccessRate
from pulumi_rollout.core.plan import Limits, Plan, Step, Verb
from pulumi_rollout.core.sources_written import SourceWritten
from pulumi_rollout.core.strategies import AS_WRITTEN, GUARD_IMAGE, STRATEGIES, compile_policy
from pulumi_rollout.errors import InvalidInput
from tests.core.proxies import KNOWN

SOURCE = {"prometheus": "http://prometheus.monitoring:9090/"}
RATE = {"successRate": {"minPercent": 99}}
DURATION = "a duration needs a number and a unit, as in 30s, 5m or 500ms, not "


def compiled(policy: Any) -> Plan:
    return compile_policy(policy, KNOWN)


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
                "warmUp": "2m",
                "warmUpStep": "0s",
                "noDataHold": "1m",
                "noDataRevert": "3m",
                "outage": "90s",
                "fixForward": True,
            }
        }
    )
    assert plan == Plan(
        steps=tuple(Step(weight_percent=weight, interval_seconds=90, max_wait_seconds=300) for weight in (5, 50)),
        gates=(
            Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="prometheus-1"),
            Stalled(id="stalled", source="prometheus-1"),
            Restarts(id="restarts"),
        ),
        sources={
            "prometheus-1": Source(kind="prometheus", address="http://prometheus.monitoring:9090", proxy="contour")
        },
        alpha=0.01,
        beta=0.1,
        evidence="required",
        failures="independent",
        fix_forward=True,
        limits=Limits(
            preparing_seconds=1200,
            propagation_seconds=10,
            settle_seconds=0.5,
            drain_seconds=90,
            rollout_seconds=7200,
            min_samples=30,
            warm_up_seconds=120,
            warm_up_step_seconds=0,
            no_data_hold_seconds=60,
            no_data_revert_seconds=180,
            outage_seconds=90,
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
        gates=(Restarts(id="restarts"),),
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
    assert (plan.alpha, plan.beta, plan.evidence, plan.failures) == (0.005, 0.05, "sufficient", "auto")
    assert (plan.gates, plan.sources) == ((Restarts(id="restarts"),), {}), "what needs no source is always looked at"
    assert (plan.limits, plan.fix_forward) == (Limits(), False)
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
    others |= {"fix_forward": True, "on_edited": "abort"}
    assert getattr(compiled({"canary": {name: others[name]}}), name) == others[name] != default


@pytest.mark.parametrize("name", Limits.model_fields)
def test_every_limit_has_a_setting_and_its_default(name: str) -> None:
    """Those of the policy and of the plan are the same, so that neither is forgotten."""
    written = {"rollout_seconds": "deadline"}.get(name, name.removesuffix("_seconds"))
    assert STRATEGIES["canary"].model_fields[written].default == Limits.model_fields[name].default


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        ({"step_weight": 10, "max_weight": 50}, [10, 20, 30, 40, 50]),
        ({"step_weight": 20, "max_weight": 50}, [20, 40, 50]),
        ({"step_weight": 30, "max_weight": 100}, [30, 60, 90, 100]),
        ({"step_weight": 60, "max_weight": 50}, [50]),
        ({"step_weight": 1, "max_weight": 3}, [1, 2, 3]),
        ({"weights": [1, 2, 100]}, [1, 2, 100]),
        ({"weights": [7]}, [7]),
    ],
)
def test_weights(canary: dict[str, Any], expected: list[int]) -> None:
    assert weights(**canary) == expected


@pytest.mark.parametrize(
    "canary",
    [
        {"interval": "19s", "settle": "1s", "weights": [10, 20], "deadline": "41s"},
        {"interval": "12m", "weights": [50]},
        {"interval": "10m", "maxWait": "10m"},
        {"noDataRevert": "1m"},
        {"wait": "0s"},
        {"weights": [7], "confirmAt": [7], "wait": "10m", "onWait": "hold"},
    ],
)
def test_what_is_short_or_long_and_can_be_kept(canary: dict[str, Any]) -> None:
    """A default that another setting leaves without effect is no mistake of anybody's."""
    assert compiled({"canary": canary}).steps


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("1.5m", 90), ("0s", 0)]
)
def test_durations(written: str, seconds: float) -> None:
    assert (
        compiled({"canary": {"interval": written, "weights": [50], "deadline": "2h"}}).steps[0].interval_seconds
        == seconds
    )


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
    for name, model in GATES.items():
        assert set(getattr(policy, name).__annotations__) - {"return"} == set(model.model_fields), name
    settings = set(SourceWritten.model_fields)
    for kind in ("prometheus", "alertmanager", "direct"):
        named = {"direct": "proxy"}.get(kind, "address")
        assert set(getattr(policy, kind).__annotations__) - {"return", named} <= settings, kind


def test_what_the_components_write_of_gates_and_sources_is_the_same() -> None:
    source = policy.direct("app", port=9100, labels={"app": "shop"})
    gates = [
        policy.latency(max="500ms", percentile=99),
        policy.query("Lost orders", bad="lost", total="orders", max_percent=1),
        policy.alerts(source=policy.alertmanager("http://alertmanager:9093", token="am")),
    ]
    written = [
        {"latency": {"max": "500ms", "percentile": 99}},
        {"query": {"name": "Lost orders", "bad": "lost", "total": "orders", "maxPercent": 1}},
        {"alerts": {"source": {"alertmanager": "http://alertmanager:9093", "token": "am"}}},
    ]
    assert gates[0] == written[0]
    assert gates[1] == {"query": {"name": "Lost orders", "bad": "lost", "total": "orders", "max_percent": 1}}
    assert gates[2] == written[2]
    assert source == {"direct": "app", "port": 9100, "labels": {"app": "shop"}}


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ({"blueGreen": {}}, "policy: there is no strategy blueGreen; there are: canary"),
        ({}, "policy: names exactly one strategy; there are: canary"),
        ({"canary": {}, "abTest": {}}, "policy: names exactly one strategy; there are: canary"),
        ("canary", "policy: names exactly one strategy; there are: canary"),
        ({5: {}}, "policy: there is no strategy 5; there are: canary"),
        ({"canary": 5}, "policy.canary: input should be a valid dictionary or instance of Canary, not 5"),
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
        (
            {"maxWait": "90s", "warmUp": "2m", "minSamples": 7, "gates": [RATE], "source": SOURCE},
            "policy.canary.maxWait: has to be longer than warmUp (120 s): until then no request counts, so the first "
            "step would end after 90 s without one of the 7 that minSamples wants",
        ),
        (
            {"interval": "12m"},
            "policy.canary.deadline: the steps last at least 60.2 min, and the rollout ends after 60 min: raise "
            "deadline, or shorten interval",
        ),
        (
            {"interval": "19s", "settle": "1s", "weights": [10, 20], "deadline": "40s"},
            "policy.canary.deadline: the steps last at least 40 s, and the rollout ends after 40 s: raise deadline, or "
            "shorten interval",
        ),
        (
            {"weights": [7], "stepWeight": 20},
            "policy.canary.weights: are listed, so stepWeight and maxWeight have no effect: leave these out, or the "
            "list",
        ),
        (
            {"interval": "6m", "maxWait": "5m"},
            "policy.canary.maxWait: is the most that a step lasts, and interval, 6 min, the least: raise it",
        ),
        (
            {"noDataHold": "11m"},
            "policy.canary.noDataHold: is longer than noDataRevert, 10 min, so nothing would be held: shorten it",
        ),
        (
            {"wait": "10m"},
            "policy.canary.wait: has no effect while people are waited for without end: leave it out, or set onWait: "
            "hold",
        ),
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
        ({"warmUp": 60}, f"policy.canary.warmUp: {DURATION}60"),
        ({"noDataHold": "0s"}, "policy.canary.noDataHold: input should be greater than 0, not '0s'"),
        ({"outage": "5"}, f"policy.canary.outage: {DURATION}'5'"),
        (
            {"defaultGates": ["latency"]},
            "policy.canary.defaultGates.0: input should be 'restarts' or 'stalled', not 'latency'",
        ),
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
    ("canary", "sentence"),
    [
        (
            policy.canary(interval="6m", max_wait="5m"),
            "policy.canary.max_wait: is the most that a step lasts, and interval, 6 min, the least: raise it",
        ),
        (
            policy.canary(no_data_hold="11m"),
            "policy.canary.no_data_hold: is longer than no_data_revert, 10 min, so nothing would be held: shorten it",
        ),
        (
            policy.canary(gates=[policy.success_rate(min_percent=100)], source=SOURCE),
            "policy.canary.gates.0.min_percent: lies between 0 and 100 percent, both excluded, not 100",
        ),
        (
            policy.canary(gates=[policy.latency(max="1s")], source=SOURCE),
            "policy.canary.gates.0: has exactly one of percentile and maxRatio",
        ),
    ],
)
def test_a_mistake_is_told_in_the_names_that_were_written(canary: dict[str, Any], sentence: str) -> None:
    """Those of programs where one of them is seen, else those of stack files."""
    with pytest.raises(InvalidInput) as caught:
        compiled(canary)
    assert str(caught.value) == sentence


# Bake time


def test_a_bake_time_is_a_last_step_with_all_traffic() -> None:
    plan = compiled({"canary": {"weights": [10, 50], "interval": "30s", "maxWait": "2m", "bake": "5m"}})
    last = plan.steps[-1]
    assert [step.weight_percent for step in plan.steps] == [10, 50, 100]
    assert (last.interval_seconds, last.max_wait_seconds, last.wait_for_person) == (300, 300, False)
    assert [step.max_wait_seconds for step in plan.steps[:-1]] == [120, 120]


@pytest.mark.parametrize("settings", [{"weights": [50, 100]}, {"maxWeight": 100}])
def test_a_bake_time_beside_a_step_of_all_traffic_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"policy\.canary\.bake: is a last step at 100 %, which there is already"):
        compiled({"canary": {**settings, "bake": "5m"}})
