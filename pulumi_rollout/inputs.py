"""The Rollout resource's inputs as typed models, and the names that follow from them.

Lives here: what the program hands to the provider. It is stored in users' state, so its shape is
public. Not here: the plan (`core/plan.py`), which `check` adds to the inputs.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pulumi_rollout.core.targets import Backends, Target

APP_LABEL = "app.kubernetes.io/name"
REVISION_LABEL = "pulumi-rollout/revision"
# On each object that a rollout itself makes.
MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi-rollout"}
# On the Lease and on the guard's Job: the id of the walk that they belong to.
WALK_ANNOTATION = "pulumi-rollout/walk"
TYPE = "pulumi-python:dynamic/rollout:Rollout"
# Stands for the revision that an adopted Deployment is. No label and no name can be like this.
ADOPTED = "(adopted)"


def own_object(api_version: str, kind: str, namespace: str, name: str, app: str) -> dict[str, Any]:
    """The begin of an object in which a rollout keeps something of its own about an application."""
    metadata = {"name": name, "namespace": namespace, "labels": {APP_LABEL: app, **MANAGED_BY}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


class Model(BaseModel):
    """Base: unknown keys are kept out of the way, as the engine adds its own (`__provider`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ClusterRef(Model):
    """Which cluster: the same kubeconfig and context that the Kubernetes provider has."""

    kubeconfig: str | None = None
    context: str | None = None


class Revision(Model):
    """The revision that is declared. + uid: of its Deployment, so that no other cluster is walked."""

    hash: str
    uid: str | None = None
    port: int
    replicas: int = Field(ge=1)


class RouteRef(Model):
    """The route.

    + objects: [{apiVersion, kind, name}], all in the application's namespace
    + declared: by the application; if not, the route is somebody else's, and edited only during a walk
    + rules: names or positions of its rules that take part; None = all whose only backend is the apex
    """

    router: str
    objects: list[dict[str, str]]
    declared: bool = True
    rules: tuple[str | int, ...] | None = None

    @field_validator("objects")
    @classmethod
    def _are_complete(cls, objects: list[dict[str, str]]) -> list[dict[str, str]]:
        for ref in objects:
            if ref.keys() != {"apiVersion", "kind", "name"}:
                raise ValueError(
                    f"each object has apiVersion, kind and name, and one has {', '.join(ref) or 'nothing'}"
                )
        return objects


class Adopt(Model):
    """An application that no rollout has made. + deployment: its name; labels: those of the new version's pods"""

    deployment: str
    labels: dict[str, str] = {}


class Inputs(Model):
    """All inputs of a Rollout.

    + retry: another value lifts the memory of a failure
    + credentials: secrets by name, for sources of metrics; never kept in the cluster, nor shown
    """

    app: str
    namespace: str
    cluster: ClusterRef = ClusterRef()
    revision: Revision
    route: RouteRef
    adopt: Adopt | None = None
    policy: dict[str, Any]
    plan: dict[str, Any] | None = None
    credentials: dict[str, str] = Field(default={}, repr=False, exclude=True)
    retry: str = ""
    urn: str = ""
    problems: list[dict[str, str]] = []

    @field_validator("credentials", mode="before")
    @classmethod
    def _without_quoting(cls, written: Any) -> Any:
        """Refused here, where the reason does not quote what is wrong: it is secret."""
        if not isinstance(written, dict) or not all(isinstance(value, str) for value in written.values()):
            raise ValueError("is no mapping of names to secret strings")
        return written

    def name_of(self, revision: str) -> str:
        """The name of a revision's Deployment, Service and autoscaler."""
        if revision == ADOPTED and self.adopt is not None:
            return self.adopt.deployment
        return f"{self.app}-{revision}"

    def backends(self) -> Backends:
        """The apex and the declared revision's Service."""
        apex = Target(namespace=self.namespace, service=self.app, port=self.revision.port)
        canary = Target(namespace=self.namespace, service=self.name_of(self.revision.hash), port=self.revision.port)
        return Backends(apex=apex, canary=canary, rules=self.route.rules)

    def deployment_path(self, revision: str) -> str:
        """The API path of a revision's Deployment."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.name_of(revision)}"

    def autoscaler_path(self, revision: str) -> str:
        """The API path of a revision's HorizontalPodAutoscaler, which may not exist."""
        root = f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers"
        return f"{root}/{self.name_of(revision)}"

    def apex_path(self) -> str:
        """The API path of the apex Service."""
        return f"/api/v1/namespaces/{self.namespace}/services/{self.app}"

    def walking_to(self, revision: str) -> Inputs:
        """The same application with another revision as the canary."""
        return self.model_copy(update={"revision": self.revision.model_copy(update={"hash": revision, "uid": None})})
