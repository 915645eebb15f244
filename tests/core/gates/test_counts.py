"""Counting from raw counters: bases, resets, late samples, pods, the warm-up, and what is counted after promotion."""

from __future__ import annotations

from math import inf

import pytest

from pulumi_rollout.core.counts import Arm, Look, Reading, Sample, count, fold, newest
from tests.core.gates.looks import sample


def counted(*samples: Sample) -> Arm:
    arm = Arm()
    for one in samples:
        arm = count(arm, one)
    return arm


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
        pytest.param(
            [sample(100.0, ok=5), sample(103.0, ok=9), sample(101.0, ok=6), sample(104.0, ok=10)],
            5,
            0,
            id="a sample that comes late is no reset",
        ),
    ],
)
def test_count(samples: list[Sample], total: int, bad: int) -> None:
    arm = counted(*samples)
    assert (arm.total, arm.bad) == (total, bad)


def test_count_remembers_the_time_of_the_newest_number() -> None:
    assert counted(sample(100.0, ok=1), sample(105.0, ok=2)).at == 105.0
    assert counted(sample(100.0, ok=1), sample(None)).at == 100.0
    assert counted(sample(105.0, ok=2), sample(100.0, ok=1)).at == 105.0


def of_pods(at: float, **pods: tuple[float, float]) -> Sample:
    """+ pods: good and bad requests that each has counted"""
    series = {f"{pod} {kind}": (value[kind == "bad"], kind == "bad") for pod, value in pods.items() for kind in KINDS}
    return Sample(series=series, pods={name: name.split()[0] for name in series}, at=at)


KINDS = ("good", "bad")


def test_requests_are_counted_by_pod() -> None:
    arm = counted(of_pods(1, a=(5, 0)), of_pods(2, a=(9, 1), b=(7, 0)), of_pods(3, a=(9, 4), b=(8, 0)))
    assert (arm.total, arm.bad, arm.pods) == (16, 4, {"a": (8, 4), "b": (8, 0)})


def test_a_series_that_is_of_no_pod_counts_all_the_same() -> None:
    arm = counted(sample(1.0), sample(2.0, ok=3, x_bad=1))
    assert (arm.total, arm.bad, arm.pods) == (4, 1, {})


def both(at: float, canary: float, stable: float, bad: float = 0) -> Reading:
    return Reading(canary=sample(at, ok=canary, x_bad=bad), stable=sample(at, a=stable))


def folded(*seen: tuple[Reading, Look]) -> tuple[Arm, Arm]:
    canary, stable = Arm(), Arm()
    for reading, look in seen:
        canary, stable = fold(canary, stable, reading, look)
    return canary, stable


def split(arm: Arm) -> tuple[int, int]:
    return arm.total, arm.warm_total


def test_before_the_canarys_first_request_stables_are_not_counted() -> None:
    """Its own first ones are of the warm-up."""
    waiting = Look(now=0, warm_until=inf)
    canary, stable = folded((both(1, 0, 900), waiting), (both(2, 0, 1000), waiting), (both(3, 4, 1100), waiting))
    assert (split(canary), split(stable)) == ((0, 4), (0, 0))
    canary, stable = fold(canary, stable, both(4, 10, 1150), Look(now=0, warm_until=60))
    assert (split(canary), split(stable)) == ((0, 10), (0, 50))


def test_both_versions_drop_the_seconds_of_the_warm_up() -> None:
    """All of a sample that can have any of it: what came after the sample before."""
    warm = Look(now=0, warm_until=10)
    seen = [(both(at, 10 * at, 90 * at), warm) for at in (8.0, 9.0, 11.0, 12.0)]
    canary, stable = folded(*seen)
    assert (split(canary), split(stable)) == ((10, 30), (90, 270))


def test_what_is_bad_in_the_warm_up_is_kept_apart() -> None:
    canary, _ = folded(
        (both(1, 0, 0), Look(now=0, warm_until=5)),
        (both(6, 20, 0, bad=5), Look(now=0, warm_until=5)),
        (both(7, 30, 0, bad=6), Look(now=0, warm_until=5)),
    )
    assert (canary.total, canary.bad, canary.warm_total, canary.warm_bad) == (11, 1, 25, 5)


def test_without_a_warm_up_all_counts_from_the_begin() -> None:
    canary, stable = folded((both(1, 5, 900), Look(now=0)), (both(2, 7, 950), Look(now=0)))
    assert (split(canary), split(stable)) == ((2, 0), (50, 0))


def test_after_promotion_the_apexs_requests_are_the_new_versions() -> None:
    """What the apex counted before the switch was stable's; what it counts from then on is not. Stable's numbers are
    then as new as the canary's: nothing waits for them."""
    shared, promoted = Look(now=0), Look(now=0, promoted=True)
    canary, stable = folded(
        (Reading(canary=sample(1.0, c=10), stable=sample(1.0, a=900, a_bad=9)), shared),
        (Reading(canary=sample(2.0, c=30), stable=sample(2.0, a=1000, a_bad=10)), shared),
        (Reading(canary=sample(3.0, c=31), stable=sample(3.0, a=1040, a_bad=14)), promoted),
        (Reading(canary=sample(4.0, c=31), stable=sample(4.0, a=1040, a_bad=16)), promoted),
    )
    assert (canary.total, canary.bad) == (20 + 1 + 40 + 6, 6)
    assert (stable.total, stable.bad, stable.at) == (101, 1, 4.0)


def test_judged_anew_nothing_is_counted_again() -> None:
    arm = counted(of_pods(1, a=(5, 0)), of_pods(2, a=(9, 3)))
    again = count(arm.emptied(), of_pods(3, a=(10, 3)))
    assert (again.total, again.bad, again.pods) == (1, 0, {"a": (1, 0)})


def test_the_newest_number_is_of_either_version() -> None:
    assert newest(Arm(), Arm()) is None
    assert newest(Arm(at=3.0), Arm()) == 3.0
    assert newest(Arm(at=3.0), Arm(at=4.0)) == 4.0
