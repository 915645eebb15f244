"""What can be wrong with a release, by the environment or at run time (`POST /faults`, same names).

Lives here: names, values and when an error is due. Who acts on them is in condition.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True)
class Faults:
    """What is wrong with this release; the environment's names are these in capitals.

    The three conditions (burst, after, above) limit when errors occur: with any of them set, requests
    fail at `error_rate`, or always if that is 0, but only while all the conditions that are set hold.
    Seconds count from the start of the process, or from the last change at run time.
    """

    error_rate: float = 0.0
    error_burst_seconds: float = 0.0
    error_burst_every_seconds: float = 0.0
    error_after_seconds: float = 0.0
    error_above_rps: float = 0.0
    delay_seconds: float = 0.0
    slow_start_seconds: float = 0.0
    hang: float = 0.0
    """1: accepts and never answers, probes included; 2: probes are answered."""
    crash_after_seconds: float = 0.0
    oom_after_seconds: float = 0.0
    never_ready: float = 0.0

    def changed(self, values: Mapping[str, object]) -> Self:
        """These faults with some replaced; an unknown name or value raises ValueError."""
        names = {field.name for field in fields(self)}
        wanted = {name.lower(): _number(value) for name, value in values.items()}
        if unknown := wanted.keys() - names:
            raise ValueError(f"unknown fault {min(unknown).upper()}; there are {', '.join(sorted(names)).upper()}")
        return replace(self, **wanted)

    def error_probability(self, age_seconds: float, requests_per_second: float) -> float:
        conditions = []
        if self.error_burst_seconds:
            every = self.error_burst_every_seconds or self.error_burst_seconds
            conditions.append(age_seconds % every < self.error_burst_seconds)
        if self.error_after_seconds:
            conditions.append(age_seconds >= self.error_after_seconds)
        if self.error_above_rps:
            conditions.append(requests_per_second > self.error_above_rps)
        if not conditions:
            return self.error_rate
        return (self.error_rate or 1.0) if all(conditions) else 0.0


def _number(value: object) -> float:
    if isinstance(value, str):
        value = {"true": 1.0, "false": 0.0, "": 0.0}.get(value.lower(), value)
    if value is None:
        return 0.0
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"not a number: {value!r}")
    return float(value)
