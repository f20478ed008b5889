"""What an application decides about connections holds over HTTP as it does over WebSocket."""

import asyncio
import json

import coulis
import pytest
from conftest import served, until
from coulis.asgi import SubscriptionApp
from streams import EVENTS, asked, browsing, events

QUERY = "subscription { user { id } }"


class Nobody:
    """A permission that nobody has."""

    message = "not you"

    def has_permission(self, source, info, **arguments):
        return False


async def test_on_connect_is_asked_and_may_refuse(manager):
    seen = []

    async def on_connect(connection):
        seen.append(connection.payload["authorization"])
        if connection.payload["authorization"] != "yes":
            raise coulis.UserError('no "entry"')

    async with (
        served(SubscriptionApp(manager, on_connect=on_connect)) as address,
        browsing(address) as client,
    ):
        answer = await client.post("/", headers={**EVENTS, "authorization": "no"}, **asked(QUERY))
        assert (answer.status_code, answer.json()["errors"][0]["message"]) == (403, 'no "entry"')
        async with events(client, headers={"authorization": "yes"}, **asked(QUERY)) as stream:
            await until(lambda: manager.executor.subscriptions_by_channel("user"))
            await manager.publish_event("e", "user", {"id": 1})
            assert await stream.result() == {"data": {"user": {"id": 1}}}
    assert seen == ["no", "yes"]


async def test_the_older_protocol_goes_without_permissions(manager):
    with pytest.raises(ValueError, match="legacy_protocol"):
        SubscriptionApp(manager, legacy_protocol=True, permission_classes=[Nobody])


@pytest.mark.parametrize("type", ["http", "websocket"])
def test_a_connection_that_is_thrown_away_after_its_loop_says_nothing(type):
    """As when `sys.exit` in a task ends a loop while a request is under way."""
    loop, sent = asyncio.new_event_loop(), []
    body = {"type": "http.request", "body": json.dumps({"query": QUERY}).encode()}
    first = body if type == "http" else {"type": "websocket.connect"}
    headers = [(b"accept", b"text/event-stream"), (b"content-type", b"application/json")]
    scope = {"type": type, "method": "POST", "path": "/", "headers": headers}

    async def begin():
        manager = coulis.SubscriptionManager(registry=coulis.Registry())
        messages = [first]

        async def receive():
            return messages.pop() if messages else await loop.create_future()

        async def send(message):
            sent.append(message)

        app = SubscriptionApp(manager, on_disconnect=print)
        serving = app({**scope, "subprotocols": ["graphql-transport-ws"]}, receive, send)
        task = loop.create_task(serving)
        await until(lambda: sent and manager.get_metrics()["subscribers"])
        return manager, serving, task

    manager, serving, _ = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    serving.close()
    assert manager.get_metrics()["subscribers"] == 0
    manager.executor.close()


async def test_a_drain_ends_streams_after_what_is_ready(manager):
    app = SubscriptionApp(manager)
    async with served(app) as address, browsing(address) as client:
        async with events(client, **asked(QUERY)) as stream:
            await until(lambda: manager.executor.subscriptions_by_channel("user"))
            await manager.publish_event("e", "user", {"id": 1})
            drained = await app.drain(5)
            assert (drained.left, drained.cut) == (1, 0)
            assert await stream.result() == {"data": {"user": {"id": 1}}}
            # Not complete: the client comes back, and goes on behind this cursor.
            assert stream.extensions["cursor"]
            assert await stream.rest() == []
        answer = await client.post("/", headers=EVENTS, **asked(QUERY))
        assert answer.status_code == 503
