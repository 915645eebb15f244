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
from pulumi_rollout.core.plan import Plan, problems_of
from pulumi_rollout.core.strategies import compile_policy
from pulumi_rollout.engine import Engine
from pulumi_rollout.errors import ClusterError, InvalidInput, JournalError
from pulumi_rollout.guard import Guard
from pulumi_rollout.http import Http
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.journal import Journal
from pulumi_rollout.lock import Lock
from pulumi_rollout.metrics import PROXIES
from pulumi_rollout.observe import Observer, preflight
from pulumi_rollout.release import expiries, release
from pulumi_rollout.routers import ROUTERS

Props = dict[str, Any]

# What a walk or a resize follows from; the rest of the inputs says how to get there.
COMPARED = ("app", "namespace", "cluster", "revision", "route", "plan", "retry")


class RolloutProvider(ResourceProvider):
    """Walks from the revision that serves to the one that is declared."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Everything that can be refused before anything moves, as property errors."""
        if _has_unknown(news.get("policy")):
            return CheckResult(news, [])  # at preview, and checked by the update
        try:
            inputs = _inputs(news)
            plan = _plan(inputs)
        except InvalidInput as error:
            return CheckResult(news, _failures(error.problems))
        checked = {**news, "plan": plan.model_dump(mode="json")}
        problems = _two_changes(olds, inputs)
        walks = olds.get("serving_revision") != inputs.revision.hash
        if not problems and walks and _known(news):
            found = _preflight(inputs, plan)
            # Before the first release not all that it takes need be there yet; a journal can only be another's.
            problems = found if olds else [problem for problem in found if problem[0] == "journal"]
            now = time.time()
            if late := expiry.problem(plan.worst_case_seconds(), expiries(inputs, plan), now):
                Engine(inputs.urn).warn(late)
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
        """Forget the journal and what belongs to it; the application's objects are other resources'."""
        inputs = _inputs(props)
        cluster = _cluster(inputs)
        with contextlib.suppress(ClusterError):  # the identity may do without a guard; it goes with the Lease
            Guard(inputs, cluster).stop()
        Control(cluster, inputs.namespace, inputs.app).delete()
        Lock(cluster, inputs.namespace, inputs.app, Engine(inputs.urn)).delete()
        _journal(inputs, cluster).delete()


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
    return compile_policy(inputs.policy, PROXIES)


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
    return preflight(inputs.walking_to(left.state.revision) if left else inputs, plan, cluster, Http())


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
