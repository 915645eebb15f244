"""Alertmanager (API v2, github.com/prometheus/alertmanager, api/v2/openapi.yaml): the alerts that fire.

Pure: requests and parsing. Silenced and inhibited alerts are left out by the server. It has no other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.measures import Alerts, Gate, Source
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import alerts, selectors
from pulumi_rollout.metrics.shapes import Fleet, Problem, Request, Response

ACTIVE = [("active", "true"), ("silenced", "false"), ("inhibited", "false"), ("unprocessed", "false")]
OTHERS = "Alertmanager has alerts only: give the gate a Prometheus or a direct source"


def requests(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """One question for each gate about alerts."""
    return [_request(source, gate, backends) for gate in gates if isinstance(gate, Alerts)]


def _request(source: Source, gate: Alerts, backends: Backends) -> Request:
    filters = [("filter", matcher) for matcher in selectors.alert_matchers(gate, backends)]
    return Request("http", f"{source.address}/api/v2/alerts?{urlencode([*ACTIVE, *filters])}")


def parse(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> dict[str, Reading]:
    """A reading for each gate. An answer that is not Alertmanager's is no data, with the reason."""
    found = {gate.id: Reading(no_data=OTHERS) for gate in gates if not isinstance(gate, Alerts)}
    own = [gate for gate in gates if isinstance(gate, Alerts)]
    for position, gate in enumerate(own):
        try:
            response = responses[position]
            if response.error is not None:
                found[gate.id] = Reading(no_data=response.error)
                continue
            firing = [_alert(item) for item in _listed(response.body)]
            found[gate.id] = alerts.reading(gate, firing, backends, pods)
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"{source.address} did not answer as Alertmanager does ({error})"
            found[gate.id] = Reading(no_data=reason)
    return found


def probe(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """What to ask before anything moves: the same."""
    return requests(source, gates, backends, pods)


def problems(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> list[Problem]:
    """Why gates could not be judged."""
    readings = parse(source, gates, responses, backends, pods)
    return [Problem(gate, reading.no_data) for gate, reading in readings.items() if reading.no_data is not None]


def history(source: Source, gates: Sequence[Gate], backends: Backends, pods: Fleet) -> list[Request]:
    """None: alerts are not counted."""
    return []


def parse_history(
    source: Source, gates: Sequence[Gate], responses: Sequence[Response], backends: Backends, pods: Fleet
) -> dict[str, tuple[tuple[int, int], ...]]:
    """None: alerts are not counted."""
    return {}


def _listed(body: Any) -> list[Any]:
    if isinstance(body, list):
        return body
    reason = body["message"] if isinstance(body, dict) and "message" in body else body
    raise ValueError(reason if isinstance(reason, str) else "no list of alerts")


def _alert(item: Any) -> tuple[dict[str, str], str]:
    summary = (item.get("annotations") or {}).get("summary", "")
    return dict(item["labels"]), summary if isinstance(summary, str) else ""
