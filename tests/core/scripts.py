"""What befalls a simulated walk: a plan, a fate, and people with their orders, drawn from a seed.

Lives here: the choices. Not here: how the world carries them out (`world.py`), or which gates there are
(`drawn_gates.py`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal, get_args

from pulumi_rollout.core.measures import Source
from pulumi_rollout.core.plan import Limits, Plan, Step, Verb
from pulumi_rollout.core.state import Action, PointApex, Restore, SetWeight
from tests.core.drawn_gates import draw_gates

OLD, NEW, WALK = "v1", "v2", "v2-1000"
KINDS = (
    *("good", "good", "good", "good", "good", "good"),
    *(
        "bad",
        "late",
        "late",
        "unready",
        "stopped",
        "stuck",
        "silent",
        "silent",
        "silent dry runs",
        "crash",
        "edited",
        "edited",
    ),
    *("outage", "outage", "outage then bad", "bad in an outage", "one pod", "one pod", "each pod", "restarts", "hangs"),
    *("first", "first", "first"),
)
# In these a gate with an objective has to judge.
JUDGED = ("bad", "late", "silent", "outage", "outage then bad", "bad in an outage", "one pod", "each pod")


VERBS: tuple[Verb, ...] = get_args(Verb)


@dataclass(frozen=True)
class Order:
    """What somebody asks at a time, in seconds after the walk's begin.

    + stale: given to an earlier walk, or to another step than is under way
    """

    at: float
    verb: Verb
    weight_percent: int
    stale: Literal["walk", "step"] | None = None


@dataclass(frozen=True)
class Script:
    """What befalls one walk. Times are seconds after its begin; inf is never.

    + bad_ratio, bad_from: share of the canary's answers that fail, and from when on
    + outage_ratio, outage_from, outage_until: the same of both versions, for a time
    + pod_ratio: of the canary's first pod alone, from bad_from on; each_pod: and of the one that replaces it
    + restarts: when a pod of the canary restarts, and which one
    + hangs_from: no request of the canary ends any more; alert_at: an alert begins to fire
    + silent_from, silent_until: no source answers; only_dry_runs: but those of dry runs alone
    + scrape_seconds: how often a source is read, each version on its own; 0 for both at once
    + stuck_from, stuck_until: the proxy takes no route in between
    + edit, edit_at: what somebody else does to the route or the apex
    + trouble: share of writes that are lost, and as many again that arrive late
    + orders: what people ask, whether or not they were asked
    + patience: seconds after which somebody looks after a walk that is paused
    + answers: what is then said to it, in turn; weights of the set-weights among them are drawn
    """

    plan: Plan
    kind: str
    seed: int
    replicas: int = 2
    rps: int = 40
    bad_ratio: float = 0.0
    bad_from: float = inf
    outage_ratio: float = 0.0
    outage_from: float = inf
    outage_until: float = inf
    pod_ratio: float = 0.0
    each_pod: bool = False
    restarts: tuple[tuple[float, int], ...] = ()
    hangs_from: float = inf
    alert_at: float = inf
    ready: bool = True
    stop_at: float = inf
    stuck_from: float = inf
    stuck_until: float = inf
    silent_from: float = inf
    silent_until: float = inf
    only_dry_runs: bool = False
    scrape_seconds: float = 0.0
    crash_at: float = inf
    edit: Action | None = None
    edit_at: float = inf
    trouble: float = 0.05
    orders: tuple[Order, ...] = ()
    patience: float = 5.0
    answers: tuple[Verb, ...] = ()


def draw_plan(rng: random.Random, *, judged: bool, dry: bool) -> Plan:
    """A plan with short times, so that a walk takes some dozens of looks."""
    weights = sorted(rng.sample(range(1, 101), rng.randint(1, 3)))
    gates = draw_gates(rng, judged=judged, dry=dry)
    comparing = any(gate.test == "baseline" for gate in gates)
    required = bool(gates) and not comparing and rng.random() < 0.15
    warms_up = rng.random() < 0.5
    hold = rng.uniform(3, 6)
    return Plan(
        steps=tuple(
            Step(
                weight_percent=weight,
                interval_seconds=rng.uniform(0, 5),
                max_wait_seconds=rng.uniform(25, 45),
                wait_for_person=rng.random() < 0.3,
            )
            for weight in weights
        ),
        gates=gates,
        sources={"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
        alpha=rng.choice([0.005, 0.05]),
        evidence="required" if required else "sufficient",
        failures="independent" if required else rng.choice(["independent", "auto", "auto", "bursty"]),
        fix_forward=rng.random() < 0.2,
        limits=Limits(
            preparing_seconds=rng.uniform(20, 40),
            propagation_seconds=rng.uniform(12, 20),
            settle_seconds=rng.uniform(0.5, 2),
            drain_seconds=rng.uniform(4, 6),
            rollout_seconds=rng.uniform(120, 300),
            min_samples=rng.choice([1, 5, 20]),
            warm_up_seconds=rng.uniform(2, 8) if warms_up else 0,
            warm_up_step_seconds=rng.uniform(1, 6) if warms_up else 0,
            no_data_hold_seconds=hold,
            no_data_revert_seconds=hold + rng.uniform(3, 8),
            outage_seconds=rng.uniform(6, 15),
        ),
        wait_before_traffic=rng.random() < 0.15,
        on_wait="hold" if rng.random() < 0.4 else "wait",
        wait_seconds=rng.choice([0, 3]),
        on_failure="freeze" if rng.random() < 0.6 else "revert",
        on_edited="abort" if rng.random() < 0.3 else "restore",
        # A restart always ends a walk, so that none waits for ever for what nobody may do.
        forbidden_commands=rng.sample(sorted(set(VERBS) - {"restart"}), rng.choice([0, 0, 0, 1, 3])),
    )


def draw_orders(rng: random.Random) -> tuple[Order, ...]:
    """What people ask of a walk: of more than half of them nothing."""
    return tuple(
        Order(
            at=rng.uniform(0, 60),
            verb=rng.choice([*VERBS, "pause", "promote", "set-weight"]),
            weight_percent=rng.randint(0, 100),
            stale=rng.choice([None, None, None, "walk", "step"]),
        )
        for _ in range(rng.choice([0, 0, 0, 1, 2, 4]))
    )


def draw_fate(rng: random.Random, kind: str) -> dict[str, Any]:
    """What a kind of script is about."""
    when, ratio, lasts = rng.uniform(15, 75), rng.uniform(0.3, 1), rng.uniform(4, 40)
    edit = rng.choice([SetWeight(percent=50), Restore(), PointApex(revision=NEW), PointApex(revision=OLD)])
    # Early, so that both versions have traffic, and for less long than a walk may last.
    soon, short = rng.uniform(8, 35), rng.uniform(2, 12)
    both = {"outage_ratio": rng.uniform(0.2, 0.9), "outage_from": soon}
    fate: dict[str, dict[str, Any]] = {
        "bad": {"bad_ratio": ratio, "bad_from": 0.0},
        "late": {"bad_ratio": ratio, "bad_from": when},
        "outage": {**both, "outage_until": soon + lasts},
        "outage then bad": {**both, "outage_until": soon + short, "bad_ratio": ratio, "bad_from": soon},
        "bad in an outage": {"outage_ratio": 0.15, "outage_from": soon, "bad_ratio": 1.0, "bad_from": soon},
        "one pod": {"pod_ratio": ratio, "bad_from": when},
        "each pod": {"pod_ratio": ratio, "bad_from": when, "each_pod": True},
        "restarts": {"restarts": tuple((when + n * rng.uniform(3, 20), n) for n in range(rng.randint(1, 2)))},
        "hangs": {"hangs_from": when, "alert_at": rng.choice([when, inf])},
        "unready": {"ready": False},
        "stopped": {
            "stop_at": when,
            "edit": rng.choice([SetWeight(percent=50), PointApex(revision=NEW), None]),
            "edit_at": when + rng.uniform(2, 12),
        },
        "edited": {"edit": edit, "edit_at": when},
        "stuck": {"stuck_from": when / 2, "stuck_until": when / 2 + rng.choice([4.0, inf])},
        "silent": {"silent_from": when, "silent_until": rng.choice([when + lasts, inf])},
        "silent dry runs": {"silent_from": when / 2, "silent_until": inf, "only_dry_runs": True},
        "crash": {"crash_at": when},
        "first": {"ready": rng.random() < 0.7, "stop_at": rng.choice([inf, inf, 2.0])},
    }
    return fate.get(kind, {})


def draw_script(rng: random.Random) -> Script:
    """A plan and a fate for it."""
    kind = rng.choice(KINDS)
    plan, seed = draw_plan(rng, judged=kind in JUDGED, dry=kind == "silent dry runs"), rng.getrandbits(32)
    script = Script(
        plan=plan,
        kind=kind,
        seed=seed,
        replicas=rng.randint(1, 6),
        rps=rng.randint(20, 200),
        scrape_seconds=rng.choice([0.0, 0.0, 0.0, 1.5]),
        trouble=rng.choice([0.0, 0.05, 0.25]),
        orders=draw_orders(rng),
        patience=rng.uniform(0, 12),
        answers=tuple(rng.choices(VERBS, weights=[1, 3, 6, 2, 1, 1, 2], k=3)),
    )
    return replace(script, **draw_fate(rng, kind))


def scripts(count: int) -> list[Script]:
    """Always the same scripts."""
    rng = random.Random(20240607)
    return [draw_script(rng) for _ in range(count)]
