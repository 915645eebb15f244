"""What a simulated walk's sources count and say: requests by proxy and pod, restarts, alerts.

Lives here: counters that rise, are reset, and are read now and then. Not here: who is asked how much (`world.py`).
"""

from __future__ import annotations

import random

from pulumi_rollout.core.counts import Reading, Sample
from pulumi_rollout.core.measures import Gate
from tests.core.scripts import NEW, OLD, Script

PROXIES = ("a", "b")
# How old a number is when it is read.
DELAY_SECONDS = 0.5
NO_ANSWER = "http://prometheus:9090 does not answer (Timeout)"
# (arm, what, proxy, pod) -> requests until now
Key = tuple[str, str, str, str]


class Counters:
    """Both versions' counters, as proxies have them, and as they were last scraped. What fails is slow as well.

    + restarts: of each pod of the canary
    + served, bad: each version's requests until now, and those that failed, for what laws ask
    """

    def __init__(self, script: Script, rng: random.Random) -> None:
        self._script, self._rng = script, rng
        self._counted: dict[Key, float] = {}
        self._scraped: dict[tuple[str, str], tuple[float, dict[Key, float]]] = {}
        self.restarts: dict[str, int] = {}
        self.served = {OLD: 0, NEW: 0}
        self.bad = {OLD: 0, NEW: 0}

    def serve(self, arm: str, pod: str, requests: int, bad_ratio: float, *, ends: bool = True) -> None:
        """Count so many requests to a pod."""
        bad = int(requests * bad_ratio + self._rng.random())  # on average the ratio, also of few requests
        bad = min(bad, requests)
        self.served[arm] += requests
        self.bad[arm] += bad
        for number, proxy in enumerate(PROXIES):
            share, failed = _part(requests, number), _part(bad, number)
            for what, many in (("200", share - failed), ("503", failed)):
                self._add((arm, what, proxy, pod), many)
            self._add((arm, "slow", proxy, pod), failed)
            self._add((arm, "begun", proxy, pod), share)
            self._add((arm, "ended", proxy, pod), share if ends else 0)

    def _add(self, key: Key, many: int) -> None:
        if many:
            self._counted[key] = self._counted.get(key, 0.0) + many

    def reset(self, arm: str) -> None:
        """A proxy begins anew; hardly ever all of them."""
        proxy = self._rng.choice(PROXIES)
        self._counted = {
            key: 0.0 if key[0] == arm and key[2] == proxy else value for key, value in self._counted.items()
        }

    def reading(self, gate: Gate, now: float, age: float) -> Reading:
        """What a gate's source answers. + age: seconds since the walk's begin"""
        if gate.test == "restarts":
            return Reading(events={f"{pod}/app": (float(number), "OOMKilled") for pod, number in self.restarts.items()})
        script = self._script
        silent = script.silent_from <= age < script.silent_until and (gate.dry_run or not script.only_dry_runs)
        if silent or self._rng.random() < 0.02:
            return Reading(no_data=NO_ANSWER)
        if gate.test == "alerts":
            return Reading(events={"Slow{}": (1.0, "Slow")} if age >= script.alert_at else {})
        at = now - DELAY_SECONDS
        for arm, seconds in ((OLD, script.scrape_seconds), (NEW, 1.6 * script.scrape_seconds)):
            known = self._scraped.get((arm, gate.id))
            if known is None or at - known[0] >= seconds * self._rng.uniform(0.6, 1):
                self._scraped[arm, gate.id] = at, dict(self._counted)
        return Reading(canary=self._sample(NEW, gate), stable=self._sample(OLD, gate))

    def _sample(self, arm: str, gate: Gate) -> Sample:
        at, counted = self._scraped[arm, gate.id]
        wanted = {"200": False, "503": True}
        if gate.test == "stalled":
            wanted = {"begun": False, "ended": True}
        elif gate.id == "latency":
            wanted = {"begun": False, "slow": True}
        found = {key: value for key, value in counted.items() if key[0] == arm and key[1] in wanted}
        series, pods = {}, {}
        for (_, what, proxy, pod), value in found.items():
            name = f"code={what},proxy={proxy},pod={pod}"
            slow = counted.get((arm, "slow", proxy, pod), 0.0) if what == "begun" and gate.id == "latency" else 0.0
            series[name] = (value - slow, wanted[what])
            if arm == NEW:
                pods[name] = pod
        return Sample(series=series, pods=pods, at=at)


def _part(number: int, proxy: int) -> int:
    """Half of a number, for the second proxy the smaller half."""
    return (number + 1 - proxy) // 2
