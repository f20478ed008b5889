"""Server processes that get SIGTERM at random moments, under load: nothing is lost, or its clients are told.

COULIS_SHUTDOWNS=100 pytest python/tests/test_shutdowns.py -s      the long way; `-s` shows how long they took

Hypercorn hears the signal when the drain does, and waits for the connections for its `graceful_timeout`.
Granian sends nothing more over WebSockets from the signal on, and cuts them when it exits; it tells neither
their clients nor the application, which waits for them until its deadline. Answers over HTTP it lets end.
There a fifth as many are made.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import coulis
import httpx
import pytest
import websockets
from coulis.asgi import SUBPROTOCOL
from streams import asked, browsing, events

pytest_plugins = ["redis_server"]

QUERY = "subscription { user { id } }"
SHUTDOWNS = int(os.environ.get("COULIS_SHUTDOWNS", 5))
DEADLINE = 5
EXIT_SECONDS_MAX = DEADLINE + 0.1
"""Until a server has exited that waits for nothing but the drain."""
SECONDS = 60
PACE = 0.002
"""Seconds between two looks at what is waited for."""
AWAY_EVENTS_MAX = 500
"""That are published during an end, when clients are away or held: the log keeps 1,024."""
PROGRAM = Path(__file__).with_name("draining_server.py")
CODES = {"uvicorn": -signal.SIGTERM, "hypercorn": 0, "granian": 0}
"""What the servers exit with."""
AWAY = (OSError, websockets.WebSocketException, httpx.HTTPError, StopAsyncIteration)


class Server:
    """A server process."""

    def __init__(self, bus, kind):
        self.kind = kind
        command = [sys.executable, str(PROGRAM), bus, str(DEADLINE), kind]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.child = subprocess.Popen(command, start_new_session=True, **pipes)
        self.address = None

    async def started(self):
        """Wait until it answers, as a deployment does: what is kept for clients is bounded."""
        port = await asyncio.to_thread(self.child.stdout.readline)
        self.address = f"127.0.0.1:{port.strip()}"
        deadline = time.monotonic() + SECONDS
        async with browsing(self.address) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    return await http.get("/")
                assert time.monotonic() < deadline, "it does not start"
                await asyncio.sleep(PACE)

    async def end(self):
        """Send SIGTERM; answer what the server told of its drain, and how long its end took."""
        self.child.send_signal(signal.SIGTERM)
        started = time.monotonic()
        told, wrong = await asyncio.to_thread(self.child.communicate, timeout=SECONDS)
        seconds = time.monotonic() - started
        if self.drops:  # it tells of what it breaks off, and it is told that those whom it holds do not read
            assert "Traceback" not in wrong
            wrong = ""
        assert (self.child.returncode, wrong) == (CODES[self.kind], "")
        assert seconds < EXIT_SECONDS_MAX or self.drops
        return json.loads(told), seconds

    def kill(self):
        """Leave nothing behind, no worker of it either, whatever became of a test."""
        if self.child.returncode is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.communicate()

    @property
    def drops(self):
        """Whether it says nothing more over WebSockets from the signal on."""
        return self.kind == "granian"


class Client:
    """Follows whichever server is the newest, from where it was."""

    def __init__(self, servers):
        self.servers = servers
        self.cursor, self.reloads, self.codes = "", [], []
        self.visits = []
        """What was heard of each server."""

    @property
    def numbers(self):
        return [number for visit in self.visits for number in visit]

    async def follow(self):
        while True:
            with contextlib.suppress(*AWAY):
                await self.visit(self.servers[-1].address)
            await asyncio.sleep(0)

    def take(self, payload):
        told = payload["extensions"]["coulis"]
        assert "gap" not in told, told
        self.cursor = told["cursor"]
        if "resumed" in told:
            self.visits.append([])
            if not told["resumed"] and told["reason"] != "new":
                self.reloads.append(told["reason"])
        else:
            self.visits[-1].append(payload["data"]["user"]["id"])


class ByWebSocket(Client):
    async def visit(self, address):
        connecting = websockets.connect(f"ws://{address}/", subprotocols=[SUBPROTOCOL], proxy=None)
        async with connecting as socket:
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            payload = {"query": QUERY, "extensions": {"coulis": {"resume": self.cursor}}}
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
            try:
                while True:
                    self.take(json.loads(await socket.recv())["payload"])
            except websockets.ConnectionClosed as closed:
                self.codes.append(closed.rcvd.code if closed.rcvd else None)
                raise


class ByEvents(Client):
    async def visit(self, address):
        headers = {"last-event-id": self.cursor} if self.cursor else {}
        extensions = {} if self.cursor else {"extensions": {"coulis": {"resume": None}}}
        asking = {"headers": headers, **asked(QUERY, **extensions)}
        async with browsing(address) as http, events(http, **asking) as answer:
            while True:
                name, payload = await answer.next()
                assert name == "next", "an answer that is to be resumed does not complete"
                self.take(payload)


@contextlib.asynccontextmanager
async def following(servers):
    """Some clients that follow, and that have all begun."""
    clients = [ByWebSocket(servers) for _ in range(4)] + [ByEvents(servers) for _ in range(2)]
    tasks = [asyncio.create_task(client.follow()) for client in clients]
    try:
        yield clients, tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(condition, tasks):
    """Wait until something holds, or a client fails."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        for task in tasks:
            if task.done():
                task.result()
        assert time.monotonic() < deadline, "it never came to hold"
        await asyncio.sleep(PACE)


