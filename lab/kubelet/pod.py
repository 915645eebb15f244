"""One pod: its containers together, its status reported at once, and its end.

Lives here: what containers share (directory, volumes, address) and the reports to the API server. The
status itself is composed in status.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lab.kubelet import content, status, volumes
from lab.kubelet.api import STRATEGIC, UNREACHABLE, Api, ApiError, Json
from lab.kubelet.container import Container, Surroundings

RETRY_SECONDS = 0.5
VOLUMES_RETRY_SECONDS = 0.1
"""In a new namespace, what every volume of a service account holds comes a moment after the first pod."""


@dataclass(frozen=True)
class Node:
    """What all pods of the node share."""

    api: Api
    images: Path
    directory: Path
    name: str
    address: str
    api_address: str


class Pod:
    """Use: `await run()` once; `update` with each newer object from the API."""

    def __init__(self, node: Node, manifest: Json, address: str) -> None:
        self.address = address
        self._node = node
        self._manifest = manifest
        self._place = content.Place(address, node.name, node.address, node.api_address)
        meta = manifest["metadata"]
        self._uid = meta["uid"]
        self._path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        self._label = f"{meta['namespace']}_{meta['name']}_{self._uid}"
        self._directory = node.directory / "pods" / self._label
        self._root = self._directory / "volumes"
        self._containers: list[Container] = []
        self._waiting: Json = {"reason": "ContainerCreating"}
        self._conditions: Sequence[Json] = manifest["status"].get("conditions", [])
        self._reported: Json = {}
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._grace_seconds = 0.0
        self.update(manifest)

    def update(self, manifest: Json) -> None:
        """Take a newer object: of all its fields, only a deletion matters to a running pod."""
        meta = manifest["metadata"]
        if meta.get("deletionTimestamp"):
            self.stop(float(meta.get("deletionGracePeriodSeconds", 0)))

    def stop(self, grace_seconds: float) -> None:
        """Not ready from now on, and gone after the grace. A second call can only shorten it."""
        if self._stop.is_set() and grace_seconds >= self._grace_seconds:
            return
        self._grace_seconds = grace_seconds
        self._stop.set()
        for container in self._containers:
            container.stop(grace_seconds)
        self._dirty.set()

    async def run(self) -> None:
        """Live until stopped, then remove the object; whatever ended by itself waits for its deletion."""
        helpers = [asyncio.create_task(self._report())]
        try:
            self._dirty.set()
            made = await self._volumes()
            if made is not None:
                helpers.append(asyncio.create_task(self._renew_tokens()))
                await self._run_containers(made)
            self._dirty.set()
            await self._stop.wait()
        finally:
            for helper in helpers:
                helper.cancel()
        with contextlib.suppress(ApiError, *UNREACHABLE):
            await self._push()
        await self._delete()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _volumes(self) -> dict[str, Path] | None:
        """Prepare the pod's directory; what is missing is awaited, with the reason in the status."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._node.directory / "logs").mkdir(exist_ok=True)
        while not self._stop.is_set():
            if self._manifest["spec"].get("initContainers"):
                self._hold("InitContainersUnsupported", "the lab's kubelet runs no init containers")
                await self._stop.wait()
                break
            try:
                return await volumes.prepare(self._node.api, self._manifest, self._root, self._place)
            except (content.ConfigError, *UNREACHABLE) as error:
                self._hold("ContainerCreating", f"MountVolume.SetUp failed: {error}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), VOLUMES_RETRY_SECONDS)
        return None

    async def _renew_tokens(self) -> None:
        await volumes.renew_tokens(self._node.api, self._manifest, self._root)

    def _hold(self, reason: str, message: str) -> None:
        self._waiting = {"reason": reason, "message": message}
        self._dirty.set()

    async def _run_containers(self, made: dict[str, Path]) -> None:
        logs = self._node.directory / "logs"
        for spec in self._manifest["spec"]["containers"]:
            around = Surroundings(
                api=self._node.api,
                images=self._node.images,
                pod=self._manifest,
                place=self._place,
                volumes=made,
                directory=self._directory,
                log=logs / f"{self._label}_{spec['name']}.log",
                changed=self._dirty.set,
            )
            self._containers.append(Container(spec, around))
        if self._stop.is_set():
            self.stop_containers()
        await asyncio.gather(*(container.run() for container in self._containers))

    def stop_containers(self) -> None:
        for container in self._containers:
            container.stop(self._grace_seconds)

    async def _report(self) -> None:
        """Report each change at once, one after another so that they arrive in order."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._push()
            except ApiError as error:
                if error.status not in (404, 409):  # gone, or a successor of the same name
                    print(f"{self._path}: {error}", flush=True)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_SECONDS)
                self._dirty.set()

    async def _push(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        statuses = [container.status for container in self._containers] or self._not_begun()
        wanted = status.compose(self._manifest, statuses, self._place, self._conditions, now)
        wanted["startTime"] = self._reported.get("startTime", wanted["startTime"])
        if wanted == self._reported:
            return
        body = {"metadata": {"uid": self._uid}, "status": wanted}
        await self._node.api.request("PATCH", f"{self._path}/status", body, kind=STRATEGIC)
        self._reported, self._conditions = wanted, wanted["conditions"]

    def _not_begun(self) -> list[Json]:
        return [
            {
                "name": spec["name"],
                "image": spec["image"],
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": 0,
                "state": {"waiting": self._waiting},
                "lastState": {},
            }
            for spec in self._manifest["spec"]["containers"]
        ]

    async def _delete(self) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uid}}
        while True:
            try:
                await self._node.api.request("DELETE", self._path, body)
                return
            except ApiError as error:
                if error.status not in (404, 409):
                    print(f"{self._path}: {error}", flush=True)
                return
            except UNREACHABLE:
                await asyncio.sleep(RETRY_SECONDS)
