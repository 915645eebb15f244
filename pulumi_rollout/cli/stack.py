"""Everything that the command line asks of the Pulumi CLI: previews and configuration.

Lives here: running `pulumi`, and which revision `undo` goes back to. Not here: what a preview means
(`preview.py`).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from pulumi_rollout.cli import preview
from pulumi_rollout.cli.look import Facts, images, moment, serving_of
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.state import Phase
from pulumi_rollout.errors import Refused, RolloutError
from pulumi_rollout.journal import Entry

Manifest = dict[str, Any]

DIRTY = "-dirty"


def releases(stack: str | None, folder: str | None, saved: str | None = None) -> list[preview.Release]:
    """What `pulumi preview` says of each rollout, or what it has said in a file. Raises RolloutError with Pulumi's
    own words."""
    return preview.releases(_saved(saved) if saved else _previewed(stack, folder))


def plans(stack: str | None, folder: str | None, saved: str | None) -> dict[str, Plan]:
    """The plan of each application of the stack, whether the next update would walk it or not."""
    return preview.plans(_saved(saved) if saved else _previewed(stack, folder))


def _previewed(stack: str | None, folder: str | None) -> Manifest:
    done = _pulumi(["preview", "--json", "--show-sames", *_stack(stack)], folder)
    try:
        found: Manifest = json.loads(done.stdout)
    except ValueError:
        words = done.stderr.strip() or done.stdout.strip() or "`pulumi preview` printed nothing"
        raise RolloutError(words.removeprefix("error: ")) from None
    if done.returncode:
        raise RolloutError("\n".join(preview.problems(found)) or done.stderr.strip())
    return found


def _saved(path: str) -> Manifest:
    """The same from a file that `pulumi preview --json --show-sames` has written."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise RolloutError(f"{path} is not the output of `pulumi preview --json`: {error}") from None
    if not isinstance(found, dict) or "steps" not in found:
        raise RolloutError(f"{path} is not the output of `pulumi preview --json`: it has no steps")
    if failed := preview.problems(found):
        raise RolloutError("\n".join(failed))
    return found


def earlier(facts: Facts, to: str | None) -> Entry:
    """The last good revision before the one that was deployed last, or the one that is asked for: after a
    failed rollout the one that serves. Raises Refused."""
    app = facts.app
    if facts.journal.unfinished is not None:
        raise Refused(f"a rollout of {app} is not over yet: `rollout abort {app}` puts the old version back")
    last = _deployed(facts)
    good = [one for one in facts.journal.history if one.phase is Phase.SUCCEEDED and one.revision != last]
    if not good:
        raise Refused(f"no revision of {app} is remembered that has served before {app}-{last}")
    chosen = [one for one in good if to is None or one.revision == to.removeprefix(f"{app}-")]
    if not chosen:
        names = ", ".join(dict.fromkeys(f"{app}-{one.revision}" for one in good))
        raise Refused(f"{to} is none of the revisions of {app} that have served before; there are: {names}")
    return chosen[-1]


def ways_back(facts: Facts, old: Entry, stack: str | None, folder: str | None) -> list[str]:
    """What to deploy so that an earlier revision serves again, for people."""
    app, serving = facts.app, serving_of(facts)
    now = images(facts).get(_deployed(facts) or "")
    about = ", ".join(filter(None, [old.image, old.commit and f"commit {old.commit}", f"of {moment(old.ended_at)}"]))
    up = shlex.join(["pulumi", "up", *_stack(stack)])
    if old.revision == serving:
        lines = [f"{app}-{_deployed(facts)} has failed, and {app}-{serving} serves ({about})."]
    else:
        lines = [f"{app}-{serving} serves; before it, {app}-{old.revision} did ({about})."]
    if old.commit:
        lines += [f"  git checkout {old.commit.removesuffix(DIRTY)} && {up}"]
        lines += ["  (that commit had changes that were not committed)"] if old.commit.endswith(DIRTY) else []
    if old.image and old.image != now and _is_configured(facts, stack, folder):
        command = ["pulumi", "config", "set", "--path", _key(facts), old.image, *_stack(stack)]
        lines += [f"  {shlex.join(command)} && {up}"]
    elif old.image and old.image != now:
        lines += [f"  deploy image {old.image}: set it where your program has it, then {up}"]
    if len(lines) == 1:
        lines += ["  The journal knows neither its commit nor an image of its own: deploy it as you did then."]
    return lines


def set_image(facts: Facts, old: Entry, stack: str | None, folder: str | None) -> str:
    """Set the earlier revision's image in the stack's configuration. Raises Refused where that is not
    what released the one that serves."""
    app, now, key = facts.app, images(facts).get(_deployed(facts) or ""), _key(facts)
    if not old.image or not now or old.image == now:
        raise Refused(f"{app}-{old.revision} differs in more than a known image, so that its commit has to be deployed")
    found = _pulumi(["config", "get", "--path", key, *_stack(stack)], folder)
    if found.returncode:
        raise Refused(f"the configuration of the stack has no image of {app}: {_first_line(found.stderr)}")
    if (configured := found.stdout.strip()) != now:
        raise Refused(
            f"the configuration of the stack has {configured} for {app}, and {now} was deployed last: set {key} "
            "yourself, or deploy the commit"
        )
    done = _pulumi(["config", "set", "--path", key, old.image, *_stack(stack)], folder)
    if done.returncode:
        raise RolloutError(f"`pulumi config set` has failed: {_first_line(done.stderr)}")
    return f"{key} is {old.image} now: run `{shlex.join(['pulumi', 'up', *_stack(stack)])}`"


def _is_configured(facts: Facts, stack: str | None, folder: str | None) -> bool:
    """Whether the image is in the stack's configuration; a program of one's own has it elsewhere."""
    try:
        return _pulumi(["config", "get", "--path", _key(facts), *_stack(stack)], folder).returncode == 0
    except RolloutError:  # without the Pulumi CLI, here is no project
        return False


def _deployed(facts: Facts) -> str | None:
    """The revision that was deployed last, well or not."""
    last = facts.journal.history[-1] if facts.journal.history else None
    return last.revision if last is not None and last.phase is Phase.FAILED else serving_of(facts)


def _key(facts: Facts) -> str:
    project = facts.journal.owner.partition("/")[0] or "<project>"
    return f"{project}:applications.{facts.app}.image"


def _stack(stack: str | None) -> list[str]:
    return ["--stack", stack] if stack else []


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "it does not say why").removeprefix("error: ")


def _pulumi(arguments: list[str], folder: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PULUMI_ENABLE_STREAMING_JSON_PREVIEW"}
    where = ["--cwd", folder] if folder else []
    command = ["pulumi", *arguments, "--non-interactive", "--color", "never", *where]
    try:
        return subprocess.run(command, capture_output=True, text=True, env=environment)
    except OSError as error:
        raise RolloutError(f"the Pulumi CLI cannot be run: {error}") from None
