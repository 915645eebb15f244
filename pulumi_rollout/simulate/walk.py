"""One walk in a simulated world: the shipped `decide()`, a cluster that obeys at once, and what it saw of the traffic.

Not here: how traffic comes (`traffic.py`), or how many walks end in what way (`tally.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.measures import Gate
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import (
    FINAL,
    Action,
    Phase,
    PointApex,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
)
from pulumi_rollout.simulate.scenario import Scenario
from pulumi_rollout.simulate.traffic import ERRORS, Backend, Traffic

OLD, NEW = "v1", "v2"
REPLICAS = 4
# Times in a state are unix seconds, in which 0 is no time.
EPOCH = 1_000_000_000.0
# What a look costs in a real cluster, and the longest that a walk is left alone here.
LOOK_SECONDS, LONGEST_SECONDS = 0.25, 15.0
# Comparing sums of such times, so that a limit that is reached is not missed by a rounding error.
_A_MOMENT = 0.001


class End(StrEnum):
    """How a release ended."""

    PROMOTED = "promoted"
    ABORTED = "aborted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Outcome:
    """What came of one release.

    + seconds: from the new version's first traffic until it was taken away, or until it was decided to promote it
    + seconds_bad: the same from when its requests began to be bad as the scenario has it in the end
    + failed: requests that it answered with an error until then
    + looks: how often was decided
    + reason: why it was put back
    """

    end: End
    seconds: float
    seconds_bad: float
    failed: int
    looks: int = 0
    reason: str = ""


def channel(gate: Gate) -> str | None:
    """In what sense a request is bad for a gate: gates that mean the same share it. None for gates that look at no
    requests, or at their number only."""
    match gate.test:
        case "objective" | "baseline":
            metric = gate.metric
            if metric.name == "latency":
                return f"slower than {1000 * metric.bound_seconds:g} ms"
            return metric.title if metric.name == "query" else ERRORS
        case "stalled":
            return "hangs"
        case "share" | "restarts" | "alerts":
            return None


def channels(plan: Plan) -> tuple[str, ...]:
    """Those of a plan's gates, each once."""
    found = (channel(gate) for gate in plan.gates)
    return tuple(dict.fromkeys(name for name in found if name is not None))


def unattended(plan: Plan) -> Plan:
    """The same plan without people: nobody is asked, and a failure puts the old version back."""
    steps = tuple(step.model_copy(update={"wait_for_person": False}) for step in plan.steps)
    return plan.model_copy(update={"steps": steps, "wait_before_traffic": False, "on_failure": "revert"})


def walk(plan: Plan, scenario: Scenario, seed: int, watch: Callable[[State, Seen], None] | None = None) -> Outcome:
    """One release to its end. `watch` is told what each decision is made of."""
    world = _World(unattended(plan), scenario, seed)
    while world.state.phase not in FINAL and not world.state.held:
        world.look(watch)
    return world.outcome()


