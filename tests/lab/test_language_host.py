"""The Python language host under the real Pulumi CLI: whole commands, a ConfigMap and a dynamic resource.

Lives here: what a user would see of the host, official or stand-in. The plugin has tests of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2 as pb
from pulumi.runtime.proto import language_pb2_grpc

from lab import cluster

HOST = "pulumi-language-python"
STAND_INS = Path(cluster.__file__).parent / "bin"

PROGRAM = """
import os

import pulumi
import pulumi_kubernetes as kubernetes
from things import Echo

config = pulumi.Config()
config_map = kubernetes.core.v1.ConfigMap(
    "words", metadata={"name": "words"}, data={"word": config.require("word")}
)
echo = Echo("echo", config_map.metadata.uid, pulumi.get_stack())
pulumi.export("uid", echo.said)
pulumi.export("stack", echo.stack)
pulumi.export("secret", config.require_secret("hidden"))
if "BROKEN" in os.environ:
    raise ValueError("the program is broken")
if "EXITS" in os.environ:
    raise SystemExit(3)
"""
DYNAMIC = """
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider, UpdateResult


class EchoProvider(ResourceProvider):
    def create(self, props):
        return CreateResult("echo", self.outputs(props))

    def update(self, _id, _olds, props):
        return UpdateResult(self.outputs(props))

    def outputs(self, props):
        return {**props, "said": f"uid {props['uid']}"}


class Echo(Resource):
    said: pulumi.Output[str]
    stack: pulumi.Output[str]

    def __init__(self, name, uid, stack):
        super().__init__(EchoProvider(), name, {"uid": uid, "stack": stack, "said": None})
"""


@dataclass
class Project:
    """A program in a lab, and the CLI to run on it."""

    lab: cluster.Lab
    folder: Path
    environment: dict[str, str]

    def pulumi(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        command = self.lab.command("pulumi", *words, "--non-interactive", "--color", "never")
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **extra},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def done(self, *words: str) -> str:
        result = self.pulumi(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def state(self) -> dict[str, Any]:
        """The deployment in the stack's checkpoint."""
        state = Path(self.environment["PULUMI_HOME"], "state", ".pulumi", "stacks", "words", "dev.json")
        return dict(json.loads(state.read_text())["checkpoint"]["latest"])


def outputs(shown: str) -> dict[str, str]:
    """The outputs at the end of what `pulumi up` prints; of a changed one the new value."""
    lines = re.findall(r"^ *[+~]? *(uid|stack|secret) *: (.+)$", shown, re.MULTILINE)
    return {name: value.rpartition("=> ")[2].strip('"') for name, value in lines}


@pytest.fixture(scope="module")
def project(whole: cluster.Lab, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("program")
    (folder / "__main__.py").write_text(PROGRAM)
    (folder / "things.py").write_text(DYNAMIC)
    options = {"virtualenv": sys.prefix}
    runtime = {"name": "python", "options": options}
    (folder / "Pulumi.yaml").write_text(json.dumps({"name": "words", "runtime": runtime}))
    environment = whole.environment(tmp_path_factory.mktemp("pulumi"))
    made = Project(whole, folder, environment)
    made.done("stack", "init", "dev")
    made.done("config", "set-all", "--plaintext", "word=one", "--secret", "hidden=s3cret")
    return made


@pytest.mark.lab
def test_the_life_of_a_stack(project: Project) -> None:
    """`up` with its preview, and without; nothing to do in between; and nothing left at the end."""
    created = project.done("up", "--yes")
    assert "+ 3 to create" in created and "+ 3 created" in created
    first = outputs(created)
    assert first["uid"].startswith("uid ") and first["stack"] == "dev" and first["secret"] == "[secret]"
    project.done("preview", "--expect-no-changes")
    project.done("refresh", "--yes", "--expect-no-changes")
    second = outputs(project.done("up", "--yes", "--skip-preview", "--config", "word=two"))
    assert second["uid"].startswith("uid ") and second["uid"] != first["uid"]  # replaced, and told
    assert project.state()["resources"]
    project.done("destroy", "--yes", "--skip-preview")
    assert not project.state().get("resources")


@pytest.mark.lab
def test_an_error_in_the_program_is_shown_once(project: Project) -> None:
    result = project.pulumi("preview", BROKEN="yes")
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert said.count("ValueError: the program is broken") == 1, said


@pytest.mark.lab
def test_the_exit_code_of_the_program_is_told(project: Project) -> None:
    result = project.pulumi("preview", EXITS="yes")
    assert result.returncode != 0
    assert "exit code" in result.stdout + result.stderr


@pytest.fixture
def host() -> Iterator[language_pb2_grpc.LanguageRuntimeStub]:
    """A host process on its own, as the engine starts it."""
    path = os.environ["PATH"] if shutil.which(HOST) else f"{STAND_INS}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ROLLOUT_LAB_PYTHON": sys.executable}
    command = [str(shutil.which(HOST, path=path)), "127.0.0.1:1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())  # type: ignore[union-attr]
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield language_pb2_grpc.LanguageRuntimeStub(channel)
    finally:
        process.terminate()
        process.wait(10)


def test_a_python_plugin_is_run(host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(
        "import os, sys; print(sys.argv[1], os.environ['WORD']); print('oh', file=sys.stderr); sys.exit(4)"
    )
    info = pb.ProgramInfo(root_directory=str(tmp_path), program_directory=str(tmp_path), entry_point=".")
    info.options.update({"virtualenv": sys.prefix})
    request = pb.RunPluginRequest(pwd=str(tmp_path), args=["address"], env=["WORD=hello"], info=info, kind="resource")
    parts = list(host.RunPlugin(request, timeout=30))
    assert b"".join(part.stdout for part in parts) == b"address hello\n"
    assert b"".join(part.stderr for part in parts) == b"oh\n"
    assert parts[-1].exitcode == 4


def test_a_dropped_call_ends_the_plugin(host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    info = pb.ProgramInfo(root_directory=str(tmp_path), program_directory=str(tmp_path))
    info.options.update({"virtualenv": sys.prefix})
    call = host.RunPlugin(pb.RunPluginRequest(pwd=str(tmp_path), info=info, kind="resource"), timeout=30)
    pid = int(next(iter(call)).stdout)
    call.cancel()
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} outlived its call by 10 s")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_says_what_it_runs(host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path) -> None:
    info = pb.ProgramInfo(root_directory=str(tmp_path), program_directory=str(tmp_path))
    info.options.update({"virtualenv": sys.prefix})
    about = host.About(pb.AboutRequest(info=info), timeout=30)
    assert about.version.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    request = pb.GetProgramDependenciesRequest(info=info, transitiveDependencies=True)
    listed = host.GetProgramDependencies(request, timeout=30).dependencies
    assert "pulumi" in {entry.name for entry in listed}
    assert host.GetPluginInfo(empty_pb2.Empty(), timeout=30).version
