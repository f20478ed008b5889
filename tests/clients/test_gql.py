"""The Python client `gql` against the FastAPI router on uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import Service
from gql import Client, gql
from gql.client import AsyncClientSession
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

PATIENCE_SECONDS = 20


@pytest.fixture
async def session(service: Service) -> AsyncIterator[AsyncClientSession]:
    """Give one test a connection that speaks graphql-transport-ws."""
    transport = WebsocketsTransport(
        url=service.url, subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL], ping_interval=60
    )
    async with Client(transport=transport) as session:
        yield session


class Reading:
    """A subscription that is being read."""

    def __init__(
        self, session: AsyncClientSession, query: str, variables: dict[str, Any] | None = None
    ) -> None:
        document = gql(query)
        if variables is not None:
            document.variable_values = variables
        self.events = session.subscribe(document)
        self.first: asyncio.Task[dict[str, Any]] | None = asyncio.create_task(self._following())

    async def next(self) -> dict[str, Any]:
        """Wait for the next event's data."""
        waiting, self.first = self.first or self._following(), None
        return await asyncio.wait_for(waiting, PATIENCE_SECONDS)

    async def _following(self) -> dict[str, Any]:
        return await anext(self.events)

    async def end(self) -> None:
        """Send `complete`."""
        await self.events.aclose()


async def test_events_arrive_in_order_shaped_by_the_selection_set(
    service: Service, session: AsyncClientSession
) -> None:
    """A field that is not selected never leaves."""
    reading = Reading(session, "subscription { pyShape { id customer: buyer { name } } }")
    await service.subscriptions("pyShape", 1)
    for number in (1, 2, 3):
        assert (
            await service.publish("pyShape", {"id": number, "buyer": {"name": "Ada", "card": "secret"}}) == 1
        )
    for number in (1, 2, 3):
        assert await reading.next() == {"pyShape": {"id": number, "customer": {"name": "Ada"}}}
    await reading.end()


async def test_two_operations_share_one_socket(service: Service, session: AsyncClientSession) -> None:
    """Each operation gets its own events."""
    left = Reading(session, "subscription { pyLeft { id } }")
    right = Reading(session, "subscription { pyRight { id } }")
    await service.subscriptions("pyLeft", 1)
    await service.subscriptions("pyRight", 1)
    await service.publish("pyRight", {"id": "r"})
    await service.publish("pyLeft", {"id": "l"})
    assert await left.next() == {"pyLeft": {"id": "l"}}
    assert await right.next() == {"pyRight": {"id": "r"}}
    await left.end()
    await right.end()


async def test_a_refused_operation_leaves_the_socket(service: Service, session: AsyncClientSession) -> None:
    """Two root fields are one too many; the other operation goes on."""
    good = Reading(session, "subscription { pyAlive { id } }")
    await service.subscriptions("pyAlive", 1)
    with pytest.raises(TransportQueryError):
        await Reading(session, "subscription { one { id } two { id } }").next()
    await service.publish("pyAlive", {"id": 7})
    assert await good.next() == {"pyAlive": {"id": 7}}
    await good.end()


async def test_after_complete_nothing_is_subscribed(service: Service, session: AsyncClientSession) -> None:
    """The socket stays open for the next operation."""
    ending = Reading(session, "subscription { pyEnding { id } }")
    await service.subscriptions("pyEnding", 1)
    await service.publish("pyEnding", {"id": 1})
    assert await ending.next() == {"pyEnding": {"id": 1}}
    await ending.end()
    await service.subscriptions("pyEnding", 0)
    assert await service.publish("pyEnding", {"id": 2}) == 0
    again = Reading(session, "subscription { pyEnding { id } }")
    await service.subscriptions("pyEnding", 1)
    await service.publish("pyEnding", {"id": 3})
    assert await again.next() == {"pyEnding": {"id": 3}}
    await again.end()


async def test_variables_reach_the_resolver(service: Service, session: AsyncClientSession) -> None:
    """The resolver's failure is an error, and the operation goes on."""
    query = "subscription ($hello: String!) { greeting(hello: $hello) { text } }"
    reading = Reading(session, query, {"hello": "Moi"})
    await service.subscriptions("orders", 1)
    await service.publish("orders", {"id": 42})
    assert await reading.next() == {"greeting": {"text": "Moi 42"}}
    await reading.end()
    await service.subscriptions("orders", 0)
