"""The command line as a part of the tree: light to import, alone with its libraries, documented."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pulumi_rollout.cli.app import app
from pulumi_rollout.cli.look import EXIT_CODES, Status
from tests.test_shape import files, imports, name_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text()
LIBRARIES = ("typer", "rich")


def commands() -> dict[str, set[str]]:
    """Each command's options."""
    found = get_command(app).commands  # type: ignore[attr-defined]
    return {name: {option for each in command.params for option in each.opts} for name, command in found.items()}


def test_help_in_a_process_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-m", "pulumi_rollout", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: rollout ")
    for name in commands():
        assert f"\n  {name} " in done.stdout


def test_it_says_which_version_it_is() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    given = CliRunner().invoke(app, ["--version"])
    assert (given.exit_code, given.output) == (0, f"rollout {version}\n")


def test_the_program_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"rollout": "pulumi_rollout.cli:main"}


def loaded(code: str, *modules: str) -> list[str]:
    code = f"import sys; {code}; print(*[name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_help_is_quick_to_import() -> None:
    slow = ("kubernetes", "pulumi", "grpc", "pydantic", "rich", "requests")
    assert loaded("import pulumi_rollout.cli.app", "typer", *slow) == ["typer"]


def test_a_status_needs_no_pulumi() -> None:
    """No walk either, which `abort` alone imports."""
    code = "import pulumi_rollout.cli.talk, pulumi_rollout.cli.render, pulumi_rollout.cli.orders"
    slow = ("pulumi", "grpc", "requests", "pulumi_rollout.driver", "kubernetes.client")
    assert loaded(code, "rich", *slow) == ["rich"]


@pytest.mark.parametrize("path", files("pulumi_rollout", "components"), ids=name_of)
def test_nothing_else_imports_the_command_line_or_its_libraries(path: Path) -> None:
    if path.parent.name == "cli" or path.name == "__main__.py":
        return
    found = imports(path)
    assert {name for name in found if name.split(".")[0] in LIBRARIES or name.startswith("pulumi_rollout.cli")} == set()


def test_one_file_draws() -> None:
    drawing = {path.name for path in files("pulumi_rollout/cli") if any(n.startswith("rich") for n in imports(path))}
    assert drawing == {"render.py"}


def test_all_commands_are_documented() -> None:
    rows = re.findall(r"^\| `rollout ([a-z-]+)([^`]*)`", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(commands())
    for name, usage in rows:
        shown = set(re.findall(r"--?[a-zA-Z-]+", usage))
        assert shown <= commands()[name], name


def test_all_exit_codes_are_documented() -> None:
    rows = [int(code) for code in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)]
    assert rows == sorted({1, 2, *EXIT_CODES.values()})


def test_all_fields_are_documented() -> None:
    table = PAGE.partition("## JSON")[2].partition("`history` prints")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(Status.model_fields)
