"""Counting from raw counters, the verdict, and the sentence that says why."""

from __future__ import annotations

import random

import pytest

from pulumi_rollout.core.gates import Verdict, begin_step, count, explain, fold, judge
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
    """Weights are fixed before the walk: what is not begun counts as E = 1, so steps do not add up."""
    at_first = judge(plan(steps=4), plan().gates[0], evidence(1000, 25, starts=((0, 0),)))
    alone = judge(plan(steps=1), plan().gates[0], evidence(1000, 25, starts=((0, 0),)))
    assert at_first.log_e_fail == pytest.approx(2.331, abs=1e-3)  # ln((38.16 + 3) / 4)
    assert alone.log_e_fail == pytest.approx(3.642, abs=1e-3)  # ln(38.16)


def test_alpha_is_shared_by_the_gates() -> None:
    one, five = plan(gates=1, alpha=0.05), plan(gates=5, alpha=0.05)
    assert [one.gate_alpha, five.gate_alpha] == pytest.approx([0.05, 0.01])
    close = evidence(1000, 25, starts=((0, 0), (1000, 25)))
    verdicts = {judge(some, some.gates[0], close).log_e_fail for some in (one, five)}
    assert len(verdicts) == 1
    bad = evidence(1000, 27, starts=((0, 0), (500, 5)))
    assert [judge(some, some.gates[0], bad).verdict for some in (one, five)] == [Verdict.FAIL, Verdict.FAIL]
    slightly = evidence(1000, 26, starts=((0, 0), (1000, 26)))
    assert [judge(some, some.gates[0], slightly).verdict for some in (one, five)] == [
        Verdict.FAIL,
        Verdict.UNDECIDED,
    ]


def test_step_total_counts_from_the_step() -> None:
    begun = begin_step(evidence(120, 1, starts=((0, 0),)))
    assert begun.starts == (Start(total=0, bad=0), Start(total=120, bad=1))
    assert judge(plan(), plan().gates[0], begun).step_total == 0


def test_alpha_is_kept_over_all_steps() -> None:
    """A version exactly at its objective, judged at every look of a walk of three steps."""
    rng, alpha, runs = random.Random(7), 0.05, 150
    three = plan(steps=3, max_bad_ratio=0.1, alpha=alpha)
    failed = 0
    for _ in range(runs):
        seen, total, bad = Evidence(), 0, 0
        for _ in range(3):
            seen = begin_step(seen)
            for _ in range(15):
                total, bad = total + 20, bad + sum(rng.random() < 0.1 for _ in range(20))
                seen = seen.model_copy(update={"canary": Arm(total=total, bad=bad, begun=True)})
                if judge(three, three.gates[0], seen).verdict is Verdict.FAIL:
                    break
            else:
                continue
            failed += 1
            break
    assert failed / runs <= alpha + 2.326 * (alpha * (1 - alpha) / runs) ** 0.5


@pytest.mark.parametrize(
    ("gates", "seen", "text"),
    [
        pytest.param(
            2,
            evidence(800, 24, starts=((0, 0),), stable=(4980, 5)),
            "success rate: 24 of 800 canary requests failed (3.00 %, limit 1 %), E = 572 >= 400 "
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
