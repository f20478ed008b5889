"""What clients send is worked off in turns: a flood of one holds up neither the loop nor the others."""

import asyncio
import contextlib

import pytest
from conftest import until
from coulis.asgi import SUBPROTOCOL, SubscriptionApp
from coulis.turns import Turns

FLOOD = 50_000
"""Messages that take far longer than a turn, on any machine."""
PONG = {"type": "websocket.receive", "text": '{"type":"pong"}'}


class Flood:
    """A client whose messages the server has all read already, so that it hands them over without a pause."""

    def __init__(self, app):
        self.left = FLOOD
        self._app = app
        self._first = [{"type": "websocket.connect"}]

    async def receive(self):
        if self._first:
            return self._first.pop()
        if self.left > 0:
            self.left -= 1
            return PONG
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(self, message):
        pass

    async def run(self):
        scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": [SUBPROTOCOL]}
        await self._app(scope, self.receive, self.send)


@contextlib.contextmanager
def counted():
    """Count the turns that the loop takes."""
    loop, count = asyncio.get_running_loop(), [0]

    def turn():
        count[0] += 1
        handles[0] = loop.call_soon(turn)

    handles = [loop.call_soon(turn)]
    try:
        yield count
    finally:
        handles[0].cancel()


@pytest.fixture
def app(manager):
    return SubscriptionApp(manager)


async def test_a_flood_of_messages_does_not_hold_up_the_loop(app):
    flood = Flood(app)
    with counted() as turns:
        flooding = asyncio.create_task(flood.run())
        await until(lambda: flood.left < FLOOD)
        begun = turns[0]
        await until(lambda: flood.left == 0)
        assert turns[0] - begun > 5
    await flooding


async def test_floods_go_on_side_by_side(app):
    floods = [Flood(app) for _ in range(3)]
    running = [asyncio.create_task(flood.run()) for flood in floods]
    await until(lambda: any(flood.left == 0 for flood in floods))
    assert max(flood.left for flood in floods) < FLOOD // 2
    await asyncio.gather(*running)


async def test_a_flood_of_requests_does_not_hold_up_the_loop(app):
    answers = []

    async def send(message):
        answers.append(message)

    scope = {"type": "http", "method": "PATCH", "path": "/", "query_string": b"", "headers": []}
    with counted() as turns:
        await asyncio.gather(*(app(scope, None, send) for _ in range(1_000)))
        assert turns[0] > 10
    assert {message.get("status") for message in answers} == {405, None}


async def test_who_leaves_the_queue_does_not_hold_up_the_next():
    turns = Turns(asyncio.get_running_loop())
    turns._until = float("inf")
    await turns.take()
    turns._until, order = 0.0, []

    async def go(name):
        await turns.take()
        order.append(name)

    tasks = [asyncio.create_task(go(name)) for name in "abc"]
    await asyncio.sleep(0)  # all have asked: `a` goes on at once, the others within its turn or after it
    tasks[1].cancel()
    await until(lambda: tasks[2].done())
    assert order[-1] == "c"
