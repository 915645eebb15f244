"""The Kubernetes API client: credentials, retries, and failures as our errors."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pulumi_rollout import cluster as module
from pulumi_rollout.cluster import FIELD_MANAGER, MERGE_PATCH, Cluster
from pulumi_rollout.errors import ClusterError, Conflict, NotFound
from tests.fake_api import FakeApi, Fault

CONFIGMAPS = "/api/v1/namespaces/prod/configmaps"
# $KUBECONFIG, which the kubernetes package reads when it is imported.
AMBIENT = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
THING = {"metadata": {"name": "thing"}, "data": {"a": "1"}}


def test_objects_are_written_and_read_back(api: FakeApi, kube: Cluster) -> None:
    created = kube.create(CONFIGMAPS, THING)
    assert created["data"] == {"a": "1"}
    replaced = kube.replace(f"{CONFIGMAPS}/thing", {**created, "data": {"a": "2"}})
    assert kube.get(f"{CONFIGMAPS}/thing") == replaced
    patched = kube.patch(f"{CONFIGMAPS}/thing", {"data": {"a": None, "b": "3"}})
    assert patched["data"] == {"b": "3"}
    kube.delete(f"{CONFIGMAPS}/thing")
    assert kube.find(f"{CONFIGMAPS}/thing") is None


def test_writes_name_the_field_manager_and_reads_do_not(api: FakeApi, kube: Cluster) -> None:
    created = kube.create(CONFIGMAPS, THING)
    kube.replace(f"{CONFIGMAPS}/thing", created)
    kube.patch(f"{CONFIGMAPS}/thing", {"data": {"a": "2"}})
    kube.get(f"{CONFIGMAPS}/thing")
    managers = [(request.method, request.query.get("fieldManager")) for request in api.requests]
    assert managers == [("POST", FIELD_MANAGER), ("PUT", FIELD_MANAGER), ("PATCH", FIELD_MANAGER), ("GET", None)]
    assert api.requests[2].headers["Content-Type"] == MERGE_PATCH


def test_a_list_is_selected_by_label(api: FakeApi, kube: Cluster) -> None:
    for name in ("a", "b"):
        api.put(f"{CONFIGMAPS}/{name}", {"metadata": {"labels": {"which": name, "all": "yes"}}})
    names = [item["metadata"]["name"] for item in kube.get(CONFIGMAPS, labelSelector="which=b,all=yes")["items"]]
    assert names == ["b"]


def test_an_absent_object_is_not_found(kube: Cluster) -> None:
    with pytest.raises(NotFound) as caught:
        kube.get(f"{CONFIGMAPS}/thing")
    assert caught.value.status == 404
    assert str(caught.value) == f'GET {CONFIGMAPS}/thing: "thing" not found'


def test_deleting_what_is_not_there_is_fine(api: FakeApi, kube: Cluster) -> None:
    kube.delete(f"{CONFIGMAPS}/thing")
    assert [request.method for request in api.requests] == ["DELETE"]


def test_a_write_over_a_newer_version_is_a_conflict(api: FakeApi, kube: Cluster) -> None:
    read = kube.create(CONFIGMAPS, THING)
    api.put(f"{CONFIGMAPS}/thing", {**THING, "data": {"a": "theirs"}})
    with pytest.raises(Conflict, match="has been modified"):
        kube.replace(f"{CONFIGMAPS}/thing", read)
    with pytest.raises(Conflict, match="already exists"):
        kube.create(CONFIGMAPS, THING)
    assert api.objects[f"{CONFIGMAPS}/thing"]["data"] == {"a": "theirs"}


@pytest.mark.parametrize("status", [400, 401, 403, 422, 500, 503])
def test_other_answers_keep_their_status_and_words(
    api: FakeApi, kube: Cluster, quick_retries: None, status: int
) -> None:
    api.faults.append(Fault(status=status, times=10))
    with pytest.raises(ClusterError) as caught:
        kube.get(CONFIGMAPS)
    assert type(caught.value) is ClusterError
    assert (caught.value.status, str(caught.value)) == (status, f"GET {CONFIGMAPS}: as the test wants it")


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504, "before"])
def test_a_passing_fault_is_retried(api: FakeApi, kube: Cluster, quick_retries: None, fault: int | str) -> None:
    passing = Fault(times=3, status=fault) if isinstance(fault, int) else Fault(times=3, drop=fault)
    api.faults.append(passing)
    assert kube.get(CONFIGMAPS)["items"] == []
    assert len(api.requests) == 4


def test_a_refusal_is_not_retried(api: FakeApi, kube: Cluster) -> None:
    api.faults.append(Fault(status=403))
    with pytest.raises(ClusterError):
        kube.get(CONFIGMAPS)
    assert len(api.requests) == 1


def test_how_long_a_server_wants_us_to_wait_is_not_heeded(api: FakeApi, kube: Cluster, quick_retries: None) -> None:
    api.faults.append(Fault(status=429, headers={"Retry-After": "3600"}))
    assert kube.get(CONFIGMAPS)["items"] == []


def test_a_patch_whose_answer_was_lost_is_repeated(api: FakeApi, kube: Cluster, quick_retries: None) -> None:
    api.put(f"{CONFIGMAPS}/thing", THING)
    api.faults.append(Fault(method="PATCH", drop="after"))
    assert kube.patch(f"{CONFIGMAPS}/thing", {"data": {"a": "2"}})["data"] == {"a": "2"}


def test_a_closed_port_is_said_in_a_sentence(quick_retries: None) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    gone = FakeApi()
    gone._server.server_close()
    gone.url = f"http://127.0.0.1:{port}"
    with pytest.raises(ClusterError) as caught:
        Cluster(gone.kubeconfig()).get(CONFIGMAPS)
    assert str(caught.value) == f"the cluster at http://127.0.0.1:{port} does not answer (NewConnectionError)"
    assert caught.value.status == 0


def test_a_slow_answer_is_no_answer(api: FakeApi, quick_retries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    api.faults.append(Fault(delay_seconds=0.4, times=10))
    with pytest.raises(ClusterError, match=r"does not answer \(ReadTimeoutError\)"):
        Cluster(api.kubeconfig()).get(CONFIGMAPS)


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b'["a", "list"]', b"null"])
def test_an_answer_that_is_not_the_apis_is_an_error(api: FakeApi, kube: Cluster, body: bytes) -> None:
    api.faults.append(Fault(status=200, body=body))
    with pytest.raises(ClusterError, match="this is not how the Kubernetes API answers"):
        kube.get(CONFIGMAPS)


def test_an_error_without_json_keeps_its_text(api: FakeApi, kube: Cluster) -> None:
    api.faults += [Fault(status=404, body=b"404 page not found\n"), Fault(status=418, body=b'"teapot"')]
    with pytest.raises(NotFound, match=r"configmaps: 404 page not found$"):
        kube.get(CONFIGMAPS)
    with pytest.raises(ClusterError, match=r"configmaps: teapot$"):
        kube.get(CONFIGMAPS)


def test_paths_come_from_discovery_asked_once(api: FakeApi, kube: Cluster) -> None:
    group = "gateway.networking.k8s.io/v1"
    assert kube.path(group, "HTTPRoute", "prod", "shop") == f"/apis/{group}/namespaces/prod/httproutes/shop"
    assert kube.path(group, "HTTPRoute", "prod") == f"/apis/{group}/namespaces/prod/httproutes"
    assert kube.path("v1", "Service", "prod", "shop") == "/api/v1/namespaces/prod/services/shop"
    assert [request.path for request in api.requests] == [f"/apis/{group}", "/api/v1"]


@pytest.mark.parametrize(("version", "kind"), [("gateway.networking.k8s.io/v1", "TCPRoute"), ("istio.io/v1", "Mesh")])
def test_a_kind_that_the_cluster_lacks(kube: Cluster, version: str, kind: str) -> None:
    with pytest.raises(NotFound) as caught:
        kube.path(version, kind, "prod", "shop")
    assert str(caught.value) == f"the cluster has no {kind} in {version}: is its CRD installed?"


# Credentials.


class LoginProgram:
    """A login program (client.authentication.k8s.io/v1) that gives what `answer` says, and fails where
    that is None. + user: its entry in a kubeconfig"""

    def __init__(self, folder: Path, **status: str) -> None:
        self._answer, self._runs = folder / "answer", folder / "runs"
        script = folder / "login.py"
        lines = (f"open({str(self._runs)!r}, 'a').write('x')", f"print(open({str(self._answer)!r}).read())")
        script.write_text("\n".join(lines))
        version = "client.authentication.k8s.io/v1"
        self.user = {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(script)]}}
        self.answer(**status)

    def answer(self, **status: str) -> None:
        self._answer.unlink(missing_ok=True)
        if status:
            answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
            self._answer.write_text(json.dumps(answer))

    @property
    def runs(self) -> int:
        return len(self._runs.read_text()) if self._runs.exists() else 0


def _in(seconds: float) -> str:
    """A time as login programs write it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(api: FakeApi) -> list[str | None]:
    """The credentials that arrived, in order."""
    return [request.headers.get("Authorization") for request in api.requests]


