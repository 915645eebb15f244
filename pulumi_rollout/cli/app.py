"""The commands of `rollout`: each says what it takes, and hands on.

What is slow to import is imported where it is used, so that `--help` is quick; and typer reads
annotations, so they are no text here. Not here: anything that a command does.
"""

import json
import logging
import os
import traceback
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pulumi_rollout import __version__
from pulumi_rollout.cli.options import (
    App,
    Folder,
    Order,
    Output,
    Saved,
    Seconds,
    Stack,
    order,
    policy,
    site,
    takes,
    world,
)
from pulumi_rollout.errors import RolloutError

if TYPE_CHECKING:
    from pulumi_rollout.cli.simulate import Policy
    from pulumi_rollout.cli.talk import Site
    from pulumi_rollout.cli.world import World
    from pulumi_rollout.core.plan import Verb

ERROR = 1
INTERRUPTED = 130
EVERYWHERE = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]


class OneSentence(TyperGroup):
    """What is wrong is said in a sentence; its place in the code only to those who ask."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen."""
        try:
            return super().invoke(ctx)
        except RolloutError as error:
            if ctx.params.get("traceback") or os.environ.get("ROLLOUT_TRACEBACK"):
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(ERROR) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=OneSentence,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rollout {__version__}")
        raise typer.Exit


@app.callback()
def rollout(
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the code an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Look at rollouts that run inside `pulumi up`, and say what they shall do."""
    # Libraries log what they try again; an error of ours says what has come of it.
    logging.getLogger().addHandler(logging.NullHandler())


@app.command()
@takes(site)
def status(where: "Site", app: App, output: Output = "text") -> None:
    """How a rollout stands. Exit code: 0 at rest, 3 waits for people, 4 under way, 5 the last one failed."""
    from pulumi_rollout.cli import look, talk

    now = look.status(talk.facts(where, app))
    if output == "json":
        typer.echo(now.model_dump_json(indent=2))
    else:
        from pulumi_rollout.cli import render

        render.show(render.status(now))
    raise typer.Exit(now.exit_code)


@app.command("list")
@takes(site)
def list_(where: "Site", all_namespaces: EVERYWHERE = False, output: Output = "text") -> None:
    """All applications that have been released."""
    from pulumi_rollout.cli import look, talk

    known = talk.all_facts(where, everywhere=all_namespaces)
    found = [(name, app, one if isinstance(one, str) else look.status(one)) for name, app, one in known]
    if output == "json":
        unreadable = [
            {"namespace": name, "app": app, "problem": one} for name, app, one in found if isinstance(one, str)
        ]
        readable = [one.model_dump(mode="json") for _, _, one in found if not isinstance(one, str)]
        typer.echo(json.dumps([*readable, *unreadable], indent=2))
    elif found:
        from pulumi_rollout.cli import render

        render.show(render.listing(found, namespaces=all_namespaces))
    else:
        typer.echo(f"nothing has been released {'in any namespace' if all_namespaces else where.words}", err=True)


@app.command()
@takes(site)
def watch(where: "Site", app: App, timeout: Seconds = None) -> None:
    """Follow a rollout until it is over. Exit codes as of `status`."""
    from pulumi_rollout.cli import watch as loop

    raise typer.Exit(loop.watch(where, app, timeout))


@app.command()
@takes(site)
def history(where: "Site", app: App, output: Output = "text") -> None:
    """The last 20 rollouts, newest last."""
    from pulumi_rollout.cli import look, talk

    ended = look.history(talk.facts(where, app))
    if output == "json":
        typer.echo(json.dumps([one.model_dump(mode="json") for one in ended], indent=2))
    else:
        from pulumi_rollout.cli import render

        render.show(render.history(ended))


@app.command()
@takes(site, order)
def pause(where: "Site", how: Order, app: App) -> None:
    """Stay at the present weight."""
    _give(where, app, "pause", how)


@app.command()
@takes(site, order)
def resume(where: "Site", how: Order, app: App) -> None:
    """Go on after a pause."""
    _give(where, app, "resume", how)


@app.command()
@takes(site, order)
def promote(
    where: "Site",
    how: Order,
    app: App,
    full: Annotated[bool, typer.Option("--full", help="Skip all steps that are left; the gates still judge.")] = False,
) -> None:
    """Go on to the next step."""
    _give(where, app, "promote-full" if full else "promote", how)


@app.command()
@takes(site, order)
def abort(where: "Site", how: Order, app: App) -> None:
    """Put the old version back, from here if nobody else does."""
    _give(where, app, "abort", how)


@app.command()
@takes(site, order)
def restart(where: "Site", how: Order, app: App) -> None:
    """Put the old version back, and begin anew."""
    _give(where, app, "restart", how)


@app.command("set-weight")
@takes(site, order)
def set_weight(
    where: "Site", how: Order, app: App, percent: Annotated[int, typer.Argument(show_default=False)]
) -> None:
    """Set the new version's weight, and pause there."""
    _give(where, app, "set-weight", how, percent)


@app.command()
@takes(site)
def retry(where: "Site", app: App) -> None:
    """Let the revision that has failed be tried again."""
    from pulumi_rollout.cli import orders

    typer.echo(orders.retry(where, app))


@app.command()
@takes(site)
def undo(
    where: "Site",
    app: App,
    to_revision: Annotated[str | None, typer.Option("--to", "--to-revision", metavar="HASH")] = None,
    config: Annotated[bool, typer.Option("--config", help="Set its image in the stack's configuration.")] = False,
    stack: Stack = None,
    cwd: Folder = None,
) -> None:
    """What to deploy so that the last good revision serves again."""
    from pulumi_rollout.cli import stack as pulumi
    from pulumi_rollout.cli import talk

    facts = talk.facts(where, app)
    old = pulumi.earlier(facts, to_revision)
    if config:
        typer.echo(pulumi.set_image(facts, old, stack, cwd))
    else:
        typer.echo("\n".join(pulumi.ways_back(facts, old, stack, cwd)))


@app.command()
def plan(
    stack: Stack = None,
    cwd: Folder = None,
    json_file: Saved = None,
    output: Output = "text",
) -> None:
    """What the next `pulumi up` would do: steps, gates, how long."""
    from pulumi_rollout.cli import stack as pulumi

    found = pulumi.releases(stack, cwd, json_file)
    if output == "json":
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        from pulumi_rollout.cli import render

        render.show(line for one in found for line in render.plan(one))
    else:
        typer.echo("the stack has no rollouts", err=True)


@app.command()
@takes(world, policy)
def simulate(
    what: "World",
    otherwise: "Policy",
    app: Annotated[str | None, typer.Argument(help="The application whose policy it is.", show_default=False)] = None,
    stack: Stack = None,
    cwd: Folder = None,
    json_file: Saved = None,
    output: Output = "text",
) -> None:
    """How often a policy would be wrong, and how soon right: with the stack's, or without one with the default."""
    from pulumi_rollout.cli import simulate as chances
    from pulumi_rollout.cli import stack as pulumi

    if app or stack or cwd or json_file:
        name, chosen = chances.chosen(pulumi.plans(stack, cwd, json_file), app)
    else:
        name, chosen = None, chances.default_plan()
    found = chances.run(chances.changed(chosen, otherwise), what, chances.named(name, otherwise))
    if output == "json":
        typer.echo(found.model_dump_json(indent=2))
    else:
        from pulumi_rollout.cli import render

        render.show(render.simulation(found))


def _give(where: "Site", app: str, verb: "Verb", how: Order, percent: int | None = None) -> None:
    from pulumi_rollout.cli import orders

    typer.echo(orders.give(where, app, verb, how, percent))
