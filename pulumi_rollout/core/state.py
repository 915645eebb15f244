"""What a walk remembers, sees and does: Phase, State, Seen, Action, and the table of transitions.

Lives here: data, and what time that passed unwatched means for it. The rule that turns one state
into the next is `machine.decide`.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.gates import Evidence
from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.plan import Verb

STATE_FORMAT = 3


class Phase(StrEnum):
    """Where a walk is."""

    PREPARING = "preparing"
    SHIFTING = "shifting"
    PAUSED = "paused"
    PROMOTING = "promoting"
    REVERTING = "reverting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


# Absent transitions are illegal. docs/states.md is drawn from this table.
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.PREPARING: frozenset({Phase.SHIFTING, Phase.PAUSED, Phase.PROMOTING, Phase.SUCCEEDED, Phase.REVERTING}),
    Phase.SHIFTING: frozenset({Phase.PAUSED, Phase.PROMOTING, Phase.REVERTING}),
    Phase.PAUSED: frozenset({Phase.PREPARING, Phase.SHIFTING, Phase.PROMOTING, Phase.REVERTING}),
    Phase.PROMOTING: frozenset({Phase.SUCCEEDED, Phase.REVERTING}),
    Phase.REVERTING: frozenset({Phase.FAILED}),
    Phase.SUCCEEDED: frozenset(),
    Phase.FAILED: frozenset(),
}
FINAL = frozenset(phase for phase, following in TRANSITIONS.items() if not following)


class Command(Frozen):
    """What an operator asks of a walk (`commands.obey`).

    + id: counts up per application; the walk remembers the last that it has answered
    + walk, step: the walk and the step that the operator saw; a command for another one is refused
    """

    id: int
    verb: Verb
    walk: str
    step: int | None = None
    weight_percent: int | None = None
    reason: str = ""
    by: str
    at: float


class Retry(Frozen):
    """An operator's leave to try a failed revision again.

    + id: counts with the commands
    + revision: that may be tried again
    """

    id: int
    revision: str
    by: str
    at: float


class Answer(Frozen):
    """What came of a command. + at: when the walk answered, unix seconds"""

    id: int
    verb: Verb
    by: str
    at: float
    accepted: bool
    text: str


class State(Frozen):
    """A walk, saved whole before its actions are performed.

    + walk: the walk's id, `<revision>-<unix second of its begin>`
    + move: position in the machine's list of moves for the phase
    + met_at: since when the move's condition is seen to hold; settling and draining count from there
    + entering: the canary was seen not to be in the route, until it has been in it at weight 0 for the settling time
    + listed_at: since when it is, while it is entering
    + watched_at: since when the process that walks has watched
    + warm_until: the requests up to then are of the warm-up; None before the canary's first one
    + slow_until: and those up to then are for latency, behind the last rise of the weight or of the number of pods
    + canary_ready: its ready pods at the last look
    + replaced: pods of the canary that were deleted because they alone failed
    + reason: why the walk reverts; the verdict once the phase is reverting
    + judged: the reason speaks against the revision, which is then remembered as failed; false when
      somebody stopped the walk, or when a deadline ended it undecided
    + confirmed: the way back was seen to be complete
    + original: the route's objects as they were before the walk, as JSON; restored at the end
    + stable: the revision that serves when the walk begins; None for a first release
    + adopted: what the apex selected before, where no rollout had made it
    + pause_reason: why it is paused; awaiting: by the plan, for somebody's agreement; frozen: by a
      breach, under `on_failure: freeze`
    + held: paused without a process that runs it, until the next update
    + approved_move: people have agreed to leave this move, and those before it, without waiting
    + skips_steps: promote --full: from the move under way straight to promoting
    + manual_weight_percent: set by an operator, and kept for as long as the walk is paused
    + abort: why somebody wants it put back; restart: and begun anew afterwards
    + command: id of the last command that was answered; answers: the last ones
    """

    format: int = STATE_FORMAT
    walk: str
    phase: Phase = Phase.PREPARING
    move: int = 0
    revision: str
    stable: str | None
    adopted: dict[str, str] | None = None
    weight_percent: int = 0
    started_at: float
    phase_at: float
    move_at: float
    met_at: float | None = None
    entering: bool = False
    listed_at: float | None = None
    watched_at: float = 0.0
    warm_until: float | None = None
    slow_until: float = 0.0
    canary_ready: int = 0
    replaced: tuple[str, ...] = ()
    evidence: dict[str, Evidence] = {}
    reason: str | None = None
    judged: bool = True
    confirmed: bool = True
    original: str = "[]"
    pause_reason: str | None = None
    awaiting: bool = False
    frozen: bool = False
    held: bool = False
    approved_move: int = -1
    skips_steps: bool = False
    manual_weight_percent: int | None = None
    abort: str | None = None
    restart: bool = False
    command: int = 0
    answers: tuple[Answer, ...] = ()

    @property
    def begun_at(self) -> float:
        """Unix second of the walk's begin, which no pause moves on."""
        return float(self.walk.rpartition("-")[2])


