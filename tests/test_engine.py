"""The engine as seen from a dynamic provider. Trap 10: a cancel that nobody tells, a CLI that is gone."""

from __future__ import annotations

import ast
import inspect
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pulumi.dynamic
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from pulumi_rollout import engine as module
from pulumi_rollout.engine import SLEPT_SECONDS, Engine

URN = "urn:pulumi:live::rollouts::pulumi-python:dynamic/rollout:Rollout::shop"


class Listener:
    """A listening socket that stands for the engine."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    made = Listener()
    monkeypatch.setattr(sys, "argv", ["pulumi.dynamic", made.address])
    yield made
    made.close()


SERVICER = """
from google.protobuf import empty_pb2

class DynamicResourceProviderServicer:
    def Cancel(self, request, context):
        return empty_pb2.Empty()

    def Delete(self, request, context):
        return empty_pb2.Empty()
"""


@pytest.fixture
def servicer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK's module as the provider process runs it, as `__main__`."""
    main = ModuleType("__main__")
    exec(SERVICER, main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main.DynamicResourceProviderServicer()


def test_trap_10_the_cancel_call_is_a_reason_to_stop(listener: Listener, servicer: Any) -> None:
    engine = Engine(URN)
    assert engine.stop_reason() is None
    assert servicer.Cancel(None, None) == empty_pb2.Empty()
    assert engine.stop_reason() == "the update was cancelled"


def test_trap_10_without_the_spy_nobody_is_told(
    listener: Listener, servicer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_listen_for_cancel", lambda: None)
    with pytest.raises(AssertionError):
        test_trap_10_the_cancel_call_is_a_reason_to_stop(listener, servicer)


def test_other_calls_are_no_cancel(listener: Listener, servicer: Any) -> None:
    engine = Engine(URN)
    assert servicer.Delete(None, None) == empty_pb2.Empty()
    assert engine.stop_reason() is None


def test_the_spy_is_placed_once_and_passes_everything_else_on(listener: Listener, servicer: Any) -> None:
    Engine(URN)
    Engine(URN)
    spy: Any = sys.modules["__main__"].empty_pb2  # type: ignore[attr-defined]
    assert spy._module is empty_pb2
    assert spy.DESCRIPTOR is empty_pb2.DESCRIPTOR


def test_the_sdks_servicer_still_answers_as_the_spy_expects() -> None:
    """pulumi 3.258: `Cancel` makes its answer by `empty_pb2.Empty()`, looked up in its module."""
    source = (Path(inspect.getfile(pulumi.dynamic)).parent / "__main__.py").read_text()
    tree = ast.parse(source)
    [servicer] = [item for item in tree.body if isinstance(item, ast.ClassDef)]
    [cancel] = [item for item in servicer.body if isinstance(item, ast.FunctionDef) and item.name == "Cancel"]
    assert servicer.name == "DynamicResourceProviderServicer"
    assert [ast.unparse(line) for line in cancel.body] == ["return empty_pb2.Empty()"]
    assert "from google.protobuf import empty_pb2" in source


def test_trap_10_a_closed_port_is_a_lost_engine(listener: Listener) -> None:
    engine = Engine(URN)
    assert engine.stop_reason() is None
    listener.close()
    assert engine.stop_reason() == "the Pulumi CLI is gone"


def test_trap_10_without_looking_at_the_port_the_engine_is_not_missed(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_listens", lambda address: True)
    with pytest.raises(AssertionError):
        test_trap_10_a_closed_port_is_a_lost_engine(listener)


def test_an_engine_that_is_slow_to_accept_is_not_lost(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> None:
        raise TimeoutError

    engine = Engine(URN)
    monkeypatch.setattr(socket, "create_connection", slow)
    assert engine.stop_reason() is None


class Clocks:
    """The machine's two clocks; the monotonic one stands still while the machine is asleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1000.0, 50.0
        monkeypatch.setattr(module.time, "time", lambda: self.wall)
        monkeypatch.setattr(module.time, "monotonic", lambda: self.monotonic)

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def test_trap_10_a_gap_in_the_clock_is_a_machine_that_slept(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    engine = Engine(URN)
    clocks.run(10_000)
    assert engine.stop_reason() is None
    clocks.wall += SLEPT_SECONDS + 70
    assert engine.stop_reason() == "this machine was asleep for 100 s, and nobody watched the new version"


def test_trap_10_without_the_gap_a_nap_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLEPT_SECONDS", float("inf"))
    with pytest.raises(AssertionError):
        test_trap_10_a_gap_in_the_clock_is_a_machine_that_slept(monkeypatch)


def test_a_clock_that_is_set_right_is_no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    engine = Engine(URN)
    for _ in range(10):
        clocks.run(60)
        clocks.wall += 20
        assert engine.stop_reason() is None
    clocks.wall -= 500
    assert engine.stop_reason() is None


def test_a_reason_stays(listener: Listener, servicer: Any) -> None:
    engine = Engine(URN)
    servicer.Cancel(None, None)
    assert engine.stop_reason() == "the update was cancelled"
    listener.close()
    assert engine.stop_reason() == "the update was cancelled"


def test_wait_ends_at_once_on_cancel(listener: Listener, servicer: Any) -> None:
    engine = Engine(URN)
    begun = time.monotonic()
    threading.Timer(0.05, servicer.Cancel, (None, None)).start()
    engine.wait(20)
    assert 0.04 < time.monotonic() - begun < 2


def test_wait_lasts_as_long_as_said_on_the_way_back(listener: Listener, servicer: Any) -> None:
    """Otherwise the walk back would spin."""
    engine = Engine(URN)
    servicer.Cancel(None, None)
    engine.stop_reason()
    begun = time.monotonic()
    engine.wait(0.1)
    assert time.monotonic() - begun >= 0.1


@pytest.mark.parametrize("last", ["", "up", "10.0.0.1:80", "127.0.0.1", "127.0.0.1:80; rm"])
def test_outside_a_provider_process_all_is_quiet(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    monkeypatch.setattr(sys, "argv", ["python", last])
    engine = Engine(URN)
    engine.say("hello")
    engine.warn("hello")
    assert engine.stop_reason() is None
    assert engine._stub is None


# Messages.


class FakeEngineService(engine_pb2_grpc.EngineServicer):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: list[Any] = []

    def Log(self, request: Any, context: Any) -> Any:
        self.logged.append(request)
        return empty_pb2.Empty()


def test_messages_reach_the_rollouts_own_row(monkeypatch: pytest.MonkeyPatch) -> None:
    service, server = FakeEngineService(), grpc.server(futures.ThreadPoolExecutor(1))
    engine_pb2_grpc.add_EngineServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setattr(sys, "argv", ["pulumi.dynamic", f"127.0.0.1:{port}"])
    engine = Engine(URN)
    engine.say("weight 10")
    engine.say("reverting", keep=True)
    engine.warn("no series")
    server.stop(0).wait()
    info, warning = engine_pb2.INFO, engine_pb2.WARNING
    found = [(item.severity, item.message, item.ephemeral, item.urn) for item in service.logged]
    assert found == [
        (info, "weight 10", True, URN),
        (info, "reverting", False, URN),
        (warning, "no series", False, URN),
    ]


def test_a_message_to_an_engine_that_is_gone_is_dropped(listener: Listener) -> None:
    engine = Engine(URN)
    listener.close()
    engine.say("hello")
