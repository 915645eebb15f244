"""How everything looks in a terminal: tables, the status, the tree. The only file that draws.

Colours and the tree are for terminals; what is piped is plain, and never cut off. Not here: what is
shown (`look.py`, `preview.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from pulumi_rollout.cli.gate_view import GateView
from pulumi_rollout.cli.look import Ended, Standing, Status, Version
from pulumi_rollout.cli.preview import Release
from pulumi_rollout.core.gates import asks
from pulumi_rollout.core.measures import Source
from pulumi_rollout.inputs import REVISION_LABEL
from pulumi_rollout.observe import pod_reason

if TYPE_CHECKING:
    from pulumi_rollout.cli.simulate import Simulation

Manifest = dict[str, Any]
Cell = str | Text

# Of a simulation, as `Version.cells` has them.
COLUMNS = ("VERSION", "PROMOTED", "PUT BACK", "UNDECIDED", "HALF WITHIN", "95 % WITHIN", "FAILED REQUESTS")
BAR_WIDTH = 30
COMMIT_LENGTH = 9
STYLES = {
    Standing.REST: ("✔", "green"),
    Standing.WAITING: ("‖", "yellow"),
    Standing.UNDER_WAY: ("◌", "cyan"),
    Standing.FAILED: ("✖", "red"),
}
OUTCOMES = {"succeeded": "green", "failed": "red", "stopped": "yellow"}
VERDICTS = {"pass": "green", "fail": "red", "hold": "yellow", "undecided": "cyan"}


def show(lines: Iterable[RenderableType]) -> None:
    """Print to standard output."""
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line)


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[Text]:
    """Columns, as kubectl prints them."""
    cells = [[Text(heading, "bold") for heading in headings]]
    cells += [[cell if isinstance(cell, Text) else Text(cell or "-") for cell in row] for row in rows]
    widths = [max(row[number].cell_len for row in cells) for number in range(len(headings))]
    lines = []
    for row in cells:
        padded = [cell + " " * (width - cell.cell_len + 3) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append(Text.assemble(*padded, row[-1]))
    return lines


def status(now: Status) -> list[Text]:
    """One application, in lines of a name and a value."""
    rows: list[tuple[str, Cell]] = [
        ("Name", now.app),
        ("Namespace", now.namespace),
        ("Status", _standing(now)),
        ("Weight", f"{now.weight_percent} %" + (f" (step {now.step} of {now.steps})" if now.step else "")),
        ("Revision", _version(now.revision)),
        ("Stable", _version(now.stable) if now.stable else "none: a first release"),
        ("Serving", now.serving.name if now.serving else "nothing"),
        ("Started", now.started_at + (f" by {now.by}" if now.by else "")),
        *([("Commit", now.commit)] if now.commit else []),
        *([("Waits", now.because)] if now.because else []),
        *([("Verdict", now.verdict)] if now.verdict else []),
        *([("Guard", f"put the traffic back at {now.guard}")] if now.guard else []),
        ("Lock", _lock(now)),
        *[("Gate", _gate(gate)) for gate in now.gates],
        *[("Answered", _said(said.at, said.by, said.verb, said.text, said.accepted)) for said in now.answers],
        *[("Recorded", _said(said.at, said.by, said.verb, said.text, said.accepted)) for said in now.asked],
    ]
    return [Text.assemble((f"{name + ':':12}", "bold"), value) for name, value in rows]


def listing(found: Sequence[tuple[str, str, Status | str]], *, namespaces: bool) -> list[Text]:
    """One line an application; what cannot be read says so."""
    rows: list[list[Cell]] = []
    for namespace, app, now in found:
        row: list[Cell] = [namespace] if namespaces else []
        if isinstance(now, str):
            rows.append([*row, app, Text("unreadable", "red"), "", "", "", now])
        else:
            step = f"{now.step}/{now.steps}" if now.step else ""
            by = now.lock.holder if now.lock else ""
            rows.append([*row, app, _standing(now), f"{now.weight_percent} %", step, now.revision.name, by])
    headings = ["NAME", "STATUS", "WEIGHT", "STEP", "REVISION", "RELEASED BY"]
    return table(["NAMESPACE", *headings] if namespaces else headings, rows)


def history(ended: Sequence[Ended]) -> list[Text]:
    """The walks that are over."""
    rows: list[list[Cell]] = [
        [
            one.revision.name,
            one.revision.image or "",
            commit(one.commit),
            one.by or "",
            one.started_at or "",
            "" if one.seconds is None else lasted(one.seconds),
            Text(one.outcome, OUTCOMES[one.outcome]),
            one.reason or "",
        ]
        for one in ended
    ]
    return table(["REVISION", "IMAGE", "COMMIT", "BY", "STARTED", "TOOK", "OUTCOME", "REASON"], rows)


def plan(release: Release) -> list[Text]:
    """What an update would do to one application."""
    title = Text.assemble((f"{release.namespace}/{release.app}", "bold"), f": {release.words}")
    if release.plan is None:
        return [title, *(Text(f"  warning: {text}", "yellow") for text in release.warnings)]
    steps: list[list[Cell]] = [
        [
            str(number),
            f"{step.weight_percent} %",
            lasted(step.interval_seconds),
            lasted(step.max_wait_seconds),
            "somebody" if step.wait_for_person else "",
        ]
        for number, step in enumerate(release.plan.steps, 1)
    ]
    gates: list[list[Cell]] = [
        [
            gate.id + (" (dry run)" if gate.dry_run else ""),
            asks(gate),
            "alpha" if gate.id in release.plan.judging else "",
            _source(release.plan.sources.get(gate.source or "")),
        ]
        for gate in release.plan.gates
    ]
    before = [Text("before the first step, somebody has to promote it")] if release.plan.wait_before_traffic else []
    lines = [
        *before,
        *table(["STEP", "WEIGHT", "INTERVAL", "MAX WAIT", "CONFIRMED BY"], steps),
        *(table(["GATE", "WANTS", "SHARES", "SOURCE"], gates) if gates else [Text("no gates: nothing judges it")]),
        Text(f"worst case {lasted(release.plan.worst_case_seconds())}, people's waiting left out"),
        *(Text(text) for text in release.notes),
        *(Text(f"warning: {text}", "yellow") for text in release.warnings),
    ]
    return [title, *(Text("  ") + line for line in lines)]


def simulation(found: Simulation) -> list[Text]:
    """What a policy would do with a good and with a bad version."""
    versions = [version.cells for version in (found.good, found.bad) if version is not None]
    return [Text(found.title), *table(COLUMNS, versions), *map(Text, found.chances), *map(Text, found.reasons)]


def tree(now: Status, pods: Sequence[Manifest], note: str | None) -> RenderableType:
    """The application with its revisions and their pods, for a terminal."""
    root = Tree(Text.assemble(f"{STYLES[now.standing][0]} ", (now.app, "bold"), f"  {now.namespace}  ", _standing(now)))
    weights = [(now.revision, now.weight_percent)]
    if now.stable is not None:
        weights.append((now.stable, 100 - now.weight_percent))
    for version, weight in weights:
        branch = root.add(Text.assemble(f"{_version(version)}  ", _bar(weight), f" {weight} %"))
        for pod in pods:
            if pod["metadata"]["labels"][REVISION_LABEL] == version.hash:
                branch.add(_pod(pod))
    for gate in now.gates:
        root.add(_gate(gate))
    for name, text in (
        ("waits", now.because),
        ("verdict", now.verdict),
        ("guard", now.guard and f"acted at {now.guard}"),
    ):
        if text:
            root.add(f"{name}: {text}")
    for said in now.answers[-3:]:
        root.add(_said(said.at, said.by, said.verb, said.text, said.accepted))
    return Group(root, Text(_lock(now), "dim"), *([Text(note, "yellow")] if note else []))


def change(now: Status) -> str:
    """A rollout in one line, without what changes all the time."""
    parts = [f"{now.app}: {now.phase}, weight {now.weight_percent} %"]
    parts += [f"step {now.step} of {now.steps}"] if now.step else []
    parts += [f"{gate.id.replace('_', ' ')}: {gate.verdict}" for gate in now.gates if now.weight_percent]
    parts += [text for text in (now.because, now.verdict) if text]
    parts += [f"the guard put the traffic back at {now.guard}"] if now.guard else []
    parts += [f"{now.answers[-1].by} says {now.answers[-1].verb}: {now.answers[-1].text}"] if now.answers else []
    return "; ".join(parts)


@contextlib.contextmanager
def screen() -> Iterator[Callable[[Status, Sequence[Manifest], str | None], None]]:
    """Yields what draws one look: the tree in place, in a terminal; else a line at each change."""
    console = Console(highlight=False, soft_wrap=True)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda now, pods, note: live.update(tree(now, pods, note), refresh=True)
        return
    last = ""

    def draw(now: Status, pods: Sequence[Manifest], note: str | None) -> None:
        nonlocal last
        if (line := change(now) + (f"; {note}" if note else "")) != last:
            console.print(line, markup=False)
        last = line

    yield draw


def lasted(seconds: float) -> str:
    """A duration for reading: 42s, 4m12s, 1h05m."""
    if seconds < 60:
        return f"{seconds:.3g}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s" if rest else f"{minutes}m"
    return f"{minutes // 60}h{minutes % 60:02}m"


def commit(name: str | None) -> str:
    """A commit's short name, which still says that it was changed."""
    head, _, changed = (name or "").partition("-")
    return head[:COMMIT_LENGTH] + (f"-{changed}" if changed else "")


