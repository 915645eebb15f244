"""Sources: the vendors' own answers as data (tests/metrics/<source>/*.yaml), and what no answer may do.

A fixture has `why`, `source` (documentation with the date it was read), `request` (the query),
`body`, and either the `reading` or the reason why there is `no_data`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.gates import fold
from pulumi_rollout.core.plan import Source
from pulumi_rollout.core.state import Evidence, Reading, State
from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.metrics import PROXIES, SOURCES, prometheus
from pulumi_rollout.metrics.prometheus import _name

HERE = Path(__file__).parent / "metrics"
FIXTURES = {f"{path.parent.name}/{path.stem}": path for path in sorted(HERE.glob("*/*.yaml"))}
SOURCE = Source(kind="prometheus", address="http://prometheus.monitoring:9090", proxy="contour")
BACKENDS = Backends(
    apex=Target(namespace="shop", service="podinfo", port=9898),
    canary=Target(namespace="shop", service="podinfo-v2", port=9898),
)

every_fixture = pytest.mark.parametrize("name", FIXTURES)


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FIXTURES[name].read_text())
    return loaded


@every_fixture
def test_fixture(name: str) -> None:
    module, fixture = SOURCES[name.split("/")[0]], load(name)
    expected = fixture.get("reading") or {"no_data": fixture["no_data"]}
    assert module.parse(SOURCE, [fixture["body"]], BACKENDS) == named(expected)


def named(expected: dict[str, Any]) -> Reading:
    """A reading as a fixture has it, by labels for people; short names stand in for them."""
    for arm in ("canary", "stable"):
        series = (expected.get(arm) or {}).get("series") or {}
        short = {_name(dict(label.split("=") for label in labels.split(","))): one for labels, one in series.items()}
        expected = {**expected, **({arm: {**expected[arm], "series": short}} if series else {})}
    return Reading.model_validate(expected)


def test_a_name_is_short_and_of_all_labels() -> None:
    """200 proxies with 10 codes and usual labels, for both versions: the journal may have 1 MiB."""
    names = {_name({**LABELS, "pod": f"envoy-{pod}", "code": str(code)}) for pod in range(200) for code in range(10)}
    assert len(names) == 2000
    assert 2 * 2 * sum(len(name) + 12 for name in names) < 400_000
    assert _name({"a": "1", "b": "2"}) == _name({"b": "2", "a": "1"}) == _name({"__name__": "x", "b": "2", "a": "1"})


@every_fixture
def test_fixture_is_of_the_request_that_is_sent(name: str) -> None:
    module, fixture = SOURCES[name.split("/")[0]], load(name)
    [url] = module.requests(SOURCE, BACKENDS)
    assert parse_qs(urlsplit(url).query)["query"] == [fixture["request"]]
    assert url.startswith("http://prometheus.monitoring:9090/api/v1/query?query=")


@every_fixture
def test_fixture_says_where_it_is_from(name: str) -> None:
    fixture = load(name)
    assert set(fixture) - {"reading", "no_data"} == {"why", "source", "request", "body"}
    assert len(set(fixture) & {"reading", "no_data"}) == 1
    assert "https://" in fixture["source"]
    assert "(read 20" in fixture["source"]


@every_fixture
def test_every_reading_can_be_folded_and_kept(name: str) -> None:
    """Whatever was parsed, the evidence stays countable, and the state is the same after JSON."""
    reading = SOURCES[name.split("/")[0]].parse(SOURCE, [load(name)["body"]], BACKENDS)
    evidence = fold(fold(Evidence(), reading), reading)
    state = State(
        walk="v2-0", revision="v2", stable="v1", started_at=0, phase_at=0, move_at=0, evidence={"gate": evidence}
    )
    assert State.model_validate_json(state.model_dump_json()) == state


ODD: list[Any] = [None, [], {}, "", "success", 5, {"status": "success"}, {"status": "success", "data": None}]
RESULTS: list[Any] = [None, {}, "x", 5, [None], [5], ["x"], [{}], [[]]]
ODD += [{"status": "success", "data": {"result": result}} for result in RESULTS]
LABELS = {"envoy_cluster_name": "shop_podinfo_9898", "envoy_response_code": "200"}
ODD += [
    {"status": "success", "data": {"result": [{"metric": metric, "values": values}]}}
    for metric, values in [
        ({**LABELS, "envoy_response_code": 200}, [[1, "1"]]),
        ({**LABELS, "envoy_response_code": None}, [[1, "1"]]),
        ({}, [[1, "1"]]),
        (None, [[1, "1"]]),
        (LABELS, None),
        (LABELS, [1]),
        (LABELS, [[1]]),
        (LABELS, [[1, "1", "1"]]),
        (LABELS, [[1, "many"]]),
        (LABELS, [[1, None]]),
        (LABELS, [["now", "1"]]),
    ]
]


@pytest.mark.parametrize("body", ODD, ids=json.dumps)
def test_an_answer_of_another_shape_is_no_data(body: Any) -> None:
    reading = prometheus.parse(SOURCE, [body], BACKENDS)
    assert (reading.no_data or "").startswith("http://prometheus.monitoring:9090 did not answer as Prometheus does (")
    assert reading.canary.series == reading.stable.series == {}


def test_no_answer_is_no_data() -> None:
    assert prometheus.parse(SOURCE, [], BACKENDS).no_data is not None


@pytest.mark.parametrize("values", [[], [[1.0, "NaN"]], [["NaN", "5"]], [["Inf", "5"]]])
def test_a_series_without_a_number_is_left_out(values: list[Any]) -> None:
    body = {"status": "success", "data": {"result": [{"metric": LABELS, "values": values}]}}
    assert prometheus.parse(SOURCE, [body], BACKENDS) == Reading()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "data", "result", "metric", "values", *LABELS]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(
    json_values
    | json_values.map(lambda result: {"status": "success", "data": {"result": [{"metric": LABELS, "values": result}]}})
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_answer_whatever_raises(body: Any) -> None:
    reading = prometheus.parse(SOURCE, [body], BACKENDS)
    fold(Evidence(), reading)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "12"]}]}}, True),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, False),
    ],
)
def test_the_probe_tells_whether_the_proxys_series_are_there(body: Any, found: bool) -> None:
    url = prometheus.probe(SOURCE)
    assert parse_qs(urlsplit(url).query)["query"] == ["count(envoy_cluster_upstream_rq)"]
    assert prometheus.exists(body) is found


def test_the_probe_of_a_broken_server_says_why() -> None:
    with pytest.raises(ValueError, match=r"^overloaded$"):
        prometheus.exists({"status": "error", "error": "overloaded"})


def test_proxies_are_the_queries() -> None:
    assert sorted(PROXIES["prometheus"]) == ["contour"]
