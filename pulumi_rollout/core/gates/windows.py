"""Windows of time that both versions' numbers have closed: what a comparison may look at.

Pure. Lives here: when a window is over, and what was in it. Not here: what follows from it (`comparison.py`,
`shares.py`).

One answer of one proxy has both versions' counters of the same moment, so each such answer closes a window. Where
the two are scraped apart, what happened to both at once shows up in one of them first; a window then has to be so
long that what sticks out at its ends is little.
"""

from __future__ import annotations

from typing import NamedTuple

from pulumi_rollout.core.counts import Arm, Look
from pulumi_rollout.core.model import Frozen

# Numbers of the same moment are not further apart than this.
SAME_MOMENT_SECONDS = 0.25
# Of numbers that are read apart, a window has so many of each.
READINGS_A_WINDOW = 4


class Window(Frozen):
    """The open window: where both versions stood when it began, and at which readings it has been since.

    + canary_at, stable_at: of the last readings; canary_readings, stable_readings: how many since the begin
    + began: whether there is a window at all; weight_percent: in it, throughout
    """

    began: bool = False
    weight_percent: int = 0
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


def of_weight(window: Window, look: Look) -> Window:
    """The window so far; one that has not begun where the weight is not the same throughout, as of an outage that
    begins behind a rise the new version would have more than its share."""
    if look.in_place and look.weight_percent == window.weight_percent:
        return window
    return Window(weight_percent=look.weight_percent)


def opened(canary: Arm, stable: Arm, weight_percent: int) -> Window:
    """A window that begins here."""
    return Window(
        began=True,
        weight_percent=weight_percent,
        canary_total=canary.total,
        canary_bad=canary.bad,
        stable_total=stable.total,
        stable_bad=stable.bad,
        canary_at=canary.at,
        stable_at=stable.at,
    )


def look(window: Window, canary: Arm, stable: Arm) -> tuple[Window, Closed | None]:
    """The window after one more reading, and the one that this reading has closed."""
    if not window.began or canary.at is None or stable.at is None:
        return opened(canary, stable, window.weight_percent), None
    readings = {
        "canary_readings": window.canary_readings + (canary.at != window.canary_at),
        "stable_readings": window.stable_readings + (stable.at != window.stable_at),
        "canary_at": canary.at,
        "stable_at": stable.at,
    }
    window = window.model_copy(update=readings)
    least = 1 if abs(canary.at - stable.at) <= SAME_MOMENT_SECONDS else READINGS_A_WINDOW
    if min(window.canary_readings, window.stable_readings) < least:
        return window, None
    closed = Closed(
        canary.total - window.canary_total,
        canary.bad - window.canary_bad,
        stable.total - window.stable_total,
        stable.bad - window.stable_bad,
    )
    return opened(canary, stable, window.weight_percent), closed
