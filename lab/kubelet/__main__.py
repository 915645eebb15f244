"""`python -m lab.kubelet`: be the lab's one node until SIGTERM, which ends all its processes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from pathlib import Path

from lab.kubelet.api import connect
from lab.kubelet.node import Kubelet
from lab.kubelet.pod import Node


async def run(arguments: argparse.Namespace) -> None:
    async with connect(arguments.kubeconfig) as api:
        directory = arguments.directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        images, name, address = arguments.images.resolve(), arguments.node, arguments.address
        kubelet = Kubelet(Node(api, images, directory, name, address, arguments.api_address))
        work = asyncio.create_task(kubelet.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work
        await kubelet.shut_down()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.kubelet", description="The lab's kubelet.")
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="images.toml")
    parser.add_argument("--directory", type=Path, required=True, help="for volumes and logs")
    parser.add_argument("--node", default="lab", help="the Node's name")
    parser.add_argument("--address", default="10.44.0.1", help="the Node's address; pods share its /16")
    parser.add_argument("--api-address", default="10.96.0.1", help="the API server's address as pods see it")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
