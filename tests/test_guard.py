"""The guard's objects, their life, and its script against a kubectl of the tests' own.

Lives here: what needs no cluster. The same script in a real one: tests/lab/test_guard.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from pulumi_rollout import guard
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.core.plan import Limits
from pulumi_rollout.errors import ClusterError, NotFound
from pulumi_rollout.guard import Guard, Walk, manifests
from pulumi_rollout.inputs import APP_LABEL, REVISION_LABEL, Inputs
from pulumi_rollout.parts import Part, parts
from pulumi_rollout.routers import gateway, identity, istio, nginx
from tests.fake_api import FakeApi, Fault, Manifest
from tests.fake_app import ROUTE, FakeApp
from tests.test_patches import Refused, applied
from tests.test_routers import read, refs_of, weight_in

BASE = "/apis/batch/v1/namespaces/prod/jobs"
JOB = f"{BASE}/rollout-shop-guard"
PODS = "/api/v1/namespaces/prod/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/prod/leases/rollout-shop"
WALK = Walk("v2-1700000000", "v1", Limits(settle_seconds=2, drain_seconds=15))


@pytest.fixture
def app(api: FakeApi) -> FakeApp:
    app = FakeApp(api)
    app.deploy("v1", 2)
    app.deploy("v2", 2)
    app.serve("v1")
    api.put(LEASE, {"spec": {"holderIdentity": "ada"}})
    return app


@pytest.fixture
def inputs(app: FakeApp) -> Inputs:
    return Inputs.model_validate(app.inputs("v2"))


@pytest.fixture
def keeper(inputs: Inputs, kube: Cluster, monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.setattr(guard, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(guard, "GONE_SECONDS", 0.2)
    return Guard(inputs, kube)


def live(app: FakeApp) -> list[Manifest]:
    return [deepcopy(app.api.objects[ROUTE])]


def start(keeper: Guard, app: FakeApp) -> None:
    keeper.start(WALK, live(app), live(app))


def made(inputs: Inputs, app: FakeApp, **settings: Any) -> dict[str, Manifest]:
    route = parts(inputs, lambda _: ROUTE, live(app), live(app))
    return {item["kind"]: item for item in manifests(inputs, WALK, route, "uid-of-lease", **settings)}


# What it puts back.


def part(inputs: Inputs, objects: list[Manifest], original: list[Manifest]) -> Part:
    [found] = parts(inputs, lambda _: ROUTE, objects, original)
    return found


@pytest.mark.parametrize("weight", [0, 1, 50, 99, 100])
def test_from_any_weight_to_none_and_home(app: FakeApp, inputs: Inputs, weight: int) -> None:
    before = live(app)
    app.list_on_route(v2=weight)
    now = live(app)[0]
    found = part(inputs, before, before)
    assert found == part(inputs, [now], before), "whether it starts before the walk or takes it up"
    zero = applied(now, found.zero)
    assert weight_in(gateway, [zero], inputs.backends()) == 0
    home = applied(zero, found.home)
    assert home["spec"] == before[0]["spec"]
    assert applied(home, found.done) == home
    for other in (now, zero):
        with pytest.raises(Refused):
            applied(other, found.done)
    with pytest.raises(Refused):
        applied(home, found.zero)


def test_other_peoples_rules_may_change_meanwhile(app: FakeApp, inputs: Inputs) -> None:
    theirs: Manifest = {
        "backendRefs": [{"name": "theirs", "port": 1, "weight": 5}],
        "matches": [{"path": {"value": "/a"}}],
    }
    app.api.objects[ROUTE]["spec"]["rules"].append(theirs)
    before = live(app)
    found = part(inputs, before, before)
    [now] = gateway.with_weight(before, inputs.backends(), 30)
    now["spec"]["rules"][1]["backendRefs"][0]["weight"] = 9
    now["metadata"]["annotations"] = {"a": "b"}
    now["spec"]["hostnames"] = ["another.example.com"]
    after = applied(applied(now, found.zero), found.home)
    assert weight_in(gateway, [after], inputs.backends()) is None
    assert after["spec"]["rules"][1] == now["spec"]["rules"][1]
    assert after["metadata"] == now["metadata"]


@pytest.mark.parametrize("shape", ["another backend", "another order", "another port", "rules moved"])
def test_a_reshaped_route_is_refused(app: FakeApp, inputs: Inputs, shape: str) -> None:
    before = live(app)
    found = part(inputs, before, before)
    [now] = gateway.with_weight(before, inputs.backends(), 30)
    refs = now["spec"]["rules"][0]["backendRefs"]
    match shape:
        case "another backend":
            refs.insert(0, {"name": "emergency", "port": 1, "weight": 1})
        case "another order":
            refs.reverse()
        case "another port":
            refs[1]["port"] = 81
        case "rules moved":
            now["spec"]["rules"].insert(0, {"backendRefs": [{"name": "theirs", "port": 1}]})
    for operations in (found.zero, found.home, found.done):
        with pytest.raises(Refused):
            applied(now, operations)


def test_the_canary_may_not_be_listed_home_when_others_came_beside_it(app: FakeApp, inputs: Inputs) -> None:
    before = live(app)
    found = part(inputs, before, before)
    [now] = gateway.with_weight(before, inputs.backends(), 30)
    now["spec"]["rules"][0]["backendRefs"].append({"name": "theirs", "port": 1, "weight": 5})
    zero = applied(now, found.zero)
    assert [ref["weight"] for ref in zero["spec"]["rules"][0]["backendRefs"]] == [100, 0, 5]
    with pytest.raises(Refused):
        applied(zero, found.home)


def test_an_object_that_no_walk_changes_is_left_out(app: FakeApp, inputs: Inputs) -> None:
    app.api.objects[ROUTE]["spec"]["rules"][0]["backendRefs"][0]["name"] = "theirs"
    assert parts(inputs, lambda _: ROUTE, live(app), live(app)) == []


def test_what_the_walk_has_made_stays_at_weight_0(app: FakeApp, inputs: Inputs) -> None:
    """A patch deletes nothing; the next update does."""
    before = nginx.Route(["shop.example.com"]).objects("shop", "prod", 9898)
    refs = [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "shop"}]
    route = inputs.route.model_copy(update={"router": "nginx", "objects": refs})
    on_ingress = inputs.model_copy(update={"route": route})
    paths = {"shop": "/apis/networking.k8s.io/v1/namespaces/prod/ingresses/shop"}
    [found] = parts(on_ingress, lambda ref: paths.get(ref["name"], f"{paths['shop']}-canary"), before, before)
    assert found.resource == "ingresses.v1.networking.k8s.io/shop-canary"
    backends = on_ingress.backends()
    _, made = nginx.with_weight(before, backends, 30)
    made["metadata"] |= {"labels": {"theirs": "1"}, "resourceVersion": "9"}
    made["metadata"]["annotations"]["field.cattle.io/publicEndpoints"] = "theirs"
    with pytest.raises(Refused):
        applied(made, found.done)
    zero = applied(made, found.zero)
    assert weight_in(nginx, [*before, {**zero, "metadata": {**zero["metadata"], "labels": nginx.OURS}}], backends) == 0
    assert zero["metadata"]["annotations"]["field.cattle.io/publicEndpoints"] == "theirs"
    assert applied(zero, found.done) == applied(zero, found.home) == zero


@pytest.mark.parametrize("fixture", ["istio/subsets", "istio/subsets-own-service", "istio/traffic-policy"])
def test_each_object_of_a_mesh_has_a_trace_of_the_walk_and_goes_back(inputs: Inputs, fixture: str) -> None:
    _, read_ = read(fixture)
    original = json.loads(json.dumps(read_["before"]).replace("podinfo", "shop"))
    route = inputs.route.model_copy(update={"router": "istio", "objects": refs_of(original)})
    on_mesh = inputs.model_copy(update={"route": route})
    backends = on_mesh.backends()
    walked = {identity(item): item for item in istio.with_weight(original, backends, 30)}
    found = parts(on_mesh, lambda ref: f"/apis/x/v1/namespaces/shop/{ref['kind']}/{ref['name']}", original, original)
    assert found
    for one in found:
        item = walked[one.plural, one.name]
        rest = next(i for i in original if identity(i) == (one.plural, one.name))
        assert one.trace in json.dumps(item["spec"]) and one.trace not in json.dumps(rest["spec"])
        home = applied(applied(item, one.zero), one.home)
        assert home["spec"] == rest["spec"] and one.trace not in json.dumps(home["spec"])


def test_other_peoples_destinations_are_not_taken_for_ours(inputs: Inputs) -> None:
    """A rule with as many, inserted where ours was: neither of them has a name beside its weight."""
    original = istio.Route().objects("shop", "prod", 9898)
    route = inputs.route.model_copy(update={"router": "istio", "objects": refs_of(original)})
    on_mesh = inputs.model_copy(update={"route": route})
    [found] = parts(on_mesh, lambda ref: "/apis/x/v1/namespaces/shop/virtualservices/shop", original, original)
    [now] = istio.with_weight(original, on_mesh.backends(), 30)
    theirs = [{"destination": {"host": host}, "weight": 50} for host in ("cart-a", "cart-b")]
    for rule in now["spec"]["http"]:
        if len(rule["route"]) == 2:
            rule["route"] = theirs
    for operations in (found.zero, found.home):
        with pytest.raises(Refused):
            applied(now, operations)


def test_names_for_kubectl() -> None:
    assert Part("networking.istio.io", "v1", "virtualservices", "shop", [], [], [], "shop-v2").resource == (
        "virtualservices.v1.networking.istio.io/shop"
    )
    assert Part("", "v1", "services", "shop", [], [], [], "shop-v2").resource == "services/shop"


# Its objects.


def test_all_belong_to_the_lease_and_none_to_the_application(app: FakeApp, inputs: Inputs) -> None:
    objects = made(inputs, app)
    assert list(objects) == ["ServiceAccount", "Role", "RoleBinding", "Job"]
    for item in objects.values():
        assert (item["metadata"]["name"], item["metadata"]["namespace"]) == ("rollout-shop-guard", "prod")
        [owner] = item["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("Lease", "rollout-shop", "uid-of-lease")
    labels = objects["Job"]["spec"]["template"]["metadata"]["labels"]
    assert APP_LABEL not in labels and REVISION_LABEL not in labels
    assert labels["app.kubernetes.io/component"] == "guard"
    assert (
        objects["RoleBinding"]["subjects"][0]["name"]
        == objects["RoleBinding"]["roleRef"]["name"]
        == "rollout-shop-guard"
    )


def test_it_may_do_what_it_does_and_no_more(app: FakeApp, inputs: Inputs) -> None:
    def words(rule: Manifest) -> str:
        [group], [resource] = rule["apiGroups"], rule["resources"]
        return f"{group}/{resource} {','.join(rule.get('resourceNames', ['*']))} {','.join(rule['verbs'])}"

    assert [words(rule) for rule in made(inputs, app)["Role"]["rules"]] == [
        "coordination.k8s.io/leases rollout-shop get",
        "/configmaps rollout-shop get,patch",
        "gateway.networking.k8s.io/httproutes shop get,patch",
        "/services shop get,patch",
        "apps/deployments shop-v2 get",
        "apps/deployments/scale shop-v2 get,patch",
        "/events * create",
    ]


def test_its_pod_passes_the_restricted_standard(app: FakeApp, inputs: Inputs) -> None:
    pod = made(inputs, app, image="registry.example.com/kubectl:1")["Job"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == "registry.example.com/kubectl:1"
    assert pod["restartPolicy"] == "OnFailure"
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]} == {"tmp": {}}
    assert container["resources"]["limits"] == {"memory": "128Mi"}


def test_its_settings(app: FakeApp, inputs: Inputs) -> None:
    def environment(**settings: float) -> dict[str, str]:
        [container] = made(inputs, app, **settings)["Job"]["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: entry["value"] for entry in container["env"]}

    usual = environment()
    assert usual == {
        "NAME": "rollout-shop",
        "NAMESPACE": "prod",
        "WALK": "v2-1700000000",
        "APP": "shop",
        "CANARY": "shop-v2",
        "STABLE": "shop-v1",
        "REVISION": "v1",
        "APEX": '{"spec": {"selector": {"pulumi-rollout/revision": "v1"}}}',
        "LIMIT_POLLS": "12",
        "LIMIT_SECONDS": "60",
        "POLL_SECONDS": "5",
        "SETTLE_SECONDS": "2",
        "DRAIN_SECONDS": "15",
        "HOME": "/tmp",
    }
    quick = environment(limit_seconds=2, poll_seconds=0.3)
    assert (quick["LIMIT_POLLS"], quick["POLL_SECONDS"]) == ("7", "0.3"), "rounded up: never too early"


def test_a_kubelet_hands_on_what_was_meant(app: FakeApp, inputs: Inputs) -> None:
    """It expands $(NAME) in commands, and makes one $ of two."""
    apex = app.api.objects[ROUTE]["spec"]["rules"][0]["backendRefs"][0]
    apex["filters"] = [{"value": "costs $5, $$(APP) and $(APP)"}]
    container = made(inputs, app)["Job"]["spec"]["template"]["spec"]["containers"][0]
    names = {entry["name"] for entry in container["env"]}

    def expanded(word: str) -> str:
        return re.sub(
            r"\$\$|\$\((\w+)\)", lambda at: "$" if at[0] == "$$" else ("!" if at[1] in names else at[0]), word
        )

    shell, option, script, zeroth, *words = [expanded(word) for word in container["command"]]
    assert (shell, option, script, zeroth) == ("/bin/sh", "-c", guard.SCRIPT.read_text(), "guard")
    resource, *patches, trace = words
    assert resource == "httproutes.v1.gateway.networking.k8s.io/shop"
    found = part(inputs, live(app), live(app))
    assert [json.loads(text) for text in patches] == [found.done, found.zero, found.home]
    assert trace == found.trace == "shop-v2"


# Its life.


def test_start_makes_what_is_missing_and_replaces_what_is_there(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    start(keeper, app)
    paths = [keeper._path(kind) for kind in guard.COLLECTIONS]
    first = {path: api.objects[path]["metadata"]["uid"] for path in paths}
    assert api.objects[JOB]["metadata"]["ownerReferences"][0]["uid"] == api.objects[LEASE]["metadata"]["uid"]
    api.objects[keeper._path("Role")]["rules"] = [{"verbs": ["*"]}]
    start(keeper, app)
    assert {path: api.objects[path]["metadata"]["uid"] for path in paths} == first, "the same walk keeps its guard"
    api.put(LEASE, {"metadata": {"uid": "another"}, "spec": {}})
    start(keeper, app)
    assert [path for path in paths if api.objects[path]["metadata"]["uid"] != first[path]] == [JOB]
    assert len(api.objects[keeper._path("Role")]["rules"]) == 7
    for path in paths:
        assert [owner["uid"] for owner in api.objects[path]["metadata"]["ownerReferences"]] == ["another"]


def test_an_earlier_job_has_to_be_gone_with_its_pods(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    start(keeper, app)
    # A Job that waits for its pods: there until some time after its deletion.
    api.faults.append(Fault("DELETE", JOB, status=200))
    api.faults.append(Fault("GET", JOB, times=3, status=200, body=b"{}"))
    del api.objects[JOB]
    start(keeper, app)
    [_, deletion] = [request for request in api.requests if request.method == "DELETE"]
    assert deletion.query == {"propagationPolicy": "Foreground"}
    assert JOB in api.objects


def test_an_earlier_job_that_does_not_end(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    api.put(JOB, {})
    api.faults.append(Fault("DELETE", JOB, status=200))
    with pytest.raises(ClusterError) as error:
        start(keeper, app)
    assert str(error.value) == "Job prod/rollout-shop-guard of an earlier walk does not end: look at its pods"


def test_without_the_right_to_make_it(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    api.faults.append(Fault("POST", "/roles", status=403))
    with pytest.raises(ClusterError) as error:
        start(keeper, app)
    assert error.value.status == 403
    assert JOB not in api.objects


def test_without_a_lease_there_is_nothing_to_guard(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    del api.objects[LEASE]
    with pytest.raises(NotFound):
        start(keeper, app)


def test_stop_takes_all_away_again_and_again(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    before = set(api.objects)
    start(keeper, app)
    keeper.stop()
    assert set(api.objects) == before
    [job] = [request for request in api.requests if request.method == "DELETE" and request.path == JOB][1:]
    assert job.query == {"propagationPolicy": "Background"}
    keeper.stop()


def pod(status: Manifest, **metadata: Any) -> Manifest:
    return {
        "metadata": {"labels": {"batch.kubernetes.io/job-name": "rollout-shop-guard"}, **metadata},
        "status": status,
    }


READY: Manifest = {"containerStatuses": [{"ready": True, "state": {"running": {}}}]}
PULLING: Manifest = {
    "containerStatuses": [{"ready": False, "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]
}


def test_why_no_guard_runs(keeper: Guard, app: FakeApp, api: FakeApi) -> None:
    assert keeper.problem() == "Job prod/rollout-shop-guard is not there"
    start(keeper, app)
    assert keeper.problem() == "Job prod/rollout-shop-guard: no pod of it runs yet"
    api.put(f"{PODS}/x", pod(PULLING))
    assert keeper.problem() == "Job prod/rollout-shop-guard: pod x: ErrImagePull: not found"
    api.put(f"{PODS}/y", pod(READY, deletionTimestamp="now"))
    assert keeper.problem() is not None
    api.put(f"{PODS}/y", pod(READY))
    assert keeper.problem() is None
    api.objects[JOB]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert keeper.problem() == "Job prod/rollout-shop-guard has ended"


# Its script, with a kubectl that answers from files and writes down what it is asked.

KUBECTL = """#!/bin/sh
echo "$@" | tr '\\n' ' ' >>"$HOME/calls"; echo >>"$HOME/calls"
what=$(echo "$2" | tr / -)
case "$*" in *"-f -"*) cat >>"$HOME/events" ;; esac
if [ -e "$HOME/refuse-$1-$what" ]; then
    left=$(cat "$HOME/refuse-$1-$what")
    echo $((left - 1)) >"$HOME/refuse-$1-$what"
    if [ "$left" -gt 0 ]; then echo "noise" >&2; echo "refused" >&2; exit 1; fi
