"""The same short story on every data plane of the lab: a good release that loses nothing, and a bad one that goes back.

One stack with an application for each combination of router and proxy, all of them released at once, each under load of
its own. The gates read the pods themselves, so that what judges does not depend on the proxy. Shares and failures are
the load generator's to say; when a step began and ended, the journal's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import pytest

from lab import traefik
from lab.stack import Result, Stack
from tests.e2e.world import GOOD, NEXT, THIRD, Load, World, diagnostics, revisions, until

pytestmark = pytest.mark.lab
WEIGHT, RATE = 30, 50
# The positions of the step's dwelling and of what follows it (docs/states.md).
DWELL, PROMOTING = 4, 5


@dataclass(frozen=True)
class Plane:
    """A router and the proxy that serves it. + routing: its setting, for a host name"""

    routing: dict[str, Any]
    by_traefik: bool = False

    def setting(self, host: str) -> dict[str, Any]:
        [(router, options)] = self.routing.items()
        named = {"host": host} if router == "contour" else {"hosts": [host]}
        return {router: {**named, **options}}


PLANES = {
    "plane-contour": Plane({"contour": {}}),
    "plane-gateway-contour": Plane({"gateway": {"gateway": "infra/public"}}),
    "plane-gateway-traefik": Plane({"gateway": {"gateway": "infra/traefik"}}, by_traefik=True),
    "plane-traefik": Plane({"traefik": {}}, by_traefik=True),
    "plane-nginx": Plane({"nginx": {}}, by_traefik=True),
}
CANARY = {
    "weights": [WEIGHT],
    "interval": "6s",
    # What Traefik's Gateway may need behind its status, which is believed where the pods count the requests.
    "settle": "2s",
    "minSamples": 20,
    "source": {"direct": "app", "port": 9898},
    "gates": [{"successRate": {"minPercent": 99}}],
}


@dataclass
class Planes:
    """What was seen. + loads: by application; stable: the revisions that served before the bad release"""

    world: World
    good: Result
    bad: Result
    loads: dict[str, Load]
    stable: dict[str, str]
    after: dict[str, str]

    def step(self, app: str) -> tuple[float, float]:
        """From when to when the good release's step lasted."""
        states = [(at, state["move"]) for at, state in self.world.history.journal(app, self.good.began)]
        began = next(at for at, move in states if move == DWELL)
        return began, next(at for at, move in states if move >= PROMOTING)


def configure(world: World, stack: Stack, tag: str, **env: str) -> None:
    applications: dict[str, Any] = {}
    for app, plane in PLANES.items():
        routing = plane.setting(f"{app}.example.com")
        applications |= world.app(app, tag, canary=CANARY, routing=routing, env=env)
    stack.configure(applications=applications)


@pytest.fixture(scope="module")
def planes(world: World) -> Iterator[Planes]:
    traefik.add(world.lab)
    stack = world.stack("planes")
    configure(world, stack, GOOD)
    first = stack.up()
    assert first.code == 0, first.output
    loads: dict[str, Load] = {}
    with contextlib.ExitStack() as running:
        for app, plane in PLANES.items():
            proxy = world.lab.traefik_url if plane.by_traefik else None
            loads[app] = running.enter_context(world.load(app, rate=RATE, apex=False, proxy=proxy))
        for app, load in loads.items():
            until(f"{app} answers", lambda load=load: any(not record.failed for record in load.records()))
        configure(world, stack, NEXT)
        good = stack.up()
        for load in loads.values():
            load.goes_on()
        stable = revisions(stack)
        configure(world, stack, THIRD, ERROR_RATE="0.5")
        bad = stack.up("--skip-preview", "--continue-on-error")
        after = revisions(stack)
        for load in loads.values():
            load.goes_on()
    yield Planes(world, good, bad, loads, stable, after)


every_plane = pytest.mark.parametrize("app", PLANES)


@every_plane
def test_a_good_release_loses_nothing(planes: Planes, app: str) -> None:
    assert planes.good.code == 0, planes.good.output
    sent = planes.loads[app].records(planes.good.began, planes.bad.began)
    assert [record for record in sent if record.failed] == []
    assert {record.version for record in sent if record.t > planes.good.ended + 0.5} == {NEXT}
    print(f"{app}: {len(sent):,} requests, none failed")


@every_plane
def test_the_weight_is_what_users_see(planes: Planes, app: str) -> None:
    began, ended = planes.step(app)
    seen = planes.loads[app].records(began, ended)
    share = sum(record.version == NEXT for record in seen) / len(seen)
    spread = max(0.015, 4.5 * sqrt(WEIGHT / 100 * (1 - WEIGHT / 100) / len(seen)))
    print(f"{app}: {share:.1%} of {len(seen)} requests at {WEIGHT} %")
    assert abs(share - WEIGHT / 100) <= spread


@every_plane
def test_a_bad_release_goes_back(planes: Planes, app: str) -> None:
    assert planes.bad.code != 0
    assert f"all traffic is back on {app}-{planes.stable[app]}" in diagnostics(planes.bad.output)
    assert planes.after[app] == planes.stable[app]
    failed = planes.loads[app].failed(planes.bad.began)
    assert {record.version for record in failed} <= {THIRD}
    late = planes.loads[app].records(planes.bad.ended)
    assert {record.version for record in late} == {NEXT}
    print(f"{app}: the bad version cost {len(failed)} requests")
