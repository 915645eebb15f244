"""The names that routers and sources need: which Services take part in a walk."""

from __future__ import annotations

from pulumi_rollout.core.plan import Frozen


class Target(Frozen):
    """One version's Service."""

    namespace: str
    service: str
    port: int


class Backends(Frozen):
    """The two Services that share the traffic during a walk: the apex, on stable, and the canary's."""

    apex: Target
    canary: Target
