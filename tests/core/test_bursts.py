"""Failures in bursts: the bets on blocks, when stable's failures are taken for bursts, and what is promised."""

from __future__ import annotations

import random
from itertools import product
from math import exp, log
from statistics import median
from typing import Literal

import pytest

from pulumi_rollout.core.bursts import BLOCK_SECONDS, STAKES, Blocks, close, dispersion, log_e_blocks
from pulumi_rollout.core.counts import Arm, Reading, Sample
from pulumi_rollout.core.gates import Evidence, Verdict, again, failing, objective
from pulumi_rollout.core.gates.failing import BURSTY_STAKE, Version, log_failing
from pulumi_rollout.core.moves import Dwell
from pulumi_rollout.core.state import Phase
from tests.core import by_hand
from tests.core.gates import looks
from tests.core.gates.looks import RATE, Watched

Failures = Literal["auto", "independent", "bursty"]


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


class Walk(Watched):
    """A canary and a stable version, looked at every second. + bursts: seconds in which so many requests fail"""

    def __init__(self, failures: Failures, seed: int) -> None:
        self.rng = random.Random(seed)
        super().__init__(looks.plan(failures=failures))

    def second(self, p: float, stable_p: float = 0.0, requests: int = 25) -> Verdict:
        canary, stable = ((each, drawn(self.rng, each, share)) for each, share in ((requests, p), (75, stable_p)))
        return self.look(1, canary, stable).verdict

    @property
    def memory(self) -> objective.Memory:
        assert isinstance(self.evidence.memory, objective.Memory)
        return self.evidence.memory

    def bursts(self, seconds: int, every: int = 60, lasting: int = 2, p: float = 0.3) -> bool:
        """1 % of all requests fail, in bursts at any time. Whether the gate ever fails."""
        self.second(0.0)
        self.begins_step()
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


@pytest.mark.parametrize(("p", "at_most"), [(1.0, 5), (0.3, 60), (0.05, 120)])
def test_what_is_bad_from_the_begin_is_found_with_bursts_too(p: float, at_most: float) -> None:
    assert median(seconds_to_fail(seed, 0, p) for seed in range(7)) <= at_most


@pytest.mark.parametrize(("p", "at_most"), [(1.0, 30), (0.3, 60), (0.05, 120)])
def test_what_breaks_late_is_found_with_bursts_too(p: float, at_most: float) -> None:
    assert median(seconds_to_fail(seed, 900, p) for seed in range(5)) <= at_most


def seconds_to_fail(seed: int, healthy_seconds: int, p: float) -> int:
    walk = Walk("bursty", seed)
    walk.second(0.0)
    walk.begins_step()
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
    assert (steady.memory.bursty, bursts.memory.bursty) == (False, True)
    assert steady.judgement.verdict is Verdict.PASS
    assert bursts.judgement.verdict is Verdict.UNDECIDED, "nothing passes by blocks"


def test_bursts_once_seen_stay_seen() -> None:
    walk = Walk("auto", 2)
    for second in range(300):
        walk.second(0.0, stable_p=0.3 if second % 60 < 2 else 0.0)
    for _ in range(300):
        walk.second(0.0)
    assert walk.memory.bursty
    anew = again(walk.evidence).memory
    assert isinstance(anew, objective.Memory)
    assert (anew.bursty, anew.stable_blocks.closed) == (True, 0)


HISTORIES: dict[str, tuple[list[tuple[int, int]], bool]] = {
    "bursts": ([(1000, 10), (1000, 0), (1000, 60), (1000, 0), (1000, 0), (1000, 90)] * 3, True),
    "failures one by one": ([(1000, 9), (1000, 11), (1000, 10)] * 6, False),
    "too short to tell": ([(1000, 0), (1000, 200)] * 5, False),
    "nothing known": ([], False),
}


@pytest.mark.parametrize(("history", "bursty"), HISTORIES.values(), ids=HISTORIES)
def test_auto_goes_by_what_was_before_the_walk_too(history: list[tuple[int, int]], bursty: bool) -> None:
    """The source tells it once, in its first reading."""
    walk = Walk("auto", 1)
    walk.read(Reading(canary=Sample(at=walk.now), stable=Sample(at=walk.now), history=tuple(history)))
    assert walk.memory.bursty is bursty
    walk.second(0.0)
    assert walk.memory.bursty is bursty
    assert walk.memory.stable_blocks.closed == 0, "it is no block of the walk's"


