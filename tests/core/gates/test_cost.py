"""What a look costs: six gates, of which the objectives have begun five tests after the walk itself.

On an idle core it is under a millisecond, of which exact evidence would be several; that is asserted as a ratio to
one exact e-value, which costs about 35 µs there, so that a busy machine does not matter.
"""

from __future__ import annotations

import time
from statistics import median

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Look, Reading, Sample
from pulumi_rollout.core.evidence import log_e_fail
from pulumi_rollout.core.gates import Evidence
from pulumi_rollout.core.measures import Baseline, Gate, Latency, Share, Stalled, SuccessRate
from tests.core.gates.looks import RATE, plan

GATES: tuple[Gate, ...] = (
    RATE,
    RATE.model_copy(update={"id": "latency", "metric": Latency(bound_seconds=0.5)}),
    RATE.model_copy(update={"id": "slow", "metric": Latency(bound_seconds=0.1), "max_bad_ratio": 0.05}),
    Baseline(id="baseline", metric=SuccessRate(), source="s"),
    Share(id="share", source="s"),
    Stalled(id="stalled", source="s"),
)
# 1 ms is about 28 exact e-values; a test may take three times as long.
MOST_E_VALUES = 3 * 28


def sample(arm: str, now: float, requests: float) -> Sample:
    """Of four pods; a few in a thousand are bad."""
    good = {f"{arm} {pod} 200": (requests / 4, False) for pod in "abcd"}
    bad = {f"{arm} {pod} 503": (float(int(requests * 0.001)), True) for pod in "abcd"}
    return Sample(series=good | bad, pods={name: name.split()[1] for name in good | bad}, at=now)


def looks(number: int, numbers_every: int) -> list[tuple[float, float]]:
    """How long each of so many looks takes, and an exact e-value just after it. + numbers_every: so many of them see
    the same numbers"""
    some, times = plan(*GATES, failures="auto", warm_up=60), []
    known: dict[str, Evidence] = {}
    for look in range(number):
        now = 1000.0 + 0.5 * (look - look % numbers_every)
        reading = Reading(canary=sample("c", now, 50 * now), stable=sample("s", now, 50 * now))
        if look % 60 == 10 and look < 300:
            known = {gate.id: gates.begin_step(gate, known[gate.id]) for gate in GATES}
        seen = Look(now=1000.0 + 0.5 * look, weight_percent=50, warm_until=1001.0)
        begun = time.process_time()
        known = {gate.id: gates.look_at(some, gate, known.get(gate.id), reading, seen) for gate in GATES}
        ended = time.process_time()
        log_e_fail(5000, 60, 0.01)
        times.append((ended - begun, time.process_time() - ended))
    return times[300:]


def test_a_look_costs_less_than_a_millisecond() -> None:
    each, same = looks(600, 1), looks(600, 4)
    seconds, unit, of_same = (median(column) for column in (*zip(*each, strict=True), [one for one, _ in same]))
    print(
        f"6 gates: {1e3 * seconds:.2f} ms, {1e3 * of_same:.2f} with numbers as before; an e-value {1e6 * unit:.0f} µs"
    )
    assert median(look / e_value for look, e_value in each) < MOST_E_VALUES
    assert of_same < seconds, "what has not changed is not judged again"
