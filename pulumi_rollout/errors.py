"""Every error of ours, for people: what happened, where, what to do, in one sentence.

RolloutError
├── InvalidInput            you: the program or the configuration is wrong; nothing has moved
├── ClusterError            the Kubernetes API refused or did not answer
│   ├── NotFound            … because the object is not there
│   └── Conflict            … because somebody else wrote first
├── MetricsError            a metrics server refused or did not answer
├── JournalError            the walk's memory in the cluster cannot be used
│   └── Fenced              … because the guard in the cluster is acting on it
├── Refused                 the walk was not begun, or the command not given; nothing has moved
│   └── Locked              … because somebody else is releasing the application
├── Held                    the walk waits for people, its weight stays, and no process runs it
└── RolloutFailed           the new version did badly, or the walk was stopped; traffic is back

Third-party exceptions are mapped where they arise (`cluster.py`, `http.py`). Inside `core`,
verdicts are values.
"""

from __future__ import annotations


class RolloutError(Exception):
    """Base of all: `str()` is the sentence that users read."""


class InvalidInput(RolloutError):
    """Mistakes as (property path, reason), found before anything moves."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{path}: {reason}" for path, reason in problems))


class ClusterError(RolloutError):
    """The Kubernetes API refused or did not answer. `status` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        self.status = status
        super().__init__(message)


class NotFound(ClusterError):
    """The object is not there."""


class Conflict(ClusterError):
    """The object changed since it was read."""


class MetricsError(RolloutError):
    """A metrics server refused, or did not answer in time."""


class JournalError(RolloutError):
    """The journal is broken, of a newer format, or held by another run."""


class Fenced(JournalError):
    """The guard in the cluster has begun to put the traffic back: the walk may only go back too."""


class Refused(RolloutError):
    """The walk was not begun, for the reason that the message says."""


class Locked(Refused):
    """Somebody else is releasing the application. + holder: who"""

    def __init__(self, holder: str, message: str = "") -> None:
        self.holder = holder
        super().__init__(message or f"{holder} is releasing this application")


class Held(RolloutError):
    """The walk waits for people: the state stays with the old version, and the next update goes on."""


class RolloutFailed(RolloutError):
    """All traffic is back on the old version; the message is the verdict with its numbers."""
