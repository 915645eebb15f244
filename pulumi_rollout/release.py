"""One release: the lock, what earlier runs left, the memory of failures, then the walk and its guard.

Lives here: what surrounds a walk, in order. Not here: Pulumi's view of it (`provider.py`), and the
walk itself (`driver.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pulumi_rollout import expiry
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.control import Control
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import FINAL, Phase, State, taken_up
from pulumi_rollout.driver import Walk
from pulumi_rollout.engine import STARTED_AT, Engine
from pulumi_rollout.errors import ClusterError, Held, JournalError, Locked, Refused, RolloutFailed
from pulumi_rollout.expiry import Expiry
from pulumi_rollout.guard import Guard
from pulumi_rollout.guard import Walk as Guarded
from pulumi_rollout.inputs import ADOPTED, Inputs
from pulumi_rollout.journal import Journal, Record
from pulumi_rollout.lock import Lock

# Of a plan: what says nothing about the walk itself, which goes on when they change.
SURROUNDINGS = ("on_interrupted", "on_locked", "guard_image", "time_limit_seconds")


@dataclass(frozen=True)
class Release:
    """What a release works with. + inputs: of the declared revision; expiries: what `Walk` wants of them"""

    inputs: Inputs
    plan: Plan
    cluster: Cluster
    journal: Journal
    engine: Engine
    lock: Lock
    expiries: Sequence[Expiry]

    def walk(self, inputs: Inputs | None = None) -> Walk:
        """A walk to the declared revision, or to the one that other inputs name."""
        return Walk(inputs or self.inputs, self.cluster, self.journal, self.lock, self.engine, self.expiries)


def release(inputs: Inputs, plan: Plan, cluster: Cluster, journal: Journal, engine: Engine) -> str:
    """Bring the application to the declared revision, whatever was left of earlier runs.
    Returns the outcome; raises RolloutFailed, Held, Refused, ClusterError, JournalError."""
    _same_cluster(inputs, cluster)
    lock = Lock(cluster, inputs.namespace, inputs.app, engine)
    try:
        with locked(lock, journal, inputs, wait=plan.on_locked == "wait"):
            # Once for all walks of a release: to find out may take a run of the login program.
            return _release(Release(inputs, plan, cluster, journal, engine, lock, expiries(inputs, plan)))
    finally:
        engine.say(cluster.usage(), keep=True)


@contextlib.contextmanager
def locked(lock: Lock, journal: Journal, inputs: Inputs, *, wait: bool) -> Iterator[None]:
    """Hold the application's lock, and read the journal. The lock is given back unless a walk is left in
    the middle, or it is not known whether one is: then the heartbeat stops, which is what the guard waits for."""
    try:
        lock.take(wait=wait)
    except Locked as error:
        raise Locked(error.holder, _holds(error.holder, journal, inputs)) from None
    journal.load()
    try:
        yield
    finally:
        left = journal.unfinished
        if left is None or left.state.held or left.state.phase in FINAL:
            lock.release()


def expiries(inputs: Inputs, plan: Plan) -> list[Expiry]:
    """When what a walk needs comes to an end, as far as that is known."""
    known = [expiry.credential_expiry(inputs.cluster.kubeconfig, inputs.cluster.context)]
    if plan.time_limit_seconds is not None:
        limit = plan.time_limit_seconds
        known.append(Expiry(STARTED_AT + limit, f"the time limit of this run ({limit / 60:g} min)", "raise it"))
    return [one for one in known if one is not None]


def _holds(holder: str, journal: Journal, inputs: Inputs) -> str:
    """What to say about somebody else's release, with the way to end it."""
    state = None
    with contextlib.suppress(ClusterError, JournalError):
        state = record.state if (record := journal.load().record) else None
    where = f"{state.phase}, weight {state.weight_percent} %" if state and state.phase not in FINAL else "at its begin"
    return (
        f"{holder} is releasing {inputs.app} ({where}): wait for its end, or put the old version back with "
        f"`rollout abort {inputs.app} -n {inputs.namespace}`"
    )


def _release(now: Release) -> str:
    inputs, journal = now.inputs, now.journal
    walk = now.walk()
    left = journal.unfinished
    if left is not None and _continues(left, now):
        return _go_on(now, walk, left)
    if left is not None:
        _undo(now, left)
    serving = walk.observer.apex_revision()
    if serving is None and (foreign := walk.observer.foreign()) is not None:
        raise Refused(
            f"{foreign} is there already and was not made by a rollout: a first release would take all of its traffic "
            "at once, unwatched; release under another name, or delete it first"
        )
    if serving == ADOPTED and (problems := walk.observer.adoption_problems()):
        raise Refused("; ".join(problems))
    if serving == inputs.revision.hash:
        walk.settle()
        last = journal.record
        return f"{inputs.name_of(serving)} serves{_retired(now, walk, last.state) if last else ''}"
    _, retries = Control(now.cluster, inputs.namespace, inputs.app).read()
    if (failed := journal.failure_of(inputs.revision.hash, inputs.retry, retries)) is not None:
        raise Refused(
            f"{inputs.name_of(failed.revision)} has failed before, and no traffic was moved to it again: "
            f"{failed.reason}; release another revision, or try this one once more after "
            f"`rollout retry {inputs.app} -n {inputs.namespace}` or with another `retry`"
        )
    return _ended(now, walk, walk.begin(serving))


def _go_on(now: Release, walk: Walk, left: Record) -> str:
    now.engine.say(f"going on at {left.state.phase}, weight {left.state.weight_percent} %", keep=True)
    return _ended(now, walk, taken_up(left.state, left.saved_at, now.engine.now()))


