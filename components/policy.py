"""The canary policy as users write it in a program: plain data with helpful signatures.

Nothing is validated here: the Rollout's `check` does that, at preview, and reports mistakes as
property errors on the resource. Durations are strings with a unit: "500ms", "30s", "5m", "1h".
"""

from __future__ import annotations

from typing import Any

Policy = dict[str, Any]


def _given(**settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def canary(
    *,
    step_weight: int | None = None,
    max_weight: int | None = None,
    weights: list[int] | None = None,
    interval: str | None = None,
    max_wait: str | None = None,
    gates: list[Policy] | None = None,
    source: Policy | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    evidence: str | None = None,
    failures: str | None = None,
    min_samples: int | None = None,
    preparing: str | None = None,
    propagation: str | None = None,
    settle: str | None = None,
    drain: str | None = None,
    deadline: str | None = None,
    confirm_at: list[int] | None = None,
    on_wait: str | None = None,
    wait: str | None = None,
    on_failure: str | None = None,
    on_interrupted: str | None = None,
    on_locked: str | None = None,
    forbidden_commands: list[str] | None = None,
    guard: bool | None = None,
    guard_image: str | None = None,
    time_limit: str | None = None,
) -> Policy:
    """Stepwise weights, judged at every step; then the new version takes all traffic.

    + step_weight, max_weight: every 10 % up to 50 %, unless `weights` lists them
    + interval: the least a step lasts (30s); max_wait: the most (10m), then the walk reverts
    + gates: conditions such as `success_rate(...)`; source: for gates that name none
    + alpha: chance to revert a version that meets its objectives, over the whole rollout (0.005)
    + beta: chance to promote one that does not (0.05), kept under `evidence="required"`
    + evidence: "sufficient" (interval and min_samples are enough while no gate fails) or "required"
      (every gate must have shown that its objective is met)
    + failures: "independent" (each request fails on its own), "bursty" (many at once: judged by blocks of time,
      slower) or "auto" (as those of the old version are seen to come)
    + min_samples: canary requests that each step must see (50)
    + preparing: for pods to become ready (10m); propagation: for the proxy to take a change (60s)
    + settle: after each change (2s); drain: before the old version may go (15s)
    + deadline: for the whole rollout (1h)
    + confirm_at: weights at which somebody has to say `rollout promote` before it goes on; 0 is before
      the first request
    + on_wait: "wait" (a paused rollout waits for people without end) or "hold" (after `wait`, 0s, the
      update ends with an error, the weight stays, and the next update goes on)
    + on_failure: "revert" or "freeze" (a failed gate or deadline holds the weight for people to decide)
    + on_interrupted: a rollout that was cut off is taken up where it stood ("resume") or put back and
      begun anew ("restart")
    + on_locked: while somebody else releases the application, "refuse" or "wait"
    + forbidden_commands: what operators may not ask of it, as in ["promote-full", "set-weight"]
    + guard: a Job in the cluster puts the traffic back when this process is gone (True)
    + guard_image: another image for it, with a shell and kubectl, as in a registry of your own
    + time_limit: how long this process may run, as a CI job may; it puts the old version back in time
    """
    return {"canary": _given(**locals())}


def success_rate(*, min_percent: float, source: Policy | None = None) -> Policy:
    """At least this share of the canary's requests is answered without a server error (5xx)."""
    return {"success_rate": _given(min_percent=min_percent, source=source)}


def prometheus(address: str, *, proxy: str | None = None) -> Policy:
    """A Prometheus server. + proxy: whose series are read ("contour")"""
    return _given(prometheus=address, proxy=proxy)
