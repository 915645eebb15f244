"""Sources: the vendors' own answers (tests/metrics/<source>/*.yaml), and what no answer may do."""

from __future__ import annotations

import json
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import Gate, Pods, Share, Source
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import CHOICES, PROXIES, SOURCES, alertmanager, direct, known, prometheus
from pulumi_rollout.metrics.series import lack, name_of, serves, spellings, steadied
from pulumi_rollout.metrics.shapes import Fleet, Pod, Problem, Response, Series
from tests.metrics_fixtures import ADDRESSES, AT, BACKENDS, FIXTURES, SUCCESS_RATE, gate, load

every_fixture = pytest.mark.parametrize("name", FIXTURES)
SERVER = ADDRESSES["prometheus"]
SOURCE = Source(kind="prometheus", address=SERVER, proxy="contour")
RATE = gate(**SUCCESS_RATE)
LATENCY = gate(id="latency", test="objective", metric={"name": "latency", "bound_seconds": 0.5}, max_bad_ratio=0.01)
NOBODY = Fleet(stable="v1")
ENVOYS = Fleet(asked=(Pod("envoy-a", "projectcontour"),), stable="v1")


def matrix(*items: tuple[dict[str, str], list[Any]]) -> Any:
    result = [{"metric": labels, "values": values} for labels, values in items]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def parsed(body: Any, *gates: Gate, fleet: Fleet = NOBODY) -> Reading:
    gates = gates or (RATE,)
    asked = prometheus.requests(SOURCE, gates, BACKENDS, fleet)
    found = prometheus.parse(SOURCE, gates, [Response(body, AT)] * len(asked), BACKENDS, fleet)
    return found[gates[0].id]


# Fixtures.


@every_fixture
def test_fixture(name: str) -> None:
    case = load(name)
    found = case.parsed()
    if "events" in case.written:
        assert {gate: [words for _, words in one.events.values()] for gate, one in found.items()} == case.written[
            "events"
        ]
        assert all(one.no_data is None for one in found.values())
    else:
        assert found == case.readings


@every_fixture
def test_fixture_is_of_the_requests_that_are_sent(name: str) -> None:
    case = load(name)
    assert case.sent() == case.wanted
    assert {(one.via, one.form) for one in case.requests()} <= (
        {("cluster", "text")} if case.kind == "direct" else {("http", "json")}
    )


@every_fixture
def test_fixture_says_where_it_is_from(name: str) -> None:
    written = load(name).written
    assert set(written) >= {"why", "source"}
    assert len(set(written) & {"reading", "readings", "no_data", "events"}) == 1
    assert "https://" in written["source"]
    assert "(read 20" in re.sub(r"\s+", " ", written["source"])


@every_fixture
def test_every_reading_can_be_kept(name: str) -> None:
    for reading in load(name).parsed().values():
        assert Reading.model_validate_json(reading.model_dump_json()) == reading


@pytest.mark.parametrize("kind", ["prometheus", "direct"])
def test_every_proxy_has_a_fixture(kind: str) -> None:
    cases = [load(name) for name in FIXTURES if name.startswith(f"{kind}/")]
    without_pods = {"alb"} if kind == "direct" else set()
    assert {case.source.proxy for case in cases} - {""} == set(PROXIES) - without_pods


def test_what_can_be_read_is_known_for_each_source() -> None:
    assert set(CHOICES) == set(SOURCES)
    assert CHOICES["prometheus"] == CHOICES["direct"] == set(PROXIES)
    assert CHOICES["alertmanager"] == set()
    found = known("traefik", ["prom"])
    assert (found.kinds, found.proxy, found.credentials) == (CHOICES, "traefik", frozenset({"prom"}))
    assert found.proxies["contour"] == {"success_rate", "latency", "share", "stalled"}
    assert found.proxies["envoy-gateway"] == {"success_rate", "share", "stalled"}
    assert found.proxies["traefik"] == {"success_rate", "latency", "share"}
    assert found.proxies["alb"] == set()


# Names.


def test_a_name_is_short_and_of_all_labels() -> None:
    """200 proxies with 10 codes and usual labels, for both versions: the journal may have 1 MiB."""
    names = {
        name_of("x", {**LABELS, "pod": f"envoy-{pod}", "code": str(code)}) for pod in range(200) for code in range(10)
    }
    assert len(names) == 2000
    assert 2 * 2 * sum(len(name) + 12 for name in names) < 400_000
    assert (
        name_of("x", {"a": "1", "b": "2"}) == name_of("x", {"b": "2", "a": "1"}) != name_of("y", {"a": "1", "b": "2"})
    )


