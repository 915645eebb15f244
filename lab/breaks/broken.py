"""What to take away from the product, or to make happen in it, by name: `sitecustomize.py` applies it.

Lives here: one function a break, and the two tables of their names. Each function that takes a
countermeasure away names the trap (docs/traps.md).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

Concerns = Callable[[str], bool]


class _Instead:
    """A module with some of its names replaced, for one importer only."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        self._module, self._replaced = module, replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._module, name)


# In the program's process: what is declared. Each has the module and a test of the application's name.


def _ignore_changes(application: Any, concerns: Concerns) -> None:
    """Trap 1: the walk's fields are protected by `ignore_changes` instead of by the Rollout's output."""
    original = application.Application._apex

    def apex(self: Any, opts: Any) -> Any:
        if concerns(self._name):
            more = application.pulumi.ResourceOptions(ignore_changes=["spec"])
            opts = application.pulumi.ResourceOptions.merge(opts, more)
        return original(self, opts)

    application.Application._apex = apex


def _patch_force(application: Any, concerns: Concerns) -> None:
    """Trap 2: apex and route are applied without force."""
    original, force = application.Application._declare, application.PATCH_FORCE

    def declare(self: Any, *arguments: Any) -> None:
        application.PATCH_FORCE = {} if concerns(self._name) else force
        original(self, *arguments)

    application.Application._declare = declare


def _own_selector(application: Any, concerns: Concerns) -> None:
    """Trap 3: the apex selects the program's own string, not the Rollout's output."""
    declare, apex = application.Application._declare, application.Application._apex

    class Declared:
        """Says in the Rollout's place what the program wants."""

        def __init__(self, revision: str) -> None:
            self.serving_revision = revision

    def remembering(self: Any, rendered: Any, *arguments: Any) -> None:
        self._wanted = rendered.hash
        declare(self, rendered, *arguments)

    def apex_of_string(self: Any, opts: Any) -> Any:
        if not concerns(self._name):
            return apex(self, opts)
        rollout, self.rollout = self.rollout, Declared(self._wanted)
        try:
            return apex(self, opts)
        finally:
            self.rollout = rollout

    application.Application._declare, application.Application._apex = remembering, apex_of_string


def _upsert(application: Any, concerns: Concerns) -> None:
    """Trap 8: an object that is there already is an error."""
    kubernetes = application.kubernetes

    def provider(name: str, **settings: Any) -> Any:
        return kubernetes.Provider(name, **{**settings, "upsert_existing_objects": not concerns(name)})

    application.kubernetes = _Instead(kubernetes, Provider=provider)


def _await(revision: Any, concerns: Concerns) -> None:
    """Trap 4: the plugin waits for the Deployment (5 s, as the official 10 min would be long here)."""
    original, skip = revision.Revision.__init__, revision.SKIP_AWAIT

    def init(self: Any, rendered: Any, *arguments: Any) -> None:
        revision.SKIP_AWAIT = {"pulumi.com/timeoutSeconds": "5"} if concerns(rendered.content.app) else skip
        original(self, rendered, *arguments)

    revision.Revision.__init__ = init


def _replicas(revision: Any, concerns: Concerns) -> None:
    """Trap 5: the Deployment declares its replicas."""
    kubernetes = revision.kubernetes

    def deployment(name: str, **properties: Any) -> Any:
        if concerns(name.rpartition("-")[0]):
            properties["spec"] = {**properties["spec"], "replicas": 2}
        return kubernetes.apps.v1.Deployment(name, **properties)

    v1 = _Instead(kubernetes.apps.v1, Deployment=deployment)
    revision.kubernetes = _Instead(kubernetes, apps=_Instead(kubernetes.apps, v1=v1))


def _shared_process(rollout: Any, concerns: Concerns) -> None:
    """Trap 9: all rollouts share the default provider's process. For all applications or none."""
    rollout.pulumi = _Instead(rollout.pulumi, ProviderResource=lambda *_: None)


# In a rollout's own process: what is executed.


def _revert(machine: Any) -> None:
    """A bad version is not noticed."""
    machine._breach = lambda plan, state, seen: None


def _capacity(machine: Any) -> None:
    """Trap 6: one pod is enough for any weight."""
    machine.needed_pods = machine.conditions.needed_pods = lambda percent, stable_replicas: 1


def _pin(perform: Any) -> None:
    """Trap 6: autoscalers may scale down in the middle of a walk."""
    perform.Performer._hold_minimum = lambda self, revision, replicas: None


