"""Writes docs/states.md and docs/plan.schema.json from the code, the table in docs/routers.md from the registry and its
fixtures, those of settings in docs/gates.md and docs/metrics.md from their models, docs/benchmarks.md and its picture
from the lines of docs/benchmarks: `python -m docs.generate [--check]`.

With `--check` nothing is written, and a page that is out of date is an error. Not here: pages that
people write.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, get_args

import yaml

from bench import picture, report
from docs import settings
from pulumi_rollout.core.commands import obey
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.moves import Apex, Capacity, Move, Weight, begin_of, current, dwell_of, step_number
from pulumi_rollout.core.plan import Limits, Plan, Step, Verb, schema
from pulumi_rollout.core.state import (
    FINAL,
    TRANSITIONS,
    Action,
    Command,
    Phase,
    Pin,
    PointApex,
    Restore,
    Scale,
    Seen,
    SetWeight,
    State,
)
from pulumi_rollout.routers import ROUTERS

PAGES_AT = HERE = Path(__file__).parent
FIXTURES = HERE.parent / "tests" / "routers"
# In a page that people write, what is between these lines is not theirs. A table wants empty lines around it.
BEGIN, END = "<!-- Written by `python -m docs.generate`. -->\n", "<!-- Until here. -->\n"

# For the picture: one step stands for all, as each has the same three moves.
ONE_STEP = Plan(
    steps=(Step(weight_percent=20, interval_seconds=1, max_wait_seconds=9),),
    limits=Limits(settle_seconds=0, drain_seconds=0, min_samples=0),
)
STABLE, CANARY, REPLICAS = "v1", "v2", 4

# A row of a table: phase, move (None at the end), and the actions that were asked for.
Row = tuple[Phase, Move | None, list[Action]]

INTRODUCTION = """\
# The states of a walk

<!-- Written by `python -m docs.generate`, which walks the real machine. Do not edit. -->

A walk is in one phase, and within it at one move. A move has actions, which are asked for until they are seen to be
done, and a condition; when that holds, and has held for the settling time, the next move begins. `decide()` in
`pulumi_rollout/core/machine.py` is all of it, with the conditions in `conditions.py` and people's commands in
`commands.py` beside it.
"""

HOLDS = """\
## What holds the weight

Nothing rises, and no step ends, while a gate says `hold`: while the old version fails the same test, for `outage`, or
it is still open whether it does; and once nothing was heard of the gate's numbers for `no_data_hold`, until
`no_data_revert`. Then the walk goes back, and the new version is not blamed. A weight that waits to be raised has this
time beside its own deadline.

One pod of several that alone fails, while the others are seen to be good, is deleted (`ReplacePod`), once in a walk,
and all are judged anew from there. A gate that is a dry run neither holds nor turns back.
"""

TURNING_BACK = """\
## What turns a walk back

From every phase but the last two, at the look at which it is seen:

- a gate fails, or the new version serves without a ready pod;
- a move takes longer than its deadline, or the walk longer than `deadline` (promotion is then brought to its end);
- somebody stops it: Ctrl-C, a CLI that is gone, a machine that slept, a write that the cluster refuses.

Traffic that the new version must not have is taken from it during every move, whoever gave it: an edit by hand and a
write that arrives late are undone the same way. A weight that somebody lowers is put right too, or turns the walk back
under `on_edited: abort`. A way back whose end cannot be seen ends too, unconfirmed, and leaves
the new version's pods running.

Under `on_failure: freeze`, a gate that fails and a deadline that passes while steps are walked pause the walk at its
weight instead, for people to decide; a stop and pods that are gone still turn it back, as does all of it in promotion.
"""

PAUSES = """\
## Pauses

A paused walk keeps its move and its weight. Its gates go on judging, and a breach turns it back; deadlines stand still.
It is **awaiting** when the plan asks somebody, **frozen** after a failure, **held** when no process runs it until the
next `pulumi up`. Only people end a pause; while it is frozen its weight can only be lowered, and whoever goes on has it
judged anew, with new deadlines.

