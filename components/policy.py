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
    bake: str | None = None,
    gates: list[Policy] | None = None,
    default_gates: list[str] | None = None,
    source: Policy | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    evidence: str | None = None,
    failures: str | None = None,
    fix_forward: bool | None = None,
    min_samples: int | None = None,
    warm_up: str | None = None,
    warm_up_step: str | None = None,
    no_data_hold: str | None = None,
    no_data_revert: str | None = None,
    outage: str | None = None,
    preparing: str | None = None,
    propagation: str | None = None,
    settle: str | None = None,
    drain: str | None = None,
    deadline: str | None = None,
    confirm_at: list[int] | None = None,
    on_wait: str | None = None,
    wait: str | None = None,
    on_failure: str | None = None,
    on_edited: str | None = None,
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
    + bake: how long the new version is judged with all traffic, before the old one goes (0s)
    + gates: conditions such as `success_rate(...)`; source: for gates that name none (the proxy itself, directly)
    + default_gates: that are there without being written (["restarts", "stalled"])
    + alpha: chance to revert a version that meets its objectives, over the whole rollout (0.005)
    + beta: chance to promote one that does not (0.05), kept under `evidence="required"`
    + evidence: "sufficient" (interval and min_samples are enough while no gate fails) or "required"
      (every gate must have shown that its objective is met)
    + failures: "independent" (each request fails on its own), "bursty" (many at once: judged by blocks of time,
      slower) or "auto" (as those of the old version are seen to come)
    + fix_forward: while both versions fail the same test, one that is shown to be better may go on (False)
    + min_samples: canary requests that each step must see (50), those of the warm-up left out
    + warm_up: after the new version's first request (60s), warm_up_step: for latency, after each rise of its weight
      or number of pods (15s), in which only what is badly broken fails
    + no_data_hold, no_data_revert: a gate that hears nothing holds the weight (2m), then reverts (10m)
    + outage: how long the weight is held while the old version fails the same test (5m)
    + preparing: for pods to become ready (10m); propagation: for the proxy to take a change (60s)
    + settle: after each change (2s); drain: before the old version may go (15s)
    + deadline: for the whole rollout (1h)
    + confirm_at: weights at which somebody has to say `rollout promote` before it goes on; 0 is before
      the first request
    + on_wait: "wait" (a paused rollout waits for people without end) or "hold" (after `wait`, 0s, the
      update ends with an error, the weight stays, and the next update goes on)
    + on_failure: "revert" or "freeze" (a failed gate or deadline holds the weight for people to decide)
    + on_edited: a weight that somebody else changes in the route is put right ("restore") or ends the rollout ("abort")
    + on_interrupted: a rollout that was cut off is taken up where it stood ("resume") or put back and
      begun anew ("restart")
    + on_locked: while somebody else releases the application, "refuse" or "wait"
    + forbidden_commands: what operators may not ask of it, as in ["promote-full", "set-weight"]
    + guard: a Job in the cluster puts the traffic back when this process is gone (True)
    + guard_image: another image for it, with a shell and kubectl, as in a registry of your own
    + time_limit: how long this process may run, as a CI job may; it puts the old version back in time
    """
    return {"canary": _given(**locals())}


def success_rate(
    *,
    min_percent: float | None = None,
    max_ratio: float | None = None,
    margin: float | None = None,
    source: Policy | None = None,
    dry_run: bool | None = None,
) -> Policy:
    """Requests are answered without a server error (5xx, or a gRPC status that says the same).

    + min_percent: at least this share of them; or
    + max_ratio: the new version's share of errors is compared with the old one's of the same seconds: it passes once
      it is shown to be below so many times as large, and fails above `margin` (1.5) times
    + dry_run: judged and shown, without consequence
    """
    return {"success_rate": _given(**locals())}


def latency(
    *,
    max: str,
    percentile: float | None = None,
    max_ratio: float | None = None,
    margin: float | None = None,
    source: Policy | None = None,
    dry_run: bool | None = None,
) -> Policy:
    """`percentile` percent of the requests take at most `max`, as in latency(percentile=99, max="500ms").

    `max` has to be a bound of the proxy's histogram; preview names those that there are. With max_ratio instead of
    percentile, the share of slower requests is compared with the old version's, as in `success_rate`.
    """
    return {"latency": _given(**locals())}


def query(
    name: str,
    *,
    bad: str,
    total: str,
    max_percent: float | None = None,
    max_ratio: float | None = None,
    margin: float | None = None,
    source: Policy | None = None,
    dry_run: bool | None = None,
) -> Policy:
    """Counters of your own, by the same tests: of what `total` counts, at most `max_percent` is what `bad` counts.

    + bad, total: PromQL selectors of counters without functions, as in orders_total{revision="$revision"}; $app,
      $namespace, $service and $revision are the version's own
    """
    return {"query": _given(**locals())}


def traffic_share(*, margin: float | None = None, source: Policy | None = None, dry_run: bool | None = None) -> Policy:
    """The new version gets the share of requests that the route gives it. Not with session affinity."""
    return {"traffic_share": _given(**locals())}


def stalled(*, after: str | None = None, source: Policy | None = None, dry_run: bool | None = None) -> Policy:
    """Requests come to an end. It is there by default; here with other settings. + after: then one should (10s)"""
    return {"stalled": _given(**locals())}


def restarts(*, max: int | None = None, dry_run: bool | None = None) -> Policy:
    """The new version's containers do not crash under traffic. It is there by default; here with other settings."""
    return {"restarts": _given(**locals())}


def alerts(*, source: Policy, matchers: dict[str, str] | None = None, dry_run: bool | None = None) -> Policy:
    """No alert of the application begins to fire. + source: `prometheus(...)` or `alertmanager(...)`

    + matchers: labels that it has to have; else it is of the namespace, and one of its labels names the application
    """
    return {"alerts": _given(**locals())}


def prometheus(
    address: str,
    *,
    proxy: str | None = None,
    token: str | None = None,
    username: str | None = None,
    password: str | None = None,
    headers: dict[str, str] | None = None,
    ca: str | None = None,
    insecure_skip_verify: bool | None = None,
) -> Policy:
    """A Prometheus server.

    + proxy: whose series are read; that of the route, or "app" for the application's own
    + token, password, ca, and the values of `headers`: names of the application's `credentials`
    """
    given = _given(**locals())
    return {"prometheus": given.pop("address"), **given}


def alertmanager(
    address: str,
    *,
    token: str | None = None,
    username: str | None = None,
    password: str | None = None,
    headers: dict[str, str] | None = None,
    ca: str | None = None,
    insecure_skip_verify: bool | None = None,
) -> Policy:
    """An Alertmanager, for `alerts`; its settings are those of `prometheus`."""
    given = _given(**locals())
    return {"alertmanager": given.pop("address"), **given}


def direct(
    proxy: str,
    *,
    namespace: str | None = None,
    labels: dict[str, str] | None = None,
    port: int | None = None,
    path: str | None = None,
) -> Policy:
    """The proxies themselves, or the application's pods ("app"), read through the Kubernetes API once a second: no
    metrics server, and no scrape to wait for.

    + namespace, labels, port, path: of the pods, what is not as the proxy usually has it
    """
    given = _given(**locals())
    return {"direct": given.pop("proxy"), **given}
