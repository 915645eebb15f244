"""Application: Revision -> Rollout -> apex and Route, and what a program can use of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_rollout.errors import InvalidInput
from pulumi_rollout.inputs import APP_LABEL, REVISION_LABEL

from .mistakes import credential_problems
from .policy import Policy
from .revision import PATCH_FORCE, SKIP_AWAIT, Autoscaling, Content, Rendered, Revision
from .rollout import Rollout
from .routing import ExistingRoute, Routing, declared, reference
from .secrets import Secret, stack_salt
from .settings import program_problems


class Application(pulumi.ComponentResource):
    """An application that is released step by step.

    + image: with its tag or digest; or `pod_template`, a whole PodTemplateSpec
    + port: of the container and of the Services
    + replicas: pods of the serving version, unless `autoscaling` is given
    + env, configs, secrets: environment of the first container; `configs` become a ConfigMap and
      `secrets` (from `stack_secret`) a Secret of the revision
    + routing, rollout: how traffic arrives, and how it moves to a new version
    + revision: a name for the revision, instead of the hash of its content
    + kubeconfig, context: which cluster; else as `kubernetes:kubeconfig` and `kubernetes:context` of the stack say, or
      the ambient one
    + app_protocol: what the port speaks, for routing layers that want to be told: "http", "kubernetes.io/h2c" for gRPC
    + retry: another value tries a revision again that has failed before
    + adopt: the name of a Deployment that no rollout has made, behind a Service of the application's name: its
      traffic is walked over to the first revision
    + credentials: secrets by name (from `stack_secret`), which `rollout` names where a source of metrics wants one

    Outputs: `serving_revision`, the revision that has the traffic; `rollout`, for `depends_on`.
    """

    def __init__(
        self,
        name: str,
        *,
        image: str | None = None,
        port: int,
        routing: Routing | ExistingRoute,
        rollout: Policy,
        replicas: int = 2,
        namespace: str = "default",
        env: Mapping[str, str] | None = None,
        configs: Mapping[str, str] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        pod_template: Mapping[str, Any] | None = None,
        readiness_path: str | None = None,
        autoscaling: Autoscaling | None = None,
        revision: str | None = None,
        kubeconfig: pulumi.Input[str] | None = None,
        context: str | None = None,
        app_protocol: str | None = None,
        retry: str = "",
        adopt: str | None = None,
        credentials: Mapping[str, Secret] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("pulumi-rollout:index:Application", name, None, opts)
        if self.get_provider("kubernetes:core/v1:Service") is not None:
            # The Rollout's own process cannot use it, and the two must not mean different clusters.
            raise pulumi.RunError(
                f"Application {name} is given a Kubernetes provider, which a rollout cannot use: give it "
                "kubeconfig= and context= instead"
            )
        self._name, self._namespace, self._port = name, namespace, port
        wrong = program_problems(routing, autoscaling)
        route = [] if wrong else declared(routing, name, namespace, port)
        props: dict[str, Any] = {
            "app": name,
            "namespace": namespace,
            "cluster": _cluster(kubeconfig, context),
            "route": {} if wrong else reference(routing, route),
            "policy": rollout,
            "retry": retry,
        }
        if credentials:
            props["credentials"] = {
                key: pulumi.Output.secret(item.value) for key, item in credentials.items() if isinstance(item, Secret)
            }
        content = Content(
            app=name,
            namespace=namespace,
            image=image,
            port=port,
            env=env or {},
            configs=configs or {},
            secrets=secrets or {},
            pod_template=pod_template,
            readiness_path=readiness_path,
            revision=revision,
            app_protocol=app_protocol,
        )
        self._service_port = content.service_port
        try:
            rendered = content.rendered(stack_salt())
            if found := [*wrong, *credential_problems(credentials or {})]:
                raise InvalidInput(found)
        except InvalidInput as error:
            # Only the Rollout is declared: its check reports the mistakes, and nothing moves.
            problems = [{"property": path, "reason": reason} for path, reason in error.problems]
            self.rollout = Rollout(name, {**props, "problems": problems}, pulumi.ResourceOptions(parent=self))
        else:
            if adopt is not None:
                # With its labels, as the Service that is there must not select the new pods at once.
                labels = rendered.template["metadata"]["labels"]
                props["adopt"] = {"deployment": adopt, "labels": labels}
            self._declare(rendered, props, route, replicas, autoscaling)
        self.serving_revision: pulumi.Output[str] = self.rollout.serving_revision
        self.register_outputs({"serving_revision": self.serving_revision})

    def _declare(
        self,
        rendered: Rendered,
        props: dict[str, Any],
        route: list[dict[str, Any]],
        replicas: int,
        autoscaling: Autoscaling | None,
    ) -> None:
        provider = kubernetes.Provider(
            self._name,
            kubeconfig=props["cluster"].get("kubeconfig"),
            context=props["cluster"].get("context"),
            # An engine that died between a create and its checkpoint must not block the next `up`.
            upsert_existing_objects=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # A revision comes and goes with each release, so what protects an application is not inherited.
        passing = pulumi.ResourceOptions(parent=self, providers=[provider], protect=False, retain_on_delete=False)
        made = Revision(rendered, autoscaling, passing)
        self.rollout = Rollout(
            self._name,
            {
                **props,
                "revision": {
                    "hash": rendered.hash,
                    # Absent where the Deployment was not made: a target elsewhere, a preview without the cluster.
                    "uid": made.deployment.metadata.apply(lambda metadata: metadata.get("uid")),
                    "port": self._port,
                    "replicas": autoscaling.min_replicas if autoscaling else replicas,
                },
                "serving_revision": rendered.hash,
            },
            pulumi.ResourceOptions(parent=self, depends_on=[made]),
        )
        # Both come after the Rollout, so that the engine and a walk never write at once.
        apex = self._apex(pulumi.ResourceOptions(parent=self, provider=provider, depends_on=[self.rollout]))
        for item in route:
            kubernetes.apiextensions.CustomResource(
                item["metadata"]["name"],
                api_version=item["apiVersion"],
                kind=item["kind"],
                # An Ingress would be waited for until it has an address.
                metadata={
                    **item["metadata"],
                    "annotations": {**item["metadata"].get("annotations", {}), **SKIP_AWAIT, **PATCH_FORCE},
                },
                spec=item["spec"],
                opts=pulumi.ResourceOptions(parent=self, provider=provider, depends_on=[self.rollout, apex]),
            )

    def _apex(self, opts: pulumi.ResourceOptions) -> kubernetes.core.v1.Service:
        """The Service with the application's own name. It selects what the Rollout says is serving:
        from the program's own string, `up --target` would cut all traffic over, unwatched."""
        return kubernetes.core.v1.Service(
            self._name,
            metadata={
                "name": self._name,
                "namespace": self._namespace,
                "labels": {APP_LABEL: self._name},
                "annotations": {**SKIP_AWAIT, **PATCH_FORCE},
            },
            spec={
                "selector": {APP_LABEL: self._name, REVISION_LABEL: self.rollout.serving_revision},
                "ports": [self._service_port],
            },
            opts=opts,
        )


def _cluster(kubeconfig: pulumi.Input[str] | None, context: str | None) -> dict[str, Any]:
    """Which cluster, as both providers are told. What the ambient one is, each finds out by itself."""
    if kubeconfig is None:
        # As for Pulumi's own default provider. Beside another kubeconfig the stack's context means nothing.
        stack = pulumi.Config("kubernetes")
        kubeconfig, context = stack.get_secret("kubeconfig"), context or stack.get("context")
    # It holds credentials, and the Rollout's inputs are kept in the state.
    hidden = pulumi.Output.secret(kubeconfig) if kubeconfig is not None else None
    return {key: value for key, value in {"kubeconfig": hidden, "context": context}.items() if value is not None}