def later(state: State, gap_seconds: float) -> State:
    """A state with time that nobody watched taken out of its clocks; what had to hold begins anew. Pods warm up
    whoever watches."""
    clocks = {name: getattr(state, name) + gap_seconds for name in ("started_at", "phase_at", "move_at", "watched_at")}
    return state.model_copy(update={**clocks, "met_at": None, "listed_at": None})


def taken_up(state: State, saved_at: float, now: float) -> State:
    """A state that a process left behind, for the one that goes on with it."""
    if state.phase is Phase.PAUSED:  # not one second of which has been waited by this process yet
        following = later(state, now - state.phase_at).model_copy(update={"held": False, "phase_at": now})
    else:
        following = later(state, now - saved_at)
    return following.model_copy(update={"watched_at": now})


class Seen(Frozen):
    """What the driver observed for this decision.

    + now: unix seconds; the only clock
    + canary_ready, canary_replicas: ready pods, and the replicas asked for
    + stable_replicas: v1's live replicas, the capacity that v2 has to match
    + canary_problem: the pods' own reason for not being ready
    + weight_percent: the canary's share in the live route, the highest where rules differ; None when it is not listed
    + shares: its share in each rule of ours, None where one does not list it; empty where they do not differ
    + route_problem: why the proxy has not taken the route; None once it has
    + apex_revision: the revision that the apex selects; None when there is no apex
    + apex_ready: the apex's endpoints are just that revision's ready pods
    + stop: why the walk has to end, said by the engine, the clock or the guard
    + commands: what operators have asked for, oldest first
    """

    now: float
    canary_ready: int = 0
    canary_replicas: int = 0
    stable_replicas: int = 0
    canary_problem: str | None = None
    weight_percent: int | None = None
    shares: tuple[int | None, ...] = ()
    route_problem: str | None = None
    apex_revision: str | None = None
    apex_ready: bool = False
    readings: dict[str, Reading] = Field(default_factory=dict)
    stop: str | None = None
    commands: tuple[Command, ...] = ()

    @property
    def lowest_percent(self) -> int | None:
        """The canary's lowest share in the live route; None when a rule of ours does not list it."""
        listed = [one for one in self.shares if one is not None]
        return self.weight_percent if not self.shares else min(listed) if len(listed) == len(self.shares) else None


class Scale(Frozen):
    """Give the canary this many replicas; its autoscaler may not go below them."""

    replicas: int


class Pin(Frozen):
    """Keep the stable version's autoscaler from going below this many replicas."""

    replicas: int


class Unpin(Frozen):
    """Give the autoscalers of both versions their declared minimum again."""


class SetWeight(Frozen):
    """Send this share of requests to the canary, the rest to the apex; both are listed."""

    percent: int


class PointApex(Frozen):
    """Let the apex select this revision."""

    revision: str


class Restore(Frozen):
    """Put the route back exactly as it was before the walk."""


class ReplacePod(Frozen):
    """Delete one pod of the canary, so that its Deployment starts another one."""

    pod: str


class Resize(Frozen):
    """Give the promoted version its declared number of replicas, unless an autoscaler owns it."""


Action = Scale | Pin | Unpin | SetWeight | PointApex | Restore | ReplacePod | Resize


class Decision(Frozen):
    """What `decide` returns: the state to save, then the actions to perform, then how long to wait."""

    state: State
    actions: tuple[Action, ...] = ()
    wait_seconds: float = 0
