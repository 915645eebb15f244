"""What preview says of a walk: what its gates need and catch at the traffic that is seen, and what could not end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.runtime import rpc

from tests.fake_api import FakeApi, Fault
from tests.fake_app import CONFIGMAP, QUICK, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, checked, failures, state_of

ENVOY = "/api/v1/namespaces/projectcontour/pods/envoy-a"
RATE = {"successRate": {"minPercent": 99}}
STEPS = "steps: 20, 50 %, then all traffic; at most 21 min in all"
SHARED = "alpha 0.005 is shared by: success_rate"
WANTS = "success rate: at most 1 % of requests failed; 449 good requests show it"
OTHERS = [
    "stalled: requests end within 10 s, most of them",
    "restarts: at most 0 restarts of the canary's containers under traffic",
]


@pytest.fixture
def server() -> Iterator[FakeApi]:
    """A metrics server."""
    with FakeApi() as made:
        yield made


def policy(**settings: Any) -> dict[str, Any]:
    return {"canary": {**QUICK["canary"], "gates": [RATE], **settings}}


def counted(at: float, requests: float) -> bytes:
    labels = {"__name__": REQUESTS, "envoy_cluster_name": "prod_shop_9898", "envoy_response_code": "200"}
    series = {"metric": labels, "values": [[at, str(requests)]], "value": [at, "1"]}
    return json.dumps({"status": "success", "data": {"result": [series]}}).encode()


REQUESTS = "envoy_cluster_upstream_rq"


def a_minute_of(requests: int, server: FakeApi) -> dict[str, Any]:
    """A source at which preview sees so many requests in a minute."""
    server.faults += [Fault(status=200, body=counted(1000, 0), path="query", times=3)]
    server.faults += [Fault(status=200, body=counted(1060, requests), path="query", times=99)]
    return {"prometheus": server.url}


def previewed(app: FakeApp, engine: FakeEngine, **settings: Any) -> list[tuple[str, str]]:
    """The failures of a preview of v2 where v1 serves."""
    olds = state_of(app, "v1")
    engine.kept.clear()
    return failures(olds, app.inputs("v2", policy=policy(**settings)))


# What is said.


def test_the_default_source_is_the_routes_proxy_read_directly(
    app: FakeApp, api: FakeApi, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"metadata": {"labels": {"app": "envoy"}, "namespace": "projectcontour"}}
    api.put(ENVOY, {**labels, "status": {"phase": "Running"}})
    line = f'{REQUESTS}{{envoy_response_code="200",envoy_cluster_name="prod_shop_9898"}} %d\n'
    others = "envoy_cluster_upstream_rq_total{} 1\nenvoy_cluster_upstream_rq_completed{} 1\n"
    api.faults += [Fault(path="envoy-a", status=200, body=(line % n + others).encode()) for n in (10_000, 10_000)]
    api.faults += [Fault(path="envoy-a", status=200, body=(line % n + others).encode()) for n in (20_000,)]
    plan = checked(app, state_of(app, "v1"), app.inputs("v2", policy=policy()))["plan"]
    [(name, source)] = plan["sources"].items()
    assert (name, source["kind"], source["proxy"], source["address"]) == ("direct-1", "direct", "contour", "")
    assert [(gate["id"], gate["source"]) for gate in plan["gates"]] == [
        ("success_rate", name),
        ("stalled", name),
        ("restarts", None),
    ]
    assert len([request for request in api.requests if f"{ENVOY}:8002/proxy" in request.path]) == 3
    assert fake_engine.kept[0].startswith("steps: 20, 50 %")
    assert "requests a second it catches" in fake_engine.kept[2]
    assert fake_engine.warned == []


def test_the_forecast_is_said_line_by_line(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    assert previewed(app, fake_engine, source=a_minute_of(6000, server), interval="100s") == []
    assert fake_engine.kept == [
        STEPS,
        SHARED,
        f"{WANTS}; at 100 requests a second it catches 2 % and more with a chance of 95 %",
        *OTHERS,
    ]
    assert (fake_engine.warned, fake_engine.said) == ([], [])


def test_a_plan_without_gates_is_said_too(app: FakeApp, fake_engine: FakeEngine) -> None:
    assert previewed(app, fake_engine, gates=[]) == []
    assert fake_engine.kept == [STEPS, OTHERS[1]]


def test_traffic_that_is_not_known_is_not_guessed(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    """The source answers, but not about a minute ago."""
    server.faults += [Fault(status=200, body=counted(1060, 9), path="query", times=99)]
    assert previewed(app, fake_engine, source={"prometheus": server.url}) == []
    assert fake_engine.kept == [STEPS, SHARED, WANTS, *OTHERS]
    assert fake_engine.warned == []


# A step that cannot end.

IDLE = (
    "step 1 (20 %) ends without a decision: at 0.1 requests a second within maxWait (10 min) the canary gets 11 "
    "of the 50 requests that minSamples wants"
)


def test_a_step_that_cannot_end_is_a_warning(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    """There may be more traffic when it is released."""
    assert previewed(app, fake_engine, source=a_minute_of(0, server)) == []
    assert fake_engine.warned == [IDLE]
    assert fake_engine.kept[0] == STEPS


def test_it_is_an_error_where_evidence_is_required(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    source = a_minute_of(60, server)
    assert previewed(app, fake_engine, source=source, evidence="required") == [
        (
            "policy",
            "step 1 (20 %) ends without a decision: at 1.44 requests a second within maxWait (10 min) the canary gets "
            "156 of the 449 requests that show success_rate",
        )
    ]
    assert fake_engine.warned == []
    assert fake_engine.kept[0] == STEPS


def test_with_enough_traffic_required_evidence_is_no_problem(
    app: FakeApp, server: FakeApi, fake_engine: FakeEngine
) -> None:
    assert previewed(app, fake_engine, source=a_minute_of(6000, server), evidence="required") == []
    assert fake_engine.warned == []


# When nothing is said.


def test_a_first_release_has_no_forecast(api: FakeApi, server: FakeApi, fake_engine: FakeEngine) -> None:
    app = FakeApp(api)
    app.deploy("v1", 1)
    given = app.inputs("v1", policy=policy(source=a_minute_of(0, server), evidence="required"))
    assert failures({}, given) == []
    assert (fake_engine.kept, fake_engine.warned) == ([], [])
    assert [request for request in server.requests if "time" in request.query] == []


def test_the_revision_that_serves_has_none(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    olds = state_of(app, "v2")
    fake_engine.kept.clear()
    assert failures(olds, app.inputs("v2", policy=policy(source=a_minute_of(0, server)))) == []
    assert (fake_engine.kept, fake_engine.warned, server.requests) == ([], [], [])


def test_what_cannot_be_read_has_none(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    """What is wrong is said, and not what else would be."""
    server.faults.append(Fault(status=401, body=b"{}", times=99))
    [*found] = previewed(app, fake_engine, source={"prometheus": server.url})
    asks = f"{server.url} wants to know who asks: give the source its auth (401)"
    assert found == [("policy", f"gate {name}: {asks}") for name in ("success_rate", "stalled")]
    assert fake_engine.kept == []


def test_a_broken_journal_has_none(app: FakeApp, api: FakeApi, server: FakeApi, fake_engine: FakeEngine) -> None:
    olds = state_of(app, "v1")
    api.put(CONFIGMAP, {"data": {"state": "{"}})
    [(path, _)] = failures(olds, app.inputs("v2", policy=policy(source=a_minute_of(0, server))))
    assert (path, fake_engine.kept) == ("journal", [])


def test_a_walk_to_another_port_has_none(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    olds = state_of(app, "v1")
    revision = {**app.inputs("v2")["revision"], "port": 8080}
    given = app.inputs("v2", revision=revision, policy=policy(source=a_minute_of(0, server)))
    assert [path for path, _ in failures(olds, given)] == ["revision.port"]
    assert (fake_engine.kept, server.requests) == ([], [])


# Who asks.


def test_a_source_is_asked_with_its_credential(app: FakeApp, server: FakeApi, fake_engine: FakeEngine) -> None:
    source = {**a_minute_of(6000, server), "token": "prom"}
    given = app.inputs("v2", policy=policy(source=source), credentials={"prom": "hidden-token"})
    result = PROVIDER.check(state_of(app, "v1"), given)
    assert result.failures == []
    assert {request.headers["Authorization"] for request in server.requests} == {"Bearer hidden-token"}
    assert "hidden-token" not in str(result.inputs["plan"]) + str(fake_engine.kept)


def test_an_unknown_credential_is_said_before_anybody_is_asked(
    app: FakeApp, server: FakeApi, fake_engine: FakeEngine
) -> None:
    source = {**a_minute_of(6000, server), "token": "prom"}
    given = app.inputs("v2", policy=policy(source=source), credentials={"other": "hidden-token"})
    assert failures(state_of(app, "v1"), given) == [
        (
            "policy.canary.gates.0.source.token",
            "names no credential of the application; its credentials are: other",
        )
    ]
    assert server.requests == []


@pytest.mark.parametrize("credentials", [rpc.UNKNOWN, {"prom": rpc.UNKNOWN}], ids=["all", "one"])
def test_a_credential_that_is_not_known_yet_is_checked_by_the_update(
    app: FakeApp, server: FakeApi, fake_engine: FakeEngine, credentials: Any
) -> None:
    source = {**a_minute_of(6000, server), "token": "prom"}
    given = app.inputs("v2", policy=policy(source=source), credentials=credentials)
    assert failures(state_of(app, "v1"), given) == []
    assert server.requests == []
