"""Gates with an objective: the share of bad requests stays at or under a limit.

Pure. Lives here: when tests for failing begin, which blocks of time there are, and what a gate says. PASS is one test
carried over all steps. Not here: what the tests for failing say together (`failing.py`), what follows where the old
version fails too (`outage.py`), or the formulas (`evidence.py`, `bursts.py`).
"""

from __future__ import annotations

from math import log
from typing import Literal

from pulumi_rollout.core.bursts import BLOCK_SECONDS, BURSTY_DISPERSION, Blocks, close, dispersion
from pulumi_rollout.core.counts import Arm, Look, all_of, newest
from pulumi_rollout.core.evidence import log_e_fail, log_e_pass, log_sprt, log_weight, most_log_e_fail
from pulumi_rollout.core.gates import outage
from pulumi_rollout.core.gates.failing import (
    OneTest,
    Start,
    Version,
    fails,
    kept,
    log_of_begun,
    log_of_warm_up,
    warm_up_limit,
)
from pulumi_rollout.core.gates.outage import Outage
from pulumi_rollout.core.gates.verdict import Judgement, Numbers, Verdict, age, beyond, percent, threshold, what_is_bad
from pulumi_rollout.core.measures import Objective
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Plan

# A test for failing begins with the walk, with each step, and when the last one is as old as this.
START_EVERY_SECONDS = 300.0
# Of those begun after the walk itself, so many are kept: more than a walk of an hour has.
MOST_STARTS = 32


class Memory(Frozen):
    """What is remembered beside the counts.

    + starts: of the tests for failing that began after the walk itself, oldest first
    + given_up: how many older ones are not kept any more
    + block_at: time of the newest number when the open block began
    + pods, earlier_pods: the canary's requests by pod when the open block began, and one block before
    + earlier_stable: all of stable's requests, and the bad ones, one block before
    + bursty: stable's failures were seen to come in bursts
    + log_e_fail, log_e_pass: ln of the evidence for failing and for passing at the last look, or a bound of it that
      decides the same
    + outage: what is known of an outage that both versions share
    """

    test: Literal["objective"] = "objective"
    starts: tuple[Start, ...] = ()
    given_up: int = 0
    block_at: float | None = None
    canary_blocks: Blocks = Blocks()
    stable_blocks: Blocks = Blocks()
    pods: dict[str, tuple[int, int]] = {}
    earlier_pods: dict[str, tuple[int, int]] = {}
    earlier_stable: tuple[int, int] = (0, 0)
    bursty: bool = False
    log_e_fail: float = 0.0
    log_e_pass: float = 0.0
    outage: Outage = Outage()

    @property
    def anew(self) -> bool:
        """Whether the numbers until now say nothing any more."""
        return self.outage.is_over

    def emptied(self) -> Memory:
        """For a version that is judged anew: that failures come in bursts stays known."""
        return Memory(bursty=self.bursty)


def update(plan: Plan, gate: Objective, memory: Memory, numbers: Numbers, look: Look) -> Memory:
    """The memory after a look with numbers."""
    memory = _with_blocks(gate, _with_history(gate, memory, numbers), numbers)
    if _is_start_due(memory, numbers):
        memory = step(memory, numbers)
    tests, bursty = kept(memory.starts, memory.given_up, numbers), is_bursty(plan, memory)
    failing, log_e = fails(plan, gate, _canary(memory, numbers, tests), bursty=bursty)
    following = outage.update(
        gate,
        memory.outage,
        numbers,
        look,
        failing=failing,
        shared=failing and _is_shared(plan, gate, memory, numbers, tests),
        doubtful=failing and _is_doubtful(gate, memory, numbers, tests, look),
    )
    passing = _log_passing(plan, gate, numbers.canary)
    return memory.model_copy(update={"log_e_fail": log_e, "log_e_pass": passing, "outage": following})


def step(memory: Memory, numbers: Numbers) -> Memory:
    """Begin one more test for failing at the present counts. Without a request since the last start it is the same
    test again. Beyond MOST_STARTS the oldest one is given up, but never that of the walk's begin, which finds what
    is only a little too bad."""
    canary, stable = numbers.canary, numbers.stable
    start = Start(
        total=canary.total,
        bad=canary.bad,
        stable_total=stable.total,
        stable_bad=stable.bad,
        warm_total=canary.warm_total,
        warm_bad=canary.warm_bad,
        stable_warm_total=stable.warm_total,
        stable_warm_bad=stable.warm_bad,
        at=newest(canary, stable),
    )
    last = memory.starts[-1] if memory.starts else None
    same = last is not None and (last.total, last.warm_total) == (canary.total, canary.warm_total)
    starts = (*(memory.starts[:-1] if same else memory.starts), start)
    surplus = max(0, len(starts) - MOST_STARTS)
    return memory.model_copy(update={"starts": starts[surplus:], "given_up": memory.given_up + surplus})


