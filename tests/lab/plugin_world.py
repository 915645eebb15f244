"""What the plugin's contract is written with: the world it acts in, and objects to make there.

Lives here: the table itself, its `behaviour` decorator and the builders. No behaviour.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab import cluster
from lab.plugin.api import Api, ApiError
from lab.plugin.values import Object
from tests.lab.provider_client import Client

numbers = itertools.count(1)


@dataclass
class World:
    """A lab, a plugin in it, and a look at its API server."""

    lab: cluster.Lab
    plugin: Client
    api: Api


@dataclass(frozen=True)
class Behaviour:
    text: str
    source: str
    test: Callable[[World], None]


CONTRACT: list[Behaviour] = []


def behaviour(text: str, source: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    """Enter a function into the contract. Sources are files of pulumi-kubernetes v4.32, provider/pkg/."""

    def enter(test: Callable[[World], None]) -> Callable[[World], None]:
        CONTRACT.append(Behaviour(text, source, test))
        return test

    return enter


def config_map(**data: Any) -> Object:
    return named("v1", "ConfigMap", data=data or {"a": "1"})


def named(api_version: str, kind: str, annotations: dict[str, str] | None = None, **body: Any) -> Object:
    meta: Object = {"name": f"thing-{next(numbers)}"}
    if annotations:
        meta["annotations"] = {f"pulumi.com/{key}": value for key, value in annotations.items()}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **body}


def deployment(replicas: int, image: str = "ghcr.io/stefanprodan/podinfo:6.3.1", **annotations: str) -> Object:
    labels = {"app": f"d{next(numbers)}"}
    container = {"name": "app", "image": image, "resources": {"requests": {"cpu": "0.1", "memory": "16Mi"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return named("apps/v1", "Deployment", annotations, spec=spec)


def service(**annotations: str) -> Object:
    return named("v1", "Service", annotations, spec={"ports": [{"port": 80}], "selector": {"app": "nobody"}})


def managers(live: Object) -> dict[str, str]:
    entries = [entry for entry in live["metadata"]["managedFields"] if not entry.get("subresource")]
    return {entry["manager"]: entry["operation"] for entry in entries}


def steal(world: World, state: Object, **data: str) -> None:
    """Another client takes fields over, as a walk does."""
    body = {**{key: state[key] for key in ("apiVersion", "kind")}, "data": data}
    body["metadata"] = {"name": state["metadata"]["name"]}
    query = {"fieldManager": "pulumi-rollout", "force": "true"}
    path = world.api.path(state, state["metadata"]["name"])
    world.api.request("PATCH", path, body, content_type="application/apply-patch+yaml", query=query)


def exists(world: World, obj: Object) -> bool:
    try:
        world.api.get(obj)
    except ApiError:
        return False
    return True
