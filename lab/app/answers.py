"""What the application answers: requests in, answers out, and counts of them.

Lives here: paths, health and metrics. No sockets: how an answer travels is in server.py. Probe paths,
`/metrics` and `/faults` are never failed or delayed (hang alone stops probes), and not counted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass, replace

from lab.app.condition import Condition
from lab.app.faults import Faults

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNCOUNTED = ("/healthz", "/readyz", "/metrics", "/faults")


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    close: bool


@dataclass(frozen=True)
class Answer:
    """What to send, and how long after the request; `stream_seconds` sends lines instead of a body."""

    status: int
    body: bytes
    kind: str = "application/json"
    wait_seconds: float = 0.0
    stream_seconds: float | None = None


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode() + b"\n")


class Metrics:
    """Counts of answers, in Prometheus' text format."""

    def __init__(self) -> None:
        self._requests: Counter[int] = Counter()
        self._buckets: Counter[tuple[int, float]] = Counter()
        self._sum: Counter[int] = Counter()

    def count(self, status: int, seconds: float) -> None:
        self._requests[status] += 1
        self._sum[status] += seconds  # type: ignore[assignment]
        for bound in BUCKETS:
            if seconds <= bound:
                self._buckets[status, bound] += 1

    def text(self) -> str:
        name = "http_request_duration_seconds"
        lines = ["# TYPE http_requests_total counter"]
        lines += [f'http_requests_total{{status="{s}"}} {n}' for s, n in sorted(self._requests.items())]
        lines.append(f"# TYPE {name} histogram")
        for status, total in sorted(self._requests.items()):
            for bound in BUCKETS:
                lines.append(f'{name}_bucket{{status="{status}",le="{bound}"}} {self._buckets[status, bound]}')
            lines.append(f'{name}_bucket{{status="{status}",le="+Inf"}} {total}')
            lines.append(f'{name}_sum{{status="{status}"}} {self._sum[status]:.6f}')
            lines.append(f'{name}_count{{status="{status}"}} {total}')
        return "\n".join(lines) + "\n"


class App:
    """The application: what it answers. Knows no sockets, so that its faults can be read in one place."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.version = environ.get("VERSION", "unknown")
        self.hostname = environ.get("HOSTNAME", "localhost")
        self.condition = Condition(Faults(), environ)
        self.metrics = Metrics()

    def answer(self, request: Request) -> Answer | None:
        """The answer to a request, or None for never."""
        if request.path in UNCOUNTED or request.path.startswith("/readyz/"):
            if self.condition.faults.hang == 1 and request.path in ("/healthz", "/readyz"):
                return None
            return self._manage(request)
        faults = self.condition.faults
        if faults.hang:
            return None
        if self.condition.fails():
            return replace(
                _json({"error": "injected fault", "version": self.version}, 500),
                wait_seconds=faults.delay_seconds,
            )
        answer = self._serve(request)
        return replace(answer, wait_seconds=answer.wait_seconds + faults.delay_seconds)

    def _manage(self, request: Request) -> Answer:
        match request.method, request.path:
            case _, "/healthz":
                return _json({"status": "OK"})
            case _, "/readyz":
                ready = self.condition.ready()
                return _json({"status": "OK"}) if ready else _json({"status": "not ready"}, 503)
            case "POST", "/readyz/enable" | "/readyz/disable":
                self.condition.enabled = request.path.endswith("enable")
                return _json({"ready": self.condition.ready()})
            case _, "/metrics":
                return Answer(200, self.metrics.text().encode(), "text/plain; version=0.0.4")
            case "POST", "/faults":
                return self._set_faults(request.body)
            case _, "/faults":
                return _json(self.condition.told())
        return _json({"error": "no such path"}, 404)

    def _set_faults(self, body: bytes) -> Answer:
        try:
            self.condition.change(dict(json.loads(body)))
        except (TypeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return _json(self.condition.told())

    def _serve(self, request: Request) -> Answer:
        root, _, rest = request.path.strip("/").partition("/")
        try:
            match root:
                case "":
                    return _json({"hostname": self.hostname, "version": self.version, "message": "hello"})
                case "version":
                    return _json({"version": self.version})
                case "env":
                    return _json(dict(os.environ))
                case "status":
                    return _json({"status": int(rest)}, int(rest))
                case "delay":
                    return replace(_json({"delay": float(rest)}), wait_seconds=float(rest))
                case "stream":
                    seconds = float(request.query.get("seconds", ["60"])[0])
                    return Answer(200, b"", "text/plain", stream_seconds=seconds)
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        return _json({"error": "no such path"}, 404)
