"""What preview says of a plan at the traffic that is seen: its lines word for word, and steps that cannot end."""

from __future__ import annotations

from math import exp, lgamma, log, log1p
from typing import Any

import pytest

from pulumi_rollout.core import forecast
from pulumi_rollout.core.arithmetic import (
    requests_to_compare,
    requests_to_pass,
    smallest_caught,
    smallest_caught_beside,
    smallest_caught_in_blocks,
)
from pulumi_rollout.core.forecast import Traffic, lines, problems
from pulumi_rollout.core.measures import (
    Baseline,
    Gate,
    Latency,
    Objective,
    Query,
    Restarts,
    Source,
    Stalled,
    SuccessRate,
)
from pulumi_rollout.core.plan import Limits, Plan, Step

RATE = Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="s")
SLOW = Objective(id="latency", metric=Latency(bound_seconds=0.5), max_bad_ratio=0.05, source="s")
BESIDE = Baseline(id="success_rate_vs_stable", metric=SuccessRate(), source="s")
STALLED, RESTARTS = Stalled(id="stalled", source="s"), Restarts(id="restarts")
# A hundred requests a second, and one.
MANY, FEW = Traffic(requests=6000, seconds=60), Traffic(requests=60, seconds=60)
STEPS = "steps: 10, 50 %, then all traffic; at most 21.3 min in all"


def plan(*gates: Gate, limits: dict[str, float] | None = None, **changes: Any) -> Plan:
    """10 % and 50 %, 30 s each, at most 10 min. Warm-up: 20 s, and 5 s at each step."""
    steps = tuple(Step(weight_percent=weight, interval_seconds=30, max_wait_seconds=600) for weight in (10, 50))
    known = {"warm_up_seconds": 20, "warm_up_step_seconds": 5, "preparing_seconds": 1, "drain_seconds": 15}
    return Plan(
        steps=steps,
        gates=gates,
        sources={"s": Source(kind="direct", proxy="contour")},
        limits=Limits.model_validate({**known, **(limits or {})}),
        **changes,
    )


def without_a_bad_one(max_bad_ratio: float, wanted: float) -> int:
    """The least number of good requests that shows an objective, straight from the integral of ((1-p)/(1-p0))^n over
    p from 0 to p0, divided by p0."""
    good, n = 1 - max_bad_ratio, 0
    while (good**-n - good) / ((n + 1) * max_bad_ratio) < wanted:
        n += 1
    return n


# What is said.


def test_the_plan_without_traffic_and_without_gates() -> None:
    assert lines(plan(), None) == [STEPS]
    assert lines(plan(), MANY) == [STEPS]


def test_the_longest_time_is_the_plans() -> None:
    long = plan(limits={"rollout_seconds": 600})
    assert long.worst_case_seconds() == 600 + long.way_back_seconds() == 679
    assert lines(long, None)[0].endswith("; at most 11.3 min in all")


def test_a_short_one_in_seconds() -> None:
    short = plan(limits={"rollout_seconds": 10, "propagation_seconds": 10, "settle_seconds": 0})
    assert lines(short, None)[0].endswith("; at most 35 s in all")


def test_without_traffic_it_is_what_shows_each_objective() -> None:
    assert [without_a_bad_one(ratio, 20) for ratio in (0.01, 0.05)] == [449, 88]
    assert lines(plan(RATE, SLOW, BESIDE, STALLED, RESTARTS), None) == [
        STEPS,
        "alpha 0.005 is shared by: success_rate, latency, success_rate_vs_stable",
        "success rate: at most 1 % of requests failed; 449 good requests show it",
        "latency: at most 5 % of requests took longer than 500 ms; 88 good requests show it",
        "success rate vs stable: not more than 1.5 times the old version's share of requests that failed",
        "stalled: requests end within 10 s, most of them",
        "restarts: at most 0 restarts of the canary's containers under traffic",
    ]


def test_another_beta_needs_other_requests() -> None:
    needed = without_a_bad_one(0.01, 1000)
    assert f"; {needed:,} good requests show it" in lines(plan(RATE, beta=0.001), None)[2]
    assert needed > 449


