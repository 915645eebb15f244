"""What is wrong with this process just now: its faults, their clocks, and whether it is ready.

Lives here: the state behind the faults, for whatever protocol the application speaks. No protocol is
known here, and what a fault looks like to a client is not either.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Generic, TypeVar

from lab.app.faults import Faults

F = TypeVar("F", bound=Faults)


class Condition(Generic[F]):
    """Use: `arm()` once in a running loop, then ask. `enabled` and `draining` are for the server to set."""

    def __init__(self, faults: F, environ: Mapping[str, str]) -> None:
        names = {field.name.upper() for field in fields(faults)}
        self.faults = faults.changed({key: value for key, value in environ.items() if key in names})
        self.enabled = True
        self.draining = False
        self._started = self._changed = time.monotonic()
        self._recent: deque[float] = deque()
        self._timers: list[asyncio.TimerHandle] = []

    def arm(self) -> None:
        """Set the timers of the faults that end the process, in place of those set before."""
        for timer in self._timers:
            timer.cancel()
        wanted = ((self.faults.crash_after_seconds, 1), (self.faults.oom_after_seconds, 137))
        loop = asyncio.get_running_loop()
        # os._exit, as neither a crash nor the kernel asks the program first.
        self._timers = [loop.call_later(seconds, os._exit, code) for seconds, code in wanted if seconds]

    def change(self, values: Mapping[str, object]) -> None:
        """Other faults from now on; an unknown name or value raises ValueError and changes nothing."""
        self.faults = self.faults.changed(values)
        self._changed = time.monotonic()
        self.arm()

    def told(self) -> dict[str, float]:
        """The faults as they are spelt outside."""
        return {name.upper(): value for name, value in asdict(self.faults).items()}

    def ready(self) -> bool:
        slow = time.monotonic() - self._started < self.faults.slow_start_seconds
        return self.enabled and not (slow or self.draining or self.faults.never_ready)

    def fails(self) -> bool:
        """Whether the request that is here now is to fail; counts it, so ask once for each."""
        now = time.monotonic()
        self._recent.append(now)
        while self._recent[0] < now - 1:
            self._recent.popleft()
        return random.random() < self.faults.error_probability(now - self._changed, len(self._recent))
