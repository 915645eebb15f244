"""Whether a proxy has taken a weight: told by the share of requests that is seen.

Pure. Lives here: the test between the weight before a change and the one after it. Not here: where the numbers come
from (`readings.py`), what the walk does meanwhile (`conditions.py`), or whether the share is right (`gates/share.py`).

A proxy with weight w sends each request to the canary with chance w. Of the requests since a change, c of the canary
and s of stable, the ratio of their chances under the two weights is (new/old)^c ((1-new)/(1-old))^s: Wald's sequential
test. From 1000 to 1 for the new weight on, it is taken. From 1000 to 1 against it on, what was seen is left out, as
it was sent before the change arrived. It only ever delays: with few requests, or with users that stay with one version,
nothing can be told, and after some seconds the walk relies on its settling time alone. Where a status of the route has
said so already, that is believed until requests speak against it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

from pulumi_rollout.core.counts import Arm, Reading, count, newest
from pulumi_rollout.core.measures import Baseline, Gate, Objective, Query, Share, Source, Stalled
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan

SURE = log(1000)
# What a weight of 0 or 100 may still let through: requests on connections from before, for example.
STRAY = 0.005
# How long is waited where nothing can be told, and where what is seen speaks against the new weight.
UNTOLD_SECONDS, DOUBTED_SECONDS = 10.0, 30.0


class Propagation(Frozen):
    """What is remembered from look to look.

    + before, weight_percent: the weight before the last change, and the one since; None before the first look
    + changed_at: when that was seen
    + canary, stable: requests of each version since the first look
    + since: of each, at the begin of the test; None until there is a number from after the change
    + doubted: what was seen has spoken against the new weight, and nothing has spoken for it since
    + taken: it has been seen
    """

    before: int | None = None
    weight_percent: int | None = None
    changed_at: float = 0.0
    canary: Arm = Arm()
    stable: Arm = Arm()
    since: tuple[int, int] | None = None
    doubted: bool = False
    taken: bool = True


def telling(plan: Plan, tells_route: Callable[[Source], bool]) -> Gate | None:
    """The gate whose numbers are requests of both versions, best those of a source that tells where the route leads,
    and requests that have begun: a new version that hangs has its share of them. None where the plan has none."""

    def order(gate: Gate) -> tuple[bool, bool]:
        return not tells_route(plan.sources[str(gate.source)]), not isinstance(gate, Stalled)

    return min(filter(_tells, plan.gates), key=order, default=None)


def look(
    state: Propagation, weight_percent: int, gate: Gate | None, reading: Reading | None, now: float
) -> Propagation:
    """The state after one more look. + gate, reading: that is `telling`, and its numbers"""
    if reading is not None and reading.no_data is None:
        counted = {"canary": count(state.canary, reading.canary), "stable": count(state.stable, reading.stable)}
        state = state.model_copy(update=counted)
    if weight_percent != state.weight_percent:
        change = {"before": state.weight_percent, "weight_percent": weight_percent, "changed_at": now}
        fresh = {"since": None, "doubted": False, "taken": state.weight_percent is None}
        return state.model_copy(update={**change, **fresh})
    at = newest(state.canary, state.stable)
    if state.taken or at is None or at < state.changed_at:
        return state
    # Of what `stalled` counts, those that are marked have ended.
    begun = isinstance(gate, Stalled)
    seen = state.canary.total - begun * state.canary.bad, state.stable.total - begun * state.stable.bad
    if state.since is None:
        return state.model_copy(update={"since": seen})
    said = _log_ratio(state, seen[0] - state.since[0], seen[1] - state.since[1])
    if said >= SURE:
        return state.model_copy(update={"taken": True})
    return state.model_copy(update={"since": seen, "doubted": True}) if said <= -SURE else state


def problem(state: Propagation, plan: Plan, now: float, *, reported: bool = False) -> str | None:
    """Why the weight cannot be relied on yet, or None. + reported: the route's own status says when it is taken"""
    longest = min(DOUBTED_SECONDS if state.doubted else UNTOLD_SECONDS, plan.limits.propagation_seconds / 2)
    if state.taken or (reported and not state.doubted) or now - state.changed_at >= longest:
        return None
    if state.doubted:
        return f"requests are still shared as at weight {state.before}"
    return f"it is not seen yet that requests are shared as at weight {state.weight_percent}"


def _tells(gate: Gate) -> bool:
    """Requests as the proxy counts them; what the application itself counts may be something else."""
    if isinstance(gate, Objective | Baseline):
        return not isinstance(gate.metric, Query)
    return isinstance(gate, Share | Stalled)


def _log_ratio(state: Propagation, canary: int, stable: int) -> float:
    """How much more likely these requests are under the new weight than under the one before, as a logarithm."""
    old, new = (min(max((percent or 0) / 100, STRAY), 1 - STRAY) for percent in (state.before, state.weight_percent))
    return canary * log(new / old) + stable * log((1 - new) / (1 - old))
