"""One running lab in the hand of whoever uses it: its addresses, its environment, and the ways in.

Lives here: what a test, the demo or a benchmark may do with a lab. Making and removing one is
`lab/cluster.py`'s work.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import tools, traefik
from lab.supervisor import NODE_ADDRESS

REPOSITORY = Path(__file__).resolve().parents[1]
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


class LabError(Exception):
    """The lab cannot do what was asked; the message is one sentence that says why."""


@dataclass(frozen=True)
class Lab:
    """One running lab; `pid` is its supervisor, as seen from outside."""

    name: str
    directory: Path
    pid: int

    @property
    def kubeconfig(self) -> Path:
        """Contexts: lab (may do everything), viewer, deployer, and stranger (may do nothing)."""
        return self.directory / "kubeconfig"

    @property
    def envoy_url(self) -> str:
        return f"http://{NODE_ADDRESS}:8080"

    @property
    def traefik_url(self) -> str:
        """Serves in a lab with the part `traefik`."""
        return traefik.URL

    @property
    def prometheus_url(self) -> str:
        return "http://127.0.0.1:9090"

    def environment(self, pulumi_home: Path | None = None) -> dict[str, str]:
        """The environment for programs inside, the Pulumi CLI above all."""
        home = pulumi_home or self.directory / "pulumi"
        (home / "state").mkdir(parents=True, exist_ok=True)
        environment = unproxied() | {
            "KUBECONFIG": str(self.kubeconfig),
            "PULUMI_HOME": str(home),
            "PULUMI_BACKEND_URL": f"file://{home / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "lab",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "ROLLOUT_LAB_PYTHON": sys.executable,
        }
        if tools.official_pulumi() is None:
            _say_stand_ins()
            folders = (tools.binary("pulumi").parent, REPOSITORY / "lab" / "bin")
            environment["PATH"] = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
        return environment

    def command(self, *args: str) -> list[str]:
        """The command line that runs a program in the lab's network, but among our own processes."""
        user = () if os.geteuid() == 0 else ("-U", "--preserve-credentials")
        return ["nsenter", "-t", str(self.pid), *user, "-n", "--", *args]

    def enter(self) -> None:
        """Move the calling thread, and all that it starts from now on, into the lab's network.

        Without root, the kernel lets only a process of one thread do this.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        user = () if os.geteuid() == 0 else (("user", CLONE_NEWUSER),)
        for kind, flag in (*user, ("net", CLONE_NEWNET)):
            with opened(f"/proc/{self.pid}/ns/{kind}") as descriptor:
                if libc.setns(descriptor, flag):
                    reason = os.strerror(ctypes.get_errno())
                    raise LabError(f"cannot enter the {kind} namespace of lab {self.name}: {reason}")


def unproxied() -> dict[str, str]:
    """Our environment, less what stands in the way inside: no proxy can be reached from there, and a
    CA bundle in the environment would shadow the cluster's."""
    bundles = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and name not in bundles
    }


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@functools.cache
def _say_stand_ins() -> None:
    print(
        "lab: no official Pulumi CLI on PATH: using the built one, with stand-ins for the Kubernetes plugin"
        " and the Python language host",
        file=sys.stderr,
    )
