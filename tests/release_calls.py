"""Whole releases on the application in the local API, without connections: `release` as the provider calls it.

Lives here: beginning one, cutting it off, and what an operator or the guard do meanwhile. Not here: what
is expected of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pulumi_rollout.control import Control
from pulumi_rollout.core.moves import step_number
from pulumi_rollout.core.plan import Verb
from pulumi_rollout.core.state import Command, State
from pulumi_rollout.core.strategies import compile_policy
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.journal import Journal
from pulumi_rollout.metrics import known
from pulumi_rollout.release import release
from tests.fake_api import Direct, FakeApi
from tests.fake_app import APP, CONFIGMAP, GUARD_JOB, LEASE, NAMESPACE, PODS, QUICK, FakeApp
from tests.fake_world import FakeEngine, Killed


def policy(**settings: Any) -> dict[str, Any]:
    """The quick one, with these settings."""
    return {"canary": {**QUICK["canary"], **settings}}


class Up:
    """One `pulumi up` after another. + before_request: as in `Direct`, for each"""

    def __init__(self, app: FakeApp, engine: FakeEngine) -> None:
        self.app, self.engine = app, engine
        self.before_request: Callable[[str, str], None] = lambda method, path: None
        self._moments: list[tuple[Callable[[], bool], Callable[[], object]]] = []
        wait = engine.wait

        def waited(seconds: float) -> None:
            wait(seconds)
            for moment in [one for one in self._moments if one[0]()]:
                self._moments.remove(moment)
                moment[1]()

        engine.wait = waited  # type: ignore[method-assign]

    def __call__(self, revision: str = "v2", settings: dict[str, Any] | None = None, **changes: Any) -> str:
        """Release it, with these settings of the policy. Raises what `up` would fail with."""
        given = self.app.inputs(revision, policy=policy(**settings or {}), **changes)
        inputs = Inputs.model_validate(given)
        cluster = self.cluster()
        journal = Journal(cluster, NAMESPACE, APP, "rollouts/live")
        plan = compile_policy(inputs.policy, known("contour", inputs.credentials))
        return release(inputs, plan, cluster, journal, self.engine)  # type: ignore[arg-type]

    def cluster(self) -> Direct:
        """A client, as each process has its own."""
        made = Direct(self.app.api)
        made.before_request = lambda method, path: self.before_request(method, path)
        return made

    def when(self, moment: Callable[[], bool], act: Callable[[], object]) -> None:
        """Do something once, at the first wait after which this holds."""
        self._moments.append((moment, act))

    def die(self) -> None:
        """From now on this process does nothing any more, not even what comes last."""

        def dead(method: str, path: str) -> None:
            raise Killed

        self.before_request = dead
        raise Killed

    def live(self) -> None:
        """Another process, some time later."""
        self.before_request = lambda method, path: None
        self._moments.clear()
        self.engine.clock += 100
        self.app.api.requests.clear()

    def at(self, percent: int) -> Callable[[], bool]:
        """The route gives the canary this share."""
        return lambda: self.app.backends.get(f"{APP}-v2") == percent

    def cut(self, percent: int = 20, settings: dict[str, Any] | None = None) -> None:
        """Kill a walk to v2 at this weight."""
        self.when(self.at(percent), self.die)
        try:
            self("v2", settings)
        except Killed:
            self.live()

    @property
    def journal(self) -> Journal:
        """As the next process finds it."""
        return Journal(Direct(self.app.api), NAMESPACE, APP, "").load()

    @property
    def state(self) -> State:
        record = self.journal.record
        if record is None:
            raise LookupError("there was no walk yet")
        return record.state

    def ask(self, verb: Verb, **more: Any) -> int:
        """What an operator types."""
        record = self.journal.record
        if record is None:
            raise LookupError("there was no walk yet")
        state = record.state
        step = step_number(record.plan, state)
        made = Command(id=0, verb=verb, walk=state.walk, step=step, by="ada@laptop", at=self.engine.now(), **more)
        return Control(Direct(self.app.api), NAMESPACE, APP).send(made, after=state.command)

    @property
    def holder(self) -> str:
        """Who holds the lock; empty if nobody does."""
        return str(self.app.api.objects[LEASE]["spec"]["holderIdentity"])

    @property
    def phases(self) -> list[tuple[str, str, bool]]:
        """The walks that have ended: to which revision, how, and whether that speaks against it."""
        return [(entry.revision, str(entry.phase), entry.judged) for entry in self.journal.history]


def guard_acts(app: FakeApp, up: Up) -> None:
    """What the guard does once a walk's heartbeat is gone: its fence, then the traffic and the pods."""
    found = app.api.objects[CONFIGMAP]
    said = json.dumps({"walk": found["data"]["walk"], "at": "2026-10-09T10:00:00Z"})
    app.api.put(CONFIGMAP, {**found, "data": {**found["data"], "guard": said}})
    app.serve("v1")
    Direct(app.api).patch(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{APP}-v2/scale", {"spec": {"replicas": 0}})


def guards_run(app: FakeApp) -> None:
    """What the Job controller makes of a guard: a pod that is ready, and its end with the Job's."""
    pod = f"{PODS}/rollout-{APP}-guard-x"

    def react(api: FakeApi, path: str) -> None:
        if GUARD_JOB not in api.objects:
            api.objects.pop(pod, None)
        elif pod not in api.objects:
            labels = {"batch.kubernetes.io/job-name": f"rollout-{APP}-guard"}
            api.put(pod, {"metadata": {"labels": labels}, "status": {"containerStatuses": [{"ready": True}]}})

    app.api.reactions.append(react)
