"""How long from a publish, or a commit in PostgreSQL, to the frame at a WebSocket client of another node?

python bus.py    starts its own Redis and PostgreSQL, a node in a process of its own, and a client of it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "examples" / "earthquakes"
sys.path.insert(0, str(EXAMPLE))

import coulis  # noqa: E402
import psycopg  # noqa: E402
import servers  # noqa: E402
from websockets.asyncio.client import ClientConnection, connect  # noqa: E402
from websockets.typing import Subprotocol  # noqa: E402

Way = Callable[[str, ClientConnection, int], Awaitable[list[float]]]

QUERY = "subscription { earthquakes { id } }"
CHANNEL, TENANT = "earthquakes", "ci"


async def subscribe(port: int) -> ClientConnection:
    """Connect to the node, and subscribe; it is active when this returns."""
    address = f"ws://127.0.0.1:{port}/graphql/subscriptions"
    socket = await connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], compression=None)
    await socket.send(json.dumps({"type": "connection_init", "payload": {"network": TENANT}}))
    await socket.recv()
    payload = {"query": QUERY, "extensions": {"coulis": {"resume": None}}}
    await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
    await socket.recv()
    return socket


async def measure(socket: ClientConnection, publish: Any, count: int) -> list[float]:
    """Publish one event after the other, and wait for each one's frame; answer the milliseconds of each."""
    took = []
    for number in range(count):
        start = await publish(number)
        message = json.loads(await socket.recv())
        took.append((time.perf_counter() - start) * 1e3)
        assert message["payload"]["data"] == {"earthquakes": {"id": str(number)}}, message
        # Not in step with what the server does by itself.
        await asyncio.sleep(0.003 + 0.007 * (number % 7) / 7)
    return sorted(took[count // 10 :])


async def over_redis(address: str, socket: ClientConnection, count: int) -> list[float]:
    """Measure from before a publish on another node."""
    async with coulis.SubscriptionManager(coulis.EventBusConfig.redis(address, "earthquakes")) as manager:

        async def publish(number: int) -> float:
            start = time.perf_counter()
            await manager.publish_event("e", CHANNEL, {"id": str(number)}, tenant_id=TENANT)
            return start

        return await measure(socket, publish, count)


async def over_postgres(address: str, socket: ClientConnection, count: int) -> list[float]:
    """Measure from before the COMMIT of a transaction that changed a row and published."""
    async with await psycopg.AsyncConnection.connect(address) as database:
        await database.execute("create table quakes (id text primary key)")
        await database.commit()

        async def publish(number: int) -> float:
            await database.execute("insert into quakes values (%s)", (str(number),))
            event = json.dumps({"id": str(number)})
            await database.execute(
                "select coulis_publish(%s, 'e', %s, tenant_id => %s)", (CHANNEL, event, TENANT)
            )
            start = time.perf_counter()
            await database.commit()
            return start

        return await measure(socket, publish, count)


def node(address: str, running: ExitStack) -> int:
    """Start a node; answer its port."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "COULIS_BUS": address}
    process = running.enter_context(
        subprocess.Popen([sys.executable, str(EXAMPLE / "app.py")], env=environment, **pipes)
    )
    running.callback(process.terminate)
    assert process.stdout is not None
    return int(process.stdout.readline())


async def run(port: int, way: Way, address: str, count: int) -> list[float]:
    """Measure with one client of the node at `port`."""
    socket = await subscribe(port)
    try:
        return await way(address, socket, count)
    finally:
        await socket.close()


def main() -> None:
    """Measure both, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000, help="events of each row")
    count = parser.parse_args().count
    ways: list[tuple[str, str, Way]] = [
        ("redis", "publish", over_redis),
        ("postgres", "commit", over_postgres),
    ]
    for kind, what, way in ways:
        with ExitStack() as running:
            server = running.enter_context(servers.running(kind))
            took = asyncio.run(run(node(server.address, running), way, server.address, count))
        p50, p99 = (took[int(len(took) * share)] for share in (0.5, 0.99))
        print(f"{kind}: {what} → frame at a client of another node: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()
