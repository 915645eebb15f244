"""When what a walk needs comes to an end: credentials that nobody renews, and a job's time limit.

Lives here: reading a token's and a certificate's end, and the two sentences about it, at preview and
during the walk. Not here: how a credential is obtained or renewed (`cluster.py`), or what follows
(`driver.py`). Nothing is verified: what a credential is worth, the API server decides.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pulumi_rollout.cluster import Login, login

# What a way back is given beyond its own time: clocks differ, and a call may have to be repeated.
MARGIN_SECONDS = 30.0

# Tags of X.509 in DER (RFC 5280, 4.1).
VERSION, UTC_TIME = 0xA0, 0x17


class Expiry(NamedTuple):
    """An end that is known beforehand.

    + at: seconds of the Unix clock
    + what: as in "the token of user deployer in the kubeconfig"
    + remedy: what people can do about it, as in "raise it" for a job's time limit
    """

    at: float
    what: str
    remedy: str = "renew it"


def credential_expiry(kubeconfig: str | None, context: str | None) -> Expiry | None:
    """The end of the credential that Cluster would use, where it cannot be renewed by itself: a token
    or a client certificate. None where it is renewed, or where no end is known. Never raises."""
    ends: list[Expiry] = []
    # Files are what people make them. An odd one is refused by Cluster or by the API server, with their words.
    with contextlib.suppress(Exception):
        found = login(kubeconfig, context)
        for read in (_token, _certificate):
            with contextlib.suppress(Exception):
                ends += [end for end in [read(found)] if end is not None]
    return min(ends, default=None)


def problem(worst_case_seconds: float, expiries: Sequence[Expiry], now: float) -> str | None:
    """For preview: what ends before a walk that takes its longest is over, with its way back."""
    if not expiries or min(expiries).at - now > worst_case_seconds + MARGIN_SECONDS:
        return None
    first = min(expiries)
    if first.at <= now:
        return f"{_ends(first, now)}: {first.remedy}"
    return (
        f"the rollout may take up to {_spelled(worst_case_seconds, up=True)}, but {_ends(first, now)}: "
        f"{first.remedy} before, or shorten the rollout (deadline)"
    )


def stop_reason(expiries: Sequence[Expiry], now: float, way_back_seconds: float) -> str | None:
    """During the walk: why it must turn back now, as later it no longer could."""
    if not expiries or min(expiries).at - now > way_back_seconds + MARGIN_SECONDS:
        return None
    return f"{_ends(min(expiries), now)}, and the way back needs up to {_spelled(way_back_seconds, up=True)}"


def _ends(end: Expiry, now: float) -> str:
    if end.at <= now:
        return f"{end.what} ended {_spelled(now - end.at, up=False)} ago"
    return f"{end.what} ends in {_spelled(end.at - now, up=False)}"


def _spelled(seconds: float, *, up: bool) -> str:
    """In the unit that people would use; what is needed is rounded up, what is left down."""
    size, unit = (1, "s") if seconds < 120 else (60, "min") if seconds < 180 * 60 else (3600, "h")
    return f"{(math.ceil if up else math.floor)(seconds / size)} {unit}"


def _token(found: Login) -> Expiry | None:
    """The end of a token that lies in the kubeconfig itself (RFC 7519: `exp`), if it is in use."""
    settings = found.settings
    provider = settings.get("auth-provider", {}).get("config", {})
    lasting = [
        None if "tokenFile" in settings else settings.get("token"),
        None if provider.get("refresh-token") else provider.get("id-token"),
    ]
    used = found.configuration.api_key.get("BearerToken")
    token = next((token for token in lasting if token and used == f"Bearer {token}"), None)
    if token is None:
        return None
    claims = token.strip().split(".")[1]
    at = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
    if isinstance(at, bool) or not math.isfinite(at):
        return None
    return Expiry(float(at), f"the token of user {found.user} in the kubeconfig")


def _certificate(found: Login) -> Expiry | None:
    """The end of the client certificate in use. One from a login program counts too: it is asked for
    again only when the API server refuses it, and most programs then give the same one."""
    configuration = found.configuration
    if not configuration.cert_file:
        return None
    given = "exec" in found.settings and not configuration.api_key
    whose = f"from the login program of user {found.user}" if given else f"of user {found.user} in the kubeconfig"
    return Expiry(_not_after(Path(configuration.cert_file).read_bytes()), f"the client certificate {whose}")


def _not_after(pem: bytes) -> float:
    """The end of the first certificate, the client's own. Raises on what is none."""
    found = re.search(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", pem, re.DOTALL)
    if found is None:
        raise ValueError("no certificate")
    der = base64.b64decode(found[1])
    inside, _ = _element(der, 0)
    at, _ = _element(der, inside)
    if der[at] == VERSION:
        at = _element(der, at)[1]
    for _ in ("serial number", "signature", "issuer"):
        at = _element(der, at)[1]
    not_before, _ = _element(der, at)
    _, not_after = _element(der, not_before)
    start, end = _element(der, not_after)
    text = der[start:end].decode()
    if der[not_after] == UTC_TIME:
        # Two digits for the year, from 1950 to 2049; later ones have four.
        text = f"{'19' if text >= '5' else '20'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element begins, and where the element ends."""
    length, start = der[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start])
    return start, start + length
