"""The laws of a walk hold in a simulated world, and each of them can fail.

The same laws are tried on histories from fixed seeds, whose ends, pauses and cuts are counted, on histories
that hypothesis searches for, and on broken machines, where each must find its mutant.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulumi_rollout.core.gates import Verdict
from pulumi_rollout.core.state import Phase, State
from tests.core import laws, mutants
from tests.core.laws import Law
from tests.core.laws_of_cuts import LAWS_OF_CUTS, cuts_lose_no_request, lost_time_changes_no_verdict, may_cut, verdicts
from tests.core.laws_of_gates import LAWS_OF_GATES
from tests.core.laws_of_people import LAWS_OF_PEOPLE
from tests.core.mutants import Mutant
from tests.core.mutants_of_gates import MUTANTS_OF_GATES
from tests.core.mutants_of_people import MUTANTS_OF_PEOPLE
from tests.core.scripts import VERBS, Script, draw_script, scripts
from tests.core.world import History, walk

LAWS: dict[str, Law] = {**laws.LAWS, **LAWS_OF_GATES, **LAWS_OF_PEOPLE, **LAWS_OF_CUTS}
MUTANTS: dict[str, tuple[Mutant, ...]] = {**mutants.MUTANTS, **MUTANTS_OF_GATES, **MUTANTS_OF_PEOPLE}
HISTORIES = 280
# Resumed after every look, a history takes three times as long.
CUT_EVERY = 8
LEAST_SHARE = 0.05
# A mutant shows where the world is rough, and what the law is about befalls the walk: those first.
ROUGH_FIRST = sorted(scripts(3 * HISTORIES), key=lambda script: (script.edit is None, -script.trouble))
ABOUT: dict[str, tuple[str, ...]] = {
    "a_shared_outage_aborts_nothing": ("outage",),
    "what_is_bad_alone_is_not_promoted": ("outage then bad", "late"),
    "worse_than_an_outage_is_bad": ("bad in an outage",),
    "one_pod_is_replaced_at_most": ("each pod",),
    "a_whole_version_is_not_spared": ("late", "bad"),
    "dry_runs_decide_nothing": ("silent dry runs", "good"),
    "silence_is_held_and_put_back": ("silent",),
    "steps_count_warm_requests_only": ("good", "one pod"),
    "frozen_never_rises": ("late", "bad", "hangs"),
    "no_rise_while_a_gate_fails_or_holds": ("late", "silent"),
}


@pytest.fixture(scope="module")
def histories() -> list[History]:
    return [walk(script) for script in scripts(HISTORIES)]


@pytest.mark.parametrize("law", LAWS)
def test_law_holds(law: str, histories: list[History]) -> None:
    chosen = histories[::CUT_EVERY] if law in LAWS_OF_CUTS else histories
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
    scripts = sorted(ROUGH_FIRST, key=lambda script: script.kind not in ABOUT.get(law, ()))
    assert any(_breaks(law, script) for script in scripts), f"{law} does not notice {mutant.__name__}"


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
    assert set(turned) == {Phase.PREPARING, Phase.SHIFTING, Phase.PAUSED, Phase.PROMOTING}
    for counted in (ends, entered, turned):
        assert min(counted.values()) >= LEAST_SHARE * HISTORIES


def test_histories_have_people(histories: list[History]) -> None:
    """No way to wait, and nothing that is asked, is so rare that its laws are hardly tried."""
    waited: dict[str, Callable[[State], bool]] = {
        "paused": lambda state: state.phase is Phase.PAUSED,
        "asked": lambda state: state.awaiting,
        "held": lambda state: state.held,
        "frozen": lambda state: state.frozen,
        "by hand": lambda state: state.manual_weight_percent is not None,
    }
    were = Counter(
        name
        for history in histories
        for name, was in waited.items()
        if any(was(moment.decision.state) for moment in history.moments)
    )
    told = Counter(
        (answer.verb, answer.accepted)
        for history in histories
        for answer in {answer for moment in history.moments for answer in moment.answers}
    )
    print(f"{HISTORIES} histories, of which are " + ", ".join(f"{n} {100 * were[n] / HISTORIES:.0f} %" for n in waited))
    print("answers: " + ", ".join(f"{verb} {'yes' if yes else 'no'} {n}" for (verb, yes), n in sorted(told.items())))
    assert min(were[name] for name in waited) >= LEAST_SHARE * HISTORIES
    assert set(told) == {(verb, accepted) for verb in VERBS for accepted in (True, False)}
    assert min(told.values()) >= 10


def test_a_walk_that_is_cut_judges_as_the_uncut_one(histories: list[History]) -> None:
    """Ended and taken up more than an hour later, at every look: the same sights give the same counters, and
    these the same verdicts and the same decisions. Clocks leave out what nobody watched; nothing else does."""
    judged = [history for history in histories if history.script.plan.gates][::2]
    broken = [
        (history.script, found)
        for history in judged
        for law in (lost_time_changes_no_verdict, cuts_lose_no_request)
        for found in law(history)
    ]
    assert broken[:1] == []
    compared = Counter(
        judgement.verdict
        for history in judged
        for moment in history.moments
        if may_cut(history.script.plan, moment.before)
        for judgement in verdicts(moment.decision.state).values()
    )
    print(f"{len(judged)} histories with gates, cut at each look, had the uncut ones' verdicts: {dict(compared)}")
    assert set(compared) == set(Verdict)


def test_histories_are_varied() -> None:
    """The same seed gives the same histories; another seed does not."""
    assert scripts(5) == scripts(5)
    assert draw_script(random.Random(1)) != draw_script(random.Random(2))
