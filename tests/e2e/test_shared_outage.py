"""An outage that both versions share, seen as most clusters see it: by a Prometheus that scrapes every 15 seconds.

A lab of its own, as the scrapes are slow for all that is in it. For 60 seconds both versions fail 30 % of their
requests, with the README's gates; then both are well again. What users saw is the load generator's to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import cluster
from lab.stack import Result
from tests.e2e.world import GOOD, NEXT, Load, World, diagnostics, until

pytestmark = pytest.mark.lab
APP, LAB = "outage", "e2e-slow"
OUTAGE_SECONDS, SCRAPE_SECONDS = 60.0, 15.0
CANARY = {
    "weights": [20, 50],
    "interval": "15s",
    "minSamples": 20,
    "gates": [{"successRate": {"minPercent": 99}}, {"latency": {"percentile": 99, "max": "500ms"}}],
}


@dataclass(frozen=True)
class Outage:
    """What there was. + began: of the outage, Unix time; up: the release that it fell into"""

    world: World
    load: Load
    began: float
    up: Result


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    cluster.down(LAB)
    lab = cluster.up(LAB, scrape_seconds=SCRAPE_SECONDS)
    try:
        with World.open(lab, tmp_path_factory.mktemp(LAB)) as world:
            yield world
    finally:
        cluster.down(LAB)


@pytest.fixture(scope="module")
def outage(slow: World) -> Outage:
    stack = slow.first_release(APP, slow.app(APP, GOOD, canary=CANARY))
    with slow.load(APP, apex=False) as load:
        time.sleep(2 * SCRAPE_SECONDS)  # until the proxy's series are there
        stack.configure(applications=slow.app(APP, NEXT, canary=CANARY))
        up = stack.start("up", "--yes", "--skip-preview", "--stack", APP)
        until("the canary has weight", lambda: slow.weight(APP))
        began = time.time()
        make_ill(slow)
        until("the outage is noticed and its end too", lambda: "holds no longer" in up.output, 180)
        return Outage(slow, load, began, up.wait())


def make_ill(world: World) -> None:
    """Both versions fail 30 % of their requests, for a minute."""
    pods = world.pods(APP)
    assert len(pods) == 4
    for pod in pods:
        world.fault(pod, ERROR_RATE=0.3)
    time.sleep(OUTAGE_SECONDS)
    for pod in pods:
        world.fault(pod, ERROR_RATE=0.0)


@pytest.mark.parametrize("version", [GOOD, NEXT])
def test_both_versions_failed(outage: Outage, version: str) -> None:
    seen = outage.load.records(outage.began, outage.began + OUTAGE_SECONDS)
    answered = [record for record in seen if record.version == version]
    failed = sum(record.failed for record in answered)
    print(f"{version}: {failed:,} of {len(answered):,} failed in the outage")
    assert 0.2 < failed / len(answered) < 0.4


def test_nothing_was_aborted(outage: Outage) -> None:
    assert outage.up.code == 0, outage.up.output
    assert "success rate holds the weight: the old version fails the same test" in diagnostics(outage.up.output)


def test_the_weight_stood_still(outage: Outage) -> None:
    """It rose before the outage and after it, and never fell until promotion."""
    weights = [weight for at, weight in outage.world.history.weights(APP, outage.up.began) if at < outage.up.ended]
    assert weights == [0, 20, 50, 100, 0, None]
