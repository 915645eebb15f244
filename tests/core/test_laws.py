"""The laws of a walk hold in a simulated world, and each of them can fail.

The same laws are tried on histories from fixed seeds, whose ends are counted, on histories that
hypothesis searches for, and on broken machines, where each must find its mutant.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.state import Phase
from tests.core.laws import LAWS
from tests.core.mutants import MUTANTS, Mutant
from tests.core.scripts import Script, draw_script, scripts
from tests.core.world import History, walk

HISTORIES = 200
# Resumed after every look, a history takes three times as long.
CUT_EVERY = 8
LEAST_SHARE = 0.05
# A mutant shows where the world is rough: those first.
ROUGH_FIRST = sorted(scripts(HISTORIES), key=lambda script: (script.edit is None, -script.trouble))


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [walk(script) for script in scripts(HISTORIES)]


@pytest.mark.parametrize("law", LAWS)
def test_law_holds(law: str, histories: list[History]) -> None:
    chosen = histories[::CUT_EVERY] if law == "cut_is_the_same" else histories
    broken = [(history.script, found) for history in chosen for found in LAWS[law](history)]
    assert broken[:1] == []


@given(st.randoms(use_true_random=False).map(draw_script))
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_no_script_breaks_a_law(script: Script) -> None:
    history = walk(script)
    assert {name: found for name, law in LAWS.items() for found in law(history)} == {}


@pytest.mark.parametrize(("law", "mutant"), [(law, mutant) for law, mutants in MUTANTS.items() for mutant in mutants])
def test_law_finds_its_mutant(law: str, mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert any(_breaks(law, script) for script in ROUGH_FIRST), f"{law} does not notice {mutant.__name__}"


def _breaks(law: str, script: Script) -> bool:
    """Whether a law is broken; a machine that refuses its own transition has found the mutant itself."""
    try:
        return next(LAWS[law](walk(script)), None) is not None
    except ValueError as error:
        assert "a walk cannot go from" in str(error)
        return False


def test_every_law_has_a_mutant() -> None:
    assert set(MUTANTS) == set(LAWS)
    assert all(MUTANTS.values())


def test_histories_reach_every_phase(histories: list[History]) -> None:
    """No phase, end or way back is so rare that its laws are hardly tried."""
    ends = Counter(history.end.phase for history in histories)
    entered = Counter(
        phase for history in histories for phase in {moment.decision.state.phase for moment in history.moments}
    )
    turned = Counter(
        moment.before.phase
        for history in histories
        for moment in history.moments
        if moment.decision.state.phase is Phase.REVERTING and moment.before.phase is not Phase.REVERTING
    )
    for title, counted in (("end in", ends), ("enter", entered), ("turn back in", turned)):
        shares = {phase.value: f"{100 * number / HISTORIES:.0f} %" for phase, number in sorted(counted.items())}
        print(f"{HISTORIES} histories, of which {title}: {shares}")
    assert set(ends) == {Phase.SUCCEEDED, Phase.FAILED}
    assert set(entered) == set(Phase)
    assert set(turned) == {Phase.PREPARING, Phase.SHIFTING, Phase.PROMOTING}
    for counted in (ends, entered, turned):
        assert min(counted.values()) >= LEAST_SHARE * HISTORIES


def test_histories_are_varied() -> None:
    """The same seed gives the same histories; another seed does not."""
    assert scripts(5) == scripts(5)
    assert draw_script(random.Random(1)) != draw_script(random.Random(2))
