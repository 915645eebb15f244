"""Applications from the stack's configuration: typed models, and what `__main__.py` needs of them.

`<project>:applications` holds the applications by name, in camelCase; `<project>:secrets` their
secrets, encrypted. The rollout policy stays as written: the Rollout's check validates it.
"""

from __future__ import annotations

import json
from typing import Any

import pulumi
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from pulumi_rollout.core.plan import problems_of

from .revision import Autoscaling
from .routing import GatewayRoute
from .secrets import Secret


class Setting(BaseModel):
    """Base: camelCase keys, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class GatewaySettings(Setting):
    """routing.gateway: see `GatewayRoute`."""

    hosts: list[str]
    gateway: str
    request_timeout: str | None = None


class RoutingSettings(Setting):
    """Exactly one kind of route."""

    gateway: GatewaySettings


class AutoscalingSettings(Setting):
    """autoscaling: see `Autoscaling`."""

    min_replicas: int
    max_replicas: int
    cpu_percent: int = 80


class ApplicationSettings(Setting):
    """One application: see `Application` for what each setting means."""

    image: str | None = None
    port: int
    replicas: int = 2
    namespace: str = "default"
    env: dict[str, str] = {}
    configs: dict[str, str] = {}
    pod_template: dict[str, Any] | None = None
    readiness_path: str | None = None
    autoscaling: AutoscalingSettings | None = None
    routing: RoutingSettings
    rollout: dict[str, Any]
    retry: str = ""

    def arguments(self, secrets: dict[str, str]) -> dict[str, Any]:
        """The keyword arguments of `Application`."""
        plain = {
            name: getattr(self, name) for name in type(self).model_fields if name not in ("routing", "autoscaling")
        }
        scaling = self.autoscaling
        return {
            **plain,
            "routing": GatewayRoute(**self.routing.gateway.model_dump()),
            "autoscaling": Autoscaling(**scaling.model_dump()) if scaling else None,
            "secrets": {key: Secret(value) for key, value in secrets.items()},
        }


def applications(config: pulumi.Config) -> dict[str, dict[str, Any]]:
    """Each application's arguments, by name. Raises pulumi.RunError in plain words."""
    secrets = _secrets()
    found = {}
    for name, written in (config.get_object("applications") or {}).items():
        try:
            settings = ApplicationSettings.model_validate(written)
        except ValidationError as error:
            problems = problems_of(error, f"applications.{name}")
            raise pulumi.RunError("; ".join(f"{path}: {reason}" for path, reason in problems)) from None
        found[name] = settings.arguments(secrets.get(name, {}))
    if not found:
        raise pulumi.RunError(
            f"{config.name}:applications is empty: name at least one application (README, Configuration)"
        )
    return found


def _secrets() -> dict[str, dict[str, str]]:
    raw = pulumi.runtime.get_config(f"{pulumi.get_project()}:secrets")
    loaded: dict[str, dict[str, str]] = json.loads(raw) if raw else {}
    return loaded
