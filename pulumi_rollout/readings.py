"""What the gates read: asks servers, proxies and pods, and hands the answers to the pure sources.

Lives here: who is asked, and how often. Not here: what is asked and what an answer means (`metrics/`),
or what the numbers come to (`core/gates/`).
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.counts import Arm, Reading, count
from pulumi_rollout.core.forecast import Traffic
from pulumi_rollout.core.measures import Baseline, Gate, Objective, Restarts, Source
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, Phase, State
from pulumi_rollout.errors import ClusterError, MetricsError
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import APP_LABEL, REVISION_LABEL, Inputs
from pulumi_rollout.metrics import PROXIES, SOURCES, direct
from pulumi_rollout.metrics.series import steadied
from pulumi_rollout.metrics.shapes import Fleet, Pod, Problem, Request, Response, Version

Manifest = dict[str, Any]

# Pods come and go slowly.
PODS_SECONDS = 3.0
# Pods are asked through the API server, of whose budget (`cluster.py`) most is the walk's own.
ASK_SECONDS, ASKS_PER_SECOND = 1.0, 3.0
# A look does not wait longer for pods that do not answer; those that are left are asked at the next one.
LOOK_SECONDS = 2.0
# Before traffic moves, a source without a number is asked so often whether it has the series at all.
PROBE_SECONDS = 5.0
# Between the two readings that tell how much traffic there is.
PAST_SECONDS, BETWEEN_SECONDS = 60.0, 1.0


class Readings:
    """The sources of one application. + inputs: with the walk's canary as the revision"""

    def __init__(self, inputs: Inputs, cluster: Cluster, http: Http) -> None:
        self._inputs, self._cluster, self._http = inputs, cluster, http
        self._backends = inputs.backends()
        self._listed: dict[tuple[str, str], tuple[float, list[Manifest]]] = {}
        self._read: dict[str, tuple[float, dict[str, Reading]]] = {}
        self._probed: dict[str, tuple[float, list[Problem]]] = {}
        # Pods that did not answer the last time are asked last.
        self._silent: set[str] = set()

    def look(self, plan: Plan, state: State, now: float) -> dict[str, Reading]:
        """Each gate's reading, or why it has none. Nothing on the way back, where no gate counts."""
        if state.phase in FINAL or state.phase is Phase.REVERTING:
            return {}
        readings: dict[str, Reading] = {}
        for gate in plan.gates:
            if isinstance(gate, Restarts):
                readings[gate.id] = self._restarts(now)
        for name, gates in _by_source(plan).items():
            try:
                readings |= self._of_source(plan.sources[name], name, gates, state, now)
            except ClusterError as error:
                readings |= {gate.id: Reading(no_data=str(error)) for gate in gates}
        return {name: _steadied(reading, state, name) for name, reading in readings.items()}

    def preflight(self, plan: Plan, stable: str | None = None) -> list[tuple[str, str]]:
        """Why gates could not be judged, as (property, reason). + stable: the revision that serves; without
        one, as before a first release, no series need be there yet"""
        found, now = [], time.time()
        for name, gates in _by_source(plan).items():
            source = plan.sources[name]
            try:
                fleet = self._fleet(source, stable or self._inputs.revision.hash, now)
                problems = self._problems(source, gates, fleet, now)
            except ClusterError as error:
                problems = [Problem(gate.id, str(error)) for gate in gates]
            found += [
                ("policy", f"gate {one.gate}: {one.reason}") for one in problems if stable is not None or not one.absent
            ]
        return found

    def traffic(self, plan: Plan, stable: str) -> Traffic | None:
        """What the application gets now, by two readings of the serving version; None where that cannot be told."""
        found: dict[str, Traffic] = {}
        for name, gates in _by_source(plan).items():
            counting = [gate for gate in gates if isinstance(gate, Objective | Baseline)]
            with contextlib.suppress(ClusterError):
                found |= self._rates(plan.sources[name], counting, stable) if counting else {}
        most = max(found.values(), key=lambda one: one.requests_per_second, default=None)
        ratios = {name: ratio for one in found.values() for name, ratio in one.bad_ratio.items()}
        return most.model_copy(update={"bad_ratio": ratios}) if most else None

    def _rates(self, source: Source, gates: Sequence[Gate], stable: str) -> dict[str, Traffic]:
        """What each gate counts. A server is asked what it knew a minute ago; pods know only the present."""
        module, now = SOURCES[source.kind], time.time()
        fleet = self._fleet(source, stable, now)
        requests = module.requests(source, gates, self._backends, fleet)
        remembers = source.kind == "prometheus"
        earlier = [replace(one, target=f"{one.target}&time={now - PAST_SECONDS:.0f}") for one in requests]
        first = self._ask(source, earlier if remembers else requests, now)
        if not remembers:
            time.sleep(BETWEEN_SECONDS)
        second = self._ask(source, requests, time.time())
        # Who answers now for the first time would seem to have had all of its requests since then.
        second = [was if was.error is not None else one for was, one in zip(first, second, strict=True)]
        before, after = (module.parse(source, gates, asked, self._backends, fleet) for asked in (first, second))
        found = {}
        for gate in gates:
            arm = count(count(Arm(), before[gate.id].stable), after[gate.id].stable)
            since, until = before[gate.id].stable.at, after[gate.id].stable.at
            if since is not None and until is not None and until > since:
                ratio = {gate.id: arm.bad / arm.total} if arm.total else {}
                found[gate.id] = Traffic(requests=arm.total, seconds=until - since, bad_ratio=ratio)
        return found

    def _of_source(
        self, source: Source, name: str, gates: Sequence[Gate], state: State, now: float
    ) -> dict[str, Reading]:
        module = SOURCES[source.kind]
        fleet = self._fleet(source, state.stable, now)
        if source.kind == "direct" and name in self._read:
            asked_at, readings = self._read[name]
            if 0 <= now - asked_at < max(ASK_SECONDS, len(fleet.asked) / ASKS_PER_SECOND):
                return readings
        responses = self._ask(source, module.requests(source, gates, self._backends, fleet), now)
        readings = module.parse(source, gates, responses, self._backends, fleet)
        if state.phase is Phase.PREPARING and any(map(_is_empty, readings.values())):
            readings |= self._absent(source, name, gates, fleet, readings, now)
        if begins := [gate for gate in gates if _begins(gate, state, readings[gate.id])]:
            readings |= self._with_past(source, begins, fleet, readings, now)
        self._read[name] = now, readings
        return readings

    def _with_past(
        self, source: Source, gates: Sequence[Gate], fleet: Fleet, readings: dict[str, Reading], now: float
    ) -> dict[str, Reading]:
        module = SOURCES[source.kind]
        responses = self._ask(source, module.history(source, gates, self._backends, fleet), now)
        past = module.parse_history(source, gates, responses, self._backends, fleet)
        return {gate: readings[gate].model_copy(update={"history": stretches}) for gate, stretches in past.items()}

    def _absent(
        self,
        source: Source,
        name: str,
        gates: Sequence[Gate],
        fleet: Fleet,
        readings: dict[str, Reading],
        now: float,
    ) -> dict[str, Reading]:
        """Of the gates without a number, those whose series do not exist at all: no traffic would show them."""
        if name not in self._probed or now - self._probed[name][0] >= PROBE_SECONDS:
            self._probed[name] = now, self._problems(source, gates, fleet, now)
        return {
            problem.gate: Reading(no_data=problem.reason)
            for problem in self._probed[name][1]
            if _is_empty(readings[problem.gate])
        }

    def _problems(self, source: Source, gates: Sequence[Gate], fleet: Fleet, now: float) -> list[Problem]:
        module = SOURCES[source.kind]
        responses = self._ask(source, module.probe(source, gates, self._backends, fleet), now)
        return module.problems(source, gates, responses, self._backends, fleet)

    def _ask(self, source: Source, requests: Sequence[Request], now: float) -> list[Response]:
        """The answers in the order of the requests."""
        begun, hurried = time.monotonic(), self._cluster.hurried
        answers: dict[str, Response] = {}
        self._cluster.hurry()
        try:
            # Gates may ask the same.
            for request in sorted(dict.fromkeys(requests), key=lambda request: request.target in self._silent):
                target = request.target
                if request.via == "cluster" and time.monotonic() - begun > LOOK_SECONDS:
                    answers[target] = Response(None, now, f"GET {target}: there was no time left to ask")
                else:
                    answers[target] = self._answer(source, request, now)
        finally:
            self._cluster.hurry(hurried)
        return [answers[request.target] for request in requests]

    def _answer(self, source: Source, request: Request, now: float) -> Response:
        try:
            if request.via == "http":
                return Response(self._http.get_json(request.target, source.auth), now)
            text = self._cluster.text(request.target)
        except (ClusterError, MetricsError) as error:
            self._silent.add(request.target)
            return Response(None, now, str(error))
        self._silent.discard(request.target)
        return Response(text, now)

    def _fleet(self, source: Source, stable: str | None, now: float) -> Fleet:
        proxy = PROXIES.get(source.proxy)
        by_pod = proxy is not None and bool(proxy.pod)
        if not by_pod and source.kind != "direct":
            return Fleet(stable=stable)
        where = direct.where(source, self._backends)
        own = source.kind == "direct" and direct.own(source)
        application = self._application(stable, now) if by_pod or own else ()
        if source.kind != "direct":
            return Fleet(application, (), stable)
        namespace = where.namespace or self._inputs.namespace
        asked = self._list(namespace, ",".join(f"{key}={value}" for key, value in where.labels.items()), now)
        running = [_pod(item) for item in asked if item.get("status", {}).get("phase") == "Running"]
        return Fleet(application, application if own else tuple(running), stable)

    def _application(self, stable: str | None, now: float) -> tuple[Pod, ...]:
        """The application's pods of both versions."""
        versions: dict[str, Version] = {self._inputs.revision.hash: "canary"}
        if stable is not None and stable not in versions:
            versions[stable] = "stable"
        pods = []
        for item in self._list(self._inputs.namespace, f"{APP_LABEL}={self._inputs.app}", now):
            revision = item["metadata"].get("labels", {}).get(REVISION_LABEL)
            if revision in versions and item.get("status", {}).get("phase") == "Running":
                pods.append(_pod(item, versions[revision]))
        return tuple(pods)

    def _restarts(self, now: float) -> Reading:
        """How often each container of the canary has been started again, and why it ended the last time."""
        selector = f"{APP_LABEL}={self._inputs.app}"
        events = {}
        try:
            pods = self._list(self._inputs.namespace, selector, now)
        except ClusterError as error:
            return Reading(no_data=str(error))
        for pod in pods:
            if pod["metadata"].get("labels", {}).get(REVISION_LABEL) != self._inputs.revision.hash:
                continue
            status = pod.get("status", {})
            for one in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
                events[f"{pod['metadata']['name']}/{one['name']}"] = (float(one.get("restartCount", 0)), _ended(one))
        return Reading(events=events)

    def _list(self, namespace: str, selector: str, now: float) -> list[Manifest]:
        key = namespace, selector
        if key not in self._listed or not 0 <= now - self._listed[key][0] < PODS_SECONDS:
            pods = self._cluster.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
            self._listed[key] = now, pods["items"]
        return self._listed[key][1]


