"""`python -m lab.app`: serve on $POD_IP and $PORT until SIGTERM, and $GRACE_SECONDS longer at most."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from lab.app.answers import App
from lab.app.server import Connection, Server


async def serve(environ: dict[str, str], port: int) -> None:
    app = App(environ)
    server = Server(app, float(environ.get("GRACE_SECONDS", "20")))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    host = environ.get("POD_IP", "0.0.0.0")
    await loop.create_server(lambda: Connection(server), host, port, backlog=1024)
    app.condition.arm()
    await server.done.wait()


def main(arguments: list[str]) -> None:
    """Serve on $PORT, or podinfo's own `--port=`; podinfo's other arguments mean nothing here."""
    port = os.environ.get("PORT") or "9898"
    for argument in arguments:
        if argument.startswith("--port="):
            port = argument.partition("=")[2]
    asyncio.run(serve(dict(os.environ), int(port)))


if __name__ == "__main__":
    main(sys.argv[1:])
