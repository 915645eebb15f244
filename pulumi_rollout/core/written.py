"""What users write has in common: camelCase or snake_case names, durations with a unit, one key that names a kind.

Pure. Not here: what can be written (`strategies.py`, `gates_written.py`, `sources_written.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pulumi_rollout.errors import InvalidInput

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(value: Any) -> Any:
    """A duration with its unit, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"a duration needs a number and a unit, as in 30s, 5m or 500ms, not {value!r}")
    return float(match[1]) * _UNITS[match[2]]


Duration = Annotated[float, BeforeValidator(_seconds)]
Deadline = Annotated[Duration, Field(gt=0)]


class Written(BaseModel):
    """Base of what users write: camelCase in stack files, snake_case in programs."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


def single(written: dict[str, Any], known: dict[str, Any], path: str, noun: str) -> tuple[str, Any]:
    """The one key of a mapping that names its kind, and what it holds: in YAML, nothing at all is no setting. Raises
    InvalidInput; an unknown name lists the choices."""
    if not isinstance(written, dict) or len(written) != 1:
        raise InvalidInput([(path, f"names exactly one {noun}; there are: {', '.join(known)}")])
    [(name, settings)] = written.items()
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", str(name)).lower()
    if snake not in known:
        raise InvalidInput([(path, f"there is no {noun} {name}; there are: {', '.join(known)}")])
    return snake, {} if settings is None else settings


def is_snake_case(written: Any) -> bool:
    """Whether somebody wrote it in a program, by the names in it."""
    if isinstance(written, dict):
        return any("_" in str(name) or is_snake_case(value) for name, value in written.items())
    return isinstance(written, list) and any(is_snake_case(one) for one in written)


def in_snake_case(text: str, models: Iterable[type[Written]]) -> str:
    """A sentence with the settings of these models as a program names them."""
    names = {to_camel(name): name for model in models for name in model.model_fields}
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)
