"""Gates with an objective: verdicts, starts, alpha, upper bounds of the evidence, and the sentence that says why.

What is promised in all is in `test_evidence_promises.py`; warm-up, outages and single pods have files of their own.
"""

from __future__ import annotations

from math import log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_rollout.core import gates
from pulumi_rollout.core.bursts import Blocks
from pulumi_rollout.core.counts import Arm, Look, Reading, Sample
from pulumi_rollout.core.evidence import log_e_pass
from pulumi_rollout.core.gates import Evidence, Verdict, failing, objective
from pulumi_rollout.core.gates.failing import OneTest, Start, Version
from pulumi_rollout.core.gates.verdict import Numbers, threshold
from pulumi_rollout.core.measures import Latency, Objective, Query
from tests.core.gates.looks import RATE, Watched, plan

# ln of the evidence of 25 bad ones of 1000 requests, of which 1 % may be; see test_evidence.py
E_25_OF_1000 = 38.16105560133539


def begun(**changes: Any) -> Watched:
    """At the begin of its first step."""
    watched = Watched(plan(**changes))
    watched.begins_step()
    return watched


@pytest.mark.parametrize(
    ("total", "bad", "verdict"),
    [
        (0, 0, Verdict.UNDECIDED),
        (100, 1, Verdict.UNDECIDED),
        (448, 0, Verdict.UNDECIDED),
        (449, 0, Verdict.PASS),
        (100, 30, Verdict.FAIL),
        (1_000_000, 20_000, Verdict.FAIL),
    ],
)
def test_verdict(total: int, bad: int, verdict: Verdict) -> None:
    assert begun().look(1, (total, bad)).verdict is verdict


def test_late_breakage_is_not_diluted() -> None:
    """5 % errors that begin with the last step are found in it, however long the healthy past was."""
    with_a_start, without = begun(), begun()
    for watched in (with_a_start, without):
        assert watched.look(1, (100_000, 0)).verdict is Verdict.PASS
    with_a_start.begins_step()
    assert with_a_start.look(1, (400, 20)).verdict is Verdict.FAIL
    assert without.look(1, (400, 20)).verdict is Verdict.PASS


def test_a_test_that_has_not_begun_is_a_bet_of_nothing() -> None:
    """Weights are fixed before the walk: what is not begun counts as E = 1, so starts do not add up."""
    at_first = Watched(plan()).look(1, (1000, 25))
    assert at_first.log_e_fail == pytest.approx(log(E_25_OF_1000 / 2 + 1 / 2), abs=1)
    version = Version([(0, 1000, 25)], Arm(), Blocks())
    again = version._replace(totals=[(0, 1000, 25), (1, 1000, 25), (2, 0, 0)])
    exact = [failing.log_failing(plan(), RATE, one, bursty=False) for one in (version, again)]
    assert exact == pytest.approx([log(E_25_OF_1000 / 2 + 1 / 2), log(E_25_OF_1000 * 2 / 3 + 1 / 3)])


def test_a_start_every_five_minutes() -> None:
    """Counted from the last start; one at which nothing had come since is only moved."""
    watched = Watched(plan())
    watched.look(1000, (10, 0))
    assert memory(watched).starts == (), "none before the first step"
    watched = begun()
    assert memory(watched).starts == (Start(total=0, bad=0, at=1000),)
    for at, total, starts in [
        (1299, 100, [0]),
        (1300, 110, [0, 110]),
        (1599, 200, [0, 110]),
        (1700, 210, [0, 110, 210]),
        (2000, 210, [0, 110, 210]),
        (2001, 211, [0, 110, 210, 211]),
    ]:
        new = total - watched.evidence.canary.total
        judgement = watched.look(at - watched.now, (new, 0), (9 * new, 0))
        assert [start.total for start in memory(watched).starts] == starts
        assert judgement.log_e_fail == pytest.approx(0)
    assert memory(watched).starts[-1] == Start(total=211, bad=0, stable_total=9 * 211, at=2001)
    watched.look(99, (89, 0))
    watched.begins_step()
    watched.look(50)
    watched.begins_step()
    assert [(start.total, start.at) for start in memory(watched).starts[-2:]] == [(211, 2001), (300, 2150)]


def memory(watched: Watched) -> objective.Memory:
    assert isinstance(watched.evidence.memory, objective.Memory)
    return watched.evidence.memory


