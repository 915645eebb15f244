"""Pods themselves, in Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats), without a server.

Pure: paths of the Kubernetes API, through which each pod is asked, and the parsing of what they say.
What cannot matter is dropped line by line before anything is parsed: a large proxy says 10 MB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.measures import Baseline, Gate, Latency, Objective, Pods, Query, Source
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import series
from pulumi_rollout.metrics.owners import Owners, owners
from pulumi_rollout.metrics.proxies import PROXIES, Proxy
from pulumi_rollout.metrics.shapes import Fleet, Pod, Problem, Request, Response, Series

# What an answer that is no such text makes of the parser.
BROKEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def usual(proxy: Proxy) -> Pods | None:
    """Where a proxy's pods are, if nothing else is said; None where that is not known."""
    at = proxy.direct
    return Pods(namespace=at.namespace, labels=at.labels, port=at.port, path=at.path) if at else None


def where(source: Source, backends: Backends) -> Pods:
    """The pods to ask, with what is the application's filled in."""
    at = source.pods or usual(PROXIES.get(source.proxy, Proxy())) or Pods(port=0)
    apex = backends.apex
    return at.model_copy(update={"namespace": at.namespace or apex.namespace, "port": at.port or apex.port})


def own(source: Source) -> bool:
    """Whether the pods to ask are the application's own. The proxy tells, whatever is said of where they are."""
    at = PROXIES.get(source.proxy, Proxy()).direct
    return source.pods is None if at is None else not at.labels


def requests(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """One question for each pod."""
    if not any(_problem(source, gate) is None for gate in gates):
        return []
    direct, owned = PROXIES[source.proxy].direct, owners(PROXIES[source.proxy], backends, pods)
    # The first label is what Envoy has in the names of its statistics.
    values = dict.fromkeys(next(iter(labels.values())) for labels in owned.values())
    wanted = direct.filter.replace("{backends}", "|".join(values)) if direct else ""
    return [_request(source, pod, wanted, backends) for pod in pods.asked]


def _request(source: Source, pod: Pod, wanted: str, backends: Backends) -> Request:
    at, direct = where(source, backends), PROXIES[source.proxy].direct
    # At another path there may be something else than Envoy's own administration.
    query = f"?usedonly&filter={quote(wanted)}" if wanted and direct and at.path == direct.path else ""
    path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}:{at.port}/proxy{at.path}{query}"
    return Request("cluster", path, "text")


