"""Rules with a list of weighted backends: what the routers of such routes have in common.

Pure. Lives here: which rules are ours, how traffic is split between the apex and the canary, how the
share is read, and how a rule gets back what it had. Not here: where a vendor keeps its rules and how
it writes a backend; that is said in each router's file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

from pulumi_rollout.core.targets import Backends, Target

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How a router writes a backend.

    + service: (backend, the application's namespace) -> the Service of that namespace that it names; None for
      any other kind of backend
    + named: (backend, target) -> the same backend for another Service, without a word about its weight
    + weight: the key of a backend's weight; absent: what it means where there is none
    + even: no weights at all mean even shares, and not no traffic
    + alone: the weight to write for a backend that is alone; None for no weight at all
    + beside: what stands in the list and gets no share, such as a mirror
    """

    service: Callable[[Manifest, str], str | None]
    named: Callable[[Manifest, Target], Manifest]
    weight: str = "weight"
    absent: int = 1
    even: bool = False
    alone: int | None = None
    beside: Callable[[Manifest], bool] = lambda _: False


class Rule(NamedTuple):
    """One rule of a route: `holder[key]` is its list of backends.

    + path: of that list, for messages, as in "spec.rules[0].backendRefs of HTTPRoute shop"
    + number: its position in the object; name: of a rule that has one
    """

    path: str
    holder: Manifest
    key: str
    number: int
    name: str | None = None

    @property
    def listed(self) -> list[Manifest]:
        """All that its list holds."""
        return self.holder.get(self.key) or []

    def backends(self, form: Form) -> list[Manifest]:
        """Those that get a share of the traffic."""
        return [item for item in self.listed if not form.beside(item)]

    def list_instead(self, others: list[Manifest], form: Form) -> None:
        """Other backends in the place of the first; what is beside them stays where it is."""
        at = next(number for number, item in enumerate(self.listed) if not form.beside(item))
        kept = [item for item in self.listed[at:] if form.beside(item)]
        self.holder[self.key] = [*self.listed[:at], *others, *kept]

    @property
    def owner(self) -> str:
        """The object that it stands in, as `place` has it."""
        return self.path.rpartition(" of ")[2]

    @property
    def rest(self) -> Manifest:
        """All that it says beside its backends, which tells rules apart."""
        return {key: value for key, value in self.holder.items() if key != self.key}


def place(item: Manifest, path: str) -> str:
    """Where something stands in an object, for messages."""
    return f"{path} of {item.get('kind')} {item.get('metadata', {}).get('name')}"


def split(rules: list[Rule], form: Form, backends: Backends, percent: int) -> None:
    """List the canary beside the apex in each of our rules, with this share in percent. Changes them in place."""
    for rule in ours(rules, form, backends):
        apex = _apex(rule, form, backends)
        canary = form.named(deepcopy(apex), backends.canary)
        rule.list_instead([{**apex, form.weight: 100 - percent}, {**canary, form.weight: percent}], form)


def put_back(rules: list[Rule], before: list[Rule], form: Form, backends: Backends) -> None:
    """Give each of our rules the backends that it had before the walk. Changes them in place. It is told by all
    else that it says, or by its place among as many; the apex gets all where that does not help either, or where
    an earlier walk had left the canary there."""
    mine = [rule for rule in ours(rules, form, backends) if backends.canary.service in names(rule, form, backends)]
    left = ours(before, form, backends)
    unused = list(left)
    for position, rule in enumerate(mine):
        old = next((one for one in unused if one.rest == rule.rest), None)
        if old is None and len(left) == len(mine):
            old = left[position]
        if old in unused:
            unused.remove(old)
        alone = old is not None and names(old, form, backends) == {backends.apex.service}
        if not old or not alone:
            rule.list_instead([_alone(rule, form, backends)], form)
        elif _beside(old, form) == _beside(rule, form):
            rule.holder[rule.key] = deepcopy(old.listed)
        else:
            rule.list_instead(deepcopy(old.backends(form)), form)


