"""What the end-to-end tests hold: the lab's API and history, stacks, load, and readings of output.

Lives here: no opinion on what is right. Applications are small and quick here: steps of a second,
settling in 300 ms.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from lab import load
from lab.cluster import REPOSITORY, Lab
from lab.history import COLLECTIONS, NAMESPACE, History, Object
from lab.objects import SERVER, Api, connect
from lab.stack import Stack, podinfo
from pulumi_rollout.inputs import APP_LABEL, REVISION_LABEL

GOOD, NEXT, BAD, THIRD = "6.3.0", "6.3.1", "6.3.2", "6.3.3"
OTHER_KINDS = (
    f"/api/v1/namespaces/{NAMESPACE}/secrets",
    f"/api/v1/namespaces/{NAMESPACE}/pods",
    f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets",
    f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
    f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
    f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases",
)


@dataclass
class World:
    """The lab as the tests see it."""

    lab: Lab
    directory: Path
    history: History
    stacks: list[Stack]
    _inside: ThreadPoolExecutor
    _api: Api

    @classmethod
    @contextlib.contextmanager
    def open(cls, lab: Lab, directory: Path) -> Iterator[World]:
        """With threads that live in the lab's network."""
        with ThreadPoolExecutor(2, initializer=lab.enter) as inside:
            world = cls(lab, directory, History(lab), [], inside, connect(lab.kubeconfig))
            yield world
            world.history.close()
            for stack in world.stacks:
                stack.kill_providers()

    def get(self, path: str) -> Object:
        """An object or a list, by its API path."""
        return self._inside.submit(self._api.get, path).result()

    def object(self, kind: str, name: str) -> Object:
        """An object of one of the watched kinds."""
        return self.get(f"{COLLECTIONS[kind]}/{name}")

    def scale(self, deployment: str, replicas: int) -> None:
        """What `kubectl scale` does."""
        path = f"{SERVER}{COLLECTIONS['Deployment']}/{deployment}/scale"
        headers = {"Content-Type": "application/merge-patch+json"}
        body = {"spec": {"replicas": replicas}}
        self._inside.submit(self._api.session.patch, path, json=body, headers=headers).result().raise_for_status()

    def rollout(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line of this project, as an operator's machine runs it."""
        command = self.lab.command(sys.executable, "-m", "pulumi_rollout", *arguments)
        environment = {**self.lab.environment(self.directory / "operator"), "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def apply(self, manifest: Object) -> None:
        """What an administrator does with `kubectl apply`."""
        self._inside.submit(self._api.apply, manifest).result()

    def refusal(self, manifest: Object) -> str:
        """What the owner's next server-side apply would be answered, one that overrules nobody; empty if it is taken.
        Nothing is changed."""
        params = {"fieldManager": "lab", "dryRun": "All"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        path = f"{SERVER}{COLLECTIONS[manifest['kind']]}/{manifest['metadata']['name']}"
        send = self._api.session.patch
        answer = self._inside.submit(send, path, json=manifest, params=params, headers=headers).result()
        return "" if answer.ok else str(answer.text)

    def pods(self, app: str, revision: str | None = None) -> list[Object]:
        """An application's pods that are not about to end; of one revision only if it is given."""
        labels = f"{APP_LABEL}={app}" + (f",{REVISION_LABEL}={revision}" if revision else "")
        items = self.get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={labels}")["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def fault(self, pod: Object, **faults: float) -> None:
        """Let a running pod of the sample application be bad, by its own switches (lab/app/faults.py)."""
        self._post(f"http://{pod['status']['podIP']}:9898/faults", faults)

    def alert(self, name: str, expression: str, labels: dict[str, str]) -> None:
        """A rule for Prometheus, which is looked at from now on."""
        rule = {"alert": name, "expr": expression, "labels": labels}
        file = self.lab.directory / "rules" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [rule]}]}))
        self._post(f"{self.lab.prometheus_url}/-/reload")

    def _post(self, url: str, content: Any = None) -> None:
        self._inside.submit(requests.post, url, json=content, timeout=5).result().raise_for_status()

    def weight(self, app: str) -> int | None:
        """The new version's weight in the live route; None while it is not listed."""
        seen = self.history.weights(app)
        return seen[-1][1] if seen else None

    def canary_replicas(self, app: str, stable: dict[str, str]) -> int:
        """The replicas that are asked for, of all revisions but the one that serves."""
        names = [name for name in self.history.names("Deployment") if name[:-9] == app]
        others = [self.history.of("Deployment", name)[-1] for name in names if name != f"{app}-{stable[app]}"]
        return sum(event.object["spec"].get("replicas", 1) for event in others if event.type != "DELETED")

    def versions(self, app: str) -> dict[str, str]:
        """The resourceVersion of every object of an application that is to stay: unchanged means nobody wrote."""
        own = re.compile(rf"(rollout-)?{app}(-.*)?")
        return {
            f"{path}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for path in (*COLLECTIONS.values(), *OTHER_KINDS)
            for item in self.get(path)["items"]
            if own.fullmatch(item["metadata"]["name"]) and "deletionTimestamp" not in item["metadata"]
        }

    def ready(self, deployment: str) -> int:
        """Its ready pods."""
        return int(self.object("Deployment", deployment).get("status", {}).get("readyReplicas", 0))

    def stack(self, name: str, program: str | None = None, *, again: str = "") -> Stack:
        """A new stack. + again: a suffix, for a second one that knows nothing of the first"""
        self.stacks.append(Stack(self.lab, name, self.directory / f"{name}{again}", program))
        return self.stacks[-1]

    def app(self, name: str, tag: str, **changes: Any) -> dict[str, Any]:
        """An application's settings. `canary` changes those of its rollout; no gates unless given."""
        quick = {"weights": [50], "interval": "500ms", "settle": "300ms", "drain": "1s", "gates": []}
        source = {"source": {"prometheus": self.lab.prometheus_url}}
        canary = {**quick, **source, **changes.pop("canary", {})}
        return podinfo(tag, name=name, canary=canary, **changes)

    def first_release(self, name: str, applications: dict[str, Any]) -> Stack:
        """A new stack, with these applications released for the first time."""
        stack = self.stack(name)
        stack.configure(applications=applications)
        first = stack.up()
        assert first.code == 0, first.output
        return stack

    @contextlib.contextmanager
    def load(
        self, app: str, *, rate: float = 100, streams: bool = False, apex: bool = True, proxy: str | None = None
    ) -> Iterator[Load]:
        """Requests to an application, half of them through its route and half through its apex.
        + proxy: URL of the data plane that serves the route, if it is not Envoy"""
        route = f"route={proxy or self.lab.envoy_url}/,host={app}.example.com"
        address = self.object("Service", app)["spec"]["clusterIP"]
        targets = [route, *([f"apex=http://{address}:9898/"] if apex else [])]
        long = [target.replace("/,", "/stream?seconds=20,") for target in targets] if streams else []
        long = [target + "stream?seconds=20" if target.endswith("/") else target for target in long]
        out = self.directory / f"{app}-{time.time():.0f}.jsonl"
        with load.running(self.lab.command(), out, targets, rate=rate, streams=long):
            yield Load(out)

    @contextlib.contextmanager
    def proxy_traffic(self) -> Iterator[None]:
        """A request now and then to no application: until its first one the proxy has no series to judge by."""
        target = f"none={self.lab.envoy_url}/,host=nobody.example.com"
        with load.running(self.lab.command(), self.directory / "nobody.jsonl", [target], rate=2):
            yield


