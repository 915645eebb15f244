"""One application in the local API: its objects, and what controllers would make of each write.

Deployments get as many ready pods as they are asked for, endpoints follow selectors, and the Gateway
takes each route at once. Not here: anything of the code under test.
"""

from __future__ import annotations

from typing import Any

from tests.fake_api import FakeApi, Manifest

APP, NAMESPACE, PORT = "shop", "prod", 9898
APP_LABEL, REVISION_LABEL = "app.kubernetes.io/name", "pulumi-rollout/revision"
# Each move takes one look.
QUICK = {
    "canary": {
        "weights": [20, 50],
        "interval": "0s",
        "settle": "0s",
        "drain": "0s",
        "preparing": "1s",
        "guard": False,
    }
}
URN = "urn:pulumi:live::rollouts::pulumi-rollout:index:Application$pulumi-python:dynamic/rollout:Rollout::shop"

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
ROUTE = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/{APP}"
AUTOSCALERS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
CONFIGMAP = f"/api/v1/namespaces/{NAMESPACE}/configmaps/rollout-{APP}"
COMMANDS = f"{CONFIGMAP}.commands"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/rollout-{APP}"
EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
GUARD_JOB = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/rollout-{APP}-guard"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


class FakeApp:
    """The application. + broken: revisions whose pods never get ready"""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.broken: set[str] = set()
        api.reactions.append(lambda _, path: self.react())

    def deploy(self, revision: str, replicas: int = 1) -> None:
        """A revision's Deployment and Service, as Pulumi creates them."""
        labels = {APP_LABEL: APP, REVISION_LABEL: revision}
        template = {"spec": {"containers": [{"name": APP, "image": f"registry.example.com/{APP}:{revision}"}]}}
        spec = {"replicas": replicas, "template": template}
        self.api.put(f"{DEPLOYMENTS}/{APP}-{revision}", {"metadata": {"labels": labels}, "spec": spec})
        self.api.put(f"{SERVICES}/{APP}-{revision}", {"spec": {"selector": labels}})
        self.react()

    def serve(self, revision: str) -> None:
        """Let the apex select a revision, and the route send everything to the apex."""
        selector = {APP_LABEL: APP, REVISION_LABEL: revision}
        self.api.put(f"{SERVICES}/{APP}", {"spec": {"selector": selector}})
        self.list_on_route()
        self.react()

    def list_on_route(self, **weights: int) -> None:
        """Backends beside the apex, with their weights in percent; the apex alone without any."""
        apex = {"name": APP, "port": PORT, **({"weight": 100 - sum(weights.values())} if weights else {})}
        refs = [{"name": f"{APP}-{name}", "port": PORT, "weight": weight} for name, weight in weights.items()]
        spec = {"parentRefs": [{"name": "public"}], "rules": [{"backendRefs": [apex, *refs]}]}
        self.api.put(ROUTE, {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "spec": spec})
        self.react()

    def autoscale(self, revision: str, minimum: int, maximum: int = 10) -> str:
        """An autoscaler; returns its path."""
        path = f"{AUTOSCALERS}/{APP}-{revision}"
        self.api.put(path, {"spec": {"minReplicas": minimum, "maxReplicas": maximum}})
        return path

    def pod(self, name: str, revision: str, restarts: int = 0, reason: str = "OOMKilled") -> None:
        """A running pod, whose container was started again so often and ended for this reason."""
        status: Manifest = {"name": APP, "ready": True, "restartCount": restarts}
        if restarts:
            status["lastState"] = {"terminated": {"reason": reason, "exitCode": 137}}
        labels = {APP_LABEL: APP, REVISION_LABEL: revision}
        pod = {"metadata": {"labels": labels}, "status": {"phase": "Running", "containerStatuses": [status]}}
        self.api.put(f"{PODS}/{name}", pod)

    @property
    def serving(self) -> str | None:
        apex = self.api.objects.get(f"{SERVICES}/{APP}")
        return apex["spec"]["selector"][REVISION_LABEL] if apex else None

    @property
    def backends(self) -> dict[str, int | None]:
        """The route's backends and their weights."""
        refs = self.api.objects[ROUTE]["spec"]["rules"][0]["backendRefs"]
        return {ref["name"]: ref.get("weight") for ref in refs}

    def replicas(self, revision: str) -> int:
        return int(self.api.objects[f"{DEPLOYMENTS}/{APP}-{revision}"]["spec"]["replicas"])

    def inputs(self, revision: str, /, **changes: Any) -> Manifest:
        """What the program hands to the provider."""
        deployment = self.api.objects.get(f"{DEPLOYMENTS}/{APP}-{revision}")
        uid = deployment["metadata"]["uid"] if deployment else None
        route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "name": APP}
        return {
            "app": APP,
            "namespace": NAMESPACE,
            "cluster": {"kubeconfig": self.api.kubeconfig()},
            "revision": {"hash": revision, "uid": uid, "port": PORT, "replicas": 2},
            "serving_revision": revision,
            "route": {"router": "gateway", "objects": [route]},
            "policy": QUICK,
            "retry": "",
            "urn": URN,
            "__provider": "pickled",
            **changes,
        }

    def react(self) -> None:
        """What the controllers do."""
        objects = self.api.objects
        for path, item in list(objects.items()):
            if path.startswith(DEPLOYMENTS):
                wanted = item["spec"].get("replicas", 1)
                broken = item["metadata"].get("labels", {}).get(REVISION_LABEL) in self.broken
                item["status"] = {"replicas": wanted, "readyReplicas": 0 if broken else wanted}
            elif path.startswith(SERVICES) and REVISION_LABEL in (item["spec"].get("selector") or {}):
                self._endpoints(item["metadata"]["name"], item["spec"]["selector"][REVISION_LABEL])
            elif path == ROUTE:
                seen = {"status": "True", "observedGeneration": item["metadata"]["generation"], "message": ""}
                conditions = [{"type": kind, **seen} for kind in ("Accepted", "ResolvedRefs")]
                item["status"] = {"parents": [{"parentRef": {"name": "public"}, "conditions": conditions}]}

    def _endpoints(self, service: str, revision: str) -> None:
        deployment = self.api.objects.get(f"{DEPLOYMENTS}/{APP}-{revision}", {})
        ready = deployment.get("status", {}).get("readyReplicas", 0)
        endpoints = [{"addresses": [f"{revision}.{number}"], "conditions": {"ready": True}} for number in range(ready)]
        self.api.objects[f"{SLICES}/{service}-x"] = {
            "metadata": {"name": f"{service}-x", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints,
        }
