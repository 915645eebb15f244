"""Tables of what can be set, from the models of what users write: for docs/gates.md and docs/metrics.md.

A setting's meaning is its line in the docstring of its model, as in `+ after: when one should have ended`; a setting
without one is a KeyError. Not here: which pages there are (`generate.py`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from components import policy
from pulumi_rollout.core.gates_written import GATES
from pulumi_rollout.core.sources_written import KINDS, SourceWritten
from pulumi_rollout.core.written import Written

LINE = re.compile(r"\+ ([\w, ]+): (.*?)(?=\s\+ \w|$)")


def gates() -> str:
    """Every setting of every gate."""
    found = [(name, gate, setting) for gate, model in GATES.items() for name, setting in _settings(model).items()]
    return _table("gates", ((name, *setting, gate) for name, gate, setting in found), every=len(GATES))


def sources() -> str:
    """Every setting of every kind of source."""
    takes = {kind: {kind, *inspect.signature(getattr(policy, kind)).parameters} for kind in KINDS}
    # What is the first argument of a kind is no setting of another one.
    takes["direct"].remove("proxy")
    written = _settings(SourceWritten)
    # One of them is written, so none has to be.
    written |= {kind: ("needed", written[kind][1]) for kind in KINDS}
    found = [(name, kind, setting) for name, setting in written.items() for kind in KINDS]
    return _table(
        "sources", ((name, *setting, kind) for name, kind, setting in found if name in takes[kind]), len(KINDS)
    )


def _settings(model: type[Written]) -> dict[str, tuple[str, str]]:
    """(default, meaning) of each setting."""
    said: dict[str, str] = {}
    for one in reversed(model.__mro__):
        text = " ".join((vars(one).get("__doc__") or "").split())
        said |= {name: meaning for names, meaning in LINE.findall(text) for name in names.split(", ")}
    return {name: (_default(field), said[name]) for name, field in model.model_fields.items()}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    if field.default in (None, {}):
        return "none"
    is_duration = any(isinstance(one, BeforeValidator) for one in field.metadata)
    return f"`{field.default:g}s`" if is_duration else f"`{field.default}`"


def _table(noun: str, rows: Iterable[tuple[str, str, str, str]], every: int) -> str:
    """Rows of (setting, default, meaning, whose), of which those that differ in the last alone are one."""
    whose: dict[tuple[str, str, str], list[str]] = {}
    for name, default, meaning, one in rows:
        whose.setdefault((name, default, meaning), []).append(f"`{one}`")
    lines = [f"| setting | {noun} | default | meaning |", "|---|---|---|---|"]
    for (name, default, meaning), ones in whose.items():
        lines.append(f"| `{name}` | {'all' if len(ones) == every else ', '.join(ones)} | {default} | {meaning} |")
    return "\n".join([*lines, ""])
