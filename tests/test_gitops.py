"""Other owners of a route: what they are told for the time of a walk, and that afterwards all is as before.

Flux stands here as a reaction to each write, which puts back what Git says of an object that it may reconcile. It knows
its objects and heeds annotations as its documentation has it: fluxcd.io/flux/components/kustomize/kustomizations,
"Suspending and resuming", and fluxcd.io/flux/components/helm/helmreleases, "Ignore annotation" (read 2026-11-25).
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulumi_rollout import gitops
from pulumi_rollout.core.state import Phase, Restore, SetWeight
from pulumi_rollout.errors import Held, RolloutFailed
from pulumi_rollout.gitops import paused, resumed, unheeding, walking
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.parts import parts
from pulumi_rollout.routers import ROUTERS
from tests.fake_api import Direct, FakeApi, Manifest
from tests.fake_app import ROUTE, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, cut, failures, state_of
from tests.release_calls import Up
from tests.test_existing import BACK, REF, STATE, WEB, rule, walker
from tests.test_patches import Refused, applied

KUSTOMIZE = ("kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/reconcile")
HELM = ("helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/driftDetection")


def item(labels: Any = None, annotations: Any = None, **spec: Any) -> Manifest:
    metadata: Manifest = {"name": "web", "namespace": "prod"}
    if labels is not None:
        metadata["labels"] = labels
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def walked(before: Manifest, app: str = "shop") -> Manifest:
    """With another weight."""
    spec = {"weight": before["spec"].get("weight", 0) + 1}
    [after] = paused([{**before, "spec": spec}], [before], app, f"{app}-v2")
    return after


def home(after: Manifest, app: str = "shop") -> Manifest:
    [back] = resumed([after], app)
    return back


@pytest.mark.parametrize(("label", "key"), [KUSTOMIZE, HELM])
@pytest.mark.parametrize("before", [None, {}, {"a": "b"}, {"a": "b", "KEY": "enabled"}, {"KEY": "disabled"}])
def test_it_is_told_for_the_time_of_a_walk(label: str, key: str, before: dict[str, str] | None) -> None:
    annotations = None if before is None else {name.replace("KEY", key): value for name, value in before.items()}
    original = item({label: "web"}, annotations)
    after = walked(original)
    assert after["metadata"]["annotations"][key] == "disabled"
    assert walking([after]) == {"shop"}
    assert walked(after)["metadata"] == after["metadata"], "said twice is said once"
    back = home(after)
    assert {"annotations": {}, **back["metadata"]} == {"annotations": {}, **original["metadata"]}
    assert home(back) == back
    assert walking([back]) == set()


def test_an_object_of_both_is_told_twice() -> None:
    after = walked(item({KUSTOMIZE[0]: "web", HELM[0]: "web"}))
    assert {after["metadata"]["annotations"][key] for _, key in (KUSTOMIZE, HELM)} == {"disabled"}
    assert "annotations" not in home(after)["metadata"]


@pytest.mark.parametrize("labels", [None, {}, {"team": "web"}])
def test_who_owns_it_alone_is_told_nothing(labels: Any) -> None:
    original = item(labels, {"a": "b"})
    assert walked(original)["metadata"] == original["metadata"]


def test_objects_that_a_walk_does_not_change_are_not_touched() -> None:
    original = item({KUSTOMIZE[0]: "web"})
    assert paused([original], [original], "shop", "shop-v2") == [original]


ORDERS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=12)


@given(ORDERS, st.sampled_from([None, "enabled", "disabled"]))
def test_the_last_of_several_walks_puts_back_what_was_before_the_first(
    order: list[tuple[str, bool]], before: str | None
) -> None:
    label, key = KUSTOMIZE
    original = item({label: "web"}, {"a": "b", **({} if before is None else {key: before})})
    now = original
    under_way: set[str] = set()
    for app, begins in order:
        now = walked(now, app) if begins else home(now, app)
        under_way = under_way | {app} if begins else under_way - {app}
        assert walking([now]) == under_way
        assert now["metadata"]["annotations"].get(key) == ("disabled" if under_way else before)
    for app in sorted(under_way):
        now = home(now, app)
    assert now["metadata"] == original["metadata"]


def test_what_somebody_writes_meanwhile_stays() -> None:
    after = walked(item({KUSTOMIZE[0]: "web"}, {"a": "b"}))
    after["metadata"]["annotations"] |= {KUSTOMIZE[1]: "enabled", "a": "c", "new": "d"}
    assert home(after)["metadata"]["annotations"] == {KUSTOMIZE[1]: "enabled", "a": "c", "new": "d"}


@pytest.mark.parametrize("broken", ["", "[]", "{}", '{"before": 1}'])
def test_a_mark_that_somebody_has_broken_still_comes_off(broken: str) -> None:
    after = walked(item({KUSTOMIZE[0]: "web"}, {"a": "b"}))
    after["metadata"]["annotations"][f"{gitops.MARK}/shop"] = broken
    assert home(after)["metadata"]["annotations"] == {"a": "b"}


def test_argo_cd_is_known_by_what_it_writes_on_its_objects() -> None:
    tracked = item({}, {"argocd.argoproj.io/tracking-id": "web:HTTPRoute:prod/web"})
    labelled = item({"argocd.argoproj.io/instance": "web"})
    assert unheeding([item(), tracked, labelled]) == [
        "HTTPRoute prod/web is managed by Argo CD (web:HTTPRoute:prod/web)",
        "HTTPRoute prod/web is managed by Argo CD (web)",
    ]


def test_that_argo_cd_manages_the_route_is_said_at_preview(app: FakeApp, fake_engine: FakeEngine) -> None:
    app.api.objects[ROUTE]["metadata"] |= {"namespace": "prod", "annotations": {gitops.ARGO_CD[0]: "web:x"}}
    olds = state_of(app, "v1")
    fake_engine.warned.clear()
    assert failures(olds, app.inputs("v2")) == []
    assert fake_engine.warned == [
        "HTTPRoute prod/shop is managed by Argo CD (web:x): let its Application ignore the differences of a walk, or "
        "they are undone (docs/routers.md, GitOps)"
    ]


# Whole walks.


class Flux:
    """Reconciles the route at each write, from Git. + times: how often it has found it otherwise"""

    def __init__(self, app: FakeApp, label: str = KUSTOMIZE[0], key: str = KUSTOMIZE[1]) -> None:
        self.times, self._key = 0, key
        app.api.objects[ROUTE]["metadata"]["labels"] = {label: "web"}
        self._git = deepcopy(app.api.objects[ROUTE]["spec"])
        app.api.reactions.append(lambda api, path: self._reconcile(api))
        self._app = app

    def _reconcile(self, api: FakeApi) -> None:
        found = api.objects[ROUTE]
        if found["metadata"].get("annotations", {}).get(self._key) == "disabled" or found["spec"] == self._git:
            return
        self.times += 1
        api.put(ROUTE, {**found, "spec": deepcopy(self._git)})
        self._app.react()


@pytest.mark.parametrize(("label", "key"), [KUSTOMIZE, HELM])
def test_flux_leaves_a_walk_alone_and_goes_on_afterwards(app: FakeApp, label: str, key: str) -> None:
    flux = Flux(app, label, key)
    before = deepcopy(app.api.objects[ROUTE])
    PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    assert (app.serving, flux.times) == ("v2", 0)
    for part in ("labels", "annotations"):
        assert app.api.objects[ROUTE]["metadata"].get(part) == before["metadata"].get(part)
    Direct(app.api).patch(ROUTE, {"spec": {"hostnames": ["by.hand.example.com"]}})
    assert flux.times == 1


def test_flux_puts_a_walk_back_without_that(app: FakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitops, "FLUX", {})
    flux = Flux(app)
    with pytest.raises(RolloutFailed):
        PROVIDER.update("prod/shop", {}, app.inputs("v2"))
    assert flux.times > 1


def test_a_walk_that_was_cut_off_is_taken_off_by_the_next_update(app: FakeApp, fake_engine: FakeEngine) -> None:
    Flux(app)
    before = json.dumps(app.api.objects[ROUTE]["metadata"]["labels"])
    cut(app, fake_engine, lambda app: app.backends.get("shop-v2") == 20)
    assert walking([app.api.objects[ROUTE]]) == {"shop"}
    PROVIDER.update("prod/shop", {}, app.inputs("v1"))
    assert "annotations" not in app.api.objects[ROUTE]["metadata"]
    assert json.dumps(app.api.objects[ROUTE]["metadata"]["labels"]) == before


def test_what_the_guard_could_not_take_off_is_taken_off_by_the_next_update(
    app: FakeApp, fake_engine: FakeEngine
) -> None:
    """The route has the apex alone again, and still the walk's mark."""
    Flux(app)
    cut(app, fake_engine, lambda app: app.backends.get("shop-v2") == 20)
    found = app.api.objects[ROUTE]
    app.list_on_route()
    app.api.put(ROUTE, {**app.api.objects[ROUTE], "metadata": found["metadata"]})
    app.react()
    assert walking([app.api.objects[ROUTE]]) == {"shop"}
    PROVIDER.update("prod/shop", {}, app.inputs("v1"))
    assert "annotations" not in app.api.objects[ROUTE]["metadata"]


