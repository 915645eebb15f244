"""What the driver sees: reads the cluster and the sources, and puts it into one `Seen`.

Lives here: reading and translating. It decides nothing and writes nothing.
"""

from __future__ import annotations

import json
from typing import Any

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, Phase, Reading, Seen, State
from pulumi_rollout.errors import ClusterError, MetricsError, NotFound, RolloutError
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import APP_LABEL, REVISION_LABEL, Inputs
from pulumi_rollout.metrics import SOURCES
from pulumi_rollout.routers import ROUTERS

Manifest = dict[str, Any]

# States of a container that are on its way, and say nothing about what is wrong.
NO_REASONS = ("ContainerCreating", "PodInitializing", "Completed", None)


class Observer:
    """Eyes on one application. + inputs: with the walk's canary as the revision"""

    def __init__(self, inputs: Inputs, cluster: Cluster, http: Http) -> None:
        self._inputs, self._cluster, self._http = inputs, cluster, http
        self._backends = inputs.backends()
        # As they were when last looked at: what is decided on them is written only if they are still so.
        self.seen_route: list[Manifest] | None = None
        self.seen_apex: str | None = None

    def look(self, plan: Plan, state: State, now: float, stop: str | None) -> Seen:
        """Everything that a decision needs. Raises ClusterError when the cluster does not answer."""
        inputs = self._inputs
        ready, replicas, problem = self._canary(state)
        if state.stable is None:
            return Seen(
                now=now,
                canary_ready=ready,
                canary_replicas=replicas,
                stable_replicas=inputs.revision.replicas,
                canary_problem=problem,
                stop=stop,
            )
        weight, route_problem = self._route()
        apex = self.apex_revision()
        return Seen(
            now=now,
            canary_ready=ready,
            canary_replicas=replicas,
            stable_replicas=self._live_replicas(state.stable),
            canary_problem=problem,
            weight_percent=weight,
            route_problem=route_problem,
            apex_revision=apex,
            apex_ready=apex is not None and (not _turns(state) or self._same_endpoints(apex)),
            readings=self._readings(plan, state),
            stop=stop,
        )

    def image(self) -> str | None:
        """The declared revision's image, as its Deployment has it."""
        deployment = self._cluster.find(self._inputs.deployment_path(self._inputs.revision.hash))
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]) if deployment else None

    def apex_revision(self) -> str | None:
        """The revision that serves: the one that the apex selects. None without an apex of ours."""
        apex = self._cluster.find(self._inputs.apex_path())
        self.seen_apex = apex["metadata"].get("resourceVersion") if apex else None
        return apex["spec"].get("selector", {}).get(REVISION_LABEL) if apex else None

    def foreign(self) -> str | None:
        """An object of the application's names that no rollout has made: the apex, or the route where
        there is no apex yet. None if there is none."""
        apex = self._cluster.find(self._inputs.apex_path())
        if apex is not None:
            ours = REVISION_LABEL in (apex["spec"].get("selector") or {})
            return None if ours else f"Service {self._inputs.namespace}/{self._inputs.app}"
        try:
            ROUTERS[self._inputs.route.router].weight(self.route_objects(), self._backends)
        except NotFound:
            return None
        except ValueError:
            name = self._inputs.route.objects[0]
            return f"{name['kind']} {self._inputs.namespace}/{name['name']}"
        return None

    def route_objects(self) -> list[Manifest]:
        """The live objects of the route."""
        return [self._cluster.get(self.route_path(ref)) for ref in self._inputs.route.objects]

    def route_path(self, ref: dict[str, str]) -> str:
        """The API path of one of the route's objects."""
        return self._cluster.path(ref["apiVersion"], ref["kind"], self._inputs.namespace, ref["name"])

    def original(self) -> str:
        """The route before the walk, for the journal; "[]" where there is none yet."""
        try:
            objects = self.route_objects()
        except NotFound:
            return "[]"
        kept = ("apiVersion", "kind", "spec")
        return json.dumps([{key: item[key] for key in kept if key in item} for item in objects])

    @staticmethod
    def original_objects(state: State) -> list[Manifest]:
        """The route before the walk, from its state."""
        objects: list[Manifest] = json.loads(state.original)
        return objects

    def _canary(self, state: State) -> tuple[int, int, str | None]:
        """Ready pods, wanted pods, and the pods' own reason where they differ."""
        name = self._inputs.name_of(state.revision)
        deployment = self._cluster.find(self._inputs.deployment_path(state.revision))
        if deployment is None:
            return 0, 0, f"Deployment {name} is not there"
        wanted = deployment["spec"].get("replicas", 1)
        status = deployment.get("status", {})
        ready = min(status.get("readyReplicas", 0), status.get("replicas", 0))
        problem = None if ready >= wanted else self._pods_reason(state.revision, deployment)
        return ready, wanted, problem

    def _pods_reason(self, revision: str, deployment: Manifest) -> str | None:
        for condition in deployment.get("status", {}).get("conditions", []):
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                return str(condition["message"])
        selector = f"{APP_LABEL}={self._inputs.app},{REVISION_LABEL}={revision}"
        try:
            pods = self._cluster.get(f"/api/v1/namespaces/{self._inputs.namespace}/pods", labelSelector=selector)
        except ClusterError:
            return None  # a reason is welcome, and no reason to stop looking
        reasons = (reason for pod in pods["items"] if (reason := pod_reason(pod)))
        return next(reasons, None)

    def _live_replicas(self, revision: str) -> int:
        deployment = self._cluster.find(self._inputs.deployment_path(revision))
        if deployment is None:
            return self._inputs.revision.replicas
        return max(int(deployment["spec"].get("replicas", 1)), int(deployment.get("status", {}).get("replicas", 0)))

    def _route(self) -> tuple[int | None, str | None]:
        router = ROUTERS[self._inputs.route.router]
        try:
            self.seen_route = None
            objects = self.seen_route = self.route_objects()
            return router.weight(objects, self._backends), router.problem(objects)
        except NotFound:
            name = self._inputs.route.objects[0]
            return None, f"{name['kind']} {self._inputs.namespace}/{name['name']} is not there"
        except ValueError as error:
            return None, str(error)

    def _same_endpoints(self, revision: str) -> bool:
        """Whether the apex's endpoints are exactly the ready ones of the revision's own Service. Both may
        have none: the way back to a version that is down must come to an end too."""
        return self._addresses(self._inputs.app) == self._addresses(self._inputs.name_of(revision))

    def _addresses(self, service: str) -> set[str]:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._inputs.namespace}/endpointslices"
        slices = self._cluster.get(path, labelSelector=f"kubernetes.io/service-name={service}")
        return {
            address
            for item in slices["items"]
            for endpoint in item.get("endpoints") or []
            if endpoint.get("conditions", {}).get("ready", True)
            for address in endpoint["addresses"]
        }

    def _readings(self, plan: Plan, state: State) -> dict[str, Reading]:
        if state.phase in FINAL or state.phase is Phase.REVERTING:
            return {}
        by_source = {
            name: self._read(plan, name, probe=state.phase is Phase.PREPARING)
            for name in {gate.source for gate in plan.gates}
        }
        return {gate.id: by_source[gate.source] for gate in plan.gates}

    def _read(self, plan: Plan, name: str, *, probe: bool) -> Reading:
        source = plan.sources[name]
        module = SOURCES[source.kind]
        try:
            bodies = [self._http.get_json(url) for url in module.requests(source, self._backends)]
            reading = module.parse(source, bodies, self._backends)
            empty = reading.no_data is None and not reading.stable.series and not reading.canary.series
            if probe and empty and not module.exists(self._http.get_json(module.probe(source))):
                return Reading(no_data=f"{source.address} has no series of {source.proxy}")
            return reading
        except (MetricsError, ValueError, KeyError, TypeError) as error:
            return Reading(no_data=str(error))


