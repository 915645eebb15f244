"""HTTP to metrics servers: the only place that uses `requests`. Knows no vendor.

Lives here: connections, and who asks (`measures.Auth`). Credentials are looked up by name, are sent to the
source's own host alone, and are in no message.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from pulumi_rollout.core.measures import Auth
from pulumi_rollout.errors import MetricsError

# A look is taken every half second: a server that is slower is treated as absent for that look.
TIMEOUT_SECONDS = (1.0, 3.0)
MOST_REDIRECTS = 5
ANONYMOUS = Auth()


class Http:
    """Sessions that are kept for a walk, so that each look costs one round trip.

    + credentials: by name; a plan has only their names
    """

    def __init__(self, credentials: Mapping[str, str] | None = None) -> None:
        self._credentials = dict(credentials or {})
        # A session for each way to ask: what is trusted is part of a connection.
        self._sessions: dict[str, Any] = {}

    def get_json(self, url: str, auth: Auth = ANONYMOUS) -> Any:
        """The body as JSON, also of an error answer that has one. Raises MetricsError."""
        import requests

        host = re.sub(r"//[^/]*@", "//***@", "/".join(url.split("/", 3)[:3]))
        try:
            response = self._get(url, auth)
        except requests.exceptions.SSLError:
            raise MetricsError(f"there is no trusted connection to {host}: give the source its ca") from None
        except (requests.RequestException, ValueError) as error:  # ValueError: a host name that cannot be one
            # Without its cause, which quotes a header that cannot be one.
            raise MetricsError(f"{host} does not answer ({type(error).__name__})") from None
        if response.status_code in (401, 403):
            reason = (
                "wants to know who asks: give the source its auth" if auth == ANONYMOUS else "refuses the credentials"
            )
            raise MetricsError(f"{host} {reason} ({response.status_code})")
        try:
            return response.json()
        except ValueError as error:
            raise MetricsError(f"{host} answered {response.status_code} without JSON") from error

    def _get(self, url: str, auth: Auth) -> Any:
        """The answer behind all redirects. Another host than the first is not told who asks."""
        import requests

        session, headers, first = self._session(auth), self._headers(auth), urlsplit(url)
        for _ in range(MOST_REDIRECTS):
            here = urlsplit(url)
            own = (here.scheme, here.hostname, here.port) == (first.scheme, first.hostname, first.port)
            response = session.get(
                url,
                headers=headers if own else {},
                # The library would look for a password in a file at home.
                auth=_nobody,
                # Said here too, or a variable of the environment counts for more than the session.
                verify=False if auth.insecure_skip_verify else None,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            if not response.is_redirect:
                return response
            url = urljoin(url, response.headers["location"])
        raise requests.TooManyRedirects

    def _session(self, auth: Auth) -> Any:
        import requests
        import urllib3

        key = json.dumps([auth.ca, auth.insecure_skip_verify])
        if key not in self._sessions:
            session = requests.Session()
            if auth.insecure_skip_verify:
                # It is asked for, and would be said at each look.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            elif auth.ca is not None:
                session.mount("https://", _trusting(auth.ca, self._credential(auth.ca)))
            self._sessions[key] = session
        return self._sessions[key]

    def _headers(self, auth: Auth) -> dict[str, str]:
        headers = {name: self._credential(credential) for name, credential in auth.headers.items()}
        if auth.token is not None:
            headers["Authorization"] = f"Bearer {self._credential(auth.token)}"
        elif auth.username is not None or auth.password is not None:
            password = self._credential(auth.password) if auth.password is not None else ""
            pair = f"{auth.username or ''}:{password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def _credential(self, name: str) -> str:
        if name not in self._credentials:
            there = ", ".join(sorted(self._credentials)) or "none"
            raise MetricsError(f"there is no credential {name}; there are: {there}")
        # A line's end, as editors leave it in files, is not allowed in a header.
        return self._credentials[name].strip()


def _nobody(request: Any) -> Any:
    return request


def _trusting(name: str, pem: str) -> Any:
    """An adapter that trusts these certificates and no others."""
    import requests

    try:
        context = ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise MetricsError(f"credential {name} holds no certificates in PEM form") from None

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **settings: Any) -> None:
            super().init_poolmanager(*args, **settings, ssl_context=context)

        def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
            return super().proxy_manager_for(proxy, **settings, ssl_context=context)

        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
            # Not those that the environment names for all programs.
            return super().build_connection_pool_key_attributes(request, True, cert)

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            # The library would add the certificates that it brings along.
            conn.cert_reqs = "CERT_REQUIRED"

    return Adapter()
