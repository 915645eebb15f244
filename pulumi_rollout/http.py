"""HTTP to metrics servers: the only place that uses `requests`. Knows no vendor."""

from __future__ import annotations

import re
from typing import Any

from pulumi_rollout.errors import MetricsError

# A look is taken every half second: a server that is slower is treated as absent for that look.
TIMEOUT_SECONDS = (1.0, 3.0)


class Http:
    """A session that is kept for a walk, so that each look costs one round trip."""

    def __init__(self) -> None:
        import requests

        self._session = requests.Session()

    def get_json(self, url: str) -> Any:
        """The body as JSON, also of an error answer that has one. Raises MetricsError."""
        import requests

        host = re.sub(r"//[^/]*@", "//***@", "/".join(url.split("/", 3)[:3]))
        try:
            response = self._session.get(url, timeout=TIMEOUT_SECONDS)
            return response.json()
        except requests.exceptions.JSONDecodeError as error:
            raise MetricsError(f"{host} answered {response.status_code} without JSON") from error
        except (requests.RequestException, ValueError) as error:  # ValueError: a host name that cannot be one
            raise MetricsError(f"{host} does not answer ({type(error).__name__})") from error