def test_a_start_in_itself_says_nothing() -> None:
    watched = begun()
    watched.look(1, (400, 3))
    watched.look(1, (600, 22))
    before = memory(watched)
    watched.begins_step()
    after = objective.update(watched.plan, RATE, memory(watched), watched.evidence, Look(now=watched.now))
    assert len(after.starts) == len(before.starts) + 1
    assert after.log_e_fail == pytest.approx(before.log_e_fail)


def test_starts_are_bounded() -> None:
    """The oldest are given up, with their weight; the test of the whole walk is kept."""
    watched = Watched(plan())
    for _ in range(100):
        watched.look(300, (20, 0))
        watched.begins_step()
    assert (len(memory(watched).starts), memory(watched).given_up) == (objective.MOST_STARTS, 100 - 32)
    assert memory(watched).starts[-1].total == 2000
    assert watched.look(1, (18_000, 300)).verdict is Verdict.FAIL


def test_alpha_is_shared_by_the_gates_that_judge_by_chance() -> None:
    several = [RATE.model_copy(update={"id": f"gate-{number}"}) for number in range(5)]
    shown = [gate.model_copy(update={"dry_run": gate.id != "gate-0"}) for gate in several]
    one, five, dry = plan(several[0], alpha=0.05), plan(*several, alpha=0.05), plan(*shown, alpha=0.05)
    assert [some.gate_alpha for some in (one, five, dry)] == pytest.approx([0.05, 0.01, 0.05])
    close = [(some, bad) for some in (one, five) for bad in (26, 30)]
    verdicts = [Watched(some).look(1, (1000, bad)).verdict for some, bad in close]
    assert verdicts == [Verdict.FAIL, Verdict.FAIL, Verdict.UNDECIDED, Verdict.FAIL]


def test_step_total_counts_from_the_step() -> None:
    watched = Watched(plan())
    assert watched.look(1, (120, 1)).step_total == 120
    watched.begins_step()
    assert watched.look(0).step_total == 0
    assert watched.look(1000, (7, 0)).step_total == 7, "a start within a step does not begin it anew"


def test_evidence_is_the_same_after_json() -> None:
    watched = begun()
    watched.look(1, (400, 3), (4000, 4))
    watched.begins_step()
    watched.look(1, pods={"a": (500, 22), "b": (100, 0)}, stable=(5000, 4))
    again = Evidence.model_validate_json(watched.evidence.model_dump_json())
    assert again == watched.evidence
    assert isinstance(again.memory, objective.Memory)


# The evidence's upper bound


