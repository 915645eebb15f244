"""What a walk says, word for word: of its gates, in the summary, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core.counts import Arm
from pulumi_rollout.core.gates import Evidence, Judgement, Verdict, fresh
from pulumi_rollout.core.gates.objective import Memory
from pulumi_rollout.core.measures import Alerts, Objective, Restarts, SuccessRate
from pulumi_rollout.core.moves import begin_of, dwell_of
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Answer, Phase, Seen, State
from pulumi_rollout.tell import event, line
from tests.fake_world import PLAN

RATE = Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="prometheus-1")
GATES = (RATE, Alerts(id="alerts", source="prometheus-1"), Restarts(id="restarts"))
ALL = PLAN.model_copy(update={"gates": GATES})
SEEN = Seen(now=10, weight_percent=10, apex_revision="v1")
ANSWER = Answer(id=1, verb="pause", by="ada@laptop", at=9, accepted=True, text="paused")


def state(phase: Phase = Phase.SHIFTING, move: int | None = None, **changes: Any) -> State:
    evidence = {gate.id: fresh(gate) for gate in GATES} | changes.pop("evidence", {})
    known = {"walk": "v2-0", "revision": "v2", "stable": "v1", "started_at": 0, "phase_at": 0, "move_at": 0}
    where = {"phase": phase, "move": dwell_of(0) if move is None else move, "weight_percent": 10}
    return State.model_validate({**known, **where, "evidence": evidence, **changes})


def holding(reason: str, gate: str = "success_rate") -> dict[str, Evidence]:
    judgement = Judgement(verdict=Verdict.HOLD, reason=reason)
    known = next(fresh(one) for one in GATES if one.id == gate)
    return {gate: known.model_copy(update={"judgement": judgement})}


def judged(verdict: Verdict) -> dict[str, Evidence]:
    return {"success_rate": fresh(RATE).model_copy(update={"judgement": Judgement(verdict=verdict)})}


def bursty(known: bool) -> dict[str, Evidence]:
    return {"success_rate": fresh(RATE).model_copy(update={"memory": Memory(bursty=known)})}


def said(before: State, after: State, plan: Plan = ALL) -> tuple[str, bool] | None:
    return line(plan, "shop-v2", before, after, SEEN)


QUIET = "shifting, weight 10 %; success rate 100.00 %; gate success_rate waits: 0 of 20 requests seen at this step"
BURSTS = "success rate: failures of the old version come in bursts, so blocks of time are judged"
CHANGES: dict[str, tuple[State, State, tuple[str, bool]]] = {
    "nothing": (state(), state(), (f"{QUIET}: not read yet", False)),
    "a hold begins": (
        state(),
        state(evidence=holding("no new number for 120 s")),
        ("success rate holds the weight: no new number for 120 s", True),
    ),
    "a hold of a gate with a longer name": (
        state(),
        state(evidence=holding("r", "alerts")),
        ("alerts holds the weight: r", True),
    ),
    "a hold lasts, with another reason": (
        state(evidence=holding("no new number for 120 s")),
        state(evidence=holding("no new number for 121 s")),
        (
            "shifting, weight 10 %; success rate 100.00 %; gate success_rate holds: no new number for 121 s",
            False,
        ),
    ),
    "a hold ends": (state(evidence=holding("r")), state(), ("success rate holds no longer", True)),
    "a hold ends well": (
        state(evidence=holding("r")),
        state(evidence=judged(Verdict.PASS)),
        ("success rate holds no longer", True),
    ),
    "a gate passes": (state(), state(evidence=judged(Verdict.PASS)), (f"{QUIET}: not read yet", False)),
    "a pod is replaced": (
        state(replaced=("a",)),
        state(replaced=("a", "b")),
        ("replacing pod b, which alone fails: all are judged once more", True),
    ),
    "bursts are seen": (state(evidence=bursty(False)), state(evidence=bursty(True)), (BURSTS, True)),
    "bursts are known": (
        state(evidence=bursty(True)),
        state(evidence=bursty(True)),
        (f"{QUIET}: not read yet", False),
    ),
    "several at once": (
        state(evidence=bursty(False)),
        state(evidence=bursty(True) | holding("r", "alerts"), replaced=("a",)),
        (f"replacing pod a, which alone fails: all are judged once more; {BURSTS}; alerts holds the weight: r", True),
    ),
    "a way back says why, and no more": (
        state(evidence=holding("r")),
        state(Phase.REVERTING, 0, reason="it fails"),
        ("reverting: it fails", True),
    ),
    "a command is answered before all": (
        state(),
        state(evidence=holding("r"), answers=(ANSWER,), command=1),
        ("ada@laptop says pause: paused", True),
    ),
    "a hold that begins with a pause": (
        state(),
        state(Phase.PAUSED, evidence=holding("r"), pause_reason="waits"),
        ("success rate holds the weight: r; paused: waits", True),
    ),
    "a hold that ends with the step": (
        state(evidence=holding("r")),
        state(move=dwell_of(0) + 2, weight_percent=50),
        ("success rate holds no longer; advance shop-v2 to weight 50 (step 2 of 2)", True),
    ),
    "a hold that ends with the last step": (
        state(evidence=holding("r")),
        state(Phase.PROMOTING, begin_of(2)),
        ("success rate holds no longer; promoting shop-v2", True),
    ),
}


@pytest.mark.parametrize(("before", "after", "words"), CHANGES.values(), ids=CHANGES)
def test_what_is_said(before: State, after: State, words: tuple[str, bool]) -> None:
    assert said(before, after) == words


def test_the_first_look_says_nothing_of_gates() -> None:
    """There was no evidence before it."""
    first = state().model_copy(update={"evidence": {}})
    assert said(first, state(evidence=holding("r"))) == (
        "shifting, weight 10 %; success rate 100.00 %; gate success_rate holds: r",
        False,
    )


def test_a_dry_run_holds_nothing() -> None:
    shown = ALL.model_copy(update={"gates": (RATE.model_copy(update={"dry_run": True}), *GATES[1:])})
    words, kept = said(state(), state(evidence=holding("r")), shown) or ("", True)
    assert "holds" not in words
    assert not kept


COUNTED = {
    "nothing yet": (Arm(), "100.00"),
    "all requests": (Arm(total=200, bad=3), "98.50"),
    "behind the warm-up only those": (Arm(total=200, bad=3, warm_total=100, warm_bad=50), "98.50"),
    "in the warm-up its own": (Arm(warm_total=100, warm_bad=50), "50.00"),
}


@pytest.mark.parametrize(("canary", "percent"), COUNTED.values(), ids=COUNTED)
def test_the_share_of_good_requests(canary: Arm, percent: str) -> None:
    evidence = {"success_rate": fresh(RATE).model_copy(update={"canary": canary})}
    words, kept = said(state(), state(evidence=evidence)) or ("", True)
    assert f"; success rate {percent} %; " in words
    assert not kept


def test_before_traffic_there_is_no_share() -> None:
    words, _ = said(state(weight_percent=0), state(weight_percent=0)) or ("", True)
    assert words.startswith("shifting, weight 0 %; ")
    assert "success rate" not in words.split("; ")[1]


def test_a_way_back_of_a_walk_that_an_earlier_version_left_has_no_evidence() -> None:
    back = state(Phase.REVERTING, 0, weight_percent=0, reason="it fails").model_copy(update={"evidence": {}})
    words, kept = said(back, back) or ("", True)
    assert words.startswith("reverting, weight 0 %; ")
    assert not kept


def test_a_hold_and_a_replaced_pod_are_no_events() -> None:
    """They are looked at in the row and by `rollout status`; Events are of what changes for others."""
    assert event(ALL, "shop-v2", state(), state(evidence=holding("r"), replaced=("a",))) is None


# What a version that has passed is known to be


def passed(total: int, bad: int, plan: Plan = ALL) -> tuple[str, bool] | None:
    seen = fresh(RATE).model_copy(update={"canary": Arm(total=total, bad=bad)})
    before, after = (state(phase, evidence={"success_rate": seen}) for phase in (Phase.SHIFTING, Phase.PROMOTING))
    return said(before, after.model_copy(update={"move": before.move + 1}), plan)


def test_promotion_says_what_would_have_been_caught() -> None:
    told = "promoting shop-v2; success rate: 3 of 4,980 canary requests failed; "
    sure = " and more would have been caught with a chance of 95 %"
    assert passed(4980, 3) == (f"{told}2.1 %{sure}", True)
    assert passed(0, 0) == ("promoting shop-v2", True), "nothing would"


@pytest.mark.parametrize("changes", [{"evidence": "required"}, {"failures": "bursty"}])
def test_where_another_promise_holds_that_is_not_said(changes: dict[str, str]) -> None:
    assert passed(4980, 3, ALL.model_copy(update=changes)) == ("promoting shop-v2", True)
