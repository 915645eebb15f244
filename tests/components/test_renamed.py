"""The folder in a project of somebody else, under another name: README.md, "In your own project"."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import components
from tests.components.declared import declare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "components", tmp_path / "delivery", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def declared(package: ModuleType) -> list[tuple[str, str, dict[str, Any]]]:
    def program() -> None:
        route = package.GatewayRoute(hosts=["shop.example.com"], gateway="infra/public")
        policy = package.Canary(gates=[package.success_rate(min_percent=99)])
        package.Application("shop", image="shop:1.0", port=9898, routing=route, rollout=policy)

    found = [(one.type, one.name, one.inputs) for one in declare(program) if one.type != "pulumi:pulumi:Stack"]
    return sorted(found, key=lambda one: one[:2])


def test_a_copy_under_another_name_declares_the_same(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(copied)
    delivery = importlib.import_module("delivery")
    assert delivery.Application is not components.Application
    assert declared(delivery) == declared(components)


def test_a_copy_does_not_need_the_old_name(copied: Path) -> None:
    code = f"import sys; sys.path.append({str(ROOT)!r}); import delivery; print('components' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=copied, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
