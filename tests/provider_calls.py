"""The provider as the SDK's servicer calls it, on the application in the local API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pulumi_rollout.provider import RolloutProvider
from tests.fake_api import FakeApi
from tests.fake_app import ROUTE, SERVICES, FakeApp
from tests.fake_world import FakeEngine, Killed

PROVIDER = RolloutProvider()


def state_of(app: FakeApp, revision: str, /, **changes: Any) -> dict[str, Any]:
    """The outputs that the state holds after a release."""
    news = app.inputs(revision, **changes)
    return {**PROVIDER.check({}, news).inputs, "outcome": "serves"}


def checked(app: FakeApp, olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    result = PROVIDER.check(olds, news)
    assert result.failures == []
    return result.inputs


def failures(olds: dict[str, Any], news: dict[str, Any]) -> list[tuple[str, str]]:
    return [(failure.property, failure.reason) for failure in PROVIDER.check(olds, news).failures]


def traffic_writes(api: FakeApi) -> int:
    return len(api.writes(ROUTE)) + len(api.writes(f"{SERVICES}/shop"))


def at_20(app: FakeApp) -> bool:
    return app.backends.get("shop-v2") == 20


def at_apex(app: FakeApp) -> bool:
    return app.serving == "v2" and "shop-v2" in app.backends


def cut(app: FakeApp, engine: FakeEngine, when: Callable[[FakeApp], bool], revision: str = "v2") -> None:
    """Kill a walk at the first wait at which this holds."""
    real = engine.wait

    def wait(seconds: float) -> None:
        if when(app):
            raise Killed
        real(seconds)

    engine.wait = wait  # type: ignore[method-assign]
    with pytest.raises(Killed):
        PROVIDER.update("prod/shop", {}, app.inputs(revision))
    engine.wait = real  # type: ignore[method-assign]
    app.api.requests.clear()


def weights(api: FakeApi, canary: str) -> list[int | None]:
    """The shares that were written to the route, None once the canary was not listed."""
    found: list[int | None] = []
    for write in api.writes("/httproutes/"):
        refs = {ref["name"]: ref.get("weight") for ref in write.body["spec"]["rules"][0]["backendRefs"]}
        found.append(refs.get(canary))
    return found
