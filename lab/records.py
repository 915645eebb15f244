"""What the load's users saw: one record a request, and how many of them failed.

Lives here: the records, the file they are kept in, and their summary. No opinion on what is acceptable.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stream:
    """How a long answer went. `end`: complete; bye (the server asked to leave); broken; open (still
    flowing when the load stopped)."""

    bytes: int
    lines: int
    end: str


@dataclass(frozen=True)
class Record:
    """One request as its user saw it. `t` is Unix time and `seconds` counts from it; status 0: no answer."""

    t: float
    target: str
    status: int
    version: str | None
    seconds: float
    error: str | None = None
    stream: Stream | None = None

    @property
    def failed(self) -> bool:
        broken = self.stream is not None and self.stream.end == "broken"
        return self.status == 0 or self.status >= 400 or broken


@dataclass(frozen=True)
class Phase:
    """A named stretch of time, from `start` (Unix time) until the next phase begins."""

    name: str
    start: float


@dataclass(frozen=True)
class Row:
    phase: str
    version: str | None
    requests: int
    failures: int


def read(path: Path) -> list[Record]:
    """All records in a file; a last line that is not yet whole is left out."""
    lines = path.read_text().split("\n")[:-1]
    return [_record(json.loads(line)) for line in lines if line]


def _record(fields: dict[str, Any]) -> Record:
    stream = fields.pop("stream", None)
    return Record(**fields, stream=Stream(**stream) if stream else None)


def summary(records: Sequence[Record], phases: Sequence[Phase]) -> list[Row]:
    """Requests and failures by phase and version, in that order; streams and what came before the first
    phase are left out. A request that no version answered counts under None."""
    requests: Counter[tuple[int, str | None]] = Counter()
    failures: Counter[tuple[int, str | None]] = Counter()
    for record in records:
        index = sum(phase.start <= record.t for phase in phases) - 1
        if index >= 0 and record.stream is None:
            requests[index, record.version] += 1
            failures[index, record.version] += record.failed
    keys = sorted(requests, key=lambda key: (key[0], key[1] or ""))
    return [Row(phases[i].name, version, requests[i, version], failures[i, version]) for i, version in keys]
