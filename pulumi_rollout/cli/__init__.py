"""The command line `rollout`: look at rollouts, and say what they shall do.

One file talks to the cluster (`talk.py`), one to the Pulumi CLI (`stack.py`), one draws
(`render.py`); `look.py` and `preview.py` are pure. Not here: what a command means for a walk
(`core/commands.py`). Nothing else imports this package, nor typer or rich: a provider process has no
use for them.
"""


def main() -> None:
    """What `rollout` and `python -m pulumi_rollout` run."""
    from pulumi_rollout.cli.app import app

    app(prog_name="rollout")