What people ask, where it is obeyed in the walk above, and what they are told; elsewhere it is refused with the reason.
"""


def states() -> str:
    """docs/states.md."""
    forward = walked(STABLE, turn_at=None)
    # Turned back from where the most has to be undone.
    back = [row for row in walked(STABLE, turn_at=Apex()) if row[0] in (Phase.REVERTING, Phase.FAILED)]
    first = [*walked(None, turn_at=None), *walked(None, turn_at=Capacity(100))]
    parts = [
        INTRODUCTION,
        _diagram(),
        "## Forward\n\nOne step of 20 %, and 4 pods of stable; further steps repeat the moves of `shifting`.\n",
        _table(forward),
        "## Back\n\nThe actions of `Home` are those that are needed.\n",
        _table(back),
        HOLDS,
        TURNING_BACK,
        PAUSES,
        _orders(),
        "## A first release\n\nThere is no traffic to move, so it only waits for its pods.\n",
        _table(first),
    ]
    return "\n".join(parts)


def walked(stable: str | None, turn_at: Move | None) -> list[Row]:
    """Every move of a walk in which all that is asked for happens at once. It is stopped at `turn_at`."""
    state = State(walk=f"{CANARY}-0", revision=CANARY, stable=stable, started_at=0, phase_at=0, move_at=0)
    seen = Seen(now=0, stable_replicas=REPLICAS, apex_revision=stable, apex_ready=True)
    rows: list[Row] = []
    while state.phase not in FINAL:
        move = current(ONE_STEP, state)
        stop = "stop" if move == turn_at else None
        decision = decide(ONE_STEP, state, seen.model_copy(update={"now": seen.now + 1, "stop": stop}))
        state = decision.state
        begun = state.phase, None if state.phase in FINAL else current(ONE_STEP, state)
        if not rows or rows[-1][:2] != begun:
            rows.append((*begun, []))
        rows[-1][2].extend(action for action in decision.actions if action not in rows[-1][2])
        seen = _after(seen, decision.actions)
    return rows


def _after(seen: Seen, actions: tuple[Action, ...]) -> Seen:
    """What is seen a second after these actions worked."""
    changes: dict[str, Any] = {"now": seen.now + 1}
    for action in actions:
        match action:
            case Scale(replicas=replicas):
                changes |= {"canary_replicas": replicas, "canary_ready": replicas}
            case SetWeight(percent=percent):
                changes["weight_percent"] = percent
            case Restore():
                changes["weight_percent"] = None
            case PointApex(revision=revision):
                changes["apex_revision"] = revision
    return seen.model_copy(update=changes)


def _orders() -> str:
    """What each command does in each phase, as the machine answers it."""
    at_first = State(walk="w", revision=CANARY, stable=STABLE, started_at=0, phase_at=0, move_at=0)
    promoting, dwell = begin_of(len(ONE_STEP.steps)), dwell_of(0)
    under_way = {Phase.PREPARING: 0, Phase.SHIFTING: dwell, Phase.PAUSED: dwell, Phase.PROMOTING: promoting}
    lines = ["| command | obeyed while | answer |", "|---|---|---|"]
    for verb in get_args(Verb):
        told: dict[str, list[str]] = {}
        for phase, move in under_way.items():
            state = at_first.model_copy(update={"phase": phase, "move": move, "weight_percent": 20})
            step = step_number(ONE_STEP, state)
            command = Command(id=1, verb=verb, walk="w", step=step, weight_percent=35, by="ada@laptop", at=0)
            answer = obey(ONE_STEP, state, [command], 0).answers[-1]
            if answer.accepted:
                told.setdefault(answer.text, []).append(phase)
        for text, phases in told.items():
            lines.append(f"| `{verb}` | {', '.join(phases)} | {text} |")
    return "\n".join([*lines, ""])


def plan_schema() -> str:
    """docs/plan.schema.json."""
    return json.dumps(schema(), indent=2) + "\n"


def _woven(name: str, table: str) -> str:
    """A page that people write, with the table that is written here."""
    before, _, rest = (PAGES_AT / name).read_text().partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def _routers() -> str:
    """What each router says of itself, and what its fixtures say that a walk changes."""
    strategies = list(dict.fromkeys(name for router in ROUTERS.values() for name in router.STRATEGIES))
    lines = ["| router | what a walk changes | has a status | numbers of | " + " | ".join(strategies) + " |"]
    lines.append("|---" * (4 + len(strategies)) + "|")
    for name, router in ROUTERS.items():
        read = f"`{router.PROXY}`" + (", or as its objects have it" if hasattr(router, "proxy") else "")
        cells = [f"`{name}`", _changes(name), "yes" if router.REPORTS else "no", read]
        cells += [TESTED[router.STRATEGIES[one]] if one in router.STRATEGIES else "no" for one in strategies]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


# How a cell of the table is tested.
TESTED = {"traffic": "**traffic**", "schema": "schema", "fixture": "fixture"}


def _changes(router: str) -> str:
    """The places of a router's fixtures, any rule and any Service standing for all."""
    kinds: dict[str, list[str]] = {}
    for path in sorted((FIXTURES / router).glob("*.yaml")):
        for place in yaml.safe_load(path.read_text())["after"]:
            where, _, item = place.rpartition(" of ")
            anywhere = re.sub(r"/actions\.\w+", "/actions.<Service>", re.sub(r"\[\d+]", "[]", where))
            found = kinds.setdefault(anywhere, [])
            found += [kind for kind in [item.split(" ")[0]] if kind not in found]
    changed = [f"{', '.join(found)} `{where}`" for where, found in kinds.items() if where]
    made = [f"makes {'an' if kind[0] in 'AEIOU' else 'a'} {kind}" for kind in kinds.get("", [])]
    return "; ".join([*changed, *made]) or "nothing"