def judge(plan: Plan, gate: Objective, memory: Memory, numbers: Numbers) -> Judgement:
    """FAIL goes before PASS. With bursts nothing passes: that no long one is still to come could only be shown in
    hours."""
    said = outage.judge(plan, memory.outage, numbers)
    if said is None and memory.log_e_fail >= threshold(plan):
        said = {"verdict": Verdict.FAIL, "pod": _only_pod(plan, gate, memory, numbers.canary)}
    elif said is None and memory.log_e_pass >= log(1 / plan.beta) and not is_bursty(plan, memory):
        said = {"verdict": Verdict.PASS}
    return Judgement(log_e_fail=memory.log_e_fail, log_e_pass=memory.log_e_pass, **(said or {}))


def explain(plan: Plan, gate: Objective, memory: Memory, numbers: Numbers, held: str, now: float) -> str:
    """Counts are since the begin of the test that says the most, E is of all tests."""
    tests, bursty = kept(memory.starts, memory.given_up, numbers), is_bursty(plan, memory)
    shown = tests[:1] if bursty else tests
    canary, limit, during = _canary(memory, numbers, tests), gate.max_bad_ratio, ""
    if plan.limits.warms_up and not bursty and log_of_warm_up(gate, canary.warm) > log_of_begun(gate, canary.totals):
        limit, during = warm_up_limit(gate), " while it warms up"
        shown = [OneTest(one.order, *one[5:]) for one in tests]
    test = max(shown, key=lambda one: log_weight(one.order) + log_e_fail(one.total, one.bad, limit))
    how = f", as failures come in bursts: by blocks of {BLOCK_SECONDS:.0f} s" if bursty else ""
    failed = f"{what_is_bad(gate.metric)} ({percent(test.bad, test.total)}, limit {limit * 100:g} %{during})"
    of_stable = f"stable {percent(test.stable_bad, test.stable_total)} of {test.stable_total:,}"
    return (
        f"{_name(gate)}: {test.bad:,} of {'the last ' if test.order else ''}{test.total:,} "
        f"canary requests {failed}, "
        f"{beyond(plan, memory.log_e_fail, how)}, "
        f"{held}{age(numbers.canary, now)}; {of_stable}"
    )


def asks(gate: Objective) -> str:
    """What the gate wants, in words."""
    return f"at most {100 * gate.max_bad_ratio:g} % of requests {what_is_bad(gate.metric)}"


def counts(gate: Objective, memory: Memory, numbers: Numbers) -> str:
    """What has been seen, in words."""
    canary, stable = numbers.canary, numbers.stable
    warm = f", {canary.warm_bad:,} of {canary.warm_total:,} in the warm-up" if canary.warm_total else ""
    bursts = "; by blocks, as failures come in bursts" if memory.bursty else ""
    return (
        f"{canary.bad:,} of {canary.total:,} canary requests {what_is_bad(gate.metric)}{warm}; "
        f"stable {stable.bad:,} of {stable.total:,}{bursts}"
    )


def is_bursty(plan: Plan, memory: Memory) -> bool:
    """Whether failures are judged by blocks of time."""
    return plan.failures == "bursty" or (plan.failures == "auto" and memory.bursty)


def _name(gate: Objective) -> str:
    return gate.metric.title if gate.metric.name == "query" else gate.metric.name.replace("_", " ")


def _canary(memory: Memory, numbers: Numbers, tests: list[OneTest]) -> Version:
    totals = [(test.order, test.total, test.bad) for test in tests]
    warm = [(test.order, test.warm_total, test.warm_bad) for test in tests]
    return Version(totals, numbers.canary, memory.canary_blocks, warm)


def _stable(memory: Memory, numbers: Numbers, tests: list[OneTest]) -> Version:
    totals = [(test.order, test.stable_total, test.stable_bad) for test in tests]
    warm = [(test.order, test.stable_warm_total, test.stable_warm_bad) for test in tests]
    return Version(totals, numbers.stable, memory.stable_blocks, warm)


def _is_shared(plan: Plan, gate: Objective, memory: Memory, numbers: Numbers, tests: list[OneTest]) -> bool:
    """Whether the old version fails the same tests, or one that began with the canary's failure: a failure then says
    nothing about the new one."""
    (total, bad), (before_total, before_bad) = all_of(numbers.stable), memory.outage.before
    if log_e_fail(total - before_total, bad - before_bad, gate.max_bad_ratio) >= threshold(plan):
        return True
    return fails(plan, gate, _stable(memory, numbers, tests), bursty=is_bursty(plan, memory))[0]