def shares_at(rules: list[Rule], form: Form, backends: Backends, what: str, where: str) -> list[int | None]:
    """The canary's share in percent in each of our rules; None where one does not list it. Rounded up, so that
    somebody's edit is never understated. ValueError with the path where the route is not of our shape.
    + what, where: what there should be one of, as in "rule of the HTTPRoute" and "spec.rules\""""
    _check(rules, form, backends, what, where)
    shares: list[int | None] = []
    for rule in ours(rules, form, backends):
        weights: dict[str | None, int] = {}
        for item in rule.backends(form):
            service = form.service(item, backends.apex.namespace)
            weights[service] = weights.get(service, 0) + weight_of(item, form, rule.path)
        if form.even and not any(weights.values()):
            weights = dict.fromkeys(weights, 1)
        canary, total = weights.get(backends.canary.service), sum(weights.values())
        shares.append(None if canary is None else -(-100 * canary // total) if total else 0)
    return shares


def ours(rules: list[Rule], form: Form, backends: Backends) -> list[Rule]:
    """Those whose backends are the apex, or the apex and the canary, and that take part."""
    apex, canary = backends.apex.service, backends.canary.service
    return [rule for rule in _taking(rules, form, backends) if names(rule, form, backends) in ({apex}, {apex, canary})]


def names(rule: Rule, form: Form, backends: Backends) -> set[str | None]:
    """The Services that a rule names; None among them for any other backend. Beside the canary, the apex is meant
    whatever somebody has made of its port."""
    found = {form.service(item, backends.apex.namespace) for item in rule.backends(form)}
    apex, canary = backends.apex.service, backends.canary.service
    if canary in found or not any(_is_of_another_port(item, form, backends) for item in rule.backends(form)):
        return found
    return {f"another port of {apex}" if one == apex else one for one in found}


def weight_of(backend: Manifest, form: Form, path: str) -> int:
    """A backend's weight. + path: of the list that it stands in"""
    written = backend.get(form.weight, form.absent)
    try:
        return int(written)
    except (ValueError, TypeError):
        raise ValueError(f"{path} has the weight {written!r}, and should have a whole number") from None


def _taking(rules: list[Rule], form: Form, backends: Backends) -> list[Rule]:
    """The rules that take part. One that lists the canary beside the apex always does: somebody may insert rules
    before it, and positions are those from before the walk. Where all of an object's are found by that, its positions
    say no more."""
    if backends.rules is None:
        return rules
    both = {backends.apex.service, backends.canary.service}
    listing = [rule for rule in rules if both <= names(rule, form, backends)]
    positions = sum(isinstance(one, int) for one in backends.rules)
    found = []
    for rule in rules:
        beside = [one for one in listing if one.owner == rule.owner and one.name not in backends.rules]
        placed = rule.number in backends.rules and len(beside) < positions
        if rule in listing or placed or rule.name in backends.rules:
            found.append(rule)
    return found


def _is_of_another_port(backend: Manifest, form: Form, backends: Backends) -> bool:
    """Whether it is the apex's and a number in it is not what we would write: the canary serves one port."""
    if form.service(backend, backends.apex.namespace) != backends.apex.service:
        return False
    pairs = _leaves(backend, form.named(backend, backends.apex))
    return any(type(one) is type(other) is int and one != other for one, other in pairs)


def _leaves(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """What stands at the same places of two objects."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() & other.keys():
            yield from _leaves(one[key], other[key])
    else:
        yield one, other


def _check(rules: list[Rule], form: Form, backends: Backends, what: str, where: str) -> None:
    """ValueError where there is nothing to walk on, or somebody else's backend shares a rule with the canary."""
    apex, canary = backends.apex.service, backends.canary.service
    for wanted in backends.rules or ():
        if all(wanted not in (rule.number, rule.name) for rule in rules):
            there = ", ".join(rule.name or str(rule.number) for rule in rules) or "none"
            raise ValueError(f"there is no rule {wanted} in the route; there are: {there}")
    taking = _taking(rules, form, backends)
    for rule in taking:
        found = names(rule, form, backends)
        if {apex, canary} < found or (backends.rules and not {apex} <= found <= {apex, canary}):
            others = _words(found - {apex, canary}) or _words(found - {apex}) or "no backend"
            raise ValueError(f"{rule.path} names {others}, and should name {apex} alone")
    if not ours(rules, form, backends):
        said = [f"{rule.path} names {_words(names(rule, form, backends)) or 'no backend'}" for rule in taking]
        because = f": {', '.join(said)}" if said else f" ({where})"
        raise ValueError(f"no {what} has {apex} as its only backend{because}")


def _words(services: set[str | None]) -> str:
    return " and ".join(
        sorted("a backend that is no Service of this namespace" if one is None else one for one in services)
    )


def _apex(rule: Rule, form: Form, backends: Backends) -> Manifest:
    listed = rule.backends(form)
    return next(item for item in listed if form.service(item, backends.apex.namespace) == backends.apex.service)


def _beside(rule: Rule, form: Form) -> list[Manifest]:
    return [item for item in rule.listed if form.beside(item)]


def _alone(rule: Rule, form: Form, backends: Backends) -> Manifest:
    apex = {key: value for key, value in _apex(rule, form, backends).items() if key != form.weight}
    return apex if form.alone is None else {**apex, form.weight: form.alone}
