"""What is known of a rollout, as one value: what `status`, `list`, `watch` and `history` show.

Pure. Its fields are the JSON that `-o json` prints, so they are public (docs/commands.md). Not here:
how it looks (`render.py`), or how it is found out (`talk.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from pulumi_rollout import origin
from pulumi_rollout.cli.gate_view import GateView, gate_views
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.moves import apex_of, current, step_number
from pulumi_rollout.core.state import Answer, Command, Phase, State
from pulumi_rollout.journal import Entry, Journal, Record
from pulumi_rollout.lock import PROCESS_ANNOTATION, holder

Manifest = dict[str, Any]


class Standing(StrEnum):
    """What a rollout needs from whoever looks."""

    REST = "rest"
    WAITING = "waiting"
    UNDER_WAY = "under way"
    FAILED = "failed"


# The exit codes of `status` and `watch`. 1 is an error, 2 a mistake in the command line.
EXIT_CODES = {Standing.REST: 0, Standing.WAITING: 3, Standing.UNDER_WAY: 4, Standing.FAILED: 5}


class Facts(NamedTuple):
    """What the cluster has about an application. + images: by revision, where it is known from the cluster"""

    app: str
    namespace: str
    record: Record
    journal: Journal
    lease: Manifest | None
    commands: Sequence[Command]
    serving: str | None
    images: Mapping[str, str | None]


class Version(Frozen):
    """One revision. + name: of its Deployment and Service"""

    hash: str
    name: str
    image: str | None


class LockView(Frozen):
    """Who runs the walk. The times are the holder's own, as it wrote them."""

    holder: str
    since: str | None
    renewed: str | None


class Said(Frozen):
    """A command and what came of it; `accepted` is None, and `text` its reason, until it is answered."""

    verb: str
    by: str
    at: str
    accepted: bool | None
    text: str


class Status(Frozen):
    """An application's rollout: the one under way, or the last one. Every time is UTC in RFC 3339.

    + serving: the revision that the apex Service selects
    + weight_percent: the new version's share
    + step, steps: the step under way, counted from 1, of how many
    + held: it waits for people, and no process runs it; cut_off: its process is gone
    + because: why it waits; verdict: why it went back
    + guard: when the guard has put the traffic back
    """

    app: str
    namespace: str
    standing: Standing
    exit_code: int
    phase: str
    held: bool
    cut_off: bool
    walk: str
    revision: Version
    stable: Version | None
    serving: Version | None
    weight_percent: int
    step: int | None
    steps: int
    started_at: str
    by: str | None
    commit: str | None
    because: str | None
    verdict: str | None
    gates: tuple[GateView, ...]
    lock: LockView | None
    answers: tuple[Said, ...]
    asked: tuple[Said, ...]
    guard: str | None


class Ended(Frozen):
    """One walk that is over. + outcome: succeeded, failed, or stopped where nothing speaks against the revision"""

    revision: Version
    stable: str | None
    outcome: str
    reason: str | None
    commit: str | None
    by: str | None
    started_at: str | None
    ended_at: str
    seconds: float | None


def status(facts: Facts) -> Status:
    """All about one application."""
    journal, lease = facts.journal, facts.lease
    record = facts.record
    state, plan = record.state, record.plan
    standing = standing_of(facts)
    cut_off = standing is Standing.WAITING and not state.held and nobody(lease)
    step = step_number(plan, state)
    known, serving = images(facts), serving_of(facts)
    unanswered = [one for one in facts.commands if one.id > state.command and one.walk == state.walk]
    return Status(
        app=facts.app,
        namespace=facts.namespace,
        standing=standing,
        exit_code=EXIT_CODES[standing],
        phase=str(state.phase),
        held=state.held,
        cut_off=cut_off,
        walk=state.walk,
        revision=_version(facts.app, state.revision, known),
        stable=_version(facts.app, state.stable, known) if state.stable else None,
        serving=_version(facts.app, serving, known) if serving else None,
        weight_percent=_share(facts),
        step=None if step is None else step + 1,
        steps=len(plan.steps),
        started_at=moment(state.begun_at),
        by=record.by,
        commit=record.commit,
        because=_because(state, cut_off),
        verdict=state.reason,
        gates=gate_views(plan, state),
        lock=_lock(lease),
        answers=tuple(_answered(answer) for answer in state.answers),
        asked=tuple(_unanswered(command) for command in unanswered),
        guard=journal.guarded,
    )


