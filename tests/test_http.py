"""HTTP to metrics servers, against a local one."""

from __future__ import annotations

import pytest

from pulumi_rollout import http as module
from pulumi_rollout.errors import MetricsError
from pulumi_rollout.http import Http
from tests.fake_api import FakeApi, Fault

QUERY = "/api/v1/query?query=up"


def test_a_body_is_json(api: FakeApi) -> None:
    api.faults.append(Fault(status=200, body=b'{"status": "success"}'))
    assert Http().get_json(f"{api.url}{QUERY}") == {"status": "success"}
    assert (api.requests[0].path, api.requests[0].query) == ("/api/v1/query", {"query": "up"})


def test_an_error_answer_with_json_is_an_answer(api: FakeApi) -> None:
    api.faults.append(Fault(status=400, body=b'{"status": "error", "error": "bad query"}'))
    assert Http().get_json(f"{api.url}{QUERY}") == {"status": "error", "error": "bad query"}


def test_one_connection_serves_many_looks(api: FakeApi) -> None:
    http = Http()
    for _ in range(3):
        api.faults.append(Fault(status=200, body=b"{}"))
        http.get_json(f"{api.url}{QUERY}")
    assert (len(api.requests), api.connections) == (3, 1)


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"\xff\xfe"])
def test_no_json_is_an_error_with_the_status(api: FakeApi, body: bytes) -> None:
    api.faults.append(Fault(status=502, body=body or b" "))
    with pytest.raises(MetricsError) as caught:
        Http().get_json(f"{api.url}{QUERY}")
    assert str(caught.value) == f"{api.url} answered 502 without JSON"


def test_a_disconnect_is_an_error(api: FakeApi) -> None:
    api.faults.append(Fault(drop="before", times=5))
    with pytest.raises(MetricsError, match=r"^http://127.0.0.1:\d+ does not answer \(ConnectionError\)$"):
        Http().get_json(f"{api.url}{QUERY}")


def test_a_slow_server_is_absent_for_this_look(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", (1.0, 0.05))
    api.faults.append(Fault(delay_seconds=0.3))
    with pytest.raises(MetricsError, match=r"does not answer \(ReadTimeout\)$"):
        Http().get_json(f"{api.url}{QUERY}")


IMPOSSIBLE = {
    "a label too long": "http://" + "a" * 70 + ".example.com/x",
    "no port": "http://127.0.0.1:port/x",
    "half an IPv6 address": "http://[::1/x",
    "a space": "http://a b/x",
}


@pytest.mark.parametrize("url", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_host_that_cannot_be_is_an_error(url: str) -> None:
    with pytest.raises(MetricsError, match="does not answer"):
        Http().get_json(url)


def test_a_password_in_the_address_is_not_shown(api: FakeApi) -> None:
    api.faults.append(Fault(status=500, body=b"no"))
    with pytest.raises(MetricsError) as caught:
        Http().get_json(api.url.replace("//", "//me:hidden@") + QUERY)
    assert str(caught.value) == f"{api.url.replace('//', '//***@')} answered 500 without JSON"