@pytest.mark.parametrize("form", ["content", "one line of JSON", "path", "environment"])
@pytest.mark.parametrize("login", ["token", "exec"])
def test_every_form_of_kubeconfig_logs_in(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, login: str
) -> None:
    api.token = "sesame"
    content = api.kubeconfig({"token": "sesame"} if login == "token" else LoginProgram(tmp_path, token="sesame").user)
    file = tmp_path / "config"
    file.write_text(content)
    monkeypatch.setattr(AMBIENT, str(file))
    forms = {
        "content": content,
        "one line of JSON": json.dumps(json.loads(content)),
        "path": str(file),
        "environment": None,
    }
    assert Cluster(forms[form]).get(CONFIGMAPS)["items"] == []
    assert api.requests[-1].headers["Authorization"] == "Bearer sesame"


def test_a_login_that_is_refused(api: FakeApi) -> None:
    api.token = "sesame"
    with pytest.raises(ClusterError) as caught:
        Cluster(api.kubeconfig({"token": "wrong-secret"})).get(CONFIGMAPS)
    assert (caught.value.status, str(caught.value)) == (401, f"GET {CONFIGMAPS}: Unauthorized")


def test_a_token_may_end_with_its_line(api: FakeApi) -> None:
    Cluster(api.kubeconfig({"token": "sesame\n"})).get(CONFIGMAPS)
    assert _shown(api) == ["Bearer sesame"]


