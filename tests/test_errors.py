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
from tests.fake_api import FakeApi, Fault
from tests.fake_app import CONFIGMAP, LEASE, SERVICES, FakeApp
from tests.fake_world import PLAN, FakeEngine
from tests.provider_calls import PROVIDER, failures
from tests.release_calls import Up

PROMETHEUS = {"prometheus": "http://prometheus:9090"}
RATE = {"successRate": {"minPercent": 99}}


def canary(**settings: Any) -> dict[str, Any]:
    return {"policy": {"canary": settings}}


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
    "an unknown gate": (
        canary(gates=[{"latencyy": {}}]),
        "policy.canary.gates.0",
        "there is no gate latencyy; there are: success_rate",
    ),
    "a gate without a source": (
        canary(gates=[RATE]),
        "policy.canary.gates.0",
        'has no source: give one, as in source=prometheus("http://prometheus.monitoring:9090")',
    ),
    "a gate that nothing can fail": (
        canary(gates=[{"successRate": {"minPercent": 0}}], source=PROMETHEUS),
        "policy.canary.gates.0.minPercent",
        "lies between 0 and 100 percent, both excluded, not 0",
    ),
    "an address without a scheme": (
        canary(gates=[RATE], source={"prometheus": "prometheus:9090"}),
        "policy.canary.gates.0.source.prometheus",
        "is a URL with http:// or https://, not 'prometheus:9090'",
    ),
    "an unknown proxy": (
        canary(gates=[RATE], source={**PROMETHEUS, "proxy": "squid"}),
        "policy.canary.gates.0.source.proxy",
        "there is no proxy squid; there are: contour",
    ),
    "an unknown router": (
        {"route": {"router": "envoyy", "objects": []}},
        "route.router",
        "there is no router envoyy; there are: gateway",
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
    assert failures({}, app.inputs("v2", **given)) == [(path, reason)]


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
    InvalidInput: (no_router, "route.router: there is no router envoyy; there are: gateway"),
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
