"""Subscribes, receives and cancels over and over, and writes what stays behind as JSON.

python cycling.py manager|websocket|events CYCLES

Anything that an event loop complains of, and any warning, ends the program with a failure.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import os
import sys
import tracemalloc
import weakref
from pathlib import Path

import coulis
import websockets
from conftest import served, until
from coulis.asgi import SUBPROTOCOL, SubscriptionApp

QUERY = "subscription { user { id } }"
WARMING = 4
"""Parts of the cycles that are not measured, the first of them in the debug mode of the loop."""
POINTS = 8
"""Parts after each of which it is measured."""
TURNS = 8
"""Cycles that one connection makes."""


class Resolver:
    """A resolver of which one can see when it is let go."""

    def __call__(self, event, variables, info):
        return {"user": event}


class Context:
    """What a connection's resolvers get, likewise."""


class Kept:
    """How many of the objects that were made are still there."""

    def __init__(self):
        self._objects = weakref.WeakSet()

    def make(self, kind):
        self._objects.add(made := kind())
        return made

    def __len__(self):
        return len(self._objects)


class ByManager:
    """In this process, by iteration; every fourth one is cancelled while it waits."""

    def __init__(self, kept):
        self.kept = kept

    async def rest(self):
        """Have no connection open."""

    async def open(self, stack):
        self.manager = await stack.enter_async_context(coulis.SubscriptionManager(registry=coulis.Registry()))

    async def cycle(self, number):
        manager = self.manager
        resolver = self.kept.make(Resolver) if number % 4 == 1 else None
        context = coulis.SecurityContext(f"u{number}", claims={"number": number})
        await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver, context=context)
        if number % 4 == 0:
            task = asyncio.create_task(self._first())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        manager.executor.publish_nowait("t", "user", {"id": number})
        assert f'{{"id":{number}}}'.encode() in await self._first()
        await manager.connection_closed("c")

    async def _first(self):
        async for message in self.manager.events("s"):
            return message


class ByServer:
    """At a server of this process, over sockets."""

    def __init__(self, kept):
        self.kept = kept

    async def rest(self):
        """Have no connection open."""

    async def open(self, stack):
        registry = coulis.Registry()
        registry.subscription("user")(Resolver())
        manager = await stack.enter_async_context(coulis.SubscriptionManager(registry=registry))
        app = SubscriptionApp(manager, context=lambda connection: self.kept.make(Context))
        self.manager = manager
        self.address = await stack.enter_async_context(served(app))


class ByWebSocket(ByServer):
    """Connections that subscribe, hear an event and complete, some times each."""

    socket = None

    async def open(self, stack):
        await super().open(stack)
        stack.push_async_callback(self.rest)

    async def cycle(self, number):
        if number % TURNS == 0:
            await self.rest()
            await self._enter()
        payload = {"query": QUERY}
        await self.socket.send(json.dumps({"type": "subscribe", "id": str(number), "payload": payload}))
        await self.socket.send('{"type":"ping"}')
        await self._hear("pong")
        self.manager.executor.publish_nowait("t", "user", {"id": number})
        assert (await self._hear("next"))["data"] == {"user": {"id": number}}
        # The last one of a connection is cut off by its end.
        if number % TURNS != TURNS - 1:
            await self.socket.send(json.dumps({"type": "complete", "id": str(number)}))

    async def _enter(self):
        address = f"ws://{self.address}/"
        self.socket = await websockets.connect(address, subprotocols=[SUBPROTOCOL], proxy=None)
        await self.socket.send('{"type":"connection_init"}')
        await self._hear("connection_ack")

    async def rest(self):
        if self.socket is not None:
            await self.socket.close()

    async def _hear(self, kind):
        message = json.loads(await self.socket.recv())
        assert message["type"] == kind, message
        return message.get("payload")


class ByEvents(ByServer):
    """Requests that hear an event and are cut off."""

    async def cycle(self, number):
        body = json.dumps({"query": QUERY, "extensions": {"coulis": {"resume": None}}}).encode()
        reader, writer = await asyncio.open_connection(*self.address.split(":"))
        try:
            writer.write(
                b"POST / HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            await reader.readuntil(b'"resumed"')  # it is subscribed
            self.manager.executor.publish_nowait("t", "user", {"id": number})
            await reader.readuntil(b'{"user":{"id":%d}}' % number)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


KINDS = {"manager": ByManager, "websocket": ByWebSocket, "events": ByEvents}


def rss_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def turn(kind, numbers, count):
    """Make so many cycles, and wait until everybody's end was noted."""
    for number in itertools.islice(numbers, count):
        await kind.cycle(number)
    await kind.rest()
    await until(lambda: kind.manager.get_metrics()["subscriptions"] == 0)
    # The shards let go when they next look.
    for number in range(8):
        await kind.manager.publish_event("t", "nobody", {"id": number})
    gc.collect()


async def run(name, cycles):
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda loop, context: complaints.append(repr(context)))
    kept, points = Kept(), []
    kind = KINDS[name](kept)
    async with contextlib.AsyncExitStack() as stack:
        await kind.open(stack)
        # Whole connections, so that no point is in the middle of one.
        each = max(cycles // (WARMING + POINTS) // TURNS, 1) * TURNS
        numbers = itertools.count()
        loop.slow_callback_duration = 60.0
        loop.set_debug(True)
        await turn(kind, numbers, each)
        loop.set_debug(False)
        tracemalloc.start()
        await turn(kind, numbers, (WARMING - 1) * each)
        for _ in range(POINTS):
            await turn(kind, numbers, each)
            traced, _ = tracemalloc.get_traced_memory()
            points.append({"traced": traced, "rss": rss_bytes(), "kept": len(kept)})
        tracemalloc.stop()
    gc.collect()
    print(json.dumps({"cycles": next(numbers), "points": points, "complaints": complaints}))
    return not complaints


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(run(sys.argv[1], int(sys.argv[2]))) else 1)