class _World:
    """A cluster and a proxy that do what they are told at once, and a metrics server that does not."""

    def __init__(self, plan: Plan, scenario: Scenario, seed: int) -> None:
        self.plan, self._channels = plan, channels(plan)
        self.traffic = Traffic(scenario, self._channels, seed, remember=plan.failures == "auto")
        self.state = State(
            walk=f"{NEW}-{EPOCH:.0f}", revision=NEW, stable=OLD, started_at=EPOCH, phase_at=EPOCH, move_at=EPOCH
        )
        self._replicas, self._looks, self._apex = 0, 0, OLD
        self._weight: int | None = None
        self._scrapes = (0, 0)
        self._promoting: tuple[float, int] | None = None
        self._back: tuple[float, int] | None = None

    def look(self, watch: Callable[[State, Seen], None] | None) -> None:
        """See, decide, obey, and go on to when something may have changed."""
        traffic = self.traffic
        traffic.advance(traffic.now)
        now = EPOCH + traffic.now
        seen = Seen(
            now=now,
            canary_ready=self._replicas,
            canary_replicas=self._replicas,
            stable_replicas=REPLICAS,
            weight_percent=self._weight,
            apex_revision=self._apex,
            apex_ready=True,
            readings=self._readings(),
        )
        if watch is not None:
            watch(self.state, seen)
        decision = decide(self.plan, self.state, seen)
        before, self.state, self._looks = self.state, decision.state, self._looks + 1
        for action in decision.actions:
            self._obey(action)
        if self.state.phase is Phase.PROMOTING and self._promoting is None:
            self._promoting = self._now()
        if self.state.phase is Phase.REVERTING and self._back is None and self._share() == 0:
            self._back = self._now()
        soon = decision.actions or self.state.move != before.move or self.state.phase is not before.phase
        traffic.advance(traffic.now + LOOK_SECONDS if soon else self._next())

    def outcome(self) -> Outcome:
        """What came of it."""
        if self.state.phase is Phase.SUCCEEDED:
            end, (at, failed) = End.PROMOTED, self._promoting or self._now()
        else:
            failing = self.state.phase is Phase.FAILED and self.state.judged
            end, (at, failed) = End.ABORTED if failing else End.UNDECIDED, self._back or self._now()
        return Outcome(end, *self.traffic.since(at), failed, self._looks, self.state.reason or "")

    def _now(self) -> tuple[float, int]:
        self.traffic.settle()
        return self.traffic.now, self.traffic.failed

    def _share(self) -> int:
        return 100 if self._apex == NEW else self._weight or 0

    def _obey(self, action: Action) -> None:
        match action:
            case Scale(replicas=replicas):
                self._replicas = replicas
            case SetWeight(percent=percent):
                self._weight = percent
            case Restore():
                self._weight = None
            case PointApex(revision=revision):
                self._apex = revision
            case _:
                return
        self.traffic.route(self._weight or 0, promoted=self._apex == NEW)

    def _next(self) -> float:
        """When a look can next tell more: a scrape is seen, or something that has to last has lasted."""
        limits, since, met = self.plan.limits, self.state.move_at - EPOCH, self.state.met_at
        waits = [since + step.interval_seconds for step in self.plan.steps]
        if met is not None:
            waits += [met - EPOCH + limits.settle_seconds, met - EPOCH + limits.drain_seconds]
        now = self.traffic.now
        due = min((at for at in waits if at > now), default=inf) + _A_MOMENT
        return min(max(now + LOOK_SECONDS, min(due, self.traffic.next_sight())), now + LONGEST_SECONDS)

    def _readings(self) -> dict[str, Reading]:
        """What the source answers. It is not asked again where it cannot have anything new."""
        traffic = self.traffic
        if traffic.is_silent(traffic.now):
            silent = Reading(no_data="the metrics server does not answer")
            return {gate.id: silent for gate in self.plan.gates}
        by = traffic.now - traffic.scenario.scrapes.lag_seconds
        scrapes = traffic.canary.seen(by), traffic.apex.seen(by)
        if scrapes == self._scrapes:
            return {}
        first, self._scrapes = self._scrapes == (0, 0), scrapes
        return {gate.id: self._reading(gate, *scrapes, first=first) for gate in self.plan.gates}

    def _reading(self, gate: Gate, canary_scrapes: int, apex_scrapes: int, *, first: bool) -> Reading:
        if gate.test == "restarts" or gate.test == "alerts":
            return Reading()
        name = channel(gate)
        number = None if name is None else self._channels.index(name)
        ended = gate.test == "stalled"
        samples = [
            _sample(backend, scrapes, number, ended=ended)
            for backend, scrapes in ((self.traffic.canary, canary_scrapes), (self.traffic.apex, apex_scrapes))
        ]
        history: tuple[tuple[int, int], ...] = ()
        if first and number is not None:
            history = tuple((total, bad[number]) for total, bad in self.traffic.history)
        return Reading(canary=samples[0], stable=samples[1], history=history)


def _sample(backend: Backend, scrapes: int, number: int | None, *, ended: bool) -> Sample:
    """The newest scrape's series that are not empty, as a proxy begins one with its first request."""
    if scrapes == 0:
        return Sample()
    found = backend.scraped[scrapes - 1]
    if number is None:
        series = {"all": (found.total, False)}
    elif ended:
        series = {"begun": (found.total, False), "ended": (found.total - found.bad[number], True)}
    else:
        series = {"good": (found.total - found.bad[number], False), "bad": (found.bad[number], True)}
    there = {name: (float(value), marked) for name, (value, marked) in series.items() if value}
    return Sample(series=there, at=EPOCH + found.at if there else None)