def _ended(now: Release, walk: Walk, state: State) -> str:
    """Walk from a state to the end, and say how it ended."""
    final = _walked(now, walk, state)
    return _outcome(final, now) + _retired(now, walk, final)


def _retired(now: Release, walk: Walk, state: State) -> str:
    """Take the pods of an adopted Deployment away, once a walk has won all of its traffic, and say what to do."""
    if state.stable != ADOPTED or state.phase is not Phase.SUCCEEDED or now.inputs.adopt is None:
        return ""
    walk.retire()
    named = f"Deployment {now.inputs.namespace}/{now.inputs.adopt.deployment}"
    return f"; {named} has no pods any more: delete it where it was made"


def _walked(now: Release, walk: Walk, state: State) -> State:
    """Walk with a guard beside it, and once more from the start if somebody asks for that."""
    while True:
        guard = _guard(now, walk, state)
        final = walk.run(now.plan, state, guard=guard)
        if guard is not None:
            _dismiss(guard)
        again = final.restart and final.phase is Phase.FAILED and final.confirmed
        if not again or now.engine.stop_reason() is not None:
            return final
        state = walk.begin(final.stable)


def _guard(now: Release, walk: Walk, state: State) -> Guard | None:
    """The Job that puts traffic back when this process is gone; a warning where it cannot be had."""
    if now.plan.guard_image is None or state.stable is None:
        return None
    guard = Guard(now.inputs, now.cluster, now.plan.guard_image)
    try:
        # The guard reads in the Lease which walk it belongs to.
        now.lock.renew(state.walk, at_once=True)
        original = walk.observer.original_objects(state)
        guarded = Guarded(state.walk, state.stable, now.plan.limits, state.adopted)
        guard.start(guarded, walk.observer.route_objects(), original)
    except (ClusterError, ValueError) as error:
        now.engine.warn(f"no guard, so nobody puts traffic back if this machine dies: {error} (docs/guard.md)")
        return None
    return guard


def _dismiss(guard: Guard) -> None:
    with contextlib.suppress(ClusterError):  # it ends by itself, too
        guard.stop()


def _same_cluster(inputs: Inputs, cluster: Cluster) -> None:
    deployment = cluster.find(inputs.deployment_path(inputs.revision.hash))
    uid = deployment["metadata"]["uid"] if deployment else None
    if inputs.revision.uid is not None and uid != inputs.revision.uid:
        raise Refused(
            f"Deployment {inputs.namespace}/{inputs.name_of(inputs.revision.hash)} at {cluster.address} is not the one "
            "that this stack has made: give Application the kubeconfig and context of the Kubernetes provider"
        )


def _continues(left: Record, now: Release) -> bool:
    """Whether a walk that was cut off or held is the one that is asked for, and was still going forward."""
    state = left.state
    forward = state.phase not in (Phase.REVERTING, Phase.FAILED) and now.journal.guarded is None
    surroundings = {name: getattr(now.plan, name) for name in SURROUNDINGS}
    same = state.revision == now.inputs.revision.hash and left.plan.model_copy(update=surroundings) == now.plan
    same = same and (left.inputs is None or left.inputs.route == now.inputs.route)
    return forward and same and (state.held or now.plan.on_interrupted == "resume")


def _undo(now: Release, left: Record) -> None:
    """Put the old version back before anything else begins."""
    inputs, engine, state = now.inputs, now.engine, left.state
    # On the route that it was walked on, which need not be the one that is asked for.
    began = left.inputs or inputs
    same = {"retry": left.retry, "route": began.route, "adopt": began.adopt}
    earlier = inputs.walking_to(state.revision).model_copy(update=same)
    engine.say(f"putting {inputs.app} back: the walk to {earlier.name_of(state.revision)} was cut off", keep=True)
    reason = f"cut off, and put back on the way to {inputs.name_of(inputs.revision.hash)}"
    if now.journal.guarded:
        reason = f"cut off; the guard put the traffic back at {now.journal.guarded}"
    state = taken_up(state, left.saved_at, engine.now())
    if state.phase is Phase.FAILED:  # its way back was not seen to be complete
        cause = (state.reason or reason).split("; not confirmed: ")[0]
        again = {"phase": Phase.REVERTING, "move": 0, "move_at": engine.now(), "confirmed": True, "reason": cause}
        state = state.model_copy(update=again)
    final = now.walk(earlier).run(left.plan, state, stop=reason)
    if not final.confirmed:
        raise RolloutFailed(
            f"{final.reason}; to give that walk up, put the route right by hand and delete ConfigMap "
            f"{inputs.namespace}/{now.journal.name}"
        )
    if left.plan.guard_image is not None:
        _dismiss(Guard(earlier, now.cluster))


def _outcome(final: State, now: Release) -> str:
    inputs = now.inputs
    name = inputs.name_of(final.revision)
    if final.phase is Phase.SUCCEEDED:
        return f"{name} serves"
    if final.held:
        raise Held(
            f"{final.pause_reason}; weight {final.weight_percent} % is held and nobody watches it: `rollout promote "
            f"{inputs.app} -n {inputs.namespace}` and then `pulumi up` go on, `rollout abort` puts the old version back"
        )
    if not final.confirmed:
        raise RolloutFailed(str(final.reason))
    raise RolloutFailed(put_back(final, inputs))


def put_back(final: State, inputs: Inputs) -> str:
    """Why a walk went back, and where the traffic is now."""
    if final.stable:
        return f"{final.reason}; all traffic is back on {inputs.name_of(final.stable)}"
    return f"{final.reason}; {inputs.name_of(final.revision)} was scaled down"
