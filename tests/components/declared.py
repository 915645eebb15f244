"""Runs a program with Pulumi's mocks and returns what it declared, as the engine would be told.

Lives here: the recording monitor and what reads its requests. Secrets are shown as `Hidden`, so that
a test sees which values are marked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime import mocks as runtime_mocks
from pulumi.runtime import rpc, set_all_config
from pulumi.runtime.stack import run_pulumi_func
from pulumi.runtime.sync_await import _sync_await

from components import Application, Canary, GatewayRoute
from components.revision import Content, Rendered

PROJECT, STACK = "rollouts", "live"
# What the Rollout says is serving. Not the declared revision, so that tests see where a value is from.
SERVING = "serving0"

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
SERVICE = "kubernetes:core/v1:Service"
CONFIGMAP = "kubernetes:core/v1:ConfigMap"
SECRET = "kubernetes:core/v1:Secret"
BUDGET = "kubernetes:policy/v1:PodDisruptionBudget"
AUTOSCALER = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"
ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
ROLLOUT = "pulumi-python:dynamic/rollout:Rollout"
CLUSTER = "pulumi:providers:kubernetes"
PROCESS = "pulumi:providers:pulumi-python"


# Pulumi takes the thread's loop, of which nothing is left where a test before has used `asyncio.run`.
LOOP = asyncio.new_event_loop()


@dataclass(frozen=True)
class Hidden:
    """A value that is marked as secret."""

    value: Any


@dataclass(frozen=True)
class Registered:
    """One resource as it was registered. + request: everything else that the engine is told"""

    type: str
    name: str
    urn: str
    inputs: dict[str, Any]
    request: Any

    @property
    def depends_on(self) -> set[str]:
        return set(self.request.dependencies)


class Declared(list[Registered]):
    """All that a program declared. + outputs: what it returned; hooks: by name"""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, Any] = {}
        self.hooks: dict[str, pulumi.ResourceHook] = {}

    def of(self, kind: str, name: str | None = None) -> Registered:
        """The one resource of this type, and of this name if it is given."""
        found = [item for item in self if item.type == kind and name in (None, item.name)]
        if len(found) != 1:
            raise LookupError(f"{len(found)} of {kind} {name or ''}: {[(item.type, item.name) for item in self]}")
        return found[0]

    def all_of(self, *kinds: str) -> list[Registered]:
        return [item for item in self if item.type in kinds]


class Monitor(runtime_mocks.MockMonitor):
    """Keeps every request."""

    def __init__(self) -> None:
        super().__init__(Outputs())
        self.declared = Declared()

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)
        inputs = {key: _plain(value) for key, value in request.object.items()}
        self.declared.append(Registered(request.type, request.name, answer.urn, inputs, request))
        return answer


class Callbacks:
    """Keeps the hooks; the SDK's mocks have nothing that would serve them."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        self._declared.hooks[hook.name] = hook


class Outputs(runtime_mocks.Mocks):
    """What the providers would answer."""

    def new_resource(self, args: Any) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if args.typ == ROLLOUT:
            outputs["serving_revision"] = SERVING
        if args.typ.startswith("kubernetes:"):
            outputs["metadata"] = {**outputs.get("metadata", {}), "uid": f"uid-of-{args.name}"}
        return args.name, outputs

    def call(self, args: Any) -> Any:
        return {}


def declare(program: Callable[[], Any], *, config: Mapping[str, str] | None = None, preview: bool = False) -> Declared:
    """Run a program to its end, all registrations included. What it returns is its outputs."""
    set_all_config(dict(config or {}))
    asyncio.set_event_loop(LOOP)
    monitor = Monitor()
    runtime_mocks.set_mocks(monitor.mocks, PROJECT, STACK, preview, monitor=monitor, organization="acme")
    runtime_mocks.SETTINGS.callbacks = Callbacks(monitor.declared)  # type: ignore[assignment]
    runtime_mocks.SETTINGS.rpc_manager.clear()
    runtime_mocks.SETTINGS.outputs.clear()

    async def run() -> None:
        monitor.declared.outputs = await pulumi.Output.from_input(program() or {}).future() or {}

    _sync_await(run_pulumi_func(run))
    return monitor.declared


def _plain(value: Any) -> Any:
    """A value of the wire as Python's."""
    kind = type(value).__name__
    if kind == "Struct":
        fields = {key: _plain(item) for key, item in value.items()}
        if fields.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return Hidden(fields["value"])
        return fields
    if kind == "ListValue":
        return [_plain(item) for item in value]
    return value


def shop(**changes: Any) -> Callable[[], Any]:
    """A program with one application; `changes` go to its arguments."""
    arguments: dict[str, Any] = {
        "image": "ghcr.io/acme/shop:1.0",
        "port": 9898,
        "namespace": "prod",
        "routing": GatewayRoute(hosts=["shop.example.com"], gateway="infra/public"),
        "rollout": Canary(),
    }

    def program() -> dict[str, Any]:
        application = Application("shop", **{**arguments, **changes})
        return {"serving": application.serving_revision}

    return program


def changing(kind: str, change: Callable[[Any], None], name: str | None = None) -> pulumi.ResourceOptions:
    """Options for an application that take a countermeasure away: `change` edits what is registered."""

    def transformation(args: Any) -> Any:
        if args.type_ == kind and name in (None, args.name):
            change(args)
        return pulumi.ResourceTransformationResult(args.props, args.opts)

    return pulumi.ResourceOptions(transformations=[transformation])


SALT = "/acme/rollouts/live"
TEMPLATE: dict[str, Any] = {
    "metadata": {"annotations": {"team": "shop"}},
    "spec": {"containers": [{"name": "web", "image": "shop:1.0"}, {"name": "sidecar", "image": "side:1.0"}]},
}


def content(**changes: Any) -> Content:
    basis: dict[str, Any] = {"app": "shop", "namespace": "prod", "image": "shop:1.0", "port": 9898}
    return Content(**{**basis, **changes})


def rendered(**changes: Any) -> Rendered:
    return content(**changes).rendered(SALT)


def from_template(**changes: Any) -> dict[str, Any]:
    return {"image": None, "pod_template": {**TEMPLATE, **changes}}
