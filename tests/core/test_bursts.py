"""Failures in bursts: the bets on blocks, when stable's failures are taken for bursts, and what is promised."""

from __future__ import annotations

import random
from itertools import product
from math import exp, log
from statistics import median
from typing import Literal

import pytest

from pulumi_rollout.core.bursts import BLOCK_SECONDS, STAKES, Blocks, close, dispersion, log_e_blocks
from pulumi_rollout.core.gates import Verdict, begin_step, bet, explain, fold, judge, shared
from pulumi_rollout.core.moves import Dwell
from pulumi_rollout.core.plan import Gate, Plan, Source, Step
from pulumi_rollout.core.state import Arm, Evidence, Phase, Reading, Sample
from tests.core import by_hand

GATE = Gate(id="success_rate", metric="success_rate", max_bad_ratio=0.01, source="s")


def plan(failures: Literal["auto", "independent", "bursty"]) -> Plan:
    return Plan(
        steps=(Step(weight_percent=50, interval_seconds=5, max_wait_seconds=60),),
        gates=(GATE,),
        sources={"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
        failures=failures,
    )


def closed(*blocks: tuple[int, int], p0: float = 0.01) -> Blocks:
    """Blocks of so many requests, and so many bad ones."""
    known = Blocks()
    for total, bad in blocks:
        known = close(known, known.total + total, known.bad + bad, p0)
    return known


def by_definition(shares: list[float], p0: float) -> float:
    """The e-value as a sum over all stakes and all begins, without the recursion."""
    weights = [60 / ((k + 60) * (k + 61)) for k in range(len(shares))]
    e_value = 1 - sum(weights)
    for stake, (k, weight) in product(STAKES, enumerate(weights)):
        won = weight / len(STAKES)
        for share in shares[k:]:
            won *= 1 + stake * (share / p0 - 1)
        e_value += won
    return e_value


def test_no_block_is_no_evidence() -> None:
    assert log_e_blocks(Blocks()) == pytest.approx(0, abs=1e-12)


def test_same_as_the_sum_over_all_begins() -> None:
    rng = random.Random(3)
    counts = [(100, rng.choice([0, 0, 0, 1, 40])) for _ in range(25)]
    shares = [bad / total for total, bad in counts]
    assert log_e_blocks(closed(*counts)) == pytest.approx(log(by_definition(shares, 0.01)), rel=1e-9)


def test_a_block_cannot_be_expected_to_add_evidence() -> None:
    """Whatever the blocks' shares are, as long as their mean is the objective: here 0 or 1."""
    now = closed((100, 0), (100, 60), (100, 3))
    good, bad = (exp(log_e_blocks(close(now, 400, now.bad + more, 0.01))) for more in (0, 100))
    assert 0.99 * good + 0.01 * bad == pytest.approx(exp(log_e_blocks(now)), rel=1e-9)


def test_evidence_of_a_long_walk_stays_finite() -> None:
    assert log_e_blocks(closed(*[(100, 100)] * 5000)) > 10_000
    assert -10 < log_e_blocks(closed(*[(100, 0)] * 5000)) < 0


def test_a_block_without_a_request_is_none() -> None:
    assert close(closed((5, 1)), 5, 1, 0.01) == closed((5, 1))


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        pytest.param([(100, 1)] * 11 + [(100, 50)], 1.0, id="too few blocks with failures to tell"),
        pytest.param([(100, 0)] * 30 + [(100, 11)], 1.0, id="too few failures to tell"),
        pytest.param([(100, 100)] * 20, 1.0, id="nothing but failures does not differ"),
        pytest.param([(100, 0), (100, 20)] * 10, 100 * 0.1**2 * 20 / (0.1 * 0.9) / 19, id="chi-square"),
    ],
)
def test_dispersion(blocks: list[tuple[int, int]], expected: float) -> None:
    seen = closed(*blocks[:-1]) if expected == 1.0 and blocks[0] == (100, 1) else closed(*blocks)
    assert dispersion(seen) == pytest.approx(expected)


