"""Applications from the stack's configuration: typed models, and what `__main__.py` needs of them.

`<project>:applications` holds the applications by name, in camelCase; `<project>:secrets` their
secrets, encrypted. The rollout policy stays as written: the Rollout's check validates it. What a program makes of the
same settings is held to the same models (`program_problems`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self, get_type_hints

import pulumi
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model, model_validator
from pydantic.alias_generators import to_camel

from pulumi_rollout.core.plan import problems_of
from pulumi_rollout.routers import ROUTERS

from .revision import Autoscaling
from .routing import ExistingRoute, Routing
from .secrets import Secret, stack_secret


class Setting(BaseModel):
    """Base: camelCase keys, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


ROUTES: dict[str, type[Any]] = {
    **{to_camel(name): router.Route for name, router in ROUTERS.items()},
    "existing": ExistingRoute,
}


def _settings_of(route: type[Any]) -> type[Setting]:
    """The settings of a kind of route: the fields of its class, as they are written in a configuration."""
    hints = get_type_hints(route)
    fields: dict[str, Any] = {
        field.name: (hints[field.name], ... if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(route)
    }
    return create_model(f"{route.__module__}.{route.__name__}", __base__=Setting, **fields)


_OF_ROUTES = {route: _settings_of(route) for route in ROUTES.values()}


class _RoutingSettings(Setting):
    """Exactly one kind of route. Its fields are the routers (see `RoutingSettings`)."""

    @model_validator(mode="before")
    @classmethod
    def _exactly_one(cls, written: Any) -> Any:
        if not isinstance(written, dict) or len(written) != 1:
            raise ValueError(f"names exactly one kind of route; there are: {', '.join(ROUTES)}")
        if unknown := [name for name in written if name not in ROUTES]:
            raise ValueError(f"there is no route {unknown[0]}; there are: {', '.join(ROUTES)}")
        # In YAML, a key without settings has no value at all.
        return {name: {} if settings is None else settings for name, settings in written.items()}

    def route(self) -> Routing | ExistingRoute:
        """The route, as a program would write it."""
        [name] = self.model_fields_set
        made: Routing | ExistingRoute = ROUTES[name](**dict(getattr(self, name)))
        return made


_EACH: dict[str, Any] = {name: (_OF_ROUTES[route] | None, None) for name, route in ROUTES.items()}
# With a field for each router, so that a new one needs no line here.
RoutingSettings = create_model("RoutingSettings", __base__=_RoutingSettings, **_EACH)


class AutoscalingSettings(Setting):
    """autoscaling: see `Autoscaling`."""

    min_replicas: int
    max_replicas: int
    cpu_percent: int = 80

    @model_validator(mode="after")
    def _least_is_not_above_most(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"minReplicas {self.min_replicas} is above maxReplicas {self.max_replicas}: raise the second"
            )
        return self


class ApplicationSettings(Setting):
    """One application: see `Application` for what each setting means.

    + credentials: names, and the keys of the stack's own secrets that they stand for
    """

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
    app_protocol: str | None = None
    credentials: dict[str, str] = {}
    retry: str = ""
    adopt: str | None = None

    def arguments(self, secrets: dict[str, str]) -> dict[str, Any]:
        """The keyword arguments of `Application`."""
        plain = {
            name: getattr(self, name) for name in type(self).model_fields if name not in ("routing", "autoscaling")
        }
        scaling = self.autoscaling
        return {
            **plain,
            "routing": self.routing.route(),
            "autoscaling": Autoscaling(**scaling.model_dump()) if scaling else None,
            "secrets": {key: Secret(value) for key, value in secrets.items()},
            "credentials": {name: stack_secret(key) for name, key in self.credentials.items()},
        }


def program_problems(routing: Routing | ExistingRoute, autoscaling: Autoscaling | None) -> list[tuple[str, str]]:
    """What a stack file would refuse of what a program has made: its dataclasses take anything."""
    models = [model for route, model in _OF_ROUTES.items() if isinstance(routing, route)]
    problems = [found for model in models for found in _problems(routing, model, "routing")]
    return problems + (_problems(autoscaling, AutoscalingSettings, "autoscaling") if autoscaling else [])


def _problems(made: Any, model: type[Setting], path: str) -> list[tuple[str, str]]:
    try:
        model.model_validate({name: _plain(getattr(made, name)) for name in model.model_fields}, strict=True)
    except ValidationError as error:
        return problems_of(error, path)
    return []


def _plain(value: Any) -> Any:
    """The value, with a text for each Output, as it will be one, and without what is in a mapping: that is a piece of
    the vendor's object, which the API server judges."""
    if isinstance(value, pulumi.Output):
        return "(an Output)"
    if isinstance(value, Mapping):
        return {}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


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