def _uid(release: Any) -> None:
    """Trap 8: whatever cluster the kubeconfig leads to is walked."""
    release._same_cluster = lambda inputs, cluster: None


def _blind(engine: Any) -> None:
    """Trap 10: neither a cancelled update nor a lost engine is noticed."""
    engine.Engine.stop_reason = lambda self: None


def _diff(provider: Any) -> None:
    """Trap 13: inputs that have not changed are no change, whatever the journal says."""
    provider._unsettled = lambda inputs: False


def _truth(provider: Any) -> None:
    """Trap 14: what serves is taken from Pulumi's state, not from the cluster."""
    update, look = provider.RolloutProvider.update, provider.Observer.apex_revision

    def believing(self: Any, id_: str, olds: Any, news: Any) -> Any:
        def once(observer: Any) -> Any:
            provider.Observer.apex_revision = look
            return olds["serving_revision"]

        provider.Observer.apex_revision = once
        return update(self, id_, olds, news)

    provider.RolloutProvider.update = believing


def _drain(machine: Any) -> None:
    """Trap 15: no time to settle and to drain is given after a change."""
    machine.conditions.unmet = machine.conditions.lacking


def _memory(journal: Any) -> None:
    """Trap 16: a failure is forgotten."""
    journal.Journal.failure_of = lambda self, revision, retry, retries=(): None


def _zero_weight(machine: Any) -> None:
    """Trap 22: backends enter and leave the route with traffic on them."""
    moves, actions = machine.moves, machine._actions

    def without(plan: Any, *, first_release: bool) -> Any:
        return [entry for entry in moves(plan, first_release=first_release) if entry[1] != machine.Weight(0)]

    def at_once(plan: Any, state: Any, seen: Any, move: Any) -> Any:
        if isinstance(move, machine.Weight) and seen.weight_percent is None:
            return (machine.SetWeight(percent=move.percent),)
        if isinstance(move, machine.Leave) and seen.weight_percent is not None:
            return (machine.Restore(),)
        return actions(plan, state, seen, move)

    machine.moves = sys.modules["pulumi_rollout.core.moves"].moves = without  # type: ignore[attr-defined]
    machine._actions = at_once


def _lingers(provider: Any) -> None:
    """No countermeasure: a pause after the walk's last journal entry, for a test to kill it in."""
    original = provider._release

    def release(inputs: Any) -> Any:
        outcome = original(inputs)
        time.sleep(60)
        return outcome

    provider._release = release


def _tomorrow(engine: Any) -> None:
    """No countermeasure: the walk's clock is a day ahead."""
    engine.Engine.now = lambda self: time.time() + 86_400


def _dies(journal: Any) -> None:
    """No countermeasure: SIGKILL right after the journal's n-th write, by $LAB_DIES_AT: `app=n,other=m`."""
    counted: list[None] = []

    def written(self: Any) -> None:
        counted.append(None)
        if len(counted) == int(os.environ["LAB_DIES_AT"].split(self._app + "=")[1].split(",")[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    journal.Journal.written = written


# name -> (module, what to do to it once it is imported)
PROGRAM: dict[str, tuple[str, Callable[..., None]]] = {
    "ignore-changes": ("components.application", _ignore_changes),
    "patch-force": ("components.application", _patch_force),
    "own-selector": ("components.application", _own_selector),
    "upsert": ("components.application", _upsert),
    "await": ("components.revision", _await),
    "replicas": ("components.revision", _replicas),
    "shared-process": ("components.rollout", _shared_process),
}
PROVIDER: dict[str, tuple[str, Callable[[Any], None]]] = {
    "revert": ("pulumi_rollout.core.machine", _revert),
    "capacity": ("pulumi_rollout.core.machine", _capacity),
    "pin": ("pulumi_rollout.perform", _pin),
    "uid": ("pulumi_rollout.release", _uid),
    "blind": ("pulumi_rollout.engine", _blind),
    "diff": ("pulumi_rollout.provider", _diff),
    "truth": ("pulumi_rollout.provider", _truth),
    "drain": ("pulumi_rollout.core.machine", _drain),
    "memory": ("pulumi_rollout.journal", _memory),
    "zero-weight": ("pulumi_rollout.core.machine", _zero_weight),
    "lingers": ("pulumi_rollout.provider", _lingers),
    "tomorrow": ("pulumi_rollout.engine", _tomorrow),
    "dies": ("pulumi_rollout.journal", _dies),
}
