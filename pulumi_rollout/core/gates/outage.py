"""An outage that both versions share, which says nothing about the new one.

Pure. Lives here: when a failing objective is held rather than believed, and until when. While the old version fails
the same test, the weight is held; where the new one is worse than the old one of the same seconds it fails all the
same; and once the old one is well again, the new one is judged anew. Not here: the tests (`objective.py`).
"""

from __future__ import annotations

from math import log
from typing import Any

from pulumi_rollout.core.bursts import BLOCK_SECONDS
from pulumi_rollout.core.comparison import Comparison, closed, log_e_better, log_e_worse
from pulumi_rollout.core.counts import Look, all_of, newest
from pulumi_rollout.core.gates import windows
from pulumi_rollout.core.gates.verdict import Numbers, Verdict, threshold
from pulumi_rollout.core.measures import Objective
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan

# Of stable's blocks of time, so many within the objective are the end of an outage.
CALM_BLOCKS = 2
# How long a failure waits for the old version's numbers of the same time, or for them to say more.
UNSURE_SECONDS = 20.0
# What the new version is compared with: worse than this many times the old one's share is worse.
MARGIN = 1.5


class Outage(Frozen):
    """What is known of an outage.

    + failed_at: time of the canary's number at which it began to fail
    + before: stable's requests, and the bad ones, at the last look at which the canary did not fail
    + doubtful: stable has more bad requests than it may, too few to say that it fails
    + since: time of the newest number when both were seen to fail; None while there is no outage
    + calm, calm_from: stable's blocks within the objective since then, and where the open one began: (at, total, bad)
    + window, comparison: both versions compared, since the canary's first request
    """

    failed_at: float | None = None
    before: tuple[int, int] = (0, 0)
    doubtful: bool = False
    since: float | None = None
    calm: int = 0
    calm_from: tuple[float, int, int] | None = None
    window: windows.Window = windows.Window()
    comparison: Comparison = Comparison()

    @property
    def is_over(self) -> bool:
        """Whether there was one, and stable is well again."""
        return self.since is not None and self.calm >= CALM_BLOCKS


def update(
    gate: Objective, memory: Outage, numbers: Numbers, look: Look, *, failing: bool, shared: bool, doubtful: bool
) -> Outage:
    """After a look. + failing: the canary fails its objective; shared: and so does stable; doubtful: see Outage"""
    now = newest(numbers.canary, numbers.stable)
    window, over = windows.look(memory.window, numbers.canary, numbers.stable, look.weights)
    change: dict[str, Any] = {"window": window}
    if over is not None:
        # Here one asks only whether it is worse, or better.
        change["comparison"] = closed(memory.comparison, *over, margin=MARGIN)
    if memory.since is not None:
        return memory.model_copy(update={**change, **_calm(gate, memory, numbers, now)})
    change |= {"failed_at": (memory.failed_at or numbers.canary.at) if failing else None, "doubtful": doubtful}
    if not failing:
        change["before"] = all_of(numbers.stable)
    if shared:
        change |= {"since": now, "calm": 0, "calm_from": None}
    return memory.model_copy(update=change)


def _calm(gate: Objective, memory: Outage, numbers: Numbers, now: float | None) -> dict[str, Any]:
    """Stable's blocks since the begin of the outage. One without a request says nothing."""
    total, bad = all_of(numbers.stable)
    if now is None or memory.calm_from is None:
        return {} if now is None else {"calm_from": (now, total, bad)}
    began, from_total, from_bad = memory.calm_from
    if now - began < BLOCK_SECONDS or total == from_total:
        return {}
    well = bad - from_bad <= gate.max_bad_ratio * (total - from_total)
    return {"calm": memory.calm + 1 if well else 0, "calm_from": (now, total, bad)}


def judge(plan: Plan, memory: Outage, numbers: Numbers) -> dict[str, Any] | None:
    """What an outage changes of a judgement; None where there is none, so that a failure is one."""
    said = _unsure(memory, numbers) if memory.since is None else _shared(plan, memory, memory.since, numbers)
    return None if said is None or log_e_worse(memory.comparison) >= threshold(plan) else said


def _shared(plan: Plan, memory: Outage, since: float, numbers: Numbers) -> dict[str, Any] | None:
    """The weight is held, and not for ever; what is better than the old version goes on."""
    now = newest(numbers.canary, numbers.stable)
    if now is None:
        return None
    if plan.fix_forward and log_e_better(memory.comparison) >= log(1 / plan.beta):
        return {"verdict": Verdict.PASS}
    seconds = now - since
    if seconds > plan.limits.outage_seconds:
        reason = f"the old version has failed the same test for {seconds:.0f} s too (outage)"
        return {"verdict": Verdict.FAIL, "judged": False, "reason": reason}
    return {"verdict": Verdict.HOLD, "reason": "the old version fails the same test, so the new one is not blamed"}


def _unsure(memory: Outage, numbers: Numbers) -> dict[str, Any] | None:
    """A failure waits, but not for long, for the old version's number of the same time where the two are scraped
    apart, as what happens to both may show up in the canary's first; and for more of it where that is doubtful."""
    canary, stable, failed = numbers.canary.at, numbers.stable.at, memory.failed_at
    if failed is None or canary is None or stable is None or canary - failed > UNSURE_SECONDS:
        return None
    if stable >= failed - windows.SAME_MOMENT_SECONDS and not memory.doubtful:
        return None
    return {"verdict": Verdict.HOLD, "reason": "it fails, and whether the old version does so too is still open"}
