"""One lab for the stories that one process tells; where several tell them, each has its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab import cluster
from tests.e2e.world import World

LAB = "-".join(["e2e", *filter(None, [os.environ.get("PYTEST_XDIST_WORKER")])])


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
