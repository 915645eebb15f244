"""The routing layers that a walk can shift: one pure module a vendor, objects in, objects out.

A router never talks to a cluster. `ROUTERS` is a literal dict without a default: an unknown name
is an error that lists the choices.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from pulumi_rollout.core.targets import Backends
from pulumi_rollout.routers import (
    alb,
    apisix,
    appmesh,
    contour,
    gateway,
    gloo,
    istio,
    knative,
    kubernetes,
    kuma,
    linkerd,
    nginx,
    skipper,
    traefik,
)

Manifest = dict[str, Any]
# An object of a route: apiVersion, kind, name.
Ref = dict[str, str]


class Router(Protocol):
    """A module with these members; all functions take and return a list of the route's objects.

    An object that is in the result and not in the input is created, one that is in the input and not in the
    result is deleted; which is which is told by kind and name. No function changes its input.

    + Route: what a user writes to have the route declared. Its method `objects(app, namespace, port)` returns
      the objects at rest, all traffic on the apex Service; its class variable `router` is the router's name
    + with_weight: list the canary beside the apex with this share
    + restored: the objects as `original` had them, keeping what is not ours as it is live
    + shares: the canary's share in percent in each rule of ours, None where one does not list it; ValueError, with
      the path in the object, on a shape that is not understood, that names another backend, or that is missing
    + problem: why the proxy has not taken the objects as they are, or None
    + REPORTS: whether `problem` can tell, from the objects' own status; if not, the walk relies on the share
      of requests that it sees
    + PROXY: whose series are read where nothing else is said; a key of `metrics.PROXIES`
    + STRATEGIES: the strategies that it can do -> how that is tested: by "traffic" through the real data plane,
      by the "schema" of its CRD, or by a "fixture" from its documentation
    + parts (optional): (refs, backends) -> all objects that a walk reads and writes, in the order in which they
      are written on the way forward: those that are named, and those that the walk itself makes
    + proxy (optional): (refs, backends) -> whose series are read instead, where the objects' shape decides it
    + blind (optional): (refs, backends, proxy) -> why that proxy's series cannot tell the versions apart, or None
    + NOTICE (optional): what people should know at preview of a vendor that has come to its end
    """

    REPORTS: bool
    PROXY: str
    STRATEGIES: dict[str, str]

    @property
    def Route(self) -> type[Any]: ...

    def with_weight(self, objects: list[Manifest], backends: Backends, percent: int) -> list[Manifest]: ...

    def restored(self, objects: list[Manifest], original: list[Manifest], backends: Backends) -> list[Manifest]: ...

    def shares(self, objects: list[Manifest], backends: Backends) -> list[int | None]: ...

    def problem(self, objects: list[Manifest]) -> str | None: ...


ROUTERS: dict[str, Router] = {
    "gateway": gateway,
    "contour": contour,
    "traefik": traefik,
    "nginx": nginx,
    "istio": istio,
    "linkerd": linkerd,
    "kuma": kuma,
    "gloo": gloo,
    "appmesh": appmesh,
    "apisix": apisix,
    "skipper": skipper,
    "alb": alb,
    "knative": knative,
    "kubernetes": kubernetes,
}


def highest(shares: Iterable[int | None]) -> int | None:
    """The canary's share in percent; None when no rule lists it. The highest where rules differ, so that it is never
    understated."""
    return max((one for one in shares if one is not None), default=None)


@contextlib.contextmanager
def understood(objects: Sequence[Manifest]) -> Iterator[None]:
    """What a router makes of objects in a shape that it does not expect is a ValueError as well, with their names."""
    try:
        yield
    except (AttributeError, LookupError, StopIteration, TypeError) as error:
        named = " or ".join(f"{item.get('kind')} {item['metadata']['name']}" for item in objects) or "the route"
        raise ValueError(f"{named} is not understood: {type(error).__name__} at {error}") from error


def parts_of(router: Router, refs: list[Ref], backends: Backends) -> list[Ref]:
    """All objects that a walk reads and writes, in the order in which they are written on the way forward. Those
    that are not among `refs` are made by the walk, and may be absent."""
    own = getattr(router, "parts", None)
    return list(refs) if own is None else list(own(refs, backends))


def proxy_of(router: Router, refs: list[Ref], backends: Backends) -> str:
    """Whose series tell this route's versions apart; a key of `metrics.PROXIES`."""
    own = getattr(router, "proxy", None)
    return router.PROXY if own is None else str(own(refs, backends))


def blind(router: Router, refs: list[Ref], backends: Backends, read: Iterable[str]) -> str | None:
    """Why the series of one of these proxies could not tell this route's versions apart, if they could not."""
    own: Callable[[list[Ref], Backends, str], str | None] | None = getattr(router, "blind", None)
    reasons = [own(refs, backends, proxy) for proxy in sorted(read)] if own else []
    return next((reason for reason in reasons if reason is not None), None)


def notice_of(router: Router) -> str | None:
    """What people should know at preview of the vendor, if anything."""
    notice: str | None = getattr(router, "NOTICE", None)
    return notice


def identity(item: Manifest) -> tuple[str, str]:
    """What tells the objects of one route apart, of an object or of a Ref."""
    return str(item["kind"]), str(item["name"] if "name" in item else item["metadata"]["name"])
