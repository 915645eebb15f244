"""Gates as users write them, and the plan's gates that they become.

Pure. The tables of settings in the docs are made of these models and of what their docstrings say of each field
(`docs/settings.py`). Two gates need no writing: `restarts`, and `stalled` where the source can tell. Not here: what a
gate makes of its numbers (`gates/`).
"""

from __future__ import annotations

import re
from string import Template
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pulumi_rollout.core.measures import (
    Alerts,
    Baseline,
    Gate,
    Latency,
    Metric,
    Objective,
    Query,
    Restarts,
    Share,
    Source,
    Stalled,
    SuccessRate,
)
from pulumi_rollout.core.plan import problems_of
from pulumi_rollout.core.sources_written import Known, Sources, SourceWritten
from pulumi_rollout.core.written import Deadline, Written, single
from pulumi_rollout.errors import InvalidInput

DefaultGate = Literal["restarts", "stalled"]
# What the selectors of a query may speak of.
PLACEHOLDERS = ("app", "namespace", "service", "revision")


class GateWritten(Written):
    """What all gates have.

    + source: where its numbers are from; the policy's `source` if it is left out
    + dry_run: judged and shown, without consequence
    """

    source: SourceWritten | None = None
    dry_run: bool = False


class ShareWritten(GateWritten):
    """A share of requests, with an objective of its own or compared with the old version's.

    + max_ratio: instead of an objective: to pass, the new version's share of bad requests is shown to be less than so
      many times the old one's
    + margin: with `max_ratio`, it fails above so many times
    """

    max_ratio: float | None = Field(default=None, gt=1)
    margin: float = Field(default=1.5, ge=1)

    @model_validator(mode="after")
    def _margin_is_below(self) -> Self:
        if self.max_ratio is not None and self.margin >= self.max_ratio:
            raise ValueError(f"margin {self.margin:g} must be below maxRatio {self.max_ratio:g}")
        return self


class SuccessRateWritten(ShareWritten):
    """Requests are answered without a server error. + min_percent: so many percent of the canary's at least"""

    min_percent: float | None = None


class LatencyWritten(ShareWritten):
    """Requests are answered soon.

    + percentile: so many percent of the canary's requests take at most `max`
    + max: a duration that is a bound of the proxy's histogram
    """

    percentile: float | None = None
    max: Deadline


class QueryWritten(ShareWritten):
    """Counters of your own.

    + name: what they count, in words; in a program, the first argument
    + bad: PromQL selector of the counters of bad events
    + total: PromQL selector of the counters of all events
    + max_percent: so many percent of all events are bad at most
    """

    name: str
    bad: str
    total: str
    max_percent: float | None = None


class TrafficShareWritten(GateWritten):
    """The canary gets the share of requests that the route says.

    + margin: it fails where the odds are more than so many times the route's, or less than the route's by as much
    """

    margin: float = Field(default=1.25, gt=1)


class StalledWritten(GateWritten):
    """Requests end, or not all of them hang. + after: by then, one of those that were given should have ended"""

    after: Deadline = 10.0


class RestartsWritten(Written):
    """Containers of the canary do not crash under traffic.

    + max: so many restarts, of all containers together, are fine
    + dry_run: judged and shown, without consequence
    """

    max: int = Field(default=0, ge=0)
    dry_run: bool = False


class AlertsWritten(GateWritten):
    """No alert begins to fire.

    + source: where the alerts are: a Prometheus or an Alertmanager
    + matchers: labels that an alert has to have; without any, it is of the application's namespace and names the
      application, a revision or a pod of it
    """

    source: SourceWritten
    matchers: dict[str, str] = {}


GATES: dict[str, type[Written]] = {
    "success_rate": SuccessRateWritten,
    "latency": LatencyWritten,
    "query": QueryWritten,
    "traffic_share": TrafficShareWritten,
    "stalled": StalledWritten,
    "restarts": RestartsWritten,
    "alerts": AlertsWritten,
}


def gates(
    written: list[dict[str, Any]], source: SourceWritten | None, defaults: list[DefaultGate], known: Known, path: str
) -> tuple[list[Gate], dict[str, Source]]:
    """The plan's gates and sources. + source: for gates that name none. Raises InvalidInput with the first mistake."""
    sources = Sources(known)
    found: list[Gate] = []
    for position, one in enumerate(written):
        place = f"{path}.gates.{position}"
        name, settings = single(one, GATES, place, "gate")
        try:
            gate = GATES[name].model_validate(settings)
        except ValidationError as error:
            raise InvalidInput(problems_of(error, place)) from error
        found.append(_gate(gate, name, source, sources, place, {other.id for other in found}))
    if "stalled" in defaults and not any(gate.test == "stalled" for gate in found):
        keys = (gate.source for gate in found if gate.source is not None)
        if (key := next((key for key in keys if sources.serves(key, "stalled")), None)) is not None:
            found.append(Stalled(id="stalled", source=key))
    if "restarts" in defaults and not any(gate.test == "restarts" for gate in found):
        found.append(Restarts(id="restarts"))
    return found, sources.found


