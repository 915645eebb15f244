"""The laws of a walk (docs/states.md), each a function from a history to what breaks it.

Lives here: what must hold whether or not people intervene, said without the machine's own helpers where
that is possible, so that a mistake in these is seen. Not here: what gates are for (`laws_of_gates.py`), what people
may expect (`laws_of_people.py`), what a cut may change (`laws_of_cuts.py`), the histories (`world.py`), or the
mutants (`mutants.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import ceil, inf

from pulumi_rollout.core import machine
from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, TRANSITIONS, Phase, Restore, Scale, Seen, SetWeight, State
from tests.core.scripts import NEW, OLD
from tests.core.world import MOST_LOOKS, History, Moment, walked_seconds

FORWARD = (Phase.PREPARING, Phase.SHIFTING, Phase.PROMOTING)
# The most that passes between two looks of the simulated world.
LOOK_SECONDS = 1.8
# The way back is Home, Leave, Drain, ScaleDown.
DRAINED = 3


def weights_are_percent(history: History) -> Iterator[str]:
    """Weights are whole and within 0..100; the apex has the rest, so that the sum is 100."""
    for event in history.events:
        if isinstance(event.action, SetWeight) and not 0 <= event.action.percent <= 100:
            yield f"weight {event.action.percent}"


def no_rise_without_pods(history: History) -> Iterator[str]:
    """No weight is raised to a revision without enough ready pods for it (trap 6)."""
    for moment, percent in rises(history):
        stable = moment.seen.stable_replicas
        need = max(1, min(2, stable), ceil(percent * stable / 100))
        if moment.seen.canary_ready < need:
            yield f"{percent} % for {moment.seen.canary_ready} pods, {stable} of stable"


def promoted_with_full_capacity(history: History) -> Iterator[str]:
    """All traffic, and the apex, go to the new revision only when that has stable's full count of ready pods."""
    for before, moment in pairwise(history.moments):
        after = moment.decision.state
        goes_over = after.phase is Phase.PROMOTING and after.weight_percent == 100 and after.move > _promoting(history)
        ready = moment.seen.canary_ready - moment.seen.stable_replicas
        if goes_over and before.decision.state.move <= _promoting(history) and ready < 0:
            yield f"{-ready} pods are missing"


def turns_back_at_once(history: History) -> Iterator[str]:
    """A stop, a failing gate, or a canary that serves without a ready pod turns the walk back at that look.
    Under `freeze`, a gate that fails while steps are walked holds the weight instead."""
    plan = history.script.plan
    for moment in history.moments:
        before, after = moment.before, moment.decision.state
        if before.phase not in (*FORWARD, Phase.PAUSED):
            continue
        dead = before.weight_percent > 0 and moment.seen.canary_ready == 0 and not moment.accepted("set-weight")
        must_turn = bool(moment.seen.stop) or dead
        if failing(plan, after) and not must_turn:
            freezes = plan.on_failure == "freeze" and moment.seen.canary_ready and before.phase is not Phase.PROMOTING
            must_turn = not (freezes and after.phase is Phase.PAUSED and after.frozen)
        if must_turn and after.phase is not Phase.REVERTING:
            yield f"{moment.seen.stop}, {moment.seen.canary_ready} pods, and still {after.phase}"


def deadlines_fire(history: History) -> Iterator[str]:
    """No move, and no walk, lasts longer than its setting allows, pauses left out; every walk ends.
    What was frozen has its time anew. A gate that holds the weight has time of its own."""
    limits, plan = history.script.plan.limits, history.script.plan
    longest = max([step.max_wait_seconds for step in history.script.plan.steps] + [limits.preparing_seconds])
    longest = max(longest, limits.propagation_seconds + max(limits.settle_seconds, limits.drain_seconds))
    if any(saying(Verdict.HOLD, plan, moment.decision.state) for moment in history.moments):
        longest += max(limits.outage_seconds, limits.no_data_revert_seconds)
    entered: tuple[float, Phase, int] | None = None
    begun = 0.0
    for moment, now in walked_seconds(history):
        after = moment.decision.state
        if moment.before.frozen and not after.frozen:
            begun, entered = now, None
        if after.phase is Phase.PAUSED:
            entered = None if moment.accepted("set-weight") else entered
            continue
        if entered is None or entered[1:] != (after.phase, after.move):
            entered = now, after.phase, after.move
        if now - entered[0] > longest + LOOK_SECONDS:
            yield f"{now - entered[0]:.0f} s at move {after.move} of {after.phase}"
        late = now - begun > limits.rollout_seconds + LOOK_SECONDS
        if late and after.phase in (Phase.PREPARING, Phase.SHIFTING):
            yield f"{now - begun:.0f} s of {limits.rollout_seconds:.0f} s, and still {after.phase}"
    if history.end.phase not in FINAL:
        yield f"no end after {MOST_LOOKS} looks"


