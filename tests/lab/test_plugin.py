"""The contract of `pulumi-resource-kubernetes`: what this project relies on, and how it is known.

Lives here: running the table. Its entries, each with the source of the fact, are in `plugin_*.py`; the
same tests run against the official plugin when that is on PATH. docs/stand-ins.md repeats the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.lab.plugin_writes", "tests.lab.plugin_diffs", "tests.lab.plugin_waits")

from lab import cluster  # noqa: E402
from tests.lab import plugin_diffs, plugin_waits, plugin_writes  # noqa: E402, F401
from tests.lab.plugin_world import CONTRACT, Behaviour, World  # noqa: E402
from tests.lab.provider_client import api, running  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs" / "stand-ins.md"


@pytest.fixture(scope="module")
def outcomes(whole: cluster.Lab, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """The chosen entries, four at a time: each has objects of its own, and most of its time is waiting."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen: list[Behaviour] = [given["entry"] for given in params if "entry" in given]
    with running(whole) as plugin, ThreadPoolExecutor(4) as threads:
        world = World(whole, plugin, api(whole))
        yield {entry.text: threads.submit(entry.test, world) for entry in chosen}


@pytest.mark.lab
@pytest.mark.parametrize("entry", CONTRACT, ids=lambda entry: f"{entry.text} ({entry.source})")
def test_contract(outcomes: dict[str, Future[None]], entry: Behaviour) -> None:
    outcomes[entry.text].result()


def test_the_documented_table_is_the_contract() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `([^|`]+)` \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(entry.text, entry.source) for entry in CONTRACT]
