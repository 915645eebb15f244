"""The dynamic provider behind the Rollout resource: check, diff, create, update, read, delete.

The import path `pulumi_rollout.provider.RolloutProvider` is public for ever: users' state holds a
pickle that refers to it by this name. The class has no state and no constructor arguments, and
nothing that this module imports creates a resource. Not here: the loop (`driver.py`).
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)
from pulumi.runtime import rpc
from pydantic import ValidationError

from pulumi_rollout import expiry
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.control import Control
from pulumi_rollout.core import forecast
from pulumi_rollout.core.plan import Plan, problems_of
from pulumi_rollout.core.strategies import compile_policy
from pulumi_rollout.engine import Engine
from pulumi_rollout.errors import ClusterError, InvalidInput, JournalError
from pulumi_rollout.gitops import unheeding
from pulumi_rollout.guard import Guard
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.journal import Journal
from pulumi_rollout.lock import Lock
from pulumi_rollout.metrics import known
from pulumi_rollout.observe import Observer, preflight
from pulumi_rollout.perform import Performer
from pulumi_rollout.readings import Readings
from pulumi_rollout.release import expiries, release
from pulumi_rollout.routers import ROUTERS, blind, notice_of, proxy_of

Props = dict[str, Any]

# What a walk or a resize follows from; the rest of the inputs says how to get there.
COMPARED = ("app", "namespace", "cluster", "revision", "route", "plan", "retry")


class RolloutProvider(ResourceProvider):
    """Walks from the revision that serves to the one that is declared."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Everything that can be refused before anything moves, as property errors."""
        if _has_unknown([news.get("policy"), news.get("credentials")]):
            return CheckResult(news, [])  # at preview, and checked by the update
        try:
            inputs = _inputs(news)
            plan = _plan(inputs)
        except InvalidInput as error:
            return CheckResult(news, _failures(error.problems))
        checked = {**news, "plan": plan.model_dump(mode="json")}
        problems = [*_unable(inputs), *_blind(inputs, plan), *_two_changes(olds, inputs)]
        walks = olds.get("serving_revision") != inputs.revision.hash
        if not problems and walks and _known(news):
            found = _preflight(inputs, plan)
            # Before the first release not all that it takes need be there yet; a journal can only be another's.
            first = not olds and inputs.adopt is None
            problems = [problem for problem in found if problem[0] == "journal"] if first else found
            if not found and olds.get("serving_revision"):
                problems = _forecast(inputs, plan, str(olds["serving_revision"]))
            now = time.time()
            if late := expiry.problem(plan.worst_case_seconds(), expiries(inputs, plan), now):
                Engine(inputs.urn).warn(late)
            for said in filter(None, [notice_of(ROUTERS[inputs.route.router]), *_owned(inputs)]):
                Engine(inputs.urn).warn(said)
            for reason in dict.fromkeys(problem[1] for problem in found if problem not in problems):
                Engine(inputs.urn).warn(f"{reason}; asked again before any traffic moves")
        return CheckResult(checked, _failures(problems))

    def diff(self, id_: str, olds: Props, news: Props) -> DiffResult:
        """A change of inputs, an unfinished walk, or a serving revision that is not the declared one."""
        replaces = [name for name in ("app", "namespace") if olds.get(name) != news.get(name)]
        changes = any(olds.get(name) != news.get(name) for name in COMPARED)
        if not changes and _known(news):
            changes = _unsettled(_inputs(news))
        return DiffResult(changes=changes, replaces=replaces, delete_before_replace=False)

    def create(self, props: Props) -> CreateResult:
        """The first release, or the adoption of one whose `up` was cut off."""
        inputs = _inputs(props)
        outcome = _release(inputs)
        outputs = {**props, "serving_revision": inputs.revision.hash, "outcome": outcome}
        return CreateResult(f"{inputs.namespace}/{inputs.app}", outputs)

    def update(self, id_: str, olds: Props, news: Props) -> UpdateResult:
        """The walk. Raises RolloutFailed with the verdict once all traffic is back."""
        inputs = _inputs(news)
        outcome = _release(inputs)
        return UpdateResult({**news, "serving_revision": inputs.revision.hash, "outcome": outcome})

    def read(self, id_: str, props: Props) -> ReadResult:
        """The live serving revision."""
        inputs = _inputs(props)
        serving = Observer(inputs, _cluster(inputs), Http()).apex_revision()
        return ReadResult(id_, {**props, "serving_revision": serving or props["serving_revision"]})

    def delete(self, id_: str, props: Props) -> None:
        """Forget the journal and what belongs to it; the application's objects are other resources'. A walk that
        was cut off leaves nothing in a route that is not."""
        inputs = _inputs(props)
        cluster = _cluster(inputs)
        with contextlib.suppress(ClusterError):  # the identity may do without a guard; it goes with the Lease
            Guard(inputs, cluster).stop()
        _leave_route(inputs, cluster)
        Control(cluster, inputs.namespace, inputs.app).delete()
        Lock(cluster, inputs.namespace, inputs.app, Engine(inputs.urn)).delete()
        _journal(inputs, cluster).delete()


