"""What an application decides about connections holds over HTTP as it does over WebSocket."""

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
