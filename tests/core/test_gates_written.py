"""Gates as users write them, the plan's gates that they become, and every mistake with its exact sentence."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.gates_written import GATES
from pulumi_rollout.core.measures import (
    Alerts,
    Baseline,
    Gate,
    Latency,
    Objective,
    Query,
    Restarts,
    Share,
    Source,
    Stalled,
    SuccessRate,
)
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.strategies import compile_policy
from pulumi_rollout.errors import InvalidInput
from tests.core.proxies import KNOWN

PROMETHEUS = {"prometheus": "http://prometheus:9090"}
RATE = {"successRate": {"minPercent": 99}}
THE_OTHERS = ", ".join(GATES)
DIRECT = Source(kind="direct", proxy="contour")
DURATION = "a duration needs a number and a unit, as in 30s, 5m or 500ms, not "


def compiled(*gates: Any, source: Any = PROMETHEUS, **canary: Any) -> Plan:
    return compile_policy({"canary": {"gates": list(gates), "source": source, "defaultGates": [], **canary}}, KNOWN)


WRITTEN: dict[str, tuple[Any, Gate]] = {
    "success rate": (RATE, Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="s")),
    "success rate, compared": (
        {"successRate": {"maxRatio": 3, "margin": 2}},
        Baseline(id="success_rate_vs_stable", metric=SuccessRate(), margin=2, max_ratio=3, source="s"),
    ),
    "latency": (
        {"latency": {"percentile": 99.5, "max": "500ms"}},
        Objective(id="latency", metric=Latency(bound_seconds=0.5), max_bad_ratio=0.005, source="s"),
    ),
    "latency, compared": (
        {"latency": {"max": "2s", "maxRatio": 2}},
        Baseline(id="latency_vs_stable", metric=Latency(bound_seconds=2), source="s"),
    ),
    "query": (
        {"query": {"name": "Lost Orders!", "bad": 'lost{app="$app"}', "total": "orders", "maxPercent": 0.1}},
        Objective(
            id="lost_orders",
            metric=Query(title="Lost Orders!", bad='lost{app="$app"}', total="orders"),
            max_bad_ratio=0.001,
            source="s",
        ),
    ),
    "query, compared": (
        {"query": {"name": "☂", "bad": "lost", "total": "orders", "maxRatio": 2}},
        Baseline(id="query_vs_stable", metric=Query(title="☂", bad="lost", total="orders"), source="s"),
    ),
    "traffic share": ({"trafficShare": {"margin": 1.1}}, Share(id="traffic_share", margin=1.1, source="s")),
    "stalled": ({"stalled": {"after": "1m"}}, Stalled(id="stalled", after_seconds=60, source="s")),
    "restarts": ({"restarts": {"max": 2}}, Restarts(id="restarts", max_restarts=2)),
    "alerts": (
        {"alerts": {"source": PROMETHEUS, "matchers": {"team": "shop"}}},
        Alerts(id="alerts", matchers={"team": "shop"}, source="s"),
    ),
}


@pytest.mark.parametrize(("written", "gate"), WRITTEN.values(), ids=WRITTEN)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_written_and_what_becomes_of_it(written: Any, gate: Gate, dry_run: bool) -> None:
    [(name, settings)] = written.items()
    [found] = compiled({name: {**settings, "dryRun": dry_run}}).gates
    source = None if gate.source is None else "prometheus-1"
    assert found == gate.model_copy(update={"source": source, "dry_run": dry_run})


def test_every_gate_is_written_here() -> None:
    tests = {gate.test for _, gate in WRITTEN.values()}
    assert tests == {"objective", "baseline", "share", "stalled", "restarts", "alerts"}
    assert len({next(iter(written)) for written, _ in WRITTEN.values()}) == len(GATES)


def test_snake_case_is_the_same() -> None:
    snake = {"success_rate": {"max_ratio": 2, "dry_run": True}}
    assert compiled(snake).gates == compiled({"successRate": {"maxRatio": 2, "dryRun": True}}).gates


def test_gates_share_a_source_and_have_names_of_their_own() -> None:
    other = {"successRate": {"minPercent": 95, "source": {"prometheus": "https://other", "proxy": "nginx"}}}
    ratio = {"successRate": {"maxRatio": 2}}
    plan = compiled(RATE, RATE, other, ratio, {"latency": {"percentile": 99, "max": "1s"}})
    assert [(gate.id, gate.source) for gate in plan.gates] == [
        ("success_rate", "prometheus-1"),
        ("success_rate-2", "prometheus-1"),
        ("success_rate-3", "prometheus-2"),
        ("success_rate_vs_stable", "prometheus-1"),
        ("latency", "prometheus-1"),
    ]
    assert plan.sources["prometheus-2"] == Source(kind="prometheus", address="https://other", proxy="nginx")


def test_percentages_are_what_was_written() -> None:
    """1 - 0.999 is not 0.001 for a computer."""
    assert [gate.max_bad_ratio for gate in compiled({"successRate": {"minPercent": 99.9}}).gates] == [0.001]  # type: ignore[union-attr]


# Gates that are there without being written


def defaults(*gates: Any, **canary: Any) -> list[tuple[str, str | None]]:
    canary = {"gates": list(gates), "source": PROMETHEUS, **canary}
    return [(gate.id, gate.source) for gate in compile_policy({"canary": canary}, KNOWN).gates]


def test_two_gates_need_no_writing() -> None:
    assert defaults(RATE) == [("success_rate", "prometheus-1"), ("stalled", "prometheus-1"), ("restarts", None)]


def test_what_hangs_is_looked_for_where_a_source_can_tell() -> None:
    nginx = {**PROMETHEUS, "proxy": "nginx"}
    assert defaults({"successRate": {"minPercent": 99, "source": nginx}}) == [
        ("success_rate", "prometheus-1"),
        ("restarts", None),
    ]
    slow = {"latency": {"percentile": 99, "max": "1s"}}
    assert defaults({"successRate": {"minPercent": 99, "source": nginx}}, slow) == [
        ("success_rate", "prometheus-1"),
        ("latency", "prometheus-2"),
        ("stalled", "prometheus-2"),
        ("restarts", None),
    ]
    assert defaults() == [("restarts", None)], "no source is read for it alone"


def test_what_is_written_takes_the_place_of_the_default() -> None:
    assert defaults({"stalled": {"dryRun": True}}, {"restarts": {"max": 3}}) == [
        ("stalled", "prometheus-1"),
        ("restarts", None),
    ]


def test_defaults_can_be_left_out() -> None:
    assert defaults(RATE, defaultGates=["restarts"]) == [("success_rate", "prometheus-1"), ("restarts", None)]
    assert defaults(RATE, defaultGates=[]) == [("success_rate", "prometheus-1")]


def test_without_a_source_the_routes_proxy_is_read_directly() -> None:
    plan = compiled(RATE, source=None)
    assert (plan.gates[0].source, plan.sources) == ("direct-1", {"direct-1": DIRECT})


# Mistakes

MISTAKES: dict[str, tuple[Any, str]] = {
    "unknown": ({"errorRate": {}}, f"gates.0: there is no gate errorRate; there are: {THE_OTHERS}"),
    "none": ({}, f"gates.0: names exactly one gate; there are: {THE_OTHERS}"),
    "two": ({**RATE, "stalled": {}}, f"gates.0: names exactly one gate; there are: {THE_OTHERS}"),
    "no mapping": ("successRate", "gates.0: input should be a valid dictionary, not 'successRate'"),
    "no settings": (
        {"successRate": 99},
        "gates.0: input should be a valid dictionary or instance of SuccessRateWritten, not 99",
    ),
    "no objective": ({"successRate": {}}, "gates.0: has exactly one of minPercent and maxRatio"),
    "two objectives": (
        {"successRate": {"minPercent": 99, "maxRatio": 2}},
        "gates.0: has exactly one of minPercent and maxRatio",
    ),
    "latency without a percentile": ({"latency": {"max": "1s"}}, "gates.0: has exactly one of percentile and maxRatio"),
    "latency without a bound": ({"latency": {"percentile": 99}}, "gates.0.max: is missing"),
    "latency in a number": ({"latency": {"percentile": 99, "max": 500}}, f"gates.0.max: {DURATION}500"),
    "latency of none": (
        {"latency": {"percentile": 99, "max": "0s"}},
        "gates.0.max: input should be greater than 0, not '0s'",
    ),
    "all of them": (
        {"successRate": {"minPercent": 100}},
        "gates.0.minPercent: lies between 0 and 100 percent, both excluded, not 100",
    ),
    "none of them": (
        {"latency": {"percentile": 0, "max": "1s"}},
        "gates.0.percentile: lies between 0 and 100 percent, both excluded, not 0",
    ),
    "a share of successes": (
        {"successRate": {"minPercent": 0.99}},
        "gates.0.minPercent: is in percent, and at 0.99 % nearly all requests may be bad: for 99 % write 99",
    ),
    "a share of quick ones": (
        {"latency": {"percentile": 1, "max": "1s"}},
        "gates.0.percentile: is in percent, and at 1 % nearly all requests may be bad: for 99 % write 99",
    ),
    "no number": (
        {"successRate": {"minPercent": float("nan")}},
        "gates.0.minPercent: lies between 0 and 100 percent, both excluded, not nan",
    ),
    "more than all": (
        {"query": {"name": "n", "bad": "b", "total": "t", "maxPercent": 101}},
        "gates.0.maxPercent: lies between 0 and 100 percent, both excluded, not 101",
    ),
    "a query without an objective": (
        {"query": {"name": "n", "bad": "b", "total": "t"}},
        "gates.0: has exactly one of maxPercent and maxRatio",
    ),
    "a query without its counters": ({"query": {"name": "n", "bad": "b"}}, "gates.0.total: is missing"),
    "a query with a function": (
        {"query": {"name": "n", "bad": "rate(b[1m])", "total": "t", "maxPercent": 1}},
        "gates.0.bad: is a selector of counters, as in orders_total{revision=\"$revision\"}, not 'rate(b[1m])'",
    ),
    "an empty query": (
        {"query": {"name": "n", "bad": "b", "total": " ", "maxPercent": 1}},
        "gates.0.total: is a selector of counters, as in orders_total{revision=\"$revision\"}, not ' '",
    ),
    "a query of something unknown": (
        {"query": {"name": "n", "bad": 'b{pod="$pod"}', "total": "t", "maxPercent": 1}},
        "gates.0.bad: there is no $pod; there are: $app, $namespace, $service, $revision",
    ),
    "an unknown setting": (
        {"successRate": {"minPercent": 99, "maxPercent": 1}},
        "gates.0.maxPercent: there is no setting of the name maxPercent",
    ),
    "a margin that is above": (
        {"successRate": {"maxRatio": 1.5, "margin": 2}},
        "gates.0: margin 2 must be below maxRatio 1.5",
    ),
    "a ratio that is none": (
        {"successRate": {"maxRatio": 1}},
        "gates.0.maxRatio: input should be greater than 1, not 1",
    ),
    "a margin below one": (
        {"successRate": {"maxRatio": 2, "margin": 0.5}},
        "gates.0.margin: input should be greater than or equal to 1, not 0.5",
    ),
    "a share without room": (
        {"trafficShare": {"margin": 1}},
        "gates.0.margin: input should be greater than 1, not 1",
    ),
    "restarts below none": (
        {"restarts": {"max": -1}},
        "gates.0.max: input should be greater than or equal to 0, not -1",
    ),
    "restarts of a source": (
        {"restarts": {"source": PROMETHEUS}},
        "gates.0.source: there is no setting of the name source",
    ),
    "alerts without a source": ({"alerts": {}}, "gates.0.source: is missing"),
    "alerts of pods": (
        {"alerts": {"source": {"direct": "app"}}},
        "gates.0: alerts needs a prometheus source, as pods know nothing of it",
    ),
    "a query of pods": (
        {"query": {"name": "n", "bad": "b", "total": "t", "maxPercent": 1, "source": {"direct": "app"}}},
        "gates.0: query needs a prometheus source, as pods know nothing of it",
    ),
    "requests of an Alertmanager": (
        {"successRate": {"minPercent": 99, "source": {"alertmanager": "http://alertmanager:9093"}}},
        "gates.0: an Alertmanager has alerts and no success_rate: give it another source",
    ),
    "what a proxy cannot tell": (
        {"trafficShare": {"source": {**PROMETHEUS, "proxy": "app"}}},
        "gates.0: app has no numbers for traffic_share; it has them for: latency, success_rate",
    ),
    "a proxy that tells nothing": (
        {"stalled": {"source": {**PROMETHEUS, "proxy": "alb"}}},
        "gates.0: alb has no numbers for stalled; it has them for: nothing",
    ),
    "a source that is none": (
        {"successRate": {"minPercent": 99, "source": {}}},
        "gates.0.source: names exactly one of prometheus, alertmanager, direct",
    ),
}


@pytest.mark.parametrize(("gate", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(gate: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        compiled(gate)
    assert str(caught.value) == f"policy.canary.{sentence}"
    assert [path for path, _ in caught.value.problems] == [f"policy.canary.{sentence.split(': ')[0]}"]


def test_the_mistake_names_the_gate() -> None:
    with pytest.raises(InvalidInput, match=r"^policy\.canary\.gates\.1\.minPercent: "):
        compiled(RATE, {"successRate": {"minPercent": 100}})


GOOD = ("orders_total", '{app="$app"}', 'a:b_total{x="1",y=~"$service.*"}', " orders {a='b'} ", 'x{y="$$cash"}')


@pytest.mark.parametrize("selector", GOOD)
def test_selectors_that_are_good(selector: str) -> None:
    [gate] = compiled({"query": {"name": "n", "bad": selector, "total": selector, "maxPercent": 1}}).gates
    assert isinstance(gate, Objective)
    assert gate.metric == Query(title="n", bad=selector, total=selector)


def test_nothing_behind_a_name_is_no_setting() -> None:
    """In YAML, a key without settings has no value at all."""
    assert compile_policy({"canary": None}, KNOWN) == compile_policy({"canary": {}}, KNOWN)
    assert compiled({"stalled": None}) == compiled({"stalled": {}})
    with pytest.raises(InvalidInput) as caught:
        compiled({"successRate": None})
    assert str(caught.value) == "policy.canary.gates.0: has exactly one of minPercent and maxRatio"
