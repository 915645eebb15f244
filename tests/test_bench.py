"""The benchmark of the gates in small, and that its promises can be broken.

Lives here: what `python -m bench.gates --quick` prints. Not here: the models of peers (`bench/test_peers.py`), or the
whole benchmark, whose lines are kept in docs/benchmarks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from math import comb
from pathlib import Path
from typing import Any

import pytest

from bench import cost, gates, horizon, report
from bench.promises import broken
from bench.scenarios import BY_NAME, CASES
from pulumi_rollout.core import machine
from pulumi_rollout.simulate import walk

ROOT = Path(__file__).parent.parent
FIELDS = {
    "bench", "method", "setting", "mode", "scenario", "good", "rate", "alpha", "beta", "runs", "decidable",
    "false_abort", "missed", "bounds_99", "undecided", "horizon_seconds", "policy_outcome", "seconds_median",
    "seconds_p95", "failed_requests_median",
}  # fmt: skip
Line = dict[str, Any]


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """What the command prints."""
    command = [sys.executable, "-m", "bench.gates", "--quick", "--processes", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_promises_are_kept(lines: list[Line]) -> None:
    for line in lines:
        print(json.dumps(line))
    assert broken(lines) == []


def test_every_line_is_whole(lines: list[Line]) -> None:
    assert {line["method"] for line in lines} == {"ours", "flagger", "argo"}
    assert all(set(line) == FIELDS for line in lines)
    claimed = [line for line in lines if line["method"] == "ours" and line["good"]]
    assert {line["mode"] for line in claimed} == {"required", "sufficient"}
    assert all(line["runs"] >= 20 / line["alpha"] for line in claimed)
    assert all(line["setting"] for line in lines if line["method"] != "ours")


def test_a_bad_version_is_found_and_a_good_one_is_not_hurt(lines: list[Line]) -> None:
    """The promises hold for a gate that never fails too, so that it does is asked for by itself."""
    ours = {(line["scenario"], line["mode"]): line for line in lines if line["method"] == "ours"}
    assert ours["bad-100", "sufficient"]["seconds_p95"] <= 10
    assert ours["bad-5", "sufficient"]["missed"] == 0
    assert ours["bad-5", "required"]["policy_outcome"] == "aborted"
    assert ours["last-step", "sufficient"]["seconds_median"] <= 60
    assert ours["healthy-0.5", "sufficient"]["policy_outcome"] == "promoted"
    assert ours["at-limit", "required"]["policy_outcome"] == "undecided"


def test_the_lines_of_the_last_whole_run_are_whole_and_keep_the_promises() -> None:
    """What docs/benchmarks.md is made of."""
    known = report.kept()
    assert broken(known) == []
    found = [line for line in known if line["bench"] == "gates"]
    cells = {(cell.case.name, cell.rate, cell.mode, cell.alpha) for cell in gates.cells_of_ours(quick=False)}
    ours = [line for line in found if line["method"] == "ours"]
    assert {(line["scenario"], line["rate"], line["mode"], line["alpha"]) for line in ours} == cells
    peers = {(line["scenario"], line["rate"], line["method"]) for line in found if line["method"] != "ours"}
    assert peers == {
        (case.name, rate, peer)
        for case in CASES
        if not case.direct
        for rate in gates.rates_of(case)
        for peer in report.PEERS
    }


def test_what_a_bad_release_costs_is_what_is_promised() -> None:
    """Of the last 20 runs in the lab."""
    [cost_of_it] = [line for line in report.kept() if line["bench"] == "revert" and "medians" in line]
    assert cost_of_it["runs"] >= 20
    assert cost_of_it["medians"]["failed_requests"] <= 8
    assert cost_of_it["failed_requests_p95"] <= 14


def test_what_is_judged_is_what_is_shipped() -> None:
    assert vars(walk)["decide"] is machine.decide
    assert vars(cost)["decide"] is machine.decide
    assert vars(gates)["simulate"].__module__ == "pulumi_rollout.simulate.tally"


def doctored(lines: list[Line], scenario: str, mode: str, **changes: Any) -> list[Line]:
    """The same with one line of ours changed."""
    found = [line for line in lines if (line["method"], line["scenario"], line["mode"]) == ("ours", scenario, mode)]
    assert found
    return [{**line, **changes} if line is found[0] else line for line in lines]


def test_a_broken_promise_is_seen(lines: list[Line]) -> None:
    too_many = broken(doctored(lines, "healthy-0.5", "sufficient", false_abort=0.3, bounds_99=[0.2, 0.4]))
    assert too_many[0].startswith("healthy-0.5 at 10 requests a second, evidence sufficient, alpha 0.2: 30.00% of")
    missed = broken(doctored(lines, "bad-5", "required", missed=0.1, bounds_99=[0.05, 0.2]))
    assert (
        "10.00% of 120 bad releases were promoted, at most 20.00% at 99 % confidence; promised are 5.00%" in missed[0]
    )
    undecided = broken(doctored(lines, "bad-5", "required", undecided=0.3))
    assert "30% were not decided within 600 s" in undecided[0]
    slow = doctored(lines, "bad-5", "sufficient", seconds_median=500.0)
    assert broken(slow) == [], "later, with fewer false aborts, is a choice"
    worse = [
        {**line, "false_abort": 0.0, "bounds_99": [0.0, 0.01]}
        if line["method"] != "ours" and line["scenario"] == "healthy-0.5"
        else line
        for line in slow
    ]
    outdone = doctored(worse, "healthy-0.5", "sufficient", false_abort=0.1, bounds_99=[0.04, 0.19])
    assert {sentence.partition("with ")[2].split()[0] for sentence in broken(outdone)} == {"flagger", "argo"}
    assert "traffic was back after 500.0 s" in broken(outdone)[0]


def test_a_test_of_fixed_size() -> None:
    """The smallest numbers, checked by sums of binomial chances."""

    def at_most(count: int, runs: int, chance: float) -> float:
        return sum(comb(runs, k) * chance**k * (1 - chance) ** (runs - k) for k in range(count + 1))

    assert horizon.fixed_size(0.01, 1.0, 0.05) == 1
    passes = horizon.fixed_size(0.01, 0.001, 0.05)
    assert at_most(1, passes, 0.01) <= 0.05
    assert at_most(1, passes, 0.001) >= 0.8
    assert at_most(0, passes - 60, 0.001) < 0.8 or at_most(0, passes - 60, 0.01) > 0.05
    assert horizon.fixed_size(0.01, 0.05, 0.005) > horizon.fixed_size(0.01, 0.05, 0.05) > 50


@pytest.mark.parametrize(
    ("scenario", "rate", "mode", "decidable"),
    [
        ("healthy-0.1", 0.05, "required", False),
        ("healthy-0.1", 10.0, "required", True),
        ("at-limit", 500.0, "required", False),
        ("at-limit", 500.0, "sufficient", True),
        ("healthy-0.5", 0.05, "sufficient", False),
        ("bad-100", 0.3, "sufficient", True),
        ("bad-2", 2.0, "sufficient", False),
        ("bad-2", 50.0, "required", True),
        ("regression", 0.3, "sufficient", False),
        ("regression", 500.0, "sufficient", True),
        ("6-gates-bad-5", 10.0, "sufficient", True),
    ],
)
def test_what_can_be_decided(scenario: str, rate: float, mode: Any, decidable: bool) -> None:
    case = BY_NAME[scenario]
    assert horizon.horizon(case, case.plan(mode, 0.05), rate, mode).decidable is decidable


def test_each_bad_version_has_good_twins() -> None:
    for case in CASES:
        assert bool(case.twins) is not case.good
        assert all(BY_NAME[twin].good for twin in case.twins)


def test_the_cost_of_a_look() -> None:
    """In `make test`, three times what is promised on a machine of its own."""
    found = {line["gates"]: line for line in cost.lines() if line["scenario"] != "healthy-0.1"}
    print(json.dumps(found, indent=2))
    assert found[6]["gates_milliseconds"] <= 3
