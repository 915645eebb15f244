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
    from pulumi_rollout.cli.talk import Site

App = Annotated[str, typer.Argument(help="The application's name.", show_default=False)]
Output = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="For people, or for programs.")]
Stack = Annotated[str | None, typer.Option("--stack", "-s", help="The Pulumi stack; the selected one otherwise.")]
Folder = Annotated[str | None, typer.Option("--cwd", "-C", metavar="DIR", help="The Pulumi project's directory.")]


def seconds(text: str) -> float:
    """A duration such as 30s, in seconds."""
    from pydantic import TypeAdapter, ValidationError

    from pulumi_rollout.core.strategies import Duration

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
