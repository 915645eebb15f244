"""Whose series one is: the labels by which a proxy names a version, with this release's names in them.

Lives here: the words of `proxies.py` and their values. Not here: what a series counts (`series.py`).
"""

from __future__ import annotations

import re
from collections import defaultdict

from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.metrics.proxies import Proxy
from pulumi_rollout.metrics.shapes import Fleet, Version

# Which label values make a series the version's own, by version.
Owners = dict[Version, dict[str, str]]


def owners(proxy: Proxy, backends: Backends, fleet: Fleet) -> Owners:
    """Each version's labels and their values. A version that is told by its pods is left out where none is known."""
    arms: list[tuple[Version, Target, dict[str, str]]] = [
        ("canary", backends.canary, proxy.backend),
        ("stable", backends.apex, proxy.stable or proxy.backend),
    ]
    found: Owners = {}
    for version, target, labels in arms:
        pods = [pod for pod in fleet.application if pod.version == version]
        names, addresses = [pod.name for pod in pods], [pod.address for pod in pods if pod.address]
        wanted = " ".join(labels.values())
        workload = backends.canary.service if version == "canary" else _stable(backends, fleet)
        absent = {"{pods}": not names, "{addresses}": not addresses, "{workload}": not workload}
        if any(missing and word in wanted for word, missing in absent.items()):
            continue
        words = {**_words(target, backends.apex.service, names, addresses), "workload": literal(workload)}
        found[version] = {label: _filled(value, words) for label, value in labels.items()}
    return found


def _stable(backends: Backends, fleet: Fleet) -> str:
    """The Deployment of the revision that serves; empty where that is not known."""
    return f"{backends.apex.service}-{fleet.stable}" if fleet.stable else ""


def _filled(value: str, words: dict[str, str]) -> str:
    """Only names in braces are words: a regular expression may have other braces."""
    return re.sub(r"\{([a-z_]+)\}", lambda match: words[match[1]], value)


def _words(target: Target, app: str, pods: list[str], addresses: list[str]) -> dict[str, str]:
    return {
        "namespace": literal(target.namespace),
        "app": literal(app),
        "service": literal(target.service),
        "port": str(target.port),
        # Skipper's names of routes have no other signs.
        "route": re.sub(r"\W", "_", target.service),
        "route_namespace": re.sub(r"\W", "_", target.namespace),
        "pods": _alternatives(pods),
        "addresses": "|".join(literal(address) for address in sorted(addresses)),
    }


def literal(text: str) -> str:
    """Text in a regular expression, also one of Go's."""
    return re.sub(r"([.+*?()\[\]{}|^$\\])", r"\\\1", text)


def _alternatives(names: list[str]) -> str:
    """Names of pods in few letters: those of one ReplicaSet begin alike."""
    by_begin = defaultdict(list)
    for name in sorted(names):
        begin, _, end = name.rpartition("-")
        by_begin[begin].append(end)
    return "|".join(
        f"{literal(begin)}{'-' if begin else ''}(?:{'|'.join(literal(end) for end in ends)})"
        for begin, ends in by_begin.items()
    )


def label_of(proxy: Proxy, labels: dict[str, str], label: str) -> str:
    """A label's value as the proxy itself gave it; empty when it has none, as in PromQL."""
    if label in proxy.renamed and f"exported_{label}" in labels:
        return labels[f"exported_{label}"]
    return labels.get(label, "")


def owner(proxy: Proxy, owners: Owners, labels: dict[str, str]) -> Version | None:
    """Whose series it is; nobody's of ours when a label is another one."""
    if any(not re.fullmatch(value, labels.get(label, "")) for label, value in proxy.only.items()):
        return None
    if any(re.fullmatch(value, labels.get(label, "")) for label, value in proxy.never.items()):
        return None
    for version, wanted in owners.items():
        if all(re.fullmatch(value, label_of(proxy, labels, label)) for label, value in wanted.items()):
            return version
    return None
