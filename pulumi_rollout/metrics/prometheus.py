"""Prometheus (HTTP API v1, prometheus.io/docs/prometheus/latest/querying/api): raw request counters.

Pure: requests and parsing. One instant query with a range selector returns each series' raw samples
with their own times, so the age of a number is known and nothing is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any
from urllib.parse import urlencode

from pulumi_rollout.core.plan import Source
from pulumi_rollout.core.state import Reading, Sample
from pulumi_rollout.core.targets import Backends, Target

# Long enough for two scrapes of a slow scraper; a counter that is older has gone stale.
WINDOW = "90s"


@dataclass(frozen=True)
class Query:
    """A proxy's request counter.

    + metric: its name
    + service_label: the label that names the backend, with this value for a Service
    + code_label: the label with the HTTP status; 5xx is bad
    """

    metric: str
    service_label: str
    service_value: str
    code_label: str


QUERIES = {
    # Contour names Envoy's clusters <namespace>_<service>_<port>. Envoy counts its own 503 for an
    # upstream that it cannot reach in the same series.
    "contour": Query(
        metric="envoy_cluster_upstream_rq",
        service_label="envoy_cluster_name",
        service_value="{namespace}_{service}_{port}",
        code_label="envoy_response_code",
    ),
}


def requests(source: Source, backends: Backends) -> list[str]:
    """The URLs to read: one query for both versions, so that they are of the same moment."""
    query = QUERIES[source.proxy]
    names = "|".join(_service(query, target) for target in (backends.canary, backends.apex))
    selector = f'{query.metric}{{{query.service_label}=~"{names}"}}[{WINDOW}]'
    return [f"{source.address}/api/v1/query?{urlencode({'query': selector})}"]


def probe(source: Source) -> str:
    """A URL whose answer tells whether the proxy's series exist at all (see `exists`)."""
    query = f"count({QUERIES[source.proxy].metric})"
    return f"{source.address}/api/v1/query?{urlencode({'query': query})}"


def exists(body: Any) -> bool:
    """Whether a probe found the series."""
    return bool(_result(body))


def parse(source: Source, bodies: list[Any], backends: Backends) -> Reading:
    """Both versions' counters. An answer that is not Prometheus' is no data, with the reason."""
    query = QUERIES[source.proxy]
    try:
        result = _result(bodies[0])
        return Reading(
            canary=_sample(query, result, _service(query, backends.canary)),
            stable=_sample(query, result, _service(query, backends.apex)),
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        return Reading(no_data=f"{source.address} did not answer as Prometheus does ({error})")


def _result(body: Any) -> list[Any]:
    if body["status"] != "success":
        raise ValueError(body.get("error", "no reason given"))
    result = body["data"]["result"]
    if not isinstance(result, list):
        raise ValueError("data.result is not a list")
    return result


def _service(query: Query, target: Target) -> str:
    return query.service_value.format(namespace=target.namespace, service=target.service, port=target.port)


def _sample(query: Query, result: list[Any], service: str) -> Sample:
    series: dict[str, tuple[float, bool]] = {}
    newest: float | None = None
    for item in result:
        labels = item["metric"]
        if labels[query.service_label] != service:
            continue
        samples = [(float(at), float(value)) for at, value in item["values"]]
        counted = [(at, value) for at, value in samples if isfinite(at) and isfinite(value)]
        if not counted:
            continue  # NaN and Inf are no counts; the series has none in this window
        at, value = counted[-1]
        series[_name(labels)] = (value, labels[query.code_label].startswith("5"))
        newest = max(at, newest or 0.0)
    return Sample(series=series, at=newest)


def _name(labels: dict[str, str]) -> str:
    """A short name for a series: a hundred proxies have thousands of them, and all are kept in the journal."""
    text = ",".join(f"{key}={labels[key]}" for key in sorted(labels) if key != "__name__")
    return blake2b(text.encode(), digest_size=6).hexdigest()
