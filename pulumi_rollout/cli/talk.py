"""Everything that the command line asks the cluster, but orders (`orders.py`): where, what, and who.

Lives here: reading. Not here: what it comes to (`look.py`), or how it looks (`render.py`).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from pulumi_rollout.cli.look import Facts
from pulumi_rollout.cluster import Cluster
from pulumi_rollout.control import Control
from pulumi_rollout.core.state import Command, Retry
from pulumi_rollout.errors import ClusterError, JournalError, Refused
from pulumi_rollout.inputs import APP_LABEL, MANAGED_BY, REVISION_LABEL
from pulumi_rollout.journal import Journal, Record

Manifest = dict[str, Any]

OURS = ",".join(f"{label}={value}" for label, value in MANAGED_BY.items())
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
APPS_NAMED = 12


class Site(NamedTuple):
    """A namespace in a cluster. + context: its name in the kubeconfig, None in a pod"""

    cluster: Cluster
    namespace: str
    context: str | None

    @property
    def words(self) -> str:
        """Where it is, for messages."""
        context = f" (context {self.context})" if self.context else ""
        return f"in namespace {self.namespace} at {self.cluster.address}{context}"

    def path(self, collection: str, name: str = "") -> str:
        """The API path of a core object here, or of its collection."""
        return f"/api/v1/namespaces/{self.namespace}/{collection}" + (f"/{name}" if name else "")

    def lease_path(self, app: str) -> str:
        """The API path of an application's lock."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/rollout-{app}"


def site(namespace: str | None, context: str | None, kubeconfig: str | None) -> Site:
    """Where kubectl would look with these options. Raises Refused for a context that is not there."""
    contexts, current = _contexts(kubeconfig)
    if context is not None and contexts and context not in contexts:
        raise Refused(f"there is no context {context} in the kubeconfig; there are: {', '.join(sorted(contexts))}")
    chosen = context or current
    inside = POD_NAMESPACE.read_text().strip() if not contexts and POD_NAMESPACE.exists() else None
    here = namespace or contexts.get(chosen or "", {}).get("namespace") or inside or "default"
    return Site(Cluster(kubeconfig, context), here, chosen)


def journal(site: Site, app: str) -> tuple[Journal, Record]:
    """An application's journal, and the last walk in it. Raises Refused when there is none, JournalError,
    ClusterError."""
    found = Journal(site.cluster, site.namespace, app).load()
    if found.record is None:
        try:
            others = sorted(name for _, name, _ in _journals(site.cluster, site.path("configmaps")))
        except ClusterError:
            raise Refused(f"there is no rollout of {app} {site.words}") from None
        shown = [*others[:APPS_NAMED], *(["…"] if len(others) > APPS_NAMED else [])]
        raise Refused(f"there is no rollout of {app} {site.words}; there are: {', '.join(shown) or 'none'}")
    return found, found.record


def facts(site: Site, app: str) -> Facts:
    """All that is known of an application's rollout."""
    lease = site.cluster.find(site.lease_path(app))
    known, record = journal(site, app)
    commands, _ = asked(site, app)
    apex = site.cluster.find(site.path("services", app))
    serving = ((apex or {}).get("spec", {}).get("selector") or {}).get(REVISION_LABEL)
    revisions = {serving, record.state.revision, record.state.stable}
    images = {revision: _image(site, app, revision) for revision in revisions if revision}
    return Facts(app, site.namespace, record, known, lease, commands, serving, images)


def all_facts(site: Site, *, everywhere: bool) -> list[tuple[str, str, Facts | str]]:
    """(namespace, application, what is known, or why it cannot be read) of each here, or in all namespaces."""
    leases_at = "/apis/coordination.k8s.io/v1" + ("" if everywhere else f"/namespaces/{site.namespace}") + "/leases"
    found = site.cluster.get(leases_at, labelSelector=OURS)["items"]
    leases = {(each["metadata"]["namespace"], each["metadata"]["name"]): each for each in found}
    result: list[tuple[str, str, Facts | str]] = []
    for namespace, app, item in _journals(
        site.cluster, "/api/v1/configmaps" if everywhere else site.path("configmaps")
    ):
        lease = leases.get((namespace, f"rollout-{app}"))
        try:
            known = Journal(site.cluster, namespace, app).read(item)
        except JournalError as error:
            result.append((namespace, app, str(error)))
        else:
            if known.record is not None:
                result.append((namespace, app, Facts(app, namespace, known.record, known, lease, (), None, {})))
    return sorted(result, key=lambda each: each[:2])


def asked(site: Site, app: str) -> tuple[tuple[Command, ...], tuple[Retry, ...]]:
    """What operators have asked of an application's rollouts."""
    return Control(site.cluster, site.namespace, app).read()


def pods(site: Site, app: str) -> list[Manifest]:
    """An application's pods, of all revisions."""
    found: list[Manifest] = site.cluster.get(site.path("pods"), labelSelector=f"{APP_LABEL}={app}")["items"]
    return [pod for pod in found if REVISION_LABEL in (pod["metadata"].get("labels") or {})]


def _journals(cluster: Cluster, collection: str) -> list[tuple[str, str, Manifest]]:
    """(namespace, application, ConfigMap) of each journal."""
    items = cluster.get(collection, labelSelector=OURS)["items"]
    return [
        (item["metadata"]["namespace"], item["metadata"]["name"].removeprefix("rollout-"), item)
        for item in items
        if "state" in (item.get("data") or {})
    ]


def _image(site: Site, app: str, revision: str) -> str | None:
    """A revision's image, where its Deployment is still there and may be read."""
    path = f"/apis/apps/v1/namespaces/{site.namespace}/deployments/{app}-{revision}"
    with contextlib.suppress(ClusterError, LookupError):
        return str(site.cluster.get(path)["spec"]["template"]["spec"]["containers"][0]["image"])
    return None


def _contexts(path: str | None) -> tuple[dict[str, Manifest], str | None]:
    """The kubeconfig's contexts by name, and the current one; nothing where it cannot be used, which its
    first use will tell."""
    from kubernetes.config import ConfigException, kube_config
    from yaml import YAMLError

    unusable = (ConfigException, YAMLError, OSError, UnicodeDecodeError, AttributeError, LookupError, TypeError)
    contexts: dict[str, Manifest] = {}
    current = None
    with contextlib.suppress(*unusable):
        for content in kube_config.KubeConfigMerger(
            path or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
        ).config_files.values():
            contexts = {
                **{each["name"]: each.get("context") or {} for each in content.get("contexts") or []},
                **contexts,
            }
            current = content.get("current-context", current)
    return contexts, current
