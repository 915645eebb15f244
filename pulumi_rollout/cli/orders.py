"""Giving a command to a walk and hearing what comes of it.

Lives here: the check before anything is written, sending, waiting for the answer, and what to say
when nobody runs the walk. Not here: what a command means (`core/commands.py`), and the way back
without another process (`back.py`).
"""

from __future__ import annotations

from typing import Any

from pulumi_rollout import lock, origin
from pulumi_rollout.cli import talk
from pulumi_rollout.cli.back import Terminal, walk_back
from pulumi_rollout.cli.look import nobody
from pulumi_rollout.cli.options import Order
from pulumi_rollout.cli.talk import Site
from pulumi_rollout.control import Control
from pulumi_rollout.core.commands import obey, refusal
from pulumi_rollout.core.moves import step_number
from pulumi_rollout.core.plan import Verb
from pulumi_rollout.core.state import Answer, Command, Phase, Retry
from pulumi_rollout.errors import Locked, Refused, RolloutError
from pulumi_rollout.journal import Journal, Record

Manifest = dict[str, Any]

ANSWER_LOOK_SECONDS = 0.5

# What the next update makes of a command that nobody could answer.
RECORDED: dict[Verb, str] = {
    "pause": "pauses at weight {weight}",
    "resume": "goes on at weight {weight}",
    "promote": "goes on at weight {weight}",
    "promote-full": "goes on at weight {weight} and skips the steps that are left",
    "set-weight": "sets weight {percent} and pauses there",
    "restart": "puts the old version back and begins anew",
}


def give(site: Site, app: str, verb: Verb, order: Order, percent: int | None = None) -> str:
    """Give a command; returns what has come of it. Raises Refused where it may not be given or obeyed,
    RolloutError without an answer, ClusterError, JournalError."""
    clock = Terminal()
    journal, record = _under_way(site, app, verb, order.revision)
    lease = site.cluster.find(site.lease_path(app))
    if verb == "abort" and record.state.phase is Phase.REVERTING:
        return f"{app}: {_go_on_back(site, journal, record, clock)}"
    command = Command(
        id=0,
        verb=verb,
        walk=record.state.walk,
        step=step_number(record.plan, record.state),
        weight_percent=percent,
        reason=order.reason,
        by=origin.person(),
        at=clock.now(),
    )
    _check(site, app, record, command, unwatched=nobody(lease))
    number = Control(site.cluster, site.namespace, app).send(command, after=record.state.command)
    answer = _answer(site, journal, record, number, order.timeout_seconds, clock)
    if answer is None and verb == "abort":
        try:
            return f"{app}: {walk_back(site, journal, record, clock)}"
        except Locked:  # somebody has taken it up just now, and reads the same commands
            answer = _answer(site, journal, record, number, order.timeout_seconds, clock)
    if answer is None:
        text = RECORDED[verb].format(weight=record.state.weight_percent, percent=percent)
        return f"{app}: recorded: the next `pulumi up` {text}"
    if not answer.accepted:
        raise Refused(f"{app}: {answer.text}")
    return f"{app}: {answer.text} ({answer.by})"


def retry(site: Site, app: str) -> str:
    """Let a failed revision be tried again. Raises Refused when none is remembered."""
    journal, record = talk.journal(site, app)
    known = dict.fromkeys(entry.revision for entry in reversed(journal.history))
    tokens = {entry.revision: entry.retry for entry in journal.history}
    failures = [journal.failure_of(revision, tokens[revision]) for revision in known]
    last = next((failure for failure in failures if failure is not None), None)
    if last is None:
        raise Refused(f"there is nothing to retry: no revision of {app} is remembered to have failed")
    _, retries = talk.asked(site, app)
    name = f"{app}-{last.revision}"
    if journal.failure_of(last.revision, last.retry, retries) is None:
        return f"{app}: {name} may be tried again already: run `pulumi up`"
    leave = Retry(id=0, revision=last.revision, by=origin.person(), at=Terminal().now())
    after = max(record.state.command, last.command)
    Control(site.cluster, site.namespace, app).send(leave, after=after)
    return f"{app}: {name} may be tried again: run `pulumi up` (it had failed: {last.reason})"


def _under_way(site: Site, app: str, verb: Verb, revision: str | None) -> tuple[Journal, Record]:
    """The walk that is meant. Raises Refused when there is none."""
    journal, last = talk.journal(site, app)
    record = journal.unfinished
    if record is None:
        raise Refused(f"no rollout of {app} is under way {site.words}: the last one has {last.state.phase}")
    walking = record.state.revision
    if revision is not None and revision.removeprefix(f"{app}-") != walking:
        raise Refused(f"the rollout of {app} is to {app}-{walking} and not to {revision}: look at it first")
    if record.state.phase is Phase.FAILED:
        raise Refused(
            f"the rollout of {app} is over, but its way back was not seen to be complete ({record.state.reason}): "
            "`pulumi up` tries that again"
        )
    if journal.guarded and verb != "abort":
        raise Refused(
            f"the guard has put the traffic of {app} back at {journal.guarded}: the next `pulumi up` begins anew, and "
            f"there is nothing left to {verb}"
        )
    return journal, record


def _check(site: Site, app: str, record: Record, command: Command, *, unwatched: bool) -> None:
    """Refuse what the walk would refuse, so that nothing is written."""
    commands, _ = talk.asked(site, app)
    # What was asked before and is not answered yet comes first.
    ahead = obey(record.plan, record.state, commands, command.at)
    if (why := refusal(record.plan, ahead, command)) is not None:
        raise Refused(f"{app}: {why}")
    restarts = record.plan.on_interrupted == "restart" and not record.state.held
    if unwatched and restarts and command.verb != "abort":
        raise Refused(
            f"{app}: the process that ran the rollout is gone, and the next `pulumi up` puts the old version back and "
            f"begins anew (onInterrupted: restart), so there is nothing left to {command.verb}"
        )


def _go_on_back(site: Site, journal: Journal, record: Record, clock: Terminal) -> str:
    """A way back that may have been cut off, as the lock tells."""
    try:
        return walk_back(site, journal, record, clock)
    except Locked as error:
        raise Refused(f"{error.holder} is putting the old version back already: `rollout watch` shows it") from None


def _answer(
    site: Site, journal: Journal, record: Record, number: int, timeout_seconds: float, clock: Terminal
) -> Answer | None:
    """The walk's answer to a command; None if nobody runs the walk. Raises RolloutError when somebody
    does, but does not answer in time."""
    app = journal.name.removeprefix("rollout-")
    begun = changed_at = clock.now()
    version = None
    while True:
        # Before the journal: whoever gives the lock back has written its last answer.
        lease = site.cluster.find(site.lease_path(app))
        state = (journal.load().record or record).state
        if answer := next((one for one in state.answers if one.id == number and state.walk == record.state.walk), None):
            return answer
        if journal.unfinished is None or state.walk != record.state.walk:
            raise RolloutError(f"the rollout of {app} was over before it could answer: see `rollout status {app}`")
        if nobody(lease) or lease is None:
            return None
        now = clock.now()
        if lease["metadata"]["resourceVersion"] != version:
            version, changed_at = lease["metadata"]["resourceVersion"], now
        if now - changed_at > lock.EXPIRY_SECONDS:
            return None
        if now - begun > timeout_seconds:
            raise RolloutError(
                f"{lock.holder(lease)}, who is releasing {app}, has not answered within {timeout_seconds:g} s; the "
                f"command stays recorded: see `rollout status {app}`"
            )
        clock.wait(ANSWER_LOOK_SECONDS)