fi
case "$*" in
    get*) if [ -e "$HOME/$what" ]; then cat "$HOME/$what"; fi ;;
    "patch configmap"*) echo '9,v2-17,shifting,,{"walk": "v2-17", "at": "now"}' >"$HOME/configmap" ;;
    *"-p DONE") [ -e "$HOME/home" ] ;;
    *"-p HOME") if [ -e "$HOME/stuck" ]; then echo "stuck" >&2; exit 1; fi; touch "$HOME/home" ;;
esac
"""


class Script:
    """One run of guard.sh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "kubectl").write_text(KUBECTL)
        (folder / "kubectl").chmod(0o755)
        self.answer("lease", "7,v2-17,ada@laptop")
        self.answer("configmap", "5,v2-17,shifting,,")
        self.answer("httproutes-shop", "… shop-v2 …")

    def answer(self, kind: str, text: str) -> None:
        new = self.folder / f"{kind}.new"
        new.write_text(text)
        new.rename(self.folder / kind)

    def refuse(self, verb: str, what: str, times: int = 1) -> None:
        (self.folder / f"refuse-{verb}-{what}").write_text(str(times))

    def begin(self, limit: int = 3) -> subprocess.Popen[str]:
        pauses = {"POLL_SECONDS": "0.02", "SETTLE_SECONDS": "0", "DRAIN_SECONDS": "0"}
        names = {"NAME": "rollout-shop", "NAMESPACE": "prod", "APP": "shop", "CANARY": "shop-v2", "STABLE": "shop-v1"}
        walk = {"WALK": "v2-17", "REVISION": "v1", "APEX": "APEX", "LIMIT_POLLS": str(limit), "LIMIT_SECONDS": "60"}
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            ["sh", "-c", guard.SCRIPT.read_text(), "guard", "httproutes/shop", "DONE", "ZERO", "HOME", "shop-both"],
            env={**pauses, **names, **walk, "PATH": path, "HOME": str(self.folder)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self) -> str:
        process = self.begin()
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        return output

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def writes(self) -> list[str]:
        """What it has written, in short."""
        return [" ".join(call.split()[:3]) for call in self.calls if not call.startswith("get")]

    def reads(self, count: int) -> None:
        """Wait for so many more reads of the Lease."""
        wanted = len([call for call in self.calls if call.startswith("get lease")]) + count
        deadline = time.monotonic() + 20
        while len([call for call in self.calls if call.startswith("get lease")]) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


