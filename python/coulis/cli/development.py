"""The application that `coulis dev` serves: the program's own, and a door for `coulis publish`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from coulis._coulis import CoulisError
from coulis.asgi import Message, MetricsApp, Receive, Send
from coulis.cli.loading import LoadError, endpoints, load, manager_of
from coulis.cli.terms import screen
from coulis.manager import SubscriptionManager
from coulis.types import Scope

__all__ = ["PUBLISH_PATH", "DevelopmentApp", "create"]

PUBLISH_PATH = "/coulis/publish"
BODY_BYTES_MAX = 16 * 1024 * 1024
APP_VARIABLE = "COULIS_DEV_APP"
"""Where the command leaves the name for the processes that a reload starts."""
ADDRESS_VARIABLE = "COULIS_DEV_ADDRESS"

FIELDS = {"type", "channel", "data", "before", "tenant_id", "user_id", "event_id"}


def create() -> DevelopmentApp:
    """Make the application in a process of the server; tell where it is."""
    name, address = os.environ[APP_VARIABLE], os.environ[ADDRESS_VARIABLE]
    try:
        app, manager = load(name), manager_of(name)
    except LoadError as error:
        sys.exit(f"error: {error}")
    out = screen()
    for path, _ in endpoints(app):
        out.print(f"subscriptions  [bold]ws://{address}{path}[/bold]")
    out.print(f"metrics        http://{address}/metrics")
    out.print(f"""to try         {publish_line(manager, address)}""", markup=False)
    return DevelopmentApp(app, manager)


def publish_line(manager: SubscriptionManager, address: str) -> str:
    """Answer a command that publishes to a channel of the program."""
    declared = next(iter(manager.registry.fields.values()), None)
    channel = "orders" if declared is None else next(iter(declared.channels), declared.name)
    return f"""coulis publish {channel} '{{"id": 1}}' --http http://{address}"""


class DevelopmentApp:
    """The program's application, with `/metrics` and so on, and a route that publishes what anybody sends.

    For a machine of a developer only. Pages of a browser are not let in: they name their origin.
    """

    def __init__(self, app: Any, manager: SubscriptionManager) -> None:
        self.manager = manager
        self._app = MetricsApp(manager, app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == PUBLISH_PATH:
            status, body = await self._publish(scope, receive)
            await _answer(send, status, body)
        else:
            await self._app(scope, receive, send)

    async def _publish(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        headers = {name.lower(): value for name, value in scope["headers"]}
        if b"origin" in headers:
            return 403, {"error": "pages of a browser may not publish"}
        if scope["method"] != "POST" or headers.get(b"content-type") != b"application/json":
            return 415, {"error": "POST application/json"}
        try:
            event = json.loads(await _body(receive))
            if unknown := set(event) - FIELDS:
                raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
            event_type, channel, data = event.pop("type"), event.pop("channel"), event.pop("data")
            return 200, {"deliveries": await self.manager.publish_event(event_type, channel, data, **event)}
        except (ValueError, TypeError, KeyError, CoulisError) as error:
            return 400, {"error": f"{type(error).__name__}: {error}"}


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message: Message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > BODY_BYTES_MAX:
            raise ValueError(f"the body has more than {BODY_BYTES_MAX} bytes")
        if not message.get("more_body"):
            return body


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
