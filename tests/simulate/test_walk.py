"""One simulated release: the shipped `decide()` in a world that obeys."""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import Any

import pytest

from pulumi_rollout.core import machine
from pulumi_rollout.core.measures import (
    Alerts,
    Baseline,
    Gate,
    Latency,
    Objective,
    Query,
    Restarts,
    Share,
    Source,
    Stalled,
    SuccessRate,
)
from pulumi_rollout.core.plan import Limits, Plan, Step
from pulumi_rollout.core.state import Phase, Seen, State
from pulumi_rollout.simulate import walk as module
from pulumi_rollout.simulate.scenario import Change, Course, Scenario, Scrapes, Span
from pulumi_rollout.simulate.walk import End, channels, unattended, walk

RATE = Objective(id="rate", source="s", metric=SuccessRate(), max_bad_ratio=0.01)
SLOW = Objective(id="slow", source="s", metric=Latency(bound_seconds=0.5), max_bad_ratio=0.01)
WRONG = Objective(id="wrong", source="s", metric=Query(title="wrong orders", bad="b", total="t"), max_bad_ratio=0.01)
LIKE = Baseline(id="like", source="s", metric=SuccessRate())


def plan(*gates: Gate, **changes: Any) -> Plan:
    return Plan(
        steps=tuple(Step(weight_percent=w, interval_seconds=30, max_wait_seconds=120) for w in (20, 50)),
        gates=gates or (RATE,),
        sources={"s": Source(kind="prometheus", proxy="contour", address="http://prometheus:9090")},
        **{"limits": Limits(warm_up_seconds=0, warm_up_step_seconds=0), **changes},
    )


FINE = Scenario(rate=100, canary=Course(0.001), stable=Course(0.001))


def test_what_decides_is_what_is_shipped() -> None:
    assert vars(module)["decide"] is machine.decide


def test_a_good_version_is_promoted() -> None:
    ends = [walk(plan(), FINE, seed) for seed in range(5)]
    assert {one.end for one in ends} == {End.PROMOTED}
    assert all(60 <= one.seconds <= 90 for one in ends)
    assert {one.reason for one in ends} == {""}


def test_a_broken_one_is_put_back_at_the_first_number() -> None:
    ends = [walk(plan(), replace(FINE, canary=Course(1.0)), seed) for seed in range(5)]
    assert {one.end for one in ends} == {End.ABORTED}
    # Numbers are 5 s apart, and seen half a second later.
    assert all(0 < one.seconds <= 6 for one in ends)
    assert all(one.failed == pytest.approx(20 * one.seconds, rel=0.5) for one in ends)
    assert all("canary requests failed" in one.reason for one in ends)


SLOWER = {"slower than 500 ms": (Course(0.1), Course(0.0))}


@pytest.mark.parametrize("gates", [(SLOW,), (SLOW, RATE), (RATE, SLOW)], ids=["no rate", "rate behind", "rate first"])
def test_failed_requests_are_those_with_an_error_whatever_the_gates_look_at(gates: tuple[Gate, ...]) -> None:
    errors = walk(
        plan(*gates), replace(FINE, canary=Course(0.5), gates={"slower than 500 ms": (Course(0), Course(0))}), 1
    )
    assert errors.failed > 20
    assert errors.end is (End.ABORTED if RATE in gates else End.PROMOTED)
    slow = walk(plan(*gates), replace(FINE, canary=Course(0.0), gates=SLOWER), 1)
    assert (slow.end, slow.failed) == (End.ABORTED, 0)


def test_too_little_traffic_is_no_decision() -> None:
    [end] = {walk(plan(), replace(FINE, rate=0.1), seed).end for seed in range(3)}
    assert end is End.UNDECIDED


def test_what_breaks_at_the_end_is_timed_from_there() -> None:
    course = Course(0.0, (Change(1.0, weight_percent=50),))
    one = walk(plan(), replace(FINE, canary=course), 1)
    assert one.end is End.ABORTED
    assert one.seconds > 30
    assert one.seconds_bad <= 6


def test_what_breaks_late_for_the_second_gate_is_timed_from_there() -> None:
    late = {"slower than 500 ms": (Course(0.0, (Change(1.0, weight_percent=50),)), Course(0.0))}
    one = walk(plan(RATE, SLOW), replace(FINE, gates=late), 1)
    assert one.end is End.ABORTED
    assert (one.seconds > 30, one.seconds_bad <= 6) == (True, True)