ROUTES = "patch httproutes/shop --type=json"
ALL_BACK = [
    "patch configmap rollout-shop",
    "patch service shop",
    *[ROUTES] * 4,
    "create --validate=false -f",
    ROUTES,
    "patch deployment shop-v2",
]


def test_a_silent_lease_is_acted_on_after_the_limit(script: Script) -> None:
    output = script.run()
    first = [call.split()[0:2] for call in script.calls].index(["patch", "configmap"])
    assert len([call for call in script.calls[:first] if call.startswith("get lease")]) == 1 + 3
    assert script.writes == ALL_BACK
    [apex] = [call for call in script.calls if call.startswith("patch service")]
    assert apex.strip() == "patch service shop --type=merge -p APEX"
    assert '"value": "5"' in script.calls[first], "the journal is compared with what was read"
    event = json.loads((script.folder / "events").read_text())
    assert (event["reason"], event["metadata"]["name"]) == ("RollingBack", "rollout-shop.v2-17")
    assert event["message"] == (
        "Rolling back shop-v2: no heartbeat of ada@laptop for 60 s, all traffic is back on shop-v1"
    )
    assert output.splitlines()[-1].endswith("all is back on shop-v1")


def test_a_heartbeat_counts_from_the_start_again(script: Script) -> None:
    process = script.begin(limit=20)
    for version in range(8, 12):
        script.reads(8)
        script.answer("lease", f"{version},v2-17,ada@laptop")
    assert script.writes == []
    script.answer("lease", "12,v2-17,")
    assert process.wait(20) == 0
    assert script.writes == []


