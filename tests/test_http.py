"""HTTP to metrics servers, against a local one: answers, and who asks."""

from __future__ import annotations

import base64
import os
import subprocess
import traceback
from pathlib import Path

import pytest

from pulumi_rollout import http as module
from pulumi_rollout.core.measures import Auth
from pulumi_rollout.core.plan import problems_of
from pulumi_rollout.errors import MetricsError
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
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


# Who asks.

HIDDEN = "hidden-s3cret"
CREDENTIALS = {"prom": HIDDEN, "tenant": "hidden-tenant"}
WAYS = {
    "a token": (Auth(token="prom"), {"Authorization": f"Bearer {HIDDEN}"}),
    "a password": (
        Auth(username="me", password="prom"),
        {"Authorization": f"Basic {base64.b64encode(f'me:{HIDDEN}'.encode()).decode()}"},
    ),
    "headers": (
        Auth(token="prom", headers={"X-Scope-OrgID": "tenant"}),
        {"Authorization": f"Bearer {HIDDEN}", "X-Scope-OrgID": "hidden-tenant"},
    ),
}


def answered(api: FakeApi, **fault: object) -> None:
    api.faults.append(Fault(**{"status": 200, "body": b"{}", **fault}))  # type: ignore[arg-type]


@pytest.mark.parametrize(("auth", "headers"), WAYS.values(), ids=WAYS)
def test_a_source_says_who_asks(api: FakeApi, auth: Auth, headers: dict[str, str]) -> None:
    answered(api)
    Http(CREDENTIALS).get_json(f"{api.url}{QUERY}", auth)
    assert headers.items() <= api.requests[0].headers.items()


def test_each_source_has_its_own(api: FakeApi) -> None:
    http = Http(CREDENTIALS)
    for auth in (Auth(token="prom"), Auth(), Auth(token="tenant")):
        answered(api)
        http.get_json(f"{api.url}{QUERY}", auth)
    shown = [request.headers.get("Authorization") for request in api.requests]
    assert shown == [f"Bearer {HIDDEN}", None, "Bearer hidden-tenant"]
    assert api.connections == 1


def test_a_lines_end_in_a_credential_does_not_matter(api: FakeApi) -> None:
    answered(api)
    Http({"prom": f"{HIDDEN}\n"}).get_json(f"{api.url}{QUERY}", Auth(token="prom"))
    assert api.requests[0].headers["Authorization"] == f"Bearer {HIDDEN}"