def drawn(rng: random.Random, requests: int, p: float) -> int:
    return sum(rng.random() < p for _ in range(requests)) if p else 0


class Walk:
    """A canary and a stable version, looked at every second. + bursts: seconds in which so many requests fail"""

    def __init__(self, failures: Literal["auto", "independent", "bursty"], seed: int) -> None:
        self.plan, self.rng, self.evidence = plan(failures), random.Random(seed), Evidence()
        self.canary, self.stable, self.seconds = [0, 0], [0, 0], 0

    def second(self, p: float, stable_p: float = 0.0, requests: int = 25) -> Verdict:
        for arm, each, share in ((self.canary, requests, p), (self.stable, 75, stable_p)):
            bad = drawn(self.rng, each, share)
            arm[0], arm[1] = arm[0] + each - bad, arm[1] + bad
        at = 1000.0 + self.seconds
        self.seconds += 1
        samples = [
            Sample(series={f"{name}=200": (arm[0], False), f"{name}=503": (arm[1], True)}, at=at)
            for name, arm in (("c", self.canary), ("s", self.stable))
        ]
        self.evidence = bet(GATE, fold(self.evidence, Reading(canary=samples[0], stable=samples[1])))
        return judge(self.plan, GATE, self.evidence).verdict

    def bursts(self, seconds: int, every: int = 60, lasting: int = 2, p: float = 0.3) -> bool:
        """1 % of all requests fail, in bursts at any time. Whether the gate ever fails."""
        self.second(0.0)
        self.evidence = begin_step(self.evidence)
        phase = self.rng.randrange(every)
        return any(
            self.second(p if (second + phase) % every < lasting else 0.0) is Verdict.FAIL for second in range(seconds)
        )


def test_bursts_fail_the_test_for_single_requests_but_not_that_for_blocks() -> None:
    """At the objective exactly: bursts of 2 s and 30 % each minute are 1 % in all."""
    runs = 25
    failed = {
        failures: sum(Walk(failures, seed).bursts(600) for seed in range(runs))
        for failures in ("independent", "bursty")
    }
    print(f"false aborts of {runs}: {failed}")
    assert failed["independent"] >= 0.2 * runs, "what the blocks are for"
    assert failed["bursty"] == 0


@pytest.mark.parametrize(("p", "at_most"), [(1.0, 2), (0.3, 10), (0.05, 120)])
def test_what_is_bad_from_the_begin_is_found_with_bursts_too(p: float, at_most: float) -> None:
    assert median(seconds_to_fail(seed, 0, p) for seed in range(7)) <= at_most


@pytest.mark.parametrize(("p", "at_most"), [(1.0, 30), (0.3, 60), (0.05, 120)])
def test_what_breaks_late_is_found_with_bursts_too(p: float, at_most: float) -> None:
    assert median(seconds_to_fail(seed, 900, p) for seed in range(5)) <= at_most


def seconds_to_fail(seed: int, healthy_seconds: int, p: float) -> int:
    walk = Walk("bursty", seed)
    walk.second(0.0)
    walk.evidence = begin_step(walk.evidence)
    for _ in range(healthy_seconds):
        assert walk.second(0.0) is not Verdict.FAIL
    seconds = 1
    while walk.second(p) is not Verdict.FAIL:
        seconds += 1
    return seconds


def test_auto_goes_by_how_stables_failures_come() -> None:
    steady, bursts = Walk("auto", 1), Walk("auto", 2)
    for second in range(300):
        steady.second(0.0, stable_p=0.01)
        bursts.second(0.0, stable_p=0.3 if second % 60 < 2 else 0.0)
    assert (steady.evidence.bursty, bursts.evidence.bursty) == (False, True)
    assert judge(plan("auto"), GATE, steady.evidence).verdict is Verdict.PASS
    assert judge(plan("auto"), GATE, bursts.evidence).verdict is Verdict.UNDECIDED, "nothing passes by blocks"


