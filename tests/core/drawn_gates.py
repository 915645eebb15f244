"""Gates of all kinds for simulated walks, drawn from a seed.

Lives here: which there are. Not here: what a plan has besides (`scripts.py`), or their numbers (`counters.py`).
"""

from __future__ import annotations

import random

from pulumi_rollout.core.measures import (
    Alerts,
    Baseline,
    Gate,
    Latency,
    Objective,
    Restarts,
    Share,
    Stalled,
    SuccessRate,
)

# The objective of every gate that has one.
MAX_BAD_RATIO = 0.05
STALLED_AFTER_SECONDS = 4.0
RATE = Objective(id="rate", metric=SuccessRate(), max_bad_ratio=MAX_BAD_RATIO, source="s")
OTHERS: tuple[Gate, ...] = (
    Objective(id="latency", metric=Latency(bound_seconds=0.5), max_bad_ratio=MAX_BAD_RATIO, source="s"),
    Baseline(id="baseline", metric=SuccessRate(), source="s"),
    Share(id="share", margin=2.0, source="s"),
    Stalled(id="stalled", after_seconds=STALLED_AFTER_SECONDS, source="s"),
    Restarts(id="restarts"),
    Alerts(id="alerts", source="s"),
)


def draw_gates(rng: random.Random, *, judged: bool, dry: bool) -> tuple[Gate, ...]:
    """Some gates in any order, of which some are dry runs. + judged: an objective is there, and is none; dry: one is"""
    gates = [_perhaps_dry(rng, gate) for gate in rng.sample(OTHERS, rng.choice([0, 0, 1, 1, 2, 3]))]
    if judged or rng.random() < 0.5:
        gates.append(RATE if judged else _perhaps_dry(rng, RATE))
    if dry:
        gates.append(RATE.model_copy(update={"id": "shown", "dry_run": True}))
    rng.shuffle(gates)
    return tuple(gates)


def _perhaps_dry(rng: random.Random, gate: Gate) -> Gate:
    return gate.model_copy(update={"dry_run": rng.random() < 0.2})
