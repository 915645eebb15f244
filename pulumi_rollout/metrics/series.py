"""From series to a gate's reading: common to all sources, by what `proxies.py` says of a vendor.

Lives here: which requests were bad, which have ended. Not here: whose they are (`owners.py`), how series
are asked for, or what the numbers mean (`core/gates/`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b
from math import isfinite

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import Baseline, Gate, Latency, Objective, Query, Share, Stalled
from pulumi_rollout.metrics.history import Kind
from pulumi_rollout.metrics.owners import Owners, owner
from pulumi_rollout.metrics.proxies import PROXIES, Proxy
from pulumi_rollout.metrics.shapes import Fleet, Series, Version

# HTTP status of a gRPC request whose failure comes in its trailers.
ANSWERED = "200"


def lack(gate: Gate, name: str) -> str | None:
    """Why a proxy's series cannot judge a gate; None if they can."""
    if name not in PROXIES:
        return f"there is no proxy {name}; there are: {', '.join(PROXIES)}"
    proxy = PROXIES[name]
    if proxy.none:
        return f"{proxy.none}: with {name}, the gates are those without its series: restarts, alerts"
    if names(proxy, gate):
        return None
    metric = gate.metric.name if isinstance(gate, Objective | Baseline) else gate.test
    if metric == "share" and proxy.past:
        return f"{name} counts requests that have not come by the route too, so it cannot tell the route's share"
    choices = ", ".join([*serves(proxy), "restarts", "alerts"])
    return f"{name} has no series for {metric}; with it, the gates are: {choices}"


def serves(proxy: Proxy) -> list[str]:
    """The metrics and tests that a proxy has series for."""
    found = ["success_rate", *([] if proxy.past else ["share"])] if proxy.requests else []
    found += ["latency"] if proxy.duration else []
    return found + (["stalled"] if proxy.begun else [])


def names(proxy: Proxy, gate: Gate) -> tuple[str, ...]:
    """The names of the series that a gate needs."""
    match gate:
        case Objective() | Baseline():
            if isinstance(gate.metric, Latency):
                return (f"{proxy.duration}_bucket", f"{proxy.duration}_count") if proxy.duration else ()
            return () if isinstance(gate.metric, Query) else (*proxy.requests, *proxy.grpc)
        case Share():
            return () if proxy.past else proxy.requests
        case Stalled():
            return (*proxy.begun, *proxy.ended)
        case _:
            return ()


def bounds(proxy: Proxy, gates: Iterable[Gate]) -> set[float]:
    """The histogram's bounds that latency gates ask for, in its own unit."""
    return {
        round(gate.metric.bound_seconds / proxy.unit_seconds, 9)
        for gate in gates
        if isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Latency)
    }


def spellings(bound: float) -> list[str]:
    """How a bound may be written: Prometheus 3 says 500.0, older ones and the proxies 500."""
    short = f"{bound:g}"
    whole = [f"{bound:.0f}"] if bound == int(bound) else []
    return sorted({repr(bound), *whole, *([short] if float(short) == bound else [])})


def missing_bound(name: str, metric: Latency, written: Iterable[str]) -> str | None:
    """What is wrong with a latency's bound, by those that the histogram has."""
    unit = PROXIES[name].unit_seconds
    there = sorted({number for text in written if (number := _number(text)) is not None and isfinite(number)})
    if any(abs(number * unit - metric.bound_seconds) < 1e-9 for number in there):
        return None
    choices = ", ".join(f"{number * unit:g}" for number in there) or "none"
    return f"{metric.bound_seconds:g} s is no bound of the histogram of {name}; in seconds, there are: {choices}"


def kind_of(proxy: Proxy, gate: Objective | Baseline, one: Series) -> Kind | None:
    """What a series of the past counts as; None for one that does not count."""
    if not isinstance(gate.metric, Latency):
        return "among" if one.name in proxy.grpc else "bad" if is_bad(proxy, one) else "good"
    if "le" not in one.labels:
        return "bad"  # until those within the bound are taken from it
    return "within" if _number(one.labels["le"]) in bounds(proxy, [gate]) else None


def reading(gate: Gate, proxy: Proxy, found: list[Series], owned: Owners, fleet: Fleet) -> Reading:
    """Both versions' samples for a gate. Raises ValueError for series that cannot be judged."""
    samples: dict[Version, Sample] = {"canary": Sample(), "stable": Sample()}
    wanted = names(proxy, gate)
    mine: dict[Version, list[Series]] = defaultdict(list)
    for one in found:
        if one.name in wanted and isfinite(one.value) and (version := owner(proxy, owned, one.labels)) is not None:
            mine[version].append(one)
    for version, series in mine.items():
        samples[version] = _sample(gate, proxy, series, fleet)
    return Reading(canary=samples["canary"], stable=samples["stable"])


