"""Stand-in for `pulumi-language-python`: starts Python programs and plugins for the Pulumi engine.

Lives here: the gRPC service of a language host (facts: pulumi's proto/pulumi/language.proto) for what
this project needs. Not here: code generation, packaging, package managers other than pip. It is used
only where the official host is missing; docs/stand-ins.md says what it leaves out.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import IO

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2 as pb
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2

BAIL = 32  # the program has already said what is wrong
GRACE_SECONDS = 5.0
LIST_PACKAGES = (
    "import json, importlib.metadata as m;"
    "print(json.dumps(sorted({d.metadata['Name']: d.version for d in m.distributions()}.items())))"
)


def interpreter(info: pb.ProgramInfo) -> str:
    """The Python of the program's virtual environment; the lab's where there is no such environment."""
    options = dict(info.options.items()) if info.HasField("options") else {}
    if chosen := options.get("virtualenv"):
        for base in (info.root_directory, info.program_directory):
            python = Path(base, str(chosen), "bin", "python")
            if python.exists():
                return str(python)
    return os.environ.get("ROLLOUT_LAB_PYTHON") or sys.executable


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Our environment without the path entry that made this very module importable."""
    env = {**os.environ, **(extra or {})}
    ours = str(Path(__file__).resolve().parent.parent)
    kept = [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if ours in kept:
        kept.remove(ours)  # once: the user may have it there as well
    env.pop("PYTHONPATH", None)
    return {**env, "PYTHONPATH": os.pathsep.join(kept)} if kept else env


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """One engine's host; its children end when the engine says so or goes away."""

    def __init__(self, engine_address: str) -> None:
        self._engine_address = engine_address
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def Handshake(
        self, request: pb.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> pb.LanguageHandshakeResponse:
        self._engine_address = request.engine_address or self._engine_address
        return pb.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=version("pulumi"))

    def GetRequiredPackages(
        self, request: pb.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> pb.GetRequiredPackagesResponse:
        return pb.GetRequiredPackagesResponse()  # the plugins are on PATH: nothing to download

    def GetRequiredPlugins(
        self, request: pb.GetRequiredPluginsRequest, context: grpc.ServicerContext
    ) -> pb.GetRequiredPluginsResponse:
        return pb.GetRequiredPluginsResponse()

    def RuntimeOptionsPrompts(
        self, request: pb.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> pb.RuntimeOptionsResponse:
        return pb.RuntimeOptionsResponse()

    def About(self, request: pb.AboutRequest, context: grpc.ServicerContext) -> pb.AboutResponse:
        python = interpreter(request.info)
        said = subprocess.run([python, "-V"], capture_output=True, text=True, check=False).stdout
        return pb.AboutResponse(executable=python, version=said.removeprefix("Python ").strip())

    def GetProgramDependencies(
        self, request: pb.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> pb.GetProgramDependenciesResponse:
        command = [interpreter(request.info), "-c", LIST_PACKAGES]
        listed = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        packages = json.loads(listed.stdout or "[]")
        found = [pb.DependencyInfo(name=name, version=number) for name, number in packages]
        return pb.GetProgramDependenciesResponse(dependencies=found)

    def Run(self, request: pb.RunRequest, context: grpc.ServicerContext) -> pb.RunResponse:
        script = shutil.which("pulumi-language-python-exec")
        if script is None:
            return pb.RunResponse(error="pulumi-language-python-exec is not on PATH: it lies beside the CLI")
        info = request.info
        options = {
            "monitor": request.monitor_address,
            "engine": self._engine_address,
            "project": request.project,
            "root_directory": info.root_directory,
            "stack": request.stack,
            "pwd": request.pwd,
            "dry_run": str(request.dryRun).lower(),
            "parallel": str(request.parallel),
            "organization": request.organization,
        }
        words = [word for name, value in options.items() if value for word in (f"--{name}", value)]
        extra = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        command = [interpreter(info), "-u", script, *words, info.entry_point or ".", *request.args]
        child = self._start(context, command, cwd=info.program_directory or request.pwd, env=environment(extra))
        code = self._finished(child)
        if code == BAIL:
            return pb.RunResponse(bail=True)
        return pb.RunResponse(error=f"the program ended with exit code {code}" if code else "")

    def RunPlugin(self, request: pb.RunPluginRequest, context: grpc.ServicerContext) -> Iterator[pb.RunPluginResponse]:
        directory = request.info.program_directory
        command = [interpreter(request.info), "-u", directory, *request.args]
        if request.kind == "analyzer":
            command = [interpreter(request.info), "-u", "-m", "pulumi.policy", *request.args, directory]
        given = dict(entry.split("=", 1) for entry in request.env if "=" in entry)
        child = self._start(context, command, cwd=request.pwd or directory, env=environment(given), pipe=True)
        for name, data in _output(child):
            yield pb.RunPluginResponse(stdout=data) if name == "stdout" else pb.RunPluginResponse(stderr=data)
        yield pb.RunPluginResponse(exitcode=self._finished(child))

    def InstallDependencies(
        self, request: pb.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.InstallDependenciesResponse]:
        directory = Path(request.directory)
        options = dict(request.info.options.items())
        commands = []
        if (name := options.get("virtualenv")) and not Path(directory, str(name)).exists():
            commands.append([sys.executable, "-m", "venv", str(Path(directory, str(name)))])
        if (directory / "requirements.txt").exists():
            commands.append(["", "-m", "pip", "install", "-r", "requirements.txt"])
        for command in commands:
            command[0] = command[0] or interpreter(request.info)
            child = self._start(context, command, cwd=request.directory, env=environment(), pipe=True)
            for stream, data in _output(child):
                out = stream == "stdout"
                yield pb.InstallDependenciesResponse(stdout=data if out else b"", stderr=b"" if out else data)
            if code := self._finished(child):
                context.abort(grpc.StatusCode.UNKNOWN, f"`{' '.join(command[1:4])}` failed with exit code {code}")

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        with self._lock:
            children = list(self._children)
        for child in children:
            # SIGTERM, not SIGINT: a KeyboardInterrupt's traceback would hide the program's own error.
            child.terminate()
        return empty_pb2.Empty()

    def _start(
        self,
        context: grpc.ServicerContext,
        command: list[str],
        *,
        cwd: str,
        env: dict[str, str],
        pipe: bool = False,
    ) -> subprocess.Popen[bytes]:
        stream = subprocess.PIPE if pipe else None
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=stream, stderr=stream)
        with self._lock:
            self._children.add(child)
        # The engine ends a plugin by dropping the call; a child that has ended is left alone by kill().
        if not context.add_callback(child.kill):
            child.kill()
        return child

    def _finished(self, child: subprocess.Popen[bytes]) -> int:
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        return code


def _output(child: subprocess.Popen[bytes]) -> Iterator[tuple[str, bytes]]:
    """What the child prints, as it comes, with the name of the stream."""
    chunks: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def copy(name: str, stream: IO[bytes]) -> None:
        while data := os.read(stream.fileno(), 65536):
            chunks.put((name, data))
        chunks.put((name, b""))

    for name, stream in (("stdout", child.stdout), ("stderr", child.stderr)):
        if stream is not None:
            threading.Thread(target=copy, args=(name, stream), daemon=True).start()
    open_streams = 2
    while open_streams:
        name, data = chunks.get()
        if data:
            yield name, data
        else:
            open_streams -= 1


def main() -> None:
    addresses = [word for word in sys.argv[1:] if not word.startswith("-")]
    server = grpc.server(ThreadPoolExecutor(max_workers=32))
    host = LanguageHost(addresses[-1] if addresses else "")
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop(GRACE_SECONDS))
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
