"""The Rollout resource: its type token, its inputs, and the provider that walks."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi import dynamic

from pulumi_rollout.inputs import TYPE
from pulumi_rollout.provider import RolloutProvider


class Rollout(dynamic.Resource, module="rollout", name="Rollout"):
    """One application's rollout. Inputs and outputs: docs/rollout.md.

    + serving_revision: output, the revision that has the traffic
    + outcome: output, what the last update came to
    """

    serving_revision: pulumi.Output[str]
    outcome: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        # Outputs that the provider sets must be named, or the SDK drops them.
        outputs = {"outcome": None, "plan": None, "serving_revision": None}
        # As an awaitable: an Output of the parent would make the Rollout depend on its parent's children.
        parent = opts.parent.urn.future() if opts.parent is not None else None
        urn = pulumi.create_urn(name, TYPE, parent=parent)  # type: ignore[arg-type]
        # A process of its own for each rollout: one process serves only 4 calls at a time, and Cancel
        # is one of them.
        process = pulumi.ProviderResource(
            "pulumi-python", f"{name}-rollout", {}, pulumi.ResourceOptions(parent=opts.parent)
        )
        merged = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(provider=process))
        super().__init__(RolloutProvider(), name, {**outputs, **props, "urn": urn}, merged)
