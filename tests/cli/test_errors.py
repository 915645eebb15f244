"""What is said when something is wrong: one sentence, exit code 1, nothing changed, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pulumi_rollout import errors
from pulumi_rollout.cli import talk
from pulumi_rollout.cli.app import app as commands
from tests.cli.conftest import COMMANDS, Scene
from tests.fake_api import Fault

ROOT = Path(__file__).resolve().parents[2]
JOURNAL = "/api/v1/namespaces/prod/configmaps/rollout-shop"


def rewritten(scene: Scene, change: Callable[[dict[str, Any]], Any]) -> None:
    """The journal as somebody else would have left it."""
    scene.walks()
    found = scene.api.objects[JOURNAL]
    state = json.loads(found["data"]["state"])
    state = change(state) or state
    scene.api.put(JOURNAL, {**found, "data": {**found["data"], "state": json.dumps(state)}})


def newer(record: dict[str, Any]) -> None:
    record["state"]["format"] = 99


def others(scene: Scene) -> None:
    scene.walks(name="cart")
    scene.walks(name="till")


def unreadable_commands(scene: Scene) -> None:
    scene.walks()
    scene.api.put(COMMANDS, {"data": {"commands": "["}})


def forbidden(scene: Scene) -> None:
    scene.walks()
    scene.api.faults.append(Fault(path="configmaps/rollout-shop$", status=403, times=float("inf")))


def without_lists(scene: Scene) -> None:
    scene.api.faults.append(Fault(path="configmaps$", status=403, times=float("inf")))


def over(scene: Scene) -> None:
    scene.walks(phase="succeeded", move=0)


AT = "in namespace prod at {url} (context fake)"
SENTENCES: dict[str, tuple[Any, list[str], str]] = {
    "nothing was ever released": (
        lambda scene: None,
        ["status", "shop"],
        f"there is no rollout of shop {AT}; there are: none",
    ),
    "another application's name": (
        others,
        ["pause", "shop"],
        f"there is no rollout of shop {AT}; there are: cart, till",
    ),
    "another namespace": (
        others,
        ["history", "cart", "-n", "qa"],
        "there is no rollout of cart in namespace qa at {url} (context fake); there are: none",
    ),
    "ConfigMaps that may not be listed": (without_lists, ["watch", "shop"], f"there is no rollout of shop {AT}"),
    "an unknown context": (
        lambda scene: None,
        ["status", "shop", "--context", "kind-b"],
        "there is no context kind-b in the kubeconfig; there are: fake",
    ),
    "no walk under way": (
        over,
        ["abort", "shop"],
        f"no rollout of shop is under way {AT}: the last one has succeeded",
    ),
    "a newer journal": (
        lambda scene: rewritten(scene, newer),
        ["status", "shop"],
        "ConfigMap prod/rollout-shop was written by a newer version of pulumi-rollout: upgrade before you go on",
    ),
    "a broken journal": (
        lambda scene: rewritten(scene, lambda record: [1]),
        ["pause", "shop"],
        "ConfigMap prod/rollout-shop cannot be read as a journal: look at the route's weights, put them right by hand, "
        "then delete the ConfigMap",
    ),
    "broken commands": (
        unreadable_commands,
        ["pause", "shop"],
        "ConfigMap prod/rollout-shop.commands cannot be read as commands: delete it, and give the command again",
    ),
    "what may not be read": (
        forbidden,
        ["status", "shop"],
        f"GET {JOURNAL}: as the test wants it",
    ),
}


@pytest.mark.parametrize(("put", "typed", "sentence"), SENTENCES.values(), ids=SENTENCES)
def test_sentences(scene: Scene, put: Any, typed: list[str], sentence: str) -> None:
    put(scene)
    before = json.dumps(scene.api.objects)
    given = scene.run(*typed)
    assert (given.exit_code, given.stdout) == (1, "")
    assert given.stderr == f"error: {sentence.format(url=scene.api.url)}\n"
    assert json.dumps(scene.api.objects) == before


@pytest.mark.parametrize(
    "typed",
    [[], ["statsu", "shop"], ["status"], ["set-weight", "shop", "much"], ["pause", "shop", "--timeout", "30"]],
    ids=" ".join,
)
def test_mistakes_in_the_command_line_are_told_apart(typed: list[str]) -> None:
    given = CliRunner().invoke(commands, typed)
    assert given.exit_code == 2
    assert "Traceback" not in given.stderr
    assert not given.exception or isinstance(given.exception, SystemExit)


def test_a_silent_cluster_in_one_line(tmp_path: Path) -> None:
    """In a process of its own, where libraries would log."""
    cluster = {"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}
    config = {"clusters": [cluster], "contexts": [{"name": "a", "context": {"cluster": "a"}}], "current-context": "a"}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pulumi_rollout", "status", "shop", "--kubeconfig", str(tmp_path / "kubeconfig")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the cluster at http://127.0.0.1:1 does not answer (NewConnectionError)\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the kubeconfig cannot be used: Invalid kube-config file. No configuration found."),
        ("{", "the kubeconfig cannot be used: it is not YAML"),
        ("[1]", "the kubeconfig cannot be used: it has not the form of a kubeconfig"),
    ],
    ids=["none", "no YAML", "no kubeconfig"],
)
def test_kubeconfigs_that_are_none(scene: Scene, content: str | None, reason: str) -> None:
    path = scene.home / "kubeconfig"
    path.unlink() if content is None else path.write_text(content)
    given = scene.run("status", "shop")
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")


@pytest.mark.parametrize("how", [["--traceback"], []], ids=["option", "environment"])
def test_a_traceback_for_those_who_ask(scene: Scene, how: list[str]) -> None:
    environment = {} if how else {"ROLLOUT_TRACEBACK": "1"}
    given = scene.run(*how, "status", "shop", **environment)
    assert "Traceback (most recent call last)" in given.stderr
    assert given.stderr.splitlines()[-1].startswith("error: there is no rollout of shop")


def test_the_namespace_is_the_contexts(scene: Scene) -> None:
    """And with several files, the first that names a context counts, and the last current-context."""
    config = json.loads(scene.api.kubeconfig())
    config["contexts"][0]["context"]["namespace"] = "elsewhere"
    (scene.home / "second").write_text(json.dumps({**config, "contexts": [], "current-context": "fake"}))
    first = scene.home / "kubeconfig"
    scene.walks()
    assert talk.site(None, None, str(first)).namespace == "prod"
    assert talk.site(None, "fake", f"{first}:{scene.home / 'second'}").namespace == "prod"
    assert talk.site("qa", None, str(first)).namespace == "qa"
    (scene.home / "third").write_text(scene.api.kubeconfig())
    assert talk.site(None, None, str(scene.home / "third")).namespace == "default"


def test_every_error_is_caught_in_one_place() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, errors.RolloutError) for kind in kinds)