@st.composite
def versions(draw: st.DrawFn) -> Version:
    """Some tests with counts near the objective, where they are decided."""
    totals = [
        (order, total, min(total, draw(st.integers(0, 5 + total // 25))))
        for order, total in enumerate(draw(st.lists(st.integers(0, 3000), min_size=1, max_size=6)))
    ]
    warm = [(order, total, min(total, draw(st.integers(0, 20)))) for order, total, _ in totals]
    arm = Arm(total=totals[0][1], bad=totals[0][2], warm_total=warm[0][1], warm_bad=warm[0][2])
    return Version(totals, arm, Blocks(), warm)


@given(versions(), st.booleans(), st.sampled_from([0.0, 60.0]))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_what_is_not_exact_is_an_upper_bound_and_decides_the_same(version: Version, bursty: bool, warm: float) -> None:
    some = plan(warm_up=warm, failures="auto")
    exact = failing.log_failing(some, RATE, version, bursty=bursty)
    fails, log_e = failing.fails(some, RATE, version, bursty=bursty)
    assert fails == (exact >= threshold(some))
    assert log_e == exact if fails else log_e >= exact - 1e-9


@given(st.integers(0, 20_000), st.floats(0, 0.03))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_bound_of_the_evidence_for_passing_decides_the_same(total: int, share: float) -> None:
    canary = Arm(total=total, bad=round(total * share))
    exact, enough = log_e_pass(canary.total, canary.bad, RATE.max_bad_ratio), log(1 / plan().beta)
    found = objective._log_passing(plan(), RATE, canary)
    assert (found >= enough) == (exact >= enough)
    assert found <= exact + 1e-9 if found >= enough else found >= exact - 1e-9


def test_a_healthy_version_is_judged_without_anything_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = begun()

    def exact(*_: object) -> float:
        raise AssertionError("not needed")

    for name in ("log_e_fail", "log_e_pass"):
        monkeypatch.setattr(objective, name, exact)
    monkeypatch.setattr(failing, "log_e_fail", exact)
    assert watched.look(1, (100, 1), (900, 9)).verdict is Verdict.UNDECIDED


def test_counts_that_have_not_changed_are_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = begun()
    before = watched.look(1, (100, 1), (900, 9))

    def again(*_: object) -> objective.Memory:
        raise AssertionError("nothing new")

    monkeypatch.setattr(objective, "update", again)
    assert watched.read(Reading(canary=sampled(watched, "canary"), stable=sampled(watched, "stable"))) == before
    with pytest.raises(AssertionError, match="nothing new"):
        watched.look(0, (1, 0))


def sampled(watched: Watched, arm: str) -> Sample:
    return Sample(series=dict(watched.series[arm]), at=watched.now)


# The verdict in words


def test_the_verdict_has_a_fixed_form() -> None:
    two = plan(RATE, RATE.model_copy(update={"id": "other"}))
    watched = Watched(two)
    watched.begins_step()
    assert watched.look(1, (800, 25), (4980, 5)).verdict is Verdict.FAIL
    assert watched.explained() == (
        "success rate: 25 of 800 canary requests failed (3.12 %, limit 1 %), E = 1,217 >= 400 "
        "(alpha 0.005 over 2 gates), 42 s at 20 %, data 1.2 s old; stable 0.10 % of 4,980"
    )


def test_an_e_value_beyond_a_million_is_a_power_of_ten() -> None:
    watched = begun()
    watched.look(1, (12_000, 2_400))
    assert watched.explained() == (
        "success rate: 2,400 of 12,000 canary requests failed (20.00 %, limit 1 %), E = 1e2232 >= 200 "
        "(alpha 0.005 over 1 gate), 42 s at 20 %, data 1.2 s old; stable 0 % of 0"
    )


def test_the_counts_in_the_verdict_are_those_of_the_test_that_says_the_most() -> None:
    watched = begun()
    watched.look(1, (100_000, 10), (199_600, 150))
    watched.begins_step()
    watched.look(1, (400, 20), (400, 0))
    assert watched.explained() == (
        "success rate: 20 of the last 400 canary requests failed (5.00 %, limit 1 %), E = 34,302 >= 200 "
        "(alpha 0.005 over 1 gate), 42 s at 20 %, data 1.2 s old; stable 0.00 % of 400"
    )


WORDS = {
    "latency": (RATE.model_copy(update={"metric": Latency(bound_seconds=0.25)}), "latency", "took longer than 250 ms"),
    "query": (
        RATE.model_copy(update={"metric": Query(title="Lost orders", bad="b", total="t")}),
        "Lost orders",
        "were bad",
    ),
}


@pytest.mark.parametrize(("gate", "name", "bad"), WORDS.values(), ids=WORDS)
def test_other_metrics_have_other_words(gate: Objective, name: str, bad: str) -> None:
    watched = Watched(plan(gate))
    watched.look(1, (100, 30), (900, 0))
    assert watched.explained().startswith(f"{name}: 30 of 100 canary requests {bad} (30.00 %, limit 1 %), E = 1e")
    assert gates.asks(gate) == f"at most 1 % of requests {bad}"
    assert gates.counts(gate, watched.evidence) == f"30 of 100 canary requests {bad}; stable 0 of 900"


def test_the_verdict_without_any_time() -> None:
    """No age is given where no number was ever read, and a clock that is behind gives no negative age."""
    nothing = Numbers(canary=Arm(total=10, bad=10))
    assert "data" not in objective.explain(plan(), RATE, objective.Memory(), nothing, "5 s at 10 %", 1000.0)
    watched = begun()
    watched.look(1, (10, 10))
    assert "data 0.0 s old" in watched.explained(later=-1.0)


def test_the_tests_of_stable_are_of_the_same_requests() -> None:
    numbers = Numbers(canary=Arm(total=10_200, bad=40), stable=Arm(total=91_800, bad=369))
    start = Start(total=10_000, bad=0, stable_total=90_000, stable_bad=9)
    assert failing.kept([start], 3, numbers) == [
        OneTest(0, 10_200, 40, 91_800, 369),
        OneTest(4, 200, 40, 1_800, 360),
    ]