# The guard.


def guarded(app: FakeApp) -> Any:
    live = [deepcopy(app.api.objects[ROUTE])]
    [part] = parts(Inputs.model_validate(app.inputs("v2")), lambda _: ROUTE, live, live)
    return part


@pytest.mark.parametrize("annotations", [None, {"a": "b"}, {KUSTOMIZE[1]: "enabled"}])
def test_the_guard_resumes_what_the_walk_has_paused(app: FakeApp, annotations: Any) -> None:
    original = app.api.objects[ROUTE]
    original["metadata"]["labels"] = {KUSTOMIZE[0]: "web"}
    if annotations is not None:
        original["metadata"]["annotations"] = dict(annotations)
    part = guarded(app)
    backends = Inputs.model_validate(app.inputs("v2")).backends()
    [now] = paused(ROUTERS["gateway"].with_weight([original], backends, 30), [original], "shop", "shop-v2")
    now["metadata"]["annotations"]["theirs"] = "meanwhile"
    with pytest.raises(Refused):
        applied(now, part.done)
    back = applied(applied(now, part.zero), part.home)
    assert back["spec"] == original["spec"]
    assert back["metadata"]["annotations"] == {**(annotations or {}), "theirs": "meanwhile"}
    # That all is back it reads from the text of the object, where its test cannot hold (`at_rest`).
    assert "shop-v2" in json.dumps(now) and "shop-v2" not in json.dumps(back)


