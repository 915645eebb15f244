"""Sources as users write them, and the plan's sources that they become.

Pure. A policy's gates share sources: what is written twice is read once. Not here: how a source is read (`metrics/`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pulumi_rollout.core.measures import Auth, Pods, Source
from pulumi_rollout.core.written import Written
from pulumi_rollout.errors import InvalidInput


class Known(NamedTuple):
    """What can be read here.

    + proxies: name of a proxy -> the metrics and tests that its series serve: success_rate, latency, stalled, share
    + kinds: kind of source -> the proxies that it can read
    + proxy: the one that the application's route has
    + places: name of a proxy -> where its pods usually are, of those of which that is known; without labels they are
      the application's own
    + credentials: names of those that the application has
    """

    proxies: Mapping[str, frozenset[str]]
    kinds: Mapping[str, frozenset[str]]
    proxy: str
    credentials: frozenset[str] = frozenset()
    places: Mapping[str, Pods] = {}


class SourceWritten(Written):
    """Exactly one of `prometheus`, `alertmanager` and `direct`.

    + prometheus, alertmanager: the server's address; in a program, the first argument
    + direct: whose series are read: a proxy's, or the application's own (`app`); in a program, the first argument
    + proxy: whose series are read; those of the application's route if it is left out
    + token: a bearer token, by the name of a credential
    + username: with `password`, in plain
    + password: by the name of a credential
    + headers: header -> name of a credential that is its value
    + ca: PEM certificates to trust instead of the system's, by the name of a credential
    + insecure_skip_verify: the server's certificate is not checked
    + namespace: of the pods; where the proxy usually has them if it is left out
    + labels: of the pods; those that the proxy's usually have if they are left out
    + port: of the pods' metrics; the one that the proxy usually has if it is left out
    + path: of the pods' metrics; the one that the proxy usually has if it is left out
    """

    prometheus: str | None = None
    alertmanager: str | None = None
    direct: str | None = None
    proxy: str | None = None
    token: str | None = None
    username: str | None = None
    password: str | None = None
    headers: dict[str, str] = {}
    ca: str | None = None
    insecure_skip_verify: bool = False
    namespace: str | None = None
    labels: dict[str, str] = {}
    port: int | None = None
    path: str | None = None


KINDS = ("prometheus", "alertmanager", "direct")
OF_DIRECT = ("namespace", "labels", "port", "path")
OF_SERVERS = ("token", "username", "password", "headers", "ca", "insecure_skip_verify")


class Sources:
    """The plan's sources, by key, as gates ask for them."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.found: dict[str, Source] = {}

    def key(self, written: SourceWritten | None, path: str) -> str:
        """The key of a source; without one, the proxy of the route is read directly. Raises InvalidInput."""
        source = _source(written or SourceWritten(direct=self._known.proxy), f"{path}.source", self._known)
        same = next((key for key, other in self.found.items() if other == source), None)
        key = same or f"{source.kind}-{len(self.found) + 1}"
        self.found[key] = source
        return key

    def serves(self, key: str, what: str) -> bool:
        """Whether a source has the numbers for a metric or test."""
        return what in self._known.proxies.get(self.found[key].proxy, frozenset())

    def choices(self, key: str) -> str:
        """What a source has numbers for, in words."""
        return ", ".join(sorted(self._known.proxies.get(self.found[key].proxy, ()))) or "nothing"


def _source(written: SourceWritten, path: str, known: Known) -> Source:
    named = [kind for kind in KINDS if getattr(written, kind) is not None]
    if len(named) != 1:
        raise InvalidInput([(path, f"names exactly one of {', '.join(KINDS)}")])
    kind = named[0]
    foreign = {"direct": OF_SERVERS, "prometheus": OF_DIRECT, "alertmanager": ("proxy", *OF_DIRECT)}[kind]
    if wrong := [name for name in foreign if name in written.model_fields_set]:
        raise InvalidInput([(f"{path}.{wrong[0]}", f"means nothing to a source of kind {kind}: leave it out")])
    proxy = "" if kind == "alertmanager" else _proxy(written, kind, path, known)
    if kind == "direct":
        return Source(kind=kind, proxy=proxy, pods=_pods(written, proxy, path, known))
    address = _address(getattr(written, kind), f"{path}.{kind}")
    auth = Auth(**{name: getattr(written, name) for name in OF_SERVERS})
    _check_credentials(auth, path, known)
    return Source(kind=kind, proxy=proxy, address=address, auth=auth)


def _proxy(written: SourceWritten, kind: str, path: str, known: Known) -> str:
    if kind == "direct":
        proxy, place = written.direct or known.proxy, f"{path}.direct"
        if written.proxy is not None:
            raise InvalidInput(
                [(f"{path}.proxy", "means nothing to a source of kind direct: name the proxy as direct's value")]
            )
    else:
        proxy, place = written.proxy or known.proxy, f"{path}.proxy"
    if proxy not in known.kinds[kind]:
        choices = ", ".join(sorted(known.kinds[kind]))
        raise InvalidInput([(place, f"there is no proxy {proxy} that {kind} can read; there are: {choices}")])
    return proxy


def _pods(written: SourceWritten, proxy: str, path: str, known: Known) -> Pods | None:
    """Where the pods are, if something is said of it: what is left out is as the proxy usually has it."""
    given = {name: value for name in OF_DIRECT if (value := getattr(written, name))}
    usual = known.places.get(proxy)
    if not given:
        return None
    if usual is None:
        needed = {"labels": "which labels its pods have", "port": "on which port the pods have their metrics"}
        if missing := [
            (f"{path}.{name}", f"is missing: say {what}") for name, what in needed.items() if name not in given
        ]:
            raise InvalidInput(missing)
        return Pods(**given)
    if not usual.labels and (foreign := [name for name in ("namespace", "labels") if name in given]):
        reason = f"means nothing to {proxy}, which is read in the application's own pods: leave it out"
        raise InvalidInput([(f"{path}.{foreign[0]}", reason)])
    return usual.model_copy(update=given)


def _address(address: Any, path: str) -> str:
    if not re.match(r"https?://[^/]", address):
        raise InvalidInput([(path, f"is a URL with http:// or https://, not {address!r}")])
    if "@" in address.split("/")[2]:
        reason = "holds a password, and the plan is stored in plain: name it as a credential (username=, password=)"
        raise InvalidInput([(path, reason)])
    return str(address).rstrip("/")


def _check_credentials(auth: Auth, path: str, known: Known) -> None:
    wanted = {"token": auth.token, "password": auth.password, "ca": auth.ca}
    wanted |= {f"headers.{header}": name for header, name in auth.headers.items()}
    for setting, name in wanted.items():
        if name is not None and name not in known.credentials:
            choices = ", ".join(sorted(known.credentials)) or "none"
            raise InvalidInput(
                [(f"{path}.{setting}", f"names no credential of the application; its credentials are: {choices}")]
            )
    if (auth.username is None) != (auth.password is None):
        raise InvalidInput([(path, "has one of username and password: give both")])