def test_what_breaks_once_all_traffic_is_there_is_still_found() -> None:
    """The apex has the new version's pods by then, and its requests count for it."""
    seen: list[tuple[Phase, str | None]] = []
    course = Course(0.0, (Change(1.0, seconds=3, weight_percent=100),))
    limits = Limits(warm_up_seconds=0, warm_up_step_seconds=0, settle_seconds=4, drain_seconds=30)
    one = walk(
        plan(limits=limits),
        replace(FINE, canary=course),
        1,
        lambda state, look: seen.append((state.phase, look.apex_revision)),
    )
    assert one.end is End.ABORTED
    assert (Phase.PROMOTING, "v2") in seen


def test_nothing_is_missed_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk that looks twice a second ends in the same way, and at most one number earlier."""
    scenarios = [FINE, replace(FINE, canary=Course(0.05)), replace(FINE, canary=Course(0.2), rate=20)]
    jumped = [walk(plan(), scenario, seed) for scenario in scenarios for seed in range(4)]
    monkeypatch.setattr(module._World, "_next", lambda world: world.traffic.now + 0.5)
    looked = [walk(plan(), scenario, seed) for scenario in scenarios for seed in range(4)]
    assert [one.end for one in jumped] == [one.end for one in looked]
    assert sum(one.looks for one in looked) > 1.5 * sum(one.looks for one in jumped)
    apart = [abs(one.seconds - other.seconds) for one, other in zip(jumped, looked, strict=True)]
    assert max(apart) <= 5
    assert median(apart) <= 0.5


def test_every_kind_of_gate_has_its_numbers() -> None:
    every = plan(
        RATE,
        SLOW,
        WRONG,
        LIKE,
        Share(id="share", source="s"),
        Stalled(id="stalled", source="s"),
        Restarts(id="restarts"),
        Alerts(id="alerts", source="s"),
    )
    assert channels(every) == ("errors", "slower than 500 ms", "wrong orders", "hangs")
    assert walk(every, FINE, 1).end is End.PROMOTED
    for name in ("slower than 500 ms", "wrong orders", "hangs"):
        broken = {name: (Course(0.9), Course(0.0))}
        one = walk(every, replace(FINE, canary=Course(0.0), gates=broken), 1)
        assert one.end is End.ABORTED, name
    worse = walk(plan(LIKE), replace(FINE, canary=Course(0.3), stable=Course(0.05)), 1)
    assert worse.end is End.ABORTED


def test_the_past_is_told_once() -> None:
    told: list[int] = []

    def watch(state: State, seen: Seen) -> None:
        told.extend(len(reading.history) for reading in seen.readings.values())

    walk(plan(failures="auto"), FINE, 1, watch)
    assert told[0] == 180
    assert set(told[1:]) == {0}


def test_a_silent_server_says_so_and_the_walk_goes_on_later() -> None:
    silent: list[float] = []

    def watch(state: State, seen: Seen) -> None:
        if any(reading.no_data for reading in seen.readings.values()):
            silent.append(seen.now - module.EPOCH)

    one = walk(plan(), replace(FINE, gap=Span(20, 30)), 1, watch)
    assert one.end is End.PROMOTED
    assert silent
    assert all(20 <= at < 50 for at in silent)


def test_people_are_not_waited_for() -> None:
    steps = tuple(step.model_copy(update={"wait_for_person": True}) for step in plan().steps)
    asked = plan().model_copy(update={"steps": steps, "wait_before_traffic": True, "on_failure": "freeze"})
    assert walk(asked, FINE, 1).end is End.PROMOTED
    assert walk(asked, replace(FINE, canary=Course(1.0)), 1).end is End.ABORTED
    assert unattended(asked).steps == plan().steps


def test_the_same_seed_has_the_same_luck() -> None:
    scenario = replace(FINE, canary=Course(0.03), scrapes=Scrapes(every_seconds=3))
    assert walk(plan(), scenario, 7) == walk(plan(), scenario, 7)
    assert len({walk(plan(), scenario, seed).failed for seed in range(6)}) > 1
