"""The server of `hostile.py`: the package as an application mounts it, under uvicorn.

    python hostile_server.py CORE RECEIVE_BUFFER [--plain]

It prints its port. Of each line that it reads it publishes one event, whose number and time the line has, and
one large event on a channel that only an attacker listens to.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
from typing import Any

os.sched_setaffinity(0, {int(sys.argv[1])})  # before the engine has threads

import coulis  # noqa: E402
import uvicorn  # noqa: E402
from coulis.starlette import subscription_routes  # noqa: E402
from hostile_wire import SECRET  # noqa: E402
from starlette.applications import Starlette  # noqa: E402

INIT_SECONDS = 1.5
"""Shorter than the default, so that the refusal of who is slow is seen within a measurement."""
BULK = "x" * 4_000
DOCUMENTED = {"ws_max_size": 1 << 20, "ws_per_message_deflate": False}
"""What the page on security sets beside uvicorn's defaults."""


async def execute(query: str, variables: dict[str, Any], *_: Any) -> dict[str, Any]:
    """Answer each query with the same."""
    return {"data": {"a": 1}}


def application() -> tuple[coulis.SubscriptionManager, Starlette]:
    """Make the application: without and with tokens, with introspection switched off, and with rates."""
    registry = coulis.Registry()

    @registry.subscription(channel="tick", filter="event.text.matches(args.pattern)")
    def searched(event: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return {"searched": event}

    manager = coulis.SubscriptionManager(registry=registry)
    closed = coulis.SubscriptionManager(registry=coulis.Registry(), introspection=False)
    paced = coulis.SubscriptionManager(registry=coulis.Registry(), rates={"connection": (10, 20)})
    verifier = coulis.JWTVerifier(keys=[coulis.JWTKey.hmac("HS256", SECRET, kid="1")], audience="a")
    every: dict[str, Any] = {"execute": execute, "init_timeout": INIT_SECONDS}
    routes = [
        *subscription_routes(manager, "/graphql", **every),
        *subscription_routes(manager, "/signed", auth_handler=verifier, **every),
        *subscription_routes(closed, "/closed", **every),
        *subscription_routes(paced, "/paced", **every),
    ]
    return manager, Starlette(routes=routes)


async def main() -> None:
    """Serve until standard input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    manager, app = application()
    more: dict[str, Any] = {} if "--plain" in sys.argv else DOCUMENTED
    # What it logs of each hostile request is not written: the terminal's pace is not to be measured.
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", **more)
    server = uvicorn.Server(config)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        if (receive_buffer := int(sys.argv[2])) > 0:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listening.bind(("127.0.0.1", 0))
        listening.listen(1_024)
        print(listening.getsockname()[1], flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while line := await lines.readline():
            event = {**json.loads(line), "text": "a" * 40}
            await manager.publish_event("t", "tick", event)
            await manager.publish_event("t", "bulk", {"number": event["number"], "bulk": BULK})
        server.should_exit = server.force_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main())
