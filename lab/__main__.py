"""The lab's command line: `python -m lab up | down | status | exec`.

Lives here: arguments, and one sentence on stderr for every error. Everything else is `lab/cluster.py`.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys

from lab import cluster, tools
from lab.supervisor import OPTIONAL_PARTS, PARTS


def _up(options: argparse.Namespace) -> int:
    parts = tuple(filter(None, options.parts.split(",")))
    lab = cluster.up(options.name, options.scrape_seconds, parts, functools.partial(print, flush=True))
    print(f"kubeconfig {lab.kubeconfig}, Envoy {lab.envoy_url}, Prometheus {lab.prometheus_url}")
    print("reach them with `python -m lab exec -- COMMAND`")
    return 0


def _down(options: argparse.Namespace) -> int:
    for name in cluster.names() if options.all else [options.name]:
        print(f"lab {name}: removed" if cluster.down(name) else f"lab {name}: there is none")
    return 0


def _status(options: argparse.Namespace) -> int:
    for name in cluster.names() or [options.name]:
        found = cluster.status(name)
        print(f"lab {name}: {found['state']}")
        for part, state in found["parts"].items():
            print(f"  {part}: {state}")
    return 0


def _exec(options: argparse.Namespace) -> int:
    lab = cluster.find(options.name)
    if lab is None:
        raise cluster.LabError(f"lab {options.name} is not up: run `python -m lab up --name {options.name}`")
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        raise cluster.LabError("exec needs a command, as in `python -m lab exec -- pulumi version`")
    command = lab.command(*words)
    os.execvpe(command[0], command, lab.environment())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab", description="A Kubernetes cluster on one machine.")
    verbs = parser.add_subparsers(required=True)
    for name, function, words in (
        ("up", _up, "bring a lab up"),
        ("down", _down, "remove a lab: its processes, namespaces and files"),
        ("status", _status, "show every lab and its parts"),
        ("exec", _exec, "run a command inside a lab's network"),
    ):
        verb = verbs.add_parser(name, help=words, description=words)
        verb.set_defaults(function=function)
        verb.add_argument("--name", default="default", help="the lab's name (default: %(default)s)")
        if name == "up":
            verb.add_argument("--scrape-seconds", type=float, default=1.0, help="how often Prometheus scrapes")
            parts = f"default: %(default)s; and on demand {', '.join(OPTIONAL_PARTS)}"
            verb.add_argument("--parts", default=",".join(PARTS), help=parts)
        elif name == "down":
            verb.add_argument("--all", action="store_true", help="remove every lab")
        elif name == "exec":
            verb.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    options = parser.parse_args()
    try:
        return int(options.function(options))
    except (cluster.LabError, tools.SetupError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
