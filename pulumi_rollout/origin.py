"""Who releases, from where, and what: the names that locks, journals and answers carry.

Lives here: reading this process' surroundings. Nothing is written, and nothing here is secret.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import socket
import subprocess
import uuid
from pathlib import Path

# Who started a job, as the CI systems say it.
CI_ACTORS = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILDKITE_BUILD_CREATOR", "CIRCLE_USERNAME", "BUILD_REQUESTEDFOR")
CI_COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT", "CIRCLE_SHA1", "BUILD_SOURCEVERSION")
GIT_SECONDS = 2.0


def person() -> str:
    """Somebody at some machine, as in `ada@laptop`."""
    actor = next(filter(None, map(os.environ.get, CI_ACTORS)), None)
    with contextlib.suppress(OSError, KeyError, ImportError):  # no name for the user id, as in many containers
        actor = actor or getpass.getuser()
    return f"{actor or 'somebody'}@{socket.gethostname()}"


@functools.cache
def process() -> str:
    """This process, so that another one on this machine can tell whether it still runs. It stays the same
    when the machine's name changes."""
    return _process(os.getpid())


def gone(process: str) -> bool:
    """Whether a process ran on this machine and does not any more; False where that cannot be told."""
    machine, _, pid = process.rpartition("|")
    number, _, started = pid.partition(".")
    if machine != _machine() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return started != _started(int(number))


def commit() -> str | None:
    """The commit that is deployed, with `-dirty` for one that was changed; None outside of Git."""
    try:
        head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return next(filter(None, map(os.environ.get, CI_COMMITS)), None)
    return f"{head}-dirty" if changes else head


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    return ended.stdout.strip()


def _process(pid: int) -> str:
    return f"{_machine()}|{pid}.{_started(pid)}"


def _machine() -> str:
    """Process ids mean something within one boot of one machine, and within one PID namespace of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}|{boot}|{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()}|{uuid.getnode():x}"


def _started(pid: int) -> str:
    """When a process started, as process ids are used again; empty where the system does not say."""
    try:
        # Behind the program's name, which may hold anything: field 22 of proc(5)'s stat.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