@pytest.fixture(params=sorted(CODES))
def kind(request):
    return request.param


@pytest.fixture
def start(kind):
    """Start servers; those that a test leaves are killed."""
    with contextlib.ExitStack() as servers:

        async def start(bus):
            server = Server(bus, kind)
            servers.callback(server.kill)
            await server.started()
            return server

        yield start


@pytest.fixture
def shutdowns(kind):
    return SHUTDOWNS if kind != "granian" else -(-SHUTDOWNS // 5)


async def test_with_a_bus_nothing_is_lost(redis, start, kind, shutdowns):
    chance, took, count = random.Random(7), [], 0
    servers = [await start(redis)]
    bus = coulis.EventBusConfig.redis(redis, "drain")
    async with following(servers) as (clients, tasks):
        await until(lambda: all(client.visits for client in clients), tasks)
        async with coulis.SubscriptionManager(bus, registry=coulis.Registry()) as publisher:
            for _ in range(shutdowns):
                old = servers[-1]
                servers.append(await start(redis))
                for _ in range(chance.randrange(1, 60)):
                    count += 1
                    await publisher.publish_event("t", "user", {"id": count})
                ending = asyncio.create_task(old.end())
                most = count + AWAY_EVENTS_MAX
                while not ending.done() and count < most:
                    count += 1
                    await publisher.publish_event("t", "user", {"id": count})
                    await asyncio.sleep(0)
                told, seconds = await ending
                assert told["undelivered"] == 0 and told["cut"] <= cut_max(old, clients), told
                took.append((told["seconds"], seconds))
        await until(lambda: all(client.numbers[-1:] == [count] for client in clients), tasks)
        for client in clients:
            assert client.reloads == []
            assert client.numbers == list(range(1, count + 1))
            assert set(client.codes) <= ({None, 1012} if old.drops else {1012}), (
                "not the close of the web server"
            )
            assert len(client.visits) > 1
    await servers[-1].end()
    print(f"{kind}: {count} events, {len(took)} shutdowns; drain and exit took {max(took)} s at most")


async def test_without_a_bus_clients_are_told_to_load_anew(start, kind, shutdowns):
    chance, took = random.Random(8), []
    for _ in range(shutdowns):
        servers = [await start("memory")]
        async with following(servers) as (clients, tasks):
            await until(lambda: all(client.numbers for client in clients), tasks)
            seen = clients[0].numbers[-1] + chance.randrange(1, 60)
            await until(lambda first=clients[0], seen=seen: first.numbers[-1] >= seen, tasks)
            old = servers[-1]
            servers.append(await start("memory"))
            told, seconds = await old.end()
            took.append((told["seconds"], seconds))
            await until(lambda: all(client.reloads for client in clients), tasks)
            for client in clients:
                assert client.reloads == ["epoch"]
                first = client.visits[0]
                assert first == list(range(first[0], first[-1] + 1))
                if not (old.drops and isinstance(client, ByWebSocket)):
                    assert first[-1] >= told["published"], "what was readable before the drain was not sent"
            assert told["undelivered"] == 0 and told["cut"] <= cut_max(old, clients), told
        await servers[-1].end()
    print(f"{kind}: {len(took)} shutdowns; drain and exit took {max(took)} s at most")


def cut_max(server, clients):
    """How many clients a server may not be drained of."""
    return sum(isinstance(client, ByWebSocket) for client in clients) if server.drops else 0