def _standing(now: Status) -> Text:
    extra = ", held" if now.held else ", cut off" if now.cut_off else ""
    return Text(f"{now.phase}{extra}", STYLES[now.standing][1])


def _version(version: Version) -> str:
    return version.name + (f"  {version.image}" if version.image else "")


def _lock(now: Status) -> str:
    if now.lock is None:
        return "free: no process is releasing it"
    return f"{now.lock.holder} since {now.lock.since}, last heartbeat {now.lock.renewed} (by its own clock)"


def _source(source: Source | None) -> str:
    """Where a gate's numbers come from; without a source, from the cluster."""
    return "the cluster" if source is None else " ".join(filter(None, (source.kind, source.address or source.proxy)))


def _gate(gate: GateView) -> Text:
    shown = " (dry run)" if gate.dry_run else ""
    more = f"; {gate.held}" if gate.held else f"; no data: {gate.no_data}" if gate.no_data else ""
    verdict = (f"{gate.verdict}{shown}", VERDICTS[gate.verdict])
    return Text.assemble(f"{gate.id.replace('_', ' ')}  ", verdict, f"  {gate.seen}{more}")


def _said(at: str, by: str, verb: str, text: str, accepted: bool | None) -> Text:
    words = {True: text, False: f"refused: {text}", None: text or "waits for the next `pulumi up`"}[accepted]
    return Text(f"{at}  {by} {verb}: {words}", "red" if accepted is False else "")


def _bar(percent: int) -> Text:
    full = round(BAR_WIDTH * percent / 100)
    return Text.assemble(("█" * full, "cyan"), ("░" * (BAR_WIDTH - full), "dim"))


def _pod(pod: Manifest) -> Text:
    found = pod.get("status", {}).get("containerStatuses", [])
    ready = sum(1 for one in found if one.get("ready"))
    wanted = len(found) or len(pod.get("spec", {}).get("containers", []))
    fine = bool(found) and ready == wanted
    name = pod["metadata"]["name"]
    reason = "" if fine else (pod_reason(pod) or pod.get("status", {}).get("phase", "")).removeprefix(f"pod {name}: ")
    state = Text(f"ready {ready}/{wanted}", "green" if fine else "yellow")
    return Text.assemble(f"{name}  ", state, f"  {reason}" if reason else "")
