"""A service with the page and its console: publishes what it reads, and ends with its standard input."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import coulis
import uvicorn
from coulis.asgi import SubscriptionApp

SDL = """
type Query { hello(name: String!): String }
type Subscription { "Changes of orders." orders: Order }
type Order { id: Int! status: String }
"""

manager = coulis.SubscriptionManager(schema=SDL, registry=coulis.Registry())


async def execute(query: str, variables: dict[str, Any], name: str | None, context: Any) -> dict[str, Any]:
    """Answer queries and mutations."""
    return {"data": {"hello": "from the page's server"}}


async def identify(payload: dict[str, Any]) -> dict[str, Any]:
    """Let in who has the token, whether in `connection_init` or in a header."""
    if payload.get("authorization") != "Bearer open sesame":
        raise coulis.AuthenticationFailed("no token")
    return {"user_id": "reader", "tenant_id": "acme"}


app = SubscriptionApp(manager, auth_handler=identify, execute=execute, console=lambda _: True)


def main() -> None:
    """Serve on a free port; each line of standard input is the id of an order that changes."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    async def serve() -> None:
        loop = asyncio.get_running_loop()

        def publish_each_line() -> None:
            for line in sys.stdin:
                event = {"id": int(line), "status": "paid"}
                publishing = manager.publish_event("changed", "orders", event, tenant_id="acme")
                asyncio.run_coroutine_threadsafe(publishing, loop).result()
            server.should_exit = True

        threading.Thread(target=publish_each_line, daemon=True).start()
        print(listener.getsockname()[1], flush=True)
        await server.serve(sockets=[listener])

    asyncio.run(serve())


if __name__ == "__main__":
    main()