def _leave_route(inputs: Inputs, cluster: Cluster) -> None:
    """Take a walk that was cut off out of the route, or of what is still there of it."""
    try:
        left = _journal(inputs, cluster).load().unfinished
    except JournalError:
        if inputs.route.declared:  # then it goes too
            return
        raise
    if left is not None:
        walked = (left.inputs or inputs).walking_to(left.state.revision)
        Performer(walked, cluster, Observer(walked, cluster, Http())).leave(left.state)


def _inputs(props: Props) -> Inputs:
    """The inputs, typed. Raises InvalidInput, also with what the program itself found."""
    if found := props.get("problems"):
        raise InvalidInput([(problem["property"], problem["reason"]) for problem in found])
    known = _without_unknown(props)
    try:
        inputs = Inputs.model_validate(known)
    except ValidationError as error:
        problems = problems_of(error, "rollout")
        # A reason quotes what it is about, and all inputs together hold the kubeconfig.
        plain = [(path, why.partition(", not ")[0] if "kubeconfig" in why else why) for path, why in problems]
        raise InvalidInput(plain) from None
    if inputs.route.router not in ROUTERS:
        choices = ", ".join(ROUTERS)
        raise InvalidInput([("route.router", f"there is no router {inputs.route.router}; there are: {choices}")])
    return inputs


def _plan(inputs: Inputs) -> Plan:
    return compile_policy(inputs.policy, known(_proxy(inputs), inputs.credentials))


def _proxy(inputs: Inputs) -> str:
    return proxy_of(ROUTERS[inputs.route.router], inputs.route.objects, inputs.backends())


def _without_unknown(value: Any) -> Any:
    """Values that only the update will know, left out at preview."""
    if isinstance(value, dict):
        return {key: _without_unknown(item) for key, item in value.items() if item != rpc.UNKNOWN}
    return value


