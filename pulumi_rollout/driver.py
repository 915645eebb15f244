"""The loop: observe -> decide -> save -> perform -> wait.

Lives here: the order of things, and patience with a cluster that does not answer. Not here: what
is decided (`core/machine.py`), seen (`observe.py`) or done (`perform.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.machine import decide, waiting_for
from pulumi_rollout.core.moves import step_number
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, Decision, Phase, Seen, State
from pulumi_rollout.engine import Engine
from pulumi_rollout.errors import ClusterError
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.journal import Journal
from pulumi_rollout.observe import Observer
from pulumi_rollout.perform import Performer

T = TypeVar("T")

# A cluster that is silent for so long ends the run; the journal says where to go on.
PATIENCE_SECONDS, PATIENCE_WHEN_STOPPED_SECONDS = 300.0, 5.0
# Evidence can be counted again from the counters, so it is not saved at every look.
SAVE_EVERY_SECONDS = 5.0
# A look or a save that takes longer met a silent cluster: what was seen before it is looked at again
# before anything is done, and its time counts against no deadline.
STALE_SECONDS = 5.0
# Answers of 400 and above that say "not now" rather than "no": timeout, conflict, too many requests.
NOT_NOW = (408, 409, 429)


class Walk:
    """One run of one walk. `run` returns the final state, which the journal then has too."""

    def __init__(self, inputs: Inputs, cluster: Cluster, journal: Journal, engine: Engine) -> None:
        self._inputs, self._journal, self._engine = inputs, journal, engine
        self.observer = Observer(inputs, cluster, Http())
        self._performer = Performer(inputs, cluster, self.observer)
        self._stop: str | None = None
        self._trouble: str | None = None
        self._saved_at = 0.0

    def begin(self, stable: str | None) -> State:
        """The first state of a new walk."""
        now = self._engine.now()
        return State(
            revision=self._inputs.revision.hash,
            stable=stable,
            started_at=now,
            phase_at=now,
            move_at=now,
            original="[]" if stable is None else self.observer.original(),
        )

    def settle(self) -> None:
        """Without a walk: the declared number of replicas for the revision that serves, and no pin."""
        self._performer.settle(self._inputs.revision.hash)

    def run(self, plan: Plan, state: State, stop: str | None = None) -> State:
        """Walk to the end. `stop` reverts at once, with that reason. Raises ClusterError when the
        cluster stays silent, JournalError when another run has taken over."""
        self._stop = stop
        while state.phase not in FINAL:
            asked = self._engine.now()
            seen = self._patiently(partial(self._look, plan, state), state)
            if seen.now - asked > STALE_SECONDS:
                state = later(state, seen.now - asked)
            decision = decide(plan, state, seen)
            self._patiently(partial(self._save, plan, state, decision, seen), state)
            self._tell(plan, state, decision.state, seen)
            state = decision.state
            if state.phase in FINAL:
                self._finish(decision)
            elif state.phase is Phase.REVERTING or self._engine.now() - seen.now <= STALE_SECONDS:
                # The way back never waits for a fresher look: it only takes traffic away.
                self._perform(decision)
            else:
                self._engine.say("the cluster answers too slowly to act on what was seen; looking again")
            self._engine.wait(decision.wait_seconds)
        return state

    def _look(self, plan: Plan, state: State) -> Seen:
        reason = self._stop or self._engine.stop_reason() or self._trouble
        return self.observer.look(plan, state, self._engine.now(), reason)

    def _save(self, plan: Plan, before: State, decision: Decision, seen: Seen) -> None:
        """Before anything is done about it: actions, moves and ends at once, evidence now and then."""
        state = decision.state
        if state.phase in FINAL:
            self._journal.end(plan, state, seen.now, judged=state.judged, retry=self._inputs.retry)
            return
        moved = (state.phase, state.move) != (before.phase, before.move)
        if moved or decision.actions or seen.now - self._saved_at > SAVE_EVERY_SECONDS:
            self._journal.save(plan, state, seen.now, retry=self._inputs.retry)
            self._saved_at = seen.now

    def _perform(self, decision: Decision) -> None:
        """Do it. What fails is seen to be undone at the next look and done again; a refusal turns
        the walk back."""
        for action in decision.actions:
            try:
                self._performer.perform(action, decision.state)
            except ClusterError as error:
                if _refused(error):
                    self._trouble = str(error)

    def _finish(self, decision: Decision) -> None:
        """What follows the end. Nobody looks again, so a walk that was won is not reported as done
        before it is; a walk that was lost is reported with its verdict all the same."""
        for action in decision.actions:
            try:
                self._patiently(partial(self._performer.perform, action, decision.state), decision.state)
            except ClusterError as error:
                if decision.state.phase is Phase.SUCCEEDED:
                    raise
                self._engine.warn(f"{error}; the next rollout does what is left")

    def _patiently(self, call: Callable[[], T], state: State) -> T:
        """Call until it works, for as long as patience lasts."""
        begun = self._engine.now()
        while True:
            try:
                return call()
            except ClusterError as error:
                stopped = self._engine.stop_reason() is not None
                patience = PATIENCE_WHEN_STOPPED_SECONDS if stopped else PATIENCE_SECONDS
                if self._engine.now() - begun > patience or _refused(error):
                    raise ClusterError(f"{error}; {_left_at(state)}", error.status) from error
                self._engine.say(f"{error}; trying again")
                self._engine.wait(1)

    def _tell(self, plan: Plan, before: State, after: State, seen: Seen) -> None:
        """Progress on the rollout's own row; what changed stays in the summary."""
        name = self._inputs.name_of(after.revision)
        step = step_number(plan, after)
        if after.phase is Phase.REVERTING and before.phase is not Phase.REVERTING:
            self._engine.say(f"reverting: {after.reason}", keep=True)
        elif after.weight_percent != before.weight_percent and step is not None:
            numbers = f"step {step + 1} of {len(plan.steps)}"
            self._engine.say(f"advance {name} to weight {after.weight_percent} ({numbers})", keep=True)
        elif after.phase is not before.phase:
            self._engine.say(f"{after.phase} {name}", keep=True)
        elif after.move == before.move:
            counted = [f"{gate.id.replace('_', ' ')} {100 - _percent_bad(after, gate.id):.2f} %" for gate in plan.gates]
            where = f"{after.phase}, weight {after.weight_percent} %"
            waiting = waiting_for(plan, after, seen)
            self._engine.say("; ".join([where, *(counted if after.weight_percent else []), waiting]))


def later(state: State, gap_seconds: float) -> State:
    """A state with time that nobody watched taken out of its clocks; what had to hold begins anew."""
    clocks = {name: getattr(state, name) + gap_seconds for name in ("started_at", "phase_at", "move_at")}
    return state.model_copy(update={**clocks, "met_at": None})


def _refused(error: ClusterError) -> bool:
    return 400 <= error.status < 500 and error.status not in NOT_NOW


def _left_at(state: State) -> str:
    if state.phase is Phase.SUCCEEDED:
        return "the new version serves: `pulumi up` does what is left"
    return (
        f"the rollout stands at {state.phase}, weight {state.weight_percent} %: `pulumi up` goes on from there, "
        "or puts the old version back if it is the old code"
    )


def _percent_bad(state: State, gate: str) -> float:
    canary = state.evidence[gate].canary
    return 100 * canary.bad / canary.total if canary.total else 0.0
