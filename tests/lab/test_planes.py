"""What the lab's data planes can do, asked of each by real traffic: the table of docs/routers.md.

Lives here: weights, one probe for each column of the table, and what of one route is felt by another. What a
change of weights costs is tests/lab/test_plane_changes.py's.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from lab import cluster, traefik
from tests.lab.inside import Json
from tests.lab.plane_world import NEW, OLD, World, eventually
from tests.lab.planes import APEX, CANARY, COOKIE, HEADER, NGINX, PLANES, TRAEFIK, Plane

DOCS = Path(__file__).resolve().parents[2] / "docs" / "routers.md"
USERS = 12
NEVER_SECONDS = 6
"""How long a proxy is given for what it cannot do; what it can do is seen within 3 s."""
Put = Callable[..., None]
planes = pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)


@pytest.fixture(scope="module")
def world(whole: cluster.Lab) -> World:
    traefik.add(whole)
    return World(whole)


@pytest.fixture
def put(world: World) -> Iterator[Put]:
    """A way to have these objects until the test is over."""
    there: list[Json] = []

    def work(*manifests: Json) -> None:
        world.apply(*manifests)
        there.extend(manifest for manifest in manifests if manifest not in there)

    yield work
    named = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in there}
    world.remove(*named.values())


def share_is(seen: Counter[Any], percent: int) -> bool:
    """Within 4.5 standard deviations or 1.5 points, and exact at the ends."""
    total, share = seen.total(), percent / 100
    if percent in (0, 100):
        return seen == Counter({NEW if percent else OLD: total})
    allowed = max(4.5 * (total * share * (1 - share)) ** 0.5, 0.015 * total)
    return seen.keys() == {OLD, NEW} and abs(seen[NEW] - share * total) <= allowed


@pytest.mark.lab
@planes
def test_weights(world: World, put: Put, plane: Plane) -> None:
    host = f"weights-{plane.key}.example.com"
    put(*plane.objects(host))
    eventually(lambda: share_is(world.versions(plane, host), 0))
    for percent in (0, 30, 100, 0):
        put(*plane.weighted(host, percent))
        eventually(lambda percent=percent: share_is(world.versions(plane, host, 60), percent))  # type: ignore[misc]
        assert share_is(seen := world.versions(plane, host, 300), percent), seen


# One probe a column: whether traffic is as its objects ask for.


def by_header(world: World, plane: Plane, host: str) -> bool:
    with_it, without = world.versions(plane, host, headers=dict([HEADER])), world.versions(plane, host)
    return share_is(with_it, 100) and share_is(without, 0)


def by_cookie(world: World, plane: Plane, host: str) -> bool:
    """Among other cookies, as browsers send them."""
    among, others = f"theme=dark; {COOKIE[0]}={COOKIE[1]}; other=1", "theme=dark; other=1"
    with_it = world.versions(plane, host, headers={"Cookie": among})
    return share_is(with_it, 100) and share_is(world.versions(plane, host, headers={"Cookie": others}), 0)


def mirrored(world: World, plane: Plane, host: str) -> bool:
    """All answers are the old version's, and each request reaches the new one too."""
    before = world.counted(CANARY)
    if not share_is(world.versions(plane, host, 20), 0):
        return False
    time.sleep(0.2)  # nobody waits for a mirror's answer
    return world.counted(CANARY) - before == 20


def tracked(world: World, plane: Plane, host: str) -> bool:
    """The new version's answers have the header, the old one's do not."""
    seen = Counter((answer.version, answer.track) for answer in world.ask(plane, host, 60))
    return seen.keys() == {(OLD, None), (NEW, "canary")}


def kept(world: World, plane: Plane, host: str) -> bool:
    """Each user meets the version again that he met first, and both versions have users."""
    firsts = world.ask(plane, host, USERS)
    if not all(first.cookies and first.version for first in firsts):
        return False
    later = [world.versions(plane, host, 8, {"Cookie": first.cookies}) for first in firsts]
    faithful = all(seen == Counter({first.version: 8}) for first, seen in zip(firsts, later, strict=True))
    return faithful and {first.version for first in firsts} == {OLD, NEW}


@dataclass(frozen=True)
class Column:
    """+ title: as in the table; objects: what asks a plane for it; probe: whether it does it"""

    title: str
    objects: Callable[[Plane, str], list[Json]]
    probe: Callable[[World, Plane, str], bool]