def _by_source(plan: Plan) -> dict[str, list[Gate]]:
    found: dict[str, list[Gate]] = defaultdict(list)
    for gate in plan.gates:
        if gate.source is not None:
            found[gate.source].append(gate)
    return found


def _steadied(reading: Reading, state: State, gate: str) -> Reading:
    """Without counters that fall because a number came late."""
    evidence = state.evidence.get(gate)
    if evidence is None or reading.no_data is not None:
        return reading
    last = {**evidence.stable.counters, **evidence.canary.counters}
    samples = {"canary": steadied(reading.canary, last), "stable": steadied(reading.stable, last)}
    return reading.model_copy(update=samples)


def _begins(gate: Gate, state: State, reading: Reading) -> bool:
    """Whether it is the first reading of a walk."""
    evidence = state.evidence.get(gate.id)
    seen = evidence is not None and (evidence.canary.begun or evidence.stable.begun)
    return isinstance(gate, Objective | Baseline) and reading.no_data is None and not seen


def _is_empty(reading: Reading) -> bool:
    return reading.no_data is None and not (reading.canary.series or reading.stable.series or reading.events)


def _pod(item: Manifest, version: Version | None = None) -> Pod:
    metadata = item["metadata"]
    return Pod(metadata["name"], metadata.get("namespace", ""), item.get("status", {}).get("podIP", ""), version)


def _ended(container: Manifest) -> str:
    """Why a container ended, in the kubelet's words."""
    for state in (container.get("lastState", {}), container.get("state", {})):
        if (ended := state.get("terminated")) is not None:
            return f"{ended.get('reason', 'ended')} (exit code {ended['exitCode']})"
    return ""
