"""Draining: clients are sent away after what was ready for them, and go on at another server without loss."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap

import coulis
import httpx
import pytest
import websockets
from conftest import COUNT, served, until
from coulis.asgi import SubscriptionApp
from coulis.draining import Door, Drained, draining, schedule

pytest_plugins = ["redis_server"]

QUERY = "subscription { user { id } }"
SECONDS = 60


@pytest.fixture
async def app(manager):
    return SubscriptionApp(manager)


@pytest.fixture
async def address(app):
    async with served(app) as address:
        yield address


def result(id):
    return {"type": "next", "id": "1", "payload": {"data": {"user": {"id": id}}}}


@pytest.mark.parametrize(
    ("count", "deadline", "batch", "expected"),
    [
        (0, 10, 100, []),
        (7, 10, 100, [(0, 7)]),
        (250, 10, 100, [(0, 83), (8 / 3, 83), (16 / 3, 84)]),
        (9, 0, 1, [(0, 9)]),
        (9, 0.5, 1, [(0, 1), (0.08, 2), (0.16, 2), (0.24, 2), (0.32, 2)]),
    ],
)
def test_batches_are_spread_over_the_deadline(count, deadline, batch, expected):
    found = schedule(count, deadline, batch)
    assert [size for _, size in found] == [size for _, size in expected]
    assert [after for after, _ in found] == pytest.approx([after for after, _ in expected])


async def with_results(manager, address, connect):
    """Connect a client for which results are on their way; answer it, and their ids."""
    client = await connect(address)
    await client.init()
    await client.subscribe("1", QUERY)
    ids = list(range(300))
    for id in ids:
        manager.executor.publish_nowait("t", "user", {"id": id})
    return client, ids


@pytest.mark.parametrize(("options", "code"), [({}, 1012), ({"code": 1001}, 1001)])
async def test_everything_readable_is_sent_before_the_close(manager, app, address, connect, options, code):
    client, ids = await with_results(manager, address, connect)
    manager.executor.publish_event("t", "user", {"id": "last"})  # in order: all are readable now
    assert await app.drain(SECONDS, **options) == Drained(left=1)
    assert (await client.closed())[0::2] == (code, [result(id) for id in [*ids, "last"]])
    assert manager.get_metrics()["subscriptions"] == 0


async def test_connections_leave_in_batches(manager, app, address, connect):
    clients = [await connect(address) for _ in range(4)]
    for client in clients:
        await client.init()
    left = []
    for guest, gone in app.door._inside.items():
        asyncio.ensure_future(gone.wait()).add_done_callback(
            lambda _, guest=guest: left.append(asyncio.get_running_loop().time())
        )
    started = asyncio.get_running_loop().time()
    assert await app.drain(1.0, batch=2) == Drained(left=4)
    await until(lambda: len(left) == 4)
    assert left[2] - started >= 0.4 - 0.01, "the second batch leaves in the second half"
    assert {(await client.closed())[0] for client in clients} == {1012}


async def test_nobody_comes_in_while_it_drains(manager, app, address, connect):
    assert not manager.is_draining
    await app.drain(SECONDS)
    assert manager.is_draining
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(address)
    assert refused.value.response.status_code == 503


async def test_a_server_that_cannot_answer_503_closes_1012(app):
    await app.drain(SECONDS)
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await app({"type": "websocket", "subprotocols": ["graphql-transport-ws"], "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == 1012


class Stuck:
    """A client that does not read."""

    def __init__(self):
        self.told = []

    def leave(self, code, reason):
        self.told.append(("leave", code))

    def cut(self, code, reason):
        self.told.append(("cut", code))


async def test_who_does_not_read_is_cut_at_the_deadline():
    door, stuck = Door(), Stuck()
    with door.inside(stuck):
        assert await door.drain(0.05) == Drained(cut=1)
    assert stuck.told == [("leave", 1012), ("cut", 1012)]


async def test_a_manager_drains_all_of_its_apps(manager, connect):
    async with served(SubscriptionApp(manager)) as one, served(SubscriptionApp(manager)) as other:
        clients = [await connect(one), await connect(other)]
        for client in clients:
            await client.init()
        assert await manager.drain(SECONDS, code=1001) == Drained(left=2)
        assert [(await client.closed())[0] for client in clients] == [1001, 1001]


@pytest.mark.parametrize("timeout", [None, SECONDS])
async def test_a_manager_that_closes_has_its_clients_leave(manager, address, connect, timeout):
    client, ids = await with_results(manager, address, connect)
    await manager.close(timeout)
    assert (await client.closed())[1:] == ("Going away", [result(id) for id in ids])


async def test_a_manager_that_closes_has_generators_end(countdown, connect):
    manager, ends = countdown
    async with served(SubscriptionApp(manager)) as address:
        client = await connect(address)
        await client.init()
        payload = {"query": COUNT, "variables": {"from": 1_000_000}}
        await client.say(type="subscribe", id="1", payload=payload)
        await client.hear()
        await manager.close()
        assert (await client.closed())[0] == 1001
        await until(lambda: ends == ["1"])


async def test_a_manager_that_closes_sends_nobody_away_twice(manager, app, address, connect):
    client = await connect(address)
    await client.init()
    drain = asyncio.create_task(manager.drain(SECONDS))
    await until(lambda: manager.is_draining)
    await asyncio.gather(manager.close(), manager.close())
    assert (await client.closed())[0] in (1001, 1012)
    assert await drain == Drained(left=1)
    await manager.close()
    assert list(app.door.closed.values()) == [1]


async def test_a_manager_that_closes_waits_for_no_client(manager, app):
    stuck = Stuck()
    with app.door.inside(stuck):
        await manager.close(SECONDS)
        await until(lambda: stuck.told == [("leave", 1001)])


async def test_a_manager_may_be_closed_beside_the_loop_that_serves(manager, address, connect):
    client = await connect(address)
    await client.init()
    await asyncio.to_thread(asyncio.run, manager.close())
    assert (await client.closed())[0] == 1001


@pytest.mark.parametrize("bad", [{"deadline": -1}, {"deadline": float("nan")}, {"code": 1000}, {"batch": 0}])
async def test_bad_arguments_are_named(app, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=name):
        await app.drain(**bad)
    assert app.door.is_open


async def test_a_signal_waits_for_the_drain_and_a_second_one_does_not(app):
    heard, drained = [], asyncio.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append("server"))

    class Slow:
        async def drain(self, deadline, *, code, batch):
            heard.append("drain")
            await drained.wait()

    try:
        async with draining(Slow(), SECONDS, signals=[signal.SIGUSR1]):
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: heard)
            assert heard == ["drain"]
            os.kill(os.getpid(), signal.SIGUSR1)
            await until(lambda: len(heard) > 1)
            assert heard == ["drain", "server"], "who asks twice is in a hurry"
            drained.set()
        assert heard == ["drain", "server", "drain"], "and the server hears it once"
    finally:
        signal.signal(signal.SIGUSR1, before)


PLAIN = """
    app = MetricsApp(manager, SubscriptionApp(manager, drain_deadline=20))