def standing_of(facts: Facts) -> Standing:
    """Whether it is over, and if not whether anybody moves it on."""
    state = facts.record.state
    if state.phase is Phase.SUCCEEDED:
        return Standing.REST
    if state.phase is Phase.FAILED:
        # Asked to begin anew, and its process is about to.
        return Standing.UNDER_WAY if state.restart and state.confirmed and not nobody(facts.lease) else Standing.FAILED
    if facts.journal.guarded:
        return Standing.FAILED
    waits = state.held or state.phase is Phase.PAUSED or nobody(facts.lease)
    return Standing.WAITING if waits else Standing.UNDER_WAY


def over(facts: Facts) -> bool:
    """Whether nothing more will happen by itself."""
    return standing_of(facts) in (Standing.REST, Standing.FAILED) or nobody(facts.lease)


def nobody(lease: Manifest | None) -> bool:
    """Whether it is certain that nobody runs a walk: the lock is free, or of a process of this machine
    that is gone."""
    annotations = ((lease or {}).get("metadata") or {}).get("annotations") or {}
    return holder(lease) is None or origin.gone(annotations.get(PROCESS_ANNOTATION, ""))


def images(facts: Facts) -> dict[str, str | None]:
    """Images by revision: as the journal has them, then as the cluster has."""
    record = facts.record
    journaled = {entry.revision: entry.image for entry in facts.journal.history if entry.image}
    walked = {record.state.revision: record.image} if record.image else {}
    return {**facts.images, **journaled, **walked}


def history(facts: Facts) -> list[Ended]:
    """The walks that are over, newest last."""
    return [_ended(facts.app, entry) for entry in facts.journal.history]


def serving_of(facts: Facts) -> str | None:
    """The revision that serves: the apex's, else by the journal."""
    state = facts.record.state
    return facts.serving or (state.revision if state.phase is Phase.SUCCEEDED else state.stable)


def moment(unix: float) -> str:
    """A time as RFC 3339."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _share(facts: Facts) -> int:
    """The new version's share of the traffic, as the journal has it."""
    state, plan = facts.record.state, facts.record.plan
    if facts.journal.guarded:
        return 0
    promoted = state.phase is Phase.PROMOTING and apex_of(state, current(plan, state)) == state.revision
    return 100 if promoted or state.phase is Phase.SUCCEEDED else state.weight_percent


def _because(state: State, cut_off: bool) -> str | None:
    if cut_off:
        return "the process that ran it is gone: the next `pulumi up` goes on from here, or puts the old version back"
    return state.pause_reason


def _lock(lease: Manifest | None) -> LockView | None:
    who, spec = holder(lease), (lease or {}).get("spec") or {}
    return LockView(holder=who, since=spec.get("acquireTime"), renewed=spec.get("renewTime")) if who else None


def _answered(answer: Answer) -> Said:
    return Said(verb=answer.verb, by=answer.by, at=moment(answer.at), accepted=answer.accepted, text=answer.text)


def _unanswered(command: Command) -> Said:
    return Said(verb=command.verb, by=command.by, at=moment(command.at), accepted=None, text=command.reason)


def _version(app: str, revision: str, known: Mapping[str, str | None]) -> Version:
    return Version(hash=revision, name=f"{app}-{revision}", image=known.get(revision))


def _ended(app: str, entry: Entry) -> Ended:
    stopped = entry.phase is Phase.FAILED and not entry.judged
    return Ended(
        revision=Version(hash=entry.revision, name=f"{app}-{entry.revision}", image=entry.image),
        stable=entry.stable,
        outcome="stopped" if stopped else str(entry.phase),
        reason=entry.reason,
        commit=entry.commit,
        by=entry.by,
        started_at=None if entry.started_at is None else moment(entry.started_at),
        ended_at=moment(entry.ended_at),
        seconds=None if entry.started_at is None else round(entry.ended_at - entry.started_at, 1),
    )
