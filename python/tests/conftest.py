"""Fixtures: executors and managers that are closed, and a real server on a free port."""

import asyncio
import contextlib
import functools
import json
import socket
import time

import coulis
import pytest
import uvicorn
import websockets
from coulis.asgi import SUBPROTOCOL, SubscriptionApp
from coulis.logs import Paced
from messages import bare

PATIENCE = 60.0
"""Seconds after which what a test waits for is not going to come."""
ORDERS = "type Query { a: Int } type Subscription { orders(id: Int): Order } type Order { id: Int }"
COUNT = "subscription ($from: Int!) { countdown(from: $from) { number of } }"


async def until(condition):
    """Give the loop's other tasks turns until a condition holds."""
    turn, deadline = asyncio.sleep, time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        await turn(0)


async def soon(awaited, what):
    """Answer what comes of `awaited`; fail, and name `what`, when it is not going to come."""
    try:
        return await asyncio.wait_for(awaited, PATIENCE)
    except asyncio.TimeoutError:
        raise AssertionError(f"{what} did not come within {PATIENCE:g} seconds") from None


@pytest.fixture(autouse=True)
def paces(monkeypatch):
    """Give each test lines of the log of its own, and all the time in the same seconds."""

    def paced(name):
        return Paced(name, clock=lambda: 0.0)

    monkeypatch.setattr("coulis.logs._connections", paced("coulis.connections"))
    monkeypatch.setattr("coulis.resolvers._log", paced("coulis.resolvers"))
    monkeypatch.setattr("coulis.jwt._log", paced("coulis.jwt"))
    monkeypatch.setattr("coulis.page.console._log", paced("coulis.page"))
    for module in ("admission", "websocket"):
        monkeypatch.setattr(f"coulis.{module}._log", paced("coulis.asgi"))
    monkeypatch.setattr("coulis.errors._paced", functools.cache(paced))


@pytest.fixture
def executor():
    with coulis.SubscriptionExecutor() as executor:
        yield executor


@pytest.fixture
def schema():
    """The schema of `manager`; a module that needs one has a fixture of its own."""
    return None


@pytest.fixture
async def manager(schema):
    async with coulis.SubscriptionManager(schema=schema, registry=coulis.Registry()) as manager:
        yield manager


@pytest.fixture
async def countdown():
    """A manager with a field that counts down, see `COUNT`, and which of its runs have ended."""
    registry, ends = coulis.Registry(), []

    @registry.subscription()
    async def countdown(variables, info):
        try:
            for number in range(variables["from"], 0, -1):
                yield {"number": number, "of": info.security.user_id, "secret": 1}
        finally:
            ends.append(info.subscription_id)

    async with coulis.SubscriptionManager(registry=registry) as manager:
        yield manager, ends


@contextlib.asynccontextmanager
async def served(app):
    """Serve an ASGI app with uvicorn on a free port; yields the address without the scheme."""
    config = uvicorn.Config(app, log_level="error", lifespan="off", ws="websockets-sansio")
    server = uvicorn.Server(config)
    # Where a socket does not say that it is TCP, asyncio leaves Nagle's delay on.
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        host, port = listening.getsockname()
        started = asyncio.Event()
        startup = server.startup

        async def startup_and_tell(sockets=None):
            await startup(sockets=sockets)
            started.set()

        server.startup = startup_and_tell
        running = asyncio.create_task(server.serve(sockets=[listening]))
        await started.wait()
        try:
            yield f"{host}:{port}"
        finally:
            server.should_exit = True
            await running


@pytest.fixture
async def serve():
    """Serve a manager with options of `SubscriptionApp` until the test ends; answers the address."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(manager, **options):
            return await stack.enter_async_context(served(SubscriptionApp(manager, **options)))

        yield serve


class Client:
    """A client of the protocol that says and hears JSON."""

    def __init__(self, socket):
        self.socket = socket

    async def say(self, **message):
        await self.socket.send(json.dumps(message))

    async def hear(self):
        text = await soon(self.socket.recv(), "a message, or the close,")
        assert isinstance(text, str), "messages are text frames"
        return bare(text)

    async def init(self, payload=None):
        await self.say(type="connection_init", **({} if payload is None else {"payload": payload}))
        assert await self.hear() == {"type": "connection_ack"}

    async def subscribe(self, id, query, **payload):
        await self.say(type="subscribe", id=id, payload={"query": query, **payload})
        # The answer to a ping comes after what the subscribe has caused.
        await self.say(type="ping", payload={"after": id})
        heard = []
        while (message := await self.hear()) != {"type": "pong", "payload": {"after": id}}:
            heard.append(message)
        return heard

    async def closed(self):
        """Wait for the server's close; answer its code and reason, and what was heard before."""
        heard = []
        try:
            while True:
                heard.append(await self.hear())
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code, closed.rcvd.reason, heard


@pytest.fixture
async def connect():
    """Connect to an address; the connections are closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def connect(address, path="/", subprotocols=(SUBPROTOCOL,), **options):
            socket = await stack.enter_async_context(
                websockets.connect(f"ws://{address}{path}", subprotocols=subprotocols, proxy=None, **options)
            )
            return Client(socket)

        yield connect