def test_a_file_at_home_is_not_asked(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login other password other\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    for auth in (Auth(token="prom"), Auth()):
        answered(api)
        Http(CREDENTIALS).get_json(f"{api.url}{QUERY}", auth)
    assert [request.headers.get("Authorization") for request in api.requests] == [f"Bearer {HIDDEN}", None]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_what_to_do(api: FakeApi, status: int) -> None:
    answered(api, status=status, times=2, body=b'{"status": "error"}')
    with pytest.raises(MetricsError) as caught:
        Http(CREDENTIALS).get_json(f"{api.url}{QUERY}", Auth(token="prom"))
    assert str(caught.value) == f"{api.url} refuses the credentials ({status})"
    with pytest.raises(MetricsError) as caught:
        Http().get_json(f"{api.url}{QUERY}")
    assert str(caught.value) == f"{api.url} wants to know who asks: give the source its auth ({status})"


def test_an_unknown_credential_names_those_that_there_are(api: FakeApi) -> None:
    with pytest.raises(MetricsError) as caught:
        Http(CREDENTIALS).get_json(api.url, Auth(token="prmo"))
    assert str(caught.value) == "there is no credential prmo; there are: prom, tenant"
    with pytest.raises(MetricsError, match=r"^there is no credential prom; there are: none$"):
        Http().get_json(api.url, Auth(token="prom"))
    assert api.requests == []


@pytest.mark.parametrize("value", ["hidden\nX-Evil: 1", "hidden-\u20ac"])
def test_a_credential_that_cannot_be_a_header_is_shown_nowhere(api: FakeApi, value: str) -> None:
    with pytest.raises(MetricsError) as caught:
        Http({"prom": value}).get_json(api.url, Auth(token="prom"))
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
    assert api.requests == []


def test_credentials_are_in_no_repr(api: FakeApi) -> None:
    assert HIDDEN not in repr(Http(CREDENTIALS)) + str(vars(Http(CREDENTIALS)).get("_sessions"))


def test_another_host_is_not_told_who_asks(api: FakeApi) -> None:
    auth = Auth(token="prom", headers={"X-Scope-OrgID": "tenant"})
    with FakeApi() as other:
        answered(api, status=302, headers={"Location": f"{other.url}/there"})
        answered(other, status=307, headers={"Location": f"{api.url}/back"})
        answered(api, body=b'{"back": 1}')
        assert Http(CREDENTIALS).get_json(f"{api.url}{QUERY}", auth) == {"back": 1}
        told = [request.headers.get("Authorization") for request in (*api.requests, *other.requests)]
        assert told == [f"Bearer {HIDDEN}", f"Bearer {HIDDEN}", None]
        assert "X-Scope-OrgID" not in other.requests[0].headers


def test_a_redirect_on_the_same_host_is_followed(api: FakeApi) -> None:
    answered(api, status=301, headers={"Location": "/prometheus/api/v1/query?query=up"})
    answered(api, body=b'{"a": 1}')
    assert Http(CREDENTIALS).get_json(f"{api.url}{QUERY}", Auth(token="prom")) == {"a": 1}
    assert api.requests[1].path == "/prometheus/api/v1/query"
    assert api.requests[1].headers["Authorization"] == f"Bearer {HIDDEN}"


def test_redirects_come_to_an_end(api: FakeApi) -> None:
    answered(api, status=302, headers={"Location": "/again"}, times=99)
    with pytest.raises(MetricsError, match=r"does not answer \(TooManyRedirects\)$"):
        Http().get_json(f"{api.url}{QUERY}")
    assert len(api.requests) == module.MOST_REDIRECTS


# Trust.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate of 127.0.0.1, which is its own authority, and its key."""
    where = tmp_path_factory.mktemp("tls")
    key, cert = str(where / "key.pem"), str(where / "cert.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=fake"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run([*command.split(), *names], check=True, capture_output=True, env=dict(os.environ))
    return cert, key


def test_a_certificate_of_its_own_is_trusted(certificate: tuple[str, str]) -> None:
    credentials = {"ca": Path(certificate[0]).read_text()}
    with FakeApi(tls=certificate) as secure:
        answered(secure)
        assert Http(credentials).get_json(f"{secure.url}{QUERY}", Auth(ca="ca")) == {}


def test_another_certificate_is_not_trusted(certificate: tuple[str, str]) -> None:
    with FakeApi(tls=certificate) as secure:
        for auth in (Auth(), Auth(token="prom")):
            with pytest.raises(MetricsError) as caught:
                Http(CREDENTIALS).get_json(f"{secure.url}{QUERY}", auth)
            assert str(caught.value) == f"there is no trusted connection to {secure.url}: give the source its ca"
        assert secure.requests == []


def test_with_a_certificate_of_its_own_no_other_counts(
    certificate: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even those that the environment names for all programs."""
    another = tmp_path / "other.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other"
    subprocess.run(
        [*command.split(), "-keyout", str(tmp_path / "key.pem"), "-out", str(another)], check=True, capture_output=True
    )
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate[0])
    with FakeApi(tls=certificate) as secure:
        with pytest.raises(MetricsError, match="no trusted connection"):
            Http({"ca": another.read_text()}).get_json(f"{secure.url}{QUERY}", Auth(ca="ca"))
        assert secure.requests == []


def test_it_can_do_without_trust(certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    with FakeApi(tls=certificate) as secure:
        answered(secure)
        assert Http().get_json(f"{secure.url}{QUERY}", Auth(insecure_skip_verify=True)) == {}


def test_a_ca_that_is_none_is_said(certificate: tuple[str, str]) -> None:
    with FakeApi(tls=certificate) as secure, pytest.raises(MetricsError) as caught:
        Http({"ca": HIDDEN}).get_json(secure.url, Auth(ca="ca"))
    assert str(caught.value) == "credential ca holds no certificates in PEM form"


# As inputs.


def test_credentials_are_inputs_that_are_kept_and_shown_nowhere() -> None:
    written = {
        "app": "shop",
        "namespace": "prod",
        "revision": {"hash": "v2", "port": 80, "replicas": 1},
        "route": {"router": "gateway", "objects": []},
        "policy": {},
        "credentials": CREDENTIALS,
    }
    inputs = Inputs.model_validate(written)
    assert inputs.credentials == CREDENTIALS
    assert "hidden" not in repr(inputs) + inputs.model_dump_json()
    assert Inputs.model_validate_json(inputs.model_dump_json()).credentials == {}


@pytest.mark.parametrize("credentials", [{"prom": 12345}, ["hidden-s3cret"], "hidden-s3cret", {"prom": {"a": 1}}])
def test_credentials_of_another_shape_are_refused_unseen(credentials: object) -> None:
    with pytest.raises(ValueError, match="is no mapping of names to secret strings") as caught:
        Inputs.model_validate(
            {
                "app": "shop",
                "namespace": "prod",
                "revision": {"hash": "v2", "port": 80, "replicas": 1},
                "route": {"router": "gateway", "objects": []},
                "policy": {},
                "credentials": credentials,
            }
        )
    found = problems_of(caught.value, "rollout")  # type: ignore[arg-type]
    assert found == [("rollout.credentials", "is no mapping of names to secret strings")]