@pytest.mark.parametrize(
    ("bound", "written"),
    [
        (500.0, ["500", "500.0"]),
        (0.25, ["0.25"]),
        (1.0, ["1", "1.0"]),
        (1800000.0, ["1.8e+06", "1800000", "1800000.0"]),
        (0.123456789, ["0.123456789"]),
    ],
)
def test_a_bound_is_asked_for_as_it_may_be_written(bound: float, written: list[str]) -> None:
    assert spellings(bound) == written


def test_pods_of_one_set_are_named_in_few_letters() -> None:
    pods = tuple(Pod(f"podinfo-v2-6d5f7b9c4-{number:05}", "shop", version="canary") for number in range(200))
    source = SOURCE.model_copy(update={"proxy": "linkerd"})
    [request] = prometheus.requests(source, [RATE], BACKENDS, Fleet(application=pods))
    assert len(request.target) < 2500


def test_a_signs_in_a_name_is_no_pattern() -> None:
    odd = Backends(
        apex=BACKENDS.apex.model_copy(update={"namespace": "a.b"}),
        canary=BACKENDS.canary.model_copy(update={"namespace": "a.b"}),
    )
    [request] = prometheus.requests(SOURCE, [RATE], odd, NOBODY)
    assert 'envoy_cluster_name=~"a\\\\.b_podinfo-v2_9898|' in parse_qs(urlsplit(request.target).query)["query"][0]


def test_a_canary_whose_name_ends_in_a_number_is_not_the_old_versions_too() -> None:
    backends = Backends(apex=BACKENDS.apex, canary=BACKENDS.canary.model_copy(update={"service": "podinfo-20261125"}))
    labels = {"__name__": "skipper_serve_route_count", "code": "200"}
    body = matrix(({**labels, "route": "kube_shop__podinfo__host_____podinfo_20261125"}, [[1, "5"]]))
    source = SOURCE.model_copy(update={"proxy": "skipper"})
    found = prometheus.parse(source, [RATE], [Response(body, AT)], backends, NOBODY)["success_rate"]
    assert (len(found.canary.series), len(found.stable.series)) == (1, 0)


# Prometheus.

