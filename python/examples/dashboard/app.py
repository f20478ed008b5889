"""A dashboard that nobody publishes to: PostgreSQL tells of each change of a table, when it is committed.

`python -m dashboard` runs it with a database of its own; else name one in the variable `DATABASE` and run
`uvicorn --factory dashboard.app:create`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import coulis
import psycopg
from coulis.draining import draining
from coulis.fastapi import SubscriptionRouterFactory, metrics_router
from fastapi import FastAPI
from fastapi.responses import FileResponse

SCHEMA = """
type Query { orders: [Order!]! }
type Subscription {
    "Every change: a row as it is now, or a tombstone for one that is gone."
    orders(region: String): Order
    "Orders at the moment in which they were paid."
    paid: Order
}
type Order { id: ID! region: String! status: String! amount: Float! }
"""

TABLE = """
create table if not exists orders (
    id int primary key generated always as identity,
    region text not null,
    status text not null default 'open',
    amount numeric(10, 2) not null,
    card text
);
select coulis_watch('orders', 'orders', columns => '{id, region, status, amount}');
"""

POLICIES = {
    "orders": "!has(args.region) || args.region == null || event.region == args.region",
    "paid": "event.status == 'paid' && (before == null || before.status != 'paid')",
}


def create(database: str | None = None) -> FastAPI:
    """Make the application on a database."""
    address = database or os.environ["DATABASE"]
    registry = coulis.Registry()

    @registry.subscription(channel="orders")
    def paid(event: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return {"paid": event}

    # Installs the tables and functions of the bus, beside those of the service.
    manager = coulis.SubscriptionManager(
        coulis.EventBusConfig.postgresql(address), schema=SCHEMA, policies=POLICIES, registry=registry
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
            app.state.database = connection
            await connection.execute(TABLE)
            async with draining(manager, 5):
                yield
        await manager.close(timeout=1)

    app = FastAPI(title="Orders", lifespan=lifespan)
    app.include_router(SubscriptionRouterFactory.create(manager))
    app.include_router(metrics_router(manager))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(Path(__file__).with_name("index.html"))

    # What follows knows nothing of subscriptions: another program may do it as well, or someone with psql.
    @app.post("/orders")
    async def place(region: str, amount: float) -> int:
        found = await app.state.database.execute(
            "insert into orders (region, amount, card) values (%s, %s, '4111') returning id", (region, amount)
        )
        (number,) = await found.fetchone()
        return int(number)

    @app.post("/orders/{number}/{status}")
    async def change(number: int, status: str) -> None:
        await app.state.database.execute("update orders set status = %s where id = %s", (status, number))

    @app.delete("/orders/{number}")
    async def forget(number: int) -> None:
        await app.state.database.execute("delete from orders where id = %s", (number,))

    return app
