"""PromQL as text: the selector of a proxy's series, and those that users write in a query gate.

Lives here: what is sent to a server that speaks PromQL. Not here: how it answers (`prometheus.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import Template

from pulumi_rollout.core.measures import Alerts, Gate, Query
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.metrics import series
from pulumi_rollout.metrics.owners import Owners, literal
from pulumi_rollout.metrics.proxies import Proxy
from pulumi_rollout.metrics.shapes import Fleet, Version

# Long enough for two scrapes of a slow scraper; a counter that is older has gone stale.
WINDOW = "90s"
# What stable's failures are known by before a walk begins.
PAST = "30m"
# A selector of series, without a function around it or a range behind it.
SELECTOR = re.compile(
    r"""\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*"""
    r"""(?:\{(?P<labels>(?:[^{}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*)\}\s*)?"""
)


def of_proxy(proxy: Proxy, gates: Sequence[Gate], owned: Owners, window: str) -> list[str]:
    """One query for both versions and all gates, so that all numbers are of the same moment; a second one where
    Prometheus may have renamed the label that tells versions apart."""
    wanted = list(dict.fromkeys(name for gate in gates for name in series.names(proxy, gate)))
    if not wanted or not owned:
        return []
    matchers = [_matcher(label, value) for label, value in proxy.only.items()]
    matchers += [_matcher(label, value, "!~") for label, value in proxy.never.items()]
    if histogram := [name for name in wanted if name.endswith("_bucket")]:
        # The bounds that are asked for, and whatever is no histogram.
        bounds = [text for bound in sorted(series.bounds(proxy, gates)) for text in series.spellings(bound)]
        matchers.append(_matcher("le", "|".join(["", *map(literal, bounds)])))
    if len(wanted) > 1 or histogram:
        matchers.insert(0, _matcher("__name__", "|".join(wanted)))
    name = "" if len(wanted) > 1 or histogram else wanted[0]
    by_label: dict[str, list[str]] = {}
    for labels in owned.values():
        for label, value in labels.items():
            by_label.setdefault(label, []).append(value)
    queries = []
    for prefix in ("", "exported_") if proxy.renamed else ("",):
        told = [
            _matcher(f"{prefix}{label}" if label in proxy.renamed else label, "|".join(dict.fromkeys(values)))
            for label, values in by_label.items()
            # Of several that may be renamed, each by itself, the first is asked for and the others are compared later.
            if label not in proxy.renamed[1:] and len(values) == len(owned)
        ]
        queries.append(f"{name}{{{','.join([*matchers, *told])}}}[{window}]")
    return queries


def _matcher(label: str, value: str, operator: str = "=~") -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{label}{operator}"{quoted}"'


def of_query(query: Query, version: Version, backends: Backends, fleet: Fleet) -> tuple[str, str]:
    """A query gate's two selectors for one version: of bad requests, and of all. Raises ValueError."""
    known = _words(version, backends, fleet)
    return _filled(query.bad, "bad", known), _filled(query.total, "total", known)


def same_counter(query: Query) -> bool:
    """Whether the bad requests are some of the series of all of them, rather than a counter of their own."""
    names = [match["name"] if (match := SELECTOR.fullmatch(text)) else None for text in (query.bad, query.total)]
    return names[0] == names[1]


def _words(version: Version, backends: Backends, fleet: Fleet) -> dict[str, str | None]:
    app, target = backends.apex.service, backends.canary if version == "canary" else backends.apex
    revision = target.service.removeprefix(f"{app}-") if version == "canary" else fleet.stable
    return {"app": app, "namespace": target.namespace, "service": target.service, "revision": revision}


def _filled(text: str, name: str, known: dict[str, str | None]) -> str:
    match = SELECTOR.fullmatch(text)
    if match is None or not (match["name"] or (match["labels"] or "").strip()):
        raise ValueError(
            f'{name} is no selector of counters, as in http_requests_total{{app="$app"}}, without functions: {text}'
        )
    try:
        used = {item for item in Template(text).get_identifiers() if known.get(item, "") is None}
        if used:
            raise ValueError(f"{name} uses ${min(used)}, which is not known before there is a version that serves")
        return Template(text).substitute(known)
    except KeyError as error:
        names = ", ".join(f"${word}" for word in sorted(known))
        raise ValueError(f"{name} uses ${error.args[0]}, which is not known; there are: {names}") from None
    except ValueError as error:
        if str(error).startswith("Invalid placeholder"):
            raise ValueError(f"{name} has a lone $: write $$ for one, as at the end of a regular expression") from None
        raise


def firing(gate: Alerts, backends: Backends) -> str:
    """Alerts that fire now."""
    matchers = ",".join(['alertstate="firing"', *alert_matchers(gate, backends)])
    return f"ALERTS{{{matchers}}}"


def alert_matchers(gate: Alerts, backends: Backends) -> list[str]:
    """Those that the gate names, or else the application's namespace."""
    wanted = gate.matchers or {"namespace": backends.apex.namespace}
    return [_matcher(label, value, "=") for label, value in wanted.items()]
