"""`coulis demo`: a service with two tenants and real clients, in one minute or less."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer
import uvicorn
import websockets
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from coulis.asgi import SUBPROTOCOL, MetricsApp, SubscriptionApp
from coulis.cli.terms import fail, screen
from coulis.manager import SubscriptionManager
from coulis.registry import Registry

__all__ = ["demo"]

QUERY = "subscription { orders { id total } }"
SCHEMA = """
type Query { orders: [Order!]! }
type Order { id: ID!, total: Float!, card: String! }
type Subscription { orders: Order! }
"""
READERS = ["acme", "acme", "initech"]
"""The tenant of each client."""
SECONDS_MAX = 30.0

Count = Annotated[int, typer.Option(envvar="COULIS_EVENTS", min=1, help="How many events.")]
Pace = Annotated[float, typer.Option(envvar="COULIS_RATE", min=0.1, help="Events a second.")]
Seed = Annotated[
    int, typer.Option(envvar="COULIS_SEED", help="Of the orders: the same seed, the same orders.")
]

Order = dict[str, Any]


def demo(events: Count = 20, rate: Pace = 10.0, seed: Seed = 1) -> None:
    """Serve two tenants on a free port, publish orders, show who gets which, and check every delivery."""
    wrong = asyncio.run(_run(screen(), events, rate, random.Random(seed)))
    if wrong:
        fail(f"{wrong} clients did not get what they should")


async def _run(out: Console, events: int, rate: float, chance: random.Random) -> int:
    async with SubscriptionManager(schema=SCHEMA, registry=Registry(), tenancy="strict") as manager:
        app = SubscriptionApp(manager, auth_handler=lambda payload: payload)
        config = uvicorn.Config(
            MetricsApp(manager, app), log_level="error", lifespan="off", ws="websockets-sansio"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not, for such a one
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            out.print(f"ws://{address}/ serves [bold]{QUERY}[/bold]\n")
            wrong = await asyncio.wait_for(
                _replay(out, manager, address, events, rate, chance), events / rate + SECONDS_MAX
            )
            await app.drain(1.0)
            server.should_exit = True
            await serving
    return wrong


async def _replay(
    out: Console,
    manager: SubscriptionManager,
    address: str,
    events: int,
    rate: float,
    chance: random.Random,
) -> int:
    orders = [_order(number, chance) for number in range(1, events + 1)]
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(_subscribed(address, tenant)) for tenant in READERS]
        reading = [
            asyncio.create_task(_read(out, connection, tenant, len(_wanted(orders, tenant))))
            for connection, tenant in zip(sockets, READERS, strict=True)
        ]
        for order in orders:
            await manager.publish_event("placed", "orders", order["data"], tenant_id=order["tenant"])
            await asyncio.sleep(1 / rate)
        return _summarise(out, orders, await asyncio.gather(*reading))


def _order(number: int, chance: random.Random) -> Order:
    total = round(chance.uniform(1, 100), 2)
    return {
        "tenant": chance.choice(["acme", "initech"]),
        "data": {"id": str(number), "total": total, "card": "4111 1111 1111 1111"},
    }


def _wanted(orders: list[Order], tenant: str) -> list[Order]:
    return [
        {"orders": {"id": order["data"]["id"], "total": order["data"]["total"]}}
        for order in orders
        if order["tenant"] == tenant
    ]


@contextlib.asynccontextmanager
async def _subscribed(address: str, tenant: str) -> AsyncIterator[ClientConnection]:
    init = {"user_id": f"reader of {tenant}", "tenant_id": tenant}
    async with websockets.connect(
        f"ws://{address}/", subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None
    ) as connection:
        await connection.send(json.dumps({"type": "connection_init", "payload": init}))
        await connection.recv()
        await connection.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}}))
        # The protocol does not acknowledge a subscription; the answer to a ping comes after it.
        await connection.send(json.dumps({"type": "ping"}))
        if (message := json.loads(await connection.recv()))["type"] != "pong":
            raise RuntimeError(f"the client of {tenant} got {message}")
        yield connection


async def _read(out: Console, connection: ClientConnection, tenant: str, count: int) -> list[Order]:
    found: list[Order] = []
    while len(found) < count:
        message = json.loads(await connection.recv())
        found.append(message["payload"]["data"])
        out.print(f"[cyan]{tenant:8}[/cyan] {json.dumps(found[-1])}")
    return found


def _summarise(out: Console, orders: list[Order], found: list[list[Order]]) -> int:
    table = Table("tenant", "published", "received", "right", box=None, padding=(0, 2))
    wrong = 0
    for tenant, got in zip(READERS, found, strict=True):
        wanted = _wanted(orders, tenant)
        wrong += got != wanted
        table.add_row(tenant, str(len(wanted)), str(len(got)), "yes" if got == wanted else "no")
    out.print()
    out.print(table)
    out.print("\nThe card was published too: no client asked for it, and no tenant saw the other's orders.")
    return wrong
