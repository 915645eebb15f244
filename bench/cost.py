"""What a look costs: CPU time of all gates with new numbers for each, and of the whole decision.

At the last of five steps, behind which a test for failing is under way for each of them, so there is the most to
compute. Not here: what the looks say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from statistics import median
from typing import Any

from bench.scenarios import BY_NAME
from pulumi_rollout.core import judging
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Seen, State
from pulumi_rollout.simulate.scenario import Scenario
from pulumi_rollout.simulate.walk import walk

LOOKS, TIMES = 100, 10
RATE = 10.0


def lines() -> Iterator[dict[str, Any]]:
    """One line for each number of gates, and for versions that are fine and exactly at the limit."""
    for name in ("healthy-0.1", "at-limit", "3-gates", "6-gates"):
        case = BY_NAME[name]
        plan = case.plan("sufficient", 0.005)
        looks = _looks(plan, case.scenario(RATE))
        yield {
            "bench": "cost",
            "scenario": name,
            "gates": len(plan.gates),
            "steps": len(plan.steps),
            "looks": len(looks),
            "gates_milliseconds": _milliseconds(partial(judging.look, plan), looks),
            "decide_milliseconds": _milliseconds(partial(decide, plan), looks),
        }


def _looks(plan: Plan, scenario: Scenario) -> list[tuple[State, Seen]]:
    """What is decided at the last step where there are new numbers."""
    found: list[tuple[State, Seen]] = []

    def watch(state: State, seen: Seen) -> None:
        if seen.readings and state.weight_percent == plan.steps[-1].weight_percent:
            found.append((state, seen))

    seed = 0
    while len(found) < LOOKS:
        walk(plan, scenario, seed, watch)
        seed += 1
    return found[:LOOKS]


def _milliseconds(call: Callable[[State, Seen], Any], looks: list[tuple[State, Seen]]) -> float:
    """CPU time of a call: the median of the looks, of each its shortest. In turns, so that who else has the processor
    for a while disturbs no look each time."""
    spent = [inf] * len(looks)
    for _ in range(TIMES):
        for number, (state, seen) in enumerate(looks):
            begun = time.process_time()
            call(state, seen)
            spent[number] = min(spent[number], time.process_time() - begun)
    return round(1000 * median(spent), 3)
