"""A route that belongs to somebody else: edited during a walk, by its rules alone, and left as it was.

`ROUTE` is of the name web, and holds rules of several applications. Not here: how each router edits it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.state import Phase, Restore, SetWeight, State
from pulumi_rollout.errors import Conflict, JournalError, RolloutFailed
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.observe import Observer
from pulumi_rollout.perform import Performer
from pulumi_rollout.routers import ROUTERS
from tests.fake_api import Direct, FakeApi, Manifest
from tests.fake_app import CONFIGMAP, NAMESPACE, SERVICES, FakeApp
from tests.fake_app import ROUTE as OWN_ROUTE
from tests.fake_world import FakeEngine, Killed
from tests.provider_calls import PROVIDER, checked, failures, state_of
from tests.release_calls import Up
from tests.test_routers import ABLE

WEB = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/web"
REF = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": "web"}
EXISTING = {"router": "gateway", "objects": [REF], "declared": False, "rules": ["shop"]}


def rule(name: str, *services: str) -> Manifest:
    return {"name": name, "backendRefs": [{"name": service, "port": 9898} for service in services]}


@pytest.fixture
def web(app: FakeApp) -> FakeApp:
    """The application's own route is somebody else's here."""
    del app.api.objects[OWN_ROUTE]
    spec = {
        "parentRefs": [{"name": "public"}],
        "rules": [rule("cart", "cart"), rule("shop", "shop"), rule("status", "shop"), rule("old", "a", "b")],
    }
    metadata = {"labels": {"team": "web"}, "annotations": {"kept": "yes"}}
    made = {"apiVersion": REF["apiVersion"], "kind": "HTTPRoute", "metadata": metadata, "spec": spec}
    app.api.put(WEB, made)
    app.api.reactions.append(lambda api, path: taken(api))
    taken(app.api)
    app.api.requests.clear()
    return app


def taken(api: FakeApi) -> None:
    """What the Gateway says once it has the route."""
    if WEB not in api.objects:
        return
    item = api.objects[WEB]
    seen = {"status": "True", "observedGeneration": item["metadata"]["generation"], "message": ""}
    conditions = [{"type": "Accepted", **seen}]
    item["status"] = {"parents": [{"parentRef": {"name": "public"}, "conditions": conditions}]}


def content(api: FakeApi) -> str:
    """All that people write of it."""
    item = api.objects[WEB]
    metadata = {key: item["metadata"].get(key) for key in ("name", "labels", "annotations")}
    return json.dumps({**{key: item[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata})


def shares(api: FakeApi, name: str = "shop") -> dict[str, int | None]:
    rules = api.objects[WEB]["spec"]["rules"]
    refs = next(one["backendRefs"] for one in rules if one["name"] == name)
    return {ref["name"]: ref.get("weight") for ref in refs}


@pytest.fixture
def up(web: FakeApp, fake_engine: FakeEngine) -> Up:
    return Up(web, fake_engine)


def at(api: FakeApi, percent: int) -> Callable[[], bool]:
    return lambda: shares(api).get("shop-v2") == percent


def test_only_the_named_rule_is_edited_and_all_is_as_before(web: FakeApp, api: FakeApi) -> None:
    before, others = content(api), [deepcopy(api.objects[WEB]["spec"]["rules"][number]) for number in (0, 2, 3)]
    olds = state_of(web, "v1", route=EXISTING)
    result = PROVIDER.update("prod/shop", olds, checked(web, olds, web.inputs("v2", route=EXISTING)))
    assert result.outs is not None
    assert (result.outs["serving_revision"], web.serving, content(api)) == ("v2", "v2", before)
    written = [write.body["spec"]["rules"] for write in api.writes(WEB)]
    assert [[ref.get("weight") for ref in rules[1]["backendRefs"]] for rules in written] == [
        [100, 0], [80, 20], [50, 50], [0, 100], [100, 0], [None],
    ]  # fmt: skip
    assert all([rules[0], rules[2], rules[3]] == others for rules in written)
    assert {write.method for write in api.writes("httproutes")} == {"PUT"}


def test_a_walk_that_fails_leaves_it_as_before(web: FakeApp, api: FakeApi, up: Up) -> None:
    before = content(api)
    up.when(at(api, 20), lambda: web.broken.add("v2") or web.react())  # type: ignore[func-returns-value]
    with pytest.raises(RolloutFailed):
        up(route=EXISTING)
    assert (content(api), web.serving) == (before, "v1")


def test_an_abort_leaves_it_as_before(web: FakeApp, api: FakeApi, up: Up) -> None:
    before = content(api)
    up.when(at(api, 20), lambda: up.ask("abort"))
    with pytest.raises(RolloutFailed):
        up(settings={"interval": "5s"}, route=EXISTING)
    assert content(api) == before


def test_what_others_edit_meanwhile_stays(web: FakeApp, api: FakeApi, up: Up) -> None:
    def edit() -> None:
        item = deepcopy(api.objects[WEB])
        item["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7
        item["spec"]["rules"].insert(0, rule("new", "new"))
        item["metadata"]["labels"] = {"team": "another"}
        api.put(WEB, item)

    up.when(at(api, 20), edit)
    up(route=EXISTING)
    item = api.objects[WEB]
    assert [one["name"] for one in item["spec"]["rules"]] == ["new", "cart", "shop", "status", "old"]
    assert (item["metadata"]["labels"], shares(api, "cart"), shares(api)) == (
        {"team": "another"},
        {"cart": 7},
        {"shop": None},
    )


def cut(up: Up, api: FakeApi, route: Manifest = EXISTING) -> None:
    """Kill a walk at 20 %."""
    up.when(at(api, 20), up.die)
    with pytest.raises(Killed):
        up(route=route)
    up.live()


def test_destroyed_in_the_middle_of_a_walk_it_is_as_before(web: FakeApp, api: FakeApi, up: Up) -> None:
    before = content(api)
    cut(up, api)
    assert shares(api) == {"shop": 80, "shop-v2": 20}
    del api.objects[f"{SERVICES}/shop"]
    PROVIDER.delete("prod/shop", state_of(web, "v1", route=EXISTING))
    assert content(api) == before
    assert CONFIGMAP not in api.objects


def test_destroyed_at_rest_it_is_not_touched(web: FakeApp, api: FakeApi, up: Up) -> None:
    up(route=EXISTING)
    version = api.objects[WEB]["metadata"]["resourceVersion"]
    PROVIDER.delete("prod/shop", state_of(web, "v2", route=EXISTING))
    assert api.objects[WEB]["metadata"]["resourceVersion"] == version


def test_destroyed_without_it(web: FakeApp, api: FakeApi, up: Up) -> None:
    """Somebody was faster."""
    cut(up, api)
    del api.objects[WEB]
    PROVIDER.delete("prod/shop", state_of(web, "v1", route=EXISTING))
    assert CONFIGMAP not in api.objects


def test_what_was_walked_cannot_be_forgotten_unread(web: FakeApp, api: FakeApi, up: Up) -> None:
    """The route of somebody else would keep the canary for ever; a declared one goes with the application."""
    cut(up, api)
    api.objects[CONFIGMAP]["data"]["state"] = "broken"
    with pytest.raises(JournalError):
        PROVIDER.delete("prod/shop", web.inputs("v1", route=EXISTING))
    PROVIDER.delete("prod/shop", web.inputs("v1"))


def test_a_walk_that_was_cut_off_is_put_back_on_its_own_route(web: FakeApp, api: FakeApi, up: Up) -> None:
    """The program names another one by now."""
    before = content(api)
    cut(up, api)
    web.list_on_route()
    up("v1", route=web.inputs("v1")["route"])
    assert (content(api), web.backends, web.serving) == (before, {"shop": None}, "v1")


def test_a_walk_does_not_go_on_on_another_route(web: FakeApp, api: FakeApi, up: Up) -> None:
    before = content(api)
    cut(up, api)
    web.list_on_route()
    up("v2", route=web.inputs("v2")["route"])
    assert (content(api), web.backends, web.serving) == (before, {"shop": None}, "v2")


def test_a_first_release_needs_it_and_leaves_it_alone(api: FakeApi, web: FakeApp, fake_engine: FakeEngine) -> None:
    """Nothing is there that could be taken over; but what will be wrong at the second is said at once."""
    del api.objects[f"{SERVICES}/shop"]
    news = web.inputs("v1", route=EXISTING)
    assert (failures({}, news), fake_engine.warned) == ([], [])
    before = content(api)
    PROVIDER.create(news)
    assert content(api) == before
    del api.objects[WEB]
    assert failures({}, news) == []
    assert fake_engine.warned == ["HTTPRoute prod/web is not there; asked again before any traffic moves"]


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no such router": (
        {**EXISTING, "router": "ingress"},
        "route.router",
        f"there is no router ingress; there are: {', '.join(ROUTERS)}",
    ),
    "no such route": (
        {**EXISTING, "objects": [{**REF, "name": "none"}]},
        "route",
        "HTTPRoute prod/none is not there",
    ),
    "no such rule": (
        {**EXISTING, "rules": ["shopp"]},
        "route",
        "there is no rule shopp in the route; there are: cart, shop, status, old",
    ),
    "a rule of another application": (
        {**EXISTING, "rules": ["shop", "cart"]},
        "route",
        "spec.rules[0].backendRefs of HTTPRoute web names cart, and should name shop alone",
    ),
    "no such kind": (
        {**EXISTING, "objects": [{**REF, "apiVersion": "gateway.networking.k8s.io/v9"}]},
        "route",
        "the cluster has no HTTPRoute in gateway.networking.k8s.io/v9: is its CRD installed?",
    ),
    "an object without a name": (
        {**EXISTING, "objects": [{"apiVersion": "v1", "kind": "HTTPRoute"}]},
        "rollout.route.objects",
        "each object has apiVersion, kind and name, and one has apiVersion, kind",
    ),
    "a router that cannot": (
        {"router": "kubernetes", "objects": []},
        "route.router",
        f"kubernetes cannot do the strategy canary; these can: {', '.join(ABLE)}",
    ),
}


@pytest.mark.parametrize(("route", "path", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said_at_preview(web: FakeApp, api: FakeApi, route: Any, path: str, reason: str) -> None:
    before = content(api)
    olds = {**state_of(web, "v1", route=EXISTING), "route": route}
    assert failures(olds, web.inputs("v2", route=route)) == [(path, reason)]
    assert content(api) == before


# Two walks on one route, each with eyes and hands of its own.

STATE = State(walk="v2-0", revision="v2", stable="v1", started_at=0, phase_at=0, move_at=0, phase=Phase.SHIFTING)
BACK = STATE.model_copy(update={"phase": Phase.REVERTING})


def walker(web: FakeApp, cluster: Cluster, app: str) -> tuple[Observer, Performer]:
    route = {**EXISTING, "rules": [app]}
    inputs = Inputs.model_validate({**web.inputs("v2", route=route), "app": app})
    observer = Observer(inputs, cluster, Http())
    return observer, Performer(inputs, cluster, observer)


def test_a_walk_looks_again_when_another_has_written_the_route(web: FakeApp, api: FakeApi) -> None:
    """Its own rule is as it was, but what was decided was decided on another object."""
    (cart_eyes, cart), (shop_eyes, shop) = (walker(web, Direct(api), name) for name in ("cart", "shop"))
    for eyes in (cart_eyes, shop_eyes):
        assert eyes._route() == (None, None)
    shop.perform(SetWeight(percent=0), STATE)
    with pytest.raises(Conflict) as caught:
        cart.perform(SetWeight(percent=0), STATE)
    assert caught.value.status == 409, "which the driver does not take for a refusal"
    assert cart_eyes._route() == (None, None)
    cart.perform(SetWeight(percent=0), STATE)
    assert (shares(api, "cart"), shares(api, "shop")) == ({"cart": 100, "cart-v2": 0}, {"shop": 100, "shop-v2": 0})


def test_two_walks_on_one_route_do_not_disturb_each_other(web: FakeApp, api: FakeApi) -> None:
    """Each is overtaken by the other between its look and its write, and comes through at the second look."""
    before = content(api)
    walkers = {name: walker(web, Direct(api), name) for name in ("cart", "shop")}
    states = {name: STATE.model_copy(update={"original": eyes.original()}) for name, (eyes, _) in walkers.items()}
    weights: dict[str, int | None] = dict.fromkeys(walkers)
    for percent in (0, 30, 60, 100, 0):
        for slow, fast in (("cart", "shop"), ("shop", "cart")):
            eyes, hands = walkers[slow]
            assert eyes._route() == (weights[slow], None)
            weights[fast] = (weights[fast] or 0) + 1
            walkers[fast][1].perform(SetWeight(percent=weights[fast] or 0), BACK)
            with pytest.raises(Conflict):
                hands.perform(SetWeight(percent=percent), STATE)
            assert eyes._route() == (weights[slow], None)
            hands.perform(SetWeight(percent=percent), STATE)
            weights[slow] = percent
    for name, (_, hands) in walkers.items():
        hands.perform(Restore(), BACK.model_copy(update={"original": states[name].original}))
        assert shares(api, name) == {name: None}
    assert content(api) == before


@pytest.mark.parametrize("others", [1, 100])
def test_the_fields_are_given_back_as_often_as_others_are_faster(web: FakeApp, api: FakeApi, others: int) -> None:
    """And the end of a walk does not hang on it where they always are."""
    cluster = Direct(api)
    eyes, hands = walker(web, cluster, "shop")
    state = BACK.model_copy(update={"original": eyes.original()})
    hands.perform(SetWeight(percent=10), state)
    item = api.objects[WEB]
    owner, ours = {"manager": "web-team"}, {"manager": "pulumi-rollout"}
    item["metadata"]["managedFields"] = [owner, ours]
    refused: list[str] = []

    def faster(method: str, path: str) -> None:
        restored = shares(api) == {"shop": None}
        if method == "PUT" and restored and len(refused) < others:
            refused.append(path)
            raise Conflict("somebody else was faster", 409)

    cluster.before_request = faster
    hands.perform(Restore(), state)
    assert shares(api) == {"shop": None}
    assert api.objects[WEB]["metadata"]["managedFields"] == ([owner] if others == 1 else [owner, ours])
    assert len(refused) == min(others, 5)


def test_a_rule_of_another_walk_is_not_put_back(web: FakeApp, api: FakeApi) -> None:
    """The one that began later remembers the weights that the other had then."""
    (_, cart), (shop_eyes, shop) = (walker(web, Direct(api), name) for name in ("cart", "shop"))
    cart.perform(SetWeight(percent=10), BACK)
    state = BACK.model_copy(update={"original": shop_eyes.original()})
    shop.perform(SetWeight(percent=20), BACK)
    cart.perform(SetWeight(percent=80), BACK)
    shop.perform(Restore(), state)
    assert (shares(api, "cart"), shares(api, "shop")) == ({"cart": 20, "cart-v2": 80}, {"shop": None})
