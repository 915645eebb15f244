"""Applications from the stack's configuration: typed models, and what `__main__.py` needs of them.

`<project>:applications` holds the applications by name, in camelCase; `<project>:secrets` their
secrets, encrypted. The rollout policy stays as written: the Rollout's check validates it.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
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
    key = f"{config.name}:applications"
    named = config.get_object("applications") or {}
    if not isinstance(named, dict):
        raise pulumi.RunError(f"{key} is no mapping of names to applications (README, From a stack file alone)")
    if pulumi.runtime.is_config_secret(key):
        raise pulumi.RunError(
            f"{key} holds a secret, which would be shown in plain: put it under "
            f"{config.name}:secrets.<application>.<name>"
        )
    secrets = _secrets(config.name)
    if unknown := sorted(secrets.keys() - named.keys()):
        raise pulumi.RunError(f"{config.name}:secrets names {unknown[0]}, which is not one of {key}")
    found = {}
    for name, written in named.items():
        try:
            settings = ApplicationSettings.model_validate(written)
        except ValidationError as error:
            problems = problems_of(error, f"applications.{name}")
            raise pulumi.RunError("; ".join(f"{path}: {reason}" for path, reason in problems)) from None
        found[name] = settings.arguments(secrets.get(name, {}))
    if not found:
        raise pulumi.RunError(f"{key} is empty: name at least one application (README, From a stack file alone)")
    return found


_SECRETS = TypeAdapter(dict[str, dict[str, str]])


def _secrets(project: str) -> dict[str, dict[str, str]]:
    """Each application's secrets, by key. What is wrong is not quoted: it is secret."""
    raw = pulumi.runtime.get_config(f"{project}:secrets")
    try:
        return _SECRETS.validate_json(raw) if raw else {}
    except ValidationError:
        path = f"--path '{project}:secrets.<application>.<KEY>'"
        raise pulumi.RunError(
            f"{project}:secrets is no mapping of applications to their secret strings: set each with "
            f"`pulumi config set --secret {path}`"
        ) from None
