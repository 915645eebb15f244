"""Applications from the stack's configuration, and the program that this repository is."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import get_root_resource

from components import Autoscaling, GatewayRoute
from components.secrets import Secret
from components.settings import ROUTES, applications
from tests.components.declared import (
    CLUSTER,
    DEPLOYMENT,
    ROLLOUT,
    ROUTE,
    SECRET,
    SERVICE,
    SERVING,
    Declared,
    Hidden,
    declare,
)

ROOT = Path(__file__).resolve().parents[2]
SHOP: dict[str, Any] = {
    "image": "ghcr.io/acme/shop:1.0",
    "port": 9898,
    "routing": {"gateway": {"hosts": ["shop.example.com"], "gateway": "infra/public"}},
    "rollout": {"canary": {"stepWeight": 20}},
}


def config(shop: dict[str, Any] | None = None, **others: Any) -> dict[str, str]:
    values = {"applications": {"shop": shop or SHOP}, **others}
    return {f"rollouts:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def read(settings: dict[str, str]) -> dict[str, dict[str, Any]]:
    found: list[dict[str, dict[str, Any]]] = []
    declare(lambda: found.append(applications(pulumi.Config())), config=settings)
    return found[0]


def test_the_least_that_can_be_written() -> None:
    [(name, arguments)] = read(config()).items()
    assert name == "shop"
    assert arguments["routing"] == GatewayRoute(hosts=["shop.example.com"], gateway="infra/public")
    assert (arguments["image"], arguments["port"], arguments["replicas"]) == (SHOP["image"], 9898, 2)
    assert arguments["rollout"] == {"canary": {"stepWeight": 20}}, "as written: the Rollout's check validates it"
    assert (arguments["secrets"], arguments["autoscaling"], arguments["retry"]) == ({}, None, "")


def test_a_traffic_policy_is_as_deep_as_istios() -> None:
    policy = {
        "loadBalancer": {"consistentHash": {"httpCookie": {"name": "user", "ttl": "0s"}}},
        "connectionPool": {"tcp": {"maxConnections": 100, "tcpKeepalive": {"time": "7200s"}}},
        "tls": {"mode": "SIMPLE", "subjectAltNames": ["shop.example.com"]},
        "portLevelSettings": [{"port": {"number": 80}, "outlierDetection": {"consecutive5xxErrors": 7}}],
    }
    routing = {"istio": {"hosts": ["shop.example.com"], "trafficPolicy": policy}}
    [(_, arguments)] = read(config({**SHOP, "routing": routing})).items()
    rule, _ = arguments["routing"].objects("shop", "prod", 9898)
    assert rule["spec"]["trafficPolicy"] == policy


def test_camel_case_becomes_the_applications_arguments() -> None:
    gateway = {**SHOP["routing"]["gateway"], "requestTimeout": "60s"}
    written = {
        **SHOP,
        "readinessPath": "/readyz",
        "autoscaling": {"minReplicas": 2, "maxReplicas": 9, "cpuPercent": 60},
        "env": {"A": "1"},
        "configs": {"B": "2"},
        "namespace": "prod",
        "retry": "again",
        "adopt": "web",
        "routing": {"gateway": gateway},
    }
    arguments = read(config(written))["shop"]
    assert arguments["readiness_path"] == "/readyz"
    assert arguments["autoscaling"] == Autoscaling(2, 9, cpu_percent=60)
    assert (arguments["env"], arguments["configs"]) == ({"A": "1"}, {"B": "2"})
    assert (arguments["namespace"], arguments["retry"]) == ("prod", "again")
    assert arguments["routing"].request_timeout == "60s"
    assert arguments["adopt"] == "web"


def test_credentials_are_keys_of_the_stacks_secrets() -> None:
    written = config({**SHOP, "credentials": {"prom": "prometheusToken"}})
    arguments = read({**written, "rollouts:prometheusToken": "hidden-token"})["shop"]
    assert arguments["credentials"] == {"prom": Secret("hidden-token")}
    with pytest.raises(pulumi.RunError, match="the stack has no secret prometheusToken: set it with"):
        read(written)


def test_a_secret_among_the_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi hands it out in plain, and nobody would mark it again."""
    monkeypatch.setattr(pulumi.runtime, "is_config_secret", lambda key: key == "rollouts:applications")
    with pytest.raises(pulumi.RunError, match="rollouts:applications holds a secret"):
        read(config())


def test_secrets_are_each_applications_own() -> None:
    settings = config(secrets={"shop": {"TOKEN": "hidden-token"}})
    assert read(settings)["shop"]["secrets"] == {"TOKEN": Secret("hidden-token")}