"""
FASTAPI = """
    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with draining(manager, 20):
            yield
    app = FastAPI(lifespan=lifespan)
    app.include_router(SubscriptionRouterFactory.create(manager, "/"))
    app.include_router(metrics_router(manager))
"""
SERVER = """
    import contextlib, socket, sys, coulis, uvicorn
    from coulis.asgi import MetricsApp, SubscriptionApp
    from coulis.draining import draining
    from coulis.fastapi import SubscriptionRouterFactory, metrics_router
    from fastapi import FastAPI
    manager = coulis.SubscriptionManager(coulis.EventBusConfig.redis(sys.argv[1], "drain"))
    {app}
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
"""


class Process:
    """A server process and its address."""

    def __init__(self, url, app):
        program = textwrap.dedent(SERVER).format(app=textwrap.dedent(app))
        self.child = subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.child.stdout.readline())}"

    async def ready(self):
        async with httpx.AsyncClient() as http:
            while True:
                try:
                    if (await http.get(f"http://{self.address}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass  # it does not listen yet

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.child.terminate()
        self.child.wait(SECONDS)
        self.child.stdout.close()


class Resuming:
    """A client that goes on elsewhere when a server sends it away."""

    def __init__(self, connect):
        self.connect, self.cursor, self.numbers, self.codes = connect, "", [], []

    async def follow(self, addresses, last):
        for address in addresses:
            client = await self.connect(address)
            await client.init()
            extensions = {"coulis": {"resume": self.cursor}}
            await client.say(type="subscribe", id="1", payload={"query": QUERY, "extensions": extensions})
            try:
                while last not in self.numbers:
                    self.take(json.loads(await client.socket.recv()))
            except websockets.ConnectionClosed as closed:
                self.codes.append((closed.rcvd.code, closed.rcvd.reason))
        return self.numbers, self.codes

    def take(self, message):
        assert message["type"] == "next", message
        told = message["payload"]["extensions"]["coulis"]
        self.cursor = told["cursor"]
        if "resumed" in told:
            assert told["resumed"] or told["reason"] == "new", told
        else:
            self.numbers.append(message["payload"]["data"]["user"]["id"])


@pytest.mark.parametrize("app", [PLAIN, FASTAPI])
async def test_clients_go_on_at_a_second_process_without_loss(redis, connect, app):
    """Publish without a pause while the first of two servers is told to end by SIGTERM."""
    with Process(redis, app) as first, Process(redis, app) as second:
        await asyncio.wait_for(asyncio.gather(first.ready(), second.ready()), SECONDS)
        readers = [Resuming(connect) for _ in range(8)]
        last = 400
        following = [
            asyncio.create_task(reader.follow([first.address, second.address], last)) for reader in readers
        ]
        await asyncio.wait_for(until(lambda: all(reader.cursor for reader in readers)), SECONDS)
        bus = coulis.EventBusConfig.redis(redis, "drain")
        async with coulis.SubscriptionManager(bus, registry=coulis.Registry()) as publisher:
            for number in range(1, last + 1):
                await publisher.publish_event("t", "user", {"id": number})
                if number == 100:
                    first.child.send_signal(signal.SIGTERM)
        for numbers, codes in await asyncio.wait_for(asyncio.gather(*following), SECONDS):
            assert numbers == list(range(1, last + 1))
            assert codes == [(1012, "Service restart")], "not the close of the web server"
        assert await asyncio.to_thread(first.child.wait, SECONDS) == -signal.SIGTERM
