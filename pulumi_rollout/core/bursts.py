"""Failures that come in bursts: a test for failing that allows them, and whether a version has them.

Pure. Lives here: blocks of time, and the bets on them. Not here: single requests (`evidence.py`), or what
follows from either (`gates/`).

A dependency that is away for two seconds fails every request of these seconds; by requests that fail on
their own this cannot happen, so `evidence.py` takes it for a bad version. Here one bets on the share x of bad
requests in a whole block of time: the wealth of a stake c is multiplied by 1 + c (x/p0 - 1). While the
expected x, given all blocks before it, is at most p0, that cannot be expected to grow, however the failures
lie within a block. Blocks have to be at least as long as bursts are. Waudby-Smith and Ramdas, "Estimating
means of bounded random variables by betting", JRSS B 86(1), 2024, with stakes that are fixed and not learnt.

Each block begins one more test, of weight w_k = m / ((k+m)(k+m+1)), 1 in all over every k, so that
a healthy past does not dilute what begins late. All tests of one stake are one sum: R <- (R + w_k) (1 + c (x/p0 - 1)).
"""

from __future__ import annotations

from math import inf, log, log1p

from pulumi_rollout.core.evidence import log_add
from pulumi_rollout.core.model import Frozen

BLOCK_SECONDS = 10.0
# The share of its wealth that each loses in a block without failure: from a little too bad to broken.
STAKES = (0.05, 0.15, 0.4, 0.8)
# The m of the weights: 10 minutes of blocks begin with about the same stake.
_EVEN_BLOCKS = 60
# Independent failures have a dispersion of about 1; with a tenth as many blocks it says little.
BURSTY_DISPERSION, LEAST_BLOCKS, LEAST_BAD = 3.0, 12, 12


class Blocks(Frozen):
    """What is remembered of one version's blocks.

    + closed: how many blocks had requests and are over
    + total, bad: the version's counts when the open block began
    + squares: sum of the closed blocks' bad^2/total, from which their dispersion follows
    + log_wealth: of each stake; nothing before the first block
    """

    closed: int = 0
    total: int = 0
    bad: int = 0
    squares: float = 0.0
    log_wealth: tuple[float, ...] = ()


def close(blocks: Blocks, total: int, bad: int, p0: float) -> Blocks:
    """The blocks, with the open one closed at these counts; without a request in it, it stays open."""
    requests, share = total - blocks.total, (bad - blocks.bad) / max(1, total - blocks.total)
    if requests == 0:
        return blocks
    weight = log(_EVEN_BLOCKS) - log((blocks.closed + _EVEN_BLOCKS) * (blocks.closed + _EVEN_BLOCKS + 1))
    wealth = [
        log_add(before, weight) + log1p(stake * (share / p0 - 1))
        for before, stake in zip(blocks.log_wealth or (-inf,) * len(STAKES), STAKES, strict=True)
    ]
    squares = blocks.squares + requests * share * share
    return Blocks(closed=blocks.closed + 1, total=total, bad=bad, squares=squares, log_wealth=tuple(wealth))


def log_e_blocks(blocks: Blocks) -> float:
    """ln of the e-value against "blocks have at most p0 bad requests in the mean": the mean over all stakes of
    what their tests have, and of the weight of those that have not begun."""
    waiting = log(_EVEN_BLOCKS) - log(blocks.closed + _EVEN_BLOCKS)
    won = -inf
    for wealth in blocks.log_wealth:
        won = log_add(won, wealth - log(len(STAKES)))
    return log_add(won, waiting)


def dispersion(blocks: Blocks) -> float:
    """How much more the blocks differ than they would if each request failed on its own: Pearson's chi-square
    of the blocks' bad requests over its degrees of freedom; 1 while there are too few to tell."""
    if blocks.closed < LEAST_BLOCKS or not LEAST_BAD <= blocks.bad < blocks.total:
        return 1.0
    ratio = blocks.bad / blocks.total
    return (blocks.squares - blocks.bad * ratio) / (ratio * (1 - ratio)) / (blocks.closed - 1)
