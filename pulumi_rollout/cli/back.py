"""The way back, walked by this process: what `rollout abort` does when nobody else runs the walk.

Lives here: taking the walk over, and what stands in for Pulumi's engine. Not here: the way back
itself (`driver.py`, `core/machine.py`).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pulumi_rollout.cli.talk import Site
from pulumi_rollout.core.state import taken_up
from pulumi_rollout.engine import Engine
from pulumi_rollout.errors import Refused, RolloutFailed
from pulumi_rollout.journal import Journal, Record
from pulumi_rollout.lock import Lock


class Terminal(Engine):
    """Stands in for Pulumi's engine: what it would show goes to standard error."""

    def __init__(self) -> None:
        super().__init__("")
        self._last = ""

    def say(self, message: str, *, keep: bool = False) -> None:
        """Show a message, unless it is the one that was shown last."""
        if message != self._last:
            print(message, file=sys.stderr, flush=True)
        self._last = message

    def warn(self, message: str) -> None:
        """Show a warning."""
        self.say(f"warning: {message}")


def walk_back(site: Site, journal: Journal, record: Record, terminal: Terminal) -> str:
    """Put the old version back; returns how that ended. Raises Locked when somebody else runs the walk,
    RolloutFailed when the way back was not seen to be complete."""
    # Slow to import, and needed for this alone.
    from pulumi_rollout.driver import Walk
    from pulumi_rollout.release import locked, put_back

    inputs = record.inputs
    if inputs is None:
        raise Refused(
            f"the rollout of {journal.name.removeprefix('rollout-')} was begun by an older version of pulumi-rollout: "
            "`pulumi up` of the old code puts the old version back"
        )
    lock = Lock(site.cluster, site.namespace, inputs.app, terminal)
    with _undisturbed(terminal), locked(lock, journal, inputs, wait=False):
        left = journal.load().unfinished
        if left is None or left.state.walk != record.state.walk:
            return "the rollout was over before it could be aborted"
        terminal.say(f"nobody runs the rollout of {inputs.app}: putting the old version back from here")
        state = taken_up(left.state, left.saved_at, terminal.now())
        final = Walk(inputs, site.cluster, journal, lock, terminal).run(left.plan, state)
    if not final.confirmed:
        raise RolloutFailed(f"{inputs.app}: {final.reason}")
    return put_back(final, inputs)


@contextlib.contextmanager
def _undisturbed(terminal: Terminal) -> Iterator[None]:
    """The first Ctrl-C does not stop the way back; the second does."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in a background job
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return

    def once(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        terminal.warn("the way back goes on; Ctrl-C once more leaves the rest of it to the next `pulumi up`")

    before = signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
