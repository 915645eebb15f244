"""Prometheus (HTTP API v1, prometheus.io/docs/prometheus/latest/querying/api): raw counters, alerts, the past.

Pure: requests and parsing. One instant query with a range selector returns each series' raw samples
with their own times, so the age of a number is known and nothing is interpolated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isfinite
from typing import Any, Literal, NamedTuple
from urllib.parse import urlencode

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import Alerts, Baseline, Gate, Latency, Objective, Query, Source
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import alerts, selectors, series
from pulumi_rollout.metrics import history as past
from pulumi_rollout.metrics.owners import Owners, owner, owners
from pulumi_rollout.metrics.proxies import PROXIES, Proxy
from pulumi_rollout.metrics.shapes import Fleet, Problem, Request, Response, Series, Version

NONE = Proxy(none="the source names no proxy")


class _Ask(NamedTuple):
    """One query and what it is for. + gates: by id; of, version: of a query gate"""

    query: str
    gates: tuple[str, ...]
    of: Literal["proxy", "bad", "total", "alerts"]
    version: Version | None = None


def requests(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """What to ask for a look: one query for all that the proxy's series tell, and those of query gates and alerts."""
    return [_request(source, ask.query) for ask in _asks(source, gates, backends, pods, selectors.WINDOW)]


