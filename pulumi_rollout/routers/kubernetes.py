"""Kubernetes alone: the apex Service, without a proxy that could share traffic between two versions.

Pure: objects in, objects out, and there are none. Strategies that turn all traffic at once need no more than the apex;
those that shift it step by step are refused.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

from pulumi_rollout.core.targets import Backends

Manifest = dict[str, Any]

REPORTS = False
PROXY = "app"
STRATEGIES: dict[str, str] = {}


@dataclass(frozen=True)
class Route:
    """No route: callers use the Service with the application's name."""

    router: ClassVar[str] = "kubernetes"

    def objects(self, app: str, namespace: str, port: int) -> list[Manifest]:
        """None."""
        return []


def with_weight(objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]:
    """As they are."""
    return deepcopy(objects)


def restored(objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]:
    """As they are."""
    return deepcopy(objects)


def shares(objects: list[Manifest], backends: Backends) -> list[int | None]:
    """ValueError: there is no share to read."""
    raise ValueError(f"Service {backends.apex.service} has no route whose traffic could be shared")


def problem(objects: list[Manifest]) -> str | None:
    """Nothing."""
    return None
