"""The Rollout resource's inputs as typed models, and the names that follow from them.

Lives here: what the program hands to the provider. It is stored in users' state, so its shape is
public. Not here: the plan (`core/plan.py`), which `check` adds to the inputs.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pulumi_rollout.core.targets import Backends, Target

APP_LABEL = "app.kubernetes.io/name"
REVISION_LABEL = "pulumi-rollout/revision"
# On each object that a rollout itself makes.
MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi-rollout"}
# On the Lease and on the guard's Job: the id of the walk that they belong to.
WALK_ANNOTATION = "pulumi-rollout/walk"
TYPE = "pulumi-python:dynamic/rollout:Rollout"


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
    """The traffic object. + objects: [{apiVersion, kind, name}], all in the application's namespace."""

    router: str
    objects: list[dict[str, str]]


class Inputs(Model):
    """All inputs of a Rollout. + retry: another value lifts the memory of a failure."""

    app: str
    namespace: str
    cluster: ClusterRef = ClusterRef()
    revision: Revision
    route: RouteRef
    policy: dict[str, Any]
    plan: dict[str, Any] | None = None
    retry: str = ""
    urn: str = ""
    problems: list[dict[str, str]] = []

    def name_of(self, revision: str) -> str:
        """The name of a revision's Deployment, Service and autoscaler."""
        return f"{self.app}-{revision}"

    def backends(self) -> Backends:
        """The apex and the declared revision's Service."""
        apex = Target(namespace=self.namespace, service=self.app, port=self.revision.port)
        canary = Target(namespace=self.namespace, service=self.name_of(self.revision.hash), port=self.revision.port)
        return Backends(apex=apex, canary=canary)

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
