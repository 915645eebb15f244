"""What gates make of versions that are bad in other ways than by answering 5xx, under load.

One stack a story. The proxies and the pods are read directly. What users saw is the load generator's to say; when the
weight went back, the API server's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from lab.stack import Result, Stack
from tests.e2e.world import GOOD, NEXT, Load, Object, World, diagnostics, revisions, until

pytestmark = pytest.mark.lab
DIRECT = {"direct": "contour"}
PODS = {"direct": "app", "port": 9898}
SUCCESS = {"successRate": {"minPercent": 99}}
LATENCY = {"latency": {"percentile": 99, "max": "250ms"}}


@dataclass
class Released:
    """A release under load. + canary: its revision; back_at: when the route was given weight 0 again"""

    result: Result
    load: Load
    canary: str
    stable: str
    begun_at: float
    back_at: float | None

    @property
    def said(self) -> str:
        return diagnostics(self.result.output)


def begun(world: World, app: str, **canary: Any) -> Stack:
    """A stack with a first release."""
    return world.first_release(app, world.app(app, GOOD, canary=canary))


def settings(**changes: Any) -> dict[str, Any]:
    return {"weights": [20], "interval": "3s", "minSamples": 20, "source": DIRECT, "gates": [SUCCESS], **changes}


def released(world: World, app: str, canary: dict[str, Any], **env: str) -> Released:
    """A second release with this environment, under 100 requests a second."""
    stack = begun(world, app, **canary)
    stable = revisions(stack)[app]
    with world.load(app, apex=False) as load:
        stack.configure(applications=world.app(app, NEXT, env=env, canary=canary))
        result = stack.up()
        load.goes_on()
    return finished(world, app, stable, result, load)


def finished(world: World, app: str, stable: str, result: Result, load: Load) -> Released:
    weights = world.history.weights(app, result.began)
    begun_at = next(at for at, weight in weights if weight)
    back_at = next((at for at, weight in weights if weight == 0 and at > begun_at), None)
    names = [name for name in world.history.names("Deployment") if name[:-9] == app]
    canary = next(name[-8:] for name in names if name[-8:] != stable)
    return Released(result, load, canary, stable, begun_at, back_at)


def test_a_canary_that_hangs_is_reverted(world: World) -> None:
    """It accepts requests and never answers, probes excepted; the route has no timeout."""
    hung = released(world, "hangs", settings(interval="60s"), HANG="2")
    assert hung.result.code != 0
    assert "stalled: " in hung.said and "have not ended 10 s after their begin" in hung.said
    assert hung.back_at is not None
    seconds = hung.back_at - hung.begun_at
    print(
        f"weight back {seconds:.1f} s after the canary's first; {len(hung.load.failed()):,} requests without an answer"
    )
    assert seconds < 20
    late = hung.load.records(since=hung.back_at + 1)
    assert {(record.version, record.failed) for record in late} == {(GOOD, False)}


def test_a_slow_canary_is_reverted_by_its_latency(world: World) -> None:
    slow = released(world, "slow", settings(gates=[SUCCESS, LATENCY], interval="30s"), DELAY_SECONDS="0.4")
    assert slow.result.code != 0
    assert "canary requests took longer than 250 ms (100.00 %, limit 1 %)" in slow.said
    assert slow.load.failed() == [], "it answers, only late"
    mine = [record.seconds for record in slow.load.records() if record.version == NEXT]
    assert mine and min(mine) >= 0.4


def test_a_bound_that_the_histogram_does_not_have_is_refused_at_preview(world: World) -> None:
    stack = begun(world, "bounded", **settings())
    odd = [{"latency": {"percentile": 99, "max": "300ms"}}]
    with world.load("bounded", apex=False):
        stack.configure(applications=world.app("bounded", NEXT, canary=settings(gates=odd)))
        refused = until("the bounds are known", lambda: _refused(stack))
    assert "0.3 s is no bound of the histogram of contour; in seconds, there are: 0.0005, " in refused.output
    assert "0.25, 0.5, 1, " in refused.output


def _refused(stack: Stack) -> Result | None:
    result = stack.run("preview", "--stack", stack.name)
    return result if result.code != 0 else None


def test_one_bad_pod_is_replaced_and_the_version_judged_once_more(world: World) -> None:
    """One pod of three fails half of its requests; the next one in its place does not."""
    canary = settings(source=PODS, weights=[50], interval="8s")
    stack = begun(world, "spared", **canary)
    stable = revisions(stack)["spared"]
    with world.load("spared", apex=False) as load:
        stack.configure(applications=world.app("spared", NEXT, replicas=3, canary=canary))
        up = stack.start("up", "--yes", "--skip-preview", "--stack", "spared")
        bad = first_pod_under_traffic(world, "spared", stable)
        until("its other pods have requests too", lambda: len(load.met(NEXT)) >= 60)
        world.fault(bad, ERROR_RATE=0.5)
        result = up.wait()
    done = finished(world, "spared", stable, result, load)
    assert result.code == 0, result.output
    assert f"replacing pod {bad['metadata']['name']}, which alone fails" in done.said
    assert bad["metadata"]["name"] not in [pod["metadata"]["name"] for pod in world.pods("spared")]
    print(f"{len(load.failed())} requests failed at the bad pod")


def first_pod_under_traffic(world: World, app: str, stable: str) -> Object:
    """A pod of the new version, once it has weight."""
    until("the canary has weight", lambda: world.weight(app))
    return next(pod for pod in world.pods(app) if pod["metadata"]["labels"]["pulumi-rollout/revision"] != stable)


def test_a_second_crash_is_not_forgiven(world: World) -> None:
    """Containers that crash under traffic need no bad request to be seen."""
    canary = settings(interval="40s", gates=[])
    stack = begun(world, "crashes", **canary)
    stable = revisions(stack)["crashes"]
    with world.load("crashes", apex=False) as load:
        stack.configure(applications=world.app("crashes", NEXT, canary=canary))
        up = stack.start("up", "--yes", "--skip-preview", "--stack", "crashes")
        world.fault(first_pod_under_traffic(world, "crashes", stable), CRASH_AFTER_SECONDS=0.1)
        until("the pod is replaced", lambda: "which alone fails" in up.output)
        until("another one is ready", lambda: len(ready(world, "crashes", stable)) == 2)
        for pod in ready(world, "crashes", stable):
            world.fault(pod, CRASH_AFTER_SECONDS=0.1)
        result = up.wait()
    done = finished(world, "crashes", stable, result, load)
    assert result.code != 0
    assert "restarts: the new version's pod crashes-" in done.said or "no ready pod" in done.said
    assert world.weight("crashes") is None


def ready(world: World, app: str, stable: str) -> list[Object]:
    """The new version's ready pods."""
    return [
        pod
        for pod in world.pods(app)
        if pod["metadata"]["labels"]["pulumi-rollout/revision"] != stable
        and all(one.get("ready") for one in pod["status"].get("containerStatuses", [{}]))
    ]


def test_a_bad_canary_costs_few_requests_when_the_proxies_are_read_directly(world: World) -> None:
    """The README's gates and defaults: bench.revert has the median and the 95th percentile of 20 runs."""
    gates = [SUCCESS, {"latency": {"percentile": 99, "max": "500ms"}}]
    readme = {"weights": [10, 20], "interval": "30s", "gates": gates, "warmUp": "60s", "warmUpStep": "15s"}
    bad = released(world, "readme", {**settings(), **readme}, ERROR_RATE="0.3")
    assert bad.result.code != 0
    assert "while it warms up" in bad.said
    failed = bad.load.failed()
    assert {record.version for record in failed} == {NEXT}
    print(f"{len(failed)} requests failed; weight back {(bad.back_at or 0) - bad.begun_at:.1f} s after the first")
    assert len(failed) <= 3 * 8, "three times the median that bench.revert shows"
