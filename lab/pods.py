"""An application's pods one by one, for tests that make one of them ill and leave the others well.

Lives here: finding pods by their labels and telling one what is wrong with it. What can be wrong is in
lab/app/faults.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import requests

from lab.handle import REPOSITORY, Lab, LabError
from lab.objects import connect

T = TypeVar("T")
TIMEOUT_SECONDS = 5
GRPC_PORT = 9999


@dataclass(frozen=True)
class Pod:
    """One pod that runs. + labels: those of its object"""

    name: str
    address: str
    labels: dict[str, str]


def find(lab: Lab, selector: str, namespace: str = "default") -> list[Pod]:
    """The running pods that a label selector names, oldest first, those that are leaving aside."""

    def work() -> list[Pod]:
        path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={quote(selector)}"
        items = connect(lab.kubeconfig).get(path)["items"]
        running = [item for item in items if item["status"].get("phase") == "Running"]
        staying = [item for item in running if not item["metadata"].get("deletionTimestamp")]
        staying.sort(key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
        return [
            Pod(item["metadata"]["name"], item["status"]["podIP"], item["metadata"].get("labels", {}))
            for item in staying
        ]

    return _inside(lab, work)


def ail(lab: Lab, pod: Pod, *, port: int = 9898, **faults: float) -> dict[str, float]:
    """Change one pod's faults at run time, `error_rate=1` for example, and return all that it has then.

    A pod of the sample application for gRPC listens on 9999, any other port is spoken to by HTTP.
    """

    address = f"{pod.address}:{port}"
    text = _by_grpc(lab, address, faults) if port == GRPC_PORT else _inside(lab, lambda: _by_http(address, faults))
    answer: dict[str, float] = json.loads(text)
    return answer


def _by_http(address: str, faults: dict[str, float]) -> str:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(f"http://{address}/faults", json=faults, timeout=TIMEOUT_SECONDS)
    if not answer.ok:
        raise LabError(f"the pod at {address} refused its faults: {answer.json()['error']}")
    return answer.text


def _by_grpc(lab: Lab, address: str, faults: dict[str, float]) -> str:
    """In a process of its own, as gRPC's threads are made once and stay in the network they were made in."""
    command = lab.command(sys.executable, "-m", "lab.greeter", "--faults", address, json.dumps(faults))
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"the pod at {address} refused its faults: {done.stderr.strip()}")
    return done.stdout


def _inside(lab: Lab, work: Callable[[], T]) -> T:
    """Do it in the lab's network."""
    with ThreadPoolExecutor(1, initializer=lab.enter) as thread:
        return thread.submit(work).result()
