"""Windows of time that both versions' numbers have closed: what a comparison may look at.

Pure. Lives here: when a window is over, and what was in it. Not here: what follows from it (`comparison.py`,
`shares.py`).

One answer of one proxy has both versions' counters of the same moment, so each such answer closes a window. Where
the two are scraped apart, what happened to both at once shows up in one of them first; a window then has to be so
long that what sticks out at its ends is little.
"""

from __future__ import annotations

from typing import NamedTuple

from pulumi_rollout.core.counts import Arm
from pulumi_rollout.core.model import Frozen

# Numbers of the same moment are not further apart than this.
SAME_MOMENT_SECONDS = 0.25
# Of numbers that are read apart, a window has so many of each.
READINGS_A_WINDOW = 4


class Window(Frozen):
    """The open window: where both versions stood when it began, and at which readings it has been since.

    + canary_at, stable_at: of the last readings; canary_readings, stable_readings: how many since the begin
    + began: whether there is a window at all
    + weight_percent: in it, throughout; since: the newest number before the weight was that
    """

    began: bool = False
    weight_percent: int | None = None
    since: float = 0.0
    canary_total: int = 0
    canary_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    canary_at: float | None = None
    stable_at: float | None = None
    canary_readings: int = 0
    stable_readings: int = 0


class Closed(NamedTuple):
    """Both versions' requests of one window."""

    canary_total: int
    canary_bad: int
    stable_total: int
    stable_bad: int


def opened(window: Window, canary: Arm, stable: Arm, changing_seconds: float) -> Window:
    """A window that begins here, if both numbers are of the present weight."""
    steady = window.weight_percent is not None and canary.at is not None and stable.at is not None
    return window.model_copy(
        update={
            "began": steady and min(canary.at or 0.0, stable.at or 0.0) > window.since + changing_seconds,
            "canary_total": canary.total,
            "canary_bad": canary.bad,
            "stable_total": stable.total,
            "stable_bad": stable.bad,
            "canary_at": canary.at,
            "stable_at": stable.at,
            "canary_readings": 0,
            "stable_readings": 0,
        }
    )


def look(
    window: Window, canary: Arm, stable: Arm, weight_percent: int | None, changing_seconds: float = 0.0
) -> tuple[Window, Closed | None]:
    """The window after one more reading, and the one that this reading has closed.

    + weight_percent: None where it changes. In a window from before a rise the old version would have seconds of its
      own: of an outage that begins behind the rise the new one would have more than its share
    + changing_seconds: how long a change may take
    """
    if weight_percent is None or weight_percent != window.weight_percent:
        since = max(window.canary_at or 0.0, window.stable_at or 0.0)
        window = Window(weight_percent=weight_percent, since=since)
    if not window.began or canary.at is None or stable.at is None:
        return opened(window, canary, stable, changing_seconds), None
    canary_readings = window.canary_readings + (canary.at != window.canary_at)
    stable_readings = window.stable_readings + (stable.at != window.stable_at)
    least = 1 if abs(canary.at - stable.at) <= SAME_MOMENT_SECONDS else READINGS_A_WINDOW
    if min(canary_readings, stable_readings) < least:
        readings = {"canary_readings": canary_readings, "stable_readings": stable_readings}
        return window.model_copy(update={**readings, "canary_at": canary.at, "stable_at": stable.at}), None
    closed = Closed(
        canary.total - window.canary_total,
        canary.bad - window.canary_bad,
        stable.total - window.stable_total,
        stable.bad - window.stable_bad,
    )
    return opened(window, canary, stable, changing_seconds), closed
