"""Looking again and again, until a rollout is over.

Lives here: the loop. Not here: what one look shows (`look.py`, `render.py`).
"""

from __future__ import annotations

import sys
from time import monotonic, sleep
from typing import Any

from pulumi_rollout import lock
from pulumi_rollout.cli import look, render, talk
from pulumi_rollout.cli.talk import Site
from pulumi_rollout.errors import ClusterError

Manifest = dict[str, Any]

LOOK_SECONDS = 1.0


def watch(site: Site, app: str, timeout_seconds: float | None) -> int:
    """Show a rollout until nothing more happens by itself; returns the exit code of how it stands then.
    Raises ClusterError when the cluster does not answer the first time, or refuses."""
    begun = changed_at = monotonic()
    facts, version, trouble = talk.facts(site, app), None, None
    with render.screen() as draw:
        while True:
            now = look.status(facts)
            at = ((facts.lease or {}).get("metadata") or {}).get("resourceVersion")
            if at != version:
                version, changed_at = at, monotonic()
            silent = monotonic() - changed_at
            late = now.lock is not None and silent > lock.EXPIRY_SECONDS
            note = f"no heartbeat for more than {lock.EXPIRY_SECONDS:g} s" if late else None
            draw(now, [] if trouble else _pods(site, app), trouble or note)
            if look.over(facts):
                return now.exit_code
            if timeout_seconds is not None and monotonic() - begun > timeout_seconds:
                print(f"the rollout of {app} is not over after {timeout_seconds:g} s", file=sys.stderr)
                return now.exit_code
            sleep(LOOK_SECONDS)
            try:
                facts, trouble = talk.facts(site, app), None
            except ClusterError as error:
                if 400 <= error.status < 500:
                    raise
                trouble = f"{error}; looking again"


def _pods(site: Site, app: str) -> list[Manifest]:
    """Nothing where they may not be read, or not now: they are no more than decoration."""
    try:
        return talk.pods(site, app) if sys.stdout.isatty() else []
    except ClusterError:
        return []
