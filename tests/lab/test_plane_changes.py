"""What a change of weights costs under load, how long it takes, and whether the object's status tells.

Lives here: a backend that enters at weight 0, gets all traffic, loses it and leaves, on each data plane. The
figures in docs/routers.md are printed by this test (`pytest -s`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import cluster, load, traefik
from tests.lab.inside import Json
from tests.lab.plane_world import NEW, OLD, World, eventually
from tests.lab.planes import PLANES, Plane

RATE = 100
STEP_SECONDS = 4.0
# The kinds whose status says for which generation it speaks.
TELLS = {"HTTPProxy", "HTTPRoute"}


@dataclass(frozen=True)
class Change:
    """One write. + told_seconds: until the status spoke of it; first, last: until the first answer of the version
    that was to get the traffic, and the last one of the other"""

    name: str
    at: float
    told_seconds: float | None
    first_seconds: float | None = None
    last_seconds: float | None = None


@pytest.fixture(scope="module")
def world(whole: cluster.Lab) -> World:
    traefik.add(whole)
    return World(whole)


def generations(status: Any) -> list[int]:
    """Every observedGeneration in a status, in whatever depth."""
    if isinstance(status, dict):
        found = [int(status["observedGeneration"])] if "observedGeneration" in status else []
        return found + [one for value in status.values() for one in generations(value)]
    return [one for value in status for one in generations(value)] if isinstance(status, list) else []


def told(world: World, manifest: Json, began: float) -> float | None:
    """Seconds until the object's status speaks of its present generation; None if it does not within 2 s."""
    while time.time() - began < 2:
        live = world.get(manifest)
        if live["metadata"]["generation"] in generations(live.get("status")):
            return time.time() - began
        time.sleep(0.01)
    return None


def change(world: World, name: str, manifests: list[Json], gone: list[Json]) -> Change:
    """Write, delete what is not listed any more, and give the proxy its time."""
    began = time.time()
    world.apply(*manifests)
    world.remove(*gone)
    seconds = told(world, manifests[0], began)
    time.sleep(max(0.0, STEP_SECONDS - (time.time() - began)))
    return Change(name, began, seconds)


def seen(made: Change, records: list[load.Record], wanted: str) -> Change:
    """The change with what its users saw of it."""
    during = [record for record in records if 0 <= record.t - made.at < STEP_SECONDS]
    ours = [record.t - made.at for record in during if record.version == wanted]
    others = [record.t - made.at for record in during if record.version != wanted]
    return Change(made.name, made.at, made.told_seconds, min(ours, default=None), max(others, default=None))


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


@pytest.mark.lab
@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_a_backend_enters_gets_all_and_leaves_without_a_failed_request(
    world: World, tmp_path: Path, plane: Plane
) -> None:
    host = f"changes-{plane.key}.example.com"
    at_rest, entered = plane.objects(host), plane.weighted(host, 0)
    world.apply(*at_rest)
    eventually(lambda: world.versions(plane, host).keys() == {OLD})
    names = {manifest["metadata"]["name"] for manifest in at_rest}
    extra = [manifest for manifest in entered if manifest["metadata"]["name"] not in names]
    target = f"a={world.url(plane)}/,host={host}"
    with load.running(world.lab.command(), tmp_path / "out", [target], rate=RATE) as out:
        changes = [
            change(world, "enters at 0", entered, []),
            change(world, "raised to 100", plane.weighted(host, 100), []),
            change(world, "lowered to 0", entered, []),
            change(world, "leaves", at_rest, extra),
        ]
    world.remove(*at_rest)
    records = load.read(out)
    enters, raised, lowered, leaves = changes
    found = [enters, seen(raised, records, NEW), seen(lowered, records, OLD), leaves]
    failed = [record for record in records if record.failed]
    print(f"\n{plane.name}: {len(failed)} of {len(records)} requests failed")
    for one in found:
        shown = (milliseconds(value) for value in (one.told_seconds, one.first_seconds, one.last_seconds))
        print("  {}: told after {}, first answer {}, last of the other {}".format(one.name, *shown))
    assert failed == []
    tells = at_rest[0]["kind"] in TELLS
    assert all((one.told_seconds is not None) == tells for one in found)
    for one in found[1:3]:
        assert one.first_seconds is not None
        assert (one.last_seconds or 0) < 3.5, "the share had not changed whole when the next step began"