@dataclass(frozen=True)
class Load:
    """Load under way, or over."""

    out: Path

    def records(self, since: float = 0.0, until: float = float("inf"), target: str | None = None) -> list[load.Record]:
        """Requests, streams left out, in a stretch of time and to one target or all."""
        return [
            record
            for record in load.read(self.out)
            if record.stream is None and since <= record.t < until and target in (None, record.target)
        ]

    def met(self, version: str) -> list[load.Record]:
        """Requests that this version answered."""
        return [record for record in self.records() if record.version == version]

    def failed(self, since: float = 0.0, until: float = float("inf")) -> list[load.Record]:
        """Those that failed."""
        return [record for record in self.records(since, until) if record.failed]

    def goes_on(self) -> None:
        """Wait for a second's worth of answers, so that what is served after something has ended can be looked at."""
        later = time.time() + 1
        until(f"requests of {self.out.name} are answered", lambda: self.records(since=later))

    def streams(self) -> list[load.Record]:
        """The long answers that have ended."""
        return [record for record in load.read(self.out) if record.stream is not None]


def until(what: str, condition: Callable[[], Any], seconds: float = 90) -> Any:
    """Wait for a condition and return what it came to."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)
    return found


def summary(output: str) -> dict[str, int]:
    """The counts under `Resources:` at the end of an `up` or a preview, such as {"deleted": 4}."""
    counts = re.findall(r"^ +[-+~] (\d+) (.+?) *$", output.partition("\nResources:")[2], re.MULTILINE)
    return {what: int(number) for number, what in counts}


def revisions(stack: Stack) -> dict[str, str]:
    """The applications' serving revisions, as the state has them."""
    kind = "pulumi-python:dynamic/rollout:Rollout"
    found = [item for item in stack.state() if item["type"] == kind]
    return {item["outputs"]["app"]: item["outputs"]["serving_revision"] for item in found}


def resource(stack: Stack, kind: str, name: str) -> Object:
    """A resource in the state, by its kind and name."""
    return next(item for item in stack.state() if item["urn"].endswith(f"{kind}::{name}"))


def diagnostics(output: str) -> str:
    """What the CLI keeps at the end: its rows repeat as often as they are drawn."""
    return output.partition("\nDiagnostics:")[2]


def changes(output: str, name: str) -> Sequence[str]:
    """The rows that show a difference in a resource of that name."""
    rows = output.partition("\nDiagnostics:")[0].splitlines()
    return [row for row in rows if f" {name} " in row and "[diff:" in row]


def check_side_by_side(history: History, apps: Sequence[str], until: float) -> None:
    """Trap 9: all the walks had begun at that time."""
    began = [history.journal(app)[0][0] if history.journal(app) else float("inf") for app in apps]
    assert max(began) < until
    print(f"{len(apps)} walks began within {max(began) - min(began):.2f} s")
