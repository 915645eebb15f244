"""One lab for the whole session; its stories come one after another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import cluster
from tests.e2e.world import World

LAB = "e2e"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A lab of its own: what an earlier session may have left is not looked at."""
    cluster.down(LAB)
    lab = cluster.up(LAB)
    try:
        with World.open(lab, tmp_path_factory.mktemp("stacks")) as opened:
            yield opened
    finally:
        cluster.down(LAB)
