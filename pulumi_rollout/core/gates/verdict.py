"""What gates say, and what they say it of: Verdict, Judgement, Numbers; and figures in words.

Pure. Lives here: what the kinds of tests share. Not here: any test.
"""

from __future__ import annotations

from enum import StrEnum
from math import exp, log

from pulumi_rollout.core.counts import Arm
from pulumi_rollout.core.measures import Metric
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan


class Verdict(StrEnum):
    """What a gate says now. HOLD: nothing about the revision, but the weight may not rise."""

    PASS = "pass"
    FAIL = "fail"
    HOLD = "hold"
    UNDECIDED = "undecided"


class Judgement(Frozen):
    """A verdict and its numbers.

    + log_e_fail, log_e_pass: natural logs of the evidence for failing and for passing; an objective's may be bounds
      that decide the same: upper ones that do not suffice, and for passing a lower one that does
    + step_total: canary requests since the current step began, without those of the warm-up
    + judged: a failure speaks against the revision
    + reason: why it holds, or fails without speaking against the revision; else the test explains itself
    + pod: the only one of several that fails, so that it may be the pod and not the version
    """

    verdict: Verdict = Verdict.UNDECIDED
    log_e_fail: float = 0.0
    log_e_pass: float = 0.0
    step_total: int = 0
    judged: bool = True
    reason: str | None = None
    pod: str | None = None


class Numbers(Frozen):
    """What a gate has been told: both versions' counts, and for some gates what has happened and what was before."""

    canary: Arm = Arm()
    stable: Arm = Arm()
    events: dict[str, tuple[float, str]] = {}
    history: tuple[tuple[int, int], ...] = ()


def threshold(plan: Plan) -> float:
    """ln of the evidence at which one gate fails: 1 / its share of alpha."""
    return log(1 / plan.gate_alpha)


def percent(part: int, whole: int) -> str:
    """A share in words."""
    return f"{100 * part / whole:.2f} %" if whole else "0 %"


def figure(log_value: float) -> str:
    """An e-value for reading: plain up to a million, then its power of ten."""
    return f"{exp(log_value):,.0f}" if log_value < log(1e6) else f"1e{log_value / log(10):.0f}"


def beyond(plan: Plan, log_e: float, how: str = "") -> str:
    """The evidence and the limit that it has passed, as every verdict shows them."""
    number = len(plan.judging)
    gates = f"{number} gate{'s' if number > 1 else ''}"
    return f"E = {figure(log_e)} >= {1 / plan.gate_alpha:,.0f} (alpha {plan.alpha:g} over {gates}{how})"


def age(canary: Arm, now: float) -> str:
    """How old the newest number is."""
    return f", data {max(0.0, now - canary.at):.1f} s old" if canary.at is not None else ""


def what_is_bad(metric: Metric) -> str:
    """What a request did that counts as bad."""
    if metric.name == "latency":
        return f"took longer than {metric.bound_seconds * 1000:g} ms"
    return "failed" if metric.name == "success_rate" else "were bad"
