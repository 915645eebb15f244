"""Why a pod is not ready, from its status as the kubelet writes it."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.observe import pod_reason


def waiting(reason: str, message: str | None = None, last: int | None = None) -> dict[str, Any]:
    status: dict[str, Any] = {"state": {"waiting": {"reason": reason, **({"message": message} if message else {})}}}
    return {**status, **({"lastState": {"terminated": {"exitCode": last}}} if last is not None else {})}


UNREADY = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [app]"}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}
POD_REASONS = {
    "an image that is not there": (
        {"containerStatuses": [waiting("ImagePullBackOff", "Back-off pulling image podinfo:nope")]},
        "pod p: ImagePullBackOff: Back-off pulling image podinfo:nope",
    ),
    "a crash loop": (
        {"containerStatuses": [waiting("CrashLoopBackOff", "back-off 10s", last=137)], "conditions": [UNREADY]},
        "pod p: CrashLoopBackOff: back-off 10s (last exit code 137)",
    ),
    "a crash, before it is started again": (
        {"containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 3}}}]},
        "pod p: Error (last exit code 3)",
    ),
    "a crash loop, between two crashes": (
        {
            "containerStatuses": [
                {"state": {"running": {}}, "restartCount": 2, "lastState": {"terminated": {"exitCode": 1}}},
            ],
            "conditions": [UNREADY],
        },
        "pod p: restarted 2 x (last exit code 1)",
    ),
    "a crash of an init container": (
        {
            "initContainerStatuses": [waiting("CrashLoopBackOff", last=1)],
            "containerStatuses": [waiting("PodInitializing")],
        },
        "pod p: CrashLoopBackOff (last exit code 1)",
    ),
    "a finished init container says nothing": (
        {"initContainerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]},
        None,
    ),
    "no node": ({"conditions": [UNSCHEDULABLE]}, f"pod p: Unschedulable: {UNSCHEDULABLE['message']}"),
    "not ready yet": (
        {"containerStatuses": [{"state": {"running": {}}}], "conditions": [UNREADY]},
        "pod p: ContainersNotReady: unready: [app]",
    ),
    "still starting": ({"containerStatuses": [waiting("ContainerCreating")]}, None),
    "the second container": (
        {"containerStatuses": [{"state": {"running": {}}}, waiting("ErrImagePull")]},
        "pod p: ErrImagePull",
    ),
    "a condition without words": ({"conditions": [{"type": "Ready", "status": "False"}]}, None),
    "fine": ({"conditions": [{"type": "Ready", "status": "True", "message": "ok"}]}, None),
    "nothing known": ({}, None),
}


@pytest.mark.parametrize(("status", "reason"), POD_REASONS.values(), ids=POD_REASONS)
def test_why_a_pod_is_not_ready(status: dict[str, Any], reason: str | None) -> None:
    assert pod_reason({"metadata": {"name": "p"}, "status": status}) == reason
