"""What the driver sees: reads the cluster and the sources, and puts it into one `Seen`.

Lives here: reading and translating. It decides nothing and writes nothing.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from pulumi_rollout import adoption
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core import propagation
from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.moves import Drain, Home, Leave, ScaleDown, current
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.propagation import Propagation
from pulumi_rollout.core.state import Phase, Seen, State
from pulumi_rollout.errors import ClusterError, NotFound, RolloutError
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import ADOPTED, APP_LABEL, REVISION_LABEL, Inputs
from pulumi_rollout.metrics import tells_route
from pulumi_rollout.readings import Readings
from pulumi_rollout.routers import ROUTERS, Ref, highest, parts_of, understood

Manifest = dict[str, Any]

# States of a container that are on its way, and say nothing about what is wrong.
NO_REASONS = ("ContainerCreating", "PodInitializing", "Completed", None)


class Observer:
    """Eyes on one application. + inputs: with the walk's canary as the revision"""

    def __init__(self, inputs: Inputs, cluster: Cluster, http: Http) -> None:
        self._inputs, self._cluster = inputs, cluster
        self._readings = Readings(inputs, cluster, http)
        self._propagation = Propagation()
        self._backends = inputs.backends()
        # As they were when last looked at: what is decided on them is written only if they are still so.
        self.seen_route: list[Manifest] | None = None
        self.seen_apex: str | None = None
        self._shares: tuple[int | None, ...] = ()
        # Whether all that the walk wrote of the route has been taken back, by this process.
        self.restored = False

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
        leaves = isinstance(current(plan, state), Home | Leave | Drain | ScaleDown)
        weight, route_problem = self._route(leaves=leaves)
        readings = self._readings.look(plan, state, now)
        apex = self.apex_revision()
        return Seen(
            now=now,
            canary_ready=ready,
            canary_replicas=replicas,
            stable_replicas=self._live_replicas(state.stable),
            canary_problem=problem,
            weight_percent=weight,
            shares=self._shares if len(set(self._shares)) > 1 else (),
            route_problem=route_problem or self._unseen(plan, state, weight, apex, readings, now),
            apex_revision=apex,
            apex_ready=apex is not None and (not _turns(state) or self._same_endpoints(apex)),
            readings=readings,
            stop=stop,
        )

    def image(self) -> str | None:
        """The declared revision's image, as its Deployment has it."""
        deployment = self._cluster.find(self._inputs.deployment_path(self._inputs.revision.hash))
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"]) if deployment else None

    def apex_revision(self) -> str | None:
        """The revision that serves: the one that the apex selects. None without an apex of ours, or to adopt."""
        apex = self._cluster.find(self._inputs.apex_path())
        self.seen_apex = apex["metadata"].get("resourceVersion") if apex else None
        if apex is None:
            return None
        revision: str | None = (apex["spec"].get("selector") or {}).get(REVISION_LABEL)
        return ADOPTED if revision is None and self._inputs.adopt is not None else revision

    def adopted(self) -> dict[str, str]:
        """What the apex selects, where no rollout has made it."""
        return dict(self._cluster.get(self._inputs.apex_path())["spec"].get("selector") or {})

    def adoption_problems(self) -> list[str]:
        """Why the application that is there cannot be taken over without a jump."""
        apex = self._cluster.find(self._inputs.apex_path())
        if apex is None or self.apex_revision() != ADOPTED:
            return []
        new = self._cluster.find(self._inputs.deployment_path(self._inputs.revision.hash))
        old = self._cluster.find(self._inputs.deployment_path(ADOPTED))
        return adoption.problems(self._inputs, apex, old, new["spec"]["template"] if new else None)

    def foreign(self) -> str | None:
        """An object of the application's names that no rollout has made: the apex, or the route where
        there is no apex yet. None if there is none."""
        apex = self._cluster.find(self._inputs.apex_path())
        if apex is not None:
            ours = REVISION_LABEL in (apex["spec"].get("selector") or {})
            return None if ours else f"Service {self._inputs.namespace}/{self._inputs.app}"
        if not self._inputs.route.declared:
            return None  # it is there on purpose, and stays as it is
        try:
            objects = self.route_objects()
            with understood(objects):
                ROUTERS[self._inputs.route.router].shares(objects, self._backends)
        except NotFound:
            return None
        except ValueError:
            names = [f"{item['kind']} {self._inputs.namespace}/{item['metadata']['name']}" for item in objects]
            return next(iter(names), None)
        return None

    @property
    def route_parts(self) -> list[Ref]:
        """All objects that a walk reads and writes, in the order of the way forward."""
        return parts_of(ROUTERS[self._inputs.route.router], self._inputs.route.objects, self._backends)

    def route_objects(self, *, partly: bool = False) -> list[Manifest]:
        """The live objects of the route; of those that a walk itself makes, the ones that are there.
        + partly: of all others too"""
        found = []
        for ref in self.route_parts:
            item = self._cluster.find(self.route_path(ref))
            if item is None and ref in self._inputs.route.objects and not partly:
                raise NotFound(f"{ref['kind']} {self._inputs.namespace}/{ref['name']} is not there", 404)
            found += [item] if item is not None else []
        return found

    def route_path(self, ref: Ref) -> str:
        """The API path of one of the route's objects."""
        return self._cluster.path(ref["apiVersion"], ref["kind"], self._inputs.namespace, ref["name"])

    def original(self) -> str:
        """The route before the walk, for the journal; "[]" where there is none yet."""
        try:
            objects = self.route_objects()
        except NotFound:
            return "[]"
        return json.dumps([_declared(item) for item in objects])

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

    def _route(self, *, leaves: bool = False) -> tuple[int | None, str | None]:
        """The canary's weight, and why the proxy has not taken the route. + leaves: the route is to be as
        it was before the walk, which one without the canary in it need not be: a process may have died, or been
        refused, between two of its objects. Only one that this process has restored as a whole is taken for that"""
        router = ROUTERS[self._inputs.route.router]
        self.seen_route, self._shares = None, ()
        try:
            objects = self.seen_route = self.route_objects()
            with understood(objects):
                self._shares, problem = tuple(router.shares(objects, self._backends)), router.problem(objects)
            weight = highest(self._shares)
            return 0 if weight is None and leaves and not self.restored else weight, problem
        except (NotFound, ValueError) as error:
            return None, str(error)

    def _unseen(
        self, plan: Plan, state: State, weight: int | None, apex: str | None, readings: dict[str, Reading], now: float
    ) -> str | None:
        """Why a weight cannot be relied on yet, by the requests that are seen. The way back does not wait for that."""
        reports, promoted = ROUTERS[self._inputs.route.router].REPORTS, apex == state.revision
        tells = partial(tells_route, promoted=promoted)
        gate = propagation.telling(plan, tells)
        sure = gate is not None and tells(plan.sources[str(gate.source)])
        if state.phase is Phase.REVERTING or ((reports or promoted) and not sure):
            return None
        reading = readings.get(gate.id) if gate else None
        self._propagation = propagation.look(self._propagation, weight or 0, gate, reading, now)
        return propagation.problem(self._propagation, plan, now, reported=reports)

    def _same_endpoints(self, revision: str) -> bool:
        """Whether the apex's endpoints are exactly the ready ones of the revision's own Service. Both may
        have none: the way back to a version that is down must come to an end too."""
        own = self._ready_pods() if revision == ADOPTED else self._addresses(self._inputs.name_of(revision))
        return self._addresses(self._inputs.app) == own

    def _ready_pods(self) -> set[str]:
        """The addresses of an adopted Deployment's ready pods, which have no Service of their own."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(self.adopted().items()))
        path = f"/api/v1/namespaces/{self._inputs.namespace}/pods"
        return {
            pod["status"]["podIP"]
            for pod in self._cluster.get(path, labelSelector=selector)["items"]
            if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
            and "deletionTimestamp" not in pod["metadata"]
        }

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


def _declared(item: Manifest) -> Manifest:
    """What people write of an object, without what the cluster keeps count of."""
    metadata = {key: item["metadata"][key] for key in ("name", "annotations") if key in item["metadata"]}
    return {key: item[key] for key in ("apiVersion", "kind", "spec") if key in item} | {"metadata": metadata}


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
    do the gates' series exist. Before the first release there is no declared route, and no series need be
    there yet. Returns (property, reason) for each that does not hold."""
    observer = Observer(inputs, cluster, http)
    problems = []
    try:
        stable = observer.apex_revision()
        if stable is not None or not inputs.route.declared:
            objects = observer.route_objects()
            with understood(objects):
                ROUTERS[inputs.route.router].shares(objects, inputs.backends())
    except NotFound as error:
        return [("route", str(error))]
    except RolloutError as error:
        return [("cluster", str(error))]
    except ValueError as error:
        problems.append(("route", str(error)))
    problems += [("adopt", problem) for problem in observer.adoption_problems()]
    return problems + Readings(inputs, cluster, http).preflight(plan, stable)
