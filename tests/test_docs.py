"""What the docs claim of the tree: examples run, each trap has its tests, each link leads somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from typer.testing import CliRunner

from components import Application
from components.settings import applications
from pulumi_rollout.cli.app import app as commands
from pulumi_rollout.core.gates_written import GATES
from pulumi_rollout.core.measures import Source
from pulumi_rollout.core.sources_written import SourceWritten
from pulumi_rollout.core.strategies import GUARD_IMAGE, compile_policy
from pulumi_rollout.metrics import PROXIES, known, tells_route
from pulumi_rollout.routers import ROUTERS
from tests.components.declared import ROLLOUT, declare

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TRAPS = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "traps.md").read_text(), re.MULTILINE)


def _example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def _from_program() -> Any:
    declared = declare(lambda: exec(_example("python"), {}))
    return declared.of(ROLLOUT).inputs["policy"]


def _from_configuration() -> Any:
    config = yaml.safe_load(_example("yaml"))["config"]

    def program() -> None:
        for name, arguments in applications(pulumi.Config()).items():
            Application(name, **arguments)

    declared = declare(program, config={key: json.dumps(value) for key, value in config.items()})
    return declared.of(ROLLOUT).inputs["policy"]


@pytest.mark.parametrize("read", [_from_program, _from_configuration])
def test_the_readmes_examples_run_and_pass_the_check(read: Any) -> None:
    plan = compile_policy(read(), known("contour", ()))
    assert [step.weight_percent for step in plan.steps] == [10, 20, 30, 40, 50]
    assert {step.interval_seconds for step in plan.steps} == {30}
    assert [gate.id for gate in plan.gates] == ["success_rate", "latency", "stalled", "restarts"]
    assert plan.sources == {"direct-1": Source(kind="direct", proxy="contour")}, "nothing but the proxy is needed"


CI = {
    "success": (0, 0, 0, ""),
    "failed": (255, 5, 1, ""),
    "held": (255, 3, 0, "waits for promotion\n"),
    "something else failed": (255, 0, 1, ""),
    "the cluster does not answer": (255, 1, 1, ""),
}


@pytest.mark.parametrize("shell", ["sh", "sh -e"])
@pytest.mark.parametrize(("up", "status", "code", "said"), CI.values(), ids=CI)
def test_a_ci_job_tells_a_rollout_that_waits_from_one_that_failed(
    tmp_path: Path, shell: str, up: int, status: int, code: int, said: str
) -> None:
    for command, answer in (("pulumi", up), ("rollout", status)):
        (tmp_path / command).write_text(f"#!/bin/sh\nexit {answer}\n")
        (tmp_path / command).chmod(0o755)
    found = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "commands.md").read_text(), re.DOTALL)
    assert found is not None
    where = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run([*shell.split(), "-c", found[1]], env=where, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (code, said, "")


def test_the_simulation_of_the_docs_is_what_it_prints_today() -> None:
    found = re.search(r"\$ rollout (simulate .*)\n((?:.+\n)+?)```", (ROOT / "docs" / "commands.md").read_text())
    assert found is not None
    assert CliRunner().invoke(commands, shlex.split(found[1])).stdout == found[2]


@pytest.mark.parametrize("page", ["README.md", "docs/guard.md"])
def test_the_guards_image_is_the_one_that_is_pulled(page: str) -> None:
    """With its tag, as a registry of one's own has to have it too."""
    assert f"`{GUARD_IMAGE}`" in (ROOT / page).read_text()


def test_every_setting_of_gates_and_sources_has_its_row() -> None:
    """What the rows say is made of the models; a program has the same names (`tests/components/test_policy.py`)."""
    pages = {"gates.md": [*GATES.values()], "metrics.md": [SourceWritten]}
    for page, models in pages.items():
        rows = set(re.findall(r"^\| `(\w+)` \|.*\|.*\|.*\|$", (ROOT / "docs" / page).read_text(), re.MULTILINE))
        assert rows >= {name for model in models for name in model.model_fields}


def _named(trap: str) -> tuple[set[str], set[str]]:
    """The tests of a trap, and those of them without its countermeasure, by name or by end-to-end id."""
    code = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    names = set(re.findall(rf"def (test_trap_{int(trap):02}_\w+)", code))
    ids = set(re.findall(rf'id="({trap}-[\w-]+)"', code))
    return names | ids, {name for name in names if "_without" in name} | ids


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_its_tests(trap: str) -> None:
    """An end-to-end id stands for both: the test runs its check with and without the countermeasure."""
    tests, without = _named(trap)
    assert tests, f"trap {trap} has no test"
    assert without, f"trap {trap} is never seen to go wrong"


def test_all_traps_are_listed() -> None:
    assert [int(trap) for trap in TRAPS] == [number for number in range(1, 24) if number != 21]


def test_the_changelog_names_every_router() -> None:
    page = (ROOT / "CHANGELOG.md").read_text()
    assert [name for name in ROUTERS if f"`{name}`" not in page] == []


@pytest.mark.parametrize(("sentence", "promoted"), [("count requests that have", False), ("by their pods", True)])
def test_sources_that_do_not_tell_where_a_route_leads_are_named(sentence: str, promoted: bool) -> None:
    text = (ROOT / "docs" / "routers.md").read_text()
    named = re.search(rf"[^.]*{sentence}[^.(]*\((.+?)\)", text)
    sources = {name: Source(kind="direct", proxy=name) for name, proxy in PROXIES.items() if proxy.backend}
    told = {name for name, source in sources.items() if not tells_route(source, promoted=promoted)}
    assert named is not None and set(re.findall(r"`([a-z-]+)`", named[1])) == told


def test_routers_without_a_strategy_are_said_to_be_refused() -> None:
    page = (ROOT / "docs" / "routers.md").read_text()
    useless = [name for name, router in ROUTERS.items() if not router.STRATEGIES]
    assert [name for name in useless if f"`{name} cannot do the strategy canary`" not in page] == []
    assert re.findall(r"^\|.*: refused so far \| `(\w+): ", page, re.MULTILINE) == useless


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