def _sample(gate: Gate, proxy: Proxy, series: list[Series], fleet: Fleet) -> Sample:
    marked: dict[str, tuple[float, bool]] = {}
    pods: dict[str, str] = {}
    if isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Latency):
        [bound] = bounds(proxy, [gate])
        counted = _by_duration(series, bound)
    elif isinstance(gate, Stalled):
        counted = [(one.name, one, one.value, one.name in proxy.ended) for one in series]
    elif isinstance(gate, Share):
        counted = [(one.name, one, one.value, False) for one in series]
    else:
        counted = _by_status(proxy, series)
    known = {name: pod.name for pod in fleet.application for name in (pod.name, pod.address) if name}
    for kind, one, value, mark in counted:
        name = name_of(kind, one.labels)
        marked[name] = (value, mark)
        said = one.labels.get(proxy.pod, "") if proxy.pod else ""
        if pod := known.get(said) or known.get(said.rpartition(":")[0]):
            pods[name] = pod
    newest = max((one.at for _, one, _, _ in counted), default=None)
    return Sample(series=marked, pods=pods, at=newest)


_Counted = list[tuple[str, Series, float, bool]]


def _by_status(proxy: Proxy, series: list[Series]) -> _Counted:
    """Requests by what they were answered with. One that fails in its trailers is among those that were answered
    with 200, and one that the proxy itself fails is a 5xx as well as a gRPC status: what the statuses say beyond
    the 5xx is taken from the 200s."""
    code = next(iter(proxy.bad))
    failed: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)
    for one in series:
        if one.name in proxy.grpc:
            failed[_without(one.labels, code)] += one.value
        elif proxy.grpc and is_bad(proxy, one):
            failed[_without(one.labels, code)] -= one.value
    counted: _Counted = []
    for one in series:
        if one.name in proxy.grpc:
            continue
        value = one.value
        if proxy.grpc and one.labels.get(code) == ANSWERED:
            beyond = max(0.0, failed[_without(one.labels, code)])
            if beyond:
                counted.append((f"{one.name} grpc", one, min(beyond, value), True))
            value = max(0.0, value - beyond)
        counted.append((one.name, one, value, is_bad(proxy, one)))
    return counted


def is_bad(proxy: Proxy, one: Series) -> bool:
    """Whether a series is of bad requests. Raises ValueError when nothing on it says so."""
    labels = {**one.labels, "__name__": one.name}
    said = {label: value for label, value in proxy.bad.items() if label in labels}
    if not said:
        raise ValueError(f"{one.name} has no label {' or '.join(proxy.bad)}")
    return any(re.fullmatch(value, labels[label]) for label, value in said.items())


def _by_duration(series: list[Series], bound: float) -> _Counted:
    """Those within the bound, and the rest of those that were counted."""
    within: dict[tuple[tuple[str, str], ...], Series] = {}
    for one in series:
        if "le" in one.labels and _number(one.labels["le"]) == bound:
            within[_without(one.labels, "le")] = one
    counted: _Counted = []
    for one in series:
        fast = within.get(_without(one.labels, "le"))
        if "le" in one.labels or fast is None:
            continue
        counted.append((f"{one.name} fast", one, fast.value, False))
        counted.append((f"{one.name} slow", one, max(0.0, one.value - fast.value), True))
    return counted


def _number(text: str) -> float | None:
    try:
        return round(float(text), 9)
    except ValueError:
        return None


def _without(labels: dict[str, str], label: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in labels.items() if key != label))


def name_of(kind: str, labels: dict[str, str]) -> str:
    """A short name for a series: a hundred proxies have thousands of them, and all are kept in the journal."""
    text = ",".join([kind, *(f"{key}={labels[key]}" for key in sorted(labels))])
    return blake2b(text.encode(), digest_size=6).hexdigest()


def steadied(sample: Sample, last: dict[str, float]) -> Sample:
    """A sample in which no counter falls a little. A counter that begins anew falls to a small part of what it was;
    one that falls to more than half is a number that came late, as from a second server behind one address, or the
    difference of two that were not read at the same instant. It stays where it was until it is passed."""
    held = {
        name: (max(value, last[name]) if name in last and value >= last[name] / 2 else value, mark)
        for name, (value, mark) in sample.series.items()
    }
    return sample.model_copy(update={"series": held})
