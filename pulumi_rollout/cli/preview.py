"""What a preview says of each rollout: from `pulumi preview --json` to plain values.

Pure. Its fields are the JSON that `rollout plan -o json` prints, so they are public
(docs/commands.md). Not here: running the preview (`stack.py`).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationError

from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.errors import RolloutError
from pulumi_rollout.inputs import TYPE

Manifest = dict[str, Any]

Change = Literal["walk", "first release", "settings", "settle", "none", "removed"]


class Release(Frozen):
    """What the next update would do to one application.

    + change: a walk; a first release, which has no steps; new settings for the revision that serves;
      settle, where a walk was cut off or left something over; none; or removed
    + plan: of the walk; None where there is none, or where only the update will know it
    + notes: what its gates need and catch, at the traffic that the preview has seen
    """

    app: str
    namespace: str
    change: Change
    from_revision: str | None
    to_revision: str | None
    plan: Plan | None
    worst_case_seconds: float | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def words(self) -> str:
        """What it is, in a sentence."""
        old, new = f"{self.app}-{self.from_revision}", f"{self.app}-{self.to_revision}"
        return {
            "walk": f"{old} -> {new}",
            "first release": f"first release of {new}, without steps: it gets all traffic once its pods are ready",
            "settings": f"no rollout: {old} goes on serving, with other settings",
            "settle": f"no rollout: {old} goes on serving, and what an earlier rollout left is put in order",
            "none": "no rollout: unchanged",
            "removed": "is removed",
        }[self.change]


def releases(preview: Manifest) -> list[Release]:
    """All rollouts of a preview. Raises RolloutError for one that this version cannot read."""
    diagnostics = preview.get("diagnostics") or []
    return [_release(step, diagnostics) for step in preview.get("steps") or [] if _is_rollout(step)]


def plans(preview: Manifest) -> dict[str, Plan]:
    """The plan of each application that a preview declares, whether it would be walked or not."""
    found = [(step["newState"].get("inputs") or {}) for step in preview.get("steps") or [] if _is_declared(step)]
    return {inputs.get("app", ""): plan for inputs in found if (plan := _plan(inputs)) is not None}


def problems(preview: Manifest) -> list[str]:
    """Pulumi's own words for what has failed."""
    found = preview.get("diagnostics") or []
    return [_words(each) for each in found if each.get("severity") in ("error", "info#err")]


def _is_rollout(step: Manifest) -> bool:
    # A replacement comes in three steps: the one that creates tells all.
    state = step.get("newState") or step.get("oldState") or {}
    return state.get("type") == TYPE and step.get("op") not in ("replace", "delete-replaced")


def _is_declared(step: Manifest) -> bool:
    return _is_rollout(step) and bool(step.get("newState"))


def _release(step: Manifest, diagnostics: list[Manifest]) -> Release:
    old, new = step.get("oldState") or {}, step.get("newState") or {}
    inputs = new.get("inputs") or old.get("inputs") or {}
    serving = (old.get("outputs") or {}).get("serving_revision")
    declared = (inputs.get("revision") or {}).get("hash") if new else None
    change = _change(step, serving, declared)
    plan = _plan(inputs) if change == "walk" else None
    said = {
        severity: tuple(_words(one) for one in diagnostics if one.get("urn") == step.get("urn") and _is(one, severity))
        for severity in ("info", "warning")
    }
    return Release(
        app=inputs.get("app", ""),
        namespace=inputs.get("namespace", ""),
        change=change,
        from_revision=serving,
        to_revision=declared,
        plan=plan,
        worst_case_seconds=plan.worst_case_seconds() if plan else None,
        notes=said["info"] if plan else (),
        warnings=said["warning"],
    )


def _change(step: Manifest, serving: str | None, declared: str | None) -> Change:
    if declared is None:
        return "removed"
    if serving is None:
        return "first release"
    if serving != declared:
        return "walk"
    if step.get("op") == "same":
        return "none"
    return "settle" if _inputs(step["oldState"]) == _inputs(step["newState"]) else "settings"


def _inputs(state: Manifest) -> Manifest:
    return {name: value for name, value in (state.get("inputs") or {}).items() if name != "__provider"}


def _plan(inputs: Manifest) -> Plan | None:
    try:
        return Plan.model_validate(inputs["plan"]) if isinstance(inputs.get("plan"), dict) else None
    except ValidationError as error:
        raise RolloutError(
            f"the plan of {inputs.get('app')} is not one that this version of `rollout` knows: use the version that is "
            "installed with the Pulumi program"
        ) from error


def _is(diagnostic: Manifest, severity: str) -> bool:
    return str(diagnostic.get("severity")).partition("#")[0] == severity


def _words(diagnostic: Manifest) -> str:
    text = str(diagnostic.get("message", "")).strip()
    return text.removeprefix(f"{diagnostic.get('severity')}: ")
