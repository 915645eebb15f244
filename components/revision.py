"""A revision: everything of one version, immutable, named by the hash of its content.

Lives here: rendering, hashing, and the resources of a revision. Two versions are two sets of
resources, so that creating before deleting, and deleting only after success, is the engine's work.
Not here: which revision has the traffic.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_rollout.errors import InvalidInput
from pulumi_rollout.inputs import APP_LABEL, REVISION_LABEL

from .mistakes import content_problems, name_problems, template_problems
from .secrets import Secret

Manifest = dict[str, Any]

# Readiness belongs to the walk's first phase, which can say why pods are not ready and scale them down.
SKIP_AWAIT = {"pulumi.com/skipAwait": "true"}
PATCH_FORCE = {"pulumi.com/patchForce": "true"}


@dataclass(frozen=True)
class Autoscaling:
    """A HorizontalPodAutoscaler. + cpu_percent: of the requested CPU"""

    min_replicas: int
    max_replicas: int
    cpu_percent: int = 80


@dataclass(frozen=True)
class Content:
    """What a revision is made of. + revision: a name to use instead of the content's hash"""

    app: str
    namespace: str
    image: Any
    port: int
    env: Mapping[str, Any] = field(default_factory=dict)
    configs: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    pod_template: Mapping[str, Any] | None = None
    readiness_path: str | None = None
    revision: str | None = None
    app_protocol: str | None = None

    @property
    def service_port(self) -> Manifest:
        """The one port of the apex and of each revision's Service."""
        spoken = {"appProtocol": self.app_protocol} if self.app_protocol else {}
        return {"port": self.port, "targetPort": self.port, **spoken}

    def rendered(self, salt: str) -> Rendered:
        """The manifests and their name. Raises InvalidInput with every mistake found."""
        problems = content_problems(self)
        if problems:
            raise InvalidInput(problems)
        template = self._template()
        problems = template_problems(template)
        if problems:
            raise InvalidInput(problems)
        fingerprints = {key: secret.fingerprint(salt) for key, secret in self.secrets.items()}
        # Without the namespace: moving an application is not a new version of it.
        name = self.revision or content_hash([self.app, self.port, template, dict(self.configs), fingerprints])
        rendered = Rendered(content=self, hash=name, template=_marked(template, self, name))
        if problems := name_problems(rendered.name):
            raise InvalidInput(problems)
        return rendered

    def _template(self) -> Manifest:
        env = [{"name": key, "value": value} for key, value in sorted(self.env.items())]
        if self.pod_template is not None:
            template: Manifest = _copied(self.pod_template)
            if env:
                first = template["spec"]["containers"][0]
                first["env"] = [*first.get("env", []), *env]
            return template
        probe = (
            {"httpGet": {"path": self.readiness_path, "port": self.port}}
            if self.readiness_path
            else {"tcpSocket": {"port": self.port}}
        )
        container: Manifest = {
            "name": self.app,
            "image": self.image,
            "ports": [{"containerPort": self.port}],
            "readinessProbe": {**probe, "periodSeconds": 2},
        }
        if env:
            container["env"] = env
        return {"spec": {"containers": [container]}}


@dataclass(frozen=True)
class Rendered:
    """A revision's manifests, final but for the secrets. + hash: its name within the application"""

    content: Content
    hash: str
    template: Manifest

    @property
    def name(self) -> str:
        """Of its Deployment, Service, ConfigMap, Secret, autoscaler and disruption budget."""
        return f"{self.content.app}-{self.hash}"

    @property
    def labels(self) -> dict[str, str]:
        """On every object and pod of the revision; also the selectors."""
        return {APP_LABEL: self.content.app, REVISION_LABEL: self.hash}

    def metadata(self, annotations: Mapping[str, str] | None = None) -> Manifest:
        """Metadata of one of its objects."""
        plain = {"name": self.name, "namespace": self.content.namespace, "labels": self.labels}
        return {**plain, "annotations": dict(annotations)} if annotations else plain


