"""The routing layers that a walk can shift: one pure module a vendor, objects in, objects out.

A router never talks to a cluster. `ROUTERS` is a literal dict without a default: an unknown name
is an error that lists the choices.
"""

from __future__ import annotations

from typing import Any, Protocol

from pulumi_rollout.core.targets import Backends
from pulumi_rollout.routers import gateway

Manifest = dict[str, Any]


class Router(Protocol):
    """A module with these four functions; all take and return a list of the route's objects.

    + with_weight: list the canary beside the apex with this share; the input is not changed
    + restored: the objects as `original` had them, keeping the live metadata
    + weight: the canary's share, None when it is not listed; ValueError on a shape that is not ours
    + problem: why the proxy has not taken the objects as they are, or None
    """

    def with_weight(self, objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]: ...

    def restored(self, objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]: ...

    def weight(self, objects: list[Manifest], backends: Backends) -> int | None: ...

    def problem(self, objects: list[Manifest]) -> str | None: ...


ROUTERS: dict[str, Router] = {
    "gateway": gateway,
}
