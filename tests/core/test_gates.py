"""Counting from raw counters, the verdict, and the sentence that says why."""

from __future__ import annotations

from math import log

import pytest

from pulumi_rollout.core.gates import MOST_STARTS, Verdict, begin_step, count, explain, fold, judge, shared
from pulumi_rollout.core.plan import Gate, Plan, Source, Step
from pulumi_rollout.core.state import Arm, Evidence, Reading, Sample, Start


def plan(steps: int = 2, gates: int = 1, max_bad_ratio: float = 0.01, alpha: float = 0.005) -> Plan:
    return Plan(
        steps=tuple(Step(weight_percent=10 * (n + 1), interval_seconds=5, max_wait_seconds=60) for n in range(steps)),
        gates=tuple(
            Gate(id=f"gate-{n}", metric="success_rate", max_bad_ratio=max_bad_ratio, source="s") for n in range(gates)
        ),
        sources={"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
        alpha=alpha,
        failures="independent",
    )


def sample(at: float | None = 100.0, /, **series: float) -> Sample:
    """Counters by name; a name that ends in _bad counts bad requests."""
    return Sample(series={name: (value, name.endswith("_bad")) for name, value in series.items()}, at=at)


def counted(*samples: Sample) -> Arm:
    arm = Arm()
    for one in samples:
        arm = count(arm, one)
    return arm


def evidence(
    total: int, bad: int, *, starts: tuple[tuple[int, int], ...] = (), stable: tuple[int, int] = (0, 0)
) -> Evidence:
    """+ starts: the canary's counts when tests began after the walk itself"""
    return Evidence(
        canary=Arm(total=total, bad=bad, at=1000.0, begun=True),
        stable=Arm(total=stable[0], bad=stable[1], begun=True),
        starts=tuple(Start(total=total, bad=bad) for total, bad in starts),
    )


@pytest.mark.parametrize(
    ("samples", "total", "bad"),
    [
        pytest.param([sample(ok=500)], 0, 0, id="present at the begin: its first value is the base"),
        pytest.param([sample(ok=500), sample(ok=530)], 30, 0, id="then what it has grown by"),
        pytest.param([sample(None), sample(ok=30)], 30, 0, id="absent at the begin: its base is 0"),
        pytest.param([sample(ok=500), sample(ok=500, x_bad=4)], 4, 4, id="a series that is born later has base 0"),
        pytest.param([sample(ok=500), sample(ok=20)], 20, 0, id="a counter that fell was reset to 0"),
        pytest.param([sample(ok=500), sample(ok=20), sample(ok=25)], 25, 0, id="and counts on from there"),
        pytest.param([sample(ok=500, x_bad=9), sample(ok=3, x_bad=10)], 4, 1, id="each series is reset on its own"),
        pytest.param([sample(a=5, b=7), sample(a=6, b=9), sample(a=8, b=9)], 5, 0, id="several proxies are summed"),
        pytest.param([sample(ok=500), sample(ok=500), sample(ok=500)], 0, 0, id="the same sample again is nothing new"),
        pytest.param([sample(ok=5), sample(None), sample(ok=8)], 3, 0, id="a gap loses nothing"),
        pytest.param([sample(ok=1.4e15), sample(ok=1.4e15 + 2)], 2, 0, id="large counters"),
    ],
)
def test_count(samples: list[Sample], total: int, bad: int) -> None:
    arm = counted(*samples)
    assert (arm.total, arm.bad) == (total, bad)


def test_count_remembers_the_time_of_the_newest_number() -> None:
    assert counted(sample(100.0, ok=1), sample(105.0, ok=2)).at == 105.0
    assert counted(sample(100.0, ok=1), sample(None)).at == 100.0


def test_without_data_only_the_reason_changes() -> None:
    before = fold(Evidence(), Reading(canary=sample(ok=5), stable=sample(ok=9)))
    silent = fold(before, Reading(no_data="prometheus does not answer"))
    assert silent == before.model_copy(update={"no_data": "prometheus does not answer"})
    after = fold(silent, Reading(canary=sample(ok=8), stable=sample(ok=9)))
    assert (after.canary.total, after.no_data) == (3, None)


def test_after_promotion_the_apexs_requests_are_the_new_versions() -> None:
    """What the apex counted before the switch was stable's; what it counts from then on is not."""
    before = fold(Evidence(), Reading(canary=sample(c=10), stable=sample(a=900, a_bad=9)))
    before = fold(before, Reading(canary=sample(c=30), stable=sample(a=1000, a_bad=10)))
    after = fold(before, Reading(canary=sample(c=31), stable=sample(a=1040, a_bad=14)), promoted=True)
    after = fold(after, Reading(canary=sample(c=31), stable=sample(a=1040, a_bad=16)), promoted=True)
    assert (after.canary.total, after.canary.bad) == (20 + 1 + 40 + 6, 6)
    assert (after.stable.total, after.stable.bad) == (101, 1)


def test_no_data_first_does_not_make_old_counts_new() -> None:
    """A source that is silent at the begin: the first numbers it gives are the base."""
    silent = fold(Evidence(), Reading(no_data="not read yet"))
    assert fold(silent, Reading(canary=sample(ok=5000), stable=sample(ok=9000))).stable.total == 0


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
    assert judge(plan(), plan().gates[0], evidence(total, bad, starts=((0, 0),))).verdict is verdict


def test_late_breakage_is_not_diluted() -> None:
    """5 % errors that begin with the last step are found in it, however long the healthy past was."""
    long_past = evidence(100_400, 20, starts=((0, 0), (100_000, 0)))
    from_the_begin_only = evidence(100_400, 20, starts=((0, 0),))
    assert judge(plan(), plan().gates[0], long_past).verdict is Verdict.FAIL
    assert judge(plan(), plan().gates[0], from_the_begin_only).verdict is Verdict.PASS


def test_a_test_that_has_not_begun_is_a_bet_of_nothing() -> None:
    """Weights are fixed before the walk: what is not begun counts as E = 1, so starts do not add up."""
    some = plan()
    at_first = judge(some, some.gates[0], evidence(1000, 25))
    begun = judge(some, some.gates[0], evidence(1000, 25, starts=((0, 0), (1000, 25))))
    assert at_first.log_e_fail == pytest.approx(log(38.16105560133539 / 2 + 1 / 2))
    assert begun.log_e_fail == pytest.approx(log(38.16105560133539 * 2 / 3 + 1 / 3))


def seen_at(at: float, total: int, bad: int = 0) -> Reading:
    return Reading(canary=sample(at, ok=total - bad, x_bad=bad), stable=sample(at, ok=9 * total))


def test_a_start_every_five_minutes() -> None:
    """Counted from the last start; one at which nothing had come since is only moved."""
    seen = fold(Evidence(), seen_at(1000, 0))
    assert (seen.starts, fold(seen, seen_at(2000, 10)).starts) == ((), ()), "none before the first step"
    seen = begin_step(seen)
    assert seen.starts == (Start(total=0, bad=0, at=1000),)
    for at, total, starts in [
        (1299, 100, [0]),
        (1300, 110, [0, 110]),
        (1599, 200, [0, 110]),
        (1700, 210, [0, 110, 210]),
        (2000, 210, [0, 110, 210]),
        (2001, 211, [0, 110, 210, 211]),
    ]:
        before = judge(plan(), plan().gates[0], seen).log_e_fail
        seen = fold(seen, seen_at(at, total))
        assert [start.total for start in seen.starts] == starts
        assert judge(plan(), plan().gates[0], seen).log_e_fail <= before
    assert seen.starts[-1] == Start(total=211, bad=0, stable_total=9 * 211, at=2001)
    again = begin_step(fold(begin_step(fold(seen, seen_at(2100, 300))), seen_at(2150, 300)))
    assert [(start.total, start.at) for start in again.starts[-2:]] == [(211, 2001), (300, 2150)]


def test_a_start_in_itself_says_nothing() -> None:
    seen = evidence(1000, 25, starts=((0, 0), (400, 3)))
    assert judge(plan(), plan().gates[0], begin_step(seen)) == pytest.approx(
        judge(plan(), plan().gates[0], seen).model_copy(update={"step_total": 0})
    )


def test_starts_are_bounded() -> None:
    """The oldest are given up, with their weight; the test of the whole walk is kept."""
    seen = Evidence()
    for n in range(1, 101):
        seen = begin_step(fold(seen, seen_at(1000 + 300 * n, 20 * n)))
    assert (len(seen.starts), seen.given_up) == (MOST_STARTS, 100 - MOST_STARTS)
    assert seen.starts[-1].total == 20 * 99, "what was there at the first look is its base"
    slightly = fold(seen, seen_at(31_001, 20_000, bad=300))
    assert judge(plan(), plan().gates[0], slightly).verdict is Verdict.FAIL


def test_a_failure_that_stable_has_too_is_shared_however_late_it_is() -> None:
    """Stable's counts since the same starts are judged by the same test."""
    start = Start(total=10_000, bad=0, stable_total=90_000, stable_bad=9)
    canary = Arm(total=10_200, bad=40, begun=True)
    both = Evidence(canary=canary, stable=Arm(total=91_800, bad=369, begun=True), starts=(start,))
    alone = both.model_copy(update={"stable": Arm(total=91_800, bad=10, begun=True)})
    assert judge(plan(), plan().gates[0], both).verdict is Verdict.FAIL
    assert [shared(plan(), plan().gates[0], one) for one in (both, alone)] == [True, False]


def test_alpha_is_shared_by_the_gates() -> None:
    one, five = plan(gates=1, alpha=0.05), plan(gates=5, alpha=0.05)
    assert [one.gate_alpha, five.gate_alpha] == pytest.approx([0.05, 0.01])
    close = evidence(1000, 25)
    verdicts = {judge(some, some.gates[0], close).log_e_fail for some in (one, five)}
    assert len(verdicts) == 1
    bad = evidence(1000, 30)
    assert [judge(some, some.gates[0], bad).verdict for some in (one, five)] == [Verdict.FAIL, Verdict.FAIL]
    slightly = evidence(1000, 26)
    assert [judge(some, some.gates[0], slightly).verdict for some in (one, five)] == [
        Verdict.FAIL,
        Verdict.UNDECIDED,
    ]


def test_step_total_counts_from_the_step() -> None:
    seen = evidence(120, 1)
    assert judge(plan(), plan().gates[0], seen).step_total == 120
    begun = begin_step(seen)
    assert judge(plan(), plan().gates[0], begun).step_total == 0
    later = fold(begun, Reading(canary=sample(2000.0, ok=7)))
    assert judge(plan(), plan().gates[0], later).step_total == 7, "a start within a step does not begin it anew"


def test_evidence_is_the_same_after_json() -> None:
    seen = begin_step(evidence(1000, 25, starts=((0, 0), (400, 3)), stable=(9000, 8)))
    again = Evidence.model_validate_json(seen.model_dump_json())
    assert again == seen
    assert judge(plan(), plan().gates[0], again) == judge(plan(), plan().gates[0], seen)


@pytest.mark.parametrize(
    ("gates", "seen", "text"),
    [
        pytest.param(
            2,
            evidence(800, 25, starts=((0, 0),), stable=(4980, 5)),
            "success rate: 25 of 800 canary requests failed (3.12 %, limit 1 %), E = 1,217 >= 400 "
            "(alpha 0.005 over 2 gates), 42 s at 20 %, data 1.2 s old; stable 0.10 % of 4,980",
            id="two gates",
        ),
        pytest.param(
            1,
            evidence(12_000, 2_400, starts=((0, 0),)),
            "success rate: 2,400 of 12,000 canary requests failed (20.00 %, limit 1 %), E = 1e2232 >= 200 "
            "(alpha 0.005 over 1 gate), 42 s at 20 %, data 1.2 s old; stable 0 % of 0",
            id="an e-value beyond a million is a power of ten",
        ),
        pytest.param(
            1,
            Evidence(
                canary=Arm(total=100_400, bad=30, at=1000.0, begun=True),
                stable=Arm(total=200_000, bad=150, begun=True),
                starts=(Start(total=0, bad=0), Start(total=100_000, bad=10, stable_total=199_600, stable_bad=150)),
            ),
            "success rate: 20 of the last 400 canary requests failed (5.00 %, limit 1 %), E = 34,302 >= 200 "
            "(alpha 0.005 over 1 gate), 42 s at 20 %, data 1.2 s old; stable 0.00 % of 400",
            id="the counts are those of the test that says the most",
        ),
    ],
)
def test_the_verdict_has_a_fixed_form(gates: int, seen: Evidence, text: str) -> None:
    some = plan(steps=1, gates=gates)
    assert judge(some, some.gates[0], seen).verdict is Verdict.FAIL
    assert explain(some, some.gates[0], seen, "42 s at 20 %", 1001.2) == text


def test_the_verdict_without_any_time() -> None:
    """No age is given where no number was ever read, and a clock that is behind gives no negative age."""
    some = plan()
    nothing = Evidence(canary=Arm(total=10, bad=10))
    assert "data" not in explain(some, some.gates[0], nothing, "5 s at 10 %", 1000.0)
    assert "data 0.0 s old" in explain(some, some.gates[0], evidence(10, 10), "5 s at 10 %", 999.0)
