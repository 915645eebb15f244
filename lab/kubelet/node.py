"""The node: registered, pods bound to it, each with an address, and one Pod object a pod.

Lives here: the watches and what stands in for the scheduler. One node has room for everything; only a
nodeSelector or a cordon keeps a pod waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import traceback
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from lab.kubelet import status
from lab.kubelet.api import MERGE, STRATEGIC, UNREACHABLE, ApiError, Json
from lab.kubelet.pod import Node, Pod
from lab.kubelet.targets import Targets

CAPACITY = {"cpu": "1k", "memory": "1Ti", "pods": "1k", "ephemeral-storage": "1Ti"}
PREFIX_LENGTH = 16
ADDRESS_ANNOTATION = "lab/address"
"""For a pod that others have to know the address of: one of the first 256, which no other pod gets."""
RETRY_SECONDS = 0.2


class Kubelet:
    """Use: `await run()`, for ever; `await shut_down()` ends the processes and leaves the objects."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pods: dict[str, Pod] = {}
        self._pending: dict[str, Json] = {}
        self._labels: dict[str, str] = {}
        self._cordoned = False
        self._tasks: set[asyncio.Task[None]] = set()
        network = ipaddress.ip_network(f"{node.address}/{PREFIX_LENGTH}", strict=False)
        # The first 256 are the node's and the API server's.
        self._addresses = [str(network[index]) for index in range(256, network.num_addresses - 1)]
        self._next = 0
        self._targets = Targets(node.directory / "targets.json", node.images)

    async def run(self) -> None:
        await self._register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_node())
            group.create_task(self._watch_pods())

    async def shut_down(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _register(self) -> None:
        """Create or take over the Node object; waits for an API server that is still starting."""
        name, address = self._node.name, self._node.address
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        while True:
            try:
                with contextlib.suppress(ApiError):
                    await self._node.api.request("POST", "/api/v1/nodes", manifest)
                # Admission marks new nodes as not ready, and the controller that unmarks them is off.
                untainted = {"spec": {"taints": None}, "metadata": {"labels": labels}}
                await self._node.api.request("PATCH", f"/api/v1/nodes/{name}", untainted, kind=MERGE)
                ready = {"status": _node_status(name, address)}
                await self._node.api.request("PATCH", f"/api/v1/nodes/{name}/status", ready, kind=STRATEGIC)
                return
            except (ApiError, *UNREACHABLE):
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch_node(self) -> None:
        selector = {"fieldSelector": f"metadata.name={self._node.name}"}
        async for kind, seen in self._node.api.watch("/api/v1/nodes", **selector):
            for node in seen if kind == "LISTED" else [seen]:
                self._labels = node["metadata"].get("labels", {})
                self._cordoned = node["spec"].get("unschedulable", False)
                for manifest in list(self._pending.values()):
                    self._spawn(self._schedule(manifest))

    async def _watch_pods(self) -> None:
        async for kind, seen in self._node.api.watch("/api/v1/pods"):
            if kind == "LISTED":
                for uid in (self._pods.keys() | self._pending.keys()) - {pod["metadata"]["uid"] for pod in seen}:
                    self._gone(uid)
                for manifest in seen:
                    self._seen(manifest)
            elif kind == "DELETED":
                self._gone(seen["metadata"]["uid"])
            else:
                self._seen(seen)

    def _seen(self, manifest: Json) -> None:
        uid, node = manifest["metadata"]["uid"], manifest["spec"].get("nodeName")
        if not node:
            known = self._pending.get(uid)
            self._pending[uid] = manifest
            # Our own report of an unschedulable pod comes back as a change: only its spec is news.
            if known is None or known["spec"] != manifest["spec"]:
                self._spawn(self._schedule(manifest))
            return
        self._pending.pop(uid, None)
        if pod := self._pods.get(uid):
            pod.update(manifest)
        elif node == self._node.name and self._concerns(manifest):
            self._pods[uid] = Pod(self._node, manifest, self._address(manifest))
            self._spawn(self._pods[uid].run())
            self._targets.add(manifest, self._pods[uid].address)

    def _concerns(self, manifest: Json) -> bool:
        """A finished pod found at our start stays as it is until it is deleted."""
        finished = manifest["status"].get("phase") in ("Succeeded", "Failed")
        return not finished or "deletionTimestamp" in manifest["metadata"]

    def _gone(self, uid: str) -> None:
        """Removed without waiting for us: what is left of it ends now."""
        self._pending.pop(uid, None)
        if pod := self._pods.pop(uid, None):
            pod.stop(0)
            self._targets.remove(uid)

    def _address(self, manifest: Json) -> str:
        """Its address from before our restart, or the one that has been free for longest."""
        if manifest["spec"].get("hostNetwork"):
            return self._node.address
        if fixed := (manifest["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION):
            return str(fixed)
        if known := manifest["status"].get("podIP"):
            return str(known)
        used = {pod.address for pod in self._pods.values()}
        while True:
            address = self._addresses[self._next % len(self._addresses)]
            self._next += 1
            if address not in used:
                return address

    async def _schedule(self, manifest: Json) -> None:
        """Bind a pod to the node, or say why not."""
        meta = manifest["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        try:
            if why := self._obstacle(manifest["spec"]):
                refused = status.unschedulable(f"0/1 nodes are available: 1 {why}.", _now())
                body = {"metadata": {"uid": meta["uid"]}, "status": refused}
                await self._node.api.request("PATCH", f"{path}/status", body, kind=STRATEGIC)
                return
            target = {"apiVersion": "v1", "kind": "Node", "name": self._node.name}
            name = {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": name, "target": target}
            await self._node.api.request("POST", f"{path}/binding", binding)
        except ApiError as error:
            if error.status not in (404, 409):  # gone, or bound already
                print(f"{path}: {error}", flush=True)
        except UNREACHABLE:
            await asyncio.sleep(RETRY_SECONDS)
            self._spawn(self._schedule(manifest))

    def _obstacle(self, spec: Json) -> str | None:
        if self._cordoned:
            return "node(s) were unschedulable"
        wanted = spec.get("nodeSelector") or {}
        if any(self._labels.get(key) != value for key, value in wanted.items()):
            return "node(s) didn't match Pod's node affinity/selector"
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            traceback.print_exception(error)


def _node_status(name: str, address: str) -> Json:
    now = _now()
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "the lab's kubelet is posting ready status",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "capacity": CAPACITY,
        "allocatable": CAPACITY,
        "conditions": [ready],
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
