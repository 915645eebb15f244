"""The lab's programs: what is built, from which pinned Go module, and where the results lie.

Lives here: the table of tools and the builder behind `make setup`. Standard library only, because
it runs before the virtual environment exists. Starting the programs is `lab/cluster.py`'s work.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PULUMI_VERSION = "3.258.0"
PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"
KUBERNETES_VERSION = "1.36.3"


@dataclass(frozen=True)
class Tool:
    """One Go module under lab/tools/<name>: the packages to build and the data files it ships.

    + packages: binary name -> import path of its main package; none where only files are wanted
    + files: (module, path inside it, name in the cache); copied, executable if the source is a script
    """

    name: str
    packages: dict[str, str]
    flags: tuple[str, ...] = ()
    files: tuple[tuple[str, str, str], ...] = ()


TOOLS = (
    Tool(
        "etcd",
        {"etcd": "go.etcd.io/etcd/server/v3"},
    ),
    Tool(
        "kubernetes",
        {
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        },
        flags=("-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"),
    ),
    # A module of its own: it brings much that the control plane does not need, and the two are built apart.
    Tool(
        "kubectl",
        {"kubectl": "k8s.io/kubernetes/cmd/kubectl"},
        flags=("-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"),
    ),
    Tool(
        "contour",
        {"contour": "github.com/projectcontour/contour/cmd/contour"},
        flags=("-ldflags", "-s -w"),
        files=(
            ("github.com/projectcontour/contour", "examples/contour/01-crds.yaml", "crds/contour.yaml"),
            ("sigs.k8s.io/gateway-api", "config/crd/experimental", "crds/gateway-api"),
        ),
    ),
    Tool(
        "prometheus",
        {"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
        # The lab scrapes a static target: no cloud's service discovery is needed.
        flags=("-tags", "remove_all_sd", "-ldflags", "-s -w"),
    ),
    Tool(
        "pulumi",
        {"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        flags=(
            "-ldflags",
            f"-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{PULUMI_VERSION}",
        ),
        files=(
            (PULUMI_SDK, "python/cmd/pulumi-language-python-exec", "bin/pulumi-language-python-exec"),
            (PULUMI_SDK, "python/dist/pulumi-resource-pulumi-python", "bin/pulumi-resource-pulumi-python"),
        ),
    ),
    Tool(
        "traefik",
        {"traefik": "github.com/traefik/traefik/v3/cmd/traefik"},
        flags=("-ldflags", "-s -w"),
        files=(
            (
                "github.com/traefik/traefik/v3",
                "docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml",
                "crds/traefik.yaml",
            ),
            # Traefik asks for later kinds of the Gateway API than Contour's module has; Contour takes these too.
            ("sigs.k8s.io/gateway-api", "config/crd/experimental", "crds/gateway-api"),
        ),
    ),
    # Files alone: vendors' kinds, by which the objects of routers are checked. Nothing of it is compiled.
    Tool(
        "crds",
        {},
        files=(
            ("istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml", "crds/istio.yaml"),
            ("github.com/argoproj/argo-rollouts", "test/e2e/crds/split.yaml", "crds/smi.yaml"),
        ),
    ),
)


class SetupError(Exception):
    """A tool cannot be built; the message says which, why and what to do."""


def cache_dir() -> Path:
    """Where built tools lie, outside the repository: $ROLLOUT_LAB_CACHE or the user's cache."""
    if override := os.environ.get("ROLLOUT_LAB_CACHE"):
        return Path(override)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pulumi-rollout-lab"


def official_pulumi() -> str | None:
    """The user's own Pulumi CLI, preferred over a built one; $ROLLOUT_LAB_PULUMI=built ignores it."""
    if os.environ.get("ROLLOUT_LAB_PULUMI") == "built":
        return None
    return shutil.which("pulumi")


def wanted() -> tuple[Tool, ...]:
    """The tools this machine needs: all, less the Pulumi CLI where an official one is on PATH."""
    return tuple(tool for tool in TOOLS if not (tool.name == "pulumi" and official_pulumi()))


