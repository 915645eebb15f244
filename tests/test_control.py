"""How commands reach a walk: their numbers, many senders at once, and a ConfigMap that people broke."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from pulumi_rollout.cluster import Cluster
from pulumi_rollout.control import COMMANDS_KEPT, WRITE_ATTEMPTS, Control
from pulumi_rollout.core.state import Command, Retry
from pulumi_rollout.errors import Conflict, JournalError
from tests.fake_api import Direct, FakeApi, Fault
from tests.fake_app import COMMANDS

PAUSE = Command(id=0, verb="pause", walk="v2-1", step=1, by="ada@laptop", at=5.0, reason="lunch")
RETRY = Retry(id=0, revision="v2", by="ada@laptop", at=5.0)


@pytest.fixture
def control(kube: Cluster) -> Control:
    return Control(kube, "prod", "shop")


def test_nothing_was_asked(control: Control) -> None:
    assert control.read() == ((), ())


def test_what_is_sent_is_read(api: FakeApi, control: Control) -> None:
    assert control.send(PAUSE, after=0) == 1
    assert control.send(RETRY, after=0) == 2
    assert control.read() == ((PAUSE.model_copy(update={"id": 1}),), (RETRY.model_copy(update={"id": 2}),))
    assert api.objects[COMMANDS]["metadata"]["labels"] == {
        "app.kubernetes.io/name": "shop",
        "app.kubernetes.io/managed-by": "pulumi-rollout",
    }


def test_numbers_rise_above_all_that_was_answered(control: Control) -> None:
    """The walk may have answered commands whose ConfigMap is gone."""
    assert [control.send(PAUSE, after=after) for after in (0, 0, 40, 3)] == [1, 2, 41, 42]


def test_a_deleted_configmap_starts_above_what_was_answered(control: Control) -> None:
    for _ in range(3):
        control.send(PAUSE, after=0)
    control.delete()
    control.delete()
    assert control.send(PAUSE, after=3) == 4
    assert [command.id for command in control.read()[0]] == [4]


def test_only_the_last_are_kept(control: Control) -> None:
    for _ in range(COMMANDS_KEPT + 5):
        last = control.send(PAUSE, after=0)
    commands, retries = control.read()
    assert [command.id for command in commands] == list(range(last - COMMANDS_KEPT + 1, last + 1))
    assert retries == ()


def test_two_senders_at_once_lose_nothing(api: FakeApi) -> None:
    """Each over its own connection; neither can lose the race more often than the other one sends."""
    given: list[int] = []
    each = WRITE_ATTEMPTS - 1

    def send(number: int) -> None:
        mine = Control(Cluster(api.kubeconfig()), "prod", "shop")
        for _ in range(each):
            given.append(mine.send(PAUSE.model_copy(update={"by": f"operator-{number}"}), after=0))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commands, _ = Control(Cluster(api.kubeconfig()), "prod", "shop").read()
    assert sorted(given) == [command.id for command in commands] == list(range(1, 2 * each + 1))
    assert sorted(command.by for command in commands) == [f"operator-{number // each}" for number in range(2 * each)]


@pytest.mark.parametrize("times", [WRITE_ATTEMPTS - 1, WRITE_ATTEMPTS])
def test_a_race_is_run_again_a_few_times(api: FakeApi, times: int) -> None:
    direct = Direct(api)
    control = Control(direct, "prod", "shop")
    control.send(PAUSE, after=0)
    left = [times]

    def race(method: str, path: str) -> None:
        if method == "PUT" and left[0]:
            left[0] -= 1
            api.put(COMMANDS, api.objects[COMMANDS])

    direct.before_request = race
    if times == WRITE_ATTEMPTS:
        with pytest.raises(Conflict):
            control.send(RETRY, after=0)
    else:
        assert control.send(RETRY, after=0) == 2


@pytest.mark.parametrize("asked", [PAUSE, RETRY], ids=["a command", "a retry"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_write_whose_answer_was_lost_is_sent_once(
    api: FakeApi, control: Control, quick_retries: None, method: str, asked: Command | Retry
) -> None:
    if method == "PUT":
        control.send(PAUSE.model_copy(update={"at": 1.0}), after=0)
    api.faults.append(Fault(method=method, drop="after"))
    given = control.send(asked, after=0)
    commands, retries = control.read()
    sent = [*((one.id, one.at) for one in commands), *((one.id, one.at) for one in retries)]
    assert [number for number, at in sent if at == asked.at] == [given]


BROKEN: dict[str, dict[str, Any]] = {
    "no JSON": {"commands": "["},
    "no list": {"commands": "3"},
    "a command without a walk": {"commands": '[{"id": 1, "verb": "pause"}]'},
    "an unknown verb": {"commands": json.dumps([{**PAUSE.model_dump(), "verb": "explode"}])},
    "a strange retry": {"retries": '[{"id": 1}]'},
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_configmap_is_said_with_the_way_out(api: FakeApi, control: Control, data: dict[str, str]) -> None:
    api.put(COMMANDS, {"data": data})
    for use in (control.read, lambda: control.send(PAUSE, after=0)):
        with pytest.raises(JournalError) as caught:
            use()
        assert str(caught.value) == (
            "ConfigMap prod/rollout-shop.commands cannot be read as commands: delete it, and give the command again"
        )
    assert api.objects[COMMANDS]["data"] == data


def test_an_empty_configmap_is_no_command(api: FakeApi, control: Control) -> None:
    api.put(COMMANDS, {})
    assert control.read() == ((), ())
