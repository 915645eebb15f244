"""What users' state holds of the provider: trap 11 of the design."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from pulumi_rollout.inputs import TYPE
from pulumi_rollout.provider import RolloutProvider
from tests.provider_calls import PROVIDER

ROOT = Path(__file__).resolve().parents[1]


def check_by_reference(provider: ResourceProvider) -> bytes:
    pickled = base64.b64decode(serialize_provider(provider))
    assert len(pickled) <= 100
    assert pickled == base64.b64decode(serialize_provider(type(provider)()))
    return pickled


def test_trap_11_the_pickle_is_a_reference_to_a_path_that_is_public_for_ever() -> None:
    pickled = check_by_reference(PROVIDER)
    assert b"pulumi_rollout.provider" in pickled
    assert b"RolloutProvider" in pickled


def test_trap_11_without_a_module_the_code_itself_is_pickled() -> None:
    local = type("RolloutProvider", (ResourceProvider,), {"diff": lambda self, *_: None, "__module__": "__main__"})
    with pytest.raises(AssertionError):
        check_by_reference(local())


def test_trap_11_the_type_token_is_public_for_ever() -> None:
    assert TYPE == "pulumi-python:dynamic/rollout:Rollout"


def test_trap_11_the_provider_has_no_state_and_no_constructor_arguments() -> None:
    assert vars(PROVIDER) == {}
    assert "__init__" not in vars(RolloutProvider)


UNPICKLE = """
import base64, sys
import pulumi
def refuse(self, *arguments, **options):
    sys.exit("a resource was made at import")
pulumi.Resource.__init__ = refuse
import dill
provider = dill.loads(base64.b64decode(sys.argv[1]))
late = [name for name in ("components", "pulumi_kubernetes", "kubernetes", "requests") if name in sys.modules]
print(type(provider).__module__, type(provider).__qualname__, *late)
"""


def check_fresh_interpreter(pickled: str, where: Path) -> str:
    command = [sys.executable, "-c", UNPICKLE, pickled]
    ended = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_trap_11_a_fresh_interpreter_unpickles_it_and_makes_no_resource() -> None:
    assert check_fresh_interpreter(serialize_provider(PROVIDER), ROOT) == "pulumi_rollout.provider RolloutProvider"


def test_trap_11_without_care_a_resource_is_made_at_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "careless.py").write_text(
        "import pulumi\n"
        "from pulumi.dynamic import ResourceProvider\n"
        "class Careless(ResourceProvider): pass\n"
        "if __import__('sys').argv[0] == '-c': pulumi.ComponentResource('a:b:C', 'made')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import careless  # type: ignore[import-not-found]

    with pytest.raises(AssertionError, match="a resource was made at import"):
        check_fresh_interpreter(serialize_provider(careless.Careless()), tmp_path)
