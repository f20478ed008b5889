"""The systems that `rivals.py` compares: the same schema and the same events, each in its own way.

    python rivals_systems.py SYSTEM             serves WebSockets, and publishes when it is told to
    python rivals_systems.py SYSTEM EVENTS      publishes to a consumer in the same process; prints the times

A server prints its port. Of each line that it reads, a number has it publish so many events, and `cpu` print
the processor time of the process in nanoseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import ariadne
import ariadne.asgi
import coulis
import strawberry
import strawberry.asgi
import uvicorn
from ariadne.asgi.handlers import GraphQLTransportWSHandler
from broadcaster import Broadcast
from coulis.asgi import SUBPROTOCOL, SubscriptionApp

FIRST = 1_000_000
"""The number of the first event: all have as many digits."""
TEXT = "x" * 120
QUERY = "subscription { event { number at text } }"
SDL = """
    type Query { version: String }
    type Event { number: Int! at: String! text: String! }
    type Subscription { event: Event! }
"""

Event = dict[str, Any]
Publish = Callable[[Event], Awaitable[object]]
System = tuple[Any, Publish, Callable[[], AsyncIterator[bytes]]]
"""An ASGI application, what publishes, and what reads in the same process, as messages in JSON."""


def event_of(number: int) -> Event:
    """Make an event, which says when it was made."""
    return {"number": number, "at": str(time.monotonic_ns()).zfill(20), "text": TEXT}


def coulis_system(registry: coulis.Registry) -> System:
    """Serve with this package."""
    manager = coulis.SubscriptionManager(schema=SDL, registry=registry)

    async def publish(event: Event) -> int:
        return await manager.publish_event("t", "event", event)

    async def read() -> AsyncIterator[bytes]:
        await manager.create_subscription("1", "c", QUERY)
        async for message in manager.events("1"):
            yield message

    return SubscriptionApp(manager), publish, read


def coulis_native() -> System:
    """Shape events by the selection set alone."""
    return coulis_system(coulis.Registry())


def coulis_resolver() -> System:
    """Have a Python function make the results."""
    registry = coulis.Registry()

    def resolve(event: Event, variables: Any) -> Any:
        return {"event": {"number": event["number"], "at": event["at"], "text": event["text"]}}

    registry.subscription("event")(resolve)
    return coulis_system(registry)


class Queues:
    """The events of a process, by a queue for each reader."""

    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[Event]] = set()

    async def publish(self, event: Event) -> None:
        """Hand an event to everybody."""
        for queue in self.queues:
            queue.put_nowait(event)

    async def read(self) -> AsyncGenerator[Event, None]:
        """Read from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self.queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self.queues.discard(queue)


def strawberry_queues() -> System:
    """Serve with Strawberry, over a queue for each subscription."""
    queues = Queues()

    class Shown:
        number: int
        at: str
        text: str

    shown: Any = strawberry.type(Shown, name="Event")

    class Query:
        version: str = ""

    async def events(self: Any) -> AsyncGenerator[Any, None]:
        async for event in queues.read():
            yield shown(number=event["number"], at=event["at"], text=event["text"])

    events.__annotations__["return"] = AsyncGenerator[shown, None]
    subscription: Any = type("Subscription", (), {"event": strawberry.subscription(resolver=events)})
    schema = strawberry.Schema(query=strawberry.type(Query), subscription=strawberry.type(subscription))

    async def read() -> AsyncIterator[bytes]:
        found: Any = await _maybe(schema.subscribe(QUERY))
        async for result in found:
            yield json.dumps({"id": "1", "type": "next", "payload": {"data": result.data}}).encode()

    app: Any = strawberry.asgi.GraphQL
    return app(schema), queues.publish, read


