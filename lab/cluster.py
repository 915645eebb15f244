"""Labs from the outside: make one, find it, remove it.

Lives here: the life of a lab. What one holds of it is `lab/handle.py`'s (and reachable from here as well),
what runs inside is `lab/supervisor.py`'s to know.
A lab is one process (the supervisor) holding namespaces of its own, and one folder in the cache:
it dies with that process, and nothing of it can be left behind but the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import tools, traefik
from lab.crew import LabFailed
from lab.handle import REPOSITORY, Lab, LabError, opened, unproxied
from lab.supervisor import OPTIONAL_PARTS, PARTS

__all__ = ["REPOSITORY", "Lab", "LabError", "down", "find", "names", "status", "up"]
START_SECONDS = 180


def _directory(name: str) -> Path:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
        raise LabError(f"{name!r} cannot be a lab's name: use lower-case letters, digits and dashes")
    return tools.cache_dir() / "labs" / name


def _start_time(pid: int) -> str | None:
    """When a living process started; with the process id, that names it for good."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _lives(pid: int, started: str | None) -> bool:
    return started is not None and _start_time(pid) == started


def _recorded(directory: Path) -> dict[str, Any] | None:
    """What lab.json says of a lab that is still alive."""
    try:
        record: dict[str, Any] = json.loads((directory / "lab.json").read_text())
    except FileNotFoundError:
        return None
    return record if _lives(record["pid"], record["started"]) else None


def find(name: str = "default") -> Lab | None:
    """The lab of that name, if it is up and ready."""
    directory = _directory(name)
    record = _recorded(directory)
    if record is None or not (directory / "ready").exists():
        return None
    return Lab(name, directory, record["pid"])


def names() -> list[str]:
    """Every lab that has a folder, alive or not."""
    return sorted(path.name for path in (tools.cache_dir() / "labs").glob("*"))


def up(
    name: str = "default",
    scrape_seconds: float = 1.0,
    parts: tuple[str, ...] = PARTS,
    say: Callable[[str], None] = lambda line: None,
) -> Lab:
    """Bring a lab up, or find it as it is; what a crashed one has left is cleared away first.

    One that is up already gets Traefik when it is asked for; its other parts stay as they are.
    """
    if unknown := set(parts) - {*PARTS, *OPTIONAL_PARTS}:
        known = ", ".join([*PARTS, *OPTIONAL_PARTS])
        raise LabError(f"{min(unknown)} is no part of a lab: there are {known}")
    if "traefik" in parts and (lacking := [part for part in PARTS if part not in parts]):
        raise LabError(f"traefik needs {', '.join(lacking)} too: add it to --parts")
    directory = _directory(name)
    for program in ("etcd", "kube-apiserver", "kube-controller-manager", "prometheus", "contour"):
        tools.binary(program)
    if "traefik" in parts:
        tools.binary("traefik")
    for program in ("unshare", "nsenter", "ip", "openssl"):
        if shutil.which(program) is None:
            raise LabError(f"`{program}` is not installed, and the lab needs it")
    directory.mkdir(parents=True, exist_ok=True)
    with opened(directory) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabError(f"lab {name} is being brought up by someone else just now") from None
        if lab := find(name):
            if "traefik" in parts:
                _add_traefik(lab)
            return lab
        _kill(directory)
        for path in directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            pid = _launch(directory, scrape_seconds, parts)
            _await_ready(name, directory, say)
        except BaseException:
            _kill(directory)  # the folder stays, for its logs
            raise
    return Lab(name, directory, pid)


def _add_traefik(lab: Lab) -> None:
    try:
        traefik.add(lab)
    except LabFailed as error:
        raise LabError(f"lab {lab.name}: {error}") from error


def _launch(directory: Path, scrape_seconds: float, parts: tuple[str, ...]) -> int:
    """Start the supervisor in namespaces of its own, and tell it to go once it is on record."""
    (directory / "logs").mkdir()
    log = str(directory / "logs" / "supervisor.log")
    command = [
        *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *(() if os.geteuid() == 0 else ("--map-root-user",)),
        *(sys.executable, "-m", "lab.supervisor", "--directory", str(directory)),
        *("--scrape-seconds", str(scrape_seconds), "--parts", ",".join(parts)),
    ]
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = unproxied() | {"PYTHONPATH": os.pathsep.join(paths)}
    receive, send = os.pipe()
    # No subprocess.Popen: the lab outlives this call, and often this process.
    outer = os.posix_spawnp(
        command[0],
        command,
        environment,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, receive, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    os.close(receive)
    with open(send, "w") as pipe:
        pid = _only_child(outer)
        record = {"pid": pid, "started": _start_time(pid)}
        record |= {"outer": outer, "outer_started": _start_time(outer)}
        (directory / "lab.json").write_text(json.dumps(record))
        pipe.write("go\n")
    return pid


def _only_child(outer: int) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _start_time(outer) is not None:
        if children := Path(f"/proc/{outer}/task/{outer}/children").read_text().split():
            return int(children[0])
        time.sleep(0.01)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(outer, os.WNOHANG)
    raise LabError("this machine does not allow new namespaces: run as root, or allow user namespaces")


def _await_ready(name: str, directory: Path, say: Callable[[str], None]) -> None:
    """Wait until the supervisor says ready, repeating what each part has come to."""
    started, said = time.monotonic(), set[str]()
    while True:
        finished = (directory / "ready").exists()
        for part, entry in _states(directory).items():
            if entry["state"] == "ready" and part not in said:
                said.add(part)
                say(f"{part}: ready after {entry['seconds']} s")
        if finished:
            say(f"lab {name}: up in {time.monotonic() - started:.1f} s")
            return
        if (directory / "failed").exists():
            raise LabError(f"lab {name} did not come up: {(directory / 'failed').read_text()}; see {directory}")
        if _recorded(directory) is None or time.monotonic() - started > START_SECONDS:
            raise LabError(f"lab {name} did not come up: see the logs in {directory / 'logs'}")
        time.sleep(0.05)


def _states(directory: Path) -> dict[str, dict[str, Any]]:
    try:
        states: dict[str, dict[str, Any]] = json.loads((directory / "status.json").read_text())
    except FileNotFoundError:
        return {}
    return states


def _kill(directory: Path) -> None:
    """End the supervisor, and thereby all that it holds; wait until the kernel has done so."""
    try:
        record = json.loads((directory / "lab.json").read_text())
    except FileNotFoundError:
        return
    asked = time.monotonic()
    while _lives(record["pid"], record["started"]) and time.monotonic() < asked + 10:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["pid"], signal.SIGTERM if time.monotonic() < asked + 3 else signal.SIGKILL)
        time.sleep(0.02)
    # `unshare` ends a moment later; where this very process brought the lab up, it has to be collected.
    while _lives(record["outer"], record["outer_started"]) and time.monotonic() < asked + 11:
        time.sleep(0.01)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(record["outer"], os.WNOHANG)


def down(name: str = "default") -> bool:
    """Remove a lab, dead or alive; False if there was none."""
    directory = _directory(name)
    if not directory.exists():
        return False
    _kill(directory)
    shutil.rmtree(directory)
    return True


def status(name: str = "default") -> dict[str, Any]:
    """Whether the lab lives, and what each of its parts has come to."""
    directory = _directory(name)
    record = _recorded(directory)
    states = _states(directory) if record else {}
    return {
        "name": name,
        "state": "down" if record is None else "up" if (directory / "ready").exists() else "starting",
        "pid": record["pid"] if record else None,
        "parts": {part: entry["state"] for part, entry in states.items()},
    }
