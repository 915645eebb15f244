"""What is measured, where, and by which test: sources, metrics and gates, as the plan has them.

Pure data, published with the plan's schema. Not here: how users write them (`written.py`), how a source is read
(`metrics/`), or what a gate makes of its numbers (`gates/`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from pulumi_rollout.core.model import Frozen


class Auth(Frozen):
    """How a source is asked. Credentials have names here and are kept apart (the Rollout's input `credentials`), as
    the plan is stored in plain.

    + token, password: names of credentials; username is in plain
    + headers: name of a header -> name of the credential that is its value
    + ca: name of the credential that holds PEM certificates to trust instead of the system's
    + insecure_skip_verify: do not check the server's certificate
    """

    token: str | None = None
    username: str | None = None
    password: str | None = None
    headers: dict[str, str] = {}
    ca: str | None = None
    insecure_skip_verify: bool = False


class Pods(Frozen):
    """Where the pods are whose metrics are read directly.

    + namespace: None = the application's
    + labels: what selects them; none where they are the application's own
    + port, path: of their metrics; port 0 = the application's
    """

    namespace: str | None = None
    labels: dict[str, str] = {}
    port: int
    path: str = "/metrics"


class Source(Frozen):
    """Where numbers come from; `kind` is a key of `metrics.SOURCES`.

    + proxy: whose series are read; a key of `metrics.PROXIES`; empty for sources without series (Alertmanager)
    + address: base URL of the server; empty for `direct`, which reads pods through the Kubernetes API
    + pods: of a `direct` source, where they are not where the proxy usually has them
    """

    kind: str
    proxy: str = ""
    address: str = ""
    auth: Auth = Auth()
    pods: Pods | None = None


class SuccessRate(Frozen):
    """A request is bad when it was answered with a server error: 5xx, or a gRPC status that says the same."""

    name: Literal["success_rate"] = "success_rate"


class Latency(Frozen):
    """A request is bad when it took longer than `bound_seconds`, which has to be a bound of the histogram."""

    name: Literal["latency"] = "latency"
    bound_seconds: float = Field(gt=0)


class Query(Frozen):
    """A request is bad when the counters that `bad` selects say so; `total` selects those of all requests.

    Both are PromQL series selectors of counters, without functions. $app, $namespace, $service and $revision stand for
    the version's own.
    """

    name: Literal["query"] = "query"
    title: str
    bad: str
    total: str


Metric = Annotated[SuccessRate | Latency | Query, Field(discriminator="name")]


class _Judging(Frozen):
    """What all gates have. + source: a key of `Plan.sources`; dry_run: judged and shown, without consequence"""

    id: str
    source: str
    dry_run: bool = False


class Objective(_Judging):
    """The share of bad requests stays at or under a limit. + max_bad_ratio: p0; 0.01 for "at least 99 % succeed\""""

    test: Literal["objective"] = "objective"
    metric: Metric
    max_bad_ratio: float = Field(gt=0, lt=1)


class Baseline(_Judging):
    """The new version's share of bad requests is not much above the old one's of the same seconds.

    + margin: a ratio up to this one is no reason to fail
    + max_ratio: to be shown to be below this one is to pass
    """

    test: Literal["baseline"] = "baseline"
    metric: Metric
    margin: float = Field(default=1.5, ge=1)
    max_ratio: float = Field(default=2.0, gt=1)


class Share(_Judging):
    """The new version gets the share of requests that the route says. + margin: of the odds, either way"""

    test: Literal["share"] = "share"
    margin: float = Field(default=1.25, gt=1)


class Stalled(_Judging):
    """Requests that the new version was given come to an end. + after_seconds: then one should have ended"""

    test: Literal["stalled"] = "stalled"
    after_seconds: float = Field(default=10, gt=0)


class Restarts(Frozen):
    """Containers of the new version do not crash and are not killed, once it has traffic. Read in the cluster."""

    test: Literal["restarts"] = "restarts"
    id: str
    source: None = None
    dry_run: bool = False
    max_restarts: int = Field(default=0, ge=0)


class Alerts(_Judging):
    """No alert of the application begins to fire.

    + matchers: labels that an alert has to have; where there are none, it is of the namespace and one of its
      labels names the application, or an object of its name
    """

    test: Literal["alerts"] = "alerts"
    matchers: dict[str, str] = {}


Gate = Annotated[Objective | Baseline | Share | Stalled | Restarts | Alerts, Field(discriminator="test")]
# The gates that have a share of alpha: the others do not judge by chance.
BY_CHANCE = ("objective", "baseline", "share")
# The gates whose requests a step waits for (`min_samples`).
COUNTING = (Objective, Baseline)


def counting(gates: Iterable[Gate]) -> list[Objective | Baseline]:
    """Those that a step waits for, and not only for show."""
    return [gate for gate in gates if isinstance(gate, COUNTING) and not gate.dry_run]


def warms_up_after_rises(gate: Gate) -> bool:
    """Whether a higher weight, or new pods, may make it worse for a while: what is cold is slow rather than wrong."""
    return isinstance(gate, Objective | Baseline) and isinstance(gate.metric, Latency)
