"""One pod of several that fails: another one takes its place, once, and all of them are judged once more."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.measures import Restarts
from pulumi_rollout.core.moves import Apex, Dwell, Leave
from pulumi_rollout.core.state import Action, Phase, ReplacePod, SetWeight
from tests.core import by_hand
from tests.core.by_hand import RATE, WATCHED, Walk
from tests.core.gates.looks import Requests, Watched, plan

OOM = "OOMKilled (exit code 137)"


@pytest.mark.parametrize(
    ("pods", "pod"),
    [
        pytest.param({"a": (100, 50), "b": (100, 0)}, "a", id="one of two"),
        pytest.param({"a": (100, 0), "b": (100, 1), "c": (100, 40)}, "c", id="one of three"),
        pytest.param({"a": (100, 50), "b": (100, 50)}, None, id="both"),
        pytest.param({"a": (100, 90), "b": (100, 3)}, None, id="one, and the other is over the limit too"),
        pytest.param({"a": (100, 90)}, None, id="the only one"),
        pytest.param({"a": (100, 90), "b": (0, 0)}, None, id="the only one that is asked"),
        pytest.param({"a": (100, 90), "b": (4, 0)}, None, id="one, and too few of the others to tell"),
        pytest.param({"a": (100, 30), "b": (10, 0)}, None, id="too few, as fewer of its own are bad"),
        pytest.param({"a": (300, 12), "b": (300, 12), "c": (300, 12)}, None, id="all of them a little"),
    ],
)
def test_which_pod_fails_alone(pods: dict[str, Requests], pod: str | None) -> None:
    watched = Watched(plan())
    judgement = watched.look(1, pods=pods)
    assert (judgement.verdict, judgement.pod) == (Verdict.FAIL, pod)


def test_pods_that_were_good_for_long_and_break_together_are_the_version() -> None:
    """The youngest one has hardly any good requests behind it, and is not taken for the only one."""
    watched = Watched(plan())
    watched.look(600, pods={"a": (5000, 0), "b": (5000, 0)})
    for _ in range(5):
        watched.look(1, pods={"a": (10, 0), "b": (10, 0), "c": (10, 0)})
    watched.begins_step()
    while watched.judgement.verdict is not Verdict.FAIL:
        watched.look(1, pods={"a": (10, 3), "b": (10, 3), "c": (10, 3)})
    bad_shares = [bad / total for total, bad in watched.evidence.canary.pods.values()]
    assert bad_shares[0] < RATE.max_bad_ratio < bad_shares[2], "by all that it has counted it would be c alone"
    assert watched.judgement.pod is None


def test_a_pod_that_breaks_late_beside_good_ones_is_the_only_one() -> None:
    watched = Watched(plan())
    watched.look(600, pods={"a": (5000, 0), "b": (5000, 0)})
    for _ in range(5):
        watched.look(1, pods={"a": (10, 0), "b": (10, 0), "c": (10, 0)})
    watched.begins_step()
    while watched.judgement.verdict is not Verdict.FAIL:
        watched.look(1, pods={"a": (10, 0), "b": (10, 0), "c": (10, 3)})
    assert watched.judgement.pod == "c"


def test_where_the_series_do_not_tell_pods_it_is_the_version() -> None:
    assert Watched(plan()).look(1, (200, 50)).pod is None


def test_a_pod_that_fails_in_the_warm_up_is_one_too() -> None:
    watched = Watched(plan(warm_up=60), warm_until=1e9)
    assert watched.look(1, pods={"a": (100, 50), "b": (400, 0)}).pod == "a"


class Pods(Walk):
    """A walk whose canary has two pods, a and b, and a third one, c, once one was deleted."""

    def __init__(self, *weights: int, **changes: Any) -> None:
        made = by_hand.plan(*weights, gated=True, **{"limits": WATCHED, **changes})
        super().__init__(made.model_copy(update={"gates": (RATE, Restarts(id="restarts"))}))
        self.counted: dict[str, list[int]] = {}
        self.crashed: dict[str, tuple[float, str]] = {}
        self.serve({})

    def serve(self, pods: dict[str, Requests], seconds: float = 1, **changes: Any) -> tuple[Action, ...]:
        """Look once more, after so many requests to these pods."""
        for pod, (total, bad) in pods.items():
            known = self.counted.setdefault(pod, [0, 0])
            known[0], known[1] = known[0] + total - bad, known[1] + bad
        series = {f"{pod} {k}": (float(known[k]), bool(k)) for pod, known in self.counted.items() for k in (0, 1)}
        canary = Sample(series=series, pods={name: name[0] for name in series})
        readings = {"success_rate": Reading(canary=canary), "restarts": Reading(events=dict(self.crashed))}
        return self.look(seconds, readings=readings, **changes)

    def crash(self, *pods: str) -> tuple[Action, ...]:
        for pod in pods:
            self.crashed[f"{pod}/app"] = (self.crashed.get(f"{pod}/app", (0.0, ""))[0] + 1, OOM)
        return self.serve({})


def at_first_step(**changes: Any) -> Pods:
    walk = Pods(20, 50, **changes)
    walk.until(Dwell(0))
    walk.did.clear()
    return walk


def test_it_is_replaced_and_the_walk_goes_on() -> None:
    walk = at_first_step()
    assert walk.serve({"a": (50, 30), "b": (50, 0)}) == (ReplacePod(pod="a"),)
    assert (walk.state.phase, walk.state.replaced) == (Phase.SHIFTING, ("a",))
    canary = walk.state.evidence["success_rate"].canary
    assert (canary.total, canary.pods) == (0, {}), "judged once more, from here"
    assert walk.serve({"b": (30, 0), "c": (30, 0)}, seconds=10) == ()
    walk.until(Dwell(1))


def test_a_second_one_is_the_version() -> None:
    walk = at_first_step()
    walk.serve({"a": (50, 30), "b": (50, 0)})
    walk.serve({"b": (50, 0), "c": (50, 30)})
    assert (walk.state.phase, walk.state.judged) == (Phase.REVERTING, True)
    assert walk.did == [ReplacePod(pod="a"), SetWeight(percent=0)]


def test_a_version_whose_pods_all_fail_is_not_spared() -> None:
    walk = at_first_step()
    walk.serve({"a": (50, 30), "b": (50, 30)})
    assert (walk.state.phase, walk.did) == (Phase.REVERTING, [SetWeight(percent=0)])


def test_nor_one_pod_after_another() -> None:
    walk = at_first_step()
    assert walk.crash("a") == (ReplacePod(pod="a"),)
    walk.crash("b")
    assert (walk.state.phase, walk.state.judged) == (Phase.REVERTING, True)


@pytest.mark.parametrize("order", [1, -1])
def test_nor_where_another_gate_fails_of_all_of_them(order: int) -> None:
    """One pod crashes, and the answers of both are bad: whichever gate is written first."""
    walk = at_first_step()
    walk.plan = walk.plan.model_copy(update={"gates": walk.plan.gates[::order]})
    walk.crashed["a/app"] = (1, OOM)
    walk.serve({"a": (50, 30), "b": (50, 30)})
    assert (walk.state.phase, walk.state.judged) == (Phase.REVERTING, True)


def test_nor_where_two_gates_name_different_pods() -> None:
    walk = at_first_step()
    walk.crashed["b/app"] = (1, OOM)
    walk.serve({"a": (50, 30), "b": (50, 0)})
    assert walk.state.phase is Phase.REVERTING


def test_where_two_gates_name_the_same_pod_it_is_replaced() -> None:
    walk = at_first_step()
    walk.crashed["a/app"] = (1, OOM)
    assert walk.serve({"a": (50, 30), "b": (50, 0)}) == (ReplacePod(pod="a"),)


def test_the_only_pod_is_the_version() -> None:
    walk = at_first_step()
    walk.crashed["a/app"] = (1, OOM)
    walk.serve({}, canary_replicas=1, canary_ready=1, stable_replicas=1)
    assert walk.state.phase is Phase.REVERTING


def test_a_crash_that_leaves_no_ready_pod_is_an_outage_and_not_one_pod() -> None:
    walk = at_first_step()
    walk.crashed["a/app"] = (1, OOM)
    walk.serve({}, canary_ready=0)
    assert (walk.state.phase, walk.did) == (Phase.REVERTING, [SetWeight(percent=0)])


def test_under_freeze_it_is_replaced_first() -> None:
    walk = at_first_step(on_failure="freeze")
    assert walk.crash("a") == (ReplacePod(pod="a"),)
    walk.crash("b")
    assert (walk.state.phase, walk.state.frozen) == (Phase.PAUSED, True)


def test_a_dry_run_replaces_nothing() -> None:
    walk = at_first_step()
    dry = tuple(gate.model_copy(update={"dry_run": True}) for gate in walk.plan.gates)
    walk.plan = walk.plan.model_copy(update={"gates": dry})
    assert walk.serve({"a": (50, 30), "b": (50, 0)}) == ()
    assert walk.state.evidence["success_rate"].judgement.verdict is Verdict.FAIL


def test_in_promotion_too() -> None:
    """By the time that the apex has them, which counts as the old version's series."""
    walk = at_first_step()
    for step in (0, 1):
        walk.until(Dwell(step))
        walk.serve({"a": (60, 0), "b": (60, 0)}, seconds=10)
    walk.until(Apex()).until(Leave())
    walk.did.clear()
    assert walk.crash("b") == (ReplacePod(pod="b"),)
    assert walk.ended().phase is Phase.SUCCEEDED
