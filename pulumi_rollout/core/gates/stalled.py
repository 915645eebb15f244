"""The gate that looks whether requests come to an end: a version that hangs has no bad request.

Pure. Of the counters, those that are marked count requests that have ended, the others such as have begun. A request
that has begun long ago and has not ended is stuck. The new version fails when most of what was begun in a stretch of
time is stuck by its end, and the old one's is not. Versions that hold requests open for long, such as streams, look
the same; they do without this gate.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from pulumi_rollout.core.counts import Arm, Look
from pulumi_rollout.core.gates.verdict import Judgement, Numbers, Verdict, age
from pulumi_rollout.core.measures import Stalled
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan

# So many stuck requests at least, and this share of those that were begun in the stretch.
LEAST_STUCK, STUCK_SHARE = 5, 0.5
# The stretch that is remembered is twice `after_seconds`; about so many of its readings are kept.
MOST_READINGS = 60


class Flow(NamedTuple):
    """One version's requests until a reading."""

    at: float
    begun: int
    ended: int


class Memory(Frozen):
    """The last readings of both versions, oldest first."""

    test: Literal["stalled"] = "stalled"
    canary: tuple[Flow, ...] = ()
    stable: tuple[Flow, ...] = ()

    def emptied(self) -> Memory:
        """For a version that is judged anew."""
        return Memory()


class Stuck(NamedTuple):
    """Of so many requests that were begun in a stretch of time, so many have not ended since."""

    stuck: int
    begun: int

    @property
    def is_most(self) -> bool:
        return self.stuck >= LEAST_STUCK and self.stuck >= STUCK_SHARE * self.begun


def update(plan: Plan, gate: Stalled, memory: Memory, numbers: Numbers, look: Look) -> Memory:
    """The memory after a look with numbers."""
    keep = 2 * gate.after_seconds
    return Memory(canary=_kept(memory.canary, numbers.canary, keep), stable=_kept(memory.stable, numbers.stable, keep))


def step(memory: Memory, numbers: Numbers) -> Memory:
    """Steps change nothing."""
    return memory


def judge(plan: Plan, gate: Stalled, memory: Memory, numbers: Numbers) -> Judgement:
    """There is nothing to wait for: what is not stuck passes."""
    canary, stable = stuck(memory.canary, gate.after_seconds), stuck(memory.stable, gate.after_seconds)
    return Judgement(verdict=Verdict.FAIL if canary.is_most and not stable.is_most else Verdict.PASS)


def explain(plan: Plan, gate: Stalled, memory: Memory, numbers: Numbers, held: str, now: float) -> str:
    """How many are stuck."""
    canary, stable = stuck(memory.canary, gate.after_seconds), stuck(memory.stable, gate.after_seconds)
    return (
        f"{gate.id.replace('_', ' ')}: {canary.stuck:,} of {canary.begun:,} canary requests have not ended "
        f"{gate.after_seconds:g} s after their begin, {held}{age(numbers.canary, now)}; stable {stable.stuck:,} of "
        f"{stable.begun:,}"
    )


def asks(gate: Stalled) -> str:
    """What the gate wants, in words."""
    return f"requests end within {gate.after_seconds:g} s, most of them"


def counts(gate: Stalled, memory: Memory, numbers: Numbers) -> str:
    """What has been seen, in words."""
    canary, stable = stuck(memory.canary, gate.after_seconds), stuck(memory.stable, gate.after_seconds)
    return f"{canary.stuck:,} of {canary.begun:,} canary requests hang; stable {stable.stuck:,} of {stable.begun:,}"


def stuck(flows: tuple[Flow, ...], after_seconds: float) -> Stuck:
    """Of what was begun in the stretch that ended `after_seconds` before the last reading, what has not ended since.
    What was stuck already when that stretch ended is older: the few that are held open for long do not add up."""
    if not flows:
        return Stuck(0, 0)
    last, first = flows[-1], flows[0]
    old = [flow for flow in flows if flow.at <= last.at - after_seconds]
    if not old:
        return Stuck(0, 0)
    older = max(0, first.begun - old[-1].ended)
    return Stuck(max(0, old[-1].begun - last.ended - older), old[-1].begun - first.begun)


def _kept(flows: tuple[Flow, ...], arm: Arm, seconds: float) -> tuple[Flow, ...]:
    """With one more reading, if it is one; the last of the older ones is where the stretch begins."""
    if arm.at is None or (flows and arm.at <= flows[-1].at):
        return flows
    ended = arm.bad + arm.warm_bad
    dense = len(flows) > 1 and flows[-1].at - flows[-2].at < seconds / MOST_READINGS
    following = (*(flows[:-1] if dense else flows), Flow(arm.at, arm.total + arm.warm_total - ended, ended))
    older = sum(flow.at <= arm.at - seconds for flow in following)
    return following[max(0, older - 1) :]