def _is_doubtful(gate: Objective, memory: Memory, numbers: Numbers, tests: list[OneTest], look: Look) -> bool:
    """Whether stable has more bad requests than it may: by any of the tests, or lately, as it may have begun to fail
    behind a long healthy past, or since the canary does, as it may have had a larger part of the requests before. Or
    whether it has not been heard of since the canary's first request, and will be."""
    total, bad = all_of(numbers.stable)
    if total == 0 and look.weight_percent < 100 and any(numbers.stable.counters.values()):
        return True
    since = [(test.stable_total, test.stable_bad) for test in tests]
    for before_total, before_bad in (memory.earlier_stable, memory.outage.before):
        since.append((total - before_total, bad - before_bad))
    return any(bad > gate.max_bad_ratio * total for total, bad in since)


def _log_passing(plan: Plan, gate: Objective, canary: Arm) -> float:
    """ln of the evidence for passing, or a bound of it on the same side of what suffices. The upper one is less than 1
    too much where the prior's updated mean is below the limit."""
    most, enough = most_log_e_fail(canary.total, canary.total - canary.bad, 1 - gate.max_bad_ratio), log(1 / plan.beta)
    if most < enough:
        return most
    if most - 1 >= enough and canary.bad + 1 <= gate.max_bad_ratio * (canary.total + 2):
        return most - 1
    return log_e_pass(canary.total, canary.bad, gate.max_bad_ratio)


def _with_history(gate: Objective, memory: Memory, numbers: Numbers) -> Memory:
    """Whether stable's failures came in bursts before the walk."""
    if not numbers.history:
        return memory
    blocks, total, bad = Blocks(), 0, 0
    for requests, failures in numbers.history:
        total, bad = total + requests, bad + failures
        blocks = close(blocks, total, bad, gate.max_bad_ratio)
    return memory.model_copy(update={"bursty": True}) if dispersion(blocks) >= BURSTY_DISPERSION else memory


def _with_blocks(gate: Objective, memory: Memory, numbers: Numbers) -> Memory:
    """Blocks of time that are over are closed, both versions' at once."""
    now, begun = newest(numbers.canary, numbers.stable), memory.block_at
    if now is None or (begun is not None and now - begun < BLOCK_SECONDS):
        return memory
    if begun is None:
        return memory.model_copy(update={"block_at": now})
    stable_blocks = close(memory.stable_blocks, *all_of(numbers.stable), gate.max_bad_ratio)
    update = {
        "block_at": now,
        "canary_blocks": close(memory.canary_blocks, numbers.canary.total, numbers.canary.bad, gate.max_bad_ratio),
        "stable_blocks": stable_blocks,
        "pods": numbers.canary.pods,
        "earlier_pods": memory.pods,
        "earlier_stable": (memory.stable_blocks.total, memory.stable_blocks.bad),
        # What both versions share is an outage, and no habit of the old one.
        "bursty": memory.bursty or (memory.outage.since is None and dispersion(stable_blocks) >= BURSTY_DISPERSION),
    }
    return memory.model_copy(update=update)


def _is_start_due(memory: Memory, numbers: Numbers) -> bool:
    """Looks at times and at the number of requests alone, never at what came of them."""
    last, now = memory.starts[-1] if memory.starts else None, newest(numbers.canary, numbers.stable)
    if last is None or last.at is None or now is None:
        return False
    return now - last.at >= START_EVERY_SECONDS and numbers.canary.total > last.total


def _only_pod(plan: Plan, gate: Objective, memory: Memory, canary: Arm) -> str | None:
    """The pod that fails while all the others together do not, where there are several. That they do not has to be
    seen: of few requests, those of a version that fails as a whole may all be good too, and where it breaks late,
    pods that were there before have many good ones behind them."""
    e_values = {pod: log_e_fail(total, bad, gate.max_bad_ratio) for pod, (total, bad) in canary.pods.items()}
    worst = max(e_values, key=lambda pod: e_values[pod], default=None)
    if worst is None or e_values[worst] < threshold(plan):
        return None
    total, bad = _others(canary.pods, worst)
    before_total, before_bad = _others(memory.earlier_pods, worst)
    if bad > gate.max_bad_ratio * total or bad - before_bad > gate.max_bad_ratio * (total - before_total):
        return None
    as_bad = (gate.max_bad_ratio + canary.pods[worst][1] / canary.pods[worst][0]) / 2
    return worst if log_sprt(total, bad, gate.max_bad_ratio, as_bad) <= log(plan.beta) else None


def _others(pods: dict[str, tuple[int, int]], but: str) -> tuple[int, int]:
    """Requests, and bad ones, of all pods but one."""
    others = [counts for pod, counts in pods.items() if pod != but]
    return sum(total for total, _ in others), sum(bad for _, bad in others)
