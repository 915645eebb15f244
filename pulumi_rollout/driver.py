"""The loop: observe -> decide -> save -> perform -> wait.

Lives here: the order of things, and patience with a cluster that does not answer. Not here: what
is decided (`core/machine.py`), seen (`observe.py`) or done (`perform.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pulumi_rollout import expiry, origin
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.control import Control
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, Command, Decision, Phase, Seen, State, later
from pulumi_rollout.engine import Engine
from pulumi_rollout.errors import ClusterError, Fenced, JournalError
from pulumi_rollout.events import Recorder
from pulumi_rollout.expiry import Expiry
from pulumi_rollout.guard import Guard
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import ADOPTED, ClusterRef, Inputs
from pulumi_rollout.journal import Journal, Record
from pulumi_rollout.lock import HEARTBEAT_SECONDS, Lock
from pulumi_rollout.observe import Observer
from pulumi_rollout.perform import Performer
from pulumi_rollout.tell import Event, event, line

T = TypeVar("T")

# A cluster that is silent for so long ends the run; the journal says where to go on.
PATIENCE_SECONDS, PATIENCE_WHEN_STOPPED_SECONDS = 300.0, 5.0
# Evidence can be counted again from the counters, so it is not saved at every look.
SAVE_EVERY_SECONDS = 5.0
# How often it is looked for what operators ask.
LISTEN_SECONDS = 1.0
# A look or a save that takes longer met a silent cluster: what was seen before it is looked at again
# before anything is done, and its time counts against no deadline.
STALE_SECONDS = 5.0
# Answers of 400 and above that say "not now" rather than "no": timeout, conflict, too many requests.
NOT_NOW = (408, 409, 429)


class Walk:
    """One run of one walk. `run` returns the last state, which the journal then has too.

    + lock: taken by the caller; its heartbeat is the walk's
    + expiries: when what the walk needs comes to an end, such as a token
    """

    def __init__(
        self,
        inputs: Inputs,
        cluster: Cluster,
        journal: Journal,
        lock: Lock,
        engine: Engine,
        expiries: Sequence[Expiry] = (),
    ) -> None:
        self._inputs, self._cluster, self._journal, self._engine = inputs, cluster, journal, engine
        self._lock, self._expiries = lock, expiries
        self.observer = Observer(inputs, cluster, Http(inputs.credentials))
        self._performer = Performer(inputs, cluster, self.observer)
        self._control = Control(cluster, inputs.namespace, inputs.app)
        self._recorder = Recorder(inputs, cluster)
        self._stop: str | None = None
        self._trouble: str | None = None
        self._saved_at = self._listened_at = 0.0
        self._commands: tuple[Command, ...] = ()
        self._deaf = False

    def begin(self, stable: str | None) -> State:
        """The first state of a new walk."""
        now, revision = self._engine.now(), self._inputs.revision.hash
        commands, retries = self._control.read()
        last = self._journal.record
        # Of two walks within one second, the later one is counted on.
        walk = f"{revision}-{int(now) + (last is not None and last.state.walk == f'{revision}-{int(now)}')}"
        return State(
            walk=walk,
            revision=revision,
            stable=stable,
            started_at=now,
            phase_at=now,
            move_at=now,
            adopted=self.observer.adopted() if stable == ADOPTED else None,
            original="[]" if stable is None else self.observer.original(),
            # Whatever was asked for before is not meant for this walk.
            command=max([0, *(one.id for one in commands), *(one.id for one in retries)]),
        )

    def settle(self) -> None:
        """Without a walk: the declared number of replicas for the revision that serves, and no pin."""
        self._performer.settle(self._inputs.revision.hash)

    def retire(self) -> None:
        """After the walk from an adopted Deployment was won: it has no pods, and is for whoever made it to delete."""
        self._performer.scale(ADOPTED, 0)

    def run(self, plan: Plan, state: State, stop: str | None = None, guard: Guard | None = None) -> State:
        """Walk to the end, or until it is held for people. `stop` reverts at once, with that reason.
        Raises ClusterError when the cluster stays silent, JournalError when another run has taken over."""
        self._stop, self._trouble = stop, None
        record, begins = self._patiently(partial(self._record_of, plan, state), state)
        with contextlib.suppress(Fenced):  # the first look says so
            self._patiently(partial(self._journal.begin, record), state)
        if begins:
            self._record(event(plan, self._inputs.name_of(state.revision), None, state), state)
        while state.phase not in FINAL and not state.held:
            asked = self._engine.now()
            seen = self._patiently(partial(self._look, plan, state), state)
            if seen.now - asked > STALE_SECONDS:
                state = later(state, seen.now - asked)
            decision = decide(plan, state, seen)
            try:
                self._patiently(partial(self._save, state, decision, seen), state)
            except Fenced:
                continue  # the next look says so
            before, state = state, decision.state
            if state.phase in FINAL:
                self._tell(plan, before, state, seen, guard)
                self._finish(decision)
            elif state.phase is Phase.REVERTING or self._engine.now() - seen.now <= STALE_SECONDS:
                # The way back never waits for a fresher look: it only takes traffic away.
                self._perform(decision)
            else:
                self._engine.say("the cluster answers too slowly to act on what was seen; looking again")
            if state.phase not in FINAL:
                # Behind what is done: nobody waits for Events.
                self._tell(plan, before, state, seen, guard)
            self._engine.wait(max(decision.wait_seconds, self._owed_seconds(state)))
        return state

    def _look(self, plan: Plan, state: State) -> Seen:
        self._lock.renew(state.walk)
        now, guarded = self._engine.now(), self._journal.guarded
        late = expiry.stop_reason(self._expiries, now, plan.way_back_seconds())
        ends = self._engine.stop_reason() or late
        if late or self._engine.is_cancelled():
            self._cluster.hurry()
        reason = self._stop or ends or self._trouble
        if guarded and not reason:
            reason = f"the guard put the traffic back at {guarded}, as no heartbeat had been seen"
        if abs(now - self._listened_at) >= LISTEN_SECONDS:
            self._listen(now)
        seen = self.observer.look(plan, state, now, reason)
        return seen.model_copy(update={"commands": self._commands})

    def _listen(self, now: float) -> None:
        """What operators ask. Nobody can end a walk by breaking the ConfigMap that they ask in."""
        self._listened_at = now
        try:
            self._commands = self._control.read()[0]
            self._deaf = False
        except JournalError as error:
            if not self._deaf:
                self._engine.warn(f"{error}; until then the rollout goes on without commands")
            self._deaf = True

    def _record_of(self, plan: Plan, state: State) -> tuple[Record, bool]:
        """What the journal has to know before anything is done: which walk this is, and what it takes to
        put it back. With it, whether the walk is new there."""
        known = self._journal.record
        now = self._engine.now()
        if known is not None and known.state.walk == state.walk:
            return known.model_copy(update={"state": state, "plan": plan, "saved_at": now}), False
        inputs = self._inputs.model_copy(update={"cluster": ClusterRef(), "policy": {}, "plan": None, "urn": ""})
        names = {"image": self.observer.image(), "commit": origin.commit(), "by": origin.person()}
        return Record(state=state, plan=plan, saved_at=now, retry=inputs.retry, inputs=inputs, **names), True

    def _save(self, before: State, decision: Decision, seen: Seen) -> None:
        """Before anything is done about it: actions, moves and ends at once, evidence now and then."""
        state = decision.state
        if state.phase in FINAL:
            self._journal.end(state, seen.now)
            return
        said = ("phase", "move", "held", "command")
        moved = any(getattr(state, name) != getattr(before, name) for name in said)
        if moved or decision.actions or seen.now - self._saved_at > SAVE_EVERY_SECONDS:
            self._journal.save(state, seen.now)
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
                patience = PATIENCE_WHEN_STOPPED_SECONDS if self._engine.is_cancelled() else PATIENCE_SECONDS
                if self._engine.now() - begun > patience or _refused(error):
                    raise ClusterError(f"{error}; {_left_at(state)}", error.status) from error
                self._engine.say(f"{error}; trying again")
                self._engine.wait(1)

    def _tell(self, plan: Plan, before: State, after: State, seen: Seen, guard: Guard | None) -> None:
        """Progress, Events, and whether the guard is there before it could be needed."""
        name = self._inputs.name_of(after.revision)
        if (said := line(plan, name, before, after, seen)) is not None:
            self._engine.say(said[0], keep=said[1])
        self._record(event(plan, name, before, after), after)
        begins = before.phase is Phase.PREPARING and after.phase in (Phase.SHIFTING, Phase.PAUSED, Phase.PROMOTING)
        if begins and guard is not None and (problem := _problem_of(guard)) is not None:
            self._engine.warn(f"no guard is running, so nobody puts traffic back if this machine dies: {problem}")

    def _owed_seconds(self, state: State) -> float:
        """How much the walk is slowed down to ask the cluster less. Not at all on its way back, and never
        for so long that its heartbeat would be missed."""
        patient = state.phase is not Phase.REVERTING and state.phase not in FINAL
        return min(self._cluster.owed_seconds(), HEARTBEAT_SECONDS) if patient else 0

    def _record(self, what: Event | None, state: State) -> None:
        if what is not None:
            self._recorder.record(what, state, self._engine.now())


def _problem_of(guard: Guard) -> str | None:
    """What is wrong with it. Not to know is no reason to stop."""
    try:
        return guard.problem()
    except ClusterError as error:
        return str(error)


def _refused(error: ClusterError) -> bool:
    return 400 <= error.status < 500 and error.status not in NOT_NOW


def _left_at(state: State) -> str:
    if state.phase is Phase.SUCCEEDED:
        return "the new version serves: `pulumi up` does what is left"
    return (
        f"the rollout stands at {state.phase}, weight {state.weight_percent} %: `pulumi up` goes on from there, "
        "or puts the old version back if it is the old code"
    )
