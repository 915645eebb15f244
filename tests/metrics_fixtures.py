"""The vendors' own answers as data: tests/metrics/<source>/*.yaml.

A fixture has `why`, `source` (documentation with the date it was read), `requests` (PromQL, a path of the
Kubernetes API, or a URL), `bodies`, and `readings` by gate, or `events` in words. Beside those: `proxy`, `gates`,
the application's `pods`, and the pods that are `asked`. One gate is written in the singular.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from pydantic import TypeAdapter

from pulumi_rollout.core.counts import Reading
from pulumi_rollout.core.measures import Gate, Pods, Source
from pulumi_rollout.core.targets import Backends, Target
from pulumi_rollout.metrics import SOURCES
from pulumi_rollout.metrics.series import name_of
from pulumi_rollout.metrics.shapes import Fleet, Pod, Request, Response

HERE = Path(__file__).parent / "metrics"
FIXTURES = {f"{path.parent.name}/{path.stem}": path for path in sorted(HERE.glob("*/*.yaml"))}
BACKENDS = Backends(
    apex=Target(namespace="shop", service="podinfo", port=9898),
    canary=Target(namespace="shop", service="podinfo-v2", port=9898),
)
ADDRESSES = {
    "prometheus": "http://prometheus.monitoring:9090",
    "alertmanager": "http://alertmanager.monitoring:9093",
    "direct": "",
}
SUCCESS_RATE = {
    "id": "success_rate",
    "test": "objective",
    "metric": {"name": "success_rate"},
    "max_bad_ratio": 0.01,
}
# When the answers arrived.
AT = 500.0


def gate(**written: Any) -> Gate:
    """A gate of whichever kind. Where nothing is said of its source, it has one."""
    made: Gate = TypeAdapter[Gate](Gate).validate_python({"source": "it", **written})
    return made


@dataclass
class Case:
    """A fixture, and the arguments of a source's functions that it is about."""

    written: dict[str, Any]
    kind: str

    def __post_init__(self) -> None:
        self.module = SOURCES[self.kind]
        self.gates = [gate(**item) for item in self.written.get("gates", [SUCCESS_RATE])]
        where = self.written.get("where")
        default = "" if self.kind == "alertmanager" else "contour"
        self.source = Source(
            kind=self.kind,
            address=ADDRESSES[self.kind],
            proxy=self.written.get("proxy", default),
            pods=Pods(**where) if where else None,
        )
        application = tuple(Pod(name, "shop", **told) for name, told in self.written.get("pods", {}).items())
        asked = self.written.get("asked", {})
        others = application if asked == "application" else tuple(Pod(name, where) for name, where in asked.items())
        self.fleet = Fleet(application=application, asked=others, stable="v1")

    def requests(self) -> list[Request]:
        return self.module.requests(self.source, self.gates, BACKENDS, self.fleet)

    def sent(self) -> list[str]:
        """The requests as a fixture has them."""
        return [
            parse_qs(urlsplit(request.target).query)["query"][0] if self.kind == "prometheus" else request.target
            for request in self.requests()
        ]

    @property
    def wanted(self) -> list[str]:
        given = self.written["requests"] if "requests" in self.written else [self.written["request"]]
        return [text.strip() for text in given]

    @property
    def responses(self) -> list[Response]:
        bodies = self.written["bodies"] if "bodies" in self.written else [self.written["body"]]
        return [
            Response(None, AT, body["error"])
            if isinstance(body, dict) and set(body) == {"error"}
            else Response(body, AT)
            for body in bodies
        ]

    def parsed(self) -> dict[str, Reading]:
        return self.module.parse(self.source, self.gates, self.responses, BACKENDS, self.fleet)

    @property
    def readings(self) -> dict[str, Reading]:
        single = self.written.get("reading") or {"no_data": self.written.get("no_data")}
        return {name: named(one) for name, one in self.written.get("readings", {"success_rate": single}).items()}


def named(expected: dict[str, Any]) -> Reading:
    """A reading as a fixture has it, by labels for people; short names stand in for them."""
    for version in ("canary", "stable"):
        sample = expected.get(version)
        for part in ("series", "pods"):
            if sample and sample.get(part):
                short = {_short(written): one for written, one in sample[part].items()}
                sample = {**sample, part: short}
        if sample:
            expected = {**expected, version: sample}
    return Reading.model_validate(expected)


def _short(written: str) -> str:
    """`name|label=value,…`; a comma in a value is written as a semicolon."""
    kind, _, labels = written.partition("|")
    pairs = [label.partition("=") for label in labels.split(",")]
    return name_of(kind, {label: value.replace(";", ",") for label, _, value in pairs})


def load(name: str) -> Case:
    return Case(yaml.safe_load(FIXTURES[name].read_text()), name.split("/")[0])
