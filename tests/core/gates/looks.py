"""One gate under a test's hand: both versions' requests are said look by look, and it is asked what it says.

Lives here: the hand, and plans for it. Not here: what is tried with it (`test_*.py`), or whole walks (`by_hand.py`).
"""

from __future__ import annotations

from typing import Any

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Look, Reading, Sample
from pulumi_rollout.core.gates import Evidence, Judgement
from pulumi_rollout.core.measures import Gate, Objective, Source, SuccessRate
from pulumi_rollout.core.plan import Limits, Plan, Step

RATE = Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="s")
SOURCES = {"s": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")}
BEGIN = 1000.0
# (requests, bad ones) since the last look
Requests = tuple[int, int]


def plan(*judging: Gate, warm_up: float = 0.0, **changes: Any) -> Plan:
    """A plan of two steps with these gates; without a warm-up, and for failures that come one by one, unless said."""
    limits = Limits(warm_up_seconds=warm_up, warm_up_step_seconds=0, **changes.pop("limits", {}))
    return Plan(
        steps=tuple(Step(weight_percent=weight, interval_seconds=5, max_wait_seconds=60) for weight in (10, 20)),
        gates=judging or (RATE,),
        sources=SOURCES,
        limits=limits,
        **{"failures": "independent", **changes},
    )


def sample(at: float | None = 100.0, /, **series: float) -> Sample:
    """Counters by name; a name that ends in _bad counts bad requests."""
    return Sample(series={name: (value, name.endswith("_bad")) for name, value in series.items()}, at=at)


class Watched:
    """One gate of a plan, the first one. What is said to have come since the last look is counted up.

    + weight_percent: the canary's; as everything of a Look it stays until something else is said
    """

    def __init__(self, plan: Plan, **look: Any) -> None:
        self.plan, self.gate, self.now = plan, plan.gates[0], BEGIN
        self.evidence: Evidence = gates.fresh(self.gate)
        self.known: dict[str, Any] = {"weight_percent": 50, **look}
        self.series: dict[str, dict[str, tuple[float, bool]]] = {"canary": {}, "stable": {}}
        self.pods: dict[str, str] = {}
        self.look(0)

    def look(
        self,
        seconds: float = 1.0,
        canary: Requests = (0, 0),
        stable: Requests = (0, 0),
        *,
        pods: dict[str, Requests] | None = None,
        **look: Any,
    ) -> Judgement:
        """Look once, `seconds` later, after these requests. + pods: the canary's by pod, instead of `canary`"""
        self.now += seconds
        for pod, requests in (pods or {"": canary}).items():
            self.serve("canary", pod, requests)
        self.serve("stable", "", stable)
        samples = {name: Sample(series=dict(series), at=self.now) for name, series in self.series.items()}
        canary_sample = samples["canary"].model_copy(update={"pods": dict(self.pods)})
        return self.read(Reading(canary=canary_sample, stable=samples["stable"]), **look)

    def read(self, reading: Reading | None, **look: Any) -> Judgement:
        """Look at this reading, at the present time."""
        self.known |= look
        seen = Look(now=self.now, **self.known)
        self.evidence = gates.look_at(self.plan, self.gate, self.evidence, reading, seen)
        return self.judgement

    def begins_step(self) -> None:
        self.evidence = gates.begin_step(self.gate, self.evidence)

    def explained(self, held: str = "42 s at 20 %", later: float = 1.2) -> str:
        return gates.explain(self.plan, self.gate, self.evidence, held, self.now + later)

    @property
    def judgement(self) -> Judgement:
        return self.evidence.judgement

    def serve(self, arm: str, pod: str, requests: Requests) -> None:
        """Count these, to be read at a later look."""
        for code, number in (("200", requests[0] - requests[1]), ("503", requests[1])):
            name = f"{arm} {pod} {code}"
            self.series[arm][name] = (self.series[arm].get(name, (0.0, False))[0] + number, code == "503")
            if pod:
                self.pods[name] = pod