def test_a_read_that_fails_counts_for_nothing(script: Script) -> None:
    process = script.begin(limit=10)
    script.reads(2)
    script.refuse("get", "lease", 30)
    script.reads(28)
    assert script.writes == []
    script.answer("lease", "7,v3-18,ada@laptop")
    assert process.wait(20) == 0
    assert script.writes == []


def test_a_walk_that_wrote_after_all_is_not_fenced_off(script: Script) -> None:
    script.refuse("patch", "configmap", 10**6)
    process = script.begin()
    script.reads(10)
    assert set(script.writes) == {"patch configmap rollout-shop"}
    script.answer("lease", "8,v2-17,ada@laptop")
    script.reads(2)
    script.answer("lease", "9,v2-17,")
    assert process.wait(20) == 0
    assert set(script.writes) == {"patch configmap rollout-shop"}


def test_after_its_own_fence_it_goes_on_at_once(script: Script) -> None:
    script.answer("configmap", '6,v2-17,shifting,,{"walk": "v2-17", "at": "then"}')
    script.run()
    assert script.writes == ALL_BACK[1:]
    first = next(number for number, call in enumerate(script.calls) if call.startswith("patch"))
    assert not [call for call in script.calls[:first] if call.startswith("get lease")]
    assert "no heartbeat of  for" not in (script.folder / "events").read_text()