def failure_ends_on_the_old(history: History) -> Iterator[str]:
    """Every breach, stop or timeout ends with 100 % on the old revision: in the route, in the apex,
    and in the data plane where the proxy has said so. The canary then has no pods."""
    end, world = history.end, history.world
    if end.phase is not Phase.FAILED or history.script.kind == "first":
        if end.phase is Phase.FAILED and world.wanted:
            yield f"{world.wanted} pods left of a first release"
        return
    if world.weight or world.apex != OLD:
        yield f"the route has {world.weight} %, the apex {world.apex}"
    if end.confirmed and (world.weight is not None or world.canary_share() or world.wanted):
        yield f"confirmed with {world.canary_share()} % on {world.wanted} pods, listed {world.weight}"
    if not end.confirmed and history.script.kind != "stuck":
        yield f"not confirmed, though the proxy works: {end.reason}"


def success_ends_on_the_new(history: History) -> Iterator[str]:
    """A walk that was won ends with the apex on the new revision, the route as before, full capacity."""
    world = history.world
    if history.end.phase is Phase.SUCCEEDED:
        if history.script.kind != "first" and (world.apex != NEW or world.weight is not None):
            yield f"the apex is on {world.apex}, the route lists {world.weight}"
        if world.wanted < history.script.replicas:
            yield f"{world.wanted} of {history.script.replicas} pods"


def only_listed_transitions(history: History) -> Iterator[str]:
    """A phase follows another only where TRANSITIONS says so."""
    for moment in history.moments:
        before, after = moment.before.phase, moment.decision.state.phase
        if after is not before and after not in TRANSITIONS[before]:
            yield f"{before} -> {after}"


def final_is_final(history: History) -> Iterator[str]:
    """A final phase is never left, whatever is seen, and does nothing."""
    seen = history.moments[-1].seen
    for other in (seen, Seen(now=seen.now + 1e6), seen.model_copy(update={"stop": "stop", "weight_percent": 50})):
        decision = machine.decide(history.script.plan, history.end, other)
        if decision.state != history.end or decision.actions:
            yield f"{history.end.phase} -> {decision.state.phase} {decision.actions}"


def same_inputs_same_decision(history: History) -> Iterator[str]:
    """The same plan, state and sight give the same decision, and leave their inputs alone."""
    for moment in history.moments[::4]:
        inputs = moment.before.model_dump_json() + moment.seen.model_dump_json()
        again = machine.decide(history.script.plan, moment.before, moment.seen)
        if again != moment.decision:
            yield f"{moment.decision} and then {again}"
        if moment.before.model_dump_json() + moment.seen.model_dump_json() != inputs:
            yield "an input was changed"


def no_rise_while_a_gate_fails_or_holds(history: History) -> Iterator[str]:
    """The weight never rises while a gate fails, or while one holds it."""
    plan = history.script.plan
    for moment, percent in rises(history):
        for verdict in (Verdict.FAIL, Verdict.HOLD):
            if found := saying(verdict, plan, moment.decision.state):
                yield f"{percent} %, and {found} say {verdict}"


def traffic_before_pods(history: History) -> Iterator[str]:
    """The way back is first the weights, then the drain time, then the scale-down."""
    home_since: float | None = None
    for moment in history.moments:
        seen = moment.seen
        home = not seen.weight_percent and seen.apex_revision == OLD
        # What somebody else does after the drain time is undone, but not drained again.
        drained = moment.before.phase is Phase.REVERTING and moment.before.move == DRAINED
        if not drained:
            home_since = (seen.now if home_since is None else home_since) if home else None
        if history.script.kind == "first" or Scale(replicas=0) not in moment.decision.actions:
            continue
        if home_since is None or seen.now - home_since < history.script.plan.limits.drain_seconds:
            yield f"scaled to 0 at {seen.now:.1f}, traffic back since {home_since}"


def never_without_pods_while_listed(history: History) -> Iterator[str]:
    """The canary is never scaled to 0 while it is listed with weight, or while the apex selects it."""
    for event in history.events:
        if event.action == Scale(replicas=0) and (event.weight or event.apex == NEW):
            yield f"scaled to 0 at weight {event.weight}, apex on {event.apex}"