def _diagram() -> str:
    """The table of transitions as a Mermaid diagram."""
    order = list(Phase)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {order[0]}"]
    for phase in order:
        lines += [f"    {phase} --> {following}" for following in sorted(TRANSITIONS[phase], key=order.index)]
    lines += [f"    {phase} --> [*]" for phase in order if phase in FINAL]
    return "\n".join([*lines, "```", ""])


def _table(rows: list[Row]) -> str:
    lines = ["| phase | move | actions | condition |", "|---|---|---|---|"]
    for phase, move, actions in rows:
        condition = " ".join((type(move).__doc__ or "").split()).rstrip(".") if move else ""
        done = ", ".join(dict.fromkeys(f"`{_name(action)}`" for action in actions)) or "none"
        lines.append(f"| {phase} | {_name(move) if move else 'the end'} | {done} | {condition} |")
    return "\n".join([*lines, ""])


def _name(item: Move | Action) -> str:
    match item:
        case Capacity(percent) | Weight(percent) | SetWeight(percent=percent):
            return f"{type(item).__name__} {percent} %"
        case Scale(replicas=replicas) | Pin(replicas=replicas):
            return f"{type(item).__name__} {replicas}"
        case PointApex(revision=revision):
            return f"PointApex {'new' if revision == CANARY else 'old'}"
        case _:
            return type(item).__name__


PAGES = {
    "states.md": states,
    "plan.schema.json": plan_schema,
    "routers.md": lambda: _woven("routers.md", _routers()),
    "gates.md": lambda: _woven("gates.md", settings.gates()),
    "metrics.md": lambda: _woven("metrics.md", settings.sources()),
    "benchmarks.md": report.page,
    "benchmarks.svg": picture.picture,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check tell which are out of date. Returns the exit code."""
    stale = []
    for name, text in PAGES.items():
        page = HERE / name
        if "--check" not in arguments:
            page.write_text(text())
        elif not page.exists() or page.read_text() != text():
            stale.append(f"docs/{name}")
    if stale:
        print(f"out of date: {', '.join(stale)}; run `python -m docs.generate`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
