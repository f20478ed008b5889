"""Every transport on other ASGI servers than uvicorn, each in a process of its own."""

import asyncio
import contextlib
import json
import pathlib
import socket
import subprocess
import sys

import httpx
import pytest
import websockets
from coulis.asgi import LEGACY_SUBPROTOCOL, SUBPROTOCOL
from streams import EVENTS, PARTS, asked, browsing, events, parts

HERE = pathlib.Path(__file__).parent
PATIENCE_SECONDS = 60
QUERY = "subscription { user { id } }"
SERVERS = {
    "hypercorn": lambda port: ["hypercorn", "served_app:app", "--bind", f"127.0.0.1:{port}"],
    "granian": lambda port: [
        *("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "served_app:app")
    ],
}


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@contextlib.contextmanager
def running(name):
    port = free_port()
    command = [sys.executable, "-m", *SERVERS[name](port)]
    child = subprocess.Popen(command, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module", params=sorted(SERVERS))
def address(request):
    with running(request.param) as address:
        yield address


@pytest.fixture
async def client(address):
    async with browsing(address) as client:
        await asyncio.wait_for(answers(client), PATIENCE_SECONDS)
        yield client


async def answers(client):
    """Wait until the server does."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            await client.get("/metrics")
            return


async def publish(client, id):
    return (await client.post("/publish", json={"id": id})).json()


async def subscriptions(client, count):
    """Wait until there are so many."""
    while (await client.get("/metrics")).json()["subscriptions"] != count:
        pass


async def test_events(client):
    async with events(client, "/graphql", **asked(QUERY)) as answer:
        assert await publish(client, 1) == 1
        assert await answer.result() == {"data": {"user": {"id": 1}}}
        last = answer.id
    await subscriptions(client, 0)
    await publish(client, 2)
    async with events(client, "/graphql", headers={"last-event-id": last}, **asked(QUERY)) as answer:
        await answer.result()
        assert answer.extensions["resumed"] is True
        assert await answer.result() == {"data": {"user": {"id": 2}}}
    await subscriptions(client, 0)
    refused = await client.post("/graphql", headers=EVENTS, data={"query": QUERY})
    assert refused.status_code == 415


async def test_a_shared_stream(client):
    headers = {"X-GraphQL-Event-Stream-Token": (await client.put("/graphql")).text}
    async with events(client, "/graphql", method="GET", headers=headers) as stream:
        request = asked(QUERY, extensions={"operationId": "1"})
        assert (await client.post("/graphql", headers=headers, **request)).status_code == 202
        assert await publish(client, 1) == 1
        _, data = await stream.next()
        assert (data["id"], data["payload"]["data"]) == ("1", {"user": {"id": 1}})
        deleted = await client.delete("/graphql", headers=headers, params={"operationId": "1"})
        assert deleted.status_code == 200
        assert await stream.next() == ("complete", {"id": "1"})


async def test_parts(client):
    async with client.stream("POST", "/graphql", headers=PARTS, **asked(QUERY)) as response:
        heard = parts(response)
        assert await anext(heard) == {}
        assert await publish(client, 1) == 1
        assert (await anext(heard))["payload"]["data"] == {"user": {"id": 1}}
    await subscriptions(client, 0)


@pytest.mark.parametrize(
    ("subprotocol", "start", "result"),
    [(SUBPROTOCOL, "subscribe", "next"), (LEGACY_SUBPROTOCOL, "start", "data")],
)
async def test_websockets(client, address, subprotocol, start, result):
    connecting = websockets.connect(f"ws://{address}/graphql", subprotocols=[subprotocol], proxy=None)
    async with connecting as socket:
        await socket.send('{"type":"connection_init"}')
        assert json.loads(await socket.recv()) == {"type": "connection_ack"}
        await socket.send(json.dumps({"type": start, "id": "1", "payload": {"query": QUERY}}))
        await subscriptions(client, 1)
        assert await publish(client, 1) == 1
        message = json.loads(await socket.recv())
        assert (message["type"], message["payload"]["data"]) == (result, {"user": {"id": 1}})
    await subscriptions(client, 0)