def _turns(state: State) -> bool:
    """Whether the walk waits for the apex's endpoints; else they are not asked for. Before any traffic
    they are, so that a right which is missing is missed there."""
    return state.phase in (Phase.PREPARING, Phase.PROMOTING, Phase.REVERTING)


def pod_reason(pod: Manifest) -> str | None:
    """Why a pod is not ready, in its own words: its containers' first, then its conditions'."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        state = container.get("state", {})
        last = container.get("lastState", {}).get("terminated") or state.get("terminated")
        waiting = state.get("waiting") or state.get("terminated")
        if waiting and waiting.get("reason") not in NO_REASONS:
            ended = f" (last exit code {last['exitCode']})" if last else ""
            message = f": {waiting['message']}" if waiting.get("message") else ""
            return f"pod {name}: {waiting['reason']}{message}{ended}"
        if last and not waiting and not container.get("ready"):
            # Between two crashes of a loop.
            return f"pod {name}: restarted {container.get('restartCount', 1)} x (last exit code {last['exitCode']})"
    for condition in status.get("conditions", []):
        if condition["status"] == "False" and condition.get("message"):
            return f"pod {name}: {condition.get('reason', condition['type'])}: {condition['message']}"
    return None


def preflight(inputs: Inputs, plan: Plan, cluster: Cluster, http: Http) -> list[tuple[str, str]]:
    """What can be known before anything moves: does the cluster answer, is the route of our shape,
    do the gates' series exist. Before the first release there is no route, and no series need be there
    yet. Returns (property, reason) for each that does not hold."""
    observer = Observer(inputs, cluster, http)
    problems = []
    try:
        first = observer.apex_revision() is None
        if not first:
            ROUTERS[inputs.route.router].weight(observer.route_objects(), inputs.backends())
    except RolloutError as error:
        return [("cluster", str(error))]
    except ValueError as error:
        problems.append(("route", str(error)))
    for gate in plan.gates:
        source = plan.sources[gate.source]
        module = SOURCES[source.kind]
        try:
            if not module.exists(http.get_json(module.probe(source))) and not first:
                problems.append(("policy", f"gate {gate.id}: {source.address} has no series of {source.proxy}"))
        except (MetricsError, ValueError, KeyError, TypeError) as error:
            problems.append(("policy", f"gate {gate.id}: {error}"))
    return problems