def test_what_no_number_of_requests_shows() -> None:
    strict = RATE.model_copy(update={"max_bad_ratio": 1e-10})
    assert lines(plan(strict), None)[2] == "success rate: at most 1e-08 % of requests failed"


def test_those_that_are_for_show_share_nothing() -> None:
    shown = RATE.model_copy(update={"dry_run": True})
    assert lines(plan(shown, SLOW), None)[1] == "alpha 0.005 is shared by: latency"
    assert [line.split()[0] for line in lines(plan(shown, RESTARTS), None)] == ["steps:", "success", "restarts:"]


# What it catches. At 10 % the first 20 of 30 s are warm-up; at 50 %, for latency, the first 5.
CANARY, SLOWLY = 10 * 10 + 30 * 50, 10 * 10 + 25 * 50
BOTH = "at 100 requests a second it catches {} % and more with a chance of 95 %"


def words(found: list[str], gate: str) -> str:
    return next(line for line in found if line.startswith(f"{gate}: "))


@pytest.mark.parametrize(
    ("limits", "failures", "canary", "part"),
    [
        ({}, "auto", CANARY, 0.5 * 0.5 * 0.8),
        ({}, "independent", CANARY, 0.5 * 0.5),
        ({"warm_up_seconds": 0, "warm_up_step_seconds": 0}, "auto", 30 * 10 + 30 * 50, 0.5 * 0.8),
        ({"warm_up_seconds": 60, "warm_up_step_seconds": 5}, "auto", 50 + 30 * 50, 0.5 * 0.5 * 0.8),
        ({"min_samples": 5000}, "auto", 10_000, 0.5 * 0.5 * 0.8),
    ],
    ids=["by default", "failures one by one", "no warm-up", "a warm-up as long as the step", "many samples"],
)
def test_what_an_objective_catches(limits: dict[str, float], failures: str, canary: int, part: float) -> None:
    """In the requests that a walk without delay sees, with the gate's part of alpha."""
    caught = smallest_caught(0.01, 0.005 * part / 2, canary)
    assert caught is not None
    said = words(lines(plan(RATE, SLOW, limits=limits, failures=failures), MANY), "success rate")
    assert said.endswith(f"; {BOTH.format(f'{100 * caught:.2g}')}")


def test_for_latency_each_rise_has_a_warm_up() -> None:
    caught = smallest_caught(0.05, 0.005 * 0.5 * 0.5 * 0.8, SLOWLY)
    assert caught is not None
    assert words(lines(plan(SLOW), MANY), "latency").endswith(f"; {BOTH.format(f'{100 * caught:.2g}')}")


def caught_by_hand(requests: int, max_bad_ratio: float, alpha_share: float) -> float:
    """The share of bad requests that is caught with a chance of 95 %, by plain sums: the integral over p from the limit
    to 1 of the likelihood ratio, and the binomial chances of at least as many bad ones as that needs."""

    def e_value(bad: int) -> float:
        parts = 20_000
        mids = (max_bad_ratio + (1 - max_bad_ratio) * (k + 0.5) / parts for k in range(parts))
        logs = (bad * log(p / max_bad_ratio) + (requests - bad) * (log1p(-p) - log1p(-max_bad_ratio)) for p in mids)
        return sum(exp(one) for one in logs) / parts

    def chance(p: float) -> float:
        fewer = (
            lgamma(requests + 1) - lgamma(k + 1) - lgamma(requests - k + 1) + k * log(p) + (requests - k) * log1p(-p)
            for k in range(enough)
        )
        return 1 - sum(map(exp, fewer))

    enough = next(bad for bad in range(requests) if e_value(bad) >= 1 / alpha_share)
    return next(k / 10_000 for k in range(1, 10_000) if chance(k / 10_000) >= 0.95)


@pytest.mark.parametrize(
    ("seen", "requests", "percent"), [(MANY, CANARY, "3.1"), (FEW, 100, "13")], ids=["many", "few"]
)
def test_the_number_itself(seen: Traffic, requests: int, percent: str) -> None:
    assert f"{100 * caught_by_hand(requests, 0.01, 0.005 * 0.5 * 0.5 * 0.8):.2g}" == percent
    rate = f"at {seen.requests / seen.seconds:g} requests a second"
    said = words(lines(plan(RATE), seen), "success rate")
    assert said.endswith(f"; {rate} it catches {percent} % and more with a chance of 95 %")


