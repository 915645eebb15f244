"""The names that routers and sources need: which Services take part in a walk."""

from __future__ import annotations

from pulumi_rollout.core.model import Frozen


class Target(Frozen):
    """One version's Service."""

    namespace: str
    service: str
    port: int


class Backends(Frozen):
    """The two Services that share the traffic during a walk: the apex, on stable, and the canary's.

    + rules: names or positions of the route's rules that take part; None = all of our shape
    """

    apex: Target
    canary: Target
    rules: tuple[str | int, ...] | None = None
