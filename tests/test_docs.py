"""What the docs claim of the tree: each trap has its tests, and each link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TRAPS = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "traps.md").read_text(), re.MULTILINE)


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