def parse(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> dict[str, Reading]:
    """A reading for each gate, of all the pods that have answered."""
    found: list[Series] = []
    errors = []
    proxy = PROXIES.get(source.proxy, Proxy())
    owned = owners(proxy, backends, pods)
    for pod, response in zip(pods.asked, responses, strict=False):
        try:
            if response.error is not None:
                errors.append(response.error)
            else:
                found += _series(proxy, gates, pod, response, owned)
        except BROKEN as error:
            errors.append(f"pod {pod.namespace}/{pod.name} did not answer in Prometheus' text format ({error})")
    return {gate.id: _reading(source, gate, found, errors, backends, pods) for gate in gates}


def _reading(
    source: Source, gate: Gate, found: list[Series], errors: list[str], backends: Backends, pods: Fleet
) -> Reading:
    if (problem := _problem(source, gate)) is not None:
        return Reading(no_data=problem)
    if not pods.asked:
        return Reading(no_data=_nobody(source, backends))
    if len(errors) >= len(pods.asked):
        return Reading(no_data=errors[0])
    proxy = PROXIES[source.proxy]
    try:
        return series.reading(gate, proxy, found, owners(proxy, backends, pods), pods)
    except ValueError as error:
        return Reading(no_data=f"the pods of {source.proxy} cannot be judged by: {error}")


def probe(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """What to ask before anything moves: one pod, for all that it has."""
    if not any(_problem(source, gate) is None for gate in gates):
        return []
    direct = PROXIES[source.proxy].direct
    return [_request(source, pod, direct.probe if direct else "", backends) for pod in _first(pods)]


def problems(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> list[Problem]:
    """Why gates could not be judged."""
    found = []
    for gate in gates:
        if (problem := _problem(source, gate)) is not None:
            found.append(Problem(gate.id, problem))
        elif not pods.asked:
            # The application's own pods are not there before its first release.
            found.append(Problem(gate.id, f"{_nobody(source, backends)}{_way_out(source)}", absent=own(source)))
        elif responses and responses[0].error is not None:
            found.append(Problem(gate.id, responses[0].error))
        elif responses and (missing := _missing(source, gate, _first(pods)[0], responses[0])) is not None:
            found.append(missing)
    return found


def _first(pods: Fleet) -> list[Pod]:
    """One pod of those that are asked: of the application's own, one that has had requests."""
    return sorted(pods.asked, key=lambda pod: pod.version == "canary")[:1]


def history(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """None: pods do not remember."""
    return []


def parse_history(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> dict[str, tuple[tuple[int, int], ...]]:
    """None: pods do not remember."""
    return {}


def _problem(source: Source, gate: Gate) -> str | None:
    if isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Query):
        return f"{gate.metric.title} is a query, and needs a Prometheus source: pods do not answer any"
    if gate.test == "alerts":
        return "pods know of no alerts: give it a Prometheus or Alertmanager source"
    if (lack := series.lack(gate, source.proxy)) is not None:
        return lack
    if source.pods is None and PROXIES[source.proxy].direct is None:
        return f"where {source.proxy} has its proxies is not known: name their pods, or give it a Prometheus source"
    return None


def _nobody(source: Source, backends: Backends) -> str:
    at = where(source, backends)
    labels = ",".join(f"{label}={value}" for label, value in at.labels.items())
    return f"no pod{f' with {labels}' if labels else ' of the application'} runs in namespace {at.namespace}"


def _way_out(source: Source) -> str:
    """What to do where a proxy has no pods: it is elsewhere, or the route is another's than its kind suggests."""
    if own(source):
        return ""
    choices = ", ".join(sorted(name for name, proxy in PROXIES.items() if proxy.requests))
    return (
        f": say where they are with source=direct({source.proxy!r}, namespace=…), or name the proxy that serves the "
        f"route in its place; there are: {choices}"
    )


def _missing(source: Source, gate: Gate, pod: Pod, response: Response) -> Problem | None:
    proxy = PROXIES[source.proxy]
    wanted = series.names(proxy, gate)
    try:
        lines = [line for line in response.body.split("\n") if line.startswith(wanted)]
        there = [one for one in _parsed(lines, response.at) if one.name in wanted]
    except BROKEN as error:
        return Problem(gate.id, f"pod {pod.namespace}/{pod.name} did not answer in Prometheus' text format ({error})")
    if not there:
        return Problem(gate.id, f"pod {pod.namespace}/{pod.name} has no series of {source.proxy}", absent=True)
    if isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Latency):
        bounds = [one.labels["le"] for one in there if "le" in one.labels]
        if (wrong := series.missing_bound(source.proxy, gate.metric, bounds)) is not None:
            return Problem(gate.id, wrong)
    return None


def _series(proxy: Proxy, gates: Sequence[Gate], pod: Pod, response: Response, owned: Owners) -> list[Series]:
    """The series that matter, with the pod that has said them."""
    wanted = tuple({name for gate in gates for name in series.names(proxy, gate)})
    lines = [line for line in response.body.split("\n") if line.startswith(wanted)]
    for told in _told(proxy, owned):
        lines = [line for line in lines if told.search(line)]
    if bounds := [text for bound in series.bounds(proxy, gates) for text in series.spellings(bound)]:
        le = re.compile(f'[{{,]le="(?:{"|".join(map(re.escape, bounds))})"')
        lines = [line for line in lines if "_bucket{" not in line or le.search(line)]
    return [
        Series(one.name, {"pod": pod.name, **one.labels}, one.value, one.at)
        for one in _parsed(lines, response.at)
        if one.name in wanted
    ]


def _told(proxy: Proxy, owned: Owners) -> list[re.Pattern[str]]:
    """What a line of either version has on it. Not the pod, which is known from where the line comes, and not a
    label that may be absent."""
    found = []
    for label in proxy.backend:
        values = [labels[label] for labels in owned.values() if label in labels]
        if label != "pod" and not any(re.fullmatch(value, "") for value in values):
            found.append(re.compile("|".join(f'[{{,]{label}="(?:{value})"' for value in values)))
    return found


def _parsed(lines: list[str], at: float) -> list[Series]:
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families("\n".join([*lines, ""]))
    return [
        Series(one.name, dict(one.labels), float(one.value), float(one.timestamp or at))
        for family in families
        for one in family.samples
    ]
