"""When credentials end, read from kubeconfigs of every kind, and the two sentences about it."""

from __future__ import annotations

import base64
import json
import logging
import os
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulumi_rollout.cluster import login
from pulumi_rollout.expiry import MARGIN_SECONDS, Expiry, credential_expiry, problem, stop_reason
from tests.fake_api import FakeApi
from tests.test_cluster import AMBIENT, LoginProgram

AT = 2_000_000_000
TOKEN = "the token of user me in the kubeconfig"
CERTIFICATE = "the client certificate of user me in the kubeconfig"
# Client certificates are for TLS only; nothing is connected to.
SECURE = {"server": "https://127.0.0.1:1"}
NOW = 1_800_000_000.0
MINUTE = 60.0


def _part(value: object) -> str:
    """A part of a token; text is taken as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _jwt(claims: object) -> str:
    return f"{_part({'alg': 'RS256'})}.{_part(claims)}.{_part('no signature, and nobody looks')}"


class Certificate:
    """A client certificate and its key as files, and its end as openssl says it."""

    def __init__(self, folder: Path, days: int, *, version_1: bool = False) -> None:
        self.cert, self.key = folder / f"cert-{days}.pem", folder / f"key-{days}.pem"
        request = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=team/CN=fake"
        if version_1:
            _run(*request.split(), "-keyout", str(self.key), "-out", str(folder / "csr"))
            sign = ["-signkey", str(self.key), "-days", str(days), "-out", str(self.cert)]
            _run("openssl", "x509", "-req", "-in", str(folder / "csr"), *sign)
        else:
            _run(*request.split(), "-x509", "-days", str(days), "-keyout", str(self.key), "-out", str(self.cert))
        self.text = _run("openssl", "x509", "-noout", "-text", "-in", str(self.cert))
        end = _run("openssl", "x509", "-noout", "-enddate", "-in", str(self.cert))
        self.ends_at = ssl.cert_time_to_seconds(end.strip().removeprefix("notAfter="))

    @property
    def data(self) -> dict[str, str]:
        files = {"client-certificate-data": self.cert, "client-key-data": self.key}
        return {name: base64.b64encode(file.read_bytes()).decode() for name, file in files.items()}

    @property
    def files(self) -> dict[str, str]:
        return {"client-certificate": str(self.cert), "client-key": str(self.key)}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ)).stdout


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("client"), 30)


# Tokens.


def test_a_token_with_an_end(api: FakeApi) -> None:
    found = credential_expiry(api.kubeconfig({"token": _jwt({"exp": AT})}), None)
    assert found == Expiry(AT, TOKEN)
    assert api.requests == []


@pytest.mark.parametrize("exp", [AT, float(AT), AT + 0.5])
@pytest.mark.parametrize("subject", ["", "a", "ab", "abc", "ü>?~"])
def test_a_tokens_claims_of_any_length(api: FakeApi, exp: float, subject: str) -> None:
    """The base64 of a token has no padding, and letters of its own."""
    found = credential_expiry(api.kubeconfig({"token": _jwt({"sub": subject, "exp": exp})}), None)
    assert found == Expiry(exp, TOKEN)


UNKNOWN: dict[str, str] = {
    "no end": _jwt({"sub": "me"}),
    "opaque": "0123456789abcdef",
    "empty": "",
    "two dots": "..",
    "not base64": "a.%%%%.c",
    "not JSON": _jwt("{exp"),
    "not an object": _jwt([1, 2]),
    "an end in words": _jwt({"exp": "tomorrow"}),
    "an end that is true": _jwt({"exp": True}),
    "an end that is null": _jwt({"exp": None}),
    "an end that is not a number": _jwt('{"exp": NaN}'),
    "an end without end": _jwt('{"exp": 1e999}'),
    "an end of 400 digits": _jwt('{"exp": ' + "9" * 400 + "}"),
    "nested too deep": _jwt("[" * 100_000),
}


@pytest.mark.parametrize("token", UNKNOWN.values(), ids=UNKNOWN)
def test_a_token_without_a_known_end(api: FakeApi, token: str) -> None:
    assert credential_expiry(api.kubeconfig({"token": token}), None) is None


def test_a_token_file_is_renewed_by_others(api: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(_jwt({"exp": AT}))
    assert credential_expiry(api.kubeconfig({"tokenFile": str(file)}), None) is None
    # Cluster prefers the file, too.
    both = {"tokenFile": str(file), "token": _jwt({"exp": AT})}
    assert credential_expiry(api.kubeconfig(both), None) is None


def test_a_login_programs_token_is_renewed(api: FakeApi, tmp_path: Path) -> None:
    program = LoginProgram(tmp_path, token=_jwt({"exp": AT}), expirationTimestamp="2033-05-18T03:33:20Z")
    assert credential_expiry(api.kubeconfig(program.user), None) is None
    assert program.runs == 1


def test_a_token_comes_before_the_login_program(api: FakeApi, tmp_path: Path) -> None:
    program = LoginProgram(tmp_path, token="other")
    found = credential_expiry(api.kubeconfig({**program.user, "token": _jwt({"exp": AT})}), None)
    assert (found, program.runs) == (Expiry(AT, TOKEN), 0)


def test_an_identity_token_ends_unless_it_can_be_refreshed(api: FakeApi) -> None:
    config = {"id-token": _jwt({"exp": AT}), "idp-issuer-url": "http://127.0.0.1:1", "client-id": "us"}
    user: dict[str, Any] = {"auth-provider": {"name": "oidc", "config": config}}
    assert credential_expiry(api.kubeconfig(user), None) == Expiry(AT, TOKEN)
    config["refresh-token"] = "again"
    assert credential_expiry(api.kubeconfig(user), None) is None


def test_only_the_token_in_use_counts(api: FakeApi) -> None:
    """Cluster does not know providers of this name."""
    user: dict[str, Any] = {"auth-provider": {"name": "other", "config": {"id-token": _jwt({"exp": AT})}}}
    assert credential_expiry(api.kubeconfig(user), None) is None
    user["token"] = _jwt({"exp": AT + 1})
    assert credential_expiry(api.kubeconfig(user), None) == Expiry(AT + 1, TOKEN)


def test_a_password_has_no_known_end(api: FakeApi) -> None:
    assert credential_expiry(api.kubeconfig({"username": "me", "password": "sesame"}), None) is None
    assert credential_expiry(api.kubeconfig(), None) is None


# Client certificates.


def test_a_client_certificate_as_data_and_as_files(api: FakeApi, certificate: Certificate) -> None:
    for user in (certificate.data, certificate.files):
        found = credential_expiry(api.kubeconfig(user, SECURE), None)
        assert found == Expiry(certificate.ends_at, CERTIFICATE)


def test_files_are_relative_to_the_kubeconfig(api: FakeApi, certificate: Certificate) -> None:
    names = {name: Path(file).name for name, file in certificate.files.items()}
    config = certificate.cert.with_name("config")
    config.write_text(api.kubeconfig(names, SECURE))
    assert credential_expiry(str(config), None) == Expiry(certificate.ends_at, CERTIFICATE)


def test_a_certificate_of_the_second_half_of_the_century(api: FakeApi, tmp_path: Path) -> None:
    """From 2050 on, the year has four digits."""
    late = Certificate(tmp_path, 20_000)
    found = credential_expiry(api.kubeconfig(late.files, SECURE), None)
    assert found == Expiry(late.ends_at, CERTIFICATE)
    assert late.ends_at > ssl.cert_time_to_seconds("Jan 1 00:00:00 2050 GMT")


def test_a_certificate_of_version_1(api: FakeApi, tmp_path: Path) -> None:
    old = Certificate(tmp_path, 10, version_1=True)
    assert "Version: 1 " in old.text
    assert credential_expiry(api.kubeconfig(old.files, SECURE), None) == Expiry(old.ends_at, CERTIFICATE)


def test_of_a_chain_the_first_certificate_counts(api: FakeApi, certificate: Certificate, tmp_path: Path) -> None:
    authority = Certificate(tmp_path, 5)
    chain = tmp_path / "chain.pem"
    chain.write_text(f"subject=/CN=fake\n{certificate.cert.read_text()}{authority.cert.read_text()}")
    found = credential_expiry(api.kubeconfig({**certificate.files, "client-certificate": str(chain)}, SECURE), None)
    assert found == Expiry(certificate.ends_at, CERTIFICATE)


def test_a_login_programs_certificate_counts(api: FakeApi, certificate: Certificate, tmp_path: Path) -> None:
    cert, key = certificate.cert.read_text(), certificate.key.read_text()
    program = LoginProgram(tmp_path, clientCertificateData=cert, clientKeyData=key)
    found = credential_expiry(api.kubeconfig(program.user, SECURE), None)
    assert found == Expiry(certificate.ends_at, "the client certificate from the login program of user me")


@pytest.mark.parametrize("token_ends_first", [True, False])
def test_of_two_credentials_the_first_end_counts(
    api: FakeApi, certificate: Certificate, token_ends_first: bool
) -> None:
    """After it, the API server would know us by the other one, whose rights may be different."""
    at = certificate.ends_at + (-1 if token_ends_first else 1)
    found = credential_expiry(api.kubeconfig({**certificate.data, "token": _jwt({"exp": at})}, SECURE), None)
    assert found == (Expiry(at, TOKEN) if token_ends_first else Expiry(certificate.ends_at, CERTIFICATE))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda pem: b"",
    "no PEM": lambda pem: b"\x30\x82\x01",
    "no base64": lambda pem: pem.replace(b"M", b"*"),
    "cut off": lambda pem: b"\n".join([*pem.splitlines()[:3], b"-----END CERTIFICATE-----"]),
    "nothing inside": lambda pem: b"-----BEGIN CERTIFICATE----------END CERTIFICATE-----",
    "something else": lambda pem: pem.replace(b"CERTIFICATE", b"PUBLIC KEY"),
    "zeros": lambda pem: b"-----BEGIN CERTIFICATE-----" + b"A" * 400 + b"-----END CERTIFICATE-----",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_broken_certificate_has_no_known_end(
    api: FakeApi, certificate: Certificate, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_bytes(damage(certificate.cert.read_bytes()))
    user = {**certificate.files, "client-certificate": str(broken)}
    assert credential_expiry(api.kubeconfig(user, SECURE), None) is None
    # What is known about the other credential is not lost with it.
    user["token"] = _jwt({"exp": AT})
    assert credential_expiry(api.kubeconfig(user, SECURE), None) == Expiry(AT, TOKEN)


# Whose credential it is.


def _of_two(api: FakeApi) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(api.kubeconfig({"token": _jwt({"exp": AT})}))
    config["users"].append({"name": "deployer", "user": {"token": _jwt({"exp": AT + 1})}})
    config["contexts"].append({"name": "ci", "context": {"cluster": "fake", "user": "deployer"}})
    return config


def test_the_contexts_user_counts(api: FakeApi) -> None:
    content = json.dumps(_of_two(api))
    assert credential_expiry(content, None) == Expiry(AT, TOKEN)
    assert credential_expiry(content, "ci") == Expiry(AT + 1, "the token of user deployer in the kubeconfig")
    assert credential_expiry(content, "elsewhere") is None


def test_the_files_of_the_environment_are_one(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _of_two(api)
    (tmp_path / "a").write_text(json.dumps({**whole, "users": []}))
    (tmp_path / "b").write_text(json.dumps({"users": whole["users"]}))
    monkeypatch.setattr(AMBIENT, os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "gone"), str(tmp_path / "b")]))
    assert credential_expiry(None, None) == Expiry(AT, TOKEN)
    assert credential_expiry(None, "ci") == Expiry(AT + 1, "the token of user deployer in the kubeconfig")


def test_a_pods_token_is_renewed(certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(_jwt({"exp": AT}))
    monkeypatch.setattr(AMBIENT, str(tmp_path / "absent"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(certificate.cert))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    used = login(None, None).configuration.get_api_key_with_prefix("authorization", alias="BearerToken")
    assert used == f"Bearer {_jwt({'exp': AT})}"
    assert credential_expiry(None, None) is None


ODD = {
    "no file": "/nowhere/config",
    "a directory": "/tmp",
    "no YAML": "users: [\n  token: {hidden-token",
    "no kubeconfig": "a: b\nc: d\n",
    "a list": "- a\n- b\n",
    "nothing": "\n",
    "words for lists": "current-context: a\ncontexts: b\nusers: c\n",
    "a NUL in the path": "a\0b",
}


@pytest.mark.parametrize("kubeconfig", ODD.values(), ids=ODD)
def test_an_odd_kubeconfig_has_no_known_end(kubeconfig: str) -> None:
    assert credential_expiry(kubeconfig, None) is None


@pytest.mark.parametrize("user", [{"token": 5}, {"token": ["a"]}, {"exec": "login"}, {"exec": {}}, {"tokenFile": 5}])
def test_an_odd_user_has_no_known_end(api: FakeApi, user: dict[str, object]) -> None:
    assert credential_expiry(api.kubeconfig(user), None) is None


def test_a_login_program_that_fails_has_no_known_end(
    api: FakeApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    program = LoginProgram(tmp_path)
    assert (credential_expiry(api.kubeconfig(program.user), None), program.runs) == (None, 1)


# The sentence at preview.

JOB = "the time limit of this job (55m)"


def test_a_rollout_that_may_outlive_its_credential() -> None:
    ends = [Expiry(NOW + 40 * MINUTE, "the token of user ci in the kubeconfig")]
    assert problem(62 * MINUTE, ends, NOW) == (
        "the rollout may take up to 62 min, but the token of user ci in the kubeconfig ends in 40 min: "
        "renew it before, or shorten the rollout (deadline)"
    )


def test_the_first_end_is_named_with_its_remedy() -> None:
    ends = [Expiry(NOW + 41 * MINUTE, TOKEN), Expiry(NOW + 40 * MINUTE, JOB, "raise it"), Expiry(NOW + 9e9, TOKEN)]
    assert problem(62 * MINUTE, ends, NOW) == (
        f"the rollout may take up to 62 min, but {JOB} ends in 40 min: "
        "raise it before, or shorten the rollout (deadline)"
    )


def test_a_credential_that_has_ended_is_said_however_short_the_rollout() -> None:
    assert problem(1, [Expiry(NOW - 3 * MINUTE, TOKEN)], NOW) == f"{TOKEN} ended 3 min ago: renew it"
    assert problem(0, [Expiry(NOW, TOKEN)], NOW) == f"{TOKEN} ended 0 s ago: renew it"


def test_nothing_known_is_no_problem() -> None:
    assert problem(1e9, [], NOW) is None
    assert stop_reason([], NOW, 1e9) is None


@pytest.mark.parametrize(
    ("needed", "left", "words"),
    [
        (61.2 * MINUTE, 60.9 * MINUTE, "up to 62 min, but it ends in 60 min"),
        (100.1, 99.9, "up to 101 s, but it ends in 99 s"),
        (MINUTE * 2, 119.9, "up to 2 min, but it ends in 119 s"),
        (25.5 * 60 * MINUTE, 179.9 * MINUTE, "up to 26 h, but it ends in 179 min"),
        (25.5 * 60 * MINUTE, 25.4 * 60 * MINUTE, "up to 26 h, but it ends in 25 h"),
    ],
)
def test_what_is_needed_is_rounded_up_and_what_is_left_down(needed: float, left: float, words: str) -> None:
    said = problem(needed, [Expiry(NOW + left, "it")], NOW)
    assert said is not None
    assert words in said


# The sentence that ends a walk.


def test_near_the_end_the_walk_turns_back() -> None:
    assert (
        stop_reason([Expiry(NOW + 120, TOKEN)], NOW, 90) == f"{TOKEN} ends in 2 min, and the way back needs up to 90 s"
    )


def test_a_walk_that_slept_over_the_end_turns_back_too() -> None:
    said = stop_reason([Expiry(NOW + 9e9, JOB), Expiry(NOW - 600, TOKEN)], NOW, 90)
    assert said == f"{TOKEN} ended 10 min ago, and the way back needs up to 90 s"


@pytest.mark.parametrize(
    "sentence", [lambda need, end: problem(need, [end], NOW), lambda need, end: stop_reason([end], NOW, need)]
)
def test_there_is_time_until_there_is_none(sentence: Callable[[float, Expiry], str | None]) -> None:
    assert sentence(90, Expiry(NOW + 90 + MARGIN_SECONDS, TOKEN)) is not None
    assert sentence(90, Expiry(NOW + 90 + MARGIN_SECONDS + 0.001, TOKEN)) is None


@pytest.mark.parametrize("left", [0, 100, 3599, 3600, 3630, 3630.5, 3631, 7200])
def test_a_walk_without_a_problem_is_never_turned_back(left: float) -> None:
    """A preview that says nothing holds up to the last second of the longest walk."""
    ends, forward, way_back = [Expiry(NOW + left, TOKEN)], 3510.0, 90.0
    silent = problem(forward + way_back, ends, NOW) is None
    assert silent == (stop_reason(ends, NOW + forward, way_back) is None)