def _gate(gate: Written, name: str, source: SourceWritten | None, sources: Sources, path: str, taken: set[str]) -> Gate:
    if isinstance(gate, RestartsWritten):
        return Restarts(id=_unique(name, taken), max_restarts=gate.max, dry_run=gate.dry_run)
    if not isinstance(gate, GateWritten):
        raise TypeError(f"{name} is written by a model that has no source")
    key = sources.key(gate.source or source, path)
    common: dict[str, Any] = {"source": key, "dry_run": gate.dry_run}
    _check_kind(name, sources.found[key].kind, path)
    if isinstance(gate, AlertsWritten):
        return Alerts(id=_unique(name, taken), matchers=gate.matchers, **common)
    if name != "query":
        what = {"traffic_share": "share"}.get(name, name)
        if not sources.serves(key, what):
            reason = f"{sources.found[key].proxy} has no numbers for {name}; it has them for: {sources.choices(key)}"
            raise InvalidInput([(path, reason)])
    if isinstance(gate, TrafficShareWritten):
        return Share(id=_unique(name, taken), margin=gate.margin, **common)
    if isinstance(gate, StalledWritten):
        return Stalled(id=_unique(name, taken), after_seconds=gate.after, **common)
    if not isinstance(gate, ShareWritten):
        raise TypeError(f"{name} is a gate that the plan does not know")
    metric, objective, setting = _metric(gate, path)
    if (objective is None) == (gate.max_ratio is None):
        raise InvalidInput([(path, f"has exactly one of {setting} and maxRatio")])
    label = _label(metric)
    if gate.max_ratio is not None:
        ident = _unique(f"{label}_vs_stable", taken)
        return Baseline(id=ident, metric=metric, margin=gate.margin, max_ratio=gate.max_ratio, **common)
    if objective is None or not 0 < objective < 1:
        raise InvalidInput(
            [(f"{path}.{setting}", f"lies between 0 and 100 percent, both excluded, not {_given(gate)}")]
        )
    return Objective(id=_unique(label, taken), metric=metric, max_bad_ratio=objective, **common)


def _metric(gate: ShareWritten, path: str) -> tuple[Metric, float | None, str]:
    """What is counted, the largest share that may be bad, and the setting that says so."""
    match gate:
        case SuccessRateWritten(min_percent=percent):
            return SuccessRate(), may_be_bad(percent, f"{path}.minPercent"), "minPercent"
        case LatencyWritten(percentile=percent, max=bound):
            return Latency(bound_seconds=bound), may_be_bad(percent, f"{path}.percentile"), "percentile"
        case QueryWritten(max_percent=percent):
            for name in ("bad", "total"):
                _check_selector(getattr(gate, name), f"{path}.{name}")
            share = None if percent is None else round(percent / 100, 12)
            return Query(title=gate.name, bad=gate.bad, total=gate.total), share, "maxPercent"
    raise TypeError(f"{type(gate).__name__} is no metric")


def may_be_bad(percent: float | None, path: str) -> float | None:
    """The share that is left where so many percent have to be good. Raises InvalidInput for one that was written as a
    share, as other settings are: it would switch the gate off."""
    if percent is not None and 0 < percent <= 1:
        reason = f"is in percent, and at {percent:g} % nearly all requests may be bad: for 99 % write 99"
        raise InvalidInput([(path, reason)])
    return None if percent is None else round(1 - percent / 100, 12)


def _given(gate: ShareWritten) -> str:
    percents = (getattr(gate, name, None) for name in ("min_percent", "percentile", "max_percent"))
    return next((f"{percent:g}" for percent in percents if percent is not None), "nothing")


def _check_selector(selector: str, path: str) -> None:
    """It is one selector, to which a range is added, and speaks of nothing unknown."""
    if not re.fullmatch(r"\s*([a-zA-Z_:][\w:]*)?\s*(\{.*\})?\s*", selector, re.DOTALL) or not selector.strip():
        reason = f'is a selector of counters, as in orders_total{{revision="$revision"}}, not {selector!r}'
        raise InvalidInput([(path, reason)])
    if unknown := sorted(set(Template(selector).get_identifiers()) - set(PLACEHOLDERS)):
        choices = ", ".join(f"${name}" for name in PLACEHOLDERS)
        raise InvalidInput([(path, f"there is no ${unknown[0]}; there are: {choices}")])


def _check_kind(name: str, kind: str, path: str) -> None:
    """Which gates a kind of source can serve at all."""
    if kind == "alertmanager" and name != "alerts":
        raise InvalidInput([(path, f"an Alertmanager has alerts and no {name}: give it another source")])
    if kind == "direct" and name in ("alerts", "query"):
        raise InvalidInput([(path, f"{name} needs a prometheus source, as pods know nothing of it")])


def _label(metric: Metric) -> str:
    if metric.name != "query":
        return metric.name
    return re.sub(r"\W+", "_", metric.title.strip().lower()).strip("_") or "query"


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where it is taken."""
    return next(one for one in (name, *(f"{name}-{n}" for n in range(2, 1000))) if one not in taken)
