"""A small simulated cluster, proxy, metrics server and people: what `decide` meets in the law tests.

Lives here: how the world answers to actions, with delays, lost and late writes, crashes and outages, all drawn from
one seed. Not here: what its sources count (`counters.py`), what must hold (`laws.py`, `laws_of_*.py`).
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
    ReplacePod,
    Resize,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
    Unpin,
    taken_up,
)
from tests.core.counters import Counters
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
    """The cluster, the proxy and the metrics server.

    + pods: of the canary: name -> when it is ready
    + taken_at: when the proxy has the route
    + sick: of the canary's pods the one that fails alone; healed: it was replaced by a good one
    + restarted: how many of the script's restarts have been; bad_alone: the canary's bad requests while stable
      is well, until a time
    """

    script: Script
    now: float = 1000.0
    wanted: int = 0
    pods: dict[str, float] = field(default_factory=dict)
    named: int = 0
    sick: str | None = None
    healed: bool = False
    restarted: int = 0
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
    bad_in_outage: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])
    bad_alone: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])

    def __post_init__(self) -> None:
        self.rng = random.Random(self.script.seed)
        self.counters = Counters(self.script, self.rng)
        self.begun, self.stable_replicas = self.now, self.script.replicas
        self.first = self.script.kind == "first"
        self.apex = None if self.first else OLD
        self.counters.serve(OLD, "old", 1000, 0.0)

    @property
    def age(self) -> float:
        """Seconds since the walk's begin."""
        return self.now - self.begun

    @property
    def ready(self) -> int:
        """The canary's ready pods."""
        return len(self._ready_pods())

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
            readings={gate.id: self.counters.reading(gate, self.now, self.age) for gate in self.script.plan.gates},
        )

    def _ready_pods(self) -> list[str]:
        return [pod for pod, at in self.pods.items() if at <= self.now]

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
            self.pods = dict.fromkeys(self.pods, end + 8.0)
        if self.pods and self.rng.random() < 0.06:
            flapping = list(self.pods)[-1]
            self.pods[flapping] = max(self.pods[flapping], end + 3.0)
        self.now = end
        self._restart_pods()
        if self.now >= self.taken_at:
            self.proxy_weight = self.weight or 0
        if self.rng.random() < 0.03 and not self.first:
            self.stable_replicas = max(self.stable_replicas, min(8, self.stable_replicas + self.rng.randint(0, 2)))
        self._serve(round(self.script.rps * seconds))

    def _restart_pods(self) -> None:
        """Those that the script restarts, and one in a while before it has any traffic."""
        due = [number for at, number in self.script.restarts if at <= self.age]
        while self.restarted < len(due) and self.pods:
            self._restart(list(self.pods)[due[self.restarted] % len(self.pods)])
            self.restarted += 1
        if self.pods and self.weight is None and self.apex != NEW and self.rng.random() < 0.1:
            self._restart(self.rng.choice(list(self.pods)))

    def _restart(self, pod: str) -> None:
        self.counters.restarts[pod] = self.counters.restarts.get(pod, 0) + 1
        self.pods[pod] = max(self.pods[pod], self.now + 1.0)

    def _serve(self, requests: int) -> None:
        """Both versions answer. The canary's requests go to its ready pods in turn."""
        script = self.script
        for arm in (OLD, NEW):
            if self.rng.random() < 0.02:
                self.counters.reset(arm)
        outage = script.outage_ratio if script.outage_from <= self.age < script.outage_until else 0.0
        bad = max(outage, script.bad_ratio if self.age >= script.bad_from else 0.0)
        to_canary, before = round(requests * min(100, self.canary_share()) / 100), self.counters.bad[NEW]
        self.counters.serve(OLD, "old", requests - to_canary, max(outage, 0.001))
        ready = self._ready_pods()
        if self.age >= script.bad_from and script.pod_ratio and not self.healed and self.sick not in self.pods:
            self.sick = next(iter(ready), None)
        for number, pod in enumerate(ready or list(self.pods)[:1]):
            many = (to_canary + number) // max(1, len(ready))
            ratio = max(bad, script.pod_ratio if pod == self.sick else 0.0) if ready else 1.0
            self.counters.serve(NEW, pod, many, ratio, ends=self.age < script.hangs_from)
        alone = self.counters.bad[NEW] - before if self.age >= script.bad_from and not outage else 0
        self.bad_in_outage.append((self.now, self.bad_in_outage[-1][1] + self.counters.bad[NEW] - before))
        self.bad_alone.append((self.now, self.bad_alone[-1][1] + alone))

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
            case ReplacePod(pod=pod):
                self._replace(pod)

    def _replace(self, pod: str) -> None:
        """Its Deployment starts another one."""
        if pod in self.pods:
            del self.pods[pod]
            self.counters.restarts.pop(pod, None)
            self.healed = not self.script.each_pod
            self._start(1)

    def _route(self, weight: int | None) -> None:
        if weight == self.weight:
            return
        self.weight, self.taken_at = weight, self.now + self.rng.uniform(0, 2)
        if self.script.stuck_from <= self.age < self.script.stuck_until:
            self.taken_at = max(self.taken_at, self.begun + self.script.stuck_until)

    def _scale(self, replicas: int) -> None:
        self._start(replicas - self.wanted)
        self.wanted = replicas
        for gone in list(self.pods)[replicas:]:
            del self.pods[gone]
            self.counters.restarts.pop(gone, None)

    def _start(self, number: int) -> None:
        delay = 3.0 if self.script.ready else inf
        for _ in range(number):
            self.named += 1
            self.pods[f"new-{self.named}"] = self.now + self.rng.uniform(0.2, delay)


def _object_of(action: Action) -> str:
    """The object that an action writes to."""
    match action:
        case SetWeight() | Restore():
            return "route"
        case PointApex():
            return "apex"
        case Pin() | Unpin():
            return "autoscaler"
        case Scale() | Resize() | ReplacePod():
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
