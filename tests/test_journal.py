"""The journal: its round trip through the cluster, compare-and-swap, and what it remembers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.plan import Gate, Plan, Source, Step
from pulumi_rollout.core.state import Arm, Evidence, Phase, Start, State
from pulumi_rollout.errors import ClusterError, JournalError
from pulumi_rollout.journal import HISTORY_LENGTH, Journal
from tests.fake_api import FakeApi, Fault

PATH = "/api/v1/namespaces/prod/configmaps/rollout-shop"
PLAN = Plan(
    steps=(Step(weight_percent=10, interval_seconds=1, max_wait_seconds=60),),
    gates=(Gate(id="success_rate", metric="success_rate", max_bad_ratio=0.01, source="prometheus-1"),),
    sources={"prometheus-1": Source(kind="prometheus", address="http://prometheus:9090", proxy="contour")},
)
EVIDENCE = Evidence(
    canary=Arm(total=7, bad=1, counters={"a,b=c": 8.0}, at=12.5, begun=True), starts=(Start(total=3, bad=0),)
)


def state(phase: Phase = Phase.SHIFTING, **changes: Any) -> State:
    basis = State(revision="v2", stable="v1", started_at=1, phase_at=2, move_at=3, evidence={"success_rate": EVIDENCE})
    return basis.model_copy(update={"phase": phase, **changes})


def journal(kube: Cluster) -> Journal:
    return Journal(kube, "prod", "shop", "rollouts/live")


def test_what_is_saved_is_loaded_by_another(api: FakeApi, kube: Cluster) -> None:
    saved = state(weight_percent=10, original='[{"kind": "HTTPRoute"}]')
    journal(kube).load().save(PLAN, saved, 4.0)
    record = journal(kube).load().record
    assert record is not None
    assert (record.state, record.plan, record.saved_at) == (saved, PLAN, 4.0)
    assert api.objects[PATH]["data"]["owner"] == "rollouts/live"
    assert api.objects[PATH]["metadata"]["labels"]["app.kubernetes.io/name"] == "shop"


def test_an_absent_journal_is_empty(kube: Cluster) -> None:
    empty = journal(kube).load()
    assert (empty.record, empty.history, empty.unfinished) == (None, [], None)


def test_an_empty_configmap_is_an_empty_journal(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {})
    assert journal(kube).load().record is None


def test_a_second_writer_is_told(kube: Cluster) -> None:
    first, second = journal(kube).load(), journal(kube).load()
    first.save(PLAN, state(), 1.0)
    with pytest.raises(JournalError) as caught:
        second.save(PLAN, state(weight_percent=10), 2.0)
    assert str(caught.value) == (
        "another run is releasing shop: it changed ConfigMap prod/rollout-shop; "
        "wait for it to end, then run `pulumi up` again"
    )
    first.save(PLAN, state(weight_percent=20), 3.0)
    with pytest.raises(JournalError):
        second.save(PLAN, state(weight_percent=10), 4.0)
        second.save(PLAN, state(weight_percent=10), 4.0)


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_own_write_whose_answer_was_lost_is_no_conflict(
    api: FakeApi, kube: Cluster, quick_retries: None, method: str
) -> None:
    mine = journal(kube).load()
    if method == "PUT":
        mine.save(PLAN, state(), 1.0)
    api.faults.append(Fault(method=method, drop="after"))
    mine.save(PLAN, state(weight_percent=10), 2.0)
    mine.save(PLAN, state(weight_percent=20), 3.0)
    assert [request.method for request in api.writes()].count(method) >= 2
    assert json.loads(api.objects[PATH]["data"]["state"])["state"]["weight_percent"] == 20


BROKEN = {
    "no JSON": {"state": "{"},
    "not a record": {"state": "[1, 2]"},
    "without a format": {"state": '{"state": {}}'},
    "an unknown key": {"state": '{"state": {"format": 1, "colour": "red"}}'},
    "no history": {"history": "3"},
    "a strange history": {"history": '[{"revision": "v1"}]'},
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_journal_is_refused_with_the_way_out(api: FakeApi, kube: Cluster, data: dict[str, str]) -> None:
    api.put(PATH, {"data": data})
    with pytest.raises(JournalError) as caught:
        journal(kube).load()
    assert str(caught.value) == (
        "ConfigMap prod/rollout-shop cannot be read as a journal: look at the route's weights, "
        "put them right by hand, then delete the ConfigMap"
    )


def test_a_newer_journal_is_refused_with_the_way_out(api: FakeApi, kube: Cluster) -> None:
    api.put(PATH, {"data": {"state": '{"state": {"format": 2, "new": "shape"}}'}})
    with pytest.raises(JournalError) as caught:
        journal(kube).load()
    assert str(caught.value) == (
        "ConfigMap prod/rollout-shop was written by a newer version of pulumi-rollout: upgrade before you go on"
    )


@pytest.mark.parametrize("phase", list(Phase))
def test_which_phases_are_unfinished(kube: Cluster, phase: Phase) -> None:
    journal(kube).load().save(PLAN, state(phase), 1.0)
    unfinished = journal(kube).load().unfinished
    assert (unfinished is None) == (phase in (Phase.SUCCEEDED, Phase.FAILED))


def test_a_way_back_that_was_not_confirmed_is_unfinished(kube: Cluster) -> None:
    """Traffic may still reach the new version, and nothing else would stop its deletion."""
    journal(kube).load().end(PLAN, state(Phase.FAILED, confirmed=False), 1.0, judged=True, retry="")
    assert journal(kube).load().unfinished is not None


def test_the_history_is_bounded(kube: Cluster) -> None:
    mine = journal(kube).load()
    for number in range(HISTORY_LENGTH + 5):
        mine.end(PLAN, state(Phase.FAILED, reason=str(number)), float(number), judged=True, retry="")
    assert HISTORY_LENGTH == 20
    assert [entry.reason for entry in journal(kube).load().history] == [str(number) for number in range(5, 25)]


def test_an_end_that_is_repeated_is_remembered_once(api: FakeApi, kube: Cluster, quick_retries: None) -> None:
    mine = journal(kube).load()
    api.faults.append(Fault(method="POST", status=503, times=4))
    with pytest.raises(ClusterError):
        mine.end(PLAN, state(Phase.FAILED), 9.0, judged=True, retry="")
    mine.end(PLAN, state(Phase.FAILED), 9.0, judged=True, retry="")
    assert len(journal(kube).load().history) == 1


def test_a_failure_is_remembered_until_another_token(kube: Cluster) -> None:
    mine = journal(kube).load()
    mine.end(PLAN, state(Phase.FAILED, reason="3 of 9 failed"), 5.0, judged=True, retry="a")
    remembered = journal(kube).load().failure_of("v2", "a")
    assert remembered is not None
    assert (remembered.reason, remembered.revision, remembered.ended_at) == ("3 of 9 failed", "v2", 5.0)
    assert journal(kube).load().failure_of("v2", "b") is None
    assert journal(kube).load().failure_of("v3", "a") is None


def test_another_stacks_journal_is_refused(kube: Cluster) -> None:
    journal(kube).load().save(PLAN, state(Phase.SHIFTING), 1.0)
    with pytest.raises(JournalError, match=r"ConfigMap prod/rollout-shop belongs to the stack rollouts/live, and one"):
        Journal(kube, "prod", "shop", "rollouts/other").load()


@pytest.mark.parametrize(
    ("phase", "judged"), [(Phase.FAILED, False), (Phase.SUCCEEDED, True)], ids=["was stopped", "was won"]
)
def test_what_is_no_failure_lifts_the_memory(kube: Cluster, phase: Phase, judged: bool) -> None:
    mine = journal(kube).load()
    mine.end(PLAN, state(Phase.FAILED), 5.0, judged=True, retry="")
    mine.end(PLAN, state(phase), 6.0, judged=judged, retry="")
    assert journal(kube).load().failure_of("v2", "") is None


def test_the_memory_survives_other_revisions(kube: Cluster) -> None:
    mine = journal(kube).load()
    mine.end(PLAN, state(Phase.FAILED), 5.0, judged=True, retry="")
    mine.end(PLAN, state(Phase.SUCCEEDED, revision="v3"), 6.0, judged=True, retry="")
    assert journal(kube).load().failure_of("v2", "") is not None


def test_deleting_forgets_everything(api: FakeApi, kube: Cluster) -> None:
    journal(kube).load().save(PLAN, state(), 1.0)
    journal(kube).delete()
    journal(kube).delete()
    assert PATH not in api.objects
