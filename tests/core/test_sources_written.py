"""Sources as users write them, the plan's sources that they become, and every mistake with its exact sentence."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.measures import Auth, Pods, Source
from pulumi_rollout.core.strategies import compile_policy
from pulumi_rollout.errors import InvalidInput
from tests.core.proxies import KNOWN

PROMETHEUS = {"prometheus": "https://prometheus.example.com/"}
ALERTS = {"alertmanager": "http://alertmanager:9093"}


def sources(*written: Any, gate: str = "successRate") -> dict[str, Source]:
    """The plan's, of gates that read these."""
    settings = {"alerts": {}, "successRate": {"minPercent": 99}}[gate]
    gates = [{gate: {**settings, "source": one}} for one in written]
    return compile_policy({"canary": {"gates": gates, "defaultGates": []}}, KNOWN).sources


WRITTEN: dict[str, tuple[Any, Source]] = {
    "prometheus, of the route's proxy": (
        PROMETHEUS,
        Source(kind="prometheus", address="https://prometheus.example.com", proxy="contour"),
    ),
    "prometheus, of another one": (
        {**PROMETHEUS, "proxy": "app"},
        Source(kind="prometheus", address="https://prometheus.example.com", proxy="app"),
    ),
    "with a token and headers": (
        {**PROMETHEUS, "token": "bot", "headers": {"X-Scope-OrgID": "grafana"}, "ca": "root-ca"},
        Source(
            kind="prometheus",
            address="https://prometheus.example.com",
            proxy="contour",
            auth=Auth(token="bot", headers={"X-Scope-OrgID": "grafana"}, ca="root-ca"),
        ),
    ),
    "with a password": (
        {**PROMETHEUS, "username": "ada", "password": "bot", "insecureSkipVerify": True},
        Source(
            kind="prometheus",
            address="https://prometheus.example.com",
            proxy="contour",
            auth=Auth(username="ada", password="bot", insecure_skip_verify=True),
        ),
    ),
    "direct": ({"direct": "contour"}, Source(kind="direct", proxy="contour")),
    "direct, of pods that are elsewhere": (
        {"direct": "contour", "namespace": "edge", "labels": {"app": "envoy"}, "port": 8002, "path": "/stats"},
        Source(
            kind="direct",
            proxy="contour",
            pods=Pods(namespace="edge", labels={"app": "envoy"}, port=8002, path="/stats"),
        ),
    ),
    "direct, of another namespace": (
        {"direct": "contour", "namespace": "edge"},
        Source(
            kind="direct",
            proxy="contour",
            pods=Pods(namespace="edge", labels={"app": "envoy"}, port=8002, path="/stats/prometheus"),
        ),
    ),
    "direct, of other labels": (
        {"direct": "contour", "labels": {"app": "edge"}, "port": 9000},
        Source(
            kind="direct",
            proxy="contour",
            pods=Pods(namespace="projectcontour", labels={"app": "edge"}, port=9000, path="/stats/prometheus"),
        ),
    ),
    "direct, of another port": (
        {"direct": "app", "port": 9100},
        Source(kind="direct", proxy="app", pods=Pods(port=9100)),
    ),
    "direct, of another path": (
        {"direct": "app", "path": "/internal/metrics"},
        Source(kind="direct", proxy="app", pods=Pods(port=0, path="/internal/metrics")),
    ),
    "direct, of pods that are nowhere in particular": (
        {"direct": "kuma", "labels": {"app": "edge"}, "port": 5670},
        Source(kind="direct", proxy="kuma", pods=Pods(labels={"app": "edge"}, port=5670)),
    ),
}


@pytest.mark.parametrize(("written", "source"), WRITTEN.values(), ids=WRITTEN)
def test_what_is_written_and_what_becomes_of_it(written: Any, source: Source) -> None:
    assert sources(written) == {f"{source.kind}-1": source}


def test_an_alertmanager_has_no_proxy() -> None:
    assert sources({**ALERTS, "token": "bot"}, gate="alerts") == {
        "alertmanager-1": Source(kind="alertmanager", address="http://alertmanager:9093", auth=Auth(token="bot"))
    }


