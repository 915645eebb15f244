"""One container: a process, started again when it ends, probed while it lives, ended with grace.

Lives here: the life of the process and the container's part of the pod's status. What it is given comes
from content.py; what a pod makes of its containers' states is in status.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.kubelet import content, images, probes, volumes
from lab.kubelet.api import UNREACHABLE, Api, Json

BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 1.0, 10.0
"""Kubernetes' 10 s to 5 min, shortened."""
STEADY_SECONDS = 30.0
"""A process that lived this long is started again with the first backoff."""
OUT_OF_MEMORY = 137


@dataclass(frozen=True)
class Surroundings:
    """What a container needs of its pod and node."""

    api: Api
    images: Path
    pod: Json
    place: content.Place
    volumes: dict[str, Path]
    directory: Path
    log: Path
    changed: Callable[[], None]


@dataclass(frozen=True)
class Launch:
    """A process about to be started, and how it is probed."""

    command: list[str]
    env: dict[str, str]
    mounts: list[content.Mount]
    checks: dict[str, probes.Probe] = field(default_factory=dict)


class Container:
    """Use: `await run()`, with `stop(grace)` to end it; `status` is for the pod's status at any time."""

    def __init__(self, spec: Json, around: Surroundings) -> None:
        self.spec = spec
        self._around = around
        self._state: Json = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: Json = {}
        self._restarts = 0
        self._ready = self._started = False
        self._stop = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._grace_seconds = float(around.pod["spec"].get("terminationGracePeriodSeconds", 30))

    @property
    def status(self) -> Json:
        """Its entry of containerStatuses."""
        image = self.spec["image"]
        known = "running" in self._state or "terminated" in self._state or self._last_state
        return {
            "name": self.spec["name"],
            "image": image,
            "imageID": f"lab://{image}" if known else "",
            "ready": self._ready and not self._stop.is_set(),
            "started": self._started,
            "restartCount": self._restarts,
            "state": self._state,
            "lastState": self._last_state,
        }

    def stop(self, grace_seconds: float) -> None:
        """Not ready from now on; SIGTERM, and SIGKILL after the grace. Again with 0: SIGKILL now."""
        if self._stop.is_set() and not grace_seconds and self._process:
            _kill(self._process)
        self._grace_seconds = grace_seconds
        self._stop.set()

    async def run(self) -> None:
        """Keep it running until it is stopped, or ends for good by its restart policy."""
        delay = BACKOFF_FIRST_SECONDS
        while launch := await self._prepare():
            began = asyncio.get_running_loop().time()
            code = await self._live(launch)
            if not self._again(code):
                return
            if asyncio.get_running_loop().time() - began > STEADY_SECONDS:
                delay = BACKOFF_FIRST_SECONDS
            name, pod = self.spec["name"], self._around.pod["metadata"]["name"]
            self._last_state = self._state
            self._wait("CrashLoopBackOff", f"back-off {delay:g}s restarting failed container={name} pod={pod}")
            if await self._stopped_within(delay):
                return
            delay = min(2 * delay, BACKOFF_MAX_SECONDS)
            self._restarts += 1

    def _again(self, code: int) -> bool:
        policy = self._around.pod["spec"].get("restartPolicy", "Always")
        return not self._stop.is_set() and (policy == "Always" or (policy == "OnFailure" and code != 0))

    async def _stopped_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        return self._stop.is_set()

    def _wait(self, reason: str, message: str) -> None:
        self._state = {"waiting": {"reason": reason, "message": message}}
        self._around.changed()

    async def _prepare(self) -> Launch | None:
        """All that the start needs; tries until it is there, or gives None once stopped."""
        delay = BACKOFF_FIRST_SECONDS
        while not self._stop.is_set():
            try:
                return await self._launch()
            except images.UnknownImage as error:
                self._wait("ErrImagePull", str(error))
                await self._stopped_within(BACKOFF_FIRST_SECONDS / 4)
                image = self.spec["image"]
                self._wait("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {error}')
                await self._stopped_within(delay)
                delay = min(2 * delay, BACKOFF_MAX_SECONDS)
            except (content.ConfigError, *UNREACHABLE) as error:
                self._wait("CreateContainerConfigError", str(error))
                await self._stopped_within(BACKOFF_FIRST_SECONDS)
        return None

    async def _launch(self) -> Launch:
        around = self._around
        image = images.resolve(around.images, self.spec["image"])
        mounts = volumes.mounts(self.spec, around.volumes)
        env = await content.environment(around.api, around.pod, self.spec, image, around.place)
        env = {name: content.move(value, mounts) for name, value in env.items()}
        command = [content.move(word, mounts) for word in content.command_line(self.spec, image, env)]
        if not command:
            raise content.ConfigError("no command specified")
        path = os.pathsep.join([*image.path, os.environ.get("PATH", os.defpath)])
        launch = Launch(command, {"PATH": path} | env, mounts)
        for kind in ("startup", "readiness", "liveness"):
            if spec := self.spec.get(f"{kind}Probe"):
                address = around.place.address
                try:
                    launch.checks[kind] = probes.parse(spec, self.spec, address, self._executor(launch))
                except ValueError as error:
                    raise content.ConfigError(f"{kind}Probe: {error}") from error
        return launch

    async def _live(self, launch: Launch) -> int:
        """One life of the process; its end is told by the exit code, as a shell would give it."""
        started = _now()
        self._process = process = await self._spawn(launch.command, launch)
        self._state = {"running": {"startedAt": started}}
        self._started = "startup" not in launch.checks
        self._ready = self._started and "readiness" not in launch.checks
        self._around.changed()
        tasks = [
            asyncio.create_task(_told(self._probe(process, launch))),
            asyncio.create_task(_told(self._end_when_stopped(process, launch))),
        ]
        try:
            returned = await process.wait()
        finally:
            for task in tasks:
                task.cancel()
            _kill(process)  # what it left behind in its group
        code = 128 - returned if returned < 0 else returned
        reason = {0: "Completed", OUT_OF_MEMORY: "OOMKilled"}.get(returned, "Error")
        end = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": _now()}
        self._state = {"terminated": end | ({"signal": -returned} if returned < 0 else {})}
        self._ready = self._started = False
        self._around.changed()
        return code

    async def _spawn(self, command: list[str], launch: Launch) -> asyncio.subprocess.Process:
        with self._around.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                # Without its kubelet a process must not live on: the next one would start it again.
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *(*volumes.mounting(launch.mounts, self._around.directory), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=launch.env,
                cwd=self._around.directory,
                start_new_session=True,
            )

    def _executor(self, launch: Launch) -> Callable[[list[str]], asyncio.Future[int]]:
        """How exec probes and preStop hooks run: with the container's environment and mounts."""

        async def execute(words: list[str]) -> int:
            process = await self._spawn([content.move(word, launch.mounts) for word in words], launch)
            try:
                return await process.wait()
            finally:
                _kill(process)

        return lambda words: asyncio.ensure_future(execute(words))

    async def _probe(self, process: asyncio.subprocess.Process, launch: Launch) -> None:
        checks = launch.checks
        if "startup" in checks:
            async for good in probes.verdicts(checks["startup"]):
                if not good:
                    await self._end(process, launch)
                    return
                break
            self._started = True
            self._ready = "readiness" not in checks
            self._around.changed()
        async with asyncio.TaskGroup() as group:
            if "readiness" in checks:
                group.create_task(self._watch_readiness(checks["readiness"]))
            if "liveness" in checks:
                group.create_task(self._watch_liveness(checks["liveness"], process, launch))

    async def _watch_readiness(self, probe: probes.Probe) -> None:
        async for good in probes.verdicts(probe):
            if good != self._ready:
                self._ready = good
                self._around.changed()

    async def _watch_liveness(self, probe: probes.Probe, process: asyncio.subprocess.Process, launch: Launch) -> None:
        async for good in probes.verdicts(probe):
            if not good:
                await self._end(process, launch)

    async def _end_when_stopped(self, process: asyncio.subprocess.Process, launch: Launch) -> None:
        await self._stop.wait()
        await self._end(process, launch)

    async def _end(self, process: asyncio.subprocess.Process, launch: Launch) -> None:
        """The preStop hook, SIGTERM, and SIGKILL when the grace is over."""
        try:
            async with asyncio.timeout(self._grace_seconds):
                await self._pre_stop(launch)
                _signal(process, signal.SIGTERM)
                await process.wait()
        except TimeoutError:
            _signal(process, signal.SIGTERM)
            _kill(process)

    async def _pre_stop(self, launch: Launch) -> None:
        hook = self.spec.get("lifecycle", {}).get("preStop", {})
        if "sleep" in hook:
            await asyncio.sleep(hook["sleep"]["seconds"])
        if "exec" in hook:
            await self._executor(launch)(hook["exec"]["command"])


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL to the process' whole group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


async def _told(work: Awaitable[None]) -> None:
    """Run a task whose failure nobody awaits: it is printed rather than lost."""
    try:
        await work
    except Exception:
        traceback.print_exc()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
