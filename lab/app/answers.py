"""What the application answers: requests in, answers out, and counts of them.

Lives here: paths, health and metrics. No sockets: how an answer travels is in server.py. Probe paths,
`/metrics` and `/faults` are never failed or delayed (hang alone stops probes), and not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, fields, replace

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
        names = {field.name.upper() for field in fields(Faults)}
        self.version = environ.get("VERSION", "unknown")
        self.hostname = environ.get("HOSTNAME", "localhost")
        self.faults = Faults().changed({k: v for k, v in environ.items() if k in names})
        self.metrics = Metrics()
        self.draining = False
        self._started = self._changed = time.monotonic()
        self._enabled = True
        self._recent: deque[float] = deque()
        self._timers: list[asyncio.TimerHandle] = []

    def arm(self) -> None:
        """Set the timers of the faults that end the process, in place of those set before."""
        for timer in self._timers:
            timer.cancel()
        wanted = ((self.faults.crash_after_seconds, 1), (self.faults.oom_after_seconds, 137))
        loop = asyncio.get_running_loop()
        # os._exit, as neither a crash nor the kernel asks the program first.
        self._timers = [loop.call_later(seconds, os._exit, code) for seconds, code in wanted if seconds]

    def ready(self) -> bool:
        slow = time.monotonic() - self._started < self.faults.slow_start_seconds
        return self._enabled and not (slow or self.draining or self.faults.never_ready)

    def answer(self, request: Request) -> Answer | None:
        """The answer to a request, or None for never."""
        if request.path in UNCOUNTED or request.path.startswith("/readyz/"):
            if self.faults.hang == 1 and request.path in ("/healthz", "/readyz"):
                return None
            return self._manage(request)
        now = time.monotonic()
        if self.faults.hang:
            return None
        if random.random() < self.faults.error_probability(now - self._changed, self._rate(now)):
            return replace(
                _json({"error": "injected fault", "version": self.version}, 500),
                wait_seconds=self.faults.delay_seconds,
            )
        answer = self._serve(request)
        return replace(answer, wait_seconds=answer.wait_seconds + self.faults.delay_seconds)

    def _rate(self, now: float) -> float:
        """Requests in the last second, this one included."""
        self._recent.append(now)
        while self._recent[0] < now - 1:
            self._recent.popleft()
        return len(self._recent)

    def _manage(self, request: Request) -> Answer:
        match request.method, request.path:
            case _, "/healthz":
                return _json({"status": "OK"})
            case _, "/readyz":
                return _json({"status": "OK"}) if self.ready() else _json({"status": "not ready"}, 503)
            case "POST", "/readyz/enable" | "/readyz/disable":
                self._enabled = request.path.endswith("enable")
                return _json({"ready": self.ready()})
            case _, "/metrics":
                return Answer(200, self.metrics.text().encode(), "text/plain; version=0.0.4")
            case "POST", "/faults":
                return self._set_faults(request.body)
            case _, "/faults":
                return _json({name.upper(): value for name, value in asdict(self.faults).items()})
        return _json({"error": "no such path"}, 404)

    def _set_faults(self, body: bytes) -> Answer:
        try:
            self.faults = self.faults.changed(dict(json.loads(body)))
        except (TypeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        self._changed = time.monotonic()
        self.arm()
        return _json({name.upper(): value for name, value in asdict(self.faults).items()})

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
