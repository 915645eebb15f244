"""A small simulated cluster, proxy, metrics server and people: what `decide` meets in the law tests.

Lives here: how the world answers to actions, with delays, lost and late writes, crashes, resets and
outages, all drawn from one seed. Not here: what must hold (`laws.py`, `laws_of_people.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from pulumi_rollout.core import machine
from pulumi_rollout.core.moves import step_number
from pulumi_rollout.core.plan import Plan, Verb
from pulumi_rollout.core.state import (
    FINAL,
    Action,
    Answer,
    Command,
    Decision,
    Phase,
    Pin,
    PointApex,
    Reading,
    Resize,
    Restore,
    Sample,
    Scale,
    Seen,
    SetWeight,
    State,
    Unpin,
    taken_up,
)
from tests.core.scripts import NEW, OLD, WALK, Script

MOST_LOOKS = 900
# What people say to a walk that is still paused after all else; a restart is never forbidden.
IN_THE_END: tuple[Verb, ...] = ("resume", "promote", "abort", "restart")


@dataclass(frozen=True)
class Event:
    """An action as it took effect, and the world just before it."""

    at: float
    action: Action
    weight: int | None
    apex: str | None


@dataclass
class World:
    """The cluster, the proxy and the metrics server. + taken_at: when the proxy has the route"""

    script: Script
    now: float = 1000.0
    wanted: int = 0
    pods: list[float] = field(default_factory=list)
    stable_replicas: int = 2
    pinned: bool = False
    edited: bool = False
    weight: int | None = None
    proxy_weight: int = 0
    taken_at: float = 0.0
    apex: str | None = OLD
    apex_ready_at: float = 0.0
    versions: Counter[str] = field(default_factory=Counter)
    late: list[tuple[float, int, Action]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    on_the_way: list[tuple[float, Command]] = field(default_factory=list)
    given: int = 0
    answered: int = 0
    paused_since: float | None = None
    counters: dict[str, dict[str, tuple[float, bool]]] = field(default_factory=lambda: {OLD: {}, NEW: {}})

    def __post_init__(self) -> None:
        self.rng = random.Random(self.script.seed)
        self.begun, self.stable_replicas = self.now, self.script.replicas
        self.first = self.script.kind == "first"
        self.apex = None if self.first else OLD
        self._serve(OLD, 1000, 0.0)

    @property
    def age(self) -> float:
        """Seconds since the walk's begin."""
        return self.now - self.begun

    @property
    def ready(self) -> int:
        """The canary's ready pods."""
        return sum(at <= self.now for at in self.pods)

    def canary_share(self) -> int:
        """Percent of requests that the data plane sends to the canary's pods now."""
        return 100 if self.apex == NEW else self.proxy_weight

    def look(self, state: State) -> Seen:
        """What the driver would see, and what it is told."""
        self._people(state)
        if self.script.edit is not None and self.age >= self.script.edit_at and not self.edited:
            self.edited = True
            self._change(self.script.edit)
        stop = "the update was cancelled" if self.age >= self.script.stop_at else None
        common: dict[str, Any] = {
            "now": self.now,
            "canary_ready": self.ready,
            "canary_replicas": self.wanted,
            "stop": stop,
            "commands": tuple(self.commands),
        }
        if self.first:
            return Seen(**common, stable_replicas=self.script.replicas)
        return Seen(
            **common,
            stable_replicas=self.stable_replicas,
            weight_percent=self.weight,
            route_problem=None if self.now >= self.taken_at else "the Gateway has not seen the last change yet",
            apex_revision=self.apex,
            apex_ready=self.now >= self.apex_ready_at,
            readings={gate.id: self._reading() for gate in self.script.plan.gates},
        )

    def _people(self, state: State) -> None:
        """Let them give their orders, and look after a walk that waits. It takes a while until they are heard."""
        orders = sorted(self.script.orders, key=lambda order: order.at)
        while self.given < len(orders) and orders[self.given].at <= self.age:
            order = orders[self.given]
            self.given += 1
            self._ask(state, order.verb, order.weight_percent, order.stale)
        if state.phase is not Phase.PAUSED:
            self.paused_since = None
        elif self.paused_since is None:
            self.paused_since = self.now
        elif self.now - self.paused_since >= self.script.patience:
            said = (*self.script.answers, *IN_THE_END * 10)[self.answered]
            self.answered, self.paused_since = self.answered + 1, self.now
            self._ask(state, said, self.rng.randint(0, 100))
        for due, command in [item for item in self.on_the_way if item[0] <= self.now]:
            self.on_the_way.remove((due, command))
            self.commands.append(command.model_copy(update={"id": len(self.commands) + 1}))

    def _ask(self, state: State, verb: Verb, weight_percent: int, stale: str | None = None) -> None:
        """Somebody gives a command for what is seen now, which is heard a little later."""
        step = step_number(self.script.plan, state)
        command = Command(
            id=0,
            verb=verb,
            walk="v2-1" if stale == "walk" else state.walk,
            step=(step or 0) + 1 if stale == "step" else step,
            weight_percent=weight_percent if verb == "set-weight" else None,
            by=f"person {self.given + self.answered}",
            at=self.now,
        )
        self.on_the_way.append((self.now + self.rng.uniform(0, 1.5), command))

    def _reading(self) -> Reading:
        if self.age >= self.script.silent_from or self.rng.random() < 0.02:
            return Reading(no_data="http://prometheus:9090 does not answer (Timeout)")
        samples = {arm: Sample(series=dict(series), at=self.now - 0.5) for arm, series in self.counters.items()}
        return Reading(canary=samples[NEW], stable=samples[OLD])

    def perform(self, actions: tuple[Action, ...], *, sure: bool) -> None:
        """Do it; unless `sure`, some writes are lost, and some that move traffic arrive after the
        caller gave up. (Pods that come late, and get no traffic, break no law.)"""
        for action in actions:
            luck = 1.0 if sure else self.rng.random()
            if luck < self.script.trouble:
                continue
            if luck < 2 * self.script.trouble and isinstance(action, SetWeight | Restore | PointApex):
                version = self.versions[_object_of(action)]
                self.late.append((self.now + self.rng.uniform(0.2, 3.0), version, action))
            else:
                self._apply(action)

    def advance(self, seconds: float) -> None:
        """Let time pass: late writes arrive, the proxy takes the route, requests are served."""
        end = self.now + seconds
        for due, version, action in [item for item in self.late if item[0] <= end]:
            self.late.remove((due, version, action))
            if version == self.versions[_object_of(action)]:  # nothing was written to it in between
                self._apply(action)
        if self.age < self.script.crash_at <= end - self.begun:
            self.pods = [end + 8.0 for _ in self.pods]
        if self.pods and self.rng.random() < 0.06:
            self.pods[-1] = max(self.pods[-1], end + 3.0)
        self.now = end
        if self.now >= self.taken_at:
            self.proxy_weight = self.weight or 0
        if self.rng.random() < 0.03 and not self.first:
            self.stable_replicas = max(self.stable_replicas, min(8, self.stable_replicas + self.rng.randint(0, 2)))
        requests = round(self.script.rps * seconds)
        to_canary = round(requests * self.canary_share() / 100)
        self._serve(OLD, requests - to_canary, 0.001)
        bad = self.script.bad_ratio if self.age >= self.script.bad_from else 0.0
        self._serve(NEW, to_canary, bad if self.ready else 1.0)

    def _serve(self, arm: str, requests: int, bad_ratio: float) -> None:
        if self.rng.random() < 0.02:
            self.counters[arm] = {name: (0.0, bad) for name, (_, bad) in self.counters[arm].items()}
        bad = int(requests * bad_ratio + self.rng.random())  # on average the ratio, also of few requests
        for envoy, share in (("a", 0.5), ("b", 0.5)):
            for code, number in (("200", (requests - bad) * share), ("503", bad * share)):
                if number:
                    name = f"code={code},pod={envoy}"
                    before, _ = self.counters[arm].get(name, (0.0, False))
                    self.counters[arm][name] = (before + int(number + 0.5), code == "503")

    def _apply(self, action: Action) -> None:
        self.events.append(Event(self.now, action, self.weight, self.apex))
        self._change(action)

    def _change(self, action: Action) -> None:
        self.versions[_object_of(action)] += 1
        match action:
            case Scale(replicas=replicas):
                self._scale(replicas)
            case Resize():
                self._scale(self.script.replicas)
            case SetWeight(percent=percent):
                self._route(percent)
            case Restore():
                self._route(None)
            case PointApex(revision=revision):
                self.apex, self.apex_ready_at = revision, self.now + self.rng.uniform(0, 1)
            case Pin():
                self.pinned = True
            case Unpin():
                self.pinned = False

    def _route(self, weight: int | None) -> None:
        if weight == self.weight:
            return
        self.weight, self.taken_at = weight, self.now + self.rng.uniform(0, 2)
        if self.script.stuck_from <= self.age < self.script.stuck_until:
            self.taken_at = max(self.taken_at, self.begun + self.script.stuck_until)

    def _scale(self, replicas: int) -> None:
        delay = 3.0 if self.script.ready else inf
        new = [self.now + self.rng.uniform(0.2, delay) for _ in range(replicas - self.wanted)]
        self.wanted, self.pods = replicas, (self.pods + new)[:replicas]


