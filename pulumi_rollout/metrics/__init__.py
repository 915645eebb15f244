"""Where numbers come from: one pure module a source, which makes requests and parses answers.

A source never sends anything: `requests` returns them as data, `parse` reads the answers, `readings.py`
is in between. What a proxy's series are called is data (`proxies.py`), and what they come to is the
same for all sources (`series.py`). SOURCES and PROXIES are literal dicts without a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.measures import Gate, Source
from pulumi_rollout.core.sources_written import Known
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import alertmanager, direct, prometheus, series
from pulumi_rollout.metrics.proxies import PROXIES as PROXIES
from pulumi_rollout.metrics.shapes import Fleet, Problem, Request, Response


class SourceModule(Protocol):
    """A module with these functions. Answers come in the order of their requests.

    `probe` and `problems`: asked before anything moves, whether the gates' numbers are there. `history`
    and `parse_history`: stable's (requests, bad ones) of the past, in stretches of time.
    """

    def requests(self, source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]: ...

    def parse(
        self, source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
    ) -> dict[str, Reading]: ...

    def probe(self, source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]: ...

    def problems(
        self, source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
    ) -> list[Problem]: ...

    def history(self, source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]: ...

    def parse_history(
        self, source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
    ) -> dict[str, tuple[tuple[int, int], ...]]: ...


SOURCES: dict[str, SourceModule] = {
    "prometheus": prometheus,
    "direct": direct,
    "alertmanager": alertmanager,
}
# The proxies that each kind of source can read.
CHOICES: dict[str, frozenset[str]] = {
    "prometheus": frozenset(PROXIES),
    "direct": frozenset(PROXIES),
    "alertmanager": frozenset(),
}


def known(proxy: str, credentials: Iterable[str]) -> Known:
    """What can be read here, for a route with this proxy and an application with these credentials."""
    serves = {name: frozenset(series.serves(one)) for name, one in PROXIES.items()}
    places = {name: at for name, one in PROXIES.items() if (at := direct.usual(one)) is not None}
    return Known(serves, CHOICES, proxy, frozenset(credentials), places)


def tells_route(source: Source, *, promoted: bool) -> bool:
    """Whether its requests tell which of its backends the route has chosen. They do not where some have come past it,
    nor where versions are told by their pods once the apex leads to the new version's too."""
    words = ("{pods}", "{addresses}", "{workload}")
    proxy = PROXIES[source.proxy]
    by_pods = any(word in value for value in proxy.backend.values() for word in words)
    return not by_pods if promoted else not proxy.past
