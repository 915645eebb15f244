"""What is released in the benchmark of the gates: versions that are fine and versions that are not, and their luck.

Data. Not here: how it is run (`gates.py`), or what must come of it (`promises.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pulumi_rollout.core.measures import Baseline, Gate, Latency, Metric, Objective, Query, Source, SuccessRate
from pulumi_rollout.core.plan import Plan, Step
from pulumi_rollout.simulate.scenario import Bursts, Change, Course, Scenario, Scrapes, Span

# Requests a second that the new version gets at the first weight.
RATES = (0.05, 0.3, 2.0, 10.0, 50.0, 500.0)
WEIGHTS = (10, 20, 30, 40, 50)
LIMIT = 0.01
ERRORS = SuccessRate()

Mode = Literal["required", "sufficient"]
Failures = Literal["auto", "independent", "bursty"]


@dataclass(frozen=True)
class Case:
    """One scenario.

    + good: the version meets its objectives, so that to put it back is a false abort; else to promote it is a miss
    + happens: at one request a second
    + metric: what is bad; gates: how many objective gates there are, each in its own sense of bad
    + compares: there is a gate beside that compares with the old version
    + failures: of the policy
    + direct: numbers are read from the proxies once a second, which no peer does
    + twins: cases of good versions whose false aborts are the price of finding this one
    """

    name: str
    good: bool
    happens: Scenario
    metric: Metric = ERRORS
    gates: int = 1
    compares: bool = False
    failures: Failures = "auto"
    direct: bool = False
    twins: tuple[str, ...] = ()

    def scenario(self, rate: float) -> Scenario:
        """At so many requests a second of the new version, at the first weight."""
        return replace(self.happens, rate=rate * 100 / WEIGHTS[0])

    def plan(self, mode: Mode, alpha: float) -> Plan:
        """The policy: the default one, but for what the case is about."""
        senses = [self.metric, *(Query(title=f"sense {n}", bad="b", total="t") for n in range(2, self.gates + 1))]
        gates: list[Gate] = [
            Objective(id=f"objective-{n}", source="s", metric=sense, max_bad_ratio=LIMIT)
            for n, sense in enumerate(senses, 1)
        ]
        if self.compares:
            gates.append(Baseline(id="baseline", source="s", metric=self.metric))
        return Plan(
            steps=tuple(Step(weight_percent=w, interval_seconds=30, max_wait_seconds=600) for w in WEIGHTS),
            gates=tuple(gates),
            sources={"s": Source(kind="prometheus", proxy="contour", address="http://prometheus:9090")},
            alpha=alpha,
            evidence=mode,
            failures=self.failures,
        )


def steady(canary: float, stable: float = 0.001) -> Scenario:
    """Nothing changes."""
    return Scenario(rate=1, canary=Course(canary), stable=Course(stable))


# Away for 2 s every 7 minutes, on average: about 0.5 % of all requests.
DIRECT = Scrapes(every_seconds=1, lag_seconds=0.1)
BURSTS = Bursts(every_seconds=400, seconds=2, shared=False)
OUTAGE = Change(0.3, seconds=60, weight_percent=1), Change(0.001, seconds=120, weight_percent=1)
WORSE = (Change(0.008, seconds=45, weight_percent=1),)
ROUGH_START = Course(0.05, (Change(0.001, seconds=45, weight_percent=1),))
BEFORE = ("healthy-0.1", "healthy-0.5")

CASES = (
    Case("healthy-0.1", True, steady(0.001)),
    Case("healthy-0.5", True, steady(0.005)),
    Case("at-limit", True, steady(0.01)),
    Case("bad-2", False, steady(0.02), twins=BEFORE),
    Case("bad-5", False, steady(0.05), twins=BEFORE),
    Case("bad-30", False, steady(0.3), twins=BEFORE),
    Case("bad-100", False, steady(1.0), twins=BEFORE),
    Case(
        "last-step",
        False,
        Scenario(rate=1, canary=Course(0.001, (Change(0.05, weight_percent=WEIGHTS[-1]),)), stable=Course(0.001)),
        twins=BEFORE,
    ),
    Case("bad-5-direct", False, replace(steady(0.05), scrapes=DIRECT), direct=True, twins=BEFORE),
    Case("bad-100-direct", False, replace(steady(1.0), scrapes=DIRECT), direct=True, twins=BEFORE),
    Case("like-stable", True, steady(0.005, 0.005), compares=True),
    Case("regression", False, steady(0.009, 0.0001), compares=True, twins=("like-stable",)),
    Case("bursts", True, replace(steady(0.0, 0.0), bursts=BURSTS), failures="bursty"),
    Case("bursts-auto", True, replace(steady(0.0, 0.0), bursts=BURSTS)),
    Case("bursts-bad-5", False, replace(steady(0.05, 0.0), bursts=BURSTS), failures="bursty", twins=("bursts",)),
    Case(
        "warm-up",
        True,
        Scenario(rate=1, canary=ROUGH_START, stable=Course(0.001)),
        metric=Latency(bound_seconds=0.5),
    ),
    Case("shared-outage", True, Scenario(rate=1, canary=Course(0.001, OUTAGE), stable=Course(0.001, OUTAGE))),
    Case(
        "unaligned-15s",
        True,
        Scenario(
            rate=1,
            canary=Course(0.001, WORSE),
            stable=Course(0.001, WORSE),
            scrapes=Scrapes(every_seconds=15, stable_offset_seconds=7),
        ),
        compares=True,
    ),
    Case(
        "unaligned-15s-regression",
        False,
        replace(steady(0.009, 0.0001), scrapes=Scrapes(every_seconds=15, stable_offset_seconds=7)),
        compares=True,
        twins=("unaligned-15s",),
    ),
    Case("counter-reset", True, replace(steady(0.005), resets=(70.0,))),
    Case("gap-30s", True, replace(steady(0.005), gap=Span(40, 30))),
    Case("gap-30s-bad-5", False, replace(steady(0.05), gap=Span(10, 30)), twins=("gap-30s",)),
    Case("3-gates", True, steady(0.01), gates=3),
    Case("6-gates", True, steady(0.01), gates=6),
    Case("6-gates-bad-5", False, replace(steady(0.005), gates={"errors": (Course(0.05), Course(0.001))}), gates=6,
         twins=("6-gates",)),
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES}