def _object_of(action: Action) -> str:
    """The object that an action writes to."""
    match action:
        case SetWeight() | Restore():
            return "route"
        case PointApex():
            return "apex"
        case Pin() | Unpin():
            return "autoscaler"
        case Scale() | Resize():
            return "deployment"


@dataclass(frozen=True)
class Moment:
    """One look and what was decided. + share: what the data plane sent to the canary then"""

    before: State
    seen: Seen
    decision: Decision
    share: int

    @property
    def answers(self) -> list[Answer]:
        """What people were told at this look."""
        known = {answer.id for answer in self.before.answers}
        return [answer for answer in self.decision.state.answers if answer.id not in known]

    def accepted(self, *verbs: Verb) -> bool:
        """Whether one of these commands was obeyed at this look."""
        return any(answer.accepted and answer.verb in verbs for answer in self.answers)


@dataclass(frozen=True)
class History:
    """One whole walk."""

    script: Script
    moments: list[Moment]
    events: list[Event]
    world: World

    @property
    def end(self) -> State:
        """The last state."""
        return self.moments[-1].decision.state


def walked_seconds(history: History) -> Iterator[tuple[Moment, float]]:
    """Every look, and how long the walk has walked until then: without the time that it was paused."""
    walked, last = 0.0, history.moments[0].seen.now
    paused = False
    for moment in history.moments:
        walked += 0.0 if paused else moment.seen.now - last
        yield moment, walked
        paused, last = moment.decision.state.phase is Phase.PAUSED, moment.seen.now


def first_state(script: Script, now: float) -> State:
    """The state that a walk begins with."""
    stable = None if script.kind == "first" else OLD
    return State(walk=WALK, revision=NEW, stable=stable, started_at=now, phase_at=now, move_at=now)


def walk(script: Script, *, cut: bool = False) -> History:
    """Walk to the end, or for MOST_LOOKS. A walk that is held is taken up some hours later. `cut` ends
    the process after every look: plan and state come back from JSON."""
    world, plan = World(script), script.plan
    state = first_state(script, world.now)
    moments: list[Moment] = []
    while state.phase not in FINAL and len(moments) < MOST_LOOKS:
        if cut:
            plan = Plan.model_validate_json(plan.model_dump_json())
            state = State.model_validate_json(state.model_dump_json())
        seen = world.look(state)
        decision = machine.decide(plan, state, seen)
        moments.append(Moment(state, seen, decision, world.canary_share()))
        world.perform(decision.actions, sure=decision.state.phase in FINAL)
        state = decision.state
        if state.held:
            world.advance(world.rng.uniform(300, 9000))
            state = taken_up(state, seen.now, world.now)
        else:
            world.advance(max(decision.wait_seconds, world.rng.uniform(0.1, 1.8)))
    return History(script, moments, world.events, world)
