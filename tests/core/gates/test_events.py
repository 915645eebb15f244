"""Gates about what happens: restarts and alerts, what was there before, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest

from pulumi_rollout.core import gates
from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.gates import Judgement, Verdict
from pulumi_rollout.core.measures import Alerts, Restarts
from pulumi_rollout.core.moves import Capacity, Dwell, Weight
from pulumi_rollout.core.state import Phase
from tests.core import by_hand
from tests.core.by_hand import LIMITS, Walk
from tests.core.gates.looks import Watched, plan

RESTARTS, ALERTS = Restarts(id="restarts"), Alerts(id="alerts", source="s")
OOM, EXIT = "OOMKilled (exit code 137)", "Error (exit code 1)"
Events = dict[str, tuple[float, str]]


class Told:
    """A gate that is told what has happened until now."""

    def __init__(self, gate: Restarts | Alerts, before: Events | None = None) -> None:
        self.watched = Watched(plan(gate), preparing=True)
        self.now(before or {}, preparing=True)

    def now(self, events: Events, *, preparing: bool = False) -> Judgement:
        self.watched.now += 1
        return self.watched.read(Reading(events=events), preparing=preparing)


def test_without_anything_it_passes() -> None:
    assert Told(RESTARTS).now({}).verdict is Verdict.PASS
    assert Told(ALERTS).now({}).verdict is Verdict.PASS


def test_a_restart_under_traffic_fails() -> None:
    told = Told(RESTARTS, {"shop-v2-a/app": (0, "")})
    judgement = told.now({"shop-v2-a/app": (1, OOM)})
    assert (judgement.verdict, judgement.judged) == (Verdict.FAIL, True)
    assert told.watched.explained() == (
        f"restarts: the new version's pod shop-v2-a, container app restarted: {OOM}; 42 s at 20 %"
    )


def test_restarts_before_the_first_traffic_are_not_held_against_it() -> None:
    """A container that waits for its database starts some times."""
    told = Told(RESTARTS, {"a/app": (3, EXIT)})
    assert told.now({"a/app": (4, EXIT)}, preparing=True).verdict is Verdict.PASS
    assert told.now({"a/app": (4, EXIT)}).verdict is Verdict.PASS
    assert told.now({"a/app": (6, EXIT)}).verdict is Verdict.FAIL
    assert "restarted 2 times" in told.watched.explained()


def test_how_many_are_allowed_is_a_setting() -> None:
    told = Told(Restarts(id="restarts", max_restarts=2))
    assert told.now({"a/app": (1, OOM), "b/app": (1, OOM)}).verdict is Verdict.PASS
    assert gates.counts(RESTARTS, told.watched.evidence) == "2 restarts"
    assert told.now({"a/app": (1, OOM), "b/app": (2, EXIT)}).verdict is Verdict.FAIL
    assert told.watched.explained() == (
        f"restarts: the new version's pod a, container app restarted: {OOM}; pod b, container app restarted 2 times: "
        f"{EXIT}; 42 s at 20 %"
    )


def test_a_pod_that_is_gone_has_restarted_all_the_same() -> None:
    told = Told(RESTARTS)
    told.now({"a/app": (1, OOM)})
    assert told.now({}).verdict is Verdict.FAIL


def test_a_new_pod_of_the_same_name_is_another_one() -> None:
    told = Told(Restarts(id="restarts", max_restarts=1), {"a/app": (5, EXIT)})
    told.now({"a/app": (0, "")})
    assert told.now({"a/app": (1, OOM)}).verdict is Verdict.PASS
    assert told.now({"a/app": (2, OOM)}).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("events", "pod"),
    [
        ({"a/app": (1.0, OOM)}, "a"),
        ({"a/app": (1.0, OOM), "a/sidecar": (1.0, EXIT)}, "a"),
        ({"a/app": (1.0, OOM), "b/app": (1.0, OOM)}, None),
    ],
)
def test_which_pod_it_is(events: Events, pod: str | None) -> None:
    assert Told(RESTARTS).now(events).pod == pod


def test_after_the_pod_was_replaced_what_has_happened_has_happened() -> None:
    told = Told(RESTARTS)
    told.now({"a/app": (2, OOM), "b/app": (0, "")})
    told.watched.evidence = gates.again(told.watched.evidence)
    assert told.now({"a/app": (2, OOM), "b/app": (0, "")}).verdict is Verdict.PASS
    assert told.now({"b/app": (1, OOM)}).verdict is Verdict.FAIL


def test_a_walk_that_is_judged_from_later_on_begins_with_what_is_there() -> None:
    """Of a journal of an earlier format, or after people went on with what was frozen: its first look is the base."""
    watched = Watched.__new__(Watched)
    watched.__dict__.update(plan=plan(RESTARTS), gate=RESTARTS, now=1000.0, known={"weight_percent": 50})
    watched.evidence = gates.fresh(RESTARTS)
    assert watched.read(Reading(events={"a/app": (3, OOM)})).verdict is Verdict.PASS
    assert watched.read(Reading(events={"a/app": (4, OOM)})).verdict is Verdict.FAIL


# Alerts


def test_an_alert_that_begins_to_fire_fails() -> None:
    told = Told(ALERTS, {"Noise{}": (1, "Noise")})
    assert told.now({"Noise{}": (1, "Noise")}).verdict is Verdict.PASS
    assert told.now({"Noise{}": (1, "Noise"), "Slow{}": (1, "Slow (p99 is 3 s)")}).verdict is Verdict.FAIL
    assert told.watched.judgement.pod is None
    assert told.watched.explained() == "alerts: Slow (p99 is 3 s) fires, 42 s at 20 %"
    assert gates.counts(ALERTS, told.watched.evidence) == "1 alerts"


def test_an_alert_that_has_ended_says_nothing_more() -> None:
    told = Told(ALERTS)
    told.now({"Slow{}": (1, "Slow")})
    assert told.now({}).verdict is Verdict.PASS


def test_an_alert_that_fired_before_may_begin_anew() -> None:
    told = Told(ALERTS, {"Noise{}": (1, "Noise")})
    assert told.now({}).verdict is Verdict.PASS
    assert told.now({"Noise{}": (1, "Noise")}).verdict is Verdict.FAIL


def test_what_they_want_in_words() -> None:
    assert gates.asks(RESTARTS) == "at most 0 restarts of the canary's containers under traffic"
    assert gates.asks(ALERTS) == "no alert begins to fire"


# In a walk


def crashed(*names: str) -> dict[str, Reading]:
    return {"restarts": Reading(events=dict.fromkeys(names, (1.0, OOM)))}


def walk(**changes: Any) -> Walk:
    made = by_hand.plan(20, 50, **{"limits": LIMITS, **changes}).model_copy(update={"gates": (RESTARTS,)})
    return Walk(made, readings=crashed())


def test_the_version_that_crashes_goes_back() -> None:
    crashing = walk()
    crashing.until(Dwell(0)).look(1, readings=crashed("a/app", "b/app"))
    assert (crashing.state.phase, crashing.state.judged) == (Phase.REVERTING, True)


@pytest.mark.parametrize("asked", [False, True], ids=["no question", "somebody is asked"])
def test_until_the_first_weight_nothing_is_held_against_it(asked: bool) -> None:
    """Its pods may start some times, also while the walk waits for somebody, or for more of them."""
    starting = walk(wait_before_traffic=asked)
    if asked:
        while not starting.state.awaiting:
            starting.obeyed()
        starting.look(60, readings=crashed("a/app"))
        assert starting.state.phase is Phase.PAUSED
        starting.ask("promote")
    else:
        starting.until(Weight(0)).until(Capacity(20)).look(1, canary_ready=1, readings=crashed("a/app"))
    starting.look(1, readings=crashed("a/app", "b/app"), canary_ready=2)
    starting.until(Dwell(0)).look(1)
    phases = [starting.state.phase]
    starting.look(1, readings={"restarts": Reading(events={"a/app": (2.0, OOM), "b/app": (2.0, OOM)})})
    assert [*phases, starting.state.phase] == [Phase.SHIFTING, Phase.REVERTING]


def test_people_who_go_on_are_not_told_the_same_again() -> None:
    frozen = walk(on_failure="freeze")
    frozen.until(Dwell(0)).look(1, readings=crashed("a/app", "b/app"))
    assert (frozen.state.frozen, frozen.state.held) == (True, True)
    frozen.taken_up(3600).ask("resume")
    frozen.look(1)
    assert (frozen.state.phase, frozen.state.frozen) == (Phase.SHIFTING, False)
