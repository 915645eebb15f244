"""What is shown: status, list, history and watch, for people and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import Result

from pulumi_rollout import lock
from pulumi_rollout.cli import talk, watch
from pulumi_rollout.core.counts import Arm
from pulumi_rollout.core.gates import Evidence, Judgement, Verdict, objective
from pulumi_rollout.core.measures import Latency, Objective, Restarts
from pulumi_rollout.core.moves import moves
from pulumi_rollout.core.state import Answer, Phase
from tests.cli.conftest import BEGAN, LEASE, Scene
from tests.fake_api import Fault
from tests.fake_app import PODS
from tests.fake_world import PLAN

STATUS_KEYS = {
    *("app", "namespace", "standing", "exit_code", "phase", "held", "cut_off", "walk", "revision", "stable", "serving"),
    *("weight_percent", "step", "steps", "started_at", "by", "commit", "because", "verdict", "gates", "lock"),
    *("answers", "asked", "guard"),
}
COUNTED = {
    "success_rate": Evidence(
        canary=Arm(total=120, bad=1), stable=Arm(total=1080, bad=2), memory=objective.Memory(), no_data=None
    )
}
SAID = Answer(id=1, verb="pause", by="eve@desk", at=BEGAN, accepted=False, text="it is paused already")
VERDICT = "success rate: 7 of 30 canary requests failed"


def loaded(result: Result) -> Any:
    return json.loads(result.stdout)


def ended(scene: Scene, phase: Phase, **changes: Any) -> None:
    scene.walks(phase=phase, move=0, weight_percent=0, **changes)


# How a walk stands, and the exit code that CI reads.
STANDINGS: dict[str, tuple[Any, bool, int, str]] = {
    "succeeded": (lambda scene: ended(scene, Phase.SUCCEEDED), False, 0, "rest"),
    "failed": (lambda scene: ended(scene, Phase.FAILED, reason=VERDICT), False, 5, "failed"),
    "under way": (lambda scene: scene.walks(), True, 4, "under way"),
    "paused by somebody": (lambda scene: scene.walks(phase="paused", pause_reason="paused by eve"), True, 3, "waiting"),
    "held": (lambda scene: scene.held(), False, 3, "waiting"),
    "cut off": (lambda scene: scene.walks(), False, 3, "waiting"),
    "on its way back": (lambda scene: scene.walks(phase="reverting", move=0, reason=VERDICT), True, 4, "under way"),
    "about to begin anew": (lambda scene: ended(scene, Phase.FAILED, restart=True), True, 4, "under way"),
}


@pytest.mark.parametrize(("put", "locked", "code", "standing"), STANDINGS.values(), ids=STANDINGS)
def test_exit_codes(scene: Scene, put: Any, locked: bool, code: int, standing: str) -> None:
    put(scene)
    if locked:
        scene.lock()
    shown = scene.run("status", "shop", "-o", "json")
    assert (shown.exit_code, loaded(shown)["exit_code"], loaded(shown)["standing"]) == (code, code, standing)
    assert scene.run("status", "shop").exit_code == code


def test_a_guard_that_acted_is_a_failure(scene: Scene) -> None:
    state = scene.walks()
    scene.lock()
    path = "/api/v1/namespaces/prod/configmaps/rollout-shop"
    data = {**scene.api.objects[path]["data"], "guard": json.dumps({"walk": state.walk, "at": "2026-11-21T10:01:09Z"})}
    scene.api.put(path, {**scene.api.objects[path], "data": data})
    shown = scene.run("status", "shop")
    assert shown.exit_code == 5
    assert "Guard:      put the traffic back at 2026-11-21T10:01:09Z" in shown.stdout


def test_status_for_people(scene: Scene) -> None:
    scene.app.deploy("v2")
    scene.app.serve("v1")
    scene.walks(evidence=COUNTED, answers=(SAID,), command=1)
    scene.lock()
    assert scene.run("status", "shop").stdout.splitlines() == [
        "Name:       shop",
        "Namespace:  prod",
        "Status:     shifting",
        "Weight:     10 % (step 1 of 2)",
        "Revision:   shop-v2  shop:2",
        "Stable:     shop-v1",
        "Serving:    shop-v1",
        "Started:    2026-09-21T14:13:20Z by ada@laptop",
        f"Commit:     {'c0ffee' * 6}",
        "Lock:       bob@ci since 2026-11-21T10:00:00Z, last heartbeat 2026-11-21T10:00:09Z (by its own clock)",
        "Gate:       success rate  undecided  1 of 120 canary requests failed; stable 2 of 1,080",
        "Answered:   2026-09-21T14:13:20Z  eve@desk pause: refused: it is paused already",
    ]


def test_a_held_walk_shows_why_and_what_is_recorded(scene: Scene) -> None:
    scene.held()
    scene.run("promote", "shop", "--reason", "looks good")
    shown = scene.run("status", "shop").stdout
    assert "Status:     paused, held\n" in shown
    assert "Waits:      waits for promotion at weight 10\n" in shown
    assert "Lock:       free: no process is releasing it\n" in shown
    assert "ada@laptop promote: looks good\n" in shown


def test_the_keys_of_the_status(scene: Scene) -> None:
    scene.walks(evidence=COUNTED, answers=(SAID,), command=1)
    scene.lock()
    scene.run("pause", "shop", "--timeout", "0s")
    now = loaded(scene.run("status", "shop", "-o", "json"))
    assert set(now) == STATUS_KEYS
    assert now["revision"] == {"hash": "v2", "name": "shop-v2", "image": "shop:2"}
    assert now["gates"] == [
        {
            "id": "success_rate",
            "test": "objective",
            "verdict": "undecided",
            "dry_run": False,
            "asks": "at most 1 % of requests failed",
            "seen": "1 of 120 canary requests failed; stable 2 of 1,080",
            "limit_percent": 1.0,
            "canary_total": 120,
            "canary_bad": 1,
            "stable_total": 1080,
            "stable_bad": 2,
            "held": None,
            "no_data": None,
        }
    ]
    assert now["lock"] == {"holder": "bob@ci", "since": "2026-11-21T10:00:00Z", "renewed": "2026-11-21T10:00:09Z"}
    for said in (*now["answers"], *now["asked"]):
        assert set(said) == {"verb", "by", "at", "accepted", "text"}
    assert [said["accepted"] for said in (*now["answers"], *now["asked"])] == [False, None]


def test_gates_of_all_kinds(scene: Scene) -> None:
    """What holds says why, what is silent too, and a dry run says that it is one."""
    slow = Objective(id="latency", metric=Latency(bound_seconds=0.5), max_bad_ratio=0.05, source="prometheus-1")
    plan = PLAN.model_copy(
        update={"gates": (*PLAN.gates, slow.model_copy(update={"dry_run": True}), Restarts(id="restarts"))}
    )
    holds = Judgement(verdict=Verdict.HOLD, reason="no new number for 121 s: no answer")
    silent = COUNTED["success_rate"].model_copy(update={"judgement": holds, "no_data": "no answer"})
    scene.walks(plan, evidence={"success_rate": silent})
    assert [line for line in scene.run("status", "shop").stdout.splitlines() if line.startswith("Gate:")] == [
        "Gate:       success rate  hold  1 of 120 canary requests failed; stable 2 of 1,080; no new number for 121 s: "
        "no answer",
        "Gate:       latency  undecided (dry run)  0 of 0 canary requests took longer than 500 ms; stable 0 of 0; "
        "no data: not read yet",
        "Gate:       restarts  undecided  0 restarts; no data: not read yet",
    ]
    gates = loaded(scene.run("status", "shop", "-o", "json"))["gates"]
    assert [(gate["test"], gate["limit_percent"], gate["dry_run"]) for gate in gates] == [
        ("objective", 1.0, False),
        ("objective", 5.0, True),
        ("restarts", None, False),
    ]


def test_images_of_earlier_revisions_come_from_the_cluster(scene: Scene) -> None:
    scene.app.deploy("v1")
    path = "/apis/apps/v1/namespaces/prod/deployments/shop-v1"
    scene.api.objects[path]["spec"]["template"] = {"spec": {"containers": [{"image": "shop:1"}]}}
    scene.walks()
    assert loaded(scene.run("status", "shop", "-o", "json"))["stable"]["image"] == "shop:1"


PROMOTING = len(moves(PLAN, first_release=False)) - 6
SHARES: dict[str, tuple[dict[str, Any], int]] = {
    "shifting": ({}, 10),
    "promoting, by the route": ({"phase": "promoting", "move": PROMOTING + 1, "weight_percent": 100}, 100),
    "promoting, by the apex": ({"phase": "promoting", "move": PROMOTING + 3, "weight_percent": 0}, 100),
    "reverting": ({"phase": "reverting", "move": 0, "weight_percent": 0}, 0),
    "failed": ({"phase": "failed", "move": 0, "weight_percent": 0}, 0),
    "succeeded": ({"phase": "succeeded", "move": 0, "weight_percent": 0}, 100),
}


@pytest.mark.parametrize(("state", "percent"), SHARES.values(), ids=SHARES)
def test_the_new_versions_share(scene: Scene, state: dict[str, Any], percent: int) -> None:
    scene.walks(**state)
    assert loaded(scene.run("status", "shop", "-o", "json"))["weight_percent"] == percent


def test_the_time_of_the_begin_is_not_moved_by_pauses(scene: Scene) -> None:
    scene.walks(started_at=BEGAN + 600)
    assert loaded(scene.run("status", "shop", "-o", "json"))["started_at"] == "2026-09-21T14:13:20Z"


# list


def test_a_list(scene: Scene) -> None:
    ended(scene, Phase.SUCCEEDED)
    scene.walks(name="cart")
    scene.run("pause", "cart", "--timeout", "0s")  # its commands are no application
    scene.api.put("/api/v1/namespaces/prod/configmaps/rollout-odd", broken("prod"))
    assert [line.rstrip() for line in scene.run("list").stdout.splitlines()] == [
        "NAME   STATUS              WEIGHT   STEP   REVISION   RELEASED BY",
        "cart   shifting, cut off   10 %     1/2    cart-v2    -",
        "odd    unreadable          -        -      -          ConfigMap prod/rollout-odd cannot be read as a journal: "
        "look at the route's weights, put them right by hand, then delete the ConfigMap",
        "shop   succeeded           100 %    -      shop-v2    -",
    ]


def test_a_list_of_all_namespaces(scene: Scene) -> None:
    ended(scene, Phase.SUCCEEDED)
    scene.api.put("/api/v1/namespaces/qa/configmaps/rollout-odd", broken("qa"))
    assert [line.split()[:2] for line in scene.run("list", "-A").stdout.splitlines()] == [
        ["NAMESPACE", "NAME"],
        ["prod", "shop"],
        ["qa", "odd"],
    ]
    listed = loaded(scene.run("list", "-A", "-o", "json"))
    assert set(listed[0]) == STATUS_KEYS
    assert set(listed[1]) == {"namespace", "app", "problem"}


def test_an_empty_list(scene: Scene) -> None:
    empty = scene.run("list", "-n", "qa")
    assert (empty.exit_code, empty.stdout) == (0, "")
    assert empty.stderr == f"nothing has been released in namespace qa at {scene.api.url} (context fake)\n"
    assert loaded(scene.run("list", "-o", "json")) == []


def broken(namespace: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "pulumi-rollout"}
    return {"metadata": {"namespace": namespace, "labels": labels}, "data": {"state": "{"}}


# history


def test_a_history(scene: Scene) -> None:
    ended(scene, Phase.SUCCEEDED)
    ended(scene, Phase.FAILED, reason=VERDICT, revision="v3", stable="v2", walk="v3-1790000000")
    ended(scene, Phase.FAILED, reason="the update was cancelled", judged=False, revision="v4", walk="v4-1790000000")
    lines = scene.run("history", "shop").stdout.splitlines()
    assert lines[0].split() == ["REVISION", "IMAGE", "COMMIT", "BY", "STARTED", "TOOK", "OUTCOME", "REASON"]
    assert lines[2].split(maxsplit=7) == [
        *("shop-v3", "shop:2", "c0ffeec0f", "ada@laptop", "2026-09-21T14:13:20Z", "4m12s", "failed", VERDICT),
    ]
    assert [line.split()[0] for line in lines[1:]] == ["shop-v2", "shop-v3", "shop-v4"]
    listed = loaded(scene.run("history", "shop", "-o", "json"))
    assert [one["outcome"] for one in listed] == ["succeeded", "failed", "stopped"]
    assert set(listed[0]) == {
        *("revision", "stable", "outcome", "reason", "commit", "by", "started_at", "ended_at", "seconds"),
    }


# watch


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.01)


def test_a_watch_prints_what_changes_until_the_end(scene: Scene, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.walks()
    scene.lock()
    story: Iterator[Callable[[], Any]] = iter(
        [
            lambda: None,
            lambda: scene.walks(weight_percent=50, move=7),
            lambda: scene.walks(phase="reverting", move=0, weight_percent=0, reason=VERDICT),
            lambda: scene.api.faults.append(Fault(status=500, path="leases", times=4)),
            lambda: ended(scene, Phase.FAILED, reason=VERDICT),
        ]
    )
    monkeypatch.setattr(watch, "sleep", lambda seconds: next(story)())
    shown = scene.run("watch", "shop")
    assert shown.exit_code == 5
    lines = shown.stdout.splitlines()
    assert lines == [
        "shop: shifting, weight 10 %; step 1 of 2; success rate: undecided",
        "shop: shifting, weight 50 %; step 2 of 2; success rate: undecided",
        f"shop: reverting, weight 0 %; {VERDICT}",
        f"shop: reverting, weight 0 %; {VERDICT}; GET {LEASE}: as the test wants it; looking again",
        f"shop: failed, weight 0 %; {VERDICT}",
    ]


def test_a_watch_ends_when_nobody_goes_on(scene: Scene) -> None:
    scene.held()
    assert scene.run("watch", "shop").exit_code == 3


def test_a_watch_with_a_timeout(scene: Scene, quick: None) -> None:
    scene.walks()
    scene.lock()
    shown = scene.run("watch", "shop", "--timeout", "50ms")
    assert (shown.exit_code, shown.stderr) == (4, "the rollout of shop is not over after 0.05 s\n")


def test_a_watch_notices_a_heartbeat_that_stops(scene: Scene, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "EXPIRY_SECONDS", 0.05)
    scene.walks()
    scene.lock()
    assert "no heartbeat for more than 0.05 s" in scene.run("watch", "shop", "--timeout", "300ms").stdout


def test_the_tree_in_a_terminal(scene: Scene, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, ready in (("shop-v2-a", True), ("shop-v2-b", False)):
        labels = {"app.kubernetes.io/name": "shop", "pulumi-rollout/revision": "v2"}
        waiting = {} if ready else {"waiting": {"reason": "ImagePullBackOff"}}
        status = {"containerStatuses": [{"ready": ready, "state": waiting}]}
        scene.api.put(f"{PODS}/{name}", {"metadata": {"labels": labels}, "status": status})
    scene.walks(evidence=COUNTED)
    scene.lock()
    monkeypatch.setattr(watch, "_pods", lambda site, app: talk.pods(site, app))
    shown = scene.run("watch", "shop", "--timeout", "1ms", FORCE_COLOR="1", COLUMNS="140").stdout
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    for wanted in (
        "◌ shop  prod  shifting",
        f"shop-v2  shop:2  {'█' * 3}{'░' * 27} 10 %",
        "shop-v2-a  ready 1/1",
        "shop-v2-b  ready 0/1  ImagePullBackOff",
        f"shop-v1  {'█' * 27}{'░' * 3} 90 %",
        "success rate  undecided  1 of 120 canary requests failed",
    ):
        assert wanted in plain


def test_what_is_piped_has_no_colours(scene: Scene) -> None:
    scene.walks()
    assert "\x1b" not in scene.run("status", "shop").stdout
    assert "\x1b[33m" in scene.run("status", "shop", FORCE_COLOR="1").stdout
    assert "\x1b[33m" not in scene.run("status", "shop", FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_lock_of_a_process_of_this_machine_that_is_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_rollout.origin.gone", lambda process: process == "gone")
    scene.walks()
    scene.lock()
    assert scene.run("status", "shop").exit_code == 4
    scene.api.objects[LEASE]["metadata"]["annotations"] = {lock.PROCESS_ANNOTATION: "gone"}
    assert scene.run("status", "shop").exit_code == 3
