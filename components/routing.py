"""Where the traffic comes from: one class a kind of route, each with the objects at rest.

At rest a route sends everything to the apex Service, from release to release, so the declared
objects never change. How weights are written during a walk is the router's (`pulumi_rollout.routers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pulumi_rollout.routers import gateway


class Routing(Protocol):
    """What Application needs of a route. + router: a key of `pulumi_rollout.routers.ROUTERS`"""

    @property
    def router(self) -> str: ...

    def objects(self, app: str, namespace: str, port: int) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class GatewayRoute:
    """A Gateway API HTTPRoute.

    + hosts: host names
    + gateway: the Gateway that serves them, as `name` or `namespace/name`
    + request_timeout: for a whole answer, as in "60s"; "0s" for none, which streams need where the
      Gateway has a default
    """

    hosts: Sequence[str]
    gateway: str
    request_timeout: str | None = None
    router: str = "gateway"

    def objects(self, app: str, namespace: str, port: int) -> list[dict[str, Any]]:
        """The HTTPRoute at rest, all traffic on the apex Service."""
        return gateway.declared(app, namespace, list(self.hosts), self.gateway, port, self.request_timeout)
