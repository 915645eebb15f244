"""Somebody edits the route's weights in the middle of a walk: it is seen at the next look, and put right or the end.

Not here: what the machine makes of each edit (`core/test_machine.py`), or edits that leave the weights alone
(`test_existing.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pulumi_rollout.core.moves import dwell_of
from pulumi_rollout.errors import RolloutFailed
from tests.fake_api import FakeApi
from tests.fake_app import FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import weights
from tests.release_calls import Up

LONG = {"interval": "5s", "settle": "1s"}


@pytest.fixture
def up(app: FakeApp, fake_engine: FakeEngine) -> Up:
    return Up(app, fake_engine)


def dwelling(up: Up) -> Callable[[], bool]:
    """The first step's weight is in place, and has settled."""
    return lambda: up.at(20)() and up.state.move == dwell_of(0)


EDITS: dict[str, tuple[dict[str, int], list[int | None], str]] = {
    "less": ({"v2": 7}, [20], "it has weight 7 instead of 20"),
    "more": ({"v2": 90}, [20], "it has weight 90 instead of 20"),
    "taken out": ({}, [0, 20], "it does not list the new version, which had weight 20"),
}


@pytest.mark.parametrize(("edit", "repaired", "what"), EDITS.values(), ids=EDITS)
def test_it_is_put_right(
    up: Up, app: FakeApp, api: FakeApi, edit: dict[str, int], repaired: list[int | None], what: str
) -> None:
    def act() -> None:
        api.requests.clear()
        app.list_on_route(**edit)

    up.when(dwelling(up), act)
    up(settings=LONG)
    assert weights(api, "shop-v2") == [*repaired, 50, 100, 0, None]
    assert app.serving == "v2"


@pytest.mark.parametrize(("edit", "repaired", "what"), EDITS.values(), ids=EDITS)
def test_it_is_the_end_of_the_walk(
    up: Up, app: FakeApp, api: FakeApi, edit: dict[str, int], repaired: list[int | None], what: str
) -> None:
    up.when(dwelling(up), lambda: app.list_on_route(**edit))
    with pytest.raises(RolloutFailed) as caught:
        up(settings={**LONG, "on_edited": "abort"})
    assert str(caught.value) == f"somebody has edited the route: {what}; all traffic is back on shop-v1"
    assert (app.serving, app.backends, app.replicas("v2")) == ("v1", {"shop": None}, 0)
    assert up.phases == [("v2", "failed", False)], "which does not speak against the new version"


def test_a_walk_that_nobody_edits_is_not_taken_for_edited(up: Up, app: FakeApp) -> None:
    up(settings={**LONG, "on_edited": "abort"})
    assert app.serving == "v2"
