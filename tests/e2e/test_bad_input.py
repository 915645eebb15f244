"""What is wrong before anything moves is said by `preview`, in plain words.

An application that is released already gets one bad change after the other, always together with a
new image, and nothing in the cluster may notice. (Pods that never get ready: test_failing.py. The
table of all errors: tests/test_errors.py.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from lab.stack import Result, Stack
from tests.e2e.stub import EMPTY_PROMETHEUS, Stub, serving
from tests.e2e.world import GOOD, NEXT, World, diagnostics, summary

pytestmark = pytest.mark.lab
APP = "input"
GATES = [{"successRate": {"minPercent": 99}}]
UNREACHABLE = "http://127.0.0.1:1"
CONTAINER = {"name": "app", "image": "podinfo", "ports": [{"containerPort": 9898, "hostPort": 9898}]}


@dataclass(frozen=True)
class Mistake:
    """A change of the application's settings, and what has to be said of it."""

    said: tuple[str, ...]
    changes: dict[str, Any]


def mistakes(empty: Stub) -> dict[str, Mistake]:
    """By name. `empty` is a Prometheus without series."""

    def canary(*said: str, prometheus: str | None = None, **settings: Any) -> Mistake:
        source = {"source": {"prometheus": prometheus}} if prometheus else {}
        return Mistake(said, {"canary": {**settings, **source}})

    return {
        "duration": canary("policy.canary.interval", "a duration needs a number and a unit", interval="30"),
        "weights": canary("weights must rise from step to step, but 20 follows 50", weights=[50, 20]),
        "gate": canary("policy.canary.gates.0", "there is no gate sucessRate", gates=[{"sucessRate": {}}]),
        "metrics": canary("policy", f"{UNREACHABLE}", prometheus=UNREACHABLE, gates=GATES),
        "series": canary(f"{empty.url} has no series of contour", prometheus=empty.url, gates=GATES),
        "pods": Mistake(
            ("podinfo has no tag", "hostPort 9898 can be taken by one version only"),
            {"podTemplate": {"spec": {"containers": [CONTAINER]}}, "image": None, "readinessPath": None},
        ),
        "namespace": Mistake(("changes from default to infra together with the revision",), {"namespace": "infra"}),
        "router": Mistake(
            ("routing: there is no route gatway; there are: gateway, contour, traefik, ",), {"routing": {"gatway": {}}}
        ),
        "cluster": Mistake((), {}),
    }


@dataclass
class Previewed:
    """The previews by name, what was written meanwhile, and the preview of a first release."""

    expected: dict[str, Mistake]
    results: dict[str, Result]
    written: set[tuple[str, str]]
    first: Result


def previewing(world: World, stack: Stack) -> Callable[[str, Mistake], Result]:
    """A preview of the settings with a mistake, from a configuration file of its own."""
    good = yaml.safe_load((stack.directory / "stacks" / "Pulumi.input.yaml").read_text())
    nowhere = stack.directory / "kubeconfig"
    content = (world.lab.kubeconfig).read_text()
    nowhere.write_text(re.sub(r"server: .*", "server: https://127.0.0.1:1", content))

    def preview(name: str, mistake: Mistake) -> Result:
        applications = world.app(APP, NEXT, **mistake.changes)
        if "source" in mistake.changes.get("canary", {}):
            applications[APP]["rollout"]["canary"]["source"] = mistake.changes["canary"]["source"]
        file = stack.directory / f"{name}.yaml"
        file.write_text(yaml.safe_dump({**good, "config": {"rollouts:applications": applications}}))
        elsewhere = {"KUBECONFIG": str(nowhere)} if name == "cluster" else {}
        return stack.start("preview", "--stack", "input", "--config-file", str(file), **elsewhere).wait()

    return preview


@pytest.fixture(scope="module")
def previewed(world: World) -> Previewed:
    stack = world.first_release("input", world.app(APP, GOOD))
    before = world.versions(APP)
    with serving(world.lab, lambda path: EMPTY_PROMETHEUS) as empty, ThreadPoolExecutor(2) as pool:
        expected = mistakes(empty)
        unmeasured = pool.submit(first_preview, world)
        results = dict(zip(expected, pool.map(previewing(world, stack), expected, expected.values()), strict=True))
    written = set(world.versions(APP).items()) ^ set(before.items())
    return Previewed(expected, results, written, unmeasured.result())


def first_preview(world: World) -> Result:
    """Of an application that is to be judged by a metrics server that does not answer."""
    stack = world.stack("unmeasured")
    applications = world.app("unmeasured", GOOD, canary={"gates": GATES})
    applications["unmeasured"]["rollout"]["canary"]["source"] = {"prometheus": UNREACHABLE}
    stack.configure(applications=applications)
    return stack.run("preview", "--stack", "unmeasured")


@pytest.mark.parametrize("name", mistakes(Stub("http://nowhere")))
def test_mistake_is_named(previewed: Previewed, name: str) -> None:
    result = previewed.results[name]
    print(f"--- {name}\n{diagnostics(result.output)}")
    assert result.code != 0, result.output
    assert "Traceback" not in result.output
    for said in previewed.expected[name].said:
        assert said in diagnostics(result.output)


def test_nothing_has_changed(previewed: Previewed) -> None:
    assert previewed.written == set()


def test_first_release_without_metrics_is_warned_of(previewed: Previewed) -> None:
    """There is nothing to walk yet, so it is no error; but the next release would have to be judged."""
    result = previewed.first
    assert result.code == 0, result.output
    of_rollout = diagnostics(result.output).partition("Rollout (unmeasured):")[2].partition("\n\n")[0]
    assert of_rollout.count("warning: ") == of_rollout.count(UNREACHABLE) == 2, result.output
    assert "gate success_rate: " in of_rollout and "gate stalled: " in of_rollout
    assert summary(result.output) == {"to create": 11}
