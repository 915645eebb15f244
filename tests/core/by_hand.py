"""One walk under a test's hand: what is seen and asked is said look by look.

Lives here: the hand. Not here: what is tried with it (`test_machine.py`, `test_commands.py`,
`test_pauses.py`), or walks that are drawn (`world.py`).
"""

from __future__ import annotations

from typing import Any

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.machine import decide, waiting_for
from pulumi_rollout.core.measures import Objective, Source, SuccessRate
from pulumi_rollout.core.moves import current, step_number
from pulumi_rollout.core.plan import Limits, Plan, Step, Verb
from pulumi_rollout.core.state import (
    FINAL,
    Action,
    Answer,
    Command,
    PointApex,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
    taken_up,
)

BY = "ada@laptop"
# Without a warm-up: what it is for is tried in `test_warm_up.py`.
LIMITS = Limits(
    preparing_seconds=60,
    propagation_seconds=10,
    settle_seconds=2,
    drain_seconds=5,
    rollout_seconds=500,
    min_samples=0,
    warm_up_seconds=0,
    warm_up_step_seconds=0,
)
WATCHED = LIMITS.model_copy(update={"min_samples": 50})
RATE = Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="s")
SOURCES = {"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")}


def plan(*weights: int, gated: bool = False, asks: tuple[int, ...] = (), **changes: Any) -> Plan:
    """Steps of 10 s, 30 s at most, with one gate if `gated`. + asks: the weights that somebody has to confirm"""
    return Plan(
        steps=tuple(
            Step(weight_percent=w, interval_seconds=10, max_wait_seconds=30, wait_for_person=w in asks)
            for w in weights or (20, 50)
        ),
        gates=(RATE,) if gated else (),
        sources=SOURCES,
        **{"limits": WATCHED if gated else LIMITS, **changes},
    )


def sample(good: float, bad: float = 0, at: float | None = None) -> Sample:
    """+ at: None = the time of the look"""
    return Sample(series={"ok": (good, False), "bad": (bad, True)}, at=at)


def reading(good: float, bad: float = 0, stable: Sample | None = None) -> dict[str, Reading]:
    """What the success rate's source answers; without `stable`, the old version has no requests."""
    return {"success_rate": Reading(canary=sample(good, bad), stable=stable or Sample())}


def stamped(readings: dict[str, Reading], now: float) -> dict[str, Reading]:
    """The same, with the time of the look wherever no other one is said."""
    return {name: _at(one, now) if one.no_data is None else one for name, one in readings.items()}


def _at(one: Reading, now: float) -> Reading:
    arms = {name: getattr(one, name) for name in ("canary", "stable")}
    return one.model_copy(
        update={name: arm.model_copy(update={"at": now if arm.at is None else arm.at}) for name, arm in arms.items()}
    )


class Walk:
    """One walk under the test's hand. What is not said to change is seen as before."""

    def __init__(self, plan: Plan, stable: str | None = "v1", **seen: Any) -> None:
        self.plan = plan
        self.state = State(walk="v2-0", revision="v2", stable=stable, started_at=0, phase_at=0, move_at=0)
        apex = {"apex_revision": stable, "apex_ready": stable is not None}
        self.seen = Seen(now=0, stable_replicas=4, **{**apex, **seen})
        self.readings = self.seen.readings
        self.did: list[Action] = []

    def look(self, seconds: float = 0, **changes: Any) -> tuple[Action, ...]:
        """Look once, `seconds` later, with these changes seen. Returns the actions."""
        self.readings, now = changes.get("readings", self.readings), self.seen.now + seconds
        known = {**changes, "now": now, "readings": stamped(self.readings, now)}
        self.seen = self.seen.model_copy(update=known)
        decision = decide(self.plan, self.state, self.seen)
        self.state = decision.state
        self.did.extend(decision.actions)
        return decision.actions

    def obeyed(self, seconds: float = 1) -> tuple[Action, ...]:
        """Look once more, with everything done that was asked for last."""
        changes: dict[str, Any] = {}
        for action in self.did:
            match action:
                case Scale(replicas=replicas):
                    changes |= {"canary_replicas": replicas, "canary_ready": replicas}
                case SetWeight(percent=percent):
                    changes["weight_percent"] = percent
                case Restore():
                    changes["weight_percent"] = None
                case PointApex(revision=revision):
                    changes |= {"apex_revision": revision, "apex_ready": True}
        self.did.clear()
        return self.look(seconds, **changes)

    def ask(self, verb: Verb, **changes: Any) -> Answer:
        """Give a command, as somebody who has just looked would, and look once more."""
        command = Command(
            **{
                "id": len(self.seen.commands) + 1,
                "verb": verb,
                "walk": self.state.walk,
                "step": step_number(self.plan, self.state),
                "by": BY,
                "at": self.seen.now,
                **changes,
            }
        )
        self.look(commands=(*self.seen.commands, command))
        return self.state.answers[-1]

    def taken_up(self, seconds: float) -> Walk:
        """The process ends here, and the next one begins so much later."""
        saved = State.model_validate_json(self.state.model_dump_json())
        self.state = taken_up(saved, self.seen.now, self.seen.now + seconds)
        self.seen = self.seen.model_copy(update={"now": self.seen.now + seconds})
        return self

    def until(self, move: object, looks: int = 100) -> Walk:
        """Obey until a move begins."""
        for _ in range(looks):
            if self.state.phase not in FINAL and current(self.plan, self.state) == move:
                return self
            self.obeyed()
        raise AssertionError(f"{move} never began; it is {self.state.phase} {self.state.move}: {self.waiting}")

    def ended(self, looks: int = 200) -> State:
        """Obey until the end."""
        for _ in range(looks):
            if self.state.phase in FINAL:
                return self.state
            self.obeyed()
        raise AssertionError(f"no end: {self.state.phase} {self.state.move}: {self.waiting}")

    @property
    def waiting(self) -> str:
        """What it waits for, in words."""
        return waiting_for(self.plan, self.state, self.seen)