def enters_and_leaves_at_zero(history: History) -> Iterator[str]:
    """A backend enters and leaves a route at weight 0, and stays there for the settling time (trap 22).
    A write that arrives after that is undone at once, as an edit is that gives it traffic."""
    settle = history.script.plan.limits.settle_seconds
    zero_since: float | None = None
    weighted_at = -inf
    entered = False
    for moment in history.moments:
        entered = moment.seen.weight_percent is not None and (entered or moment.seen.weight_percent > 0)
        if moment.seen.weight_percent and not _leaving(history, moment.before):
            weighted_at = moment.seen.now
        zero = moment.seen.weight_percent == 0 and moment.seen.route_problem is None
        zero_since = (moment.seen.now if zero_since is None else zero_since) if zero else None
        rises = any(isinstance(action, SetWeight) and action.percent for action in moment.decision.actions)
        enters = rises and not entered
        leaves = Restore() in moment.decision.actions
        early = enters and (zero_since is None or moment.seen.now - zero_since < settle)
        early = early or (leaves and moment.seen.now - weighted_at < settle)
        if early and (history.script.edit is None or history.script.edit == Restore()):
            yield f"{moment.decision.actions} at weight {moment.seen.weight_percent}, 0 since {zero_since}"
    for event in history.events:
        at_once = isinstance(event.action, SetWeight) and event.weight is None and event.action.percent
        if at_once or (isinstance(event.action, Restore) and event.weight):
            yield f"{event.action} at weight {event.weight}"


def weight_follows_the_plan(history: History) -> Iterator[str]:
    """Weights come in the plan's order, none is left out, and each is held for its interval, pauses left
    out; unless somebody has set another weight, or has skipped steps."""
    if any(moment.accepted("set-weight", "promote-full") for moment in history.moments):
        return
    raised = {0: 0.0}
    for moment, now in walked_seconds(history):
        if moment.decision.state.phase in FORWARD:
            raised.setdefault(moment.decision.state.weight_percent, now)
    steps = history.script.plan.steps
    planned = [0, *dict.fromkeys([*(step.weight_percent for step in steps), 100])]
    if list(raised) != planned[: len(raised)]:
        yield f"{list(raised)} instead of {planned}"
    if any(moment.accepted("promote") for moment in history.moments):
        return
    for step, (begun, ended) in zip(steps, pairwise(list(raised.values())[1:]), strict=False):
        if ended - begun < step.interval_seconds:
            yield f"{step.weight_percent} % for {ended - begun:.1f} of {step.interval_seconds:.1f} s"


def nothing_stays_pinned(history: History) -> Iterator[str]:
    """A walk that ends, and is confirmed, gives the autoscalers their minimum again."""
    if history.end.confirmed and history.world.pinned:
        yield "stable is still pinned"


def rises(history: History) -> Iterator[tuple[Moment, int]]:
    """Every moment at which the route was told to give the canary more than was seen, and how much."""
    for moment in history.moments:
        for action in moment.decision.actions:
            if isinstance(action, SetWeight) and action.percent > (moment.seen.weight_percent or 0):
                yield moment, action.percent


def _promoting(history: History) -> int:
    """The position of the first move after the steps, of which each has three, and two are before them."""
    return 2 + 3 * len(history.script.plan.steps)


def _leaving(history: History, state: State) -> bool:
    """Whether the time at weight 0 is over: after Home, the first move back, and the fourth of promoting."""
    home = {Phase.REVERTING: 0, Phase.PROMOTING: _promoting(history) + 3}
    return state.phase in home and state.move > home[state.phase]


def saying(verdict: Verdict, plan: Plan, state: State) -> list[str]:
    """The gates that say so; what dry runs say is for nothing."""
    known = [(gate, state.evidence.get(gate.id)) for gate in plan.gates if not gate.dry_run]
    return [gate.id for gate, evidence in known if evidence is not None and evidence.judgement.verdict is verdict]


def failing(plan: Plan, state: State) -> bool:
    """Whether a gate fails."""
    return bool(saying(Verdict.FAIL, plan, state))


Law = Callable[[History], Iterator[str]]

LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        weights_are_percent,
        no_rise_without_pods,
        promoted_with_full_capacity,
        turns_back_at_once,
        deadlines_fire,
        failure_ends_on_the_old,
        success_ends_on_the_new,
        only_listed_transitions,
        final_is_final,
        same_inputs_same_decision,
        no_rise_while_a_gate_fails_or_holds,
        traffic_before_pods,
        never_without_pods_while_listed,
        enters_and_leaves_at_zero,
        weight_follows_the_plan,
        nothing_stays_pinned,
    )
}
