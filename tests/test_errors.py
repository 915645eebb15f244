"""What users read when something is wrong: bad input, exact sentence, no traceback.

The table has what is said about a program's inputs and each class of `errors.py`; sentences of one
part only are in that part's tests.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from pulumi_rollout import errors
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.state import State
from pulumi_rollout.errors import (
    ClusterError,
    Conflict,
    Fenced,
    Held,
    InvalidInput,
    JournalError,
    Locked,
    MetricsError,
    NotFound,
    Refused,
    RolloutError,
    RolloutFailed,
)
from pulumi_rollout.http import Http
from pulumi_rollout.journal import Journal, Record
from pulumi_rollout.routers import ROUTERS
from tests.fake_api import FakeApi, Fault
from tests.fake_app import CONFIGMAP, LEASE, SERVICES, FakeApp
from tests.fake_world import PLAN, FakeEngine
from tests.provider_calls import PROVIDER, failures
from tests.release_calls import Up

PROMETHEUS = {"prometheus": "http://prometheus:9090"}
RATE = {"successRate": {"minPercent": 99}}


ALERTMANAGER = {"alertmanager": "http://alertmanager:9093"}
CREDENTIALS = {"prom": "hidden", "ca": "hidden"}
GATE = "policy.canary.gates.0"
GATES = "success_rate, latency, query, traffic_share, stalled, restarts, alerts"
PROXY_NAMES = (
    "alb, apisix, app, appmesh, contour, envoy-gateway, gloo, istio, istio-subsets, knative, kuma, linkerd, nginx, "
    "skipper, traefik"
)


def canary(**settings: Any) -> dict[str, Any]:
    return {"policy": {"canary": settings}}


def gate(written: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return canary(gates=[written], **settings)


def query(**settings: Any) -> dict[str, Any]:
    return {"query": {"name": "orders", "bad": "failed_total", "total": "orders_total", **settings}}


# Property errors of the Rollout, shown at preview: input, property, reason.
INPUTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no strategy": ({"policy": {}}, "policy", "names exactly one strategy; there are: canary"),
    "an unknown strategy": ({"policy": {"canari": {}}}, "policy", "there is no strategy canari; there are: canary"),
    "two strategies": (
        {"policy": {"canary": {}, "blueGreen": {}}},
        "policy",
        "names exactly one strategy; there are: canary",
    ),
    "an unknown setting": (
        canary(stepWeigth=5),
        "policy.canary.stepWeigth",
        "there is no setting of the name stepWeigth",
    ),
    "a duration without a unit": (
        canary(interval="30"),
        "policy.canary.interval",
        "a duration needs a number and a unit, as in 30s, 5m or 500ms, not '30'",
    ),
    "a duration as a number": (
        canary(maxWait=30),
        "policy.canary.maxWait",
        "a duration needs a number and a unit, as in 30s, 5m or 500ms, not 30",
    ),
    "a first step that is over before its warm-up is": (
        canary(maxWait="60s", gates=[{"successRate": {"minPercent": 99}}]),
        "policy.canary.maxWait",
        "has to be longer than warmUp (60 s): until then no request counts, so the first step would end after 60 s "
        "without one of the 50 that minSamples wants",
    ),
    "no step": (canary(stepWeight=0), "policy.canary.stepWeight", "must be at least 1, not 0"),
    "too much weight": (
        canary(maxWeight=101),
        "policy.canary.maxWeight",
        "lies between 1 and 100 percent, not 101",
    ),
    "weights that fall": (
        canary(weights=[20, 10]),
        "policy.canary",
        "weights must rise from step to step, but 10 follows 20",
    ),
    "a weight to confirm that is none": (
        canary(weights=[5, 20], confirmAt=[0, 50]),
        "policy.canary.confirmAt",
        "there is no step of weight 50; there are: 0, 5, 20",
    ),
    "what to do while people are awaited": (
        canary(onWait="sleep"),
        "policy.canary.onWait",
        "input should be 'wait' or 'hold', not 'sleep'",
    ),
    "what to do about a failed gate": (
        canary(onFailure="ignore"),
        "policy.canary.onFailure",
        "input should be 'revert' or 'freeze', not 'ignore'",
    ),
    "a command that nobody can give": (
        canary(forbiddenCommands=["explode"]),
        "policy.canary.forbiddenCommands.0",
        "input should be 'pause', 'resume', 'promote', 'promote-full', 'abort', 'restart' or 'set-weight', "
        "not 'explode'",
    ),
    "no time at all": (canary(timeLimit="0s"), "policy.canary.timeLimit", "input should be greater than 0, not '0s'"),
    "no weights": (
        canary(weights=[]),
        "policy.canary.weights",
        "is empty: list at least one weight, or leave it out",
    ),
    "a warm-up without a unit": (
        canary(warmUp="60"),
        "policy.canary.warmUp",
        "a duration needs a number and a unit, as in 30s, 5m or 500ms, not '60'",
    ),
    "no patience with silence": (
        canary(noDataHold="0s"),
        "policy.canary.noDataHold",
        "input should be greater than 0, not '0s'",
    ),
    "how failures come": (
        canary(failures="often"),
        "policy.canary.failures",
        "input should be 'auto', 'independent' or 'bursty', not 'often'",
    ),
    "evidence that takes hours": (
        canary(failures="bursty", evidence="required"),
        "policy.canary",
        "evidence cannot be required with bursty failures: to show that they are few takes hours",
    ),
    "an unknown default gate": (
        canary(defaultGates=["latency"]),
        "policy.canary.defaultGates.0",
        "input should be 'restarts' or 'stalled', not 'latency'",
    ),
    "an unknown gate": (gate({"latencyy": {}}), GATE, f"there is no gate latencyy; there are: {GATES}"),
    "two gates in one": (gate({**RATE, "latency": {}}), GATE, f"names exactly one gate; there are: {GATES}"),
    "an unknown setting of a gate": (
        gate({"restarts": {"source": PROMETHEUS}}),
        f"{GATE}.source",
        "there is no setting of the name source",
    ),
    "a latency without a bound": (gate({"latency": {"percentile": 99}}), f"{GATE}.max", "is missing"),
    "a gate without an objective": (
        gate({"successRate": {}}),
        GATE,
        "has exactly one of minPercent and maxRatio",
    ),
    "a gate with two objectives": (
        gate({"latency": {"max": "1s", "percentile": 99, "maxRatio": 2}}),
        GATE,
        "has exactly one of percentile and maxRatio",
    ),
    "a query without an objective": (
        gate(query(), source=PROMETHEUS),
        GATE,
        "has exactly one of maxPercent and maxRatio",
    ),
    "a gate that nothing can fail": (
        gate({"successRate": {"minPercent": 0}}),
        f"{GATE}.minPercent",
        "lies between 0 and 100 percent, both excluded, not 0",
    ),
    "a gate that nothing can pass": (
        gate({"latency": {"max": "1s", "percentile": 100}}),
        f"{GATE}.percentile",
        "lies between 0 and 100 percent, both excluded, not 100",
    ),
    "a comparison that cannot be passed": (
        gate({"successRate": {"maxRatio": 1}}),
        f"{GATE}.maxRatio",
        "input should be greater than 1, not 1",
    ),
    "a comparison that fails what passes": (
        gate({"successRate": {"maxRatio": 2, "margin": 3}}),
        GATE,
        "margin 3 must be below maxRatio 2",
    ),
    "a query that is a function": (
        gate(query(bad="rate(failed_total[1m])", maxPercent=1), source=PROMETHEUS),
        f"{GATE}.bad",
        "is a selector of counters, as in orders_total{revision=\"$revision\"}, not 'rate(failed_total[1m])'",
    ),
    "an unknown placeholder": (
        gate(query(total='orders_total{version="$version"}', maxPercent=1), source=PROMETHEUS),
        f"{GATE}.total",
        "there is no $version; there are: $app, $namespace, $service, $revision",
    ),
    "a query of pods": (
        gate(query(maxPercent=1)),
        GATE,
        "query needs a prometheus source, as pods know nothing of it",
    ),
    "alerts of pods": (
        gate({"alerts": {"source": {"direct": "contour"}}}),
        GATE,
        "alerts needs a prometheus source, as pods know nothing of it",
    ),
    "alerts from nowhere": (gate({"alerts": {}}), f"{GATE}.source", "is missing"),
    "requests of an Alertmanager": (
        gate(RATE, source=ALERTMANAGER),
        GATE,
        "an Alertmanager has alerts and no success_rate: give it another source",
    ),
    "what a proxy does not count": (
        gate({"stalled": {}}, source={"direct": "nginx"}),
        GATE,
        "nginx has no numbers for stalled; it has them for: latency, share, success_rate",
    ),
    "a proxy that counts nothing": (
        gate(RATE, source={"direct": "alb"}),
        GATE,
        "alb has no numbers for success_rate; it has them for: nothing",
    ),
    "no source at all": (
        gate(RATE, source={}),
        f"{GATE}.source",
        "names exactly one of prometheus, alertmanager, direct",
    ),
    "two sources": (
        gate(RATE, source={**PROMETHEUS, "direct": "contour"}),
        f"{GATE}.source",
        "names exactly one of prometheus, alertmanager, direct",
    ),
    "an unknown setting of a source": (
        gate(RATE, source={**PROMETHEUS, "tokn": "prom"}),
        "policy.canary.source.tokn",
        "there is no setting of the name tokn",
    ),
    "a setting of pods for a server": (
        gate(RATE, source={**PROMETHEUS, "port": 9090}),
        f"{GATE}.source.port",
        "means nothing to a source of kind prometheus: leave it out",
    ),
    "a setting of servers for pods": (
        gate(RATE, source={"direct": "contour", "token": "prom"}),
        f"{GATE}.source.token",
        "means nothing to a source of kind direct: leave it out",
    ),
    "a proxy of an Alertmanager": (
        gate({"alerts": {"source": {**ALERTMANAGER, "proxy": "contour"}}}),
        f"{GATE}.source.proxy",
        "means nothing to a source of kind alertmanager: leave it out",
    ),
    "a proxy beside a proxy": (
        gate(RATE, source={"direct": "contour", "proxy": "contour"}),
        f"{GATE}.source.proxy",
        "means nothing to a source of kind direct: name the proxy as direct's value",
    ),
    "pods without a port": (
        gate(RATE, source={"direct": "kuma", "labels": {"app": "edge"}}),
        f"{GATE}.source.port",
        "is missing: say on which port the pods have their metrics",
    ),
    "an address without a scheme": (
        gate(RATE, source={"prometheus": "prometheus:9090"}),
        f"{GATE}.source.prometheus",
        "is a URL with http:// or https://, not 'prometheus:9090'",
    ),
    "an address with a password": (
        gate(RATE, source={"prometheus": "http://me:hidden@prometheus:9090"}),
        f"{GATE}.source.prometheus",
        "holds a password, and the plan is stored in plain: name it as a credential (username=, password=)",
    ),
    "half a login": (
        gate(RATE, source={**PROMETHEUS, "username": "me"}),
        f"{GATE}.source",
        "has one of username and password: give both",
    ),
    "a credential where there are none": (
        gate(RATE, source={**PROMETHEUS, "token": "prom"}),
        f"{GATE}.source.token",
        "names no credential of the application; its credentials are: none",
    ),
    "an unknown credential": (
        {**gate(RATE, source={**PROMETHEUS, "headers": {"X-Scope-OrgID": "tenant"}}), "credentials": CREDENTIALS},
        f"{GATE}.source.headers.X-Scope-OrgID",
        "names no credential of the application; its credentials are: ca, prom",
    ),
    "credentials that are no strings": (
        {"credentials": {"prom": {"hidden": 1}}},
        "rollout.credentials",
        "is no mapping of names to secret strings",
    ),
    "an unknown proxy": (
        gate(RATE, source={**PROMETHEUS, "proxy": "squid"}),
        f"{GATE}.source.proxy",
        f"there is no proxy squid that prometheus can read; there are: {PROXY_NAMES}",
    ),
    "an unknown proxy of pods": (
        gate(RATE, source={"direct": "squid"}),
        f"{GATE}.source.direct",
        f"there is no proxy squid that direct can read; there are: {PROXY_NAMES}",
    ),
    "an unknown router": (
        {"route": {"router": "envoyy", "objects": []}},
        "route.router",
        f"there is no router envoyy; there are: {', '.join(ROUTERS)}",
    ),
    "no replicas": (
        {"revision": {"hash": "v2", "port": 80, "replicas": 0}},
        "rollout.revision.replicas",
        "input should be greater than or equal to 1, not 0",
    ),
    "what the program found": (
        {"problems": [{"property": "image", "reason": "is missing"}]},
        "image",
        "is missing",
    ),
}


@pytest.mark.parametrize(("given", "path", "reason"), INPUTS.values(), ids=INPUTS)
def test_bad_input_is_a_property_error(app: FakeApp, given: dict[str, Any], path: str, reason: str) -> None:
    found = failures({}, app.inputs("v2", **given))
    assert found == [(path, reason)]
    assert "hidden" not in str(found)


def test_every_mistake_is_said_at_once(app: FakeApp) -> None:
    found = failures({}, app.inputs("v2", **canary(interval="1", drain="2", colour="red")))
    assert sorted(path for path, _ in found) == [
        "policy.canary.colour",
        "policy.canary.drain",
        "policy.canary.interval",
    ]


# One of each class, raised by what raises it in an `up`: how, and the sentence.


def no_router(app: FakeApp, kube: Cluster) -> None:
    PROVIDER.update("x", {}, app.inputs("v2", route={"router": "envoyy", "objects": []}))


def forbidden(app: FakeApp, kube: Cluster) -> None:
    app.api.faults.append(Fault(status=403))
    kube.get(SERVICES)


def gone(app: FakeApp, kube: Cluster) -> None:
    kube.get(f"{SERVICES}/cart")


def raced(app: FakeApp, kube: Cluster) -> None:
    kube.create(SERVICES, {"metadata": {"name": "shop"}})


def no_metrics(app: FakeApp, kube: Cluster) -> None:
    app.api.faults.append(Fault(status=502, body=b"bad gateway"))
    Http().get_json(f"{app.api.url}/api/v1/query")


def broken_journal(app: FakeApp, kube: Cluster) -> None:
    app.api.put(CONFIGMAP, {"data": {"state": "{"}})
    Journal(kube, "prod", "shop", "").load()


def elsewhere(app: FakeApp, kube: Cluster) -> None:
    PROVIDER.update("x", {}, app.inputs("v2", revision={**app.inputs("v2")["revision"], "uid": "other"}))


def never_ready(app: FakeApp, kube: Cluster) -> None:
    app.broken.add("v2")
    app.react()
    PROVIDER.update("x", {}, app.inputs("v2"))


def fenced_off(app: FakeApp, kube: Cluster) -> None:
    journal = Journal(kube, "prod", "shop", "")
    record = Record(
        state=State(walk="v2-1", revision="v2", stable="v1", started_at=1, phase_at=1, move_at=1), plan=PLAN, saved_at=1
    )
    journal.begin(record)
    found = app.api.objects[CONFIGMAP]
    app.api.put(CONFIGMAP, {**found, "data": {**found["data"], "guard": '{"walk": "v2-1", "at": "now"}'}})
    journal.save(record.state, 2)


def somebody_else(app: FakeApp, kube: Cluster) -> None:
    def beat(method: str, path: str) -> None:
        if path == LEASE:
            app.api.put(LEASE, {"spec": {"holderIdentity": "bob@ci"}})

    up = Up(app, FakeEngine())
    up.before_request = beat
    up()


def confirmed_by_people(app: FakeApp, kube: Cluster) -> None:
    Up(app, FakeEngine())(settings={"confirm_at": [20], "on_wait": "hold"})


RAISED: dict[type[RolloutError], tuple[Callable[[FakeApp, Cluster], None], str]] = {
    InvalidInput: (no_router, f"route.router: there is no router envoyy; there are: {', '.join(ROUTERS)}"),
    ClusterError: (forbidden, f"GET {SERVICES}: as the test wants it"),
    NotFound: (gone, f'GET {SERVICES}/cart: "cart" not found'),
    Conflict: (raced, f'POST {SERVICES}: "shop" already exists'),
    MetricsError: (no_metrics, "URL answered 502 without JSON"),
    JournalError: (
        broken_journal,
        "ConfigMap prod/rollout-shop cannot be read as a journal: look at the route's weights, "
        "put them right by hand, then delete the ConfigMap",
    ),
    Fenced: (fenced_off, "the guard in the cluster is putting the traffic of shop back"),
    Refused: (
        elsewhere,
        "Deployment prod/shop-v2 at URL is not the one that this stack has made: "
        "give Application the kubeconfig and context of the Kubernetes provider",
    ),
    Locked: (
        somebody_else,
        "bob@ci is releasing shop (at its begin): wait for its end, or put the old version back with "
        "`rollout abort shop -n prod`",
    ),
    Held: (
        confirmed_by_people,
        "waits for promotion at weight 20; weight 20 % is held and nobody watches it: `rollout promote shop -n prod` "
        "and then `pulumi up` go on, `rollout abort` puts the old version back",
    ),
    RolloutFailed: (
        never_ready,
        "0 of 2 pods are ready, after 1 s (preparing); all traffic is back on shop-v1",
    ),
}


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
def test_each_class_says_a_sentence(app: FakeApp, api: FakeApi, kube: Cluster, kind: type[RolloutError]) -> None:
    raises, sentence = RAISED[kind]
    with pytest.raises(RolloutError) as caught:
        raises(app, kube)
    assert type(caught.value) is kind
    said = str(caught.value)
    assert said == sentence.replace("URL", api.url)
    assert "\n" not in said
    assert "Traceback" not in said


def classes() -> set[type[RolloutError]]:
    return {item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, RolloutError)}


def test_every_class_of_the_tree_occurs() -> None:
    assert set(RAISED) == classes() - {RolloutError}


def test_the_tree_is_drawn_as_it_is() -> None:
    found, parent = {}, ""
    for line in [line for line in (errors.__doc__ or "").splitlines() if "─" in line]:
        name = line.lstrip("│├└─ ").split()[0]
        below = line.startswith("│")
        found[name] = parent if below else "RolloutError"
        parent = parent if below else name
    assert found == {item.__name__: item.__bases__[0].__name__ for item in classes() - {RolloutError}}


def test_inputs_that_are_no_rollouts_at_all(app: FakeApp) -> None:
    [(path, reason)] = failures({}, {key: value for key, value in app.inputs("v2").items() if key != "revision"})
    assert (path, reason == "is missing") == ("rollout.revision", True)


def test_a_mistake_does_not_quote_the_kubeconfig(app: FakeApp) -> None:
    cluster = {"kubeconfig": "users: [{token: hidden-token}]", "context": ["blue"]}
    for given in ({"cluster": cluster}, {"cluster": cluster, "revision": None}, {"cluster": [cluster]}):
        found = failures({}, {key: value for key, value in app.inputs("v2", **given).items() if key != "app"})
        assert len(found) >= 2
        assert "hidden-token" not in str(found)
