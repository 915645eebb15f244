"""A Pulumi stack in a lab: a project folder of its own, its configuration, and the CLI's commands.

Lives here: what the demo, the end-to-end tests and the benchmarks share. No opinion on results.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.cluster import REPOSITORY, Lab

COMMAND_SECONDS = 240
# Of a command, in what they were started with: dynamic providers, the language host and the program.
PROCESSES = (b"pulumi.dynamic", b"lab.language_host", b"pulumi-language-python-exec")


@dataclass(frozen=True)
class Result:
    """What a command came to. + began, ended: Unix time"""

    code: int
    output: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Running:
    """A command that is under way."""

    def __init__(self, command: list[str], environment: dict[str, str], directory: Path, log: Path) -> None:
        self._log = log
        self.began = time.time()
        with log.open("w") as out:
            # A session of its own: a test that kills the CLI kills nothing else.
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text()

    def interrupt(self) -> None:
        """One Ctrl-C. The CLI itself is signalled: nsenter execs it, so it has the process' id."""
        self.process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        """One SIGTERM, as CI systems and `kill` send it."""
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL for the CLI alone: the provider processes stay."""
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = COMMAND_SECONDS) -> Result:
        """Its end; killed if it takes longer."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return Result(code, self.output, self.began, time.time())


class Stack:
    """One stack with a project of its own. + program: the text of __main__.py; this repository's if None"""

    def __init__(self, lab: Lab, name: str, directory: Path, program: str | None = None) -> None:
        self.lab, self.name, self.directory = lab, name, directory
        self.environment = lab.environment(directory / "home")
        self.environment["PYTHONPATH"] = str(REPOSITORY)
        self._commands = itertools.count(1)
        (directory / "stacks").mkdir(parents=True, exist_ok=True)
        project = yaml.safe_load((REPOSITORY / "Pulumi.yaml").read_text())
        project["runtime"]["options"]["virtualenv"] = sys.prefix
        (directory / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        if program is None:
            shutil.copyfile(REPOSITORY / "__main__.py", directory / "__main__.py")
        else:
            (directory / "__main__.py").write_text(program)
        self.run("stack", "init", name)

    def break_(self, *countermeasures: str | None) -> None:
        """Take countermeasures away from all later commands, or give them back. Each is `name`, or
        `name:app+app` for some applications only (lab/breaks)."""
        self.environment.pop("LAB_BREAK", None)
        self.environment["PYTHONPATH"] = str(REPOSITORY)
        if chosen := ",".join(filter(None, countermeasures)):
            self.environment["LAB_BREAK"] = chosen
            self.environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "lab" / "breaks"), str(REPOSITORY)])

    def configure(self, **values: Any) -> None:
        """Replace configuration values of the project, as a deployment from Git would."""
        path = self.directory / "stacks" / f"Pulumi.{self.name}.yaml"
        settings = (yaml.safe_load(path.read_text()) if path.exists() else None) or {}
        config = settings.setdefault("config", {})
        config.update({f"rollouts:{key}": deepcopy(value) for key, value in values.items()})
        path.write_text(yaml.safe_dump(settings))

    def start(self, *arguments: str, **environment: str) -> Running:
        """Begin a command of the Pulumi CLI. + environment: more of it, for this command"""
        log = self.directory / f"{next(self._commands):02}-{arguments[0]}.log"
        command = self.lab.command("pulumi", *arguments, "--color", "never", "--non-interactive")
        return Running(command, {**self.environment, **environment}, self.directory, log)

    def run(self, *arguments: str) -> Result:
        """Run a command of the Pulumi CLI to its end."""
        return self.start(*arguments).wait()

    def up(self, *arguments: str) -> Result:
        """`pulumi up`, without its preview unless asked for."""
        return self.run("up", "--yes", "--stack", self.name, *(arguments or ("--skip-preview",)))

    def state(self) -> list[dict[str, Any]]:
        """The resources in the stack's state."""
        exported = json.loads(self.run("stack", "export", "--stack", self.name).output)
        resources: list[dict[str, Any]] = exported["deployment"].get("resources", [])
        return resources

    def kill_providers(self) -> None:
        """SIGKILL for the processes of this stack's dynamic providers, and for what else a killed CLI has orphaned."""
        home = f"PULUMI_HOME={self.environment['PULUMI_HOME']}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                ours = any(name in argument for argument in command for name in PROCESSES)
                if ours and home in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)

    def die(self, running: Running) -> None:
        """What is left when the machine has died in a command. Providers go first: one that sees the CLI gone puts the
        traffic back, and would have the time for it."""
        self.kill_providers()
        running.kill()
        self.kill_providers()

    def unlock(self) -> Result:
        """Take away the lock that a killed CLI has left, as its user would."""
        return self.run("cancel", "--yes", "--stack", self.name)

    def destroy(self) -> Result:
        """`pulumi destroy`."""
        return self.run("destroy", "--yes", "--skip-preview", "--stack", self.name)


def podinfo(tag: str, *, name: str = "podinfo", **changes: Any) -> dict[str, Any]:
    """The example application, as `<project>:applications` has it; `changes` replace its settings."""
    example = yaml.safe_load((REPOSITORY / "stacks" / "Pulumi.demo.yaml").read_text())
    settings = example["config"]["rollouts:applications"]["podinfo"]
    settings["image"] = f"ghcr.io/stefanprodan/podinfo:{tag}"
    settings["routing"]["gateway"]["hosts"] = [f"{name}.example.com"]
    canary = {**settings["rollout"]["canary"], **changes.pop("canary", {})}
    if "weights" in canary:  # which are instead of steps of a size
        canary = {key: value for key, value in canary.items() if key not in ("stepWeight", "maxWeight")}
    return {name: {**settings, "rollout": {"canary": canary}, **changes}}