def test_bursts_once_seen_stay_seen() -> None:
    steady = closed(*[(100, 1)] * 50)
    seen = Evidence(
        canary=Arm(at=1010.0, begun=True),
        stable=Arm(total=5000, bad=50, begun=True),
        stable_blocks=steady,
        block_at=1000.0,
    )
    assert [bet(GATE, seen.model_copy(update={"bursty": was})).bursty for was in (False, True)] == [False, True]


def test_the_machine_goes_by_blocks() -> None:
    """8 % of each block is bad: under the hard limit, and no walk that looks at single requests only reverts."""
    walk = by_hand.Walk(by_hand.plan(20, gated=True, failures="bursty"), readings=reading_at(0, 0, 0))
    walk.until(Dwell(0))
    for block in range(12):
        walk.look(readings=reading_at(10.0 * block, 100 * block, 8 * block))
        if walk.state.phase is Phase.REVERTING:
            break
    assert walk.state.phase is Phase.REVERTING
    assert block > 2
    assert "by blocks of 10 s" in (walk.state.reason or "")


def reading_at(at: float, total: int, bad: int) -> dict[str, Reading]:
    canary = Sample(series={"ok": (total - bad, False), "bad": (bad, True)}, at=at)
    return {"success_rate": Reading(canary=canary, stable=Sample(at=at))}


def test_auto_has_half_of_alpha_for_each_of_its_tests() -> None:
    seen = Evidence(canary=Arm(total=1000, bad=25, begun=True), canary_blocks=closed((500, 10), (500, 15)))
    bursty = seen.model_copy(update={"bursty": True})
    for alone, evidence in ((plan("independent"), seen), (plan("bursty"), bursty)):
        whole = judge(alone, GATE, evidence).log_e_fail
        assert judge(plan("auto"), GATE, evidence).log_e_fail == pytest.approx(whole - log(2))


def test_an_objective_of_a_tenth_has_no_hard_limit() -> None:
    gate = GATE.model_copy(update={"max_bad_ratio": 0.1})
    blocks = closed((100, 90), (100, 90), p0=0.1)
    seen = Evidence(canary=Arm(total=200, bad=180, begun=True), canary_blocks=blocks)
    assert judge(plan("bursty"), gate, seen).log_e_fail == pytest.approx(log_e_blocks(blocks))


def test_the_verdict_says_so() -> None:
    blocks = closed(*[(100, 40)] * 4)
    arm = Arm(total=400, bad=160, at=1000.0, begun=True)
    seen = Evidence(canary=arm, stable=arm, canary_blocks=blocks, stable_blocks=blocks)
    text = explain(plan("bursty"), GATE, seen, "42 s at 20 %", 1001.2)
    assert text.startswith("success rate: 160 of 400 canary requests failed (40.00 %, limit 1 %), E = ")
    assert text.endswith(
        " >= 200 (alpha 0.005 over 1 gate, as failures come in bursts: by blocks of 10 s), 42 s at 20 %, "
        "data 1.2 s old; stable 40.00 % of 400"
    )
    assert shared(plan("bursty"), GATE, seen)
    assert not shared(
        plan("bursty"), GATE, seen.model_copy(update={"stable": Arm(total=400), "stable_blocks": Blocks()})
    )


def test_blocks_are_of_time() -> None:
    assert Evidence.model_validate_json(Evidence().model_dump_json()) == Evidence()
    walk = Walk("bursty", 5)
    for _ in range(3 * int(BLOCK_SECONDS) + 1):
        walk.second(0.0)
    assert (walk.evidence.canary_blocks.closed, walk.evidence.stable_blocks.closed) == (3, 3)
    again = Evidence.model_validate_json(walk.evidence.model_dump_json())
    assert again == walk.evidence
