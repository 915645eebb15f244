"""The command line, run on journals in the local API, and somebody who runs a walk."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pulumi_rollout import origin
from pulumi_rollout.cli.app import app as commands
from pulumi_rollout.cli.back import Terminal
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.control import Control
from pulumi_rollout.core.commands import obey
from pulumi_rollout.core.moves import dwell_of
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, State
from pulumi_rollout.inputs import ClusterRef, Inputs
from pulumi_rollout.journal import Journal, Record
from tests.fake_api import FakeApi
from tests.fake_app import FakeApp
from tests.fake_world import PLAN

BEGAN = 1_790_000_000.0
LEASE = "/apis/coordination.k8s.io/v1/namespaces/prod/leases/rollout-shop"
COMMANDS = "/api/v1/namespaces/prod/configmaps/rollout-shop.commands"
WALK = f"v2-{BEGAN:.0f}"
QUICK = PLAN.model_copy(
    update={"gates": (), "limits": PLAN.limits.model_copy(update={"settle_seconds": 0.0, "drain_seconds": 0.0})}
)


class Scene:
    """The application `shop` in namespace `prod`, and the command line. + home: the kubeconfig's directory"""

    def __init__(self, api: FakeApi, home: Path) -> None:
        self.api, self.home, self.cluster = api, home, Cluster(api.kubeconfig())
        self.app = FakeApp(api)
        config = json.loads(api.kubeconfig())
        config["contexts"][0]["context"]["namespace"] = "prod"
        (home / "kubeconfig").write_text(json.dumps(config))

    def run(self, *arguments: str, **environment: str) -> Result:
        """One command line. Only the commands that take one get the kubeconfig."""
        where = [] if arguments[0] in ("plan", "--help") else ["--kubeconfig", str(self.home / "kubeconfig")]
        return CliRunner().invoke(commands, [*arguments, *where], env=environment)

    def journal(self, name: str = "shop") -> Journal:
        """A freshly read journal."""
        return Journal(self.cluster, "prod", name, "rollouts/live").load()

    def inputs(self, name: str = "shop") -> Inputs:
        """What the journal keeps of a Rollout's inputs."""
        given = {**self.app.inputs("v2"), "app": name}
        return Inputs.model_validate(given).model_copy(update={"cluster": ClusterRef(), "policy": {}})

    def walks(self, plan: Plan = PLAN, name: str = "shop", **changes: Any) -> State:
        """A walk from v1 to v2 in the journal, at the first step's end unless said otherwise."""
        known = {"walk": WALK, "revision": "v2", "stable": "v1", "phase": Phase.SHIFTING, "move": dwell_of(0)}
        clocks = {"started_at": BEGAN, "phase_at": BEGAN, "move_at": BEGAN, "weight_percent": 10}
        state = State.model_validate({**known, **clocks, **changes})
        names = {"image": "shop:2", "commit": "c0ffee" * 6, "by": "ada@laptop"}
        record = Record(state=state, plan=plan, saved_at=BEGAN, inputs=self.inputs(name), **names)
        journal = self.journal(name)
        journal.begin(record)
        if state.phase in (Phase.SUCCEEDED, Phase.FAILED):
            journal.end(state, BEGAN + 252)
        return state

    def held(self, plan: Plan = PLAN, **changes: Any) -> State:
        """The same, held for people."""
        reason = "waits for promotion at weight 10"
        return self.walks(plan, phase=Phase.PAUSED, held=True, awaiting=True, pause_reason=reason, **changes)

    def lock(self, holder: str = "bob@ci") -> None:
        """The lock, held by a process that this machine knows nothing of."""
        spec = {"holderIdentity": holder, "acquireTime": "2026-11-21T10:00:00Z", "renewTime": "2026-11-21T10:00:09Z"}
        labels = {"app.kubernetes.io/managed-by": "pulumi-rollout"}
        self.api.put(LEASE, {"metadata": {"namespace": "prod", "labels": labels}, "spec": spec})

    def asked(self) -> list[dict[str, Any]]:
        """The commands that were written down."""
        return [one.model_dump() for one in Control(self.cluster, "prod", "shop").read()[0]]


@pytest.fixture
def scene(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Nothing but an empty namespace. Waiting is short, and Ada types."""
    real = Terminal.wait
    monkeypatch.setattr(Terminal, "wait", lambda self, seconds: real(self, min(seconds, 0.02)))
    monkeypatch.setattr(origin, "person", lambda: "ada@laptop")
    return Scene(api, tmp_path)


@pytest.fixture
def walker(scene: Scene) -> Iterator[Callable[[], None]]:
    """Call it to have somebody run the walk: who holds the lock, and answers what is asked."""
    ended = threading.Event()

    def walk() -> None:
        while not ended.is_set():
            scene.lock()
            journal = scene.journal()
            commands, _ = Control(scene.cluster, "prod", "shop").read()
            if journal.record is not None and any(one.id > journal.record.state.command for one in commands):
                journal.save(obey(journal.record.plan, journal.record.state, commands, BEGAN + 60), BEGAN + 60)
            ended.wait(0.02)

    thread = threading.Thread(target=walk)

    def begin() -> None:
        scene.lock()
        thread.start()

    yield begin
    ended.set()
    if thread.ident:
        thread.join()