def test_another_walks_fence_is_not_its_own(script: Script) -> None:
    script.answer("configmap", '6,v2-17,shifting,,{"walk": "v2-1", "at": "then"}')
    script.run()
    assert script.writes == ALL_BACK


@pytest.mark.parametrize(
    "journal", ["", "5,v3-18,shifting,,", "5,v2-17,failed,,", "5,v2-17,succeeded,,", "5,v2-17,paused,true,"]
)
def test_a_walk_that_is_over_or_in_other_hands_is_left_alone(script: Script, journal: str) -> None:
    script.answer("configmap", journal)
    script.run()
    assert script.writes == []


def test_who_takes_the_journal_over_takes_the_work_over(script: Script) -> None:
    script.refuse("patch", "service", 10**6)
    process = script.begin()
    deadline = time.monotonic() + 20
    while "patch service shop" not in script.writes:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    script.answer("configmap", "9,v3-18,preparing,,")
    assert process.wait(20) == 0
    assert "patch deployment shop-v2" not in script.writes


@pytest.mark.parametrize("what", ["service", "httproutes-shop", "deployment"])
def test_what_is_refused_is_tried_again_and_told(script: Script, what: str) -> None:
    script.refuse("patch", what, 3)
    script.run()
    assert script.writes[-1] == "patch deployment shop-v2"
    events = re.findall(r'"reason": "(\w+)", "message": "([^"]*)"', (script.folder / "events").read_text())
    told = [message for reason, message in events if reason == "RollbackIncomplete"]
    assert told and all("is tried again: " in message and message.endswith(": refused") for message in told)


