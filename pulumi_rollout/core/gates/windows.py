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
    + lowest_percent, highest_percent: of the weights that the route may have had in it
    """

    began: bool = False
    lowest_percent: int = 0
    highest_percent: int = 0
    canary_total: int = 0
    canary_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    canary_at: float | None = None
    stable_at: float | None = None
    canary_readings: int = 0
    stable_readings: int = 0


class Closed(NamedTuple):
    """Both versions' requests of one window, and the weights in it."""

    canary_total: int
    canary_bad: int
    stable_total: int
    stable_bad: int
    lowest_percent: int
    highest_percent: int


def opened(canary: Arm, stable: Arm, weights: tuple[int, int]) -> Window:
    """A window that begins here."""
    return Window(
        began=True,
        lowest_percent=weights[0],
        highest_percent=weights[1],
        canary_total=canary.total,
        canary_bad=canary.bad,
        stable_total=stable.total,
        stable_bad=stable.bad,
        canary_at=canary.at,
        stable_at=stable.at,
    )


def look(window: Window, canary: Arm, stable: Arm, weights: tuple[int, int]) -> tuple[Window, Closed | None]:
    """The window after one more reading, and the one that this reading has closed.

    + weights: the lowest and the highest that the route may have now. A window goes on when they change, as steps may
      be shorter than the time between two scrapes
    """
    if not window.began or canary.at is None or stable.at is None:
        return opened(canary, stable, weights), None
    lowest, highest = min(window.lowest_percent, weights[0]), max(window.highest_percent, weights[1])
    canary_readings = window.canary_readings + (canary.at != window.canary_at)
    stable_readings = window.stable_readings + (stable.at != window.stable_at)
    least = 1 if abs(canary.at - stable.at) <= SAME_MOMENT_SECONDS else READINGS_A_WINDOW
    if min(canary_readings, stable_readings) < least:
        update = {
            "lowest_percent": lowest,
            "highest_percent": highest,
            "canary_readings": canary_readings,
            "stable_readings": stable_readings,
            "canary_at": canary.at,
            "stable_at": stable.at,
        }
        return window.model_copy(update=update), None
    closed = Closed(
        canary.total - window.canary_total,
        canary.bad - window.canary_bad,
        stable.total - window.stable_total,
        stable.bad - window.stable_bad,
        lowest,
        highest,
    )
    return opened(canary, stable, weights), closed
