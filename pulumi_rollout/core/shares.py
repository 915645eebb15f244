"""The sample-ratio test: whether the canary gets the share of requests that the route says.

Pure. Lives here: the test, and the share that was seen. Not here: the bets themselves (`splits.py`), or what follows
(`gates/`).

A proxy that has a weight w sends each request to the canary with chance w, so that of a window's n requests c are the
canary's, by a binomial chance. Its odds c/(n-c) are r times those of the weight; "as the route says" is
1/margin <= r <= margin. Half of the stakes is on ratios above the margin, half on ratios below 1/margin, the same bets
with the versions exchanged. By `splits.py` each has a mean of at most 1 for one request, so the e-value holds whatever
the weights are; a proxy that deals requests out in turn is steadier than chance and only makes it smaller. What is lost
before it is counted is found too. Fabijan and others, "Diagnosing sample ratio mismatch in online controlled
experiments", KDD 2019; as a sequential test, Lindon and Malek, NeurIPS 2022.

Assumed is that requests are sent one by one. Where a version is drawn for a connection or for a user (session affinity,
long-lived connections through a plain Service), many requests follow one draw, and this test must not be used.

A window ends where the weight changes, and begins when the proxy has it. Weights of 0 and 100 have no odds, and no
windows.
"""

from __future__ import annotations

from pulumi_rollout.core.model import Frozen
from pulumi_rollout.core.splits import Bets, log_e_placed, log_factors, placed, ratios_above

# Before so many requests in all nothing is said: connections from before the walk may be all that there is.
LEAST_REQUESTS = 100


class Shares(Frozen):
    """What is remembered of all windows.

    + requests: in all windows, of both versions
    + weight_percent: of the last window; canary, stable: requests since it is this one, for messages
    """

    bets: Bets = Bets()
    requests: int = 0
    weight_percent: float | None = None
    canary: int = 0
    stable: int = 0


def closed(state: Shares, canary: int, stable: int, weight_percent: float, margin: float) -> Shares:
    """The state after one more window with so many requests at this weight, 0 < weight_percent < 100; margin > 1 is
    that of all windows."""
    if canary + stable == 0:
        return state
    share = weight_percent / 100
    ratios = ratios_above(margin)
    above = log_factors(canary, stable, share, ratios, margin)
    below = log_factors(stable, canary, 1 - share, ratios, margin)
    same = weight_percent == state.weight_percent
    return Shares(
        bets=placed(state.bets, [*above, *below]),
        requests=state.requests + canary + stable,
        weight_percent=weight_percent,
        canary=canary + (state.canary if same else 0),
        stable=stable + (state.stable if same else 0),
    )


def log_e_off(state: Shares) -> float:
    """ln of the e-value against "the canary's odds are those of the route, up to the margin": large when it gets too
    much or too little, from any window on. 0, which is no evidence, before there were LEAST_REQUESTS."""
    return log_e_placed(state.bets) if state.requests >= LEAST_REQUESTS else 0.0


def observed_share(state: Shares) -> float | None:
    """The canary's share of the requests since the present weight; None before the first one."""
    requests = state.canary + state.stable
    return state.canary / requests if requests else None
