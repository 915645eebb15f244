"""The guard beside a release: when it is there, when it is missed, and what follows from what it did."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pulumi_rollout import guard as module
from pulumi_rollout.core.state import Phase
from pulumi_rollout.errors import ClusterError, Held, Refused, RolloutFailed
from tests.fake_api import FakeApi
from tests.fake_app import GUARD_JOB, LEASE, ROUTE, FakeApp
from tests.fake_world import FakeEngine, Killed
from tests.provider_calls import weights
from tests.release_calls import Up, guard_acts, guards_run

GUARDED = {"guard": True}
RIGHTS = "/serviceaccounts/rollout-shop-guard", "/roles/rollout-shop-guard", "/rolebindings/rollout-shop-guard"


@pytest.fixture
def up(app: FakeApp, fake_engine: FakeEngine) -> Up:
    guards_run(app)
    return Up(app, fake_engine)


def guards(api: FakeApi) -> list[str]:
    """What there is of a guard."""
    return [path for path in api.objects if path == GUARD_JOB or path.endswith(RIGHTS)]


def jobs(api: FakeApi) -> list[str]:
    """The walks that got a guard, in order."""
    made = [write.body for write in api.writes("/jobs") if write.method == "POST"]
    return [
        next(
            item["value"] for item in job["spec"]["template"]["spec"]["containers"][0]["env"] if item["name"] == "WALK"
        )
        for job in made
    ]


def test_a_walk_has_a_guard_from_before_the_first_weight_until_its_end(up: Up, api: FakeApi) -> None:
    there: list[int] = []
    for percent in (0, 20, 50, 100):
        up.when(up.at(percent), lambda: there.append(len(guards(api))))
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert (there, guards(api), jobs(api)) == ([4, 4, 4, 4], [], ["v2-1000"])


def test_the_lease_names_the_walk_before_its_guard_looks(up: Up, api: FakeApi) -> None:
    named: list[str] = []

    def note(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/jobs"):
            named.append(api.objects[LEASE]["metadata"]["annotations"]["pulumi-rollout/walk"])

    up.before_request = note
    up(settings=GUARDED)
    assert named == ["v2-1000"]


def test_there_is_none_where_nothing_can_be_put_back(api: FakeApi, fake_engine: FakeEngine) -> None:
    app = FakeApp(api)
    app.deploy("v1", 1)
    assert Up(app, fake_engine)("v1", settings=GUARDED) == "shop-v1 serves"
    assert (jobs(api), fake_engine.warned) == ([], [])


def test_there_is_none_if_the_policy_says_so(up: Up, api: FakeApi, fake_engine: FakeEngine) -> None:
    up()
    assert (jobs(api), fake_engine.warned) == ([], [])


def test_its_image_is_the_policys(up: Up, api: FakeApi) -> None:
    up(settings={"guard": True, "guard_image": "mirror.example.com/kubectl:1"})
    [job] = [write.body for write in api.writes("/jobs") if write.method == "POST"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "mirror.example.com/kubectl:1"


def test_one_that_is_refused_is_one_warning(up: Up, app: FakeApp, fake_engine: FakeEngine) -> None:
    def refuse(method: str, path: str) -> None:
        if "/roles" in path and method == "POST":
            raise ClusterError("roles is forbidden", 403)

    up.before_request = refuse
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert fake_engine.warned == [
        "no guard, so nobody puts traffic back if this machine dies: roles is forbidden (docs/guard.md)"
    ]


def test_one_that_does_not_run_is_a_warning_before_the_first_weight(
    app: FakeApp, api: FakeApi, fake_engine: FakeEngine
) -> None:
    up = Up(app, fake_engine)  # without a controller that starts it
    warned: list[int] = []
    up.when(up.at(20), lambda: warned.append(len(fake_engine.warned)))
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert warned == [1]
    assert fake_engine.warned == [
        "no guard is running, so nobody puts traffic back if this machine dies: Job prod/rollout-shop-guard: "
        "no pod of it runs yet"
    ]


def test_not_to_know_whether_it_runs_ends_no_walk(up: Up, fake_engine: FakeEngine) -> None:
    def refuse(method: str, path: str) -> None:
        if (method, path) == ("GET", GUARD_JOB):
            raise ClusterError("jobs is forbidden", 403)

    up.when(up.at(0), lambda: setattr(up, "before_request", refuse))
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert fake_engine.warned == [
        "no guard is running, so nobody puts traffic back if this machine dies: jobs is forbidden"
    ]


def test_one_that_cannot_be_stopped_ends_by_itself(up: Up, fake_engine: FakeEngine) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "DELETE" and up.app.serving == "v2":
            raise ClusterError("jobs is forbidden", 403)

    up.before_request = refuse
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert (fake_engine.warned, up.holder) == ([], "")


ENDS: dict[str, Callable[[Up], object]] = {
    "failed": lambda up: up.when(up.at(20), lambda: up.ask("abort")),
    "held": lambda up: up.when(up.at(20), lambda: up.ask("pause")),
}


@pytest.mark.parametrize(("end", "raised"), list(zip(ENDS.values(), (RolloutFailed, Held), strict=True)), ids=ENDS)
def test_it_is_taken_away_at_the_end(up: Up, api: FakeApi, end: Callable[[Up], object], raised: type) -> None:
    end(up)
    with pytest.raises(raised):
        up(settings={**GUARDED, "interval": "2s", "on_wait": "hold"})
    assert guards(api) == []


def test_a_walk_that_is_left_in_the_middle_keeps_its_guard(up: Up, api: FakeApi) -> None:
    def silence(method: str, path: str) -> None:
        if path == ROUTE:
            raise ClusterError("the cluster does not answer")

    up.when(up.at(20), lambda: setattr(up, "before_request", silence))
    with pytest.raises(ClusterError):
        up(settings=GUARDED)
    assert len(guards(api)) == 4
    assert up.holder != ""


# What it did, and the next update.


def test_a_walk_that_the_guard_put_back_is_begun_anew(up: Up, app: FakeApp, api: FakeApi) -> None:
    up.cut(20, GUARDED)
    guard_acts(app, up)
    api.requests.clear()
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert weights(api, "shop-v2") == [0, 20, 50, 100, 0, None]
    assert up.phases == [("v2", "failed", False), ("v2", "succeeded", True)]
    assert up.journal.history[0].reason == "cut off; the guard put the traffic back at 2026-10-09T10:00:00Z"
    assert (guards(api), jobs(api)) == ([], ["v2-1100"])


def test_what_the_guard_did_in_part_is_done(up: Up, app: FakeApp, api: FakeApi) -> None:
    """It had its fence up, and its machine died too."""
    up.cut(20, GUARDED)
    guard_acts(app, up)
    app.list_on_route(v2=20)
    app.deploy("v2", 2)
    assert up("v1", settings=GUARDED) == "shop-v1 serves"
    assert (app.serving, app.backends, app.replicas("v2")) == ("v1", {"shop": None}, 0)
    assert guards(api) == []


def test_a_verdict_outlives_the_guards_help(up: Up, app: FakeApp, api: FakeApi) -> None:
    """The version had failed already; its way back was cut off."""

    def fail() -> None:
        app.broken.add("v2")
        app.react()
        up.when(lambda: up.state.phase is Phase.REVERTING, up.die)

    up.when(up.at(20), fail)
    with pytest.raises(Killed):
        up(settings=GUARDED)
    up.live()
    guard_acts(app, up)
    app.broken.clear()
    app.react()
    with pytest.raises(Refused, match=r"shop-v2 has failed before.* no ready pod at 20 %"):
        up(settings=GUARDED)
    assert up.phases == [("v2", "failed", True)]


def test_a_guard_that_acts_on_a_living_walk_has_the_last_word(up: Up, app: FakeApp, api: FakeApi) -> None:
    """Its heartbeat did not arrive, and the process did not know."""
    up.when(up.at(50), lambda: guard_acts(app, up))
    with pytest.raises(RolloutFailed) as caught:
        up(settings=GUARDED)
    assert str(caught.value) == (
        "the guard put the traffic back at 2026-10-09T10:00:00Z, as no heartbeat had been seen; "
        "all traffic is back on shop-v1"
    )
    assert (app.serving, app.backends, app.replicas("v2")) == ("v1", {"shop": None}, 0)
    assert up.phases == [("v2", "failed", False)]
    assert 100 not in weights(api, "shop-v2")


def test_the_guard_of_a_walk_that_is_put_back_goes_with_it(up: Up, api: FakeApi) -> None:
    up.cut(20, GUARDED)
    assert len(guards(api)) == 4
    assert up("v1", settings=GUARDED) == "shop-v1 serves"
    assert guards(api) == []


def test_a_walk_that_goes_on_gets_a_guard_again(up: Up, app: FakeApp, api: FakeApi) -> None:
    up.cut(20, GUARDED)
    del api.objects[GUARD_JOB]
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert (jobs(api), guards(api)) == (["v2-1000"], [])


def test_a_walk_that_goes_on_keeps_its_guard(up: Up, app: FakeApp, api: FakeApi) -> None:
    """There is no moment without one."""
    up.cut(20, GUARDED)
    before = len([request for request in api.requests if request.method == "DELETE"])
    kept = api.objects[GUARD_JOB]["metadata"]["uid"]
    seen: list[str] = []
    up.when(up.at(50), lambda: seen.append(api.objects[GUARD_JOB]["metadata"]["uid"]))
    assert up(settings=GUARDED) == "shop-v2 serves"
    assert (seen, before, guards(api)) == ([kept], before, [])


def test_a_restart_gets_a_guard_of_its_own(up: Up, api: FakeApi) -> None:
    up.when(up.at(50), lambda: up.ask("restart"))
    assert up(settings={**GUARDED, "interval": "2s"}) == "shop-v2 serves"
    first, second = jobs(api)
    assert (first, first != second, guards(api)) == ("v2-1000", True, [])


def test_an_earlier_guard_that_does_not_end_is_a_warning(
    up: Up, api: FakeApi, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GONE_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    api.put(GUARD_JOB, {})

    def remain(api: FakeApi, path: str) -> None:
        if GUARD_JOB not in api.objects:
            api.put(GUARD_JOB, {})

    api.reactions.append(remain)
    assert up(settings=GUARDED) == "shop-v2 serves"
    [warning] = fake_engine.warned
    assert warning.startswith("no guard, so nobody puts traffic back if this machine dies: Job prod/rollout-shop-guard")
