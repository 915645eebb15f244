"""A pod's status from its containers' states. Pure: no clock, no I/O.

Lives here: phase and conditions. The containers' own entries come from container.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab.kubelet.api import Json
from lab.kubelet.content import Place


def compose(pod: Json, containers: Sequence[Json], place: Place, conditions: Sequence[Json], now: str) -> Json:
    """The status to report; `conditions` are those reported last, for the times of their transitions."""
    phase = _phase(containers)
    return {
        "phase": phase,
        "podIP": place.address,
        "podIPs": [{"ip": place.address}],
        "hostIP": place.node_address,
        "hostIPs": [{"ip": place.node_address}],
        "startTime": pod["status"].get("startTime") or now,
        "conditions": _conditions(phase, containers, conditions, now),
        "containerStatuses": list(containers),
    }


def unschedulable(message: str, now: str) -> Json:
    """The status of a pod that fits no node."""
    condition = _condition("PodScheduled", False, "Unschedulable", message)
    return {"conditions": [{**condition, "lastTransitionTime": now}]}


def _phase(containers: Sequence[Json]) -> str:
    states = [container["state"] for container in containers]
    if all("terminated" in state for state in states):
        failed = any(state["terminated"]["exitCode"] for state in states)
        return "Failed" if failed else "Succeeded"
    if any("waiting" in one["state"] and not one["lastState"] for one in containers):
        return "Pending"
    return "Running"


def _conditions(phase: str, containers: Sequence[Json], before: Sequence[Json], now: str) -> list[Json]:
    unready = [container["name"] for container in containers if not container["ready"]]
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")
    message = f"containers with unready status: [{' '.join(unready)}]"
    since = {(condition["type"], condition["status"]): condition["lastTransitionTime"] for condition in before}
    wanted = [
        _condition("PodReadyToStartContainers", True),
        _condition("Initialized", True),
        _condition("ContainersReady", not unready, reason, message),
        _condition("Ready", not unready, reason, message),
    ]
    return [
        {**condition, "lastTransitionTime": since.get((condition["type"], condition["status"]), now)}
        for condition in wanted
    ]


def _condition(kind: str, good: bool, reason: str = "", message: str = "") -> Json:
    """A condition for a strategic merge, in which None removes what a bad one had said."""
    if good:
        return {"type": kind, "status": "True", "reason": None, "message": None}
    return {"type": kind, "status": "False", "reason": reason, "message": message}