ROUTING = SHOP["routing"]
SECRETS = (
    "rollouts:secrets is no mapping of applications to their secret strings: set each with "
    "`pulumi config set --secret --path 'rollouts:secrets.<application>.<KEY>'`"
)
REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "no applications": (
        {},
        "rollouts:applications is empty: name at least one application (README, From a stack file alone)",
    ),
    "a list of applications": (
        config(applications=[SHOP]),
        "rollouts:applications is no mapping of names to applications (README, From a stack file alone)",
    ),
    "an unknown key": (
        config({**SHOP, "imagee": "x:1"}),
        "applications.shop.imagee: there is no setting of the name imagee",
    ),
    "an unknown key deep inside": (
        config({**SHOP, "routing": {"gateway": {**ROUTING["gateway"], "host": "x"}}}),
        "applications.shop.routing.gateway.host: there is no setting of the name host",
    ),
    "an unknown route": (
        config({**SHOP, "routing": {"ingress": {}}}),
        f"applications.shop.routing: there is no route ingress; there are: {', '.join(ROUTES)}",
    ),
    "two routes": (
        config({**SHOP, "routing": {**ROUTING, "ingress": {}}}),
        f"applications.shop.routing: names exactly one kind of route; there are: {', '.join(ROUTES)}",
    ),
    "two mistakes": (
        config({**SHOP, "port": "web", "replica": 3}),
        "applications.shop.port: input should be a valid integer, unable to parse string as an integer, not 'web'; "
        "applications.shop.replica: there is no setting of the name replica",
    ),
    "a minimum above the maximum": (
        config({**SHOP, "autoscaling": {"minReplicas": 5, "maxReplicas": 2}}),
        "applications.shop.autoscaling: minReplicas 5 is above maxReplicas 2: raise the second",
    ),
    "one host": (
        config({**SHOP, "routing": {"gateway": {**ROUTING["gateway"], "hosts": "shop.example.com"}}}),
        "applications.shop.routing.gateway.hosts: is a list: write ['shop.example.com'], not 'shop.example.com'",
    ),
    "a secret of no application": (
        config(secrets={"shopp": {"TOKEN": "hidden-token"}}),
        "rollouts:secrets names shopp, which is not one of rollouts:applications",
    ),
    "secrets that are no mapping": (config(secrets={"shop": "hidden-token"}), SECRETS),
    "secrets that are no strings": (config(secrets={"shop": {"TOKEN": {"hidden-token": 1}}}), SECRETS),
    "secrets that are no JSON": (config(secrets="hidden-token"), SECRETS),
    "applications that are no JSON": (
        {"rollouts:applications": "shop"},
        "Configuration 'rollouts:applications' value 'shop' is not a valid 'JSON object'",
    ),
}


@pytest.mark.parametrize(("settings", "sentence"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_said_in_a_sentence(settings: dict[str, str], sentence: str) -> None:
    """A RunError is shown without a traceback."""
    with pytest.raises(pulumi.RunError) as caught:
        read(settings)
    assert str(caught.value) == sentence
    assert "hidden-token" not in sentence


def test_what_is_missing_is_named() -> None:
    with pytest.raises(pulumi.RunError, match=r"^applications\.shop\.port: is missing"):
        read(config({key: value for key, value in SHOP.items() if key != "port"}))


# The program.


def run_main() -> Any:
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
    root: Any = get_root_resource()
    return root.outputs


def main(settings: dict[str, str]) -> Declared:
    return declare(run_main, config=settings)


def test_the_program_declares_each_application_and_exports_what_serves() -> None:
    both = {"shop": SHOP, "cart": {**SHOP, "image": "cart:2", "namespace": "prod"}}
    declared = main(config(applications=both, secrets={"cart": {"TOKEN": "hidden"}}))
    assert sorted(item.name for item in declared.all_of(ROLLOUT)) == ["cart", "shop"]
    assert len(declared.all_of(DEPLOYMENT)) == len(declared.all_of(ROUTE)) == 2
    assert declared.outputs == {"serving": {"shop": SERVING, "cart": SERVING}}
    assert declared.of(SECRET).inputs["metadata"]["namespace"] == "prod"


def test_the_program_passes_the_cluster_on() -> None:
    declared = main({**config(), "rollouts:kubeconfig": "hidden-kubeconfig", "rollouts:context": "blue"})
    assert declared.of(CLUSTER).inputs["kubeconfig"] == Hidden("hidden-kubeconfig")
    assert declared.of(ROLLOUT).inputs["cluster"] == {"kubeconfig": Hidden("hidden-kubeconfig"), "context": "blue"}


def test_the_example_stack_is_one_that_the_program_takes() -> None:
    written = yaml.safe_load((ROOT / "stacks" / "Pulumi.demo.yaml").read_text())["config"]
    settings = {key: json.dumps(value) if isinstance(value, dict) else str(value) for key, value in written.items()}
    declared = main(settings)
    assert [item.name for item in declared.all_of(ROLLOUT)] == ["podinfo"]
    assert declared.of(SERVICE, "podinfo").inputs["spec"]["ports"] == [{"port": 9898, "targetPort": 9898}]


def test_an_empty_stack_declares_nothing() -> None:
    with pytest.raises(pulumi.RunError):
        main({})
