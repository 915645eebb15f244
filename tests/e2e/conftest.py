"""One lab for the whole session. Stories with traffic come one after another; meanwhile those without it, or
with a lab of their own, are told in the background, and asked about last.

The module of such a story has a function `tell(world)`, which returns what its tests read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab import cluster
from tests.e2e.world import World

LAB = "e2e"
Tell = Callable[[World], Any]


def _tell(item: pytest.Item) -> Tell | None:
    told: Tell | None = getattr(getattr(item, "module", None), "tell", None)
    return told if "e2e" in item.path.parts else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that are told in the background last, within the places that our tests have."""
    places = [place for place, item in enumerate(items) if "e2e" in item.path.parts]
    ordered = sorted((items[place] for place in places), key=lambda item: _tell(item) is not None)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


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


@pytest.fixture(scope="session", autouse=True)
def meanwhile(world: World, request: pytest.FixtureRequest) -> Iterator[Callable[[Tell], Any]]:
    """Tells the stories in the background from now on; called with one, it waits for its end."""
    wanted = dict.fromkeys(tell for item in request.session.items if (tell := _tell(item)))
    with ThreadPoolExecutor(1) as background:
        stories = {tell: background.submit(tell, world) for tell in wanted}
        yield lambda tell: stories[tell].result()
        for story in stories.values():
            story.cancel()
