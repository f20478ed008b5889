"""Strawberry and Ariadne, served by themselves, with events from the engine."""

import asyncio
from collections.abc import AsyncGenerator

import ariadne
import coulis
import coulis.ariadne
import coulis.sources
import coulis.strawberry
import pytest
import strawberry
import websockets
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLTransportWSHandler
from conftest import Client, served, until
from strawberry.asgi import GraphQL as StrawberryGraphQL


@strawberry.type
class Order:
    id: int
    room: str


def strawberry_app(manager):
    @strawberry.type
    class Query:
        hello: str = "world"

    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def orders(self, info: strawberry.Info, room: str) -> AsyncGenerator[Order, None]:
            found = coulis.strawberry.events(
                manager,
                "orders",
                info,
                as_type=Order,
                variables={"room": room},
                filter="event.room == args.room",
                context=lambda info: coulis.SecurityContext(info.context["connection_params"]["user"]),
            )
            async for order in found:
                yield order

    return StrawberryGraphQL(strawberry.Schema(Query, subscription=Subscription))


def ariadne_app(manager):
    subscription = ariadne.SubscriptionType()
    subscription.set_source(
        "orders",
        coulis.ariadne.source(
            manager,
            "orders",
            filter="event.room == args.room",
            context=lambda info: coulis.SecurityContext(info.context["connection_params"]["user"]),
        ),
    )

    @subscription.field("orders")
    def orders(order, info, room):
        return order

    schema = ariadne.make_executable_schema(
        """
        type Query { hello: String }
        type Subscription { orders(room: String!): Order! }
        type Order { id: Int! room: String! }
        """,
        subscription,
    )

    def context(request, data):
        return {"connection_params": request.scope.get("connection_params", {"user": "u"})}

    return GraphQL(schema, context_value=context, websocket_handler=GraphQLTransportWSHandler())


async def connected(address):
    socket = await websockets.connect(
        f"ws://{address}/", subprotocols=["graphql-transport-ws"], proxy=None, compression=None
    )
    client = Client(socket)
    await client.say(type="connection_init", payload={"user": "u"})
    assert (await client.hear())["type"] == "connection_ack"
    return client


@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("make", [strawberry_app, ariadne_app])
async def test_another_library_serves_the_events_of_a_channel(manager, make):
    query = "subscription ($room: String!) { orders(room: $room) { number: id room } }"
    async with served(make(manager)) as address:
        client = await connected(address)
        await client.say(type="subscribe", id="1", payload={"query": query, "variables": {"room": "a"}})
        await until(lambda: manager.executor.subscriptions_by_channel("orders"))
        # Of another room, of another user: neither comes.
        assert await manager.publish_event("t", "orders", {"id": 1, "room": "b"}) == 0
        assert await manager.publish_event("t", "orders", {"id": 2, "room": "a"}, user_id="v") == 0
        assert await manager.publish_event("t", "orders", {"id": 3, "room": "a"}, user_id="u") == 1
        message = await client.hear()
        assert message["payload"]["data"] == {"orders": {"number": 3, "room": "a"}}
        await client.say(type="complete", id="1")
        await until(lambda: not manager.executor.subscriptions_by_channel("orders"))
        await client.socket.close()


async def first(found):
    return await anext(found)


async def test_a_source_ends_its_subscription_when_its_iteration_ends(manager):
    found = coulis.sources.events(manager, "c")
    waiting = asyncio.ensure_future(first(found))
    await until(lambda: manager.executor.subscriptions_by_channel("c"))
    assert await manager.publish_event("t", "c", {"deep": {"list": [1, {"a": None}]}}) == 1
    assert await waiting == {"deep": {"list": [1, {"a": None}]}}
    await found.aclose()
    assert manager.executor.subscriptions_by_channel("c") == []


async def test_a_loss_is_told_to_the_reader_of_a_source():
    limits = {"ring_frames_max": 4}
    async with coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager:
        gaps = []
        for on_gap in (None, gaps.append):
            found = coulis.sources.events(manager, "c", on_gap=on_gap)
            waiting = asyncio.ensure_future(first(found))
            await until(lambda: manager.executor.subscriptions_by_channel("c"))
            for number in range(100):
                manager.executor.publish_event("t", "c", {"n": number})
            if on_gap is None:
                with pytest.raises(coulis.sources.EventsLost, match="events were lost"):
                    await waiting
                    while True:
                        await anext(found)
            else:
                seen = [await waiting]
                while seen[-1]["n"] < 99:
                    seen.append(await anext(found))
                assert sum(gap["count"] for gap in gaps) + len(seen) == 100
            await found.aclose()


@pytest.mark.parametrize("as_type", [None, Order])
async def test_a_tombstone_is_no_event_of_a_source(manager, as_type):
    found = coulis.sources.events(manager, "c", filter="event.room == 'a'", as_type=as_type)
    waiting = asyncio.ensure_future(first(found))
    await until(lambda: manager.executor.subscriptions_by_channel("c"))
    was = {"id": 1, "room": "a"}
    assert await manager.publish_event("t", "c", {"id": 1, "room": "b"}, before=was) == 1
    assert await manager.publish_event("t", "c", None, before=was) == 1
    assert await manager.publish_event("t", "c", {"id": 2, "room": "a"}) == 1
    assert await waiting == ({"id": 2, "room": "a"} if as_type is None else Order(id=2, room="a"))
    await found.aclose()


async def test_a_revoked_source_raises(manager):
    found = coulis.sources.events(manager, "c", context=coulis.SecurityContext("u"))
    waiting = asyncio.ensure_future(first(found))
    await until(lambda: manager.executor.subscriptions_by_channel("c"))
    manager.executor.revoke("u")
    with pytest.raises(coulis.UserError):
        await waiting


async def test_what_a_source_cannot_be_is_refused(manager):
    with pytest.raises(ValueError, match="`my field` is no name"):
        await first(coulis.sources.events(manager, "c", field="my field"))
    with pytest.raises(coulis.PolicyError):
        await first(coulis.sources.events(manager, "c", filter="event.a >"))
    sdl = "type Query { a: Int } type Subscription { event: Int }"
    async with coulis.SubscriptionManager(registry=coulis.Registry(), schema=sdl) as other:
        with pytest.raises(ValueError, match="`manager` has a schema"):
            await first(coulis.sources.events(other, "c"))
