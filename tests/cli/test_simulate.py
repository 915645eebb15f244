"""`simulate`: which policy, what happens, and what is printed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pulumi_rollout.cli import simulate
from pulumi_rollout.cli.app import app as commands
from pulumi_rollout.cli.simulate import Policy, Simulation, changed, chosen, default_plan
from pulumi_rollout.cli.world import World, scenario
from pulumi_rollout.core.measures import Latency, Objective
from pulumi_rollout.core.plan import Plan
from pulumi_rollout.core.strategies import Canary
from pulumi_rollout.errors import InvalidInput, Refused
from pulumi_rollout.simulate.scenario import Bursts, Change, Course
from pulumi_rollout.simulate.tally import Tally
from pulumi_rollout.simulate.walk import End, Outcome

PREVIEWS = Path(__file__).parent / "previews"
WALK = str(PREVIEWS / "walk.json")
TIMES = {"a": 2, "b": 4, "c": 3}
# As few releases as tell the form.
FEW = ("--runs", "4", "--weights", "50", "--interval", "10s")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, ["simulate", *arguments])


def found(*arguments: str) -> Any:
    given = run(*arguments, "-o", "json")
    assert given.exit_code == 0, given.output
    return json.loads(given.stdout)


def world(**changes: Any) -> World:
    usual = World(100.0, 0.3, "", 0.001, 0.0, 0.0, "", 5.0, 2, 1)
    return usual._replace(**changes)


def test_what_is_printed() -> None:
    given = run(*FEW, "--error", "1", "--seed", "3")
    assert given.exit_code == 0, given.output
    title, headings, good, bad, false_abort, missed, because = given.stdout.splitlines()
    assert title == (
        "4 releases of each version at 100 requests a second, seed 3, with the default policy, as no application was "
        "named, changed by --weights, --interval"
    )
    assert headings.split("   ")[0] == "VERSION"
    assert good.split()[:7] == ["as", "good", "as", "stable", "100.0", "%", "0.0"]
    assert bad.split()[:5] == ["100", "%", "bad", "0.0", "%"]
    assert "100.0 %" in bad
    assert false_abort == "false abort: 0.0 %; at 99 % confidence between 0.00 % and 73.41 %"
    assert missed == "missed fault: 0.0 %; at 99 % confidence between 0.00 % and 73.41 %"
    assert because.startswith("100 % bad: put back 4 times, as in: success rate: ")


def simulated(plan: Plan, **changes: Any) -> Simulation:
    return simulate.run(plan, world(**changes), "this policy")


def test_reasons_are_counted_whatever_their_numbers() -> None:
    one = found(*FEW, "--error", "1", "--seed", "3")
    [reason] = one["bad"]["reasons"]
    assert (reason["end"], reason["count"]) == ("aborted", 4)
    assert reason["example"].startswith("success rate: ")
    assert one["good"]["reasons"] == []


def test_the_undecided_say_why() -> None:
    given = run(*FEW, "--rate", "1", "--max-wait", "70s", "--error", "0")
    [line] = [line for line in given.stdout.splitlines() if line.startswith("as good as stable: ")]
    assert line.startswith("as good as stable: undecided 4 times, as in: gate success_rate waits: ")


def test_the_most_frequent_reasons_come_first() -> None:
    ends = [Outcome(End.ABORTED, 1, 1, 0, reason=f"{why} of {n}") for why, times in TIMES.items() for n in range(times)]
    outcomes = (*ends, Outcome(End.PROMOTED, 1, 1, 0), Outcome(End.UNDECIDED, 1, 1, 0, reason="d 7"))
    told = [(one.end, one.count, one.example) for one in simulate._reasons(Tally(outcomes))]
    assert told == [("aborted", 4, "b of 0"), ("aborted", 3, "c of 0"), ("aborted", 2, "a of 0")]


def test_which_policy_it_was() -> None:
    title = run("shop", "--json-file", WALK, "--runs", "1", "--error", "0", "--alpha", "0.01").stdout.splitlines()[0]
    assert title.endswith(", seed 1, with the policy of shop, changed by --alpha")
    assert run("--json-file", WALK, "--runs", "1", "--error", "0").stdout.splitlines()[0].endswith("policy of shop")
    assert found(*FEW, "--error", "0")["policy"].startswith("the default policy, as no application was named")


def test_the_same_seed_prints_the_same() -> None:
    assert run(*FEW).stdout == run(*FEW).stdout
    assert found(*FEW, "--error", "0.3") != found(*FEW, "--error", "0.3", "--seed", "2")


def test_a_version_that_is_not_bad_is_not_simulated_twice() -> None:
    one = found(*FEW, "--error", "0.001")
    assert (one["bad"], one["missed"]) == (None, None)
    assert one["good"]["promoted"]["count"] == 4


def test_the_policy_of_a_stack_whether_it_would_be_walked_or_not() -> None:
    for name in ("walk", "same", "settings", "first"):
        given = run("shop", "--json-file", str(PREVIEWS / f"{name}.json"), "--runs", "1", "--error", "0")
        assert given.exit_code == 0, (name, given.output)
    given = run("cart", "--json-file", WALK)
    assert (given.exit_code, given.stderr) == (1, "error: there is no plan of cart; there are: shop\n")


def test_an_application_has_to_be_named_among_several() -> None:
    plans = {"shop": default_plan(), "cart": default_plan()}
    with pytest.raises(Refused, match="name the application: there are: cart, shop"):
        chosen(plans, None)
    with pytest.raises(Refused, match="the stack has no rollouts with a plan"):
        chosen({}, None)
    assert chosen({"shop": plans["shop"]}, None) == chosen(plans, "shop") == ("shop", plans["shop"])


def test_the_default_policy_is_the_one_of_who_leaves_all_as_it_is() -> None:
    plan, written = default_plan(), Canary()
    assert [step.weight_percent for step in plan.steps] == [10, 20, 30, 40, 50]
    assert (plan.alpha, plan.beta, plan.evidence) == (written.alpha, written.beta, written.evidence)
    assert [gate.id for gate in plan.gates if isinstance(gate, Objective)] == ["success_rate"]


def test_what_is_to_be_otherwise() -> None:
    policy = Policy(99.9, "20,60", 5.0, 300.0, 10, 0.01, 0.1, "required", "independent")
    plan = changed(default_plan(), policy)
    assert [(step.weight_percent, step.interval_seconds, step.max_wait_seconds) for step in plan.steps] == [
        (20, 5, 300),
        (60, 5, 300),
    ]
    assert (plan.alpha, plan.beta, plan.evidence, plan.failures) == (0.01, 0.1, "required", "independent")
    assert plan.limits.min_samples == 10
    [gate] = [gate for gate in plan.gates if isinstance(gate, Objective)]
    assert gate.max_bad_ratio == 0.001
    assert changed(plan, Policy()) == plan


def test_a_latency_gate_has_its_own_shares() -> None:
    slow = Objective(id="slow", source="s", metric=Latency(bound_seconds=0.5), max_bad_ratio=0.01)
    plan = changed(default_plan(), Policy(interval_seconds=5.0, weights="50"))
    plan = Plan.model_validate({**plan.model_dump(), "gates": [slow.model_copy(update={"source": _source(plan)})]})
    one = simulated(plan, error=0.0, slow=0.9)
    assert one.bad is not None
    assert (one.bad.name, one.bad.aborted.count, one.unseen) == ("90 % slow", 2, False)
    both = simulated(plan, error=0.9, slow=0.9)
    assert both.bad is not None
    assert (both.bad.name, both.unseen) == ("90 % bad and 90 % slow", True)
    missed = simulated(plan, error=0.9, slow=0.0)
    assert missed.false_abort.count == 0
    assert missed.reasons[-1] == "no gate of the policy looks at failed requests"
    assert missed.bad is not None and missed.bad.failed_requests_median > 100


def _source(plan: Plan) -> str:
    return next(iter(plan.sources))


@pytest.mark.parametrize(
    ("after", "course"),
    [
        ("", Course(0.3)),
        ("90s", Course(0.001, (Change(0.3, seconds=90, weight_percent=1),))),
        ("50%", Course(0.001, (Change(0.3, weight_percent=50),))),
    ],
)
def test_from_when_on_it_is_bad(after: str, course: Course) -> None:
    happens = scenario(default_plan(), world(error_after=after, bursts="2s/5m"))
    assert (happens.canary, happens.stable) == (course, Course(0.001))
    assert happens.bursts == Bursts(every_seconds=300, seconds=2)


MISTAKES = {
    "a rate": (("--rate", "0"), "--rate: must be more than 0 requests a second, not 0"),
    "no rate": (("--rate", "nan"), "--rate: must be more than 0 requests a second, not nan"),
    "an endless rate": (("--rate", "inf"), "--rate: must be more than 0 requests a second, not inf"),
    "slow for nobody": (
        ("--slow", "0.2", "--error", "0"),
        "--slow: no gate of the policy looks at latency, so no request is slow for it",
    ),
    "stable's slow ones for nobody": (
        ("--stable-slow", "0.2"),
        "--stable-slow: no gate of the policy looks at latency",
    ),
    "a weight that never comes": (
        ("--error-after", "200%"),
        "--error-after: never happens, as no weight is above 100 %, not '200%'",
    ),
    "a time that never comes": (
        ("--error-after", "1h"),
        "--error-after: never happens, as the rollout ends after 60 min (deadline), not '1h'",
    ),
    "a percentage of nothing": (
        ("--json-file", WALK, "--min-percent", "99"),
        "--min-percent: the policy has no success rate with a limit that it could change",
    ),
    "a share as a percentage": (("--min-percent", "0.99"), "--min-percent: is in percent, and at 0.99 % nearly all"),
    "all of them": (("--min-percent", "100"), "--min-percent: lies between 0 and 100 percent, both excluded, not 100"),
    "runs": (("--runs", "0"), "--runs: must be at least 1, not 0"),
    "a share": (("--error", "2"), "--error: is a share from 0 to 1, as in 0.02, not 2"),
    "another share": (("--stable-slow", "-1"), "--stable-slow: is a share from 0 to 1, as in 0.02, not -1"),
    "when": (
        ("--error-after", "soon"),
        "--error-after: a duration needs a number and a unit, as in 30s, 5m or 500ms, not 'soon'",
    ),
    "bursts": (
        ("--bursts", "2s"),
        "--bursts: a duration needs a number and a unit, as in 30s, 5m or 500ms, not ''",
    ),
    "no bursts": (("--bursts", "0s/5m"), "--bursts: lasts some time and comes now and then, as in 2s/5m, not '0s/5m'"),
    "weights": (("--weights", "ten"), "--weights: is a list of percentages, as in 10,25,50, not 'ten'"),
    "falling weights": (("--weights", "50,20"), "weights must rise from step to step, but 20 follows 50"),
    "alpha": (("--alpha", "2"), "plan.alpha: input should be less than 1, not 2.0"),
    "evidence": (("--evidence", "much"), "plan.evidence: input should be 'required' or 'sufficient', not 'much'"),
    "steps beyond the deadline": (
        ("--interval", "12m"),
        "policy.canary.deadline: the steps last at least 60.2 min, and the rollout ends after 60 min: raise deadline, "
        "or shorten interval",
    ),
    "a wait within the warm-up": (("--max-wait", "10s"), "policy.canary.maxWait: has to be longer than warmUp (60 s)"),
    "scrape": (("--scrape", "0s"), "--scrape: must be longer than nothing"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(arguments: tuple[str, ...], words: str) -> None:
    given = run(*arguments)
    assert (given.exit_code, given.stdout) == (1, "")
    assert given.stderr.startswith("error: ")
    assert words in given.stderr
    assert len(given.stderr.splitlines()) == 1


def test_a_mistake_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidInput):
        simulated(default_plan(), rate=0.0)
