"""Gates about things that happen, and need no traffic: restarts of containers, alerts that fire.

Pure. What had happened before the first traffic is not held against the version. Lives here: what is new. Not here:
how it is read (`readings.py`, `metrics/`).
"""

from __future__ import annotations

from typing import Literal

from pulumi_rollout.core.counts import Look
from pulumi_rollout.core.gates.verdict import Judgement, Numbers, Verdict
from pulumi_rollout.core.measures import Alerts, Restarts
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan


class Memory(Frozen):
    """+ base: how often it had happened before the first traffic, or at the first look of a walk that is judged from
    later on; None before that look. news: what has happened since, and how often"""

    test: Literal["events"] = "events"
    base: dict[str, float] | None = None
    news: dict[str, tuple[float, str]] = {}

    def emptied(self) -> Memory:
        """For a version that is judged anew: what has happened has happened."""
        if self.base is None:
            return self
        known = {name: self.base.get(name, 0.0) + number for name, (number, _) in self.news.items()}
        return Memory(base={**self.base, **known})


def update(plan: Plan, gate: Restarts | Alerts, memory: Memory, numbers: Numbers, look: Look) -> Memory:
    """The memory after a look. What has ended, as an alert does, may begin anew."""
    events = numbers.events
    if look.preparing or memory.base is None:
        return Memory(base={name: number for name, (number, _) in events.items()})
    base = {name: min(number, events[name][0]) for name, number in memory.base.items() if name in events}
    new = {name: (number - base.get(name, 0.0), words) for name, (number, words) in events.items()}
    kept = memory.news if gate.test == "restarts" else {}
    return Memory(base=base, news={**kept, **{name: one for name, one in new.items() if one[0] > 0}})


def step(memory: Memory, numbers: Numbers) -> Memory:
    """Steps change nothing."""
    return memory


def judge(plan: Plan, gate: Restarts | Alerts, memory: Memory, numbers: Numbers) -> Judgement:
    """There is nothing to wait for: what has not happened passes."""
    allowed = gate.max_restarts if gate.test == "restarts" else 0
    if sum(number for number, _ in memory.news.values()) <= allowed:
        return Judgement(verdict=Verdict.PASS)
    pods = {name.partition("/")[0] for name in memory.news}
    alone = len(pods) == 1 and gate.test == "restarts"
    return Judgement(verdict=Verdict.FAIL, pod=pods.pop() if alone else None)


def explain(plan: Plan, gate: Restarts | Alerts, memory: Memory, numbers: Numbers, held: str, now: float) -> str:
    """What has happened, in its own words."""
    if gate.test == "alerts":
        return f"{gate.id.replace('_', ' ')}: {'; '.join(words for _, words in memory.news.values())} fires, {held}"
    what = (
        f"{name.replace('/', ', container ')} {_times(number)}: {words}"
        for name, (number, words) in memory.news.items()
    )
    return f"{gate.id.replace('_', ' ')}: the new version's pod {'; pod '.join(what)}; {held}"


def asks(gate: Restarts | Alerts) -> str:
    """What the gate wants, in words."""
    if gate.test == "alerts":
        return "no alert begins to fire"
    return f"at most {gate.max_restarts} restarts of the canary's containers under traffic"


def counts(gate: Restarts | Alerts, memory: Memory, numbers: Numbers) -> str:
    """What has been seen, in words."""
    number = sum(number for number, _ in memory.news.values())
    return f"{number:.0f} {'alerts' if gate.test == 'alerts' else 'restarts'}"


def _times(number: float) -> str:
    return "restarted" if number == 1 else f"restarted {number:.0f} times"