def test_the_machine_goes_by_blocks() -> None:
    """8 % of each block is bad: under the hard limit, and no walk that looks at single requests only reverts."""
    walk = by_hand.Walk(by_hand.plan(20, gated=True, failures="bursty"), readings=reading_at(0, 0, 0))
    walk.until(Dwell(0))
    for block in range(12):
        walk.look(readings=reading_at(100 + 10.0 * block, 100 * block, 8 * block))
        if walk.state.phase is Phase.REVERTING:
            break
    assert walk.state.phase is Phase.REVERTING
    assert block > 2
    assert "by blocks of 10 s" in (walk.state.reason or "")


def reading_at(at: float, total: int, bad: int) -> dict[str, Reading]:
    return {"success_rate": Reading(canary=by_hand.sample(total - bad, bad, at=at), stable=Sample(at=at))}


def test_auto_divides_alpha_among_its_tests() -> None:
    """So that it does not matter when, or why, one changes to the other."""
    version = Version([(0, 1000, 25)], Arm(total=1000, bad=25), closed((500, 10), (500, 15)))
    for failures, bursty, share in (("independent", False, 1 - BURSTY_STAKE), ("bursty", True, BURSTY_STAKE)):
        whole = log_failing(looks.plan(failures=failures), RATE, version, bursty=bursty)
        part = log_failing(looks.plan(failures="auto"), RATE, version, bursty=bursty)
        assert part == pytest.approx(whole + log(share))


def test_an_objective_of_half_has_no_hard_limit() -> None:
    gate = RATE.model_copy(update={"max_bad_ratio": 0.5})
    version = Version([(0, 200, 180)], Arm(total=200, bad=180), closed((100, 90), (100, 90), p0=0.5))
    found = log_failing(looks.plan(gate, failures="bursty"), gate, version, bursty=True)
    assert found == pytest.approx(log_e_blocks(version.blocks))


def test_the_hard_limit_is_of_all_requests_those_of_the_warm_up_too() -> None:
    arm = Arm(total=10, bad=0, warm_total=100, warm_bad=90)
    some = looks.plan(failures="bursty")
    assert failing.fails(some, RATE, Version([(0, 10, 0)], arm, Blocks()), bursty=True)[0]


def test_a_burst_in_the_first_seconds_is_no_broken_version() -> None:
    """Of 50 requests a second, all of 2 s, from the third on."""
    walk = Walk("bursty", 1)
    for second in range(60):
        assert walk.look(1, (50, 50 if second in (3, 4) else 0), (450, 0)).verdict is not Verdict.FAIL


def test_the_verdict_says_so() -> None:
    walk = Walk("bursty", 1)
    for _ in range(3):
        walk.look(10, (100, 0), (900, 0))
    while walk.judgement.verdict is not Verdict.FAIL:
        walk.look(10, (100, 40), (900, 1))
    canary, stable = walk.evidence.canary, walk.evidence.stable
    text = walk.explained()
    assert text.startswith(f"success rate: {canary.bad} of {canary.total} canary requests failed (")
    assert text.endswith(
        " >= 200 (alpha 0.005 over 1 gate, as failures come in bursts: by blocks of 10 s), 42 s at 20 %, "
        f"data 1.2 s old; stable {100 * stable.bad / stable.total:.2f} % of {stable.total:,}"
    )


def test_an_outage_is_shared_in_blocks_too() -> None:
    walk = Walk("bursty", 1)
    for _ in range(3):
        walk.look(10, (100, 0), (900, 0))
    said = [walk.look(10, (100, 40), (900, 360)).verdict for _ in range(9)]
    assert Verdict.FAIL not in said
    assert said[-1] is Verdict.HOLD


def test_blocks_are_of_time() -> None:
    walk = Walk("bursty", 5)
    for _ in range(3 * int(BLOCK_SECONDS) + 1):
        walk.second(0.0)
    assert (walk.memory.canary_blocks.closed, walk.memory.stable_blocks.closed) == (3, 3)
    again_ = Evidence.model_validate_json(walk.evidence.model_dump_json())
    assert again_ == walk.evidence