def test_the_guard_leaves_it_to_others_where_they_walk_too(app: FakeApp) -> None:
    original = app.api.objects[ROUTE]
    original["metadata"]["labels"] = {KUSTOMIZE[0]: "web"}
    [app.api.objects[ROUTE]] = paused([original], [], "cart", "cart-v2")
    part = guarded(app)
    backends = Inputs.model_validate(app.inputs("v2")).backends()
    live = app.api.objects[ROUTE]
    [now] = paused(ROUTERS["gateway"].with_weight([live], backends, 30), [live], "shop", "shop-v2")
    back = applied(applied(now, part.zero), part.home)
    assert walking([back]) == {"cart", "shop"}
    assert back["metadata"]["annotations"][KUSTOMIZE[1]] == "disabled"
    assert applied(back, part.done) == back


def test_two_walks_on_one_route_pause_it_once(app: FakeApp, api: FakeApi) -> None:
    spec = {"rules": [rule("cart", "cart"), rule("shop", "shop")]}
    metadata = {"labels": {KUSTOMIZE[0]: "web"}}
    api.put(WEB, {"apiVersion": REF["apiVersion"], "kind": "HTTPRoute", "metadata": metadata, "spec": spec})
    walkers = {name: walker(app, Direct(api), name)[1] for name in ("cart", "shop")}
    for hands in walkers.values():
        hands.perform(SetWeight(percent=10), BACK)
    for name, hands in walkers.items():
        assert api.objects[WEB]["metadata"]["annotations"][KUSTOMIZE[1]] == "disabled", name
        hands.perform(Restore(), STATE.model_copy(update={"phase": Phase.FAILED}))
    assert "annotations" not in api.objects[WEB]["metadata"]


def test_an_up_that_is_paused_keeps_it_paused(app: FakeApp, fake_engine: FakeEngine) -> None:
    """Held for people, the weight stays, and so does the word to Flux."""
    Flux(app)
    up = Up(app, fake_engine)
    with pytest.raises(Held, match="waits for promotion"):
        up(settings={"confirm_at": [20], "on_wait": "hold"})
    assert walking([app.api.objects[ROUTE]]) == {"shop"}
    assert app.backends == {"shop": 80, "shop-v2": 20}
