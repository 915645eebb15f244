"""The best setting of each peer at each rate: of its whole grid, the one that somebody would choose who knew all this.

Best is the quickest to take traffic from a version with 5 % bad requests, among those that put back at most 5 % of
fine versions and miss at most 5 % of such bad ones; where no setting does, the one with the fewest wrong ends. Where
versions are compared, the same of a version that fails more than the old one and of one that fails as often. Not
here: what a peer does (`peers.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import inf
from multiprocessing.pool import Pool

from bench.peers import PEERS, Peer
from bench.scenarios import BY_NAME
from pulumi_rollout.simulate.tally import Tally
from pulumi_rollout.simulate.walk import End, channels

# What may go wrong, and with which versions a setting is chosen: (fine ones, a bad one), without and with comparison.
MOST_WRONG = 0.05
CHOSEN_BY = {False: (("healthy-0.1", "healthy-0.5"), "bad-5"), True: (("like-stable",), "regression")}
# A first look at all, and a second one at the best of them.
FIRST_RUNS, SECOND_RUNS, FINALISTS = 40, 300, 8
QUICK_RUNS, QUICK_EVERY = 20, 6

Chosen = dict[tuple[str, float, bool], Peer]


def choose(pool: Pool, rates: Sequence[float], *, quick: bool) -> Chosen:
    """The best setting by peer, rate, and whether versions are compared; in a hurry of some of them, without
    comparison."""
    return {
        (name, rate, compares): _best(pool, fitting, rate, compares, quick=quick)
        for name, grid in PEERS.items()
        for compares in ((False,) if quick else (False, True))
        for fitting in [[one for one in grid() if (one.query.max_ratio is not None) == compares]]
        for rate in rates
    }


def _best(pool: Pool, settings: Sequence[Peer], rate: float, compares: bool, *, quick: bool) -> Peer:
    rounds = ((QUICK_RUNS, 1),) if quick else ((FIRST_RUNS, FINALISTS), (SECOND_RUNS, 1))
    left = list(settings[:: QUICK_EVERY if quick else 1])
    for runs, kept in rounds:
        worth = pool.map(partial(_worth, rate=rate, compares=compares, runs=runs), left)
        left = [setting for _, _, setting in sorted(zip(worth, range(len(left)), left, strict=True))][:kept]
    return left[0]


def _worth(setting: Peer, rate: float, compares: bool, runs: int) -> tuple[bool, float, float]:
    """Smaller is better: whether it goes wrong too often, how often if so, and how long it takes."""
    fine, bad = CHOSEN_BY[compares]
    wrong = [_tally(setting, name, rate, runs).share(End.ABORTED, End.UNDECIDED).ratio for name in fine]
    found = _tally(setting, bad, rate, runs)
    wrong.append(found.share(End.PROMOTED).ratio)
    too_often = max(wrong) > MOST_WRONG
    seconds = found.seconds(0.5, bad=True)
    return too_often, sum(wrong) if too_often else 0.0, seconds if seconds < inf else 1e9


def _tally(setting: Peer, name: str, rate: float, runs: int) -> Tally:
    case = BY_NAME[name]
    scenario, names = case.scenario(rate), channels(case.plan("sufficient", 0.05))
    return Tally(tuple(setting.release(scenario, names, seed) for seed in range(runs)))
