"""Numbers that do not come: first the weight is held, then the walk goes back, and nobody is blamed."""

from __future__ import annotations

import pytest

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.measures import Alerts, Baseline, Restarts, Share, Stalled, SuccessRate
from pulumi_rollout.core.moves import Dwell, Weight
from pulumi_rollout.core.state import Phase, SetWeight
from tests.core import by_hand
from tests.core.by_hand import LIMITS, WATCHED, Walk, reading
from tests.core.gates.looks import BEGIN, RATE, Watched, plan

SAID = "http://prometheus:9090 does not answer (Timeout)"
SILENT = Reading(no_data=SAID)
GATES = {
    "objective": RATE,
    "baseline": Baseline(id="b", metric=SuccessRate(), source="s"),
    "share": Share(id="share", source="s"),
    "stalled": Stalled(id="stalled", source="s"),
    "alerts": Alerts(id="alerts", source="s"),
}


def later(watched: Watched, seconds: float, reading: Reading | None = SILENT) -> Verdict:
    watched.now += seconds
    return watched.read(reading).verdict


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_silence_holds_and_then_fails(gate: object) -> None:
    watched = Watched(plan(gate))  # type: ignore[arg-type]
    before = watched.look(1, (10, 0), (10, 0)).verdict
    assert later(watched, 120) is before
    assert later(watched, 1) is Verdict.HOLD
    assert watched.judgement.reason == f"no new number for 121 s: {SAID}"
    assert later(watched, 479) is Verdict.HOLD
    assert later(watched, 1) is Verdict.FAIL
    assert not watched.judgement.judged, "nothing is known that speaks against the revision"
    assert watched.explained() == f"{watched.gate.id.replace('_', ' ')}: no new number for 601 s (noDataRevert): {SAID}"


def test_how_long_are_settings() -> None:
    watched = Watched(plan(limits={"no_data_hold_seconds": 5, "no_data_revert_seconds": 8}))
    assert [later(watched, 2) for _ in range(5)] == [
        Verdict.UNDECIDED,
        Verdict.UNDECIDED,
        Verdict.HOLD,
        Verdict.HOLD,
        Verdict.FAIL,
    ]


def test_the_same_number_again_is_silence_too() -> None:
    """A server that answers, of a scraper that does not: the number gets older."""
    watched = Watched(plan())
    old = Reading(canary=Sample(at=watched.now), stable=Sample(at=watched.now))
    assert later(watched, 121, old) is Verdict.HOLD
    assert watched.judgement.reason == "no new number for 121 s"


def test_a_gate_that_is_not_asked_is_silent() -> None:
    watched = Watched(plan())
    assert later(watched, 121, None) is Verdict.HOLD


def test_a_number_ends_it() -> None:
    watched = Watched(plan())
    later(watched, 200)
    assert watched.look(1, (10, 0)).verdict is Verdict.UNDECIDED
    assert watched.evidence.no_data is None


def test_no_request_is_no_silence() -> None:
    """At night the counters stand still, and their source goes on saying so."""
    watched = Watched(plan())
    for _ in range(100):
        assert watched.look(30).verdict is Verdict.UNDECIDED


def test_one_version_that_is_heard_of_is_enough() -> None:
    """A canary without a request has no series."""
    watched = Watched(plan())
    for _ in range(100):
        watched.now += 30
        assert watched.read(Reading(stable=Sample(at=watched.now))).verdict is Verdict.UNDECIDED


def test_what_fails_fails_in_silence_too() -> None:
    watched = Watched(plan())
    watched.look(1, (100, 50))
    assert later(watched, 700) is Verdict.FAIL
    assert watched.judgement.judged


def test_without_traffic_of_its_own_nothing_is_missed() -> None:
    watched = Watched(plan(), weight_percent=0)
    assert later(watched, 10_000) is Verdict.UNDECIDED


def test_what_nobody_watched_is_nobodys_silence() -> None:
    watched = Watched(plan())
    watched.read(SILENT, watched_at=BEGIN + 10_000)
    watched.now = BEGIN + 10_100
    assert watched.read(SILENT).verdict is Verdict.UNDECIDED
    assert later(watched, 21) is Verdict.HOLD


def test_the_clusters_own_silence_is_the_walks() -> None:
    """Restarts are read with the pods: where these cannot be read, the whole look fails."""
    watched = Watched(plan(Restarts(id="restarts")))
    assert later(watched, 10_000) is Verdict.PASS


# In a walk


def silent_at(move: object, **limits: float) -> Walk:
    changed = WATCHED.model_copy(update={"no_data_hold_seconds": 5, "no_data_revert_seconds": 15, **limits})
    walk = Walk(by_hand.plan(20, 50, gated=True, limits=changed), readings=reading(0))
    walk.until(Dwell(0)).look(1, readings=reading(100))
    return walk.until(move)


def test_a_step_is_held_and_then_put_back() -> None:
    walk = silent_at(Dwell(0))
    walk.look(6, readings={"success_rate": SILENT})
    assert walk.waiting == f"gate success_rate holds: no new number for 6 s: {SAID}"
    walk.look(9)
    assert walk.state.phase is Phase.SHIFTING
    walk.look(1)
    assert walk.state.reason == f"success rate: no new number for 16 s (noDataRevert): {SAID}"
    assert (walk.state.phase, walk.state.judged, walk.did) == (Phase.REVERTING, False, [SetWeight(percent=0)])


def test_a_weight_that_is_on_its_way_is_not_raised_in_silence() -> None:
    walk = silent_at(Weight(50))
    walk.did.clear()
    walk.look(6, readings={"success_rate": SILENT}, weight_percent=20)
    assert walk.did == []
    assert walk.look(1, readings=reading(101)) == (SetWeight(percent=50),)


def test_a_process_that_takes_a_walk_up_listens_first() -> None:
    walk = silent_at(Dwell(0))
    walk.look(4, readings={"success_rate": SILENT})
    walk.taken_up(3600).look(4)
    assert walk.state.phase is Phase.SHIFTING
    assert "holds" not in walk.waiting
    walk.look(2)
    assert "holds: no new number for 6 s" in walk.waiting


def test_a_failure_that_is_judged_goes_before_a_silence() -> None:
    """Whichever gate is written first, the revision is remembered as bad."""
    other = RATE.model_copy(update={"id": "other"})
    for order in ((RATE, other), (other, RATE)):
        made = by_hand.plan(20, 50, gated=True, limits=LIMITS).model_copy(update={"gates": order})
        limits = made.limits.model_copy(update={"no_data_revert_seconds": 10.0})
        walk = Walk(made.model_copy(update={"limits": limits}), readings={**reading(0), "other": Reading()})
        walk.until(Dwell(0))
        walk.look(11, readings={**reading(0), "other": SILENT} | reading(50, 50))
        assert (walk.state.phase, walk.state.judged) == (Phase.REVERTING, True)
        assert (walk.state.reason or "").startswith("success rate: 50 of 100 canary requests failed")
