"""The guard as a Job in a real cluster: when it acts, what it does, and what it may not do.

Lives here: walks that stand still, without anybody who walks. What a walk makes of its guard's work
is tests/e2e's.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from lab import cluster
from pulumi_rollout import gitops, guard
from pulumi_rollout.cluster import Cluster, Manifest
from pulumi_rollout.core.plan import Limits
from pulumi_rollout.errors import ClusterError, Conflict
from pulumi_rollout.inputs import ADOPTED, Adopt, Inputs
from pulumi_rollout.routers import gateway, nginx
from tests.test_routers import weight_in

pytestmark = pytest.mark.lab

NAMESPACE = "default"
CORE, APPS = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/apps/v1/namespaces/{NAMESPACE}"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes"
INGRESSES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses"
FLUX = "kustomize.toolkit.fluxcd.io/reconcile"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
QUICK = Limits(settle_seconds=0.2, drain_seconds=0.5)
HOLDER = 'ada@laptop ("the quick one")'
numbers = itertools.count(1)


class Halted:
    """An application whose walk to v2 stands at 30 %, and the cluster that it is in. + metadata: more of its route's"""

    def __init__(self, lab: cluster.Lab, thread: ThreadPoolExecutor, limits: Limits, metadata: Manifest) -> None:
        self._lab, self._thread, self.limits, self.metadata = lab, thread, limits, metadata
        self.app = f"halted-{next(numbers)}"
        self.walk = f"v2-{int(time.time())}"
        route = {"apiVersion": gateway.API_VERSION, "kind": gateway.KIND, "name": self.app}
        self.inputs = Inputs.model_validate(
            {
                "app": self.app,
                "namespace": NAMESPACE,
                "revision": {"hash": "v2", "port": 80, "replicas": 2},
                "route": {"router": "gateway", "objects": [route]},
                "policy": {},
            }
        )
        self.kube = Cluster(str(lab.kubeconfig))
        self.guard = guard.Guard(self.inputs, self.kube)
        self.original = self._set_up()

    def inside(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        return self._thread.submit(call, *arguments, **keywords).result()

    def get(self, path: str) -> Manifest:
        found: Manifest = self.inside(self.kube.get, path)
        return found

    def patch(self, path: str, patch: Manifest) -> None:
        self.inside(self.kube.patch, path, patch)

    def _set_up(self) -> list[Manifest]:
        name = {"name": self.app}
        # Names of gateways and nodes that nobody has: nothing else moves here.
        pods = {"nodeSelector": {"no": "such"}, "containers": [{"name": "app", "image": "busybox"}]}
        labels = {"app": self.app}
        template = {"metadata": {"labels": labels}, "spec": pods}
        deployment = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
        selector = {"app.kubernetes.io/name": self.app, "pulumi-rollout/revision": "v2"}
        [declared] = gateway.Route([f"{self.app}.example.com"], "nobody").objects(self.app, NAMESPACE, 80)
        declared["metadata"] |= self.metadata
        declared["spec"]["rules"].append({"backendRefs": [{"name": "theirs", "port": 1}]})
        create = self.kube.create
        self.inside(create, f"{APPS}/deployments", {"metadata": {"name": f"{self.app}-v2"}, "spec": deployment})
        self.inside(
            create, f"{CORE}/services", {"metadata": name, "spec": {"selector": selector, "ports": [{"port": 80}]}}
        )
        original: list[Manifest] = [self.inside(create, ROUTES, declared)]
        [listed] = gateway.with_weight(original, self.inputs.backends(), 30)
        [listed] = gitops.paused([listed], original, self.app, f"{self.app}-v2")
        self.inside(self.kube.replace, f"{ROUTES}/{self.app}", listed)
        own = {"name": f"rollout-{self.app}"}
        lease = {
            "metadata": {**own, "annotations": {"pulumi-rollout/walk": self.walk}},
            "spec": {"holderIdentity": HOLDER},
        }
        self.inside(create, LEASES, lease)
        journal = {"metadata": own, "data": {"walk": self.walk, "phase": "shifting", "weight": "30", "state": "{}"}}
        self.inside(create, f"{CORE}/configmaps", journal)
        return original

    def start(self) -> None:
        objects = [self.get(f"{ROUTES}/{self.app}")]
        self.inside(self.guard.start, guard.Walk(self.walk, "v1", self.limits), objects, self.original)

    def beat(self) -> None:
        self.patch(f"{LEASES}/rollout-{self.app}", {"spec": {"leaseTransitions": next(numbers)}})

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        over = Event()

        def beat() -> None:
            while not over.wait(0.3):
                self.beat()

        with ThreadPoolExecutor(1) as heart:
            heart.submit(beat)
            try:
                yield
            finally:
                over.set()

    @property
    def weights(self) -> dict[str, int]:
        rule = self.get(f"{ROUTES}/{self.app}")["spec"]["rules"][0]
        return {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}

    @property
    def serving(self) -> str:
        return str(self.get(f"{CORE}/services/{self.app}")["spec"]["selector"]["pulumi-rollout/revision"])

    @property
    def pods(self) -> int:
        return int(self.get(f"{APPS}/deployments/{self.app}-v2")["spec"]["replicas"])

    @property
    def journal(self) -> dict[str, str]:
        data: dict[str, str] = self.get(f"{CORE}/configmaps/rollout-{self.app}")["data"]
        return data

    @property
    def events(self) -> list[Manifest]:
        """What `kubectl describe service` shows."""
        uid = self.get(f"{CORE}/services/{self.app}")["metadata"]["uid"]
        return [item for item in self.get(f"{CORE}/events")["items"] if item["involvedObject"].get("uid") == uid]

    def ended(self, name: str = "") -> bool:
        job = self.get(f"{JOBS}/{name or f'rollout-{self.app}-guard'}")
        return any(one["type"] == "Complete" for one in job["status"].get("conditions", []))

    def runs(self) -> bool:
        return self.inside(self.guard.problem) is None

    def said(self) -> str:
        """The logs of all its pods."""
        logs = (self._lab.directory / "pods" / "logs").glob(f"{NAMESPACE}_rollout-{self.app}-guard*")
        return "\n".join(log.read_text() for log in sorted(logs))

    def until(self, condition: Callable[[], Any], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def process(self) -> int:
        """The guard's shell, outside of the lab."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().split(b"\0")
                wanted = {f"WALK={self.walk}".encode(), f"APP={self.app}".encode()}
                if wanted <= set(environment) and command[0].endswith(b"sh"):
                    return int(folder.name)
        raise AssertionError(self.said())

    def check_untouched(self) -> None:
        assert self.weights == {self.app: 70, f"{self.app}-v2": 30}, self.said()
        assert (self.serving, self.pods, self.events) == ("v2", 2, []), self.said()
        assert "guard" not in self.journal

    def check_all_back(self) -> None:
        route, [before] = self.get(f"{ROUTES}/{self.app}"), self.original
        assert route["spec"] == before["spec"], self.said()
        assert (self.serving, self.pods) == ("v1", 0), self.said()
        assert json.loads(self.journal["guard"])["walk"] == self.walk
        assert (self.journal["phase"], self.journal["state"]) == ("shifting", "{}")
        [event] = [event for event in self.events if event["reason"] == "RollingBack"]
        assert event["message"] == (
            f"Rolling back {self.app}-v2: no heartbeat of ada@laptop ( the quick one ) for 2 s, "
            f"all traffic is back on {self.app}-v1"
        )
        assert (event["type"], event["reportingComponent"]) == ("Warning", "pulumi-rollout")


Make = Callable[..., Halted]


@pytest.fixture
def halted(whole: cluster.Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes applications whose walk has been halted. Their guards are quick."""
    monkeypatch.setattr(guard, "HEARTBEAT_LIMIT_SECONDS", 2.0)
    monkeypatch.setattr(guard, "POLL_SECONDS", 0.5)
    made: list[Halted] = []
    with ThreadPoolExecutor(4, initializer=whole.enter) as thread:

        def make(limits: Limits = QUICK, **metadata: Any) -> Halted:
            made.append(Halted(whole, thread, limits, metadata))
            return made[-1]

        yield make
        for one in made:
            one.inside(one.guard.stop)
            for path in (f"{APPS}/deployments/{one.app}-v2", f"{CORE}/services/{one.app}", f"{ROUTES}/{one.app}"):
                one.inside(one.kube.delete, path)
            for path in (f"{LEASES}/rollout-{one.app}", f"{CORE}/configmaps/rollout-{one.app}"):
                one.inside(one.kube.delete, path)


def test_when_the_heart_stops_all_is_put_back(halted: Make) -> None:
    walk = halted()
    read = walk.get(f"{CORE}/configmaps/rollout-{walk.app}")
    walk.start()
    walk.until(walk.runs)
    walk.until(walk.ended)
    walk.check_all_back()
    with pytest.raises(Conflict):  # what the walk would write next, if it still lived
        walk.inside(walk.kube.replace, f"{CORE}/configmaps/rollout-{walk.app}", read)
    assert walk.inside(walk.guard.problem) == f"Job {NAMESPACE}/rollout-{walk.app}-guard has ended"
    writers = {entry["manager"] for entry in walk.get(f"{ROUTES}/{walk.app}")["metadata"]["managedFields"]}
    assert "pulumi-rollout" in writers and "kubectl-patch" not in writers


@pytest.mark.parametrize("annotations", [{}, {"team": "web", FLUX: "enabled"}], ids=["nothing else", "something"])
def test_what_flux_was_told_is_taken_off(halted: Make, annotations: dict[str, str]) -> None:
    walk = halted(labels={"kustomize.toolkit.fluxcd.io/name": "web"}, annotations=annotations)
    assert walk.get(f"{ROUTES}/{walk.app}")["metadata"]["annotations"][FLUX] == "disabled"
    walk.start()
    walk.until(walk.ended)
    walk.check_all_back()
    assert walk.get(f"{ROUTES}/{walk.app}")["metadata"].get("annotations", {}) == annotations


def test_what_the_walk_has_made_is_left_at_weight_0(halted: Make) -> None:
    """An Ingress beside the application's own; it goes with the next update."""
    walk = halted()
    refs = [{"apiVersion": nginx.API_VERSION, "kind": "Ingress", "name": walk.app}]
    route = walk.inputs.route.model_copy(update={"router": "nginx", "objects": refs})
    walk.inputs = walk.inputs.model_copy(update={"route": route})
    walk.guard = guard.Guard(walk.inputs, walk.kube)
    before = nginx.Route([f"{walk.app}.example.com"]).objects(walk.app, NAMESPACE, 80)
    walked = nginx.with_weight(before, walk.inputs.backends(), 30)
    for item in walked:
        walk.inside(walk.kube.create, INGRESSES, item)
    walk.inside(walk.guard.start, guard.Walk(walk.walk, "v1", QUICK), walked, before)
    walk.until(walk.ended)
    live = [walk.get(f"{INGRESSES}/{name}") for name in (walk.app, f"{walk.app}-canary")]
    assert weight_in(nginx, live, walk.inputs.backends()) == 0, walk.said()
    assert (walk.serving, walk.pods) == ("v1", 0)
    for item in live:
        walk.inside(walk.kube.delete, f"{INGRESSES}/{item['metadata']['name']}")


def test_an_adopted_service_selects_what_it_did(halted: Make) -> None:
    walk = halted()
    selector = {"app": "legacy", "app.kubernetes.io/name": "legacy"}
    adopt = Adopt(deployment="legacy", labels={})
    walk.inputs = walk.inputs.model_copy(update={"adopt": adopt})
    walk.guard = guard.Guard(walk.inputs, walk.kube)
    objects = [walk.get(f"{ROUTES}/{walk.app}")]
    walk.inside(walk.guard.start, guard.Walk(walk.walk, ADOPTED, QUICK, selector), objects, walk.original)
    walk.until(walk.ended)
    assert walk.get(f"{CORE}/services/{walk.app}")["spec"]["selector"] == selector, walk.said()
    [event] = walk.events
    assert event["message"].endswith("all traffic is back on legacy")


def test_as_long_as_the_heart_beats_nothing_is_touched(halted: Make) -> None:
    walk = halted()
    with walk.beating():
        walk.start()
        walk.until(walk.runs)
        time.sleep(3.5)
        walk.check_untouched()
        first = walk.get(f"{JOBS}/rollout-{walk.app}-guard")["metadata"]["uid"]
        walk.start()
        assert walk.get(f"{JOBS}/rollout-{walk.app}-guard")["metadata"]["uid"] == first, "the same walk keeps it"
        walk.until(walk.runs)
        walk.inside(walk.guard.stop)
        for kind in guard.COLLECTIONS:
            assert walk.inside(walk.kube.find, walk.guard._path(kind)) is None
        selector = f"batch.kubernetes.io/job-name=rollout-{walk.app}-guard"
        walk.until(lambda: not walk.inside(walk.kube.get, f"{CORE}/pods", labelSelector=selector)["items"], 10)
    walk.check_untouched()


def test_where_nothing_is_to_be_guarded_it_ends(halted: Make) -> None:
    changes: dict[str, tuple[str, Manifest]] = {
        "released": ("lease", {"spec": {"holderIdentity": ""}}),
        "taken over": ("lease", {"metadata": {"annotations": {"pulumi-rollout/walk": "v3-1"}}}),
        "held": ("journal", {"data": {"held": "true", "phase": "paused"}}),
        "succeeded": ("journal", {"data": {"phase": "succeeded"}}),
        "failed": ("journal", {"data": {"phase": "failed"}}),
        "another walk": ("journal", {"data": {"walk": "v3-1"}}),
        "journal emptied": ("journal", {"data": {"walk": None, "phase": None}}),
    }
    walks = {why: halted() for why in changes}
    for why, (where, change) in changes.items():
        name = f"rollout-{walks[why].app}"
        walks[why].patch(f"{LEASES}/{name}" if where == "lease" else f"{CORE}/configmaps/{name}", change)
        walks[why].start()
    for walk in walks.values():
        walk.until(walk.ended)
        walk.check_untouched()


def test_one_that_is_killed_in_the_middle_goes_on(halted: Make) -> None:
    walk = halted(Limits(settle_seconds=0.2, drain_seconds=2))
    walk.start()
    walk.until(lambda: list(walk.weights) == [walk.app])
    os.kill(walk.process(), signal.SIGKILL)
    time.sleep(0.2)
    assert walk.pods == 2, "it was killed while it drained"
    # As if the walk's own change had been under way.
    [listed] = gateway.with_weight([walk.get(f"{ROUTES}/{walk.app}")], walk.inputs.backends(), 50)
    walk.inside(walk.kube.replace, f"{ROUTES}/{walk.app}", listed)
    walk.until(walk.ended)
    walk.check_all_back()
    assert walk.said().count(f"guarding {walk.walk}") == 2


def test_two_guards_do_no_harm(halted: Make) -> None:
    walk = halted()
    walk.start()
    job = walk.get(f"{JOBS}/rollout-{walk.app}-guard")
    spec = {key: value for key, value in job["spec"].items() if key != "selector"}
    spec["template"]["metadata"]["labels"] = {"app.kubernetes.io/component": "guard"}
    walk.inside(walk.kube.create, JOBS, {"metadata": {"name": f"rollout-{walk.app}-guard-2"}, "spec": spec})
    walk.until(walk.ended)
    walk.until(lambda: walk.ended(f"rollout-{walk.app}-guard-2"))
    walk.check_all_back()
    walk.inside(walk.kube.delete, f"{JOBS}/rollout-{walk.app}-guard-2", propagationPolicy="Background")


def test_a_cluster_that_does_not_answer_is_no_dead_walk(halted: Make) -> None:
    walk = halted()
    with walk.beating():
        walk.start()
        walk.until(walk.runs)
    binding = walk.get(walk.guard._path("RoleBinding"))
    walk.inside(walk.kube.delete, walk.guard._path("RoleBinding"))
    walk.until(lambda: walk.said().count("counts for nothing") > 4)
    walk.check_untouched()
    with walk.beating():
        del binding["metadata"]["resourceVersion"]
        walk.inside(walk.kube.create, guard.COLLECTIONS["RoleBinding"].format(NAMESPACE), binding)
        time.sleep(2.5)
        walk.check_untouched()
    walk.until(walk.ended)
    walk.check_all_back()


def test_a_route_that_somebody_has_reshaped_is_left_to_people(halted: Make) -> None:
    walk = halted()
    route = walk.get(f"{ROUTES}/{walk.app}")
    mine = {**route["spec"]["rules"][0]["backendRefs"][0], "name": "emergency", "weight": 60}
    with walk.beating():
        walk.start()
        walk.until(walk.runs)
        route["spec"]["rules"][0]["backendRefs"].insert(0, mine)
        walk.inside(walk.kube.replace, f"{ROUTES}/{walk.app}", route)
    walk.until(lambda: walk.events)
    walk.until(lambda: walk.said().count("not yet") > 2)
    assert walk.weights == {"emergency": 60, walk.app: 70, f"{walk.app}-v2": 30}
    assert (walk.serving, walk.pods) == ("v1", 2), "what can be done is done, but pods with traffic are kept"
    [event] = walk.events
    assert event["reason"] == "RollbackIncomplete"
    assert f"httproutes.v1.gateway.networking.k8s.io/{walk.app}" in event["message"]
    # Without the canary it is put right, whatever else somebody has made of it.
    route = walk.get(f"{ROUTES}/{walk.app}")
    route["spec"]["rules"][0]["backendRefs"] = [mine]
    walk.inside(walk.kube.replace, f"{ROUTES}/{walk.app}", route)
    walk.until(walk.ended)
    assert (walk.weights, walk.serving, walk.pods) == ({"emergency": 60}, "v1", 0)
    assert sorted(event["reason"] for event in walk.events) == ["RollbackIncomplete", "RollingBack"]


def test_before_the_first_weight_and_without_the_canary_there_is_less_to_do(halted: Make) -> None:
    walk = halted()
    [route] = gateway.restored([walk.get(f"{ROUTES}/{walk.app}")], walk.original, walk.inputs.backends())
    walk.start()
    walk.inside(walk.kube.replace, f"{ROUTES}/{walk.app}", route)
    walk.inside(walk.kube.delete, f"{APPS}/deployments/{walk.app}-v2")
    walk.until(walk.ended)
    assert (list(walk.weights), walk.serving) == ([walk.app], "v1")
    assert [event["reason"] for event in walk.events] == ["RollingBack"]


def test_it_may_touch_its_own_application_alone(halted: Make) -> None:
    walk, other = halted(), halted()
    with walk.beating():
        walk.start()
        account = walk.guard._path("ServiceAccount")
        token = walk.inside(walk.kube.create, f"{account}/token", {"spec": {"expirationSeconds": 600}})["status"][
            "token"
        ]
        identity = Cluster(json.dumps(_kubeconfig(walk._lab, token)))
        walk.inside(identity.patch, f"{ROUTES}/{walk.app}", {"metadata": {"annotations": {"may": "write"}}})
        walk.inside(identity.patch, f"{APPS}/deployments/{walk.app}-v2/scale", {"spec": {"replicas": 2}})
        refused = [
            lambda: identity.patch(f"{ROUTES}/{other.app}", {"metadata": {"annotations": {"may": "not"}}}),
            lambda: identity.patch(f"{CORE}/services/{other.app}", {"metadata": {"annotations": {"may": "not"}}}),
            lambda: identity.patch(f"{APPS}/deployments/{walk.app}-v2", {"metadata": {"annotations": {"may": "not"}}}),
            lambda: identity.patch(f"{APPS}/deployments/{other.app}-v2/scale", {"spec": {"replicas": 0}}),
            lambda: identity.patch(f"{LEASES}/rollout-{walk.app}", {"spec": {"holderIdentity": ""}}),
            lambda: identity.get(f"{CORE}/secrets"),
            lambda: identity.get(f"{CORE}/pods"),
            lambda: identity.get(ROUTES),
            lambda: identity.delete(f"{ROUTES}/{walk.app}"),
            lambda: identity.create(ROUTES, {"metadata": {"name": "new"}}),
        ]
        for call in refused:
            with pytest.raises(ClusterError) as error:
                walk.inside(call)
            assert error.value.status == 403


def test_without_the_right_to_make_it_the_reason_is_said(halted: Make) -> None:
    walk = halted()
    stranger = guard.Guard(walk.inputs, Cluster(str(walk._lab.kubeconfig), "deployer"))
    objects = [walk.get(f"{ROUTES}/{walk.app}")]
    with pytest.raises(ClusterError) as error:
        walk.inside(stranger.start, guard.Walk(walk.walk, "v1", QUICK), objects, walk.original)
    assert error.value.status == 403
    assert walk.inside(walk.guard.problem) == f"Job {NAMESPACE}/rollout-{walk.app}-guard is not there"


def test_an_image_that_cannot_be_had_is_a_problem(halted: Make) -> None:
    walk = halted()
    walk.guard = guard.Guard(walk.inputs, walk.kube, "registry.example.com/nothing:1")
    with walk.beating():
        walk.start()
        walk.until(lambda: "ImagePull" in (walk.inside(walk.guard.problem) or ""))


def test_its_pod_is_let_in_where_pods_are_restricted(halted: Make) -> None:
    walk = halted()
    strict = {"name": f"strict-{walk.app}", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    walk.inside(walk.kube.create, "/api/v1/namespaces", {"metadata": strict})
    made = guard.manifests(walk.inputs, guard.Walk(walk.walk, "v1", QUICK), [], "uid")
    account, job = made[0]["metadata"]["name"], made[-1]["spec"]["template"]
    pods = f"/api/v1/namespaces/{strict['name']}"
    walk.inside(walk.kube.create, f"{pods}/serviceaccounts", {"metadata": {"name": account}})
    pod = {"metadata": {"name": "guard"}, "spec": {**job["spec"], "nodeSelector": {"no": "such"}}}
    walk.inside(walk.kube.create, f"{pods}/pods", pod)
    pod["spec"]["securityContext"] = {}
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        walk.inside(walk.kube.create, f"{pods}/pods", {**pod, "metadata": {"name": "lax"}})
    walk.inside(walk.kube.delete, f"/api/v1/namespaces/{strict['name']}")


def _kubeconfig(lab: cluster.Lab, token: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(lab.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": token}}]
    return config
