"""What befalls a simulated walk: a plan, a fate, and people with their orders, drawn from a seed.

Lives here: the choices. Not here: how the world carries them out (`world.py`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal, get_args

from pulumi_rollout.core.plan import Gate, Limits, Plan, Source, Step, Verb
from pulumi_rollout.core.state import Action, PointApex, Restore, SetWeight

OLD, NEW, WALK = "v1", "v2", "v2-1000"
KINDS = (
    "good",
    "good",
    "good",
    "bad",
    "late",
    "late",
    "unready",
    "stopped",
    "stuck",
    "silent",
    "crash",
    "edited",
    "first",
    "first",
)


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
    ready: bool = True
    stop_at: float = inf
    stuck_from: float = inf
    stuck_until: float = inf
    silent_from: float = inf
    crash_at: float = inf
    edit: Action | None = None
    edit_at: float = inf
    trouble: float = 0.05
    orders: tuple[Order, ...] = ()
    patience: float = 5.0
    answers: tuple[Verb, ...] = ()


def draw_plan(rng: random.Random, fewest_gates: int) -> Plan:
    """A plan with short times, so that a walk takes some dozens of looks."""
    weights = sorted(rng.sample(range(1, 101), rng.randint(1, 3)))
    gates = [
        Gate(id=f"g{n}", metric="success_rate", max_bad_ratio=0.05, source="s")
        for n in range(rng.randint(fewest_gates, 2))
    ]
    required = bool(gates) and rng.random() < 0.15
    return Plan(
        steps=tuple(
            Step(
                weight_percent=weight,
                interval_seconds=rng.uniform(0, 5),
                max_wait_seconds=rng.uniform(20, 40),
                wait_for_person=rng.random() < 0.3,
            )
            for weight in weights
        ),
        gates=tuple(gates),
        sources={"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
        alpha=rng.choice([0.005, 0.05]),
        evidence="required" if required else "sufficient",
        limits=Limits(
            preparing_seconds=rng.uniform(20, 40),
            propagation_seconds=rng.uniform(12, 20),
            settle_seconds=rng.uniform(0.5, 2),
            drain_seconds=rng.uniform(4, 6),
            rollout_seconds=rng.uniform(100, 300),
            min_samples=rng.choice([1, 5, 20]) if gates else 0,
        ),
        wait_before_traffic=rng.random() < 0.15,
        on_wait="hold" if rng.random() < 0.4 else "wait",
        wait_seconds=rng.choice([0, 3]),
        on_failure="freeze" if rng.random() < 0.6 else "revert",
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


def draw_script(rng: random.Random) -> Script:
    """A plan and a fate for it."""
    kind = rng.choice(KINDS)
    plan, seed = draw_plan(rng, 1 if kind in ("bad", "late", "silent") else 0), rng.getrandbits(32)
    when = rng.uniform(15, 75)
    edit = rng.choice([SetWeight(percent=50), Restore(), PointApex(revision=NEW), PointApex(revision=OLD)])
    fate: dict[str, dict[str, Any]] = {
        "bad": {"bad_ratio": rng.uniform(0.2, 1), "bad_from": 0.0},
        "late": {"bad_ratio": rng.uniform(0.2, 1), "bad_from": when},
        "unready": {"ready": False},
        "stopped": {
            "stop_at": when,
            "edit": rng.choice([SetWeight(percent=50), PointApex(revision=NEW), None]),
            "edit_at": when + rng.uniform(2, 12),
        },
        "edited": {"edit": edit, "edit_at": when},
        "stuck": {"stuck_from": when / 2, "stuck_until": when / 2 + rng.choice([4.0, inf])},
        "silent": {"silent_from": when},
        "crash": {"crash_at": when},
        "first": {"ready": rng.random() < 0.7, "stop_at": rng.choice([inf, inf, 2.0])},
    }
    script = Script(
        plan=plan,
        kind=kind,
        seed=seed,
        replicas=rng.randint(1, 6),
        rps=rng.randint(20, 200),
        trouble=rng.choice([0.0, 0.05, 0.25]),
        orders=draw_orders(rng),
        patience=rng.uniform(0, 12),
        answers=tuple(rng.choices(VERBS, weights=[1, 3, 6, 2, 1, 1, 2], k=3)),
    )
    return replace(script, **fate.get(kind, {}))


def scripts(count: int) -> list[Script]:
    """Always the same scripts."""
    rng = random.Random(20240607)
    return [draw_script(rng) for _ in range(count)]
