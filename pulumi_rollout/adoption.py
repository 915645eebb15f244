"""Taking over an application that no rollout has made: a Deployment behind a Service of the application's name.

Pure. Lives here: what of it fits, said before anything moves, and what the Service selects before, during and after.
The old Deployment is the stable version of the first walk, under the name ADOPTED. Not here: the walk itself, which is
like any other.
"""

from __future__ import annotations

from typing import Any

from pulumi_rollout.inputs import ADOPTED, APP_LABEL, REVISION_LABEL, Inputs

Manifest = dict[str, Any]
Selector = dict[str, str]


def selecting(inputs: Inputs, revision: str, adopted: Selector | None) -> dict[str, str | None]:
    """The apex's selector for a revision, as a merge patch. + adopted: what it was before a rollout had it, None where
    one always had"""
    if adopted is None:
        return {REVISION_LABEL: revision}
    ours: Selector = {APP_LABEL: inputs.app, REVISION_LABEL: revision}
    wanted, others = (adopted, ours) if revision == ADOPTED else (ours, adopted)
    return {**{key: None for key in others if key not in wanted}, **wanted}


def problems(inputs: Inputs, apex: Manifest, deployment: Manifest | None, template: Manifest | None) -> list[str]:
    """Why it cannot be taken over without a jump. + deployment: the old one; template: of the new version's
    Deployment, None before it is there"""
    if inputs.adopt is None:
        return []
    service = f"Service {inputs.namespace}/{inputs.app}"
    named = f"Deployment {inputs.namespace}/{inputs.adopt.deployment}"
    if deployment is None:
        return [f"{named} is not there, so there is nothing to adopt"]
    selector: Selector = apex["spec"].get("selector") or {}
    said = ", ".join(f"{key}={value}" for key, value in sorted(selector.items())) or "nothing"
    if not _selects(selector, deployment["spec"]["template"]):
        return [f"{service} selects {said}, and not the pods of {named}: name the Deployment that is behind it"]
    labels = {**inputs.adopt.labels, APP_LABEL: inputs.app, REVISION_LABEL: inputs.revision.hash}
    found = []
    if _selects(selector, {"metadata": {"labels": labels}}):
        found.append(
            f"{service} selects {said}, which the new version's pods have too, so it would send them traffic as soon "
            "as they are ready, unwatched: narrow its selector first, by a label that only the old pods have"
        )
    if (port := _port_problem(inputs, apex, template)) is not None:
        found.append(f"{service} {port}")
    return found


def _port_problem(inputs: Inputs, apex: Manifest, template: Manifest | None) -> str | None:
    """The Service keeps its port, so it has to lead to the one that the new version listens on."""
    port = inputs.revision.port
    entry = next((one for one in apex["spec"].get("ports") or [] if one["port"] == port), None)
    if entry is None:
        return f"has no port {port}: give the application the Service's port"
    target = entry.get("targetPort", port)
    if target == port:
        return None
    if isinstance(target, str):
        if template is None or port in _ports_named(target, template):
            return None
        return f"sends port {port} to the pods' port {target}, which is none of the new version: give it that name"
    return f"sends port {port} to the pods' port {target}: let the new version listen on one port for both"


def _ports_named(name: str, template: Manifest) -> set[int]:
    return {
        port["containerPort"]
        for container in template["spec"].get("containers", [])
        for port in container.get("ports", [])
        if port.get("name") == name
    }


def _selects(selector: Selector, template: Manifest) -> bool:
    labels: Selector = template.get("metadata", {}).get("labels") or {}
    return bool(selector) and selector.items() <= labels.items()