COLUMNS = {
    "header": Column("header match", lambda plane, host: plane.header(host), by_header),
    "cookie": Column("cookie match", lambda plane, host: plane.cookie(host), by_cookie),
    "mirror": Column("mirroring", lambda plane, host: plane.mirror(host), mirrored),
    "response-header": Column(
        "response header of one backend", lambda plane, host: plane.response_header(host), tracked
    ),
    "affinity": Column("affinity across versions", lambda plane, host: plane.affinity(host), kept),
}
CANNOT = {
    ("contour", "affinity"),
    ("gateway-contour", "affinity"),
    ("gateway-traefik", "affinity"),
    ("gateway-traefik", "mirror"),
    ("nginx", "mirror"),
    ("nginx", "response-header"),
}


@pytest.mark.lab
@planes
@pytest.mark.parametrize("column", COLUMNS)
def test_what_a_plane_can_do(world: World, put: Put, plane: Plane, column: str) -> None:
    host = f"{column}-{plane.key}.example.com"
    put(*COLUMNS[column].objects(plane, host))
    if (plane.key, column) not in CANNOT:
        eventually(lambda: COLUMNS[column].probe(world, plane, host))
        return
    deadline = time.monotonic() + NEVER_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):  # Envoy listens from its first route on
            assert not COLUMNS[column].probe(world, plane, host), f"{plane.name} can: docs/routers.md is old"
        time.sleep(0.3)


def test_the_table_in_the_docs_is_what_is_tested() -> None:
    text = DOCS.read_text().partition("## What the data planes can do")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[0] == ["data plane", *(column.title for column in COLUMNS.values())]
    shown = {row[0]: [cell.partition(" ")[0].strip(",;") for cell in row[1:]] for row in rows[2 : 2 + len(PLANES)]}
    assert shown == {
        plane.name: ["no" if (plane.key, column) in CANNOT else "yes" for column in COLUMNS]
        for plane in PLANES.values()
    }


# What of one route is felt by another.


@pytest.mark.lab
@pytest.mark.parametrize("plane", [TRAEFIK, PLANES["gateway-traefik"]], ids=["traefik", "gateway-traefik"])
def test_traefik_keeps_a_backends_header_with_its_service(world: World, put: Put, plane: Plane) -> None:
    """Two routes to the same Service have it both, or neither: which one is read last is chance."""
    plain, tracking = f"plain-{plane.key}.example.com", f"tracking-{plane.key}.example.com"
    put(*plane.weighted(plain, 50), *plane.response_header(tracking))
    eventually(lambda: all(share_is(world.versions(plane, host, 60), 50) for host in (plain, tracking)))
    time.sleep(2.5)  # one more change that it may still have to take
    assert tracked(world, plane, tracking) == tracked(world, plane, plain)


@pytest.mark.lab
def test_a_canary_ingress_takes_its_share_of_every_host_of_its_main_service(world: World, put: Put) -> None:
    put(*NGINX.weighted("first-nginx.example.com", 30), *NGINX.objects("second-nginx.example.com"))
    eventually(lambda: share_is(world.versions(NGINX, "second-nginx.example.com", 60), 30))


@pytest.mark.lab
@planes
def test_a_backend_without_pods_costs_its_share_or_nothing(world: World, put: Put, plane: Plane) -> None:
    host = f"empty-{plane.key}.example.com"
    put(*plane.weighted(host, 30))
    eventually(lambda: share_is(world.versions(plane, host, 60), 30))
    with world.without_pods(CANARY):
        # Not the first answers without it: those may have met the change itself.
        eventually(lambda: world.versions(plane, host, 60)[NEW] == 0)
        lost = world.versions(plane, host, 100)
    print(f"{plane.name}: {lost}")
    if plane.key == "nginx":
        assert lost == Counter({OLD: 100}), "the main Service answers for it"
    else:
        assert share_is(Counter({OLD: lost[OLD], NEW: lost[None]}), 30)
    assert world.counted(APEX)


@pytest.mark.lab
def test_without_allow_empty_services_a_traefik_service_needs_pods_behind_all_its_backends(
    world: World, put: Put
) -> None:
    """Traefik's own default, and not that of its Helm chart, which the lab has."""
    host = "strict-traefik.example.com"
    put(*TRAEFIK.weighted(host, 0))
    eventually(lambda: share_is(world.versions(TRAEFIK, host), 0))
    with world.traefik_without("--providers.kubernetescrd.allowemptyservices=true"), world.without_pods(CANARY):
        eventually(lambda: world.statuses(TRAEFIK, host).keys() == {404})
    eventually(lambda: share_is(world.versions(TRAEFIK, host), 0))