def parse(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> dict[str, Reading]:
    """A reading for each gate. An answer that is not Prometheus' is no data, with the reason."""
    asks = _asks(source, gates, backends, pods, selectors.WINDOW)
    found: dict[str, Reading] = {}
    for gate in gates:
        mine = [(ask, response) for ask, response in zip(asks, responses, strict=False) if gate.id in ask.gates]
        try:
            found[gate.id] = _reading(source, gate, mine, backends, pods)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            found[gate.id] = Reading(no_data=f"{source.address} did not answer as Prometheus does ({error})")
    return found


def probe(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """What to ask before anything moves: one query for each gate."""
    return [_request(source, _probe(source, gate, backends, pods)) for gate in gates]


def problems(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> list[Problem]:
    """Why gates could not be judged: no series, another bound, a query that cannot be."""
    found = []
    for gate, response in zip(gates, responses, strict=False):
        problem = _static_problem(source, gate, backends, pods)
        if problem is not None:
            found.append(Problem(gate.id, problem))
            continue
        if response.error is not None:
            found.append(Problem(gate.id, response.error))
            continue
        try:
            answer = _result(response.body)
            if isinstance(gate, Alerts):
                continue
            if not answer:
                found.append(Problem(gate.id, f"{source.address} has no series of {_about(source, gate)}", absent=True))
            elif missing := _missing_bound(source, gate, [item["metric"].get("le", "") for item in answer]):
                found.append(Problem(gate.id, missing))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            found.append(Problem(gate.id, f"{source.address} did not answer as Prometheus does ({error})"))
    return found


def history(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """What to ask for stable's last half hour."""
    return [_request(source, ask.query) for ask in _past(source, gates, backends, pods)]


def parse_history(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Each gate's (requests, bad ones) in stretches of time; nothing where an answer is of no use."""
    asks = _past(source, gates, backends, pods)
    found = {}
    for gate in _comparable(gates):
        mine = [(ask, response) for ask, response in zip(asks, responses, strict=False) if gate.id in ask.gates]
        try:
            found[gate.id] = past.stretches(_counted(source, gate, mine, backends, pods))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError):
            found[gate.id] = ()
    return found


def _request(source: Source, query: str) -> Request:
    return Request("http", f"{source.address}/api/v1/query?{urlencode({'query': query})}")


def _proxy(source: Source) -> Proxy:
    return PROXIES.get(source.proxy, NONE)


def _query_of(gate: Gate) -> Query | None:
    return gate.metric if isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Query) else None


def _asks(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet, window: str) -> list[_Ask]:
    proxy = _proxy(source)
    own = [gate for gate in gates if series.names(proxy, gate)]
    owned = owners(proxy, backends, pods)
    ids = tuple(gate.id for gate in own)
    asks = [_Ask(query, ids, "proxy") for query in selectors.of_proxy(proxy, own, owned, window)]
    for gate in gates:
        if isinstance(gate, Alerts):
            asks.append(_Ask(selectors.firing(gate, backends), (gate.id,), "alerts"))
        elif (query := _query_of(gate)) is not None:
            for version in ("canary", "stable"):
                asks += _of_query(gate, query, version, backends, pods, window)
    return asks


def _of_query(gate: Gate, query: Query, version: Version, backends: Backends, pods: Fleet, window: str) -> list[_Ask]:
    try:
        bad, total = selectors.of_query(query, version, backends, pods)
    except ValueError:
        return []  # said at preview, and by the reading
    return [
        _Ask(f"{bad}[{window}]", (gate.id,), "bad", version),
        _Ask(f"{total}[{window}]", (gate.id,), "total", version),
    ]


def _reading(source: Source, gate: Gate, mine: list[tuple[_Ask, Response]], backends: Backends, pods: Fleet) -> Reading:
    if (problem := _static_problem(source, gate, backends, pods)) is not None:
        return Reading(no_data=problem)
    failed = [response.error for _, response in mine if response.error is not None]
    if failed:
        return Reading(no_data=failed[0])
    if isinstance(gate, Alerts):
        return alerts.reading(gate, [(_labels(item), "") for item in _result(mine[0][1].body)], backends, pods)
    if (query := _query_of(gate)) is not None:
        return _by_query(query, {(ask.version, ask.of): _newest(response.body) for ask, response in mine})
    proxy = _proxy(source)
    owned = owners(proxy, backends, pods)
    if not owned:
        return Reading(no_data=f"no pod of {backends.apex.service} is known whose series could be read")
    found = [one for _, response in mine for one in _newest(response.body)]
    if not mine:
        raise IndexError("no answer")
    return series.reading(gate, proxy, found, owned, pods)


def _by_query(query: Query, found: dict[tuple[Version | None, str], list[Series]]) -> Reading:
    samples = {
        version: _sample_of(query, found[version, "bad"], found[version, "total"]) for version in ("canary", "stable")
    }
    return Reading(canary=samples["canary"], stable=samples["stable"])


def _sample_of(query: Query, bad: list[Series], total: list[Series]) -> Sample:
    marked = {series.name_of(one.name, one.labels): (one.value, True) for one in bad}
    if selectors.same_counter(query):
        rest = {series.name_of(one.name, one.labels): (one.value, False) for one in total}
        return Sample(series={**rest, **marked}, at=max((one.at for one in [*bad, *total]), default=None))
    # A counter of its own: of all that a target has counted, what is not bad.
    left: dict[str, float] = defaultdict(float)
    for one, sign in [*((one, 1) for one in total), *((one, -1) for one in bad)]:
        target = {label: one.labels.get(label, "") for label in ("job", "instance", "pod")}
        left[series.name_of("rest", target)] += sign * one.value
    rest = {name: (max(0.0, value), False) for name, value in left.items()}
    return Sample(series={**rest, **marked}, at=max((one.at for one in [*bad, *total]), default=None))


def _static_problem(source: Source, gate: Gate, backends: Backends, pods: Fleet) -> str | None:
    """What no answer could mend."""
    if isinstance(gate, Alerts):
        return None
    if (query := _query_of(gate)) is None:
        return series.lack(gate, source.proxy) if source.proxy else f"the source of {gate.id} names no proxy"
    try:
        for version in ("canary", "stable"):
            selectors.of_query(query, version, backends, pods)
    except ValueError as error:
        return str(error)
    return None


def _probe(source: Source, gate: Gate, backends: Backends, pods: Fleet) -> str:
    if isinstance(gate, Alerts) or _static_problem(source, gate, backends, pods) is not None:
        return "vector(1)"
    if (query := _query_of(gate)) is not None:
        return f"count({selectors.of_query(query, 'stable', backends, pods)[1]})"
    proxy = _proxy(source)
    if isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Latency):
        return f"count by (le) ({proxy.duration}_bucket)"
    return f"count({series.names(proxy, gate)[0]})"


def _about(source: Source, gate: Gate) -> str:
    query = _query_of(gate)
    return source.proxy if query is None else query.total


def _missing_bound(source: Source, gate: Gate, bounds: list[str]) -> str | None:
    if not (isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Latency)):
        return None
    return series.missing_bound(source.proxy, gate.metric, bounds)


def _comparable(gates: Sequence[Gate]) -> list[Objective | Baseline]:
    return [gate for gate in gates if isinstance(gate, Objective | Baseline)]


def _past(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[_Ask]:
    proxy = _proxy(source)
    own = [gate for gate in _comparable(gates) if series.names(proxy, gate)]
    owned: Owners = {
        version: labels for version, labels in owners(proxy, backends, pods).items() if version == "stable"
    }
    ids = tuple(gate.id for gate in own)
    asks = [_Ask(query, ids, "proxy") for query in selectors.of_proxy(proxy, own, owned, selectors.PAST)]
    for gate in _comparable(gates):
        if (query := _query_of(gate)) is not None:
            asks += _of_query(gate, query, "stable", backends, pods, selectors.PAST)
    return asks


def _counted(
    source: Source, gate: Objective | Baseline, mine: list[tuple[_Ask, Response]], backends: Backends, pods: Fleet
) -> list[tuple[past.Kind, past.Samples]]:
    """Each series of the past with what it counts as."""
    proxy = _proxy(source)
    owned = owners(proxy, backends, pods)
    counted: list[tuple[past.Kind, past.Samples]] = []
    for ask, response in mine:
        for item in _result(response.body):
            labels, samples = _labels(item), _samples(item)
            one = Series(labels.pop("__name__", ""), labels, 0.0, 0.0)
            if ask.of in ("bad", "total"):
                counted.append(("among" if ask.of == "bad" else "good", samples))
            elif one.name in series.names(proxy, gate) and owner(proxy, owned, labels) == "stable":
                kind = series.kind_of(proxy, gate, one)
                counted += [(kind, samples)] if kind is not None else []
    return counted


def _result(body: Any) -> list[Any]:
    if body["status"] != "success":
        raise ValueError(body.get("error", "no reason given"))
    result = body["data"]["result"]
    if not isinstance(result, list):
        raise ValueError("data.result is not a list")
    return result


def _labels(item: Any) -> dict[str, str]:
    labels = dict(item["metric"])
    if any(not isinstance(value, str) for value in labels.values()):
        raise ValueError("a label is no text")
    return labels


def _samples(item: Any) -> list[tuple[float, float]]:
    samples = [(float(at), float(value)) for at, value in item["values"]]
    return [(at, value) for at, value in samples if isfinite(at) and isfinite(value)]


def _newest(body: Any) -> list[Series]:
    """The newest number of each series. NaN and Inf are no counts: an older one in this window is, or none."""
    found = []
    for item in _result(body):
        labels, samples = _labels(item), _samples(item)
        if samples:
            at, value = samples[-1]
            found.append(Series(labels.pop("__name__", ""), labels, value, at))
    return found