ODD: list[Any] = [None, [], {}, "", "success", 5, {"status": "success"}, {"status": "success", "data": None}]
RESULTS: list[Any] = [None, {}, "x", 5, [None], [5], ["x"], [{}], [[]]]
ODD += [{"status": "success", "data": {"result": result}} for result in RESULTS]
LABELS = {
    "__name__": "envoy_cluster_upstream_rq",
    "envoy_cluster_name": "shop_podinfo_9898",
    "envoy_response_code": "200",
}
ODD += [
    {"status": "success", "data": {"result": [{"metric": metric, "values": values}]}}
    for metric, values in [
        ({**LABELS, "envoy_response_code": 200}, [[1, "1"]]),
        ({**LABELS, "envoy_response_code": None}, [[1, "1"]]),
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
    reading = parsed(body)
    assert (reading.no_data or "").startswith(f"{SERVER} did not answer as Prometheus does (")
    assert reading.canary.series == reading.stable.series == {}


def test_no_answer_is_no_data() -> None:
    assert prometheus.parse(SOURCE, [RATE], [], BACKENDS, NOBODY)["success_rate"].no_data is not None


def test_a_failed_request_is_no_data() -> None:
    failed = Response(None, AT, f"{SERVER} does not answer (ReadTimeout)")
    found = prometheus.parse(SOURCE, [RATE, LATENCY], [failed], BACKENDS, NOBODY)
    assert {one.no_data for one in found.values()} == {f"{SERVER} does not answer (ReadTimeout)"}


@pytest.mark.parametrize("values", [[], [[1.0, "NaN"]], [["NaN", "5"]], [["Inf", "5"]]])
def test_a_series_without_a_number_is_left_out(values: list[Any]) -> None:
    assert parsed(matrix((LABELS, values))) == Reading()


def test_a_bucket_without_its_count_says_nothing() -> None:
    labels = {"envoy_cluster_name": "shop_podinfo_9898"}
    bucket = ({**labels, "__name__": "envoy_cluster_upstream_rq_time_bucket", "le": "500"}, [[1, "5"]])
    count = ({**labels, "__name__": "envoy_cluster_upstream_rq_time_count"}, [[1, "7"]])
    assert parsed(matrix(bucket), LATENCY) == parsed(matrix(count), LATENCY) == Reading()
    assert sorted(parsed(matrix(bucket, count), LATENCY).stable.series.values()) == [(2, True), (5, False)]


def test_without_its_pods_a_version_is_not_asked_for() -> None:
    source = SOURCE.model_copy(update={"proxy": "app"})
    assert prometheus.requests(source, [RATE], BACKENDS, NOBODY) == []
    reading = prometheus.parse(source, [RATE], [], BACKENDS, NOBODY)["success_rate"]
    assert reading.no_data == "no pod of podinfo is known whose series could be read"
    one = Fleet(application=(Pod("podinfo-v2-x", "shop", version="canary"),))
    [request] = prometheus.requests(source, [RATE], BACKENDS, one)
    assert parse_qs(urlsplit(request.target).query)["query"] == ['http_requests_total{pod=~"podinfo-v2-(?:x)"}[90s]']


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "result", "metric", "values", "labels", "annotations", *LABELS]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
ALL_GATES = [
    RATE,
    LATENCY,
    gate(id="share", test="share"),
    gate(id="stalled", test="stalled"),
    gate(id="alerts", test="alerts"),
    gate(id="query", test="baseline", metric={"name": "query", "title": "q", "bad": "a", "total": "b"}),
]


@pytest.mark.parametrize("kind", SOURCES)
@given(
    body=json_values
    | json_values.map(lambda result: {"status": "success", "data": {"result": [{"metric": LABELS, "values": result}]}})
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_answer_whatever_raises(kind: str, body: Any) -> None:
    module, source = SOURCES[kind], SOURCE.model_copy(update={"kind": kind})
    answers = [Response(body, AT)] * 20
    assert set(module.parse(source, ALL_GATES, answers, BACKENDS, ENVOYS)) == {one.id for one in ALL_GATES}
    module.problems(source, ALL_GATES, answers, BACKENDS, ENVOYS)
    module.parse_history(source, ALL_GATES, answers, BACKENDS, ENVOYS)


# What a proxy cannot tell.


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_gate_that_a_proxy_cannot_judge_says_which_it_can(proxy: str) -> None:
    stalled = gate(id="stalled", test="stalled")
    reason = lack(stalled, proxy)
    if PROXIES[proxy].begun:
        assert reason is None
    else:
        assert reason is not None
        assert reason.endswith("restarts, alerts")
        assert "stalled" not in reason.rpartition(":")[2]


def test_what_is_lacking_in_words() -> None:
    assert lack(gate(id="stalled", test="stalled"), "traefik") == (
        "traefik has no series for stalled; with it, the gates are: success_rate, share, latency, restarts, alerts"
    )
    assert lack(LATENCY, "envoy-gateway") == (
        "envoy-gateway has no series for latency; with it, the gates are: success_rate, share, stalled, restarts, "
        "alerts"
    )
    assert (lack(RATE, "haproxy") or "").startswith(
        "there is no proxy haproxy; there are: contour, envoy-gateway, gloo"
    )


# Before anything moves.


def problems(*gates: Gate, bodies: list[Any], source: Source = SOURCE, fleet: Fleet = NOBODY) -> list[Problem]:
    module = SOURCES[source.kind]
    answers = [Response(body, AT) for body in bodies]
    return module.problems(source, gates, answers, BACKENDS, fleet)


def vector(*labels: dict[str, str]) -> Any:
    return {"status": "success", "data": {"result": [{"metric": one, "value": [1, "2"]} for one in labels]}}


def test_the_probe_asks_for_what_the_gates_need() -> None:
    asked = prometheus.probe(SOURCE, ALL_GATES, BACKENDS, NOBODY)
    assert [parse_qs(urlsplit(one.target).query)["query"][0] for one in asked] == [
        "count(envoy_cluster_upstream_rq)",
        "count by (le) (envoy_cluster_upstream_rq_time_bucket)",
        "count(envoy_cluster_upstream_rq)",
        "count(envoy_cluster_upstream_rq_total)",
        "vector(1)",
        "count(b)",
    ]


def test_series_that_are_there_are_no_problem() -> None:
    bounds = vector({"le": "250.0"}, {"le": "500.0"}, {"le": "+Inf"})
    found = problems(*ALL_GATES, bodies=[vector({}), bounds, vector({}), vector({}), vector(), vector({})])
    assert found == []


def test_another_bound_names_those_that_there_are() -> None:
    [problem] = problems(LATENCY, bodies=[vector({"le": "250.0"}, {"le": "1000.0"}, {"le": "+Inf"}, {"le": "?"})])
    reason = "0.5 s is no bound of the histogram of contour; in seconds, there are: 0.25, 1"
    assert problem == Problem("latency", reason)


def test_absent_series_are_told_from_a_broken_server() -> None:
    assert problems(RATE, bodies=[vector()]) == [
        Problem("success_rate", f"{SERVER} has no series of contour", absent=True)
    ]
    [broken] = problems(RATE, bodies=[{"status": "error", "error": "overloaded"}])
    assert broken == Problem("success_rate", f"{SERVER} did not answer as Prometheus does (overloaded)")


QUERIES = {
    "an unknown name": (
        "x{a='$tier'}",
        "bad uses $tier, which is not known; there are: $app, $namespace, $revision, $service",
    ),
    "a lone dollar": ('x{a=~"b$"}', "bad has a lone $: write $$ for one, as at the end of a regular expression"),
    "a function": ("rate(x[1m])", "bad is no selector of counters"),
    "a range": ("x[1m]", "bad is no selector of counters"),
    "two of them": ('x{a="1"} or x{b="1"}', "bad is no selector of counters"),
    "nothing": ("", "bad is no selector of counters"),
    "everything": ("{}", "bad is no selector of counters"),
}


@pytest.mark.parametrize(("bad", "reason"), QUERIES.values(), ids=QUERIES)
def test_a_query_that_cannot_be_is_refused(bad: str, reason: str) -> None:
    wrong = gate(id="q", test="baseline", metric={"name": "query", "title": "q", "bad": bad, "total": "x"})
    [problem] = problems(wrong, bodies=[vector({})])
    assert problem.reason.startswith(reason)
    assert prometheus.requests(SOURCE, [wrong], BACKENDS, NOBODY) == []
    assert prometheus.parse(SOURCE, [wrong], [], BACKENDS, NOBODY)["q"].no_data == problem.reason


@pytest.mark.parametrize("bad", ["x", 'x{a="}"}', '{__name__="x"}', """x{a='"',b!~"c{2}"}""", ' x { a = "1" } '])
def test_a_selector_is_not_refused(bad: str) -> None:
    good = gate(id="q", test="baseline", metric={"name": "query", "title": "q", "bad": bad, "total": "x"})
    assert problems(good, bodies=[vector({})]) == []


def test_the_serving_revision_has_to_be_known_where_a_query_uses_it() -> None:
    query = gate(
        id="q", test="baseline", metric={"name": "query", "title": "q", "bad": 'x{r="$revision"}', "total": "x"}
    )
    [problem] = problems(query, bodies=[vector({})], fleet=Fleet())
    assert problem.reason == "bad uses $revision, which is not known before there is a version that serves"


# Pods.

DIRECT = Source(kind="direct", proxy="contour")
LINE = 'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="shop_podinfo_9898"} 4'


def test_an_answer_of_10_megabytes_costs_little() -> None:
    others = "\n".join(
        f'envoy_cluster_upstream_rq{{envoy_response_code="200",envoy_cluster_name="shop_other{number}_9898"}} {number}'
        for number in range(100_000)
    )
    begun = time.process_time()
    found = direct.parse(DIRECT, [RATE, LATENCY], [Response(f"{others}\n{LINE}\n", AT)], BACKENDS, ENVOYS)
    assert list(found["success_rate"].stable.series.values()) == [(4, False)]
    assert time.process_time() - begun < 1.5, "of this process alone: others may be at work beside it"


def test_the_parser_sees_only_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = direct._parsed

    def watched(lines: list[str], at: float) -> list[Series]:
        seen.extend(lines)
        return real(lines, at)

    monkeypatch.setattr(direct, "_parsed", watched)
    bucket = 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="shop_podinfo_9898",le="%s"} 4'
    body = "\n".join(
        [LINE, "# TYPE x counter", LINE.replace("podinfo", "cart"), bucket % "500", bucket % "5000", "x 1"]
    )
    direct.parse(DIRECT, [RATE, LATENCY], [Response(body, AT)], BACKENDS, ENVOYS)
    assert seen == [LINE, bucket % "500"]


DIRECT_PROBLEMS = {
    "nothing of the proxy": (
        "x 1",
        Problem("success_rate", "pod projectcontour/envoy-a has no series of contour", True),
    ),
    "no such text": (
        'envoy_cluster_upstream_rq{a="b"} many',
        Problem(
            "success_rate",
            "pod projectcontour/envoy-a did not answer in Prometheus' text format (could not convert string to float: "
            "'many')",
        ),
    ),
    "no text": (
        None,
        Problem(
            "success_rate",
            "pod projectcontour/envoy-a did not answer in Prometheus' text format ('NoneType' object has no attribute "
            "'split')",
        ),
    ),
}


@pytest.mark.parametrize(("body", "problem"), DIRECT_PROBLEMS.values(), ids=DIRECT_PROBLEMS)
def test_pods_that_do_not_help_before_anything_moves(body: Any, problem: Problem) -> None:
    assert problems(RATE, bodies=[body], source=DIRECT, fleet=ENVOYS) == [problem]


def test_pods_have_bounds_too() -> None:
    name = "envoy_cluster_upstream_rq_time"
    body = f'{name}_bucket{{le="250"}} 1\n{name}_bucket{{le="+Inf"}} 1\n{name}_count 1\n'
    [problem] = problems(LATENCY, bodies=[body], source=DIRECT, fleet=ENVOYS)
    assert problem.reason == "0.5 s is no bound of the histogram of contour; in seconds, there are: 0.25"
    assert problems(LATENCY, bodies=[body.replace("250", "500")], source=DIRECT, fleet=ENVOYS) == []


def test_pods_that_are_missing_before_anything_moves() -> None:
    [envoys] = problems(RATE, bodies=[], source=DIRECT)
    assert (envoys.gate, envoys.absent) == ("success_rate", False)
    assert envoys.reason.startswith("no pod with app=envoy runs in namespace projectcontour: say where they are with ")
    [own] = problems(RATE, bodies=[], source=DIRECT.model_copy(update={"proxy": "app"}))
    assert own == Problem("success_rate", "no pod of the application runs in namespace shop", absent=True)


def test_pods_answer_neither_queries_nor_alerts() -> None:
    found = problems(*ALL_GATES[-2:], bodies=[], source=DIRECT, fleet=ENVOYS)
    assert [one.reason for one in found] == [
        "pods know of no alerts: give it a Prometheus or Alertmanager source",
        "q is a query, and needs a Prometheus source: pods do not answer any",
    ]


def test_where_the_pods_are_can_be_said() -> None:
    there = Pods(labels={"app": "edge"}, port=1)
    assert direct.where(DIRECT.model_copy(update={"pods": there}), BACKENDS).namespace == "shop"
    assert direct.where(DIRECT, BACKENDS).port == 8002
    assert direct.where(DIRECT.model_copy(update={"proxy": "app"}), BACKENDS) == Pods(namespace="shop", port=9898)


def test_the_probe_of_a_pod_does_not_ask_for_all_that_it_has() -> None:
    [request] = direct.probe(DIRECT, [RATE], BACKENDS, ENVOYS)
    assert "filter=%5Ecluster%5C..%2A%5C.upstream_rq_" in request.target


def test_pods_and_alerts_have_no_past() -> None:
    for module in (direct, alertmanager):
        assert module.history(DIRECT, [RATE], BACKENDS, ENVOYS) == []
        assert module.parse_history(DIRECT, [RATE], [], BACKENDS, ENVOYS) == {}


# Alertmanager.


def test_alertmanager_is_asked_before_anything_moves() -> None:
    source = Source(kind="alertmanager", address=ADDRESSES["alertmanager"])
    alerts = gate(id="alerts", test="alerts")
    assert problems(alerts, bodies=[[]], source=source) == []
    [problem] = problems(alerts, bodies=[{"code": 500, "message": "not ready"}], source=source)
    assert problem.reason == f"{source.address} did not answer as Alertmanager does (not ready)"
    failed = alertmanager.problems(source, [alerts], [Response(None, AT, "no route")], BACKENDS, NOBODY)
    assert failed == [Problem("alerts", "no route")]


# Numbers that came late.


@pytest.mark.parametrize(
    ("last", "value", "expected"),
    [(100, 101, 101), (100, 99, 100), (100, 50, 100), (100, 49, 49), (100, 0, 0), (1, 0, 0), (None, 5, 5)],
)
def test_a_counter_that_falls_a_little_is_held(last: float | None, value: float, expected: float) -> None:
    sample = Sample(series={"a": (value, True)}, pods={"a": "pod"}, at=7)
    held = steadied(sample, {} if last is None else {"a": last})
    assert held == Sample(series={"a": (expected, True)}, pods={"a": "pod"}, at=7)


# The past.


def past(*items: tuple[dict[str, str], list[Any]], of: Gate = RATE) -> tuple[tuple[int, int], ...]:
    asked = prometheus.history(SOURCE, [of], BACKENDS, NOBODY)
    answers = [Response(matrix(*items), AT)] * len(asked)
    return prometheus.parse_history(SOURCE, [of], answers, BACKENDS, NOBODY)[of.id]


def test_the_past_is_asked_of_stable_alone() -> None:
    [request] = prometheus.history(SOURCE, [RATE, gate(id="s", test="stalled")], BACKENDS, NOBODY)
    query = parse_qs(urlsplit(request.target).query)["query"][0]
    assert query.endswith('envoy_cluster_name=~"shop_podinfo_9898"}[30m]')


def test_the_past_comes_in_stretches() -> None:
    good = (LABELS, [[0, "100"], [5, "150"], [10, "200"], [15, "210"], [30, "260"]])
    bad = ({**LABELS, "envoy_response_code": "503"}, [[0, "1"], [5, "1"], [10, "3"], [15, "3"], [30, "3"]])
    assert past(good, bad) == ((102, 2), (60, 0))


def test_the_past_has_resets_and_series_that_begin() -> None:
    reset = (LABELS, [[0, "100"], [15, "7"], [30, "NaN"], [45, "9"], [60, "9"]])
    begins = ({**LABELS, "envoy_response_code": "500"}, [[60, "4"]])
    early = ({**LABELS, "envoy_response_code": "502"}, [[15, "50"], [60, "50"]])
    assert past(reset, begins, early) == ((7, 0), (2, 0), (4, 4))


def test_the_past_of_slow_requests_and_of_grpc() -> None:
    name = "envoy_cluster_upstream_rq_time"
    cluster = {"envoy_cluster_name": "shop_podinfo_9898"}
    count = ({**cluster, "__name__": f"{name}_count"}, [[0, "0"], [15, "20"]])
    fast = ({**cluster, "__name__": f"{name}_bucket", "le": "500.0"}, [[0, "0"], [15, "17"]])
    other = ({**cluster, "__name__": f"{name}_bucket", "le": "5"}, [[0, "0"], [15, "1"]])
    assert past(count, fast, other, of=LATENCY) == ((20, 3),)
    ok = (LABELS, [[0, "0"], [15, "20"]])
    grpc = ({**cluster, "__name__": "envoy_cluster_grpc_14"}, [[0, "0"], [15, "5"]])
    unavailable = ({**LABELS, "envoy_response_code": "503"}, [[0, "0"], [15, "2"]])
    assert past(ok, grpc, unavailable) == ((22, 5),)


def test_the_past_of_a_query() -> None:
    query = gate(id="q", test="baseline", metric={"name": "query", "title": "q", "bad": 'x{a="1"}', "total": "x"})
    asked = prometheus.history(SOURCE, [query], BACKENDS, NOBODY)
    bad = matrix(({"__name__": "x", "a": "1"}, [[0, "0"], [15, "2"]]))
    total = matrix(
        ({"__name__": "x", "a": "1"}, [[0, "0"], [15, "2"]]), ({"__name__": "x", "a": "2"}, [[0, "0"], [15, "30"]])
    )
    found = prometheus.parse_history(SOURCE, [query], [Response(bad, 0), Response(total, 0)], BACKENDS, NOBODY)
    assert (len(asked), found) == (2, {"q": ((32, 2),)})


def test_a_past_that_cannot_be_read_is_none() -> None:
    assert past(({}, [["now", "1"]])) == ()
    assert prometheus.parse_history(SOURCE, [RATE], [Response(None, 0, "down")], BACKENDS, NOBODY) == {
        "success_rate": ()
    }


def test_what_an_application_counts_itself_does_not_tell_the_routes_share() -> None:
    """Callers inside the cluster come past the route."""
    assert "share" not in serves(PROXIES["app"]) and "share" in serves(PROXIES["linkerd"])
    reason = "app counts requests that have not come by the route too, so it cannot tell the route's share"
    assert lack(Share(id="share", source="s"), "app") == reason
