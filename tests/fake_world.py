"""A cluster and an engine in a few dictionaries, for whole walks in milliseconds.

The world has two versions, a route, an apex and counters that rise with the clock. Not here: what is
decided about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from pulumi_rollout.control import Control
from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import Objective, Source, SuccessRate
from pulumi_rollout.core.moves import step_number
from pulumi_rollout.core.plan import Limits, Plan, Step, Verb
from pulumi_rollout.core.state import (
    Action,
    Command,
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
)
from pulumi_rollout.driver import Walk
from pulumi_rollout.errors import ClusterError, Conflict, NotFound
from pulumi_rollout.expiry import Expiry
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.journal import Journal
from pulumi_rollout.lock import Lock
from tests.fake_api import merged

# Who answers what the canary does not.
STABLE = "apex"
JOURNAL = "/api/v1/namespaces/prod/configmaps/rollout-shop"
SILENCE = ClusterError("the cluster at https://k8s does not answer (ConnectTimeoutError)")
PLAN = Plan(
    steps=tuple(Step(weight_percent=weight, interval_seconds=3, max_wait_seconds=120) for weight in (10, 50)),
    gates=(Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="prometheus-1"),),
    sources={"prometheus-1": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
    limits=Limits(
        settle_seconds=1,
        drain_seconds=5,
        min_samples=20,
        preparing_seconds=60,
        warm_up_seconds=0,
        warm_up_step_seconds=0,
    ),
)
INPUTS = Inputs.model_validate(
    {
        "app": "shop",
        "namespace": "prod",
        "revision": {"hash": "v2", "port": 80, "replicas": 3},
        "route": {"router": "gateway", "objects": []},
        "policy": {},
    }
)


class Killed(BaseException):
    """The process is gone, without a chance to say so."""


class FakeEngine:
    """A clock that waiting moves on. + reason: why to stop; said: what was shown"""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.reason: str | None = None
        self.said: list[str] = []
        self.kept: list[str] = []
        self.warned: list[str] = []

    def now(self) -> float:
        return self.clock

    def wait(self, seconds: float) -> None:
        self.clock += max(seconds, 0.01)

    def stop_reason(self) -> str | None:
        return self.reason

    def is_cancelled(self) -> bool:
        return self.reason is not None

    def say(self, message: str, *, keep: bool = False) -> None:
        (self.kept if keep else self.said).append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)


class MemoryCluster:
    """Plain objects for the real journal, lock, commands and Events.

    + before_request: called with the method and path of every call; may raise
    + before_write, after_write: called at each write of the journal; may raise. pending: what is being written
    + owed: what `owed_seconds` says; hurried: whether little time is left
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.before_request: Callable[[str, str], None] = lambda method, path: None
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None
        self.pending: dict[str, Any] = {}
        self.owed, self.hurried = 0.0, False
        self._version = 0

    def hurry(self, hurried: bool = True) -> None:
        self.hurried = hurried

    def owed_seconds(self) -> float:
        return self.owed

    def find(self, path: str) -> dict[str, Any] | None:
        self.before_request("GET", path)
        return self.objects.get(path)

    def create(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        path = f"{path}/{manifest['metadata']['name']}"
        self.before_request("POST", path)
        if path in self.objects:
            raise Conflict("already exists", 409)
        return self._store(path, manifest)

    def replace(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        self.before_request("PUT", path)
        if path not in self.objects:
            raise NotFound("not found", 404)
        if manifest["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
            raise Conflict("has been modified", 409)
        return self._store(path, manifest)

    def patch(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        self.before_request("PATCH", path)
        if path not in self.objects:
            raise NotFound("not found", 404)
        return self._store(path, merged(self.objects[path], patch))

    def _store(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        counts = path == JOURNAL
        if counts:
            self.pending = manifest
            self.before_write()
        self._version += 1
        metadata = {**manifest["metadata"], "resourceVersion": str(self._version)}
        self.objects[path] = {**manifest, "metadata": metadata}
        if counts:
            self.after_write()
        return self.objects[path]


class World:
    """What the walk sees and changes; stands in for Observer and Performer.

    + bad_ratio, stable_bad_ratio: of each version's requests; rate: requests a second, of both versions
    + pods: the canary's, which share its requests; bad_pods: the ratios of those that differ
    + renewed_bad: whether the pod that takes the place of a bad one is bad too
    + unheard: why gates have no numbers; None while they have
    + silent_until: until then no call is answered; refuses: actions that are answered with an error
    """

    def __init__(self, engine: FakeEngine, memory: MemoryCluster, *, first_release: bool = False) -> None:
        self.engine, self.memory = engine, memory
        self.ready_ratio = 1.0
        self.weight: int | None = None
        self.apex: str | None = None if first_release else "v1"
        self.pinned = False
        self.bad_ratio, self.stable_bad_ratio, self.rate = 0.0, 0.0, 200.0
        self.pods: list[str] = []
        self.bad_pods: dict[str, float] = {}
        self.renewed_bad = False
        self.unheard: str | None = None
        self.silent_until = 0.0
        self.refuses: dict[type, ClusterError] = {}
        self.done: list[Action] = []
        self.before_action: Callable[[Action, State], None] = lambda action, state: None
        self.moments: list[tuple[Callable[[State], bool], Callable[[State], object]]] = []
        # Requests by who answered them, and whether they were bad.
        self._counted: dict[tuple[str, bool], float] = defaultdict(float)
        self._counted_at = engine.now()

    def original(self) -> str:
        return "[]"

    def image(self) -> str:
        return "registry.example.com/shop:2"

    def look(self, plan: Plan, state: State, now: float, stop: str | None) -> Seen:
        for moment, act in list(self.moments):
            if moment(state):
                self.moments.remove((moment, act))
                act(state)
        self._answer()
        self._count()
        first = state.stable is None
        return Seen(
            now=now,
            canary_ready=int(self.replicas * self.ready_ratio),
            canary_replicas=self.replicas,
            stable_replicas=3,
            canary_problem=None if self.ready_ratio == 1 else "pod p: CrashLoopBackOff (last exit code 1)",
            weight_percent=None if first else self.weight,
            apex_revision=self.apex,
            apex_ready=self.apex is not None,
            readings={} if first else {gate.id: self._reading() for gate in plan.gates},
            stop=stop,
        )

    def perform(self, action: Action, state: State) -> None:
        self._answer()
        self.before_action(action, state)
        if type(action) in self.refuses:
            raise self.refuses[type(action)]
        self._count()
        self.done.append(action)
        match action:
            case Scale(replicas=replicas):
                self._scale(replicas)
            case Resize():
                self._scale(INPUTS.revision.replicas)
            case SetWeight(percent=percent):
                self.weight = percent
            case PointApex(revision=revision):
                self.apex = revision
            case Restore():
                self.weight = None
            case Pin():
                self.pinned = True
            case Unpin():
                self.pinned = False
            case ReplacePod(pod=pod):
                self._replace(pod)

    def settle(self, revision: str) -> None:
        for action in (Resize(), Unpin()):
            self.perform(action, State(walk="", revision=revision, stable=None, started_at=0, phase_at=0, move_at=0))

    @property
    def replicas(self) -> int:
        return len(self.pods)

    @property
    def end(self) -> tuple[str | None, int | None, int, bool]:
        """Where everything has come to: the apex, the route, the canary's pods, the pin."""
        return self.apex, self.weight, self.replicas, self.pinned

    def _answer(self) -> None:
        if self.engine.now() < self.silent_until:
            raise SILENCE

    def _count(self) -> None:
        passed, self._counted_at = self.engine.now() - self._counted_at, self.engine.now()
        share = 1.0 if self.apex == "v2" else (self.weight or 0) / 100
        self._add(STABLE, passed * self.rate * (1 - share), self.stable_bad_ratio)
        for pod in self.pods:
            requests = passed * self.rate * share / len(self.pods)
            self._add(pod, requests, self.bad_pods.get(pod, self.bad_ratio))

    def _add(self, who: str, requests: float, bad_ratio: float) -> None:
        self._counted[who, False] += requests * (1 - bad_ratio)
        self._counted[who, True] += requests * bad_ratio

    def _scale(self, replicas: int) -> None:
        self.pods = [*self.pods, *(f"shop-v2-{number}" for number in range(self.replicas, replicas))][:replicas]

    def _replace(self, pod: str) -> None:
        """Another pod takes its place, as a Deployment sees to."""
        following = f"{pod}-again"
        self.pods[self.pods.index(pod)] = following
        if (ratio := self.bad_pods.pop(pod, None)) is not None and self.renewed_bad:
            self.bad_pods[following] = ratio

    def _reading(self) -> Reading:
        if self.unheard is not None:
            return Reading(no_data=self.unheard)
        counted = {(who, f"{who} {bad:d}"): (float(int(count)), bad) for (who, bad), count in self._counted.items()}
        pods = {name: who for who, name in counted if who != STABLE}
        canary = {name: value for (who, name), value in counted.items() if who != STABLE}
        stable = {name: value for (who, name), value in counted.items() if who == STABLE}
        now = self.engine.now()
        return Reading(canary=Sample(series=canary, pods=pods, at=now), stable=Sample(series=stable, at=now))


def walk(world: World, expiries: Sequence[Expiry] = ()) -> Walk:
    """A walk with its own, freshly loaded journal and the lock, as a new process makes it."""
    memory: Any = world.memory
    lock = Lock(memory, "prod", "shop", world.engine)
    lock.take()
    made = Walk(INPUTS, memory, loaded(world), lock, world.engine, expiries)  # type: ignore[arg-type]
    made.observer = made._performer = world  # type: ignore[assignment]
    return made


PROMOTED = ("v2", None, 3, False)
REVERTED = ("v1", None, 0, False)


def begin(world: World, stable: str | None = "v1", plan: Plan = PLAN) -> State:
    """Walk from the start to the end."""
    made = walk(world)
    return made.run(plan, made.begin(stable))


def loaded(world: World) -> Journal:
    """The journal as the next process finds it."""
    memory: Any = world.memory
    return Journal(memory, "prod", "shop", "rollouts/live").load()


def weights(world: World) -> list[int]:
    """The weights that were set."""
    return [action.percent for action in world.done if isinstance(action, SetWeight)]


def when(world: World, moment: Callable[[State], bool], act: Callable[[State], object]) -> None:
    """Do something once, at the first look at which this holds."""
    world.moments.append((moment, act))


def ask(world: World, verb: Verb, state: State, **more: Any) -> int:
    """What an operator types. Returns the command's id."""
    memory: Any = world.memory
    step = more.pop("step", step_number(PLAN, state))
    made = Command(id=0, verb=verb, walk=state.walk, step=step, by="ada@laptop", at=world.engine.now(), **more)
    return Control(memory, "prod", "shop").send(made, after=state.command)
