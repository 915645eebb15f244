"""`python -m lab.plugin <engine address>`: serve the stand-in, print the port, end with the engine.

Lives here: the process. What it answers is `provider.py`'s.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab.plugin.answers import Engine
from lab.plugin.provider import Provider

THREADS = 64
GRACE_SECONDS = 5.0
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def _version() -> str:
    """The version of the SDK beside us: the engine asks for the plugin of that very version."""
    try:
        return importlib.metadata.version("pulumi-kubernetes")
    except importlib.metadata.PackageNotFoundError:
        return "4.32.0"


def _end_with(parent: int, provider: Provider, server: grpc.Server) -> None:
    """A killed engine cannot tell us to go; work that is in flight is finished first."""
    while os.getppid() == parent or provider.in_flight:
        time.sleep(2)
    server.stop(GRACE_SECONDS)


def main() -> None:
    parent = os.getppid()  # asked first: the engine may be killed while we start
    addresses = [word for word in sys.argv[1:] if not word.startswith("-")]
    provider = Provider(Engine(addresses[-1] if addresses else ""), _version())
    server = grpc.server(ThreadPoolExecutor(max_workers=THREADS), options=OPTIONS)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop(GRACE_SECONDS))
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with, args=(parent, provider, server), daemon=True).start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
