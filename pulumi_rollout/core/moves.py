"""The moves that a walk is made of, and their order: forward from the plan, and back.

Lives here: what the moves are called and which follows which. What a move does, and when it is
done, is `machine.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase, State

MIN_CANARY_PODS = 2
# Where the steps begin in the way forward, and of how many moves each is made.
FIRST_STEP, MOVES_A_STEP = 2, 3


@dataclass(frozen=True)
class Capacity:
    """The canary has the ready pods that this weight needs."""

    percent: int


@dataclass(frozen=True)
class Weight:
    """The proxy has this weight."""

    percent: int


@dataclass(frozen=True)
class Dwell:
    """The step has lasted, and its gates have seen enough."""

    step: int


@dataclass(frozen=True)
class Apex:
    """The apex's endpoints are the pods of the canary."""


@dataclass(frozen=True)
class Home:
    """All traffic is on the apex, and the apex on stable."""


@dataclass(frozen=True)
class Leave:
    """The route is as it was before the walk."""


@dataclass(frozen=True)
class Drain:
    """Requests that were under way have had time to end."""


@dataclass(frozen=True)
class ScaleDown:
    """The failed canary has no pods."""


Move = Capacity | Weight | Dwell | Apex | Home | Leave | Drain | ScaleDown


def moves(plan: Plan, *, first_release: bool) -> tuple[tuple[Phase, Move], ...]:
    """The way forward. A backend enters and leaves a route at weight 0: proxies learn of routes and
    of clusters separately, and a weight on an unknown cluster is a lost request."""
    return _way(tuple(step.weight_percent for step in plan.steps), first_release)


@lru_cache(maxsize=64)
def _way(weights: tuple[int, ...], first_release: bool) -> tuple[tuple[Phase, Move], ...]:
    """Asked for several times at each look, so it is remembered."""
    if first_release:
        return ((Phase.PREPARING, Capacity(100)),)
    way: list[tuple[Phase, Move]] = [(Phase.PREPARING, Capacity(weights[0])), (Phase.PREPARING, Weight(0))]
    for number, weight in enumerate(weights):
        way += [(Phase.SHIFTING, move) for move in (Capacity(weight), Weight(weight), Dwell(number))]
    way += [(Phase.PROMOTING, move) for move in (Capacity(100), Weight(100), Apex(), Weight(0), Leave(), Drain())]
    return tuple(way)


def way_back(*, first_release: bool) -> list[Move]:
    """The way back: first the traffic, then the pods."""
    return [ScaleDown()] if first_release else [Home(), Leave(), Drain(), ScaleDown()]


def current(plan: Plan, state: State) -> Move:
    """The move that a walk is at."""
    first = state.stable is None
    if state.phase is Phase.REVERTING:
        return way_back(first_release=first)[state.move]
    if state.phase is Phase.PAUSED and state.manual_weight_percent is not None:
        return Weight(state.manual_weight_percent)
    return moves(plan, first_release=first)[state.move][1]


def confirmed_by_people(plan: Plan, state: State) -> bool:
    """Whether somebody has to agree before the walk leaves the move that it is at."""
    move = current(plan, state)
    if isinstance(move, Dwell):
        return plan.steps[move.step].wait_for_person
    return state.phase is Phase.PREPARING and move == Weight(0) and plan.wait_before_traffic


def apex_of(state: State, move: Move) -> str | None:
    """The revision that the apex selects during a move; None at a first release, which has no apex yet."""
    promoted = isinstance(move, Apex | Leave | Drain) or move == Weight(0)
    return state.revision if state.phase is Phase.PROMOTING and promoted else state.stable


def needed_pods(percent: int, stable_replicas: int) -> int:
    """Ready canary pods that a weight needs: its share of stable's live replicas, and two of them
    (or as many as stable has), so that one crash is not an outage of the canary."""
    return max(1, min(MIN_CANARY_PODS, stable_replicas), ceil(percent * stable_replicas / 100))


def step_number(plan: Plan, state: State) -> int | None:
    """The step whose weight is set or being judged, counted from 0; None before the first."""
    if state.phase not in (Phase.SHIFTING, Phase.PAUSED) or state.move < FIRST_STEP:
        return None
    return min((state.move - FIRST_STEP) // MOVES_A_STEP, len(plan.steps) - 1)


def dwell_of(step: int) -> int:
    """The position of a step's last move."""
    return FIRST_STEP + MOVES_A_STEP * step + MOVES_A_STEP - 1


def begin_of(step: int) -> int:
    """The position of a step's first move; of the first one of promoting, for the number after the last step."""
    return FIRST_STEP + MOVES_A_STEP * step
