"""Volumes of the lab's kubelet without a lab: what cannot be waited for or seen on a real one.

Lives here: the renewal of tokens, and which mounts are real. All else about volumes is asked of real pods, in
tests/lab/test_kubelet.py and tests/lab/test_jobs.py.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from lab.kubelet import content, volumes
from lab.kubelet.api import Api, ApiError

PLACE = content.Place("10.44.1.0", "lab", "10.44.0.1", "10.96.0.1")
TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}
FIELD = {"downwardAPI": {"items": [{"path": "where/namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}
POD: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"},
    "spec": {"serviceAccountName": "web", "volumes": [{"name": "access", "projected": {"sources": [TOKEN, FIELD]}}]},
}


class FakeApi:
    """Gives out numbered tokens, and refuses the second request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((path, body))
        if len(self.asked) == 2:
            raise ApiError(500, "not now")
        return {"status": {"token": f"token-{len(self.asked)}"}}


def test_a_token_is_the_pods_own_and_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "TOKEN_RENEWED_AT", 0.0001)
    monkeypatch.setattr(volumes, "RETRY_SECONDS", 0.01)
    api = FakeApi()
    token = tmp_path / "access/token"

    async def live() -> None:
        await volumes.prepare(cast(Api, api), POD, tmp_path, PLACE)
        assert token.read_text() == "token-1"
        renewing = asyncio.create_task(volumes.renew_tokens(cast(Api, api), POD, tmp_path))
        async with asyncio.timeout(5):
            while token.read_text() == "token-1":
                await asyncio.sleep(0.01)
        renewing.cancel()

    asyncio.run(live())
    assert token.read_text() == "token-3"
    assert (tmp_path / "access/where/namespace").read_text() == "shop"
    path, body = api.asked[0]
    assert path == "/api/v1/namespaces/shop/serviceaccounts/web/token"
    assert body["spec"]["expirationSeconds"] == 600
    assert (body["spec"]["boundObjectRef"]["name"], body["spec"]["boundObjectRef"]["uid"]) == ("web", "u-1")


def test_a_mount_is_real_where_there_is_a_place_for_it(tmp_path: Path) -> None:
    pods, there, volume = tmp_path / "lab/pods", tmp_path / "there", tmp_path / "volume"
    for folder in (pods, there, volume):
        folder.mkdir(parents=True)

    def seen(*command: str, path: object) -> bool:
        before = volumes.mounting([content.Mount(str(path).rstrip("/"), volume)], pods)
        return bool(before) and subprocess.run([*before, *command], check=False).returncode == 0

    (volume / "file").touch()
    assert seen("test", "-e", str(there / "file"), path=there)
    assert not (there / "file").exists(), "others do not see it"
    assert seen("test", "-d", str(pods), path=tmp_path), "what the lab needs is still there"
    assert not seen("test", "-d", str(there), path=tmp_path), "and nothing else"
    for needed in (tmp_path / "nowhere", pods, Path("/"), Path(sys.prefix)):
        assert volumes.mounting([content.Mount(str(needed).rstrip("/"), volume)], pods) == []
