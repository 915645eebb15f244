"""The contract of `pulumi-resource-kubernetes`: what this project relies on, and how it is known.

Lives here: running the table. Its entries, each with the source of the fact, are in `plugin_*.py`; the
same tests run against the official plugin when that is on PATH. docs/stand-ins.md repeats the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.lab.plugin_writes", "tests.lab.plugin_diffs", "tests.lab.plugin_waits")

from lab import cluster  # noqa: E402
from tests.lab import plugin_diffs, plugin_waits, plugin_writes  # noqa: E402, F401
from tests.lab.plugin_world import CONTRACT, Behaviour, World  # noqa: E402
from tests.lab.provider_client import api, running  # noqa: E402

DOCS = Path(__file__).resolve().parents[2] / "docs" / "stand-ins.md"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    lab = cluster.up(f"contract-{os.getpid()}", parts=("kubelet",))
    try:
        with running(lab) as plugin:
            yield World(lab, plugin, api(lab))
    finally:
        cluster.down(lab.name)


@pytest.mark.lab
@pytest.mark.parametrize("entry", CONTRACT, ids=lambda entry: f"{entry.text} ({entry.source})")
def test_contract(world: World, entry: Behaviour) -> None:
    entry.test(world)


def test_the_documented_table_is_the_contract() -> None:
    rows = re.findall(r"^\| ([^|]+) \| `([^|`]+)` \|$", DOCS.read_text(), re.MULTILINE)
    assert rows == [(entry.text, entry.source) for entry in CONTRACT]
