"""What docs/rbac.yaml allows is enough for a release: by the requests that it makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pulumi_rollout.errors import RolloutFailed
from tests.fake_api import FakeApi, Request
from tests.fake_app import FakeApp
from tests.fake_world import FakeEngine
from tests.provider_calls import PROVIDER, state_of
from tests.release_calls import Up, guards_run

ROLE = yaml.safe_load((Path(__file__).parents[1] / "docs" / "rbac.yaml").read_text())
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def wanted(request: Request) -> tuple[str, str, str] | None:
    """API group, resource and verb, as the cluster authorizes a request; None for discovery."""
    found = re.fullmatch(
        r"/(?:api|apis/([^/]+))/[^/]+/namespaces/[^/]+/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?", request.path
    )
    if found is None:
        return None
    group, resource, name, below = found.groups()
    verb = VERBS.get(request.method) or ("get" if name else "list")
    return group or "", f"{resource}/{below}" if below else resource, verb


def allows(group: str, resource: str, verb: str, role: dict[str, Any] = ROLE) -> bool:
    return any(
        group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] for rule in role["rules"]
    )


def lose_pods(app: FakeApp) -> None:
    app.broken.add("v3")
    app.react()


@pytest.fixture
def asked(app: FakeApp, api: FakeApi, fake_engine: FakeEngine) -> set[tuple[str, str, str]]:
    """What all of this asks for: releases with a guard and an autoscaler, a bad pod, a version that is put back, and
    what a preview and the end of an application need."""
    up, slowly = Up(app, fake_engine), {"interval": "10s", "guard": True}
    guards_run(app)
    app.autoscale("v1", 1)
    app.autoscale("v2", 1)
    for name in ("shop-v2-a", "shop-v2-b"):
        app.pod(name, "v2")
    up.when(up.at(20), lambda: app.pod("shop-v2-a", "v2", restarts=1))
    up(settings=slowly)
    app.deploy("v3")
    up.when(lambda: app.backends.get("shop-v3") == 20, lambda: lose_pods(app))
    with pytest.raises(RolloutFailed):
        up("v3", settings=slowly)
    PROVIDER.check(state_of(app, "v2"), app.inputs("v3"))
    PROVIDER.delete("prod/shop", state_of(app, "v2"))
    return {found for request in api.requests if (found := wanted(request)) is not None}


def refused(asked: set[tuple[str, str, str]], role: dict[str, Any] = ROLE) -> set[tuple[str, str, str]]:
    return {one for one in asked if not allows(*one, role)}


def test_a_release_asks_for_nothing_that_the_role_does_not_allow(asked: set[tuple[str, str, str]]) -> None:
    assert refused(asked) == set()
    assert {("", "pods", "delete"), ("batch", "jobs", "create"), ("apps", "deployments/scale", "patch")} <= asked


@pytest.mark.parametrize("verb", ["get", "list", "create", "update", "patch", "delete"])
def test_without_one_of_its_verbs_it_would_be_refused(asked: set[tuple[str, str, str]], verb: str) -> None:
    rules = [{**rule, "verbs": [one for one in rule["verbs"] if one != verb]} for rule in ROLE["rules"]]
    assert refused(asked, {"rules": rules})


def test_the_binding_is_of_that_role() -> None:
    binding = yaml.safe_load((Path(__file__).parents[1] / "docs" / "rbac-binding.yaml").read_text())
    group = "rbac.authorization.k8s.io"
    assert binding["roleRef"] == {"apiGroup": group, "kind": "Role", "name": ROLE["metadata"]["name"]}
    assert (binding["apiVersion"], binding["kind"]) == (f"{group}/v1", "RoleBinding")
    [subject] = binding["subjects"]
    assert {"kind": "ServiceAccount"}.items() <= subject.items()
    assert all(subject[name].startswith("REPLACE-WITH-") for name in ("name", "namespace"))