def test_nothing_is_said_to_be_back_before_it_is(script: Script) -> None:
    (script.folder / "stuck").touch()
    process = script.begin()
    deadline = time.monotonic() + 20
    while len([call for call in script.calls if call.endswith("HOME ")]) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert '"reason": "RollingBack"' not in (script.folder / "events").read_text()
    assert "patch deployment shop-v2" not in script.writes
    (script.folder / "stuck").unlink()
    assert process.wait(20) == 0
    assert '"reason": "RollingBack"' in (script.folder / "events").read_text()
    assert script.writes[-1] == "patch deployment shop-v2"


def test_a_route_that_does_not_know_the_canary_needs_nothing(script: Script) -> None:
    script.answer("httproutes-shop", "… theirs …")
    script.run()
    assert [call for call in script.calls if call.endswith(("ZERO ", "HOME "))] == []
    assert script.writes[-1] == "patch deployment shop-v2"


def test_a_route_that_leads_to_the_canary_without_its_name(script: Script) -> None:
    """As to subsets of one Service."""
    script.answer("httproutes-shop", "… shop-both, subset canary …")
    script.run()
    assert script.writes == ALL_BACK
    assert (script.folder / "home").exists()


def test_an_object_that_is_not_there_needs_nothing(script: Script) -> None:
    """One that the walk makes, and has not made yet or has taken away again."""
    (script.folder / "httproutes-shop").unlink()
    script.run()
    assert [call for call in script.calls if call.endswith(("ZERO ", "HOME "))] == []
    assert script.writes[-1] == "patch deployment shop-v2"


def test_a_route_that_cannot_be_read_is_not_taken_for_one(script: Script) -> None:
    script.answer("httproutes-shop", "… theirs …")
    script.refuse("get", "httproutes-shop", 1)
    script.refuse("patch", "httproutes-shop", 2)
    script.run()
    assert "RollbackIncomplete" in (script.folder / "events").read_text()


def test_a_deployment_that_is_gone_has_no_pods(script: Script) -> None:
    kubectl = (script.folder / "kubectl").read_text()
    gone = 'case "$*" in "patch deployment"*) echo "Error from server (NotFound): gone" >&2; exit 1 ;; esac\n'
    (script.folder / "kubectl").write_text(kubectl + gone)
    assert "all is back" in script.run()


def test_the_script_is_small_enough_to_read() -> None:
    lines = guard.SCRIPT.read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith("#")]) < 80
