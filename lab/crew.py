"""The programs of one lab, as its supervisor sees them: started, watched and told about.

Lives here: processes and their states. Which programs there are is `lab/supervisor.py`'s to know.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class LabFailed(Exception):
    """The lab cannot come up; the message is one sentence for the person who asked for it."""


@dataclass
class Crew:
    """The lab's programs: started, watched, and told about in status.json."""

    directory: Path
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, name: str, *command: str | Path) -> None:
        """Start a program, its output going to logs/<name>.log."""
        with self.lock, (self.directory / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            self.names[process.pid] = name
            # Only watch() collects exit codes, and Popen would complain when it is thrown away.
            process.returncode = 0
            self.states[name] = {"state": "starting", "since": time.time()}
            self._save()

    def note(self, name: str, state: str) -> None:
        """Record what a part has come to, and how long that took."""
        with self.lock:
            entry = self.states.setdefault(name, {"since": time.time()})
            entry.update(state=state, seconds=round(time.time() - entry["since"], 1))
            self._save()

    def dead(self) -> list[str]:
        with self.lock:
            return [name for name, entry in self.states.items() if entry["state"].startswith("ended")]

    def watch(self) -> None:
        """Collect every process that ends, orphans included: that is what process 1 is for."""
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                time.sleep(0.1)
                continue
            with self.lock:
                if name := self.names.pop(pid, None):
                    code = os.waitstatus_to_exitcode(status)
                    print(f"{name} ended with {code}", flush=True)
                    self.note(name, f"ended with {code}")

    def _save(self) -> None:
        partial = self.directory / "status.json.partial"
        partial.write_text(json.dumps(self.states))
        partial.replace(self.directory / "status.json")


def until(crew: Crew, name: str, probe: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for a part, and stop waiting as soon as any part has died."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):  # nothing may be listening yet
            if probe():
                crew.note(name, "ready")
                return
        if dead := crew.dead():
            raise LabFailed(f"{dead[0]} {crew.states[dead[0]]['state']} (see logs/{dead[0]}.log)")
        if time.monotonic() > deadline:
            raise LabFailed(f"{name} was not ready after {seconds:.0f} s (see logs/)")
        time.sleep(0.05)


def run(*command: str) -> None:
    """A short program that has to work."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabFailed(f"`{command[0]}` is not installed, and the lab needs it") from None
    if result.returncode:
        raise LabFailed(f"`{' '.join(command[:3])}` failed: {result.stderr.strip()[-500:]}")
