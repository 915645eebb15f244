"""Where counts come from: one pure module a vendor, which makes requests and parses answers.

A source never sends anything: `requests` returns them as data, `parse` reads the bodies, `http.py`
is in between. `SOURCES` is a literal dict without a default.
"""

from __future__ import annotations

from typing import Any, Protocol

from pulumi_rollout.core.plan import Source
from pulumi_rollout.core.state import Reading
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import prometheus


class SourceModule(Protocol):
    """A module with these functions and QUERIES, the built-in queries by proxy.

    `probe` and `exists`: whether the proxy's series are there at all, asked at preview.
    """

    QUERIES: dict[str, Any]

    def requests(self, source: Source, backends: Backends) -> list[str]: ...

    def parse(self, source: Source, bodies: list[Any], backends: Backends) -> Reading: ...

    def probe(self, source: Source) -> str: ...

    def exists(self, body: Any) -> bool: ...


SOURCES: dict[str, SourceModule] = {
    "prometheus": prometheus,
}
PROXIES = {kind: set(module.QUERIES) for kind, module in SOURCES.items()}
