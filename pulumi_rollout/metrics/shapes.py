"""The shapes that all sources share: what is asked, what came back, and the pods that it is about.

Lives here: plain data. Not here: how a vendor writes any of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Version = Literal["canary", "stable"]


@dataclass(frozen=True)
class Request:
    """One question. + via: to a metrics server, or to a pod through the Kubernetes API

    + target: a URL, or a path of the API
    + form: how the answer is to be read
    """

    via: Literal["http", "cluster"]
    target: str
    form: Literal["json", "text"] = "json"


@dataclass(frozen=True)
class Response:
    """What came of a request. + at: when, unix seconds; error: why there is no body"""

    body: Any
    at: float
    error: str | None = None


@dataclass(frozen=True)
class Pod:
    """One pod. + address: its IP; version: of the application's own pods, which of both it runs"""

    name: str
    namespace: str
    address: str = ""
    version: Version | None = None


@dataclass(frozen=True)
class Fleet:
    """The pods that are known.

    + application: the application's own
    + asked: those whose metrics a `direct` source reads
    + stable: the revision that serves
    """

    application: tuple[Pod, ...] = ()
    asked: tuple[Pod, ...] = ()
    stable: str | None = None


class Problem(NamedTuple):
    """Why a gate cannot be judged. + absent: the series are not there, as before a first release"""

    gate: str
    reason: str
    absent: bool = False


@dataclass(frozen=True)
class Series:
    """One counter's newest number. + labels: without its name; at: unix seconds"""

    name: str
    labels: dict[str, str]
    value: float
    at: float
