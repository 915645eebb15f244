"""Failures that a proxy shows otherwise than as one answer of 5xx for each: calls by gRPC, requests that are sent
again; and those that an alert tells of.

One stack a story: a release that is good and one that is not, under load. The proxies are read directly. What users saw
is the load generator's to say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from lab import load
from lab.greeter import GREET
from lab.history import Object
from lab.stack import Result, Stack
from tests.e2e.world import GOOD, NEXT, THIRD, Load, World, diagnostics, revisions, until

pytestmark = pytest.mark.lab
SUCCESS = {"successRate": {"minPercent": 99}}
CANARY = {"weights": [30], "interval": "3s", "minSamples": 20, "source": {"direct": "contour"}, "gates": [SUCCESS]}
# Sent again so often at most.
RETRIES = 5


def release(stack: Stack, applications: dict[str, Any]) -> Result:
    stack.configure(applications=applications)
    return stack.up()


def reverted(stack: Stack, result: Result, app: str, stable: str) -> str:
    """The verdict of a release that went back."""
    assert result.code != 0, result.output
    assert revisions(stack)[app] == stable
    return diagnostics(result.output)


# Requests that are sent again


def retrying_route(app: str) -> Object:
    services = [{"name": app, "port": 9898}]
    policy = {"count": RETRIES, "retryOn": ["5xx"]}
    return {
        "apiVersion": "projectcontour.io/v1",
        "kind": "HTTPProxy",
        "metadata": {"name": app},
        "spec": {
            "virtualhost": {"fqdn": f"{app}.example.com"},
            "routes": [{"services": services, "retryPolicy": policy}],
        },
    }


def test_a_retrying_route_is_judged_by_what_its_users_see(world: World) -> None:
    """Of a version that fails three of ten attempts they see nothing; one that fails nearly all is seen, and each of
    its requests counts once, however often it was sent."""
    app = "retried"
    route = retrying_route(app)
    ref = {"apiVersion": route["apiVersion"], "kind": route["kind"], "name": app}
    existing = {"existing": {"router": "contour", "objects": [ref]}}

    def version(tag: str, error_rate: str) -> dict[str, Any]:
        return world.app(app, tag, canary=CANARY, routing=existing, env={"ERROR_RATE": error_rate})

    world.apply(route)
    stack = world.first_release(app, version(GOOD, "0"))
    with world.load(app, apex=False) as seen:
        until("the route answers", lambda: any(not record.failed for record in seen.records()))
        fair = release(stack, version(NEXT, "0.3"))
        assert fair.code == 0, fair.output
        stable = revisions(stack)[app]
        poor = release(stack, version(THIRD, "0.95"))
    said = reverted(stack, poor, app, stable)
    before = seen.records(fair.began, poor.began)
    assert len(seen.met(NEXT)) > 100
    assert sum(record.failed for record in before) <= 0.01 * len(before)
    met = seen.met(THIRD)
    failed, _, total = said.partition("reverting: success rate: ")[2].partition(" canary requests")[0].partition(" of ")
    print(f"{sum(record.failed for record in met)} of {len(met)} requests failed; the gate saw {failed} of {total}")
    assert 0 < int(total) <= len(met), "an attempt is no request"


# gRPC


def greeter(world: World, app: str, tag: str, **env: str) -> dict[str, Any]:
    return world.app(
        app,
        tag,
        image=f"registry.example.com/greeter:{tag}",
        port=9999,
        readinessPath=None,
        appProtocol="kubernetes.io/h2c",
        canary=CANARY,
        routing={"gateway": {"hosts": [f"{app}.example.com"], "gateway": "infra/public", "kind": "GRPCRoute"}},
        env=env,
    )


@contextlib.contextmanager
def calls(world: World, app: str) -> Iterator[Load]:
    out = world.directory / f"{app}.jsonl"
    target = f"route=grpc://{world.lab.envoy_url.removeprefix('http://')}{GREET},host={app}.example.com"
    with load.running(world.lab.command(), out, [target]):
        yield Load(out)


def test_a_grpc_route_is_released_and_judged_by_the_calls_own_status(world: World) -> None:
    """A call that fails is an answer of 200 to HTTP."""
    app = "called"
    stack = world.first_release(app, greeter(world, app, "1.0.0"))
    with calls(world, app) as seen:
        good = release(stack, greeter(world, app, "2.0.0"))
        assert good.code == 0, good.output
        seen.goes_on()
        stable = revisions(stack)[app]
        bad = release(stack, greeter(world, app, "3.0.0", ERROR_RATE="0.3"))
    said = reverted(stack, bad, app, stable)
    assert "success rate: " in said and "canary requests failed" in said
    failed = seen.failed()
    assert {record.version for record in failed} == {"3.0.0"}
    assert {record.version for record in seen.records(good.ended + 0.5, bad.began)} == {"2.0.0"}
    print(f"{len(seen.records()):,} calls; {len(failed)} failed, all by the bad version")
    assert len(failed) <= 3 * 8, "three times what HTTP is allowed in the median"


# Alerts


def test_an_alert_of_the_new_version_puts_it_back(world: World) -> None:
    """A rule of Prometheus is all that judges. Another application's alert fires all the time."""
    app = "alerted"
    expression = f'sum by (namespace, pod) (rate(http_requests_total{{app="{app}",status=~"5.."}}[5s])) > 0'
    world.alert("TooManyErrors", expression, {"severity": "page"})
    world.alert("Elsewhere", "vector(1)", {"namespace": "default", "deployment": "another"})
    gates = [{"alerts": {"source": {"prometheus": world.lab.prometheus_url}}}]
    canary = {**CANARY, "gates": gates, "defaultGates": [], "interval": "10s", "minSamples": 0}
    stack = world.first_release(app, world.app(app, GOOD, canary=canary))
    with world.load(app, apex=False) as seen:
        good = release(stack, world.app(app, NEXT, canary={**canary, "interval": "3s"}))
        assert good.code == 0, good.output
        stable = revisions(stack)[app]
        bad = release(stack, world.app(app, THIRD, env={"ERROR_RATE": "0.5"}, canary=canary))
    said = reverted(stack, bad, app, stable)
    assert f"alerts: TooManyErrors (page) of pod {app}-" in said
    assert "Elsewhere" not in said
    assert {record.version for record in seen.failed()} == {THIRD}
