"""Two server processes on one bus: one is killed, the bus is restarted, and no client misses anything."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import coulis
import pytest
import servers
import websockets
from coulis.asgi import SUBPROTOCOL

EVENTS = 300
QUERY = "subscription { earthquakes { id } }"
APP = Path(servers.__file__).with_name("app.py")


class Node:
    """A process that serves clients."""

    def __init__(self, environment):
        self.environment = environment
        self.start()

    def start(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, str(APP)], env=self.environment, **pipes)
        self.port = int(self.process.stdout.readline())

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Reader:
    """A client that goes on at another node when it loses its connection."""

    def __init__(self, nodes, first):
        self.nodes, self.at = nodes, first
        self.got, self.cursor, self.connections, self.reloads = [], "", 0, 0
        self.subscribed = asyncio.Event()

    async def read(self):
        while len(self.got) < EVENTS:
            with contextlib.suppress(OSError, websockets.WebSocketException):
                await self.connection(self.nodes[self.at % len(self.nodes)].port)
            self.at += 1

    async def connection(self, port):
        address = f"ws://127.0.0.1:{port}/graphql/subscriptions"
        async with websockets.connect(address, subprotocols=[SUBPROTOCOL], proxy=None) as socket:
            self.connections += 1
            await socket.send(json.dumps({"type": "connection_init", "payload": {"network": "ci"}}))
            await socket.recv()
            payload = {"query": QUERY, "extensions": {"coulis": {"resume": self.cursor or None}}}
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
            while len(self.got) < EVENTS:
                payload = json.loads(await socket.recv())["payload"]
                told = payload["extensions"]["coulis"]
                assert "gap" not in told, told
                if told.get("resumed") is False and self.cursor:
                    # A node that has not read the history yet says so; the client may ask again.
                    assert told["reason"] in ("future", "epoch"), told
                    self.reloads += 1
                    return
                self.cursor = told["cursor"]
                self.subscribed.set()
                if payload["data"] is not None:
                    self.got.append(payload["data"]["earthquakes"]["id"])


async def publish(bus, number):
    """Publish an event, again and again while its bus is away."""
    event = {"id": str(number)}
    while True:
        try:
            return await bus.publish_event(
                "e", "earthquakes", event, tenant_id="ci", event_id=f"earthquake {number}"
            )
        except coulis.BusError as error:
            assert error.transient, error


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_nobody_misses_anything(kind):
    with servers.running(kind) as server, contextlib.ExitStack() as stack:
        environment = {**os.environ, "COULIS_BUS": server.address}
        nodes = [Node(environment) for _ in range(2)]
        for node in nodes:
            stack.callback(node.kill)
        bus = (
            coulis.EventBusConfig.redis(server.address, "earthquakes")
            if kind == "redis"
            else coulis.EventBusConfig.postgresql(server.address)
        )
        readers = [Reader(nodes, number % 2) for number in range(6)]
        reading = [asyncio.create_task(reader.read()) for reader in readers]
        await asyncio.gather(*(reader.subscribed.wait() for reader in readers))
        async with coulis.SubscriptionManager(bus, registry=coulis.Registry()) as publisher:
            for number in range(EVENTS):
                if number == EVENTS // 3:
                    nodes[0].kill()
                if number == EVENTS // 2:
                    server.kill()
                    server.start()
                if number == 2 * EVENTS // 3:
                    nodes[0].start()
                    nodes[1].kill()
                if number == 5 * EVENTS // 6:
                    nodes[1].start()
                await publish(publisher, number)
            await asyncio.wait_for(asyncio.gather(*reading), 60)
        for reader in readers:
            assert reader.got == [str(number) for number in range(EVENTS)]
        assert sum(reader.connections for reader in readers) > len(readers), "nobody had to resume"
