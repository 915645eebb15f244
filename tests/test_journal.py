"""The journal: its round trip through the cluster, compare-and-swap, and what it remembers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.counts import Arm, Reading, Sample
from pulumi_rollout.core.gates import Evidence, Verdict, objective
from pulumi_rollout.core.gates.failing import Start
from pulumi_rollout.core.machine import decide
from pulumi_rollout.core.measures import Objective, Source, SuccessRate
from pulumi_rollout.core.plan import Limits, Plan, Step
from pulumi_rollout.core.state import STATE_FORMAT, Phase, Retry, Seen, State, taken_up
from pulumi_rollout.errors import ClusterError, Fenced, JournalError
from pulumi_rollout.journal import HISTORY_LENGTH, Journal, Record
from tests.fake_api import FakeApi, Fault

PATH = "/api/v1/namespaces/prod/configmaps/rollout-shop"
PLAN = Plan(
    steps=(Step(weight_percent=10, interval_seconds=1, max_wait_seconds=60),),
    gates=(Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="prometheus-1"),),
    sources={"prometheus-1": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
)
EVIDENCE = Evidence(
    canary=Arm(total=7, bad=1, counters={"a,b=c": 8.0}, at=12.5, begun=True, pods={"shop-v2-a": (7, 1)}),
    memory=objective.Memory(starts=(Start(total=3, bad=0),)),
)


def state(phase: Phase = Phase.SHIFTING, **changes: Any) -> State:
    clocks = {"started_at": 1, "phase_at": 2, "move_at": 3}
    basis = State(walk="v2-1", revision="v2", stable="v1", evidence={"success_rate": EVIDENCE}, **clocks)
    return basis.model_copy(update={"phase": phase, **changes})


def journal(kube: Cluster) -> Journal:
    return Journal(kube, "prod", "shop", "rollouts/live").load()


def begun(kube: Cluster, begins: State | None = None, **changes: Any) -> Journal:
    """A journal in which a walk has begun."""
    mine = journal(kube)
    mine.begin(Record(state=begins or state(), plan=PLAN, saved_at=1.0).model_copy(update=changes))
    return mine


def test_what_is_saved_is_loaded_by_another(api: FakeApi, kube: Cluster) -> None:
    saved = state(weight_percent=10, original='[{"kind": "HTTPRoute"}]')
    begun(kube).save(saved, 4.0)
    record = journal(kube).record
    assert record is not None
    assert (record.state, record.plan, record.saved_at) == (saved, PLAN, 4.0)
    assert api.objects[PATH]["data"]["owner"] == "rollouts/live"
    assert api.objects[PATH]["metadata"]["labels"]["app.kubernetes.io/name"] == "shop"


def test_an_absent_journal_is_empty(kube: Cluster) -> None:
    empty = journal(kube)
    assert (empty.record, empty.history, empty.unfinished) == (None, [], None)


def test_an_empty_configmap_is_an_empty_journal(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {})
    assert journal(kube).record is None


def test_a_second_writer_is_told(kube: Cluster) -> None:
    first = begun(kube)
    second = journal(kube)
    first.save(state(weight_percent=10), 1.0)
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            second.save(state(weight_percent=20), 2.0)
        assert type(caught.value) is JournalError
        assert str(caught.value) == (
            "another run is releasing shop: it changed ConfigMap prod/rollout-shop; "
            "wait for it to end, then run `pulumi up` again"
        )
    first.save(state(weight_percent=20), 3.0)


def test_a_second_walk_is_told(kube: Cluster) -> None:
    """Two that found nothing both create."""
    second = journal(kube)
    begun(kube)
    with pytest.raises(JournalError, match="another run is releasing shop"):
        second.begin(Record(state=state(walk="v2-2"), plan=PLAN, saved_at=2.0))


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_own_write_whose_answer_was_lost_is_no_conflict(
    api: FakeApi, kube: Cluster, quick_retries: None, method: str
) -> None:
    if method == "PUT":
        begun(kube)
    api.faults.append(Fault(method=method, drop="after"))
    mine = begun(kube, state(weight_percent=10))
    mine.save(state(weight_percent=20), 3.0)
    assert [request.method for request in api.writes()].count(method) >= 2
    assert json.loads(api.objects[PATH]["data"]["state"])["state"]["weight_percent"] == 20


def test_what_could_not_be_written_is_not_known(api: FakeApi, kube: Cluster, quick_retries: None) -> None:
    mine = begun(kube)
    api.faults.append(Fault(method="PUT", status=503, times=4))
    with pytest.raises(ClusterError):
        mine.end(state(Phase.SUCCEEDED), 9.0)
    assert (mine.record and mine.record.state.phase, mine.history) == (Phase.SHIFTING, [])


def test_a_journal_without_a_walk_has_nothing_to_save(kube: Cluster) -> None:
    for write in (journal(kube).save, journal(kube).end):
        with pytest.raises(JournalError, match="ConfigMap prod/rollout-shop knows of no walk that could go on"):
            write(state(), 1.0)


BROKEN = {
    "no JSON": {"state": "{"},
    "not a record": {"state": "[1, 2]"},
    "without a format": {"state": '{"state": {}}'},
    "an unknown key": {"state": '{"state": {"format": 2, "colour": "red"}}'},
    "an old one without its revision": {"state": '{"state": {"format": 1, "started_at": 1}}'},
    "no history": {"history": "3"},
    "a strange history": {"history": '[{"revision": "v1"}]'},
    "a strange guard": {"guard": "{"},
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_journal_is_refused_with_the_way_out(api: FakeApi, kube: Cluster, data: dict[str, str]) -> None:
    api.put(PATH, {"data": data})
    with pytest.raises(JournalError) as caught:
        journal(kube)
    assert str(caught.value) == (
        "ConfigMap prod/rollout-shop cannot be read as a journal: look at the route's weights, "
        "put them right by hand, then delete the ConfigMap"
    )


def test_a_newer_journal_is_refused_with_the_way_out(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {"data": {"state": f'{{"state": {{"format": {STATE_FORMAT + 1}, "new": "shape"}}}}'}})
    with pytest.raises(JournalError) as caught:
        journal(kube)
    assert str(caught.value) == (
        "ConfigMap prod/rollout-shop was written by a newer version of pulumi-rollout: upgrade before you go on"
    )


@pytest.mark.parametrize("phase", list(Phase))
def test_which_phases_are_unfinished(kube: Cluster, phase: Phase) -> None:
    begun(kube, state(phase))
    unfinished = journal(kube).unfinished
    assert (unfinished is None) == (phase in (Phase.SUCCEEDED, Phase.FAILED))


def test_a_way_back_that_was_not_confirmed_is_unfinished(kube: Cluster) -> None:
    """Traffic may still reach the new version, and nothing else would stop its deletion."""
    begun(kube).end(state(Phase.FAILED, confirmed=False), 1.0)
    assert journal(kube).unfinished is not None


# The history, and the memory of failures.


def test_the_history_is_bounded(kube: Cluster) -> None:
    mine = begun(kube)
    for number in range(HISTORY_LENGTH + 5):
        mine.end(state(Phase.FAILED, reason=str(number)), float(number))
    assert HISTORY_LENGTH == 20
    assert [entry.reason for entry in journal(kube).history] == [str(number) for number in range(5, 25)]


def test_an_end_that_is_repeated_is_remembered_once(api: FakeApi, kube: Cluster, quick_retries: None) -> None:
    mine = begun(kube)
    api.faults.append(Fault(method="PUT", status=503, times=4))
    with pytest.raises(ClusterError):
        mine.end(state(Phase.FAILED), 9.0)
    mine.end(state(Phase.FAILED), 9.0)
    assert len(journal(kube).history) == 1


def test_the_history_says_what_was_released_from_where_and_by_whom(kube: Cluster) -> None:
    mine = begun(kube, image="shop:2", commit="c0ffee", by="ada@laptop", retry="again")
    mine.end(state(Phase.FAILED, reason="3 of 9 failed", command=7), 5.0)
    [entry] = journal(kube).history
    assert (entry.image, entry.commit, entry.by, entry.retry) == ("shop:2", "c0ffee", "ada@laptop", "again")
    assert (entry.started_at, entry.ended_at, entry.command, entry.judged) == (1, 5.0, 7, True)


def ended(kube: Cluster, phase: Phase, retry: str = "", **changes: Any) -> None:
    mine = journal(kube)
    mine.begin(Record(state=state(**changes), plan=PLAN, saved_at=4.0, retry=retry))
    mine.end(state(phase, **changes), 5.0)


def test_a_failure_is_remembered_until_another_token(kube: Cluster) -> None:
    ended(kube, Phase.FAILED, retry="a", reason="3 of 9 failed")
    remembered = journal(kube).failure_of("v2", "a")
    assert remembered is not None
    assert (remembered.reason, remembered.revision, remembered.ended_at) == ("3 of 9 failed", "v2", 5.0)
    assert journal(kube).failure_of("v2", "b") is None
    assert journal(kube).failure_of("v3", "a") is None


RETRIES = {
    "later than the failure": (8, "v2", True),
    "the last that the walk had seen": (7, "v2", False),
    "of another revision": (8, "v3", False),
}


@pytest.mark.parametrize(("number", "revision", "lifts"), RETRIES.values(), ids=RETRIES)
def test_a_failure_is_remembered_until_somebody_says_retry(
    kube: Cluster, number: int, revision: str, lifts: bool
) -> None:
    ended(kube, Phase.FAILED, command=7)
    said = Retry(id=number, revision=revision, by="ada@laptop", at=9.0)
    assert (journal(kube).failure_of("v2", "", [said]) is None) is lifts


@pytest.mark.parametrize(
    ("phase", "judged"), [(Phase.FAILED, False), (Phase.SUCCEEDED, True)], ids=["was stopped", "was won"]
)
def test_what_is_no_failure_lifts_the_memory(kube: Cluster, phase: Phase, judged: bool) -> None:
    ended(kube, Phase.FAILED)
    ended(kube, phase, judged=judged)
    assert journal(kube).failure_of("v2", "") is None


def test_the_memory_survives_other_revisions(kube: Cluster) -> None:
    ended(kube, Phase.FAILED)
    ended(kube, Phase.SUCCEEDED, revision="v3")
    assert journal(kube).failure_of("v2", "") is not None


# Whose it is.


def test_another_stacks_journal_is_refused(kube: Cluster) -> None:
    begun(kube)
    with pytest.raises(JournalError, match=r"ConfigMap prod/rollout-shop belongs to the stack rollouts/live, and one"):
        Journal(kube, "prod", "shop", "rollouts/other").load()


def test_whoever_opens_it_without_an_owner_keeps_the_owner(api: FakeApi, kube: Cluster) -> None:
    """As the command line does."""
    begun(kube)
    anybody = Journal(kube, "prod", "shop").load()
    assert anybody.owner == "rollouts/live"
    anybody.save(state(weight_percent=10), 2.0)
    assert api.objects[PATH]["data"]["owner"] == "rollouts/live"


def test_deleting_forgets_everything(api: FakeApi, kube: Cluster) -> None:
    begun(kube)
    journal(kube).delete()
    journal(kube).delete()
    assert PATH not in api.objects


# In plain words, for people and for the guard.


def plain(api: FakeApi) -> dict[str, str]:
    return {key: text for key, text in api.objects[PATH]["data"].items() if key not in ("state", "history", "owner")}


def test_the_plain_keys(api: FakeApi, kube: Cluster) -> None:
    mine = begun(kube)
    assert plain(api) == {"walk": "v2-1", "phase": "shifting", "weight": "0"}
    mine.save(state(Phase.PAUSED, weight_percent=30, held=True), 2.0)
    assert plain(api) == {"walk": "v2-1", "phase": "paused", "weight": "30", "held": "true"}
    mine.end(state(Phase.SUCCEEDED, weight_percent=0), 3.0)
    assert plain(api) == {"walk": "v2-1", "phase": "succeeded", "weight": "0"}


def fence(api: FakeApi, walk: str = "v2-1") -> str:
    """As the guard writes it. Returns what it says of itself."""
    said = json.dumps({"walk": walk, "at": "2026-10-09T10:00:00Z"})
    found = api.objects[PATH]
    api.put(PATH, {**found, "data": {**found["data"], "guard": said}})
    return said


def test_the_guards_word_is_read(api: FakeApi, kube: Cluster) -> None:
    begun(kube)
    assert journal(kube).guarded is None
    fence(api)
    assert journal(kube).guarded == "2026-10-09T10:00:00Z"


def test_the_guards_word_about_another_walk_is_none(api: FakeApi, kube: Cluster) -> None:
    begun(kube)
    fence(api, walk="v2-0")
    assert journal(kube).guarded is None


@pytest.mark.parametrize("write", ["begin", "save", "end"])
def test_whoever_writes_after_the_guard_is_fenced_off(api: FakeApi, kube: Cluster, write: str) -> None:
    mine = begun(kube)
    said = fence(api)
    before = json.loads(api.objects[PATH]["data"]["state"])
    with pytest.raises(Fenced) as caught:
        if write == "begin":
            mine.begin(Record(state=state(weight_percent=50), plan=PLAN, saved_at=2.0))
        elif write == "save":
            mine.save(state(weight_percent=50), 2.0)
        else:
            mine.end(state(Phase.SUCCEEDED), 2.0)
    assert str(caught.value) == "the guard in the cluster is putting the traffic of shop back"
    assert mine.guarded == "2026-10-09T10:00:00Z"
    assert json.loads(api.objects[PATH]["data"]["state"]) == before
    mine.end(state(Phase.FAILED), 3.0)
    assert plain(api)["guard"] == said, "the guard must see that its walk was fenced off, until another one begins"
    assert [entry.phase for entry in mine.history] == [Phase.FAILED]
    mine.begin(Record(state=state(walk="v2-4"), plan=PLAN, saved_at=4.0))
    assert mine.guarded is None
    assert "guard" not in plain(api)


def test_after_the_fence_another_run_is_another_run(api: FakeApi, kube: Cluster) -> None:
    begun(kube)
    fence(api)
    first, second = journal(kube), journal(kube)
    first.save(state(), 2.0)
    with pytest.raises(JournalError, match="another run is releasing shop"):
        second.save(state(), 3.0)


# What earlier versions wrote.

JOURNALS = Path(__file__).parent / "journals"
FORMAT_1, FORMAT_2 = (json.loads((JOURNALS / f"format-{number}.json").read_text()) for number in (1, 2))


def test_a_journal_of_format_1_is_read(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {"data": FORMAT_1["data"]})
    found = journal(kube)
    assert found.unfinished is not None
    read = found.unfinished.state
    assert (read.format, read.walk, read.weight_percent, read.move) == (STATE_FORMAT, "v2-1760000000", 20, 3)
    assert (found.unfinished.retry, found.unfinished.inputs, found.unfinished.image) == ("again", None, None)
    assert found.failure_of("v2", "") is not None
    assert found.failure_of("v2", "", [Retry(id=1, revision="v2", by="ada", at=1)]) is None


def test_a_journal_of_format_1_is_written_in_todays(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {"data": FORMAT_1["data"]})
    mine = journal(kube)
    assert mine.record is not None
    mine.save(mine.record.state, 9.0)
    assert json.loads(api.objects[PATH]["data"]["state"])["state"]["format"] == STATE_FORMAT
    assert plain(api) == {"walk": "v2-1760000000", "phase": "shifting", "weight": "20"}
    assert journal(kube).record == mine.record


def test_a_journal_of_format_2_is_read(api: FakeApi, kube: Cluster) -> None:
    """Its gate is one with an objective; what it had counted is left behind. All else is as it was."""
    api.put(PATH, {"data": FORMAT_2["data"]})
    found = journal(kube)
    assert found.unfinished is not None
    read, plan = found.unfinished.state, found.unfinished.plan
    assert (read.format, read.walk, read.weight_percent, read.move) == (STATE_FORMAT, "v3-1780000000", 20, 4)
    assert (read.evidence, read.warm_until, read.replaced) == ({}, None, ())
    assert [answer.text for answer in read.answers] == ["paused at weight 20", "resumed"]
    assert plan.gates == (
        Objective(id="success_rate", metric=SuccessRate(), max_bad_ratio=0.01, source="prometheus-1"),
    )
    assert plan.sources == {
        "prometheus-1": Source(kind="prometheus", address="http://prometheus.monitoring:9090", proxy="contour")
    }
    assert plan.limits == Limits()
    assert found.unfinished.inputs is not None
    assert (found.unfinished.image, found.unfinished.by) == ("registry.example.com/shop:3", "ada@laptop")
    assert [(entry.revision, entry.phase) for entry in found.history] == [("v2", "succeeded"), ("v3", "failed")]
    assert found.failure_of("v3", "first") is not None


def test_a_journal_of_format_2_is_written_in_todays(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {"data": FORMAT_2["data"]})
    mine = journal(kube)
    assert mine.record is not None
    mine.save(mine.record.state, 9.0)
    assert json.loads(api.objects[PATH]["data"]["state"])["state"]["format"] == STATE_FORMAT
    assert plain(api) == {"walk": "v3-1780000000", "phase": "shifting", "weight": "20"}
    assert journal(kube).record == mine.record


def test_a_walk_of_format_2_goes_on_and_is_judged_from_there(api: FakeApi, kube: Cluster) -> None:
    """Not by what its counters had before: 10 bad ones of 1,810 are their base."""
    api.put(PATH, {"data": FORMAT_2["data"]})
    record = journal(kube).record
    assert record is not None
    now = record.saved_at + 3600
    state = taken_up(record.state, record.saved_at, now)
    counters = {"ok": (1800.0, False), "bad": (10.0, True)}
    reading = Reading(canary=Sample(series=counters, at=now), stable=Sample(at=now))
    seen = Seen(now=now, canary_ready=2, canary_replicas=2, stable_replicas=3, weight_percent=20)
    seen = seen.model_copy(update={"apex_revision": "v2", "apex_ready": True, "readings": {"success_rate": reading}})
    after = decide(record.plan, state, seen).state
    evidence = after.evidence["success_rate"]
    assert (after.phase, evidence.canary.total, evidence.judgement.verdict) == (Phase.SHIFTING, 0, Verdict.UNDECIDED)
    assert evidence.canary.counters == {"ok": 1800.0, "bad": 10.0}


def test_a_plan_of_format_1_has_gates_of_its_kind_too(api: FakeApi, kube: Cluster) -> None:
    """A journal is brought from each format to the next one."""
    data = FORMAT_2["data"]
    record = json.loads(data["state"])
    del record["state"]["walk"]
    record["state"]["format"] = 1
    api.put(PATH, {"data": {**data, "state": json.dumps(record)}})
    found = journal(kube).unfinished
    assert found is not None
    assert (found.plan.gates[0].test, found.state.walk) == ("objective", "v3-1780000005")
