"""What users write in a program: each function says just what the check knows, and all of it makes a plan."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from components import policy
from components.policy import Policy
from pulumi_rollout.core.gates_written import GATES
from pulumi_rollout.core.sources_written import KINDS, SourceWritten
from pulumi_rollout.core.strategies import STRATEGIES, compile_policy
from pulumi_rollout.metrics import known

KNOWN = known("contour", ["prom", "ca", "tenant"])
OF_DIRECT, SERVER = {"namespace", "labels", "port", "path"}, "http://server:9090"
WRITTEN: dict[str, tuple[Callable[..., Policy], set[str]]] = {
    "canary": (policy.canary, set(STRATEGIES["canary"].model_fields)),
    **{name: (getattr(policy, name), set(model.model_fields)) for name, model in GATES.items()},
}


@pytest.mark.parametrize(("function", "fields"), WRITTEN.values(), ids=WRITTEN)
def test_a_function_has_all_settings_and_no_others(function: Callable[..., Policy], fields: set[str]) -> None:
    assert set(inspect.signature(function).parameters) == fields


def test_sources_have_all_settings_between_them() -> None:
    found: dict[str, set[str]] = {
        kind: set(inspect.signature(getattr(policy, kind)).parameters) - {"address"} for kind in KINDS
    }
    assert found["direct"] == {"proxy", *OF_DIRECT}
    assert found["prometheus"] == found["alertmanager"] | {"proxy"}
    assert set().union(*found.values()) == set(SourceWritten.model_fields) - set(KINDS)


def test_what_is_not_given_is_not_written() -> None:
    """So that the default is the check's, also of a later version."""
    assert policy.canary() == {"canary": {}}
    assert policy.success_rate(min_percent=99) == {"success_rate": {"min_percent": 99}}
    assert policy.prometheus(SERVER) == {"prometheus": SERVER}
    assert policy.alertmanager(SERVER) == {"alertmanager": SERVER}
    assert policy.direct("app") == {"direct": "app"}
    assert policy.stalled() == {"stalled": {}}


def test_zero_and_no_are_given() -> None:
    assert policy.restarts(max=0, dry_run=False) == {"restarts": {"max": 0, "dry_run": False}}
    assert policy.canary(gates=[], min_samples=0, warm_up="0s") == {
        "canary": {"gates": [], "min_samples": 0, "warm_up": "0s"}
    }


SOURCES: dict[str, Policy] = {
    "nothing but an address": policy.prometheus(SERVER),
    "everything of a server": policy.prometheus(
        SERVER, proxy="app", token="prom", headers={"X-Scope-OrgID": "tenant"}, ca="ca", insecure_skip_verify=False
    ),
    "a login": policy.prometheus(SERVER, username="me", password="prom"),
    "the proxy directly": policy.direct("contour"),
    "pods elsewhere": policy.direct("contour", namespace="edge", labels={"app": "e"}, port=8002, path="/stats"),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_source_is_one_that_the_check_knows(source: Policy) -> None:
    plan = compile_policy(policy.canary(gates=[policy.success_rate(min_percent=99)], source=source), KNOWN)
    [found] = plan.sources.values()
    assert (found.kind, found.address) == (next(iter(source)), "" if "direct" in source else SERVER)


EACH: dict[str, tuple[Policy, dict[str, Any]]] = {
    "success rate": (policy.success_rate(min_percent=99.9), {"test": "objective", "max_bad_ratio": 0.001}),
    "success rate beside": (
        policy.success_rate(max_ratio=3, margin=2),
        {"test": "baseline", "max_ratio": 3, "margin": 2},
    ),
    "latency": (policy.latency(max="250ms", percentile=95), {"test": "objective", "max_bad_ratio": 0.05}),
    "latency beside": (policy.latency(max="250ms", max_ratio=2), {"test": "baseline", "max_ratio": 2}),
    "query": (
        policy.query("orders", bad="a", total="b", max_percent=2, source=policy.prometheus(SERVER)),
        {"test": "objective", "id": "orders", "max_bad_ratio": 0.02},
    ),
    "query beside": (
        policy.query("orders", bad="a", total="b", max_ratio=2, source=policy.prometheus(SERVER)),
        {"test": "baseline", "id": "orders_vs_stable"},
    ),
    "traffic share": (policy.traffic_share(margin=1.5), {"test": "share", "margin": 1.5}),
    "stalled": (policy.stalled(after="30s"), {"test": "stalled", "after_seconds": 30}),
    "restarts": (policy.restarts(max=2, dry_run=True), {"test": "restarts", "max_restarts": 2, "dry_run": True}),
    "alerts": (
        policy.alerts(source=policy.alertmanager(SERVER, token="prom"), matchers={"team": "shop"}),
        {"test": "alerts", "matchers": {"team": "shop"}},
    ),
}


@pytest.mark.parametrize(("gate", "expected"), EACH.values(), ids=EACH)
def test_each_gate_is_one_that_the_check_knows(gate: Policy, expected: dict[str, Any]) -> None:
    [found] = compile_policy(policy.canary(gates=[gate], default_gates=[]), KNOWN).gates
    assert expected.items() <= found.model_dump().items()


def test_everything_at_once() -> None:
    written = policy.canary(
        weights=[5, 50],
        gates=[gate for gate, _ in EACH.values()],
        warm_up="2m",
        warm_up_step="30s",
        no_data_hold="1m",
        no_data_revert="5m",
        outage="10m",
        failures="independent",
        fix_forward=True,
        evidence="required",
    )
    plan = compile_policy(written, KNOWN)
    limits = plan.limits
    assert (limits.warm_up_seconds, limits.warm_up_step_seconds) == (120, 30)
    assert (limits.no_data_hold_seconds, limits.no_data_revert_seconds, limits.outage_seconds) == (60, 300, 600)
    assert (plan.failures, plan.fix_forward, plan.evidence) == ("independent", True, "required")
    assert len({gate.id for gate in plan.gates}) == len(plan.gates) == len(EACH)