@pytest.mark.parametrize("form", ["content", "path"])
def test_a_token_file_is_read_again_for_each_call(api: FakeApi, tmp_path: Path, form: str) -> None:
    file, config = tmp_path / "token", tmp_path / "config"
    file.write_text("first\n")
    # In a file, paths are relative to the file.
    config.write_text(api.kubeconfig({"tokenFile": "token"}))
    kube = Cluster(api.kubeconfig({"tokenFile": str(file)}) if form == "content" else str(config))
    kube.get(CONFIGMAPS)
    file.write_text("second\n")
    kube.get(CONFIGMAPS)
    assert _shown(api) == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("state", ["empty", "absent", "no text"])
def test_while_a_token_file_is_replaced_the_last_token_counts(api: FakeApi, tmp_path: Path, state: str) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    kube = Cluster(api.kubeconfig({"tokenFile": str(file)}))
    kube.get(CONFIGMAPS)
    file.unlink() if state == "absent" else file.write_bytes(b"" if state == "empty" else b"\xff\xfe")
    kube.get(CONFIGMAPS)
    assert _shown(api) == ["Bearer first"] * 2


def test_a_token_file_comes_before_a_token(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of the file")
    Cluster(api.kubeconfig({"token": "static", "tokenFile": str(tmp_path / "token")})).get(CONFIGMAPS)
    assert _shown(api) == ["Bearer of the file"]


def test_a_token_near_its_end_is_asked_for_again(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_SECONDS", 0.0)
    program = LoginProgram(tmp_path, token="first", expirationTimestamp=_in(60))
    kube = Cluster(api.kubeconfig(program.user))
    kube.get(CONFIGMAPS)
    program.answer(token="second", expirationTimestamp=_in(3600))
    for _ in range(3):
        kube.get(CONFIGMAPS)
    assert _shown(api)[-3:] == ["Bearer second"] * 3
    # The first call looks at the end too; the second token is far from its own.
    assert program.runs == 3


def test_a_token_that_lives_for_minutes_does_not_cost_a_login_for_each_call(api: FakeApi, tmp_path: Path) -> None:
    program = LoginProgram(tmp_path, token="short", expirationTimestamp=_in(60))
    kube = Cluster(api.kubeconfig(program.user))
    for _ in range(5):
        kube.get(CONFIGMAPS)
    assert program.runs == 1


def test_a_login_that_fails_later_leaves_the_token(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY_SECONDS", 0.0)
    program = LoginProgram(tmp_path, token="first", expirationTimestamp=_in(60))
    kube = Cluster(api.kubeconfig(program.user))
    kube.get(CONFIGMAPS)
    program.answer()
    kube.get(CONFIGMAPS)
    assert (_shown(api), program.runs) == (["Bearer first"] * 2, 3)


def test_a_token_that_is_refused_is_asked_for_again(api: FakeApi, tmp_path: Path) -> None:
    program = LoginProgram(tmp_path, token="first")
    api.token = "first"
    kube = Cluster(api.kubeconfig(program.user))
    kube.get(CONFIGMAPS)
    program.answer(token="second")
    api.token = "second"
    kube.create(CONFIGMAPS, THING)
    assert _shown(api) == ["Bearer first", "Bearer first", "Bearer second"]
    assert (program.runs, kube.requests) == (2, 3)
    assert api.objects[f"{CONFIGMAPS}/thing"]["data"] == {"a": "1"}


def test_a_kubeconfig_that_was_written_anew_is_read_again(api: FakeApi, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(api.kubeconfig({"token": "first"}))
    kube = Cluster(str(config))
    kube.get(CONFIGMAPS)
    config.write_text(api.kubeconfig({"token": "second"}))
    api.token = "second"
    assert kube.get(CONFIGMAPS)["items"] == []


def test_a_refused_login_is_tried_twice_and_no_more(api: FakeApi) -> None:
    api.token = "sesame"
    with pytest.raises(ClusterError):
        Cluster(api.kubeconfig({"token": "wrong"})).get(CONFIGMAPS)
    assert len(api.requests) == 2


def test_a_login_program_that_fails_is_said_and_not_remembered(api: FakeApi, tmp_path: Path) -> None:
    program = LoginProgram(tmp_path)
    kube = Cluster(api.kubeconfig(program.user))
    with pytest.raises(ClusterError) as caught:
        kube.get(CONFIGMAPS)
    assert str(caught.value) == "the login program of user me in the kubeconfig fails: run it by hand to see why"
    assert api.requests == []
    program.answer(token="sesame")
    kube.get(CONFIGMAPS)
    assert _shown(api) == ["Bearer sesame"]


def test_the_files_of_the_environment_are_one(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(api.kubeconfig({"tokenFile": "token"}))
    folder = tmp_path / "users"
    folder.mkdir()
    (folder / "token").write_text("sesame")
    (tmp_path / "clusters.json").write_text(json.dumps({**whole, "users": []}))
    (folder / "users.json").write_text(json.dumps({"users": whole["users"]}))
    monkeypatch.setattr(AMBIENT, os.pathsep.join([str(tmp_path / "clusters.json"), str(folder / "users.json")]))
    Cluster().get(CONFIGMAPS)
    assert _shown(api) == ["Bearer sesame"]


def test_the_context_chooses_the_cluster(api: FakeApi) -> None:
    config = json.loads(api.kubeconfig())
    config["clusters"].append({"name": "other", "cluster": {"server": "http://127.0.0.1:1"}})
    config["contexts"].append({"name": "other", "context": {"cluster": "other", "user": "me"}})
    config["current-context"] = "other"
    assert Cluster(json.dumps(config)).address == "http://127.0.0.1:1"
    assert Cluster(json.dumps(config), "fake").address == api.url


BROKEN = {
    "no file": ("/nowhere/config", "Invalid kube-config file. No configuration found."),
    "a directory": ("/tmp", "[Errno 21] Is a directory: '/tmp'"),
    "no YAML": ("users: [\n  token: {hidden-token", "it is not YAML"),
    "no kubeconfig": ("a: b\nc: d\n", "Invalid kube-config file. Expected key current-context in kube-config"),
    "a list": ("- a\n- b\n", "Invalid kube-config file. Expected key current-context in kube-config"),
    "nothing": ("\n", "it has not the form of a kubeconfig"),
    "words for lists": ("current-context: a\ncontexts: b\n", "it has not the form of a kubeconfig"),
}


@pytest.mark.parametrize(("kubeconfig", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_kubeconfig_that_cannot_be_used(kubeconfig: str, reason: str) -> None:
    with pytest.raises(ClusterError) as caught:
        Cluster(kubeconfig).get(CONFIGMAPS)
    assert str(caught.value) == f"the kubeconfig cannot be used: {reason}"


@pytest.mark.parametrize(
    "entry",
    [
        {"usr": {"token": "hidden-token"}},
        {"user": {"auth-provider": {"name": "oidc", "config": {"client-secret": "hidden-token"}}}},
        {"user": {"client-certificate-data": "hidden-token"}},
        {"user": "hidden-token"},
    ],
)
@pytest.mark.parametrize("form", ["content", "path"])
def test_an_error_shows_no_credential(api: FakeApi, tmp_path: Path, entry: dict[str, object], form: str) -> None:
    config = json.loads(api.kubeconfig(cluster={"server": "https://127.0.0.1:1"}))
    content = json.dumps({**config, "users": [{"name": "me", **entry}]})
    (tmp_path / "config").write_text(content)
    with pytest.raises(ClusterError) as caught:
        Cluster(content if form == "content" else str(tmp_path / "config")).get(CONFIGMAPS)
    assert str(caught.value).startswith("the kubeconfig cannot be used: ")
    assert "hidden" not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_context_is_said(api: FakeApi) -> None:
    with pytest.raises(ClusterError, match=r"the kubeconfig cannot be used: .*elsewhere"):
        Cluster(api.kubeconfig(), "elsewhere").get(CONFIGMAPS)


def test_without_any_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AMBIENT, str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="the kubeconfig cannot be used: "):
        Cluster().get(CONFIGMAPS)


# Pods.

POD = "/api/v1/namespaces/prod/pods/a:8002/proxy/metrics"


def test_what_a_pod_says_is_text(api: FakeApi, kube: Cluster) -> None:
    api.faults.append(Fault(status=200, body=b"up 1\n\xff"))
    assert kube.text(POD) == "up 1\n\ufffd"
    assert api.requests[0].headers["Accept"] == "text/plain, application/json;q=0.5"


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (502, ClusterError)])
def test_a_pod_that_cannot_be_asked(
    api: FakeApi, kube: Cluster, status: int, kind: type[ClusterError], quick_retries: None
) -> None:
    api.faults.append(Fault(status=status, body=b"no pod of that name", times=9))
    with pytest.raises(kind) as caught:
        kube.text(POD)
    assert (str(caught.value), caught.value.status) == (f"GET {POD}: no pod of that name", status)


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


def test_the_kubeconfigs_authority_is_trusted(certificate: tuple[str, str]) -> None:
    with FakeApi(tls=certificate) as secure:
        cluster = Cluster(secure.kubeconfig(cluster={"certificate-authority": certificate[0]}))
        assert cluster.get(CONFIGMAPS)["items"] == []


def test_another_certificate_is_not_trusted(certificate: tuple[str, str], quick_retries: None) -> None:
    with FakeApi(tls=certificate) as secure:
        with pytest.raises(ClusterError) as caught:
            Cluster(secure.kubeconfig({"token": "hidden-token"})).get(CONFIGMAPS)
        assert secure.requests == []
    start = f"there is no trusted connection to the cluster at {secure.url}: "
    assert str(caught.value).startswith(start)
    assert "certificate verify failed" in str(caught.value)


def test_a_pods_token_is_read_again_for_each_call(
    certificate: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    monkeypatch.setattr(AMBIENT, str(tmp_path / "absent"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(file))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", certificate[0])
    with FakeApi(tls=certificate) as secure:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", secure.url.rpartition(":")[2])
        kube = Cluster()
        kube.get(CONFIGMAPS)
        file.write_text("second")
        kube.get(CONFIGMAPS)
        assert _shown(secure) == ["Bearer first", "Bearer second"]


def test_a_login_program_may_give_a_certificate(certificate: tuple[str, str], tmp_path: Path) -> None:
    cert, key = (Path(file).read_text() for file in certificate)
    program = LoginProgram(tmp_path, clientCertificateData=cert, clientKeyData=key)
    with FakeApi(tls=certificate) as secure:
        wanted = secure._server.socket.context  # type: ignore[attr-defined]
        wanted.load_verify_locations(certificate[0])
        wanted.verify_mode = ssl.CERT_REQUIRED
        kube = Cluster(secure.kubeconfig(program.user, {"certificate-authority": certificate[0]}))
        kube.get(CONFIGMAPS)
        # As the API server answers once the certificate has ended.
        secure.faults.append(Fault(status=401))
        kube.get(CONFIGMAPS)
    assert (len(secure.requests), program.runs) == (3, 2)