def _has_unknown(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(_has_unknown(item) for item in (value.values() if isinstance(value, dict) else value))
    return bool(value == rpc.UNKNOWN)


def _known(props: Props) -> bool:
    """Whether the cluster is known yet: a cluster of the same stack is not, at its first preview."""
    return not _has_unknown(props.get("cluster"))


def _failures(problems: list[tuple[str, str]]) -> list[CheckFailure]:
    return [CheckFailure(path, reason) for path, reason in problems]


def _cluster(inputs: Inputs) -> Cluster:
    return Cluster(inputs.cluster.kubeconfig, inputs.cluster.context)


def _journal(inputs: Inputs, cluster: Cluster) -> Journal:
    stack, project = ([*inputs.urn.split("::"), ""])[:2]
    owner = f"{project}/{stack.rpartition(':')[2]}" if project else ""
    return Journal(cluster, inputs.namespace, inputs.app, owner)


def _preflight(inputs: Inputs, plan: Plan) -> list[tuple[str, str]]:
    """What does not hold, as (property, reason). A walk that was cut off is put back before another
    begins, so its canary may be on the route."""
    cluster = _cluster(inputs)
    try:
        left = _journal(inputs, cluster).load().unfinished
    except ClusterError as error:
        return [("cluster", str(error))]
    except JournalError as error:
        return [("journal", str(error))]
    walking = inputs.walking_to(left.state.revision) if left else inputs
    return preflight(walking, plan, cluster, Http(inputs.credentials))


def _forecast(inputs: Inputs, plan: Plan, stable: str) -> list[tuple[str, str]]:
    """Say what the walk will be like at the traffic that is seen now. A step that cannot come to its end is an error
    where evidence is required, as the walk could only go back."""
    engine = Engine(inputs.urn)
    traffic = Readings(inputs, _cluster(inputs), Http(inputs.credentials)).traffic(plan, stable)
    for line in forecast.lines(plan, traffic):
        engine.say(line, keep=True)
    found = forecast.problems(plan, traffic)
    if plan.evidence == "required":
        return [("policy", problem) for problem in found]
    for problem in found:
        engine.warn(problem)
    return []


def _unable(inputs: Inputs) -> list[tuple[str, str]]:
    """A router that cannot shift traffic the way the strategy does."""
    router, [strategy] = inputs.route.router, inputs.policy
    if strategy in ROUTERS[router].STRATEGIES:
        return []
    able = ", ".join(name for name, other in ROUTERS.items() if strategy in other.STRATEGIES)
    return [("route.router", f"{router} cannot do the strategy {strategy}; these can: {able}")]


def _blind(inputs: Inputs, plan: Plan) -> list[tuple[str, str]]:
    """Sources that would never see a request of the canary's."""
    read = {source.proxy for source in plan.sources.values()}
    reason = blind(ROUTERS[inputs.route.router], inputs.route.objects, inputs.backends(), read)
    return [("policy", reason)] if reason else []


def _owned(inputs: Inputs) -> list[str]:
    """What to say of a route that somebody else might put back during the walk."""
    try:
        objects = Observer(inputs, _cluster(inputs), Http()).route_objects(partly=True)
    except ClusterError:
        return []
    todo = "let its Application ignore the differences of a walk, or they are undone (docs/routers.md, GitOps)"
    return [f"{owned}: {todo}" for owned in unheeding(objects)]


def _two_changes(olds: Props, inputs: Inputs) -> list[tuple[str, str]]:
    """Where the traffic goes and what it reaches cannot change in one walk."""
    before = olds.get("revision") or {}
    if not olds or before.get("hash") == inputs.revision.hash:
        return []
    if before.get("port") not in (None, inputs.revision.port):
        reason = (
            f"changes from {before.get('port'):g} to {inputs.revision.port}, but the apex Service has one port for the "
            "old and the new version: keep the port, or release under another name"
        )
        return [("revision.port", reason)]
    now = {"app": inputs.app, "namespace": inputs.namespace, "route.router": inputs.route.router}
    was = {
        "app": olds["app"],
        "namespace": olds["namespace"],
        "route.router": (olds.get("route") or {}).get("router"),
    }
    return [
        (name, f"changes from {was[name]} to {value} together with the revision: make it two ups, one for each")
        for name, value in now.items()
        if was[name] != value
    ]


def _unsettled(inputs: Inputs) -> bool:
    """Whether the cluster is not in the declared state although no input changed."""
    cluster = _cluster(inputs)
    try:
        serving = Observer(inputs, cluster, Http()).apex_revision()
        return _journal(inputs, cluster).load().unfinished is not None or serving not in (None, inputs.revision.hash)
    except (ClusterError, JournalError) as error:
        # Not to know is a change: without one, the engine would go on to delete what traffic may still reach.
        Engine(inputs.urn).warn(f"cannot tell whether a walk was cut off: {error}")
        return True


def _release(inputs: Inputs) -> str:
    plan, cluster = _plan(inputs), _cluster(inputs)
    return release(inputs, plan, cluster, _journal(inputs, cluster), Engine(inputs.urn))
