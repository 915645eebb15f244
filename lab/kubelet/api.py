"""The Kubernetes API as the lab's own node programs need it: requests and endless watches.

Lives here: the connection that a kubeconfig describes (server, token, authority). No knowledge of pods.
The forwarder uses it too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
RETRY_SECONDS = 0.2
UNREACHABLE = (aiohttp.ClientError, OSError, TimeoutError)


class ApiError(Exception):
    """The API server's refusal: its HTTP status and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A session with one API server."""

    def __init__(self, session: aiohttp.ClientSession, server: str, tls: ssl.SSLContext | bool) -> None:
        self._session = session
        self._server = server
        self._tls = tls

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        kind: str = "application/json",
        params: dict[str, str] | None = None,
    ) -> Json:
        """One call. Raises ApiError on a refusal, and one of UNREACHABLE without an answer."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind} if data else {}
        url = self._server + path
        async with self._session.request(
            method, url, data=data, params=params, headers=headers, ssl=self._tls
        ) as response:
            text = await response.text()
            if response.status >= 400:
                raise ApiError(response.status, _message(text))
            answer: Json = json.loads(text)
            return answer

    async def watch(self, path: str, **params: str) -> AsyncIterator[tuple[str, Any]]:
        """For ever: ("LISTED", all objects) first and after every gap, then each change as (type, object)."""
        version: str | None = None
        while True:
            try:
                if version is None:
                    listed = await self.request("GET", path, params=params)
                    version = listed["metadata"]["resourceVersion"]
                    yield "LISTED", listed["items"]
                async for event in self._events(path, {**params, "resourceVersion": version}):
                    if event["type"] == "ERROR":
                        version = None  # expired: what was missed is in a new list
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
            except (ApiError, *UNREACHABLE):
                version = None
                await asyncio.sleep(RETRY_SECONDS)

    async def _events(self, path: str, params: dict[str, str]) -> AsyncIterator[Json]:
        params = {**params, "watch": "true", "allowWatchBookmarks": "true"}
        endless = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._server + path, params=params, ssl=self._tls, timeout=endless) as response:
            if response.status >= 400:
                raise ApiError(response.status, _message(await response.text()))
            rest = b""
            # Not line by line: aiohttp bounds the length of a line, and objects have none.
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _tls(cluster: Json) -> ssl.SSLContext | bool:
    if data := cluster.get("certificate-authority-data"):
        return ssl.create_default_context(cadata=base64.b64decode(data).decode())
    if path := cluster.get("certificate-authority"):
        return ssl.create_default_context(cafile=path)
    return not cluster.get("insecure-skip-tls-verify", False)


@contextlib.asynccontextmanager
async def connect(kubeconfig: Path) -> AsyncIterator[Api]:
    """A session for the kubeconfig's current context; only tokens are understood."""
    config = yaml.safe_load(kubeconfig.read_text())
    named = {(kind, entry["name"]): entry for kind in ("contexts", "clusters", "users") for entry in config[kind]}
    context = named["contexts", config["current-context"]]["context"]
    cluster = named["clusters", context["cluster"]]["cluster"]
    token = named["users", context["user"]]["user"]["token"]
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=30),
    ) as session:
        yield Api(session, cluster["server"].rstrip("/"), _tls(cluster))
