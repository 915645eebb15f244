"""What is wrong with a revision, found while the program runs: (property, reason) for each mistake.

Pure: data in, sentences out. The Rollout's check reports them, at preview, before anything moves.
Not here: the policy's mistakes, which `check` itself finds, and the route's (`settings.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pulumi

from .secrets import Secret

if TYPE_CHECKING:
    from .revision import Content

Problems = list[tuple[str, str]]

NAMED_BY_IT = (
    "is an Output, which has no value yet when the revision is named: pass the resolved string "
    "(an image's digest, say), or name the revision yourself with revision="
)
NAMES_ALL = "is an Output, which has no value yet when the objects are named: pass a plain value"


def content_problems(content: Content) -> Problems:
    """Of the settings, before anything is rendered."""
    template = content.pod_template
    problems = [
        *_plain_problems(content.namespace, "namespace", NAMES_ALL),
        *_plain_problems(content.port, "port", NAMES_ALL),
        *_secret_problems(content.secrets),
        *_string_problems(content.env, "env"),
        *_string_problems(content.configs, "configs"),
    ]
    if content.revision is None:
        mixed = {"image": content.image, "env": content.env, "configs": content.configs, "podTemplate": template}
        problems += [found for path, value in mixed.items() for found in _plain_problems(value, path)]
    if template is None:
        return problems
    for name, value in {"image": content.image, "readinessPath": content.readiness_path}.items():
        if value is not None:
            problems.append((name, "belongs into the podTemplate where there is one: give either of them"))
    return problems + ([] if problems else _shape_problems(template))


def template_problems(template: Mapping[str, Any]) -> Problems:
    """Of the pod template as it is rendered."""
    return [*_image_problems(template), *_twice_problems(template)]


def credential_problems(credentials: Mapping[str, Any]) -> Problems:
    """Of the application's credentials. What is wrong is not quoted: it is secret."""
    reason = "is read by stack_secret(...), so that it is known at preview and hidden everywhere"
    return [(f"credentials.{key}", reason) for key, value in credentials.items() if not isinstance(value, Secret)]


def name_problems(name: str) -> Problems:
    """Of the name of the revision's objects, `<app>-<revision>`: Services allow the least."""
    if len(name) > 63 or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        reason = (
            f"{name} cannot be the name of a Service: 63 lower-case letters, digits and hyphens at most, "
            "beginning with a letter (<application>-<revision>)"
        )
        return [("revision", reason)]
    return []


def _shape_problems(template: Any) -> Problems:
    if not isinstance(template, Mapping):
        return [("podTemplate", f"is a {type(template).__name__}: give a plain dict")]
    kind = template.get("kind")
    if kind == "Deployment":
        return [("podTemplate.kind", "is a whole Deployment: give its spec.template")]
    if kind not in (None, "PodTemplate", "PodTemplateSpec"):
        reason = f"a {kind} cannot run two versions beside each other: only Deployments can"
        return [("podTemplate.kind", reason)]
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    if not isinstance(containers, list | tuple) or not containers:
        return [("podTemplate.spec.containers", "is missing: name at least one container")]
    return []


def _containers(template: Mapping[str, Any]) -> list[Any]:
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def _image_problems(template: Mapping[str, Any]) -> Problems:
    problems = []
    for container in _containers(template):
        image = container.get("image")
        if isinstance(image, pulumi.Output):
            continue  # allowed by revision=
        if not image:
            problems.append(("image", "is missing: name the image, with its tag or digest"))
        elif not re.search(r"(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})$", str(image)):
            problems.append(("image", f"{image} has no tag, so nobody can tell which version it is: add one"))
    return problems


def _twice_problems(template: Mapping[str, Any]) -> Problems:
    """What two versions cannot have at once."""
    problems = []
    for volume in template["spec"].get("volumes", []):
        claim = volume.get("persistentVolumeClaim")
        if claim and not claim.get("readOnly"):
            reason = f"volume {volume.get('name')} is a claim that both versions would write: make it readOnly"
            problems.append(("podTemplate.spec.volumes", reason))
    for container in _containers(template):
        for port in container.get("ports", []):
            if "hostPort" in port:
                reason = f"hostPort {port['hostPort']} can be taken by one version only: remove it"
                problems.append(("podTemplate.spec.containers.ports", reason))
    if template["spec"].get("hostNetwork"):
        problems.append(("podTemplate.spec.hostNetwork", "two versions cannot share the node's ports: remove it"))
    return problems


def _secret_problems(secrets: Mapping[str, Any]) -> Problems:
    reason = "is read by stack_secret(...), as the revision is named by it: any other value is hidden or has none yet"
    return [(f"secrets.{key}", reason) for key, value in secrets.items() if not isinstance(value, Secret)]


def _string_problems(values: Any, path: str) -> Problems:
    """Numbers and booleans are no environment. An Output may be a string, and is another mistake or none."""
    if not isinstance(values, Mapping):
        return [(path, f"is a {type(values).__name__}: give a dict of names and strings")]
    return [
        (f"{path}.{key}", f"has to be a string, not {value!r}: put it in quotes")
        for key, value in values.items()
        if not isinstance(value, str | pulumi.Output)
    ]


def _plain_problems(value: Any, path: str, output: str = NAMED_BY_IT) -> Problems:
    """Outputs, which have no value yet while names are made, and what is not data at all."""
    if isinstance(value, pulumi.Output):
        return [(path, output)]
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _plain_problems(item, f"{path}.{key}")]
    if isinstance(value, list | tuple):
        return [found for key, item in enumerate(value) for found in _plain_problems(item, f"{path}.{key}")]
    if value is None or isinstance(value, str | int | float | bool):
        return []
    return [(path, f"is a {type(value).__name__}: a revision is named by plain dicts, lists, strings and numbers")]
