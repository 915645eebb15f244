"""What several commands take, in kubectl's words, and how a command gets it: as one value.

Lives here: types of options. Imported for every `--help`, so nothing slow is imported here; and typer
reads annotations, so they are no text here.
"""

import functools
import inspect
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

if TYPE_CHECKING:
    from pulumi_rollout.cli.simulate import Policy
    from pulumi_rollout.cli.talk import Site
    from pulumi_rollout.cli.world import World

App = Annotated[str, typer.Argument(help="The application's name.", show_default=False)]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="For people, or for programs.")]
Stack = Annotated[str | None, typer.Option("--stack", "-s", help="The Pulumi stack; the selected one otherwise.")]
Folder = Annotated[str | None, typer.Option("--cwd", "-C", metavar="DIR", help="The Pulumi project's directory.")]
Saved = Annotated[
    str | None,
    typer.Option(
        "--json-file",
        metavar="FILE",
        help="Read what `pulumi preview --json --show-sames` printed, and run nothing.",
    ),
]


def seconds(text: str) -> float:
    """A duration such as 30s, in seconds."""
    from pydantic import TypeAdapter, ValidationError

    from pulumi_rollout.core.written import Duration

    try:
        value: float = TypeAdapter(Duration).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    return value


Seconds = Annotated[float | None, typer.Option("--timeout", metavar="DURATION", parser=seconds)]


class Order(NamedTuple):
    """How to give a command. + revision: that the operator means; None for whichever is under way"""

    reason: str
    revision: str | None
    timeout_seconds: float


def site(
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="The application's namespace; the context's otherwise."),
    ] = None,
    context: Annotated[str | None, typer.Option("--context", help="The kubeconfig's context.")] = None,
    kubeconfig: Annotated[str | None, typer.Option("--kubeconfig", metavar="FILE", help="The kubeconfig.")] = None,
) -> "Site":
    """Where the application is."""
    from pulumi_rollout.cli import talk

    return talk.site(namespace, context, kubeconfig)


def order(
    reason: Annotated[str, typer.Option("--reason", help="Why; shown to whoever looks.")] = "",
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="HASH", help="Refuse if the rollout is to another revision."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="DURATION", parser=seconds, help="How long to wait for the rollout's answer."
        ),
    ] = "30s",  # type: ignore[assignment]
) -> Order:
    """How a command is given."""
    return Order(reason, revision, timeout)


def world(
    rate: Annotated[float, typer.Option("--rate", help="Requests a second of all users.")] = 100.0,
    error: Annotated[float, typer.Option("--error", help="The bad version's share of failed requests.")] = 0.02,
    error_after: Annotated[
        str,
        typer.Option(
            "--error-after",
            metavar="WHEN",
            help="Until then it is as good as the old one: 90s since its first request, or from a weight of 50%.",
        ),
    ] = "",
    stable_error: Annotated[
        float, typer.Option("--stable-error", help="The same of the old and the good one.")
    ] = 0.001,
    slow: Annotated[float, typer.Option("--slow", help="The bad version's share of requests beyond the bound.")] = 0.0,
    stable_slow: Annotated[float, typer.Option("--stable-slow", help="Of the old version and a good one.")] = 0.0,
    bursts: Annotated[
        str,
        typer.Option("--bursts", metavar="LENGTH/EVERY", help="All requests fail now and then, as in 2s/5m."),
    ] = "",
    scrape: Annotated[
        float,
        typer.Option("--scrape", metavar="DURATION", parser=seconds, help="How often counters are read."),
    ] = "5s",  # type: ignore[assignment]
    runs: Annotated[int, typer.Option("--runs", help="Releases of each version.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="The same seed has the same luck.")] = 1,
) -> "World":
    """What happens in a simulated release."""
    from pulumi_rollout.cli.world import World

    return World(rate, error, error_after, stable_error, slow, stable_slow, bursts, scrape, runs, seed)


def policy(
    min_percent: Annotated[float | None, typer.Option("--min-percent", help="Of the success rate.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="The steps, as in 10,25,50.")] = None,
    interval: Annotated[float | None, typer.Option("--interval", metavar="DURATION", parser=seconds)] = None,
    max_wait: Annotated[float | None, typer.Option("--max-wait", metavar="DURATION", parser=seconds)] = None,
    min_samples: Annotated[int | None, typer.Option("--min-samples")] = None,
    alpha: Annotated[float | None, typer.Option("--alpha")] = None,
    beta: Annotated[float | None, typer.Option("--beta")] = None,
    evidence: Annotated[str | None, typer.Option("--evidence", help="required or sufficient.")] = None,
    failures: Annotated[str | None, typer.Option("--failures", help="auto, independent or bursty.")] = None,
) -> "Policy":
    """What is to be otherwise than in the policy, to see what it would change."""
    from pulumi_rollout.cli.simulate import Policy

    return Policy(min_percent, weights, interval, max_wait, min_samples, alpha, beta, evidence, failures)


def takes(*makers: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of these functions; its first arguments are what they return."""
    shared = [list(inspect.signature(maker).parameters.values()) for maker in makers]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            made = [
                maker(**{parameter.name: given.pop(parameter.name) for parameter in parameters})
                for maker, parameters in zip(makers, shared, strict=True)
            ]
            return command(*made, **given)

        own = list(inspect.signature(command).parameters.values())[len(makers) :]
        parameters = [each.replace(kind=each.KEYWORD_ONLY) for each in (*own, *itertools.chain(*shared))]
        # What typer reads; functools.wraps has left those of the command itself.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate
