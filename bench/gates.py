"""How well a release is judged: false aborts, missed faults and time, of ours and of models of peers.

Every line is JSON. Ours is the shipped `decide()` in the world of `pulumi_rollout/simulate`; peers are the models of
`peers.py`, each at the best of a grid of its settings, in the same world. `python -m bench.gates [--quick | --cost]
[--out FILE]`; all of it takes the better part of an hour of one processor. Not here: what must come of it
(`promises.py`), or the page that shows it (`report.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from bench import best, cost
from bench.horizon import horizon
from bench.peers import PEERS, Peer
from bench.scenarios import BY_NAME, CASES, RATES, Case, Mode
from pulumi_rollout.simulate.tally import Share, Tally, simulate
from pulumi_rollout.simulate.walk import End, channels

Line = dict[str, Any]

# At a larger alpha fewer runs show that it is kept; the default is shown too, for time and in one cell.
ALPHA, COARSE_ALPHA, DEFAULT_ALPHA, QUICK_ALPHA = 0.05, 0.1, 0.005, 0.2
MODES: tuple[Mode, ...] = ("required", "sufficient")
# Scenarios that are run at every rate; the others at some, and all but these at the coarse alpha.
HEADLINES = ("healthy-0.1", "healthy-0.5", "at-limit", "bad-2", "bad-5", "bad-30", "bad-100", "last-step")
SOME_RATES = (0.3, 10.0, 500.0)
AT_ALPHA = (*HEADLINES, "bursts", "bursts-auto", "bursts-bad-5", "bad-5-direct", "bad-100-direct")
# What depends on what a step waits for is run under both modes.
BOTH_MODES = (*HEADLINES, "like-stable", "regression", "shared-outage", "warm-up")
SHOWN_AT_DEFAULT = (("at-limit", 10.0),)
# Runs where a false abort is claimed, by 1 / alpha; elsewhere; and how often they are doubled where it is close.
RUNS_BY_ALPHA, RUNS, DOUBLINGS = 20, 150, 2
# For tests: small, but of every kind.
QUICK_RATES, QUICK_RUNS = (10.0,), 30
QUICK: tuple[tuple[str, Mode], ...] = (
    ("healthy-0.5", "sufficient"),
    ("at-limit", "required"),
    ("bursts", "sufficient"),
    ("bad-5", "sufficient"),
    ("bad-5", "required"),
    ("bad-100", "sufficient"),
    ("last-step", "sufficient"),
)
_PRIME = 1_000_003


@dataclass(frozen=True)
class Cell:
    """One line to be. + peer: None for ours; runs: to begin with"""

    case: Case
    rate: float
    mode: Mode = "sufficient"
    alpha: float = ALPHA
    runs: int = RUNS
    peer: tuple[str, Peer] | None = None


def cells_of_ours(*, quick: bool) -> list[Cell]:
    """What is run of ours; what takes longest first."""
    if quick:
        return [_cell(BY_NAME[name], rate, mode, QUICK_ALPHA) for name, mode in QUICK for rate in QUICK_RATES]
    found = [
        _cell(case, rate, mode, ALPHA if case.name in AT_ALPHA else COARSE_ALPHA)
        for case in CASES
        for rate in rates_of(case)
        for mode in MODES
        if mode == "sufficient" or case.name in BOTH_MODES
    ]
    found += [
        _cell(case, rate, "sufficient", DEFAULT_ALPHA)
        for case in CASES
        for rate in rates_of(case)
        if not case.good and case.name in AT_ALPHA
    ]
    found += [_cell(BY_NAME[name], rate, "sufficient", DEFAULT_ALPHA) for name, rate in SHOWN_AT_DEFAULT]
    return sorted(found, key=lambda cell: -cell.runs * cell.case.gates)


def cells_of_peers(chosen: best.Chosen, *, quick: bool) -> list[Cell]:
    """Each peer at its best, in every scenario."""
    cases = [BY_NAME[name] for name in dict.fromkeys(name for name, _ in QUICK)] if quick else CASES
    return [
        Cell(case, rate, runs=round(RUNS_BY_ALPHA / ALPHA) if case.good else RUNS, peer=(name, setting))
        for case in cases
        if not case.direct
        for rate in (QUICK_RATES if quick else rates_of(case))
        for name in PEERS
        if (setting := chosen.get((name, rate, case.compares))) is not None
    ]


def rates_of(case: Case) -> Sequence[float]:
    """At which a case is run."""
    return RATES if case.name in HEADLINES else SOME_RATES


def _cell(case: Case, rate: float, mode: Mode, alpha: float) -> Cell:
    few = QUICK_RUNS if alpha == QUICK_ALPHA else RUNS
    return Cell(case, rate, mode, alpha, round(RUNS_BY_ALPHA / alpha) if case.good else few)


def run(cell: Cell) -> Line:
    """One line. More runs are made where it is not yet clear on which side of its promise it is."""
    tally, done = Tally(()), 0
    for doubling in range(DOUBLINGS + 1):
        until = cell.runs << doubling
        seeds = [_PRIME * RATES.index(cell.rate) + number for number in range(done, until)]
        tally, done = Tally((*tally.outcomes, *_outcomes(cell, seeds).outcomes)), until
        promised = _promised(cell, tally)
        if promised is None or promised[0].high <= promised[1] or promised[0].low > promised[1]:
            break
    return _line(cell, tally)


def _outcomes(cell: Cell, seeds: Iterable[int]) -> Tally:
    scenario, plan = cell.case.scenario(cell.rate), cell.case.plan(cell.mode, cell.alpha)
    if cell.peer is None:
        return simulate(plan, scenario, seeds)
    return Tally(tuple(cell.peer[1].release(scenario, channels(plan), seed) for seed in seeds))


def _promised(cell: Cell, tally: Tally) -> tuple[Share, float] | None:
    """What is promised of a cell: what is counted, and how much of it there may be."""
    if cell.peer is not None:
        return None
    if cell.case.good:
        return tally.share(End.ABORTED), cell.alpha
    plan = cell.case.plan(cell.mode, cell.alpha)
    if cell.mode == "required" and horizon(cell.case, plan, cell.rate, cell.mode).decidable:
        return tally.share(End.PROMOTED), plan.beta
    return None


def _line(cell: Cell, tally: Tally) -> Line:
    case, peer = cell.case, cell.peer
    plan = case.plan(cell.mode, cell.alpha)
    has = horizon(case, plan, cell.rate, cell.mode)
    outcomes = {end: tally.share(end) for end in End}
    wrong = outcomes[End.ABORTED if case.good else End.PROMOTED]
    return {
        "bench": "gates",
        "method": peer[0] if peer else "ours",
        "setting": peer[1].words if peer else "",
        "mode": None if peer else cell.mode,
        "scenario": case.name,
        "good": case.good,
        "rate": cell.rate,
        "alpha": None if peer else cell.alpha,
        "beta": None if peer else plan.beta,
        "runs": wrong.runs,
        "decidable": None if peer else has.decidable,
        "false_abort": wrong.ratio if case.good else None,
        "missed": None if case.good else wrong.ratio,
        "bounds_99": [round(wrong.low, 5), round(wrong.high, 5)],
        "undecided": outcomes[End.UNDECIDED].ratio,
        "horizon_seconds": None if peer else round(has.seconds, 1),
        "policy_outcome": max(outcomes, key=lambda end: outcomes[end].count).value,
        "seconds_median": _finite(tally.seconds(0.5, bad=not case.good)),
        "seconds_p95": _finite(tally.seconds(0.95, bad=not case.good)),
        "failed_requests_median": tally.failed(0.5),
    }


def _finite(seconds: float) -> float | None:
    return round(seconds, 2) if isfinite(seconds) else None


def lines(*, quick: bool, processes: int) -> Iterator[Line]:
    """All of them, as they are done."""
    with Pool(processes) as pool:
        yield from pool.imap_unordered(run, cells_of_ours(quick=quick))
        chosen = best.choose(pool, QUICK_RATES if quick else RATES, quick=quick)
        yield from pool.imap_unordered(run, cells_of_peers(chosen, quick=quick))
    if not quick:
        yield from cost.lines()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gates", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small part, for tests")
    parser.add_argument("--cost", action="store_true", help="CPU time of a look, and nothing else")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file for the lines; else standard output")
    arguments = parser.parse_args()
    out = arguments.out.open("w") if arguments.out else sys.stdout
    made = cost.lines() if arguments.cost else lines(quick=arguments.quick, processes=arguments.processes)
    for line in made:
        print(json.dumps(line), file=out, flush=True)


if __name__ == "__main__":
    main()
