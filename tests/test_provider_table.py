"""Trap 13: the eight ways in which state, journal and live route can disagree, and what follows.

ROWS is the table of the documentation; `python -m tests.test_provider_table` prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pulumi_rollout import provider as module
from pulumi_rollout.journal import Journal
from tests.fake_api import FakeApi
from tests.fake_app import APP, NAMESPACE, FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, at_20, at_apex, checked, cut, state_of, weights

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLUMNS = ("state", "journal", "live route", "what `diff` says", "what the next `up` does")


@dataclass(frozen=True)
class Row:
    """One way. The first five are its words; the program declares v1 where the state says "declared".

    + cut: when the walk to v2 was killed; None for a journal at rest
    + serving: what the apex selects when the next `up` begins
    + walked: the weights that the next `up` then sets
    """

    state: str
    journal: str
    route: str
    diff: str
    up: str
    cut: Callable[[FakeApp], bool] | None
    serving: str
    walked: list[int | None]
    canary: str = "shop-v2"


DECLARED, OTHER = "the declared revision", "another revision"
REST, CUT = "at rest", "a walk that was cut off"
NO, YES = "no change", "change"
ROWS = [
    Row(DECLARED, REST, "apex on the declared one", NO, "nothing", None, "v1", []),
    Row(
        DECLARED,
        REST,
        "apex on another one",
        YES,
        "a walk to the declared one, as from any other revision",
        None,
        "v2",
        [0, 20, 50, 100, 0, None],
        canary="shop-v1",
    ),
    Row(
        DECLARED,
        CUT + ", to another one",
        "apex on the declared one, the other one at its last weight",
        YES,
        "puts the traffic back, then scales the other one down",
        at_20,
        "v1",
        [0, None],
    ),
    Row(
        DECLARED,
        CUT + ", to another one",
        "apex on the other one",
        YES,
        "puts the apex and the traffic back, then scales the other one down",
        at_apex,
        "v2",
        [0, None],
    ),
    Row(
        OTHER,
        REST,
        "apex on the declared one",
        YES,
        "no walk, as it was won: declared replicas, and the state catches up",
        None,
        "v2",
        [],
    ),
    Row(
        OTHER, REST, "apex on the other one", YES, "the walk, with all its steps", None, "v1", [0, 20, 50, 100, 0, None]
    ),
    Row(
        OTHER,
        CUT + ", to the declared one",
        "apex on the other one, the declared one at its last weight",
        YES,
        "goes on at that weight",
        at_20,
        "v1",
        [50, 100, 0, None],
    ),
    Row(
        OTHER,
        CUT + ", to the declared one",
        "apex on the declared one",
        YES,
        "goes on to the end",
        at_apex,
        "v2",
        [0, None],
    ),
]


def table() -> str:
    """The rows as markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *((row.state, row.journal, row.route, row.diff, row.up) for row in ROWS)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def check_row(row: Row, app: FakeApp, api: FakeApi, engine: FakeEngine) -> None:
    declared = "v1" if row.state == DECLARED else "v2"
    olds = state_of(app, "v1")
    if row.cut is not None:
        cut(app, engine, row.cut)
    elif row.serving == "v2":
        PROVIDER.update("prod/shop", {}, app.inputs("v2"))
        api.requests.clear()
    assert app.serving == row.serving, "the row's own beginning"
    news = checked(app, olds, app.inputs(declared))
    assert PROVIDER.diff("prod/shop", olds, news).changes is (row.diff == YES)
    if row.diff == NO:
        return
    engine.clock += 500
    outs = PROVIDER.update("prod/shop", olds, news).outs
    assert outs is not None
    assert (outs["serving_revision"], app.serving, app.backends["shop"]) == (declared, declared, None)
    assert weights(api, row.canary) == row.walked
    left = Journal(module._cluster(module._inputs(news)), NAMESPACE, APP, "").load().unfinished
    assert (left, len(app.backends)) == (None, 1)
    if row.cut is not None:
        assert app.replicas("v2") == (0 if declared == "v1" else 2)
    assert PROVIDER.diff("prod/shop", outs, news).changes is False


IDS = [f"{row.state}, {row.journal}, {row.route}" for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_trap_13_what_state_journal_and_route_come_to(
    row: Row, app: FakeApp, api: FakeApi, fake_engine: FakeEngine
) -> None:
    check_row(row, app, api, fake_engine)


@pytest.mark.parametrize("row", ROWS[1:4], ids=IDS[1:4])
def test_trap_13_without_looking_at_journal_and_route(
    row: Row, app: FakeApp, api: FakeApi, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_unsettled", lambda inputs: False)
    with pytest.raises(AssertionError):
        check_row(row, app, api, fake_engine)


def test_the_table_has_each_way_once() -> None:
    ways = {(row.state, row.cut is None, row.serving) for row in ROWS}
    assert len(ROWS) == len(ways) == 8


def test_the_documentation_has_this_table() -> None:
    assert any(table() in page.read_text() for page in DOCS.glob("*.md"))


if __name__ == "__main__":
    print(table(), end="")