def test_what_is_written_twice_is_read_once() -> None:
    found = sources(PROMETHEUS, {"direct": "app"}, {**PROMETHEUS, "proxy": "contour"}, {"direct": "app", "port": 1})
    assert list(found) == ["prometheus-1", "direct-2", "direct-3"]


MISTAKES: dict[str, tuple[Any, str]] = {
    "none": ({}, "source: names exactly one of prometheus, alertmanager, direct"),
    "two": (
        {**PROMETHEUS, "direct": "app"},
        "source: names exactly one of prometheus, alertmanager, direct",
    ),
    "no URL": (
        {"prometheus": "prometheus:9090"},
        "source.prometheus: is a URL with http:// or https://, not 'prometheus:9090'",
    ),
    "no host": ({"prometheus": "http:///x"}, "source.prometheus: is a URL with http:// or https://, not 'http:///x'"),
    "a password in plain": (
        {"prometheus": "https://user:secret@prometheus:9090"},
        "source.prometheus: holds a password, and the plan is stored in plain: name it as a credential (username=, "
        "password=)",
    ),
    "an unknown proxy": (
        {**PROMETHEUS, "proxy": "haproxy"},
        "source.proxy: there is no proxy haproxy that prometheus can read; there are: alb, app, contour, kuma, nginx",
    ),
    "an unknown proxy, directly": (
        {"direct": "nginx"},
        "source.direct: there is no proxy nginx that direct can read; there are: app, contour, kuma",
    ),
    "a proxy beside a direct one": (
        {"direct": "contour", "proxy": "app"},
        "source.proxy: means nothing to a source of kind direct: name the proxy as direct's value",
    ),
    "a token for pods": (
        {"direct": "contour", "token": "bot"},
        "source.token: means nothing to a source of kind direct: leave it out",
    ),
    "a port of a server": (
        {**PROMETHEUS, "port": 9090},
        "source.port: means nothing to a source of kind prometheus: leave it out",
    ),
    "labels without a port, of pods that are nowhere in particular": (
        {"direct": "kuma", "labels": {"app": "edge"}},
        "source.port: is missing: say on which port the pods have their metrics",
    ),
    "a port without labels, of pods that are nowhere in particular": (
        {"direct": "kuma", "labels": {}, "port": 5670},
        "source.labels: is missing: say which labels its pods have",
    ),
    "a namespace of the application's own pods": (
        {"direct": "app", "namespace": "edge", "port": 9100},
        "source.namespace: means nothing to app, which is read in the application's own pods: leave it out",
    ),
    "labels of the application's own pods": (
        {"direct": "app", "labels": {"app": "edge"}},
        "source.labels: means nothing to app, which is read in the application's own pods: leave it out",
    ),
    "an unknown token": (
        {**PROMETHEUS, "token": "ci"},
        "source.token: names no credential of the application; its credentials are: bot, grafana, root-ca",
    ),
    "an unknown header": (
        {**PROMETHEUS, "headers": {"X-Scope-OrgID": "tenant"}},
        "source.headers.X-Scope-OrgID: names no credential of the application; its credentials are: bot, grafana, "
        "root-ca",
    ),
    "a name without its password": (
        {**PROMETHEUS, "username": "ada"},
        "source: has one of username and password: give both",
    ),
    "an unknown setting": (
        {**PROMETHEUS, "bearer": "x"},
        "source.bearer: there is no setting of the name bearer",
    ),
}


@pytest.mark.parametrize(("source", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(source: Any, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        sources(source)
    assert str(caught.value) == f"policy.canary.gates.0.{sentence}"


def test_a_proxy_of_an_alertmanager_means_nothing() -> None:
    with pytest.raises(InvalidInput) as caught:
        sources({**ALERTS, "proxy": "contour"}, gate="alerts")
    assert str(caught.value) == (
        "policy.canary.gates.0.source.proxy: means nothing to a source of kind alertmanager: leave it out"
    )


def test_an_application_without_credentials() -> None:
    gate = {"successRate": {"minPercent": 99, "source": {**PROMETHEUS, "ca": "root"}}}
    with pytest.raises(InvalidInput, match=r"names no credential of the application; its credentials are: none$"):
        compile_policy({"canary": {"gates": [gate]}}, KNOWN._replace(credentials=frozenset()))
