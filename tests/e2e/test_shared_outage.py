"""An outage that both versions share, seen as most clusters see it: by a Prometheus that scrapes every 15 seconds.

A lab of its own, as the scrapes are slow for all that is in it. For 60 seconds both versions fail 30 % of their
requests, with the README's gates; then both are well again. What users saw is the load generator's to say.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

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


@pytest.fixture
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    cluster.down(LAB)
    lab = cluster.up(LAB, scrape_seconds=SCRAPE_SECONDS)
    try:
        with World.open(lab, tmp_path_factory.mktemp("slow")) as opened:
            yield opened
    finally:
        cluster.down(LAB)


def test_a_shared_outage_aborts_nothing(slow: World) -> None:
    stack = slow.first_release(APP, slow.app(APP, GOOD, canary=CANARY))
    with slow.load(APP, apex=False) as load:
        time.sleep(2 * SCRAPE_SECONDS)  # until the proxy's series are there
        stack.configure(applications=slow.app(APP, NEXT, canary=CANARY))
        up = stack.start("up", "--yes", "--skip-preview", "--stack", APP)
        until("the canary has weight", lambda: slow.weight(APP))
        outage(slow, load)
        until("the outage is noticed and its end too", lambda: "holds no longer" in up.output, 180)
        result = up.wait()
    assert result.code == 0, result.output
    assert "success rate holds the weight: the old version fails the same test" in diagnostics(result.output)
    assert_the_weight_stood_still(slow, result)


def outage(world: World, load: Load) -> None:
    """Both versions fail 30 % of their requests, for a minute."""
    pods, began = world.pods(APP), time.time()
    assert len(pods) == 4
    for pod in pods:
        world.fault(pod, ERROR_RATE=0.3)
    time.sleep(OUTAGE_SECONDS)
    for pod in pods:
        world.fault(pod, ERROR_RATE=0.0)
    for version in (GOOD, NEXT):
        seen = [record for record in load.records(began, began + OUTAGE_SECONDS) if record.version == version]
        failed = sum(record.failed for record in seen)
        print(f"{version}: {failed:,} of {len(seen):,} failed in the outage")
        assert 0.2 < failed / len(seen) < 0.4


def assert_the_weight_stood_still(world: World, result: Result) -> None:
    """It rose before the outage and after it, and never fell until promotion."""
    weights = [weight for at, weight in world.history.weights(APP, result.began) if at < result.ended]
    assert weights == [0, 20, 50, 100, 0, None]
