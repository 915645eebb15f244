"""`plan` and `undo`: what is asked of the Pulumi CLI, and what is made of its answers.

The previews in `previews/` are what `pulumi preview --json --show-sames` of 3.258.0 printed for one
rollout, less what nobody reads.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pulumi_rollout.core.plan import Plan
from tests.cli.conftest import Scene

PREVIEWS = Path(__file__).parent / "previews"
URN = "urn:pulumi:live::rollouts::pulumi-python:dynamic/rollout:Rollout::shop"


class Pulumi:
    """A stand-in for the CLI. + answers: (exit code, standard output, standard error) by first words"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answers(self, code: int, out: str, err: str = "", *, command: str = "preview") -> None:
        (self._folder / command.replace(" ", "-")).write_text(json.dumps([code, out, err]))

    @property
    def calls(self) -> list[list[str]]:
        log = self._folder / "calls"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


STAND_IN = """#!/usr/bin/env -S python3 -S -E
import json, pathlib, sys
here, given = pathlib.Path(__file__).parent, sys.argv[1:]
with (here / "calls").open("a") as log:
    print(json.dumps(given), file=log)
code, out, err = json.loads((here / "-".join(given[: 2 if given[0] == "config" else 1])).read_text())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pulumi:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pulumi").write_text(STAND_IN)
    (folder / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return Pulumi(folder)


def preview(name: str) -> Any:
    return json.loads((PREVIEWS / f"{name}.json").read_text())


# plan

SHORT: dict[str, tuple[str, list[str]]] = {
    "unchanged": ("same", ["prod/shop: no rollout: unchanged"]),
    "settings": ("settings", ["prod/shop: no rollout: shop-v1 goes on serving, with other settings"]),
    "a first release": (
        "first",
        ["prod/shop: first release of shop-v1, without steps: it gets all traffic once its pods are ready"],
    ),
    "a walk": (
        "walk",
        [
            "prod/shop: shop-v1 -> shop-v2",
            "  STEP   WEIGHT   INTERVAL   MAX WAIT   CONFIRMED BY",
            "  1      20 %     0s         10m        -",
            "  2      50 %     0s         10m        -",
            "  no gates: nothing judges it",
            "  worst case 21m01s, people's waiting left out",
        ],
    ),
}


@pytest.mark.parametrize(("name", "lines"), SHORT.values(), ids=SHORT)
def test_a_plan(scene: Scene, pulumi: Pulumi, name: str, lines: list[str]) -> None:
    pulumi.answers(0, json.dumps(preview(name)))
    given = scene.run("plan", "--stack", "live", "--cwd", "infra")
    assert (given.exit_code, given.stdout.splitlines()) == (0, lines)
    wanted = ["preview", "--json", "--show-sames", "--stack", "live"]
    assert pulumi.calls == [[*wanted, "--non-interactive", "--color", "never", "--cwd", "infra"]]


@pytest.mark.parametrize("name", [name for name, _ in SHORT.values()])
def test_a_saved_preview_gives_the_same_plan(scene: Scene, pulumi: Pulumi, name: str) -> None:
    pulumi.answers(0, json.dumps(preview(name)))
    saved = scene.run("plan", "--json-file", str(PREVIEWS / f"{name}.json"))
    assert len(pulumi.calls) == 0
    assert saved.stdout == scene.run("plan").stdout != ""


GATES = [
    ("success_rate", "at most 0.5 % of requests failed", "alpha", "prometheus http://p:9090"),
    ("strict (dry run)", "at most 0.01 % of requests failed", "-", "prometheus http://p:9090"),
    (
        "traffic_share",
        "the canary's share of requests is the route's, up to 1.25 times the odds",
        "alpha",
        "prometheus http://p:9090",
    ),
    ("restarts", "at most 0 restarts of the canary's containers under traffic", "-", "the cluster"),
]


def test_gates_people_and_warnings(scene: Scene, pulumi: Pulumi) -> None:
    found = preview("walk")
    step = next(each for each in found["steps"] if each["urn"] == URN)
    plan = step["newState"]["inputs"]["plan"]
    plan["sources"] = {"p": {"kind": "prometheus", "address": "http://p:9090", "proxy": "contour"}}
    rate = {"test": "objective", "metric": {"name": "success_rate"}, "max_bad_ratio": 0.005, "source": "p"}
    share = {"test": "share", "id": "traffic_share", "source": "p"}
    plan["gates"] = [
        {"id": "success_rate", **rate},
        {"id": "strict", **rate, "max_bad_ratio": 0.0001, "dry_run": True},
        share,
        {"test": "restarts", "id": "restarts"},
    ]
    plan["steps"][1] |= {"wait_for_person": True, "interval_seconds": 90, "max_wait_seconds": 3900}
    plan["wait_before_traffic"] = True
    found["diagnostics"] = [
        {"urn": URN, "message": "warning: the token ends in 4 min\n", "severity": "warning"},
        {"urn": URN, "message": "info: success rate: 299 good requests show it\n", "severity": "info"},
        {"urn": URN, "message": "alpha 0.005 is shared by: success_rate\n", "severity": "info"},
        *({"urn": "urn:other", "message": "of no interest\n", "severity": kind} for kind in ("info", "warning")),
    ]
    pulumi.answers(0, json.dumps(found))
    assert scene.run("plan").stdout.splitlines() == [
        "prod/shop: shop-v1 -> shop-v2",
        "  before the first step, somebody has to promote it",
        "  STEP   WEIGHT   INTERVAL   MAX WAIT   CONFIRMED BY",
        "  1      20 %     0s         10m        -",
        "  2      50 %     1m30s      1h05m      somebody",
        "  GATE               WANTS" + 70 * " " + "SHARES   SOURCE",
        *(f"  {name:16}   {wants:72}   {shares:6}   {source}" for name, wants, shares, source in GATES),
        "  worst case 1h01m, people's waiting left out",
        "  success rate: 299 good requests show it",
        "  alpha 0.005 is shared by: success_rate",
        "  warning: the token ends in 4 min",
    ]


def test_what_the_gates_need_is_in_json_too(scene: Scene, pulumi: Pulumi) -> None:
    found = preview("walk")
    told = [("info", "success rate: 299 good requests show it"), ("warning", "the token ends in 4 min")]
    found["diagnostics"] = [{"urn": URN, "message": f"{kind}: {text}\n", "severity": kind} for kind, text in told]
    pulumi.answers(0, json.dumps(found))
    [walk] = json.loads(scene.run("plan", "-o", "json").stdout)
    assert (walk["notes"], walk["warnings"]) == ([told[0][1]], [told[1][1]])


@pytest.mark.parametrize("name", ["first", "settings", "same"])
def test_without_a_walk_gates_need_nothing(scene: Scene, pulumi: Pulumi, name: str) -> None:
    found = preview(name)
    found["diagnostics"] = [{"urn": URN, "message": "info: it catches much\n", "severity": "info"}]
    pulumi.answers(0, json.dumps(found))
    [release] = json.loads(scene.run("plan", "-o", "json").stdout)
    assert release["notes"] == []


def test_a_walk_that_was_cut_off_is_put_in_order(scene: Scene, pulumi: Pulumi) -> None:
    """The provider calls that a change although no input has changed."""
    found = preview("same")
    next(each for each in found["steps"] if each["urn"] == URN)["op"] = "update"
    pulumi.answers(0, json.dumps(found))
    assert "what an earlier rollout left is put in order" in scene.run("plan").stdout


def test_a_rollout_that_is_removed(scene: Scene, pulumi: Pulumi) -> None:
    found = preview("same")
    step = next(each for each in found["steps"] if each["urn"] == URN)
    step["op"] = "delete"
    del step["newState"]
    pulumi.answers(0, json.dumps(found))
    assert scene.run("plan").stdout == "prod/shop: is removed\n"


def test_the_keys_of_a_plan(scene: Scene) -> None:
    [walk] = json.loads(scene.run("plan", "-o", "json", "--json-file", str(PREVIEWS / "walk.json")).stdout)
    assert set(walk) == {
        *("app", "namespace", "change", "from_revision", "to_revision"),
        *("plan", "worst_case_seconds", "notes", "warnings"),
    }
    assert (walk["change"], walk["from_revision"], walk["to_revision"]) == ("walk", "v1", "v2")
    assert walk["worst_case_seconds"] == Plan.model_validate(walk["plan"]).worst_case_seconds()


FAILING: dict[str, tuple[tuple[int, str, str], str]] = {
    "a mistake in the program": (
        (1, json.dumps(preview("broken")), ""),
        "pulumi-python:dynamic/rollout:Rollout resource 'shop': property policy value {map[canari:{map[]}]} has a "
        "problem: there is no strategy canari; there are: canary",
    ),
    "a program that crashes": (
        (1, json.dumps(preview("crash")), ""),
        "Program failed with an unhandled exception:\nTraceback (most recent call last):\n  "
        "File \"__main__.py\", line 1, in <module>\n    raise ValueError('no')\nValueError: no",
    ),
    "no project": ((255, "", "error: no Pulumi.yaml project file found\n"), "error: no Pulumi.yaml project file found"),
    "nothing": ((0, "", ""), "`pulumi preview` printed nothing"),
}


@pytest.mark.parametrize(("answer", "words"), FAILING.values(), ids=FAILING)
def test_a_preview_that_fails_speaks_for_itself(
    scene: Scene, pulumi: Pulumi, answer: tuple[int, str, str], words: str
) -> None:
    pulumi.answers(*answer)
    given = scene.run("plan")
    assert (given.exit_code, given.stdout, given.stderr) == (1, "", f"error: {words.removeprefix('error: ')}\n")


def test_no_pulumi(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    given = scene.run("plan")
    assert (given.exit_code, given.stderr) == (
        1,
        "error: the Pulumi CLI cannot be run: [Errno 2] No such file or directory: 'pulumi'\n",
    )


@pytest.mark.parametrize(("content", "why"), [("{", "Expecting"), ("[]", "it has no steps"), (None, "[Errno 2]")])
def test_a_file_that_is_no_preview(scene: Scene, tmp_path: Path, content: str | None, why: str) -> None:
    path = tmp_path / "saved.json"
    if content is not None:
        path.write_text(content)
    given = scene.run("plan", "--json-file", str(path))
    assert given.exit_code == 1
    assert given.stderr.startswith(f"error: {path} is not the output of `pulumi preview --json`: {why}")


def test_a_plan_of_another_version(scene: Scene, pulumi: Pulumi) -> None:
    found = preview("walk")
    next(each for each in found["steps"] if each["urn"] == URN)["newState"]["inputs"]["plan"]["version"] = 9
    pulumi.answers(0, json.dumps(found))
    assert scene.run("plan").stderr == (
        "error: the plan of shop is not one that this version of `rollout` knows: use the version that is installed "
        "with the Pulumi program\n"
    )


# undo


def released(scene: Scene, revision: str, image: str | None, commit: str | None, **changes: Any) -> None:
    """One walk to that revision, which ended."""
    known = {"phase": "succeeded", "move": 0, "revision": revision, "walk": f"{revision}-1", **changes}
    scene.walks(**known)
    journal = scene.journal()
    assert journal.record is not None
    journal.history[-1] = journal.history[-1].model_copy(update={"image": image, "commit": commit})
    journal.begin(journal.record.model_copy(update={"image": image, "commit": commit}))


@pytest.fixture
def third(scene: Scene) -> Scene:
    """v1, v2, a v3 that failed; then v4, which serves."""
    released(scene, "v1", "shop:1", None)
    released(scene, "v2", "shop:2", "abc123-dirty")
    released(scene, "v3", "shop:3", "def456", phase="failed", reason="3 of 9 failed", stable="v2")
    released(scene, "v4", "shop:4", "fed789", stable="v2")
    scene.app.deploy("v4")
    scene.app.serve("v4")
    return scene


def test_undo_names_the_last_good_revision(third: Scene, pulumi: Pulumi) -> None:
    pulumi.answers(0, "shop:4\n", command="config get")
    assert third.run("undo", "shop", "--stack", "live").stdout.splitlines() == [
        "shop-v4 serves; before it, shop-v2 did (shop:2, commit abc123-dirty, of 2026-09-21T14:17:32Z).",
        "  git checkout abc123 && pulumi up --stack live",
        "  (that commit had changes that were not committed)",
        "  pulumi config set --path rollouts:applications.shop.image shop:2 --stack live && pulumi up --stack live",
    ]


def test_undo_after_a_failure_names_what_serves(third: Scene, pulumi: Pulumi) -> None:
    released(third, "v5", "shop:5", "aaa111", phase="failed", reason="3 of 9 failed", stable="v4")
    pulumi.answers(0, "shop:5\n", command="config get")
    assert third.run("undo", "shop").stdout.splitlines() == [
        "shop-v5 has failed, and shop-v4 serves (shop:4, commit fed789, of 2026-09-21T14:17:32Z).",
        "  git checkout fed789 && pulumi up",
        "  pulumi config set --path rollouts:applications.shop.image shop:4 && pulumi up",
    ]
    pulumi.answers(0, "", command="config set")
    given = third.run("undo", "shop", "--config")
    assert given.output == "rollouts:applications.shop.image is shop:4 now: run `pulumi up`\n"


def test_undo_in_a_program_that_has_its_image_elsewhere(third: Scene, pulumi: Pulumi) -> None:
    pulumi.answers(
        255, "", "error: configuration key 'rollouts:applications.shop.image' not found\n", command="config get"
    )
    given = third.run("undo", "shop", "-s", "live", "--cwd", "infra")
    assert given.stdout.splitlines()[1:] == [
        "  git checkout abc123 && pulumi up --stack live",
        "  (that commit had changes that were not committed)",
        "  deploy image shop:2: set it where your program has it, then pulumi up --stack live",
    ]
    key = ["--path", "rollouts:applications.shop.image", "--stack", "live"]
    assert pulumi.calls == [["config", "get", *key, "--non-interactive", "--color", "never", "--cwd", "infra"]]


def test_undo_without_the_pulumi_cli(third: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = third.run("undo", "shop", "--to", "v1").stdout.splitlines()
    assert shown[1:] == ["  deploy image shop:1: set it where your program has it, then pulumi up"]


def test_undo_to_a_revision(third: Scene, pulumi: Pulumi) -> None:
    pulumi.answers(0, "shop:4\n", command="config get")
    for name in ("v1", "shop-v1"):
        shown = third.run("undo", "shop", "--to-revision", name).stdout.splitlines()
        assert shown[0] == "shop-v4 serves; before it, shop-v1 did (shop:1, of 2026-09-21T14:17:32Z)."
        assert shown[1] == "  pulumi config set --path rollouts:applications.shop.image shop:1 && pulumi up"


@pytest.mark.parametrize("to", ["v3", "v9", "v4"])
def test_undo_to_a_revision_that_is_not_good(third: Scene, to: str) -> None:
    given = third.run("undo", "shop", "--to", to)
    reason = f"{to} is none of the revisions of shop that have served before; there are: shop-v1, shop-v2"
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")


def test_nothing_to_undo(scene: Scene) -> None:
    released(scene, "v1", "shop:1", None)
    given = scene.run("undo", "shop")
    reason = "no revision of shop is remembered that has served before shop-v1"
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")


def test_undo_during_a_rollout(third: Scene) -> None:
    third.walks(revision="v5", walk="v5-1")
    given = third.run("undo", "shop")
    reason = "a rollout of shop is not over yet: `rollout abort shop` puts the old version back"
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")


def test_undo_where_nothing_is_known(scene: Scene) -> None:
    released(scene, "v1", None, None)
    released(scene, "v2", None, None)
    assert scene.run("undo", "shop").stdout.splitlines()[1:] == [
        "  The journal knows neither its commit nor an image of its own: deploy it as you did then.",
    ]


def test_undo_sets_the_image(third: Scene, pulumi: Pulumi) -> None:
    pulumi.answers(0, "shop:4\n", command="config get")
    pulumi.answers(0, "", command="config set")
    given = third.run("undo", "shop", "--config", "-s", "live")
    assert given.output == "rollouts:applications.shop.image is shop:2 now: run `pulumi up --stack live`\n"
    key = ["--path", "rollouts:applications.shop.image"]
    plain = ["--stack", "live", "--non-interactive", "--color", "never"]
    assert pulumi.calls == [["config", "get", *key, *plain], ["config", "set", *key, "shop:2", *plain]]


def test_undo_sets_nothing_that_it_does_not_know(third: Scene, pulumi: Pulumi) -> None:
    pulumi.answers(0, "shop:5\n", command="config get")
    given = third.run("undo", "shop", "--config")
    reason = (
        "the configuration of the stack has shop:5 for shop, and shop:4 was deployed last: set "
        "rollouts:applications.shop.image yourself, or deploy the commit"
    )
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")
    pulumi.answers(255, "", "error: configuration key not found\nmore\n", command="config get")
    given = third.run("undo", "shop", "--config")
    reason = "the configuration of the stack has no image of shop: configuration key not found"
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")
    assert [call[1] for call in pulumi.calls] == ["get", "get"]


def test_undo_of_more_than_an_image(scene: Scene, pulumi: Pulumi) -> None:
    released(scene, "v1", "shop:1", "abc123")
    released(scene, "v2", "shop:1", "def456")
    given = scene.run("undo", "shop", "--config")
    reason = "shop-v1 differs in more than a known image, so that its commit has to be deployed"
    assert (given.exit_code, given.stderr) == (1, f"error: {reason}\n")
    assert pulumi.calls == []
    assert scene.run("undo", "shop").stdout.splitlines()[1:] == ["  git checkout abc123 && pulumi up"]


def test_undo_when_the_setting_fails(third: Scene, pulumi: Pulumi) -> None:
    pulumi.answers(0, "shop:4\n", command="config get")
    pulumi.answers(255, "", "error: passphrase must be set\n", command="config set")
    given = third.run("undo", "shop", "--config")
    assert given.stderr == "error: `pulumi config set` has failed: passphrase must be set\n"
