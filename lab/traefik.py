"""Traefik, the lab's second data plane, for labs that ask for it.

Lives here: what it needs in the cluster, when it serves, and how a lab that is up already gets it. It is
a pod like any other: how that is started is the kubelet's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lab import tools
from lab.crew import LabFailed
from lab.objects import Api, apply_kinds, connect, documents, established, true

if TYPE_CHECKING:
    from lab.handle import Lab

URL = "http://10.44.0.2:8080"
MANIFESTS = Path(__file__).resolve().parent / "manifests" / "traefik"
GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/infra/gateways/traefik"
START_SECONDS = 60


def kinds() -> list[Path]:
    """The kinds that it watches: its own, and a later Gateway API than Contour asks for."""
    return [tools.data("traefik", "crds/traefik.yaml"), tools.data("traefik", "crds/gateway-api")]


def apply(api: Api) -> None:
    """All its objects; its kinds must be served already."""
    for document in documents(*sorted(MANIFESTS.glob("*.yaml"))):
        api.apply(document)


def serves(api: Api) -> bool:
    """Whether it is ready and has taken its Gateway."""
    deployment = "/apis/apps/v1/namespaces/traefik/deployments/traefik"
    return true(api.get(deployment), "Available") and true(api.get(GATEWAY), "Programmed")


def add(lab: Lab) -> None:
    """Give it to a lab that is up without it; where it is there already, nothing changes."""

    def work() -> None:
        api = connect(lab.kubeconfig)
        apply_kinds(api, kinds())
        _await(lambda: established(api))
        apply(api)
        _await(lambda: serves(api))

    with ThreadPoolExecutor(1, initializer=lab.enter) as inside:
        inside.submit(work).result()


def _await(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not probe():
        if time.monotonic() > deadline:
            raise LabFailed(f"Traefik does not serve after {START_SECONDS} s: see the logs of its pod")
        time.sleep(0.05)
