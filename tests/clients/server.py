"""The service under test: publishes over HTTP, prints its port, ends with its standard input."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import AsyncGenerator
from typing import Any

import coulis
import uvicorn
from coulis.asgi import SubscriptionApp
from coulis.fastapi import SubscriptionRouterFactory
from fastapi import FastAPI, Request
from graphql import build_schema

manager = coulis.SubscriptionManager()


@coulis.subscription(name="greeting", channel="orders")
async def greeting(event: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Answer something that only Python knows, or fail where the client asks for it."""
    if variables.get("fail"):
        raise coulis.UserError("no greeting today")
    return {"greeting": {"text": f"{variables['hello']} {event['id']}"}}


@coulis.subscription()
async def countdown(variables: dict[str, Any]) -> AsyncGenerator[dict[str, int], None]:
    """Count down without any event."""
    for number in range(variables["from"], 0, -1):
        yield {"countdown": number}


async def execute(query: str, variables: dict[str, Any], name: str | None, context: Any) -> dict[str, Any]:
    """Answer queries and mutations."""
    return {"data": {"hello": variables["name"]}}


app = FastAPI()
app.include_router(
    SubscriptionRouterFactory.create(
        manager, path="/graphql/subscriptions", legacy_protocol=True, execute=execute
    )
)

# Queries and mutations of a schema object, for the audits of GraphQL over HTTP.
SCHEMA = "type Query { hello: String } type Mutation { hello: String } type Subscription { hello: String }"
audited = coulis.SubscriptionManager(registry=coulis.Registry(), schema=build_schema(SCHEMA))
app.mount("/graphql/http", SubscriptionApp(audited))
app.mount("/graphql/open", SubscriptionApp(audited, csrf_prevention=False))


@app.post("/publish")
async def publish(request: Request) -> int:
    """Publish one event and answer how many deliveries it became."""
    body = await request.json()
    return await manager.publish_event(body.get("type", "changed"), body["channel"], body["data"])


@app.get("/subscriptions/{channel}")
async def subscriptions(channel: str) -> int:
    """Count the active subscriptions of a channel."""
    return len(manager.executor.subscriptions_by_channel(channel))


def main() -> None:
    """Serve on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def stop_at_end_of_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    main()