def ariadne_broadcaster() -> System:
    """Serve with Ariadne, over the memory of broadcaster."""
    broadcast = Broadcast("memory://")
    subscription = ariadne.SubscriptionType()

    async def source(obj: Any, info: Any) -> AsyncGenerator[Any, None]:
        async with broadcast.subscribe("events") as subscriber:
            async for event in _iterable(subscriber):
                yield event.message

    subscription.set_source("event", source)
    subscription.set_field("event", lambda event, info: event)
    schema = ariadne.make_executable_schema(SDL, subscription)
    connected = False

    async def publish(event: Event) -> None:
        await broadcast.publish("events", event)

    async def read() -> AsyncIterator[bytes]:
        await broadcast.connect()
        _, found = await ariadne.subscribe(schema, {"query": QUERY})
        async for result in _iterable(found):
            yield json.dumps({"id": "1", "type": "next", "payload": {"data": result.data}}).encode()

    inner: Any = ariadne.asgi.GraphQL(schema, websocket_handler=GraphQLTransportWSHandler())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal connected
        if not connected:
            connected = True
            await broadcast.connect()
        await inner(scope, receive, send)

    return app, publish, read


def bare() -> System:
    """Send ready text to every socket: what the server costs by itself."""
    queues, sends = Queues(), set[Any]()

    def message_of(event: Event) -> str:
        return json.dumps({"id": "1", "type": "next", "payload": {"data": {"event": event}}})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
        await receive()
        await send({"type": "websocket.send", "text": '{"type":"connection_ack"}'})
        await receive()
        sends.add(send)
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": '{"type":"pong"}'})
        sends.discard(send)

    async def publish(event: Event) -> None:
        await queues.publish(event)
        message = {"type": "websocket.send", "text": message_of(event)}
        for send in sends:
            await send(message)

    async def read() -> AsyncIterator[bytes]:
        async for event in queues.read():
            yield message_of(event).encode()

    return app, publish, read


SYSTEMS: dict[str, Callable[[], System]] = {
    "bare": bare,
    "coulis": coulis_native,
    "coulis, resolver": coulis_resolver,
    "ariadne": ariadne_broadcaster,
    "strawberry": strawberry_queues,
}


async def _maybe(found: Any) -> Any:
    return await found if asyncio.iscoroutine(found) else found


def _iterable(found: Any) -> AsyncIterator[Any]:
    iterator: AsyncIterator[Any] = aiter(found)
    return iterator


async def serve(app: Any, publish: Publish) -> None:
    """Serve until standard input ends."""
    # uvicorn opens the socket: on one that it is given, Nagle's delay would be on.
    chosen: dict[str, Any] = {"loop": "asyncio", "http": "h11", "ws": "websockets-sansio", "backlog": 4_096}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error", **chosen)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it says so in no other way
        await asyncio.sleep(0.01)
    tell(server.servers[0].sockets[0].getsockname()[1])
    loop, number = asyncio.get_running_loop(), FIRST
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).strip():
        if line == b"cpu":
            tell(time.process_time_ns())
            continue
        for _ in range(int(line)):
            await publish(event_of(number))
            number += 1
    server.should_exit = True
    serving.cancel()


def tell(number: int) -> None:
    """Print a number."""
    print(number, flush=True)


async def measure(publish: Publish, read: Callable[[], AsyncIterator[bytes]], count: int) -> list[int]:
    """Publish to one consumer, one by one; answer the nanoseconds from the publish to the message, sorted."""
    arrived = asyncio.Event()
    times: list[int] = []

    async def consume() -> None:
        number = FIRST
        async for message in reader:
            now = time.monotonic_ns()
            event = json.loads(message)["payload"]["data"]["event"]
            assert (event["number"], event["text"]) == (number, TEXT), event
            times.append(now - int(event["at"]))
            number += 1
            arrived.set()

    reader = read()
    consuming = asyncio.create_task(consume())
    # It is subscribed once it has nothing else to do than to wait.
    for _ in range(100):
        await asyncio.sleep(0)
    for number in range(FIRST, FIRST + count):
        arrived.clear()
        await publish(event_of(number))
        await asyncio.wait_for(arrived.wait(), 60)
        await asyncio.sleep(0)  # it waits again
    consuming.cancel()
    assert len(times) == count
    return sorted(times)


async def main() -> None:
    """Read the command line."""
    app, publish, read = SYSTEMS[sys.argv[1]]()
    if len(sys.argv) == 2:
        await serve(app, publish)
        return
    times = await measure(publish, read, int(sys.argv[2]))
    print(json.dumps(times))


if __name__ == "__main__":
    asyncio.run(main())
