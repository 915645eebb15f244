"""Fixtures of the tests that need no lab: a local Kubernetes API, and no waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pulumi_rollout import cluster, engine, provider
from pulumi_rollout.cluster import Cluster
from tests.fake_api import Direct, FakeApi
from tests.fake_app import FakeApp
from tests.fake_world import FakeEngine


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with FakeApi() as server:
        yield server


@pytest.fixture
def kube(api: FakeApi) -> Cluster:
    """A client of the local API."""
    return Cluster(api.kubeconfig())


@pytest.fixture
def direct(api: FakeApi) -> Direct:
    """A client of the same objects without a connection."""
    return Direct(api)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real retries without the pauses between them."""
    real = cluster._retries
    monkeypatch.setattr(cluster, "_retries", lambda total: real(total).new(backoff_factor=0.0))


@pytest.fixture(autouse=True)
def not_cancelled() -> Iterator[None]:
    """Each test begins with an update that nobody has cancelled."""
    engine._cancelled.clear()
    yield
    engine._cancelled.clear()


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The provider's line to the engine, with a clock that waiting moves on."""
    made = FakeEngine()
    monkeypatch.setattr(provider, "Engine", lambda urn: made)
    # The budget of requests is counted in real time, which this clock is not.
    monkeypatch.setattr(Cluster, "owed_seconds", lambda self: 0.0)
    return made


@pytest.fixture
def app(api: FakeApi, fake_engine: FakeEngine) -> FakeApp:
    """v1 serves, and v2 is there with one pod."""
    made = FakeApp(api)
    made.deploy("v1", 2)
    made.deploy("v2", 1)
    made.serve("v1")
    return made
