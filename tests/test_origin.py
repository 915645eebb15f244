"""Who releases, from which commit, and whether a process still runs."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pulumi_rollout import origin


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run in a CI job themselves."""
    for name in (*origin.CI_ACTORS, *origin.CI_COMMITS):
        monkeypatch.delenv(name, raising=False)


# Who.


def test_somebody_at_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    assert origin.person() == "ada@laptop"


@pytest.mark.parametrize("name", origin.CI_ACTORS)
def test_a_job_runs_for_whoever_started_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "root")
    monkeypatch.setattr(socket, "gethostname", lambda: "runner-7")
    monkeypatch.setenv(name, "ada")
    assert origin.person() == "ada@runner-7"


@pytest.mark.parametrize("error", [OSError, KeyError, ImportError])
def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """As in a container that runs under a number of its own."""

    def nobody() -> str:
        raise error("no name")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    assert origin.person() == "somebody@laptop"


# What.


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One commit. Returns its id."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    Path("app.py").write_text("1")
    git("init", "--quiet")
    git("add", "app.py")
    git("-c", "user.name=ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "--message", "one")
    return git("rev-parse", "HEAD")


def test_a_clean_commit(repository: str) -> None:
    assert origin.commit() == repository


def test_one_that_was_changed_since(repository: str) -> None:
    Path("app.py").write_text("2")
    assert origin.commit() == f"{repository}-dirty"


def test_files_that_git_does_not_know_change_nothing(repository: str) -> None:
    Path("notes.txt").write_text("mine")
    assert origin.commit() == repository


def test_outside_of_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert origin.commit() is None


@pytest.mark.parametrize("name", origin.CI_COMMITS)
def test_outside_of_git_a_job_may_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv(name, "c0ffee")
    assert origin.commit() == "c0ffee"


def test_without_git_there_is_none(repository: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert origin.commit() is None


def test_a_git_that_hangs_holds_up_no_release(repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "git"
    script.write_text("#!/bin/sh\nexec sleep 5\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(origin, "GIT_SECONDS", 0.05)
    assert origin.commit() is None


# Which process.


def test_this_process_runs() -> None:
    assert origin.process() == origin.process()
    assert not origin.gone(origin.process())


def test_one_that_has_ended_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    identity = origin._process(ended.pid)
    assert not origin.gone(identity)
    ended.wait()
    assert origin.gone(identity)


def test_another_one_under_the_same_id_is_not_it() -> None:
    """Process ids are used again."""
    name, _, started = origin.process().rpartition(".")
    assert origin.gone(f"{name}.{int(started) - 1}")


@pytest.mark.parametrize(
    "identity",
    [
        "",
        "nonsense",
        "another-boot|pid:[1]|4194000.5",
        f"{socket.gethostname()}|4194000.5",
        f"{origin._machine()}|",
        f"{origin._machine()}|x.5",
    ],
)
def test_of_what_cannot_be_told_nothing_is_claimed(identity: str) -> None:
    """Of another machine, another boot, another PID namespace, or of a later version."""
    assert not origin.gone(identity)


def test_where_processes_do_not_say_when_they_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "_started", lambda pid: "")
    ours = origin._process(os.getpid())
    assert ours.endswith(f"|{os.getpid()}.")
    assert not origin.gone(ours)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert origin.gone(origin._process(ended.pid))


def test_without_linux_a_machine_is_its_name_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", no_proc)
    assert origin._machine().startswith(f"{socket.gethostname()}|")
    assert not origin.gone(origin.process())
