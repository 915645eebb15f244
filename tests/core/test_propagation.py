"""A weight that no status tells of: seen from the requests, never sooner than the proxy has it, and never for ever."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import (
    Alerts,
    Baseline,
    Objective,
    Query,
    Restarts,
    Share,
    Source,
    Stalled,
    SuccessRate,
)
from pulumi_rollout.core.plan import Limits, Plan
from pulumi_rollout.core.propagation import (
    DOUBTED_SECONDS,
    UNTOLD_SECONDS,
    Propagation,
    look,
    problem,
    telling,
)
from tests.core.by_hand import plan

PLAN = plan(limits=Limits(propagation_seconds=60))
GATE = Objective(id="rate", source="s", metric=SuccessRate(), max_bad_ratio=0.01)
CHANGED_AT, LOOK_SECONDS, SETTLE_SECONDS = 5.0, 0.5, 2.0


def reading(canary: float, stable: float, at: float) -> Reading:
    return Reading(
        canary=Sample(series={"c": (canary, False)}, at=at), stable=Sample(series={"s": (stable, False)}, at=at)
    )


class Proxy:
    """Requests at a rate, shared as at a weight that it takes late. + delay: of its numbers"""

    def __init__(
        self, old: int, new: int, *, late: float, rate: float = 100, delay: float = 0.2, seed: int = 1
    ) -> None:
        self.old, self.new, self.late, self.rate, self.delay = old, new, late, rate, delay
        self._rng = random.Random(seed)
        self._counted = [(0.0, 0, 0)]

    def read(self, now: float) -> Reading:
        before, canary, stable = self._counted[-1]
        for _ in range(round(self.rate * (now - before))):
            share = self.new if now >= CHANGED_AT + self.late else self.old
            drawn = self._rng.random() < share / 100
            canary, stable = canary + drawn, stable + (not drawn)
        self._counted.append((now, canary, stable))
        known = [one for one in self._counted if one[0] <= now - self.delay] or self._counted[:1]
        return reading(known[-1][1], known[-1][2], known[-1][0])


def taken_after(proxy: Proxy, plan: Plan = PLAN, until: float = 120.0, *, reported: bool = False) -> tuple[float, bool]:
    """Seconds from the change to when it is relied on, and whether it was seen."""
    state, now = Propagation(), 0.0
    while now < until:
        now += LOOK_SECONDS
        state = look(state, proxy.new if now >= CHANGED_AT else proxy.old, GATE, proxy.read(now), now)
        if now >= CHANGED_AT + SETTLE_SECONDS * reported and problem(state, plan, now, reported=reported) is None:
            return now - CHANGED_AT, state.taken
    return until, False


CHANGES = [(0, 10), (10, 20), (20, 50), (50, 100), (50, 20), (30, 0), (100, 0)]


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("late", [0.0, 3.0, 8.0])
def test_it_is_seen_soon_after_the_proxy_has_it_and_not_before(old: int, new: int, late: float) -> None:
    for seed in range(20):
        after, seen = taken_after(Proxy(old, new, late=late, seed=seed))
        assert (late <= after <= late + 8, seen) == (True, True), (seed, after)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_proxy_that_never_takes_it_delays_it_and_no_more(old: int, new: int) -> None:
    after, seen = taken_after(Proxy(old, new, late=1e6))
    assert (after, seen) == (DOUBTED_SECONDS, False)


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_a_status_is_believed_until_requests_speak_against_it(old: int, new: int) -> None:
    """As Traefik reports for the Gateway API before it has the weight."""
    for seed in range(20):
        assert taken_after(Proxy(old, new, late=0, seed=seed), reported=True)[0] == SETTLE_SECONDS
        assert taken_after(Proxy(old, new, late=0, rate=0.2, seed=seed), reported=True)[0] == SETTLE_SECONDS
        after, seen = taken_after(Proxy(old, new, late=5, rate=300, seed=seed), reported=True)
        assert (5 <= after <= 13, seen) == (True, True), (seed, after)


def test_without_requests_it_is_not_waited_for_long() -> None:
    assert taken_after(Proxy(10, 50, late=0, rate=0)) == (UNTOLD_SECONDS, False)
    assert taken_after(Proxy(10, 50, late=1e6, rate=0.2)) == (UNTOLD_SECONDS, False)


def test_numbers_from_before_the_change_tell_nothing() -> None:
    """Of a server that asks the proxy every 30 s."""
    assert taken_after(Proxy(10, 50, late=0, delay=30)) == (UNTOLD_SECONDS, False)


def test_it_never_takes_more_than_half_of_the_time_that_there_is() -> None:
    short = plan(limits=Limits(propagation_seconds=8))
    assert taken_after(Proxy(10, 50, late=1e6), short) == (4.0, False)


def test_what_is_said_meanwhile() -> None:
    proxy, state = Proxy(10, 50, late=6), Propagation()
    said = {}
    for half in range(1, 60):
        now = half * LOOK_SECONDS
        state = look(state, 50 if now >= CHANGED_AT else 10, GATE, proxy.read(now), now)
        said[now] = problem(state, PLAN, now)
    assert said[4.5] is None
    assert said[5.0] == "it is not seen yet that requests are shared as at weight 50"
    assert said[10.0] == "requests are still shared as at weight 10"
    assert said[15.0] is None


def test_a_walk_that_is_taken_up_does_not_wait_for_what_it_has() -> None:
    state = look(Propagation(), 20, GATE, reading(0, 0, 5), 5.0)
    assert problem(state, PLAN, 5.0) is None


def test_counters_that_begin_anew_are_no_evidence() -> None:
    """Of a proxy that was restarted in the middle."""
    state = Propagation()
    for now, canary, stable in ((1, 100, 900), (2, 110, 990), (3, 0, 0), (4, 1, 1)):
        state = look(state, 10 if now < 2 else 50, GATE, reading(canary, stable, now), float(now))
    assert (state.taken, state.doubted) == (False, False)


def test_no_data_is_no_evidence() -> None:
    state = Propagation()
    for now in range(1, 20):
        given = Reading(no_data="nobody answers") if now % 2 else None
        state = look(state, 10 if now < 3 else 50, GATE, given, float(now))
    assert (problem(state, PLAN, 5.0), problem(state, PLAN, 13.0)) == (
        "it is not seen yet that requests are shared as at weight 50",
        None,
    )


def test_of_what_may_hang_those_that_have_begun_count() -> None:
    """Each request has a series for its begin and one, marked, for its end."""
    gate, state = Stalled(id="stalled", source="s"), Propagation()
    for now in range(1, 12):
        per_second = (0, 100) if now <= 5 else (50, 50)
        samples = [
            Sample(series={"begun": (count * now, False), "ended": (0.0, True)}, at=float(now)) for count in per_second
        ]
        state = look(state, 0 if now < 5 else 50, gate, Reading(canary=samples[0], stable=samples[1]), float(now))
    assert state.taken


QUERY = Query(title="orders", bad="bad", total="total")
GATES: dict[str, tuple[list[Any], str | None]] = {
    "none": ([], None),
    "none of the proxy": (
        [
            Restarts(id="restarts"),
            Alerts(id="alerts", source="s"),
            Objective(id="orders", source="s", metric=QUERY, max_bad_ratio=0.1),
            Baseline(id="compared", source="s", metric=QUERY),
        ],
        None,
    ),
    "the first": ([Restarts(id="restarts"), GATE, Share(id="share", source="s")], "rate"),
    "what begins rather than what ends": ([GATE, Stalled(id="stalled", source="s")], "stalled"),
    "the share": ([Share(id="share", source="s")], "share"),
    "a comparison": ([Baseline(id="compared", source="s", metric=SuccessRate())], "compared"),
    "what is there by default": ([Restarts(id="restarts"), Stalled(id="stalled", source="s")], "stalled"),
}


def with_gates(*gates: Any) -> Plan:
    sources = {"s": Source(kind="direct", proxy="contour"), "pods": Source(kind="direct", proxy="app")}
    return PLAN.model_copy(update={"gates": gates, "sources": sources})


def test_who_sees_the_route_tells_before_who_does_not() -> None:
    gates = Stalled(id="stalled", source="pods"), GATE
    assert telling(with_gates(*gates), lambda source: source.proxy == "contour") is GATE
    assert telling(with_gates(*gates), lambda source: False) is gates[0]


def test_where_nothing_counts_requests_it_is_not_waited_for_long() -> None:
    state = Propagation()
    for now, weight in ((1.0, 10), (2.0, 50)):
        state = look(state, weight, None, None, now)
    assert problem(state, PLAN, 2.0) == "it is not seen yet that requests are shared as at weight 50"
    assert problem(state, PLAN, 2.0 + UNTOLD_SECONDS) is None


@pytest.mark.parametrize(("gates", "name"), GATES.values(), ids=GATES)
def test_whose_numbers_tell(gates: list[Any], name: str | None) -> None:
    found = telling(with_gates(*gates), lambda source: True)
    assert (found.id if found is not None else None) == name
