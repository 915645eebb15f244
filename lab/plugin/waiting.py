"""When an object counts as ready, or as gone.

Lives here: the loops that wait, what the user may set about them, and `pulumi.com/waitFor`. What a kind
needs to be ready is `readiness.py`'s.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from lab.plugin.api import Api, ApiError
from lab.plugin.readiness import (
    CHECKS,
    NO_ENDPOINTS_SECONDS,
    SETTLE_SECONDS,
    Check,
    Seen,
    condition,
    endpoints_of,
    enough_at_the_end,
)
from lab.plugin.values import Object, annotation, metadata

TIMEOUT_SECONDS = 600.0
POLL_SECONDS = 0.3
# Kinds whose deletion is not waited for if skipAwait says so; all others always are.
SKIP_DELETE_WAIT = {
    *("v1/Namespace", "v1/Pod", "v1/ReplicationController", "batch/v1/Job"),
    *("apps/v1/DaemonSet", "apps/v1/Deployment", "apps/v1/StatefulSet"),
}


class NotReady(Exception):
    """The object is there, but not ready: the message, the reasons and the object as last seen."""

    def __init__(self, message: str, reasons: list[str], live: Object) -> None:
        super().__init__(message)
        self.reasons = reasons
        self.live = live


def timeout_seconds(requested: float, inputs: Object) -> float:
    """custom_timeouts wins over the annotation, which wins over 10 minutes."""
    if requested:
        return requested
    text = annotation(inputs, "timeoutSeconds")
    return float(text) if text.isdigit() else TIMEOUT_SECONDS


def until_ready(
    api: Api,
    inputs: Object,
    live: Object,
    seconds: float,
    cancelled: threading.Event,
    say: Callable[[str], None],
) -> Object:
    """Wait until the object is ready; returns its live state. Raises NotReady."""
    check = _check(inputs)
    if check is None:
        return live
    seen, said = Seen(), ""
    while True:
        missing = check(api, live, seen)
        if not missing:
            return live
        late = time.monotonic() - seen.started >= seconds
        if (late or cancelled.is_set()) and enough_at_the_end(api, live):
            return live
        if cancelled.is_set():
            raise NotReady("it was not ready when the update was cancelled", missing, live)
        if late:
            raise NotReady(f"it is not ready after {seconds:g} s", missing, live)
        if missing[0] != said:
            said = missing[0]
            say(said)
        cancelled.wait(POLL_SECONDS)
        live = api.get(live)


def ready_now(api: Api, inputs: Object, live: Object) -> list[str]:
    """What is missing at this moment, without waiting: for refresh."""
    kind = f"{live['apiVersion']}/{live['kind']}"
    if annotation(inputs, "skipAwait") == "true" or kind not in CHECKS:
        return []
    settled = time.monotonic() - max(SETTLE_SECONDS, NO_ENDPOINTS_SECONDS)
    version = metadata(endpoints_of(api, live)).get("resourceVersion") if kind == "v1/Service" else None
    return CHECKS[kind](api, live, Seen(settled, version, settled))


def until_gone(api: Api, inputs: Object, live: Object, seconds: float, cancelled: threading.Event) -> None:
    """Wait until the object is deleted (or replaced by one of the same name). Raises NotReady."""
    kind = f"{live['apiVersion']}/{live['kind']}"
    if annotation(inputs, "skipAwait") == "true" and kind in SKIP_DELETE_WAIT:
        return
    started, uid = time.monotonic(), metadata(live).get("uid")
    while True:
        try:
            live = api.get(live)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if uid and metadata(live)["uid"] != uid:
            return
        finalizers = metadata(live).get("finalizers") or []
        reasons = [f"these finalizers are still to do their work: {', '.join(finalizers)}"] if finalizers else []
        if cancelled.is_set():
            raise NotReady("it was still there when the update was cancelled", reasons, live)
        if time.monotonic() - started >= seconds:
            raise NotReady(f"it is still there after {seconds:g} s", reasons, live)
        cancelled.wait(POLL_SECONDS)


def _check(inputs: Object) -> Check | None:
    if annotation(inputs, "skipAwait") == "true":
        return None
    if text := annotation(inputs, "waitFor"):
        return _custom(text)
    return CHECKS.get(f"{inputs.get('apiVersion')}/{inputs.get('kind')}")


def _custom(text: str) -> Check:
    """The check of `pulumi.com/waitFor`: one expression or a JSON list of them."""
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = text
    expressions = parsed if isinstance(parsed, list) else [text]
    for expression in expressions:
        if not str(expression).startswith(("condition=", "jsonpath=")):
            raise ValueError(f"pulumi.com/waitFor knows condition=… and jsonpath=…, not {str(expression)!r}")

    def check(_api: Api, live: Object, _seen: Seen) -> list[str]:
        return [f"{expression} does not hold yet" for expression in expressions if not _holds(expression, live)]

    return check


def _holds(expression: str, live: Object) -> bool:
    how, _, rest = expression.partition("=")
    name, equals, wanted = rest.partition("=")
    if how == "condition":
        return condition(live, name).get("status") == (wanted or "True")
    value: Any = live
    for part in name.strip("{}").strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return str(value) == wanted if equals else value is not None