def tool_dir(tool: Tool) -> Path:
    """The finished tool's folder, named by everything that it is built from."""
    digest = hashlib.sha256(repr(tool).encode())
    home = HERE / "tools" / tool.name
    local = sorted(path for folder in home.iterdir() if folder.is_dir() for path in folder.rglob("*") if path.is_file())
    for path in (home / "go.mod", home / "go.sum", *local):
        digest.update(path.read_bytes())
    machine = os.uname()
    digest.update(f"{machine.sysname}/{machine.machine}".encode())
    return cache_dir() / f"{tool.name}-{digest.hexdigest()[:16]}"


def binary(name: str) -> Path:
    """The path of a built program. Raises SetupError when `make setup` has not built it."""
    for tool in TOOLS:
        path = tool_dir(tool) / "bin" / name
        if name in tool.packages or path.exists():
            if path.exists():
                return path
            raise SetupError(f"{name} is not built yet: run `make setup`")
    raise SetupError(f"{name} is none of the lab's tools")


def data(tool_name: str, name: str) -> Path:
    """The path of a data file that a tool ships (a CRD, say)."""
    tool = next(tool for tool in TOOLS if tool.name == tool_name)
    path = tool_dir(tool) / name
    if not path.exists():
        raise SetupError(f"{name} of {tool_name} is not there: run `make setup`")
    return path


def _go(tool: Tool, *args: str) -> str:
    """Run go in the tool's module and return what it prints."""
    result = subprocess.run(["go", *args], cwd=HERE / "tools" / tool.name, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SetupError(f"{tool.name}: `go {args[0]}` failed: {result.stderr.strip()[-2000:]}")
    return result.stdout


def _compile(tool: Tool, name: str, package: str, target: Path, label: str) -> None:
    """Build one program, counting compiled packages against all that it is made of."""
    total = len(_go(tool, "list", *tool.flags[:2] if "-tags" in tool.flags else (), "-deps", package).split())
    command = ["go", "build", "-v", "-trimpath", *tool.flags, "-o", str(target), package]
    started, done, tail = time.monotonic(), 0, ""
    said = 0.0
    with subprocess.Popen(command, cwd=HERE / "tools" / tool.name, stderr=subprocess.PIPE, text=True) as build:
        for line in build.stderr or ():
            done, tail = done + 1, tail + line
            if time.monotonic() - said > (1 if sys.stdout.isatty() else 30):
                said = time.monotonic()
                seconds = int(said - started)
                print(f"{label} {name}: {done} of at most {total} packages, {seconds} s", flush=True)
    if build.returncode:
        raise SetupError(f"{tool.name}: building {name} failed: {tail[-2000:]}")


def _copy_files(tool: Tool, root: Path) -> None:
    for module, source, name in tool.files:
        _go(tool, "mod", "download", module)
        origin = Path(_go(tool, "list", "-m", "-f", "{{.Dir}}", module).strip()) / source
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target)
        else:
            shutil.copyfile(origin, target)
            target.chmod(0o755 if name.startswith("bin/") else 0o644)


def build(tool: Tool, label: str) -> None:
    """Build a tool into its folder, which appears only when it is whole: a cut build starts over,
    and what go had compiled comes from go's own cache."""
    final = tool_dir(tool)
    if final.exists():
        return
    if not shutil.which("go"):
        raise SetupError("`go` is not on PATH: the lab's tools are built with Go 1.26 or newer, from go.dev")
    started = time.monotonic()
    partial = final.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "bin").mkdir(parents=True)
    for name, package in tool.packages.items():
        _compile(tool, name, package, partial / "bin" / name, label)
    _copy_files(tool, partial)
    partial.rename(final)
    print(f"{label} {tool.name}: built in {time.monotonic() - started:.0f} s", flush=True)


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Two `make setup` at once take turns."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    tools = wanted()
    missing = [tool for tool in tools if not tool_dir(tool).exists()]
    if official := official_pulumi():
        print(f"pulumi: using {official}, with its own plugins")
    if missing:
        print(f"building {', '.join(tool.name for tool in missing)} into {cache_dir()}", flush=True)
    try:
        with _only_one():
            for number, tool in enumerate(missing, 1):
                build(tool, f"[{number}/{len(missing)}]")
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    print(f"tools: all {len(tools)} ready in {cache_dir()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
