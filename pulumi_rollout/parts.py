"""The objects of a route as the guard puts them back: for each, the patches that its script sends.

Pure. Lives here: from what a router would write to JSON patches that are prepared when a walk begins, so
that no router needs code of its own in the cluster. Not here: the guard's Job (`guard.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pulumi_rollout import gitops
from pulumi_rollout.core.targets import Backends
from pulumi_rollout.inputs import Inputs
from pulumi_rollout.patches import Operation, done, entries, patch
from pulumi_rollout.routers import ROUTERS, Ref, identity, parts_of, understood

Manifest = dict[str, Any]


class Part(NamedTuple):
    """One object of the route, and the patches that the guard has for it (see `guard.sh`).

    + trace: a word that is in it for the walk's sake
    """

    group: str
    version: str
    plural: str
    name: str
    done: list[Operation]
    zero: list[Operation]
    home: list[Operation]
    trace: str

    @property
    def resource(self) -> str:
        """Its name for kubectl."""
        return f"{self.plural}.{self.version}.{self.group}/{self.name}" if self.group else f"{self.plural}/{self.name}"


def parts(
    inputs: Inputs, path_of: Callable[[Ref], str], objects: list[Manifest], original: list[Manifest]
) -> list[Part]:
    """The objects of the route that the walk changes, with the patches that put them back, in the order of the way
    home. + path_of: an object's API path; objects: as they are live; original: as they were before the walk"""
    router, backends = ROUTERS[inputs.route.router], inputs.backends()
    with understood(objects):
        raised, lowered = (
            gitops.paused(router.with_weight(objects, backends, percent), objects, inputs.app, backends.canary.service)
            for percent in (50, 0)
        )
        restored = router.restored(lowered, original, backends)
    # Where other walks are under way too, the next update finds out which is the last.
    alone = gitops.walking(objects) <= {inputs.app}
    listed, zero = _by_identity(raised), _by_identity(lowered)
    home = _by_identity(gitops.resumed(restored, inputs.app) if alone else restored)
    found = []
    for ref in reversed(parts_of(router, inputs.route.objects, backends)):
        if (before := listed.get(identity(ref))) is None:
            continue
        between = zero[identity(ref)]
        # What the walk has made stays at weight 0: a patch deletes nothing, and the next update does.
        after = home.get(identity(ref), between)
        to_zero, to_home = (_patch(one, other) for one, other in ((before, between), (between, after)))
        if to_zero or to_home:
            root, _, rest = path_of(ref).partition("/namespaces/")
            group, version = root.split("/")[2:] if root.startswith("/apis/") else ("", root.rpartition("/")[2])
            plural, name = rest.split("/")[1:]
            last = to_home or to_zero
            trace = _trace(before, after if ref in inputs.route.objects else {}, backends)
            found.append(Part(group, version, plural, name, done(last), to_zero, last, trace))
    return found


def _trace(during: Manifest, rest: Manifest, backends: Backends) -> str:
    """The canary's name is not in every object that leads to it, as in routes to subsets of one Service."""
    canary = backends.canary.service
    words = sorted(_words(_declared(during)) - _words(_declared(rest)), key=lambda word: (-len(word), word))
    revision = canary.removeprefix(f"{backends.apex.service}-")
    return next((word for known in (canary, revision) for word in words if word == known), (words or [canary])[0])


def _words(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        return {word for item in (value.values() if isinstance(value, dict) else value) for word in _words(item)}
    return {value} if isinstance(value, str) else set()


def _by_identity(objects: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {identity(item): item for item in objects}


def _patch(before: Manifest, after: Manifest) -> list[Operation]:
    """Of what people and walks write. Annotations are many people's, so each is on its own."""
    one, other = (item.get("metadata", {}).get("annotations", {}) for item in (before, after))
    return patch(_declared(before), _declared(after)) + entries(one, other, "/metadata/annotations")


def _declared(item: Manifest) -> Manifest:
    """Without what the API server keeps count of, and without annotations."""
    metadata = {key: value for key, value in item.get("metadata", {}).items() if key == "name"}
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": metadata}