class Revision(pulumi.ComponentResource):
    """The resources of one revision.

    + deployment: its Deployment, which declares no replicas: the walk or the autoscaler owns them
    """

    def __init__(self, rendered: Rendered, autoscaling: Autoscaling | None, opts: pulumi.ResourceOptions) -> None:
        super().__init__("pulumi-rollout:index:Revision", rendered.name, None, opts)
        child = pulumi.ResourceOptions(parent=self, protect=False, retain_on_delete=False)
        before = self._contents(rendered, child)
        frozen = pulumi.ResourceHookBinding(before_update=[_frozen_hook(rendered.name)])
        self.deployment = kubernetes.apps.v1.Deployment(
            rendered.name,
            metadata=rendered.metadata(SKIP_AWAIT),
            spec={"selector": {"matchLabels": rendered.labels}, "template": rendered.template},
            opts=pulumi.ResourceOptions(
                parent=self, protect=False, retain_on_delete=False, depends_on=before, hooks=frozen
            ),
        )
        self.service = kubernetes.core.v1.Service(
            rendered.name,
            metadata=rendered.metadata(SKIP_AWAIT),
            spec={"selector": rendered.labels, "ports": [rendered.content.service_port]},
            opts=child,
        )
        kubernetes.policy.v1.PodDisruptionBudget(
            rendered.name,
            metadata=rendered.metadata(),
            spec={"selector": {"matchLabels": rendered.labels}, "maxUnavailable": 1},
            opts=child,
        )
        if autoscaling is not None:
            self._autoscaler(rendered, autoscaling, child)
        self.register_outputs({})

    @staticmethod
    def _contents(rendered: Rendered, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Its ConfigMap and Secret, which must be there before its pods."""
        made: list[pulumi.Resource] = []
        content = rendered.content
        if content.configs:
            data = dict(content.configs)
            made.append(kubernetes.core.v1.ConfigMap(rendered.name, metadata=rendered.metadata(), data=data, opts=opts))
        if content.secrets:
            hidden = {key: pulumi.Output.secret(secret.value) for key, secret in content.secrets.items()}
            made.append(
                kubernetes.core.v1.Secret(rendered.name, metadata=rendered.metadata(), string_data=hidden, opts=opts)
            )
        return made

    @staticmethod
    def _autoscaler(rendered: Rendered, autoscaling: Autoscaling, opts: pulumi.ResourceOptions) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": rendered.name}
        usage = {"type": "Utilization", "averageUtilization": autoscaling.cpu_percent}
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            rendered.name,
            # The walk holds the minimum up while it runs.
            metadata=rendered.metadata(PATCH_FORCE),
            spec={
                "scaleTargetRef": target,
                "minReplicas": autoscaling.min_replicas,
                "maxReplicas": autoscaling.max_replicas,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": usage}}],
            },
            opts=opts,
        )


def content_hash(content: Any) -> str:
    """Eight hex digits of the content's SHA-256. Golden values are in the tests: a hash that changes
    without a change of content would release every application again."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def _copied(value: Any) -> Any:
    """A deep copy of plain data; an Output, which allows none, is kept as it is."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _marked(template: Manifest, content: Content, name: str) -> Manifest:
    """The template with the revision's labels, its environment, and spreading by revision."""
    marked: Manifest = _copied(template)
    metadata = marked.setdefault("metadata", {})
    metadata["labels"] = {**metadata.get("labels", {}), APP_LABEL: content.app, REVISION_LABEL: name}
    full = f"{content.app}-{name}"
    sources = [{"configMapRef": {"name": full}}] if content.configs else []
    sources += [{"secretRef": {"name": full}}] if content.secrets else []
    if sources:
        first = marked["spec"]["containers"][0]
        first["envFrom"] = [*first.get("envFrom", []), *sources]
    for spread in marked["spec"].get("topologySpreadConstraints", []):
        # Without it the spread counts both versions' pods during a walk.
        spread.setdefault("matchLabelKeys", [REVISION_LABEL])
    return marked


def _frozen_hook(name: str) -> pulumi.ResourceHook:
    """Refuses an update in place: content that changes under an unchanged name skips the walk."""

    def refuse(args: pulumi.ResourceHookArgs) -> None:
        old, new = args.old_inputs or {}, args.new_inputs or {}
        for part in ("template", "selector"):
            if old.get("spec", {}).get(part) != new.get("spec", {}).get(part):
                raise RuntimeError(
                    f"Deployment {name} would change in place (spec.{part}), past the rollout: a transform or an "
                    "unchanged `revision=` gives it other content under the same name"
                )

    return pulumi.ResourceHook(f"{name}-is-immutable", refuse)