def test_less_traffic_catches_less() -> None:
    found = [forecast._caught(plan(RATE), RATE, Traffic(requests=n, seconds=60)) for n in (6_000, 60_000, 600_000)]
    assert all(one is not None for one in found)
    assert found == sorted((one for one in found if one), reverse=True)
    assert 0.01 < (found[-1] or 0) < 0.012


@pytest.mark.parametrize("ratio", [None, 0.02], ids=["usual", "known"])
def test_what_a_comparison_catches(ratio: float | None) -> None:
    """Beside the old version's requests of the same seconds; where its failures are not known, one of a thousand."""
    stable = 100 * 9 + 1500
    caught = smallest_caught_beside(ratio or 0.001, 1.5, 0.005, CANARY, stable)
    assert caught is not None
    traffic = MANY.model_copy(update={"bad_ratio": {BESIDE.id: ratio} if ratio else {"other": 0.3}})
    said = words(lines(plan(BESIDE), traffic), "success rate vs stable")
    assert said.endswith(f"; {BOTH.format(f'{100 * caught:.2g}')}")


def test_what_is_caught_where_failures_come_in_bursts() -> None:
    """Four blocks of 10 s count, and half of alpha is for the hard limit."""
    caught = smallest_caught_in_blocks(0.01, 0.0025, 4, CANARY // 4)
    assert caught is not None
    said = words(lines(plan(RATE, failures="bursty"), MANY), "success rate")
    assert said.endswith(f"; at 100 requests a second it catches {100 * caught:.2g} % and more in each block of 10 s")


def test_a_gate_that_catches_next_to_nothing_says_so_in_percent() -> None:
    loose = RATE.model_copy(update={"max_bad_ratio": 0.98})
    said = words(lines(plan(loose), MANY), "success rate")
    assert said.endswith("it catches 100 % and more with a chance of 95 %")


def test_where_nothing_is_caught_nothing_is_said() -> None:
    quick = plan(SLOW, limits={"min_samples": 0, "warm_up_seconds": 60, "warm_up_step_seconds": 60})
    assert words(lines(quick, MANY), "latency") == (
        "latency: at most 5 % of requests took longer than 500 ms; 88 good requests show it"
    )
    bursty = quick.model_copy(update={"failures": "bursty"})
    assert "catches" not in words(lines(bursty, MANY), "latency")


# What it cannot do.


def traffic(requests: int) -> Traffic:
    return Traffic(requests=requests, seconds=60)


def test_without_knowing_the_traffic_nothing_is_a_problem() -> None:
    assert problems(plan(RATE, evidence="required"), None) == []


def test_too_little_traffic_for_the_samples() -> None:
    """10 requests in a minute may in truth be 23: 3 sqrt(11) + 3 more. In the 580 s behind the warm-up a tenth of
    these is 22."""
    most = (10 + 3 * 11**0.5 + 3) / 60
    assert (round(most, 3), round(58 * most)) == (0.382, 22)
    assert problems(plan(RATE), traffic(10)) == [
        "step 1 (10 %) ends without a decision: at 0.382 requests a second within maxWait (10 min) the canary gets 22 "
        "of the 50 requests that minSamples wants"
    ]


def test_what_could_be_enough_in_truth_is_no_problem() -> None:
    """A minute is a small sample of the day: no plan is refused for what chance may have done."""
    enough = next(n for n in range(100) if problems(plan(RATE), traffic(n)) == [])
    assert enough < 50 / 58 * 60, "fewer than what is wanted, by their number alone"
    assert problems(plan(RATE), traffic(enough - 1)) != []
    assert 58 * traffic(enough).most_per_second >= 50


def test_no_traffic_at_all_is_a_problem() -> None:
    [problem] = problems(plan(RATE), traffic(0))
    assert problem.startswith("step 1 (10 %) ends without a decision: at 0.1 requests a second")


def test_a_second_step_can_be_the_one_that_is_too_short() -> None:
    both = plan(RATE)
    first, second = both.steps
    short = both.model_copy(update={"steps": (first, second.model_copy(update={"max_wait_seconds": 6}))})
    [problem] = problems(short, traffic(600))
    assert problem.startswith("step 2 (50 %) ends without a decision: ")
    assert "within maxWait (6 s) the canary gets 34 of the 50 requests" in problem


@pytest.mark.parametrize("gates", [(), (RESTARTS,), (STALLED,), (RATE.model_copy(update={"dry_run": True}),)])
def test_what_does_not_count_requests_needs_none(gates: tuple[Gate, ...]) -> None:
    assert problems(plan(*gates), traffic(0)) == []


def test_required_evidence_needs_more() -> None:
    """Each gate has to be shown by its own number; the first that is not is named."""
    required = plan(SLOW, RATE, evidence="required")
    [problem] = problems(required, traffic(240))
    assert problem == (
        "step 1 (10 %) ends without a decision: at 4.83 requests a second within maxWait (10 min) the canary gets 280 "
        "of the 449 requests that show success_rate"
    )
    assert problems(required, traffic(600)) == []
    assert problems(plan(SLOW, RATE), traffic(240)) == []


def test_what_is_shown_at_the_first_step_stays_shown() -> None:
    """Later steps need no evidence of their own, only their samples."""
    required = plan(RATE, evidence="required")
    first, second = required.steps
    short = required.model_copy(update={"steps": (first, second.model_copy(update={"max_wait_seconds": 31}))})
    assert problems(short, traffic(600)) == []


def test_an_objective_that_nothing_shows() -> None:
    strict = RATE.model_copy(update={"max_bad_ratio": 1e-10})
    assert requests_to_pass(1e-10, 0.05) is None
    assert problems(plan(strict, evidence="required"), traffic(10**9)) == [
        "no number of requests shows success_rate: its limit is too close to none at all"
    ]


def test_a_comparison_with_what_hardly_ever_fails_shows_nothing() -> None:
    """Nothing bad was seen, so in truth one of ten thousand may be; at 10 % of 100 requests a second for 580 s even
    that is too little."""
    required = plan(BESIDE, evidence="required")
    seen = Traffic(requests=60_000, seconds=600, bad_ratio={BESIDE.id: 0.0})
    needed = requests_to_compare(6 / 60_000, 2.0, 0.05, 10)
    assert needed is not None and needed > 6_000
    [problem] = problems(required, seen)
    assert problem.endswith(f"of the {needed:,} requests that show success_rate_vs_stable")
    assert problems(required, seen.model_copy(update={"bad_ratio": {BESIDE.id: 0.01}})) == []
    assert problems(required, seen.model_copy(update={"bad_ratio": {}})) == [], "not known"
    assert problems(plan(BESIDE), seen) == []


def test_a_comparison_that_no_number_of_requests_decides() -> None:
    required = plan(BESIDE.model_copy(update={"max_ratio": 1.001}), evidence="required")
    seen = Traffic(requests=60_000_000, seconds=60, bad_ratio={BESIDE.id: 0.0})
    assert problems(required, seen) == [
        "no number of requests shows success_rate_vs_stable: the old version's requests, of which 1e-05 % at most are "
        "bad, are too good to be compared with"
    ]
    alone = required.model_copy(update={"steps": (required.steps[0].model_copy(update={"weight_percent": 100}),)})
    assert problems(alone, MANY) == [
        "no number of requests shows success_rate_vs_stable: once all traffic is on the new version there is nothing "
        "to compare it with"
    ]


def test_a_dry_run_has_nothing_to_show() -> None:
    shown = plan(RATE.model_copy(update={"dry_run": True}), SLOW, evidence="required")
    assert problems(shown, traffic(240)) == []


def test_a_query_is_named_by_its_id() -> None:
    orders = Objective(id="orders", metric=Query(title="Orders", bad="a", total="b"), max_bad_ratio=0.01, source="s")
    [problem] = problems(plan(orders, evidence="required"), traffic(240))
    assert problem.endswith("of the 449 requests that show orders")
