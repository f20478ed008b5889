"""The older sub-protocol `graphql-ws`, which is served only where it is asked for."""

import asyncio

import pytest
from conftest import served, until
from coulis.asgi import LEGACY_SUBPROTOCOL, SUBPROTOCOL, SubscriptionApp

QUERY = "subscription { user { id } }"
OLD = [LEGACY_SUBPROTOCOL]


async def open_old(connect, address, payload=None):
    client = await connect(address, subprotocols=OLD)
    assert client.socket.subprotocol == LEGACY_SUBPROTOCOL
    await client.say(type="connection_init", payload=payload or {})
    return client


@pytest.fixture
async def address(manager):
    async with served(SubscriptionApp(manager, legacy_protocol=True)) as address:
        yield address


async def test_it_is_off_by_default(manager, connect):
    async with served(SubscriptionApp(manager)) as address:
        client = await connect(address, subprotocols=OLD)
        assert client.socket.subprotocol is None
        assert await client.closed() == (4406, "Subprotocol not acceptable", [])


async def test_the_modern_protocol_is_preferred(address, connect):
    client = await connect(address, subprotocols=[LEGACY_SUBPROTOCOL, SUBPROTOCOL])
    assert client.socket.subprotocol == SUBPROTOCOL
    await client.init()


async def test_results_are_data(manager, address, connect):
    client = await open_old(connect, address)
    await client.say(type="start", id="1", payload={"query": QUERY})
    assert await client.hear() == {"type": "connection_ack"}
    await until(lambda: manager.get_metrics()["subscriptions"])
    modern = await connect(address)
    await modern.init()
    await modern.subscribe("1", QUERY)
    # The same body and id, each in its own words.
    assert await manager.publish_event("t", "user", {"id": 7}) == 2
    payload = {"data": {"user": {"id": 7}}}
    heard = await client.hear()
    assert heard["payload"].pop("extensions")["coulis"]["cursor"]
    assert heard == {"id": "1", "type": "data", "payload": payload}
    assert await modern.hear() == {"id": "1", "type": "next", "payload": payload}
    await client.say(type="stop", id="1")
    await until(lambda: manager.get_metrics()["subscriptions"] == 1)


async def test_an_operation_in_place_of_another_has_its_id(manager, address, connect):
    client = await open_old(connect, address)
    for name in ("a", "b"):
        await client.say(type="start", id="1", payload={"query": f"subscription {{ {name} {{ id }} }}"})
    assert await client.hear() == {"type": "connection_ack"}
    await until(lambda: manager.executor.subscriptions_by_channel("b"))
    assert await manager.publish_event("t", "a", {"id": 1}) == 0
    assert await manager.publish_event("t", "b", {"id": 2}) == 1
    assert (await client.hear())["payload"]["data"] == {"b": {"id": 2}}


async def test_nothing_starts_before_connection_init(manager, connect):
    asked = []
    app = SubscriptionApp(manager, legacy_protocol=True, auth_handler=asked.append)
    async with served(app) as address:
        client = await connect(address, subprotocols=OLD)
        await client.say(type="start", id="1", payload={"query": QUERY})
        assert await client.closed() == (4401, "Unauthorized", [])
    assert asked == []
    assert manager.get_metrics()["subscribed"] == 0


async def test_nothing_starts_while_the_host_decides_nor_after_it_refused(manager, connect):
    decide = asyncio.Event()

    async def refuse(payload):
        await decide.wait()

    app = SubscriptionApp(manager, legacy_protocol=True, auth_handler=refuse)
    async with served(app) as address:
        client = await open_old(connect, address)
        await client.say(type="start", id="1", payload={"query": QUERY})
        await client.say(type="nothing")
        # Answered, so the start was read.
        assert (await client.hear())["payload"]["message"] == "unknown message type `nothing`"
        assert manager.get_metrics()["subscribed"] == 0
        decide.set()
        error = {"type": "connection_error", "payload": {"message": "Forbidden"}}
        assert await client.closed() == (1011, "Forbidden", [error])
    assert manager.get_metrics()["subscribed"] == 0


async def test_what_is_wrong_with_an_operation_is_its_error(manager, address, connect):
    client = await open_old(connect, address)
    assert await client.hear() == {"type": "connection_ack"}
    await client.say(type="start", id="1", payload={"query": "subscription { a b }"})
    error = await client.hear()
    assert (error["type"], error["id"]) == ("error", "1")
    assert error["payload"]["message"]
    await client.say(type="connection_terminate")
    assert (await client.closed())[0] == 1000


async def test_signs_of_life_come_without_pongs(manager, connect):
    app = SubscriptionApp(manager, legacy_protocol=True, keep_alive=0.01)
    async with served(app) as address:
        client = await open_old(connect, address)
        assert await client.hear() == {"type": "connection_ack"}
        assert [await client.hear() for _ in range(3)] == [{"type": "ka"}] * 3
