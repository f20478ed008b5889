"""A week of real earthquakes over GraphQL subscriptions: one tenant for each seismic network."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coulis
import uvicorn
from coulis.fastapi import SubscriptionRouterFactory
from fastapi import FastAPI
from fastapi.responses import FileResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent
EVENTS: list[dict[str, Any]] = [
    json.loads(line) for line in (HERE / "earthquakes.ndjson").read_text("utf-8").splitlines()
]
CHANNEL = "earthquakes"

# What people notice, by magnitude, from strong to weak.
INTENSITIES = [
    (6.0, "heavy furniture moves"),
    (5.0, "felt by all"),
    (4.0, "dishes rattle"),
    (3.0, "like a lorry"),
]


def bus() -> coulis.EventBusConfig:
    """Answer the bus that the environment names by its address; without one, events stay in this process."""
    address = os.environ.get("COULIS_BUS", "")
    if address.startswith("redis:"):
        return coulis.EventBusConfig.redis(address, "earthquakes")
    return coulis.EventBusConfig.postgresql(address) if address else coulis.EventBusConfig.memory()


manager = coulis.SubscriptionManager(bus())


@coulis.subscription(name="strongEarthquakes", channel=CHANNEL)
async def strong_earthquakes(event: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Answer what an earthquake felt like, or nothing for one below `$minMag`."""
    strong = event["mag"] >= variables["minMag"]
    return {"strongEarthquakes": describe(event) if strong else None}


def describe(event: dict[str, Any]) -> dict[str, Any]:
    """Add to an event what people notice."""
    felt = next((text for magnitude, text in INTENSITIES if event["mag"] >= magnitude), "felt by few")
    return {**event, "intensity": felt}


async def network_of(payload: dict[str, Any] | None) -> dict[str, Any]:
    """Take the connection's tenant from its `connection_init`; a real service would check a token here."""
    named = payload or {}
    headers = named.get("headers")  # over HTTP, and what the endpoint's page sends
    network = named.get("network") or (headers.get("network") if isinstance(headers, dict) else None)
    if not isinstance(network, str) or not network:
        raise coulis.AuthenticationFailed("name your seismic network: `{network: 'ci'}`")
    return {"user_id": f"reader of {network}", "tenant_id": network}


async def publish(event: dict[str, Any]) -> int:
    """Publish one earthquake to the readers of its network."""
    return await manager.publish_event("earthquake", CHANNEL, event, tenant_id=event["net"])


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Replay in a loop where a pace is set; stop the engine at the end."""
    pace: float = getattr(app.state, "events_per_second", 0)
    loop = asyncio.create_task(replay_forever(pace)) if pace else None
    yield
    if loop is not None:
        loop.cancel()
    await manager.close()


app = FastAPI(title="Earthquakes", lifespan=lifespan)
app.include_router(
    SubscriptionRouterFactory.create(
        manager,
        path="/graphql/subscriptions",
        auth_handler=network_of,
        console=lambda connection: True,  # for every network: nothing here is a secret
    )
)


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """Show the events in a browser, live."""
    return FileResponse(HERE / "index.html")


@app.get("/subscriptions")
async def subscriptions() -> int:
    """Count the active subscriptions."""
    return len(manager.executor.subscriptions_by_channel(CHANNEL))


@app.post("/replay")
async def replay(events_per_second: float) -> dict[str, Any]:
    """Publish the week once, in order; answer when each event left and what it cost."""
    published_ns, deliveries = {}, 0
    cpu = time.process_time()
    async for event in paced(events_per_second):
        published_ns[event["id"]] = time.monotonic_ns()
        deliveries += await publish(event)
    cpu = time.process_time() - cpu
    return {"published_ns": published_ns, "deliveries": deliveries, "cpu_seconds": cpu}


async def replay_forever(events_per_second: float) -> None:
    """Publish the week again and again."""
    while True:
        async for event in paced(events_per_second):
            await publish(event)


async def paced(events_per_second: float) -> AsyncIterator[dict[str, Any]]:
    """Iterate over the week, evenly spaced."""
    start = time.monotonic()
    for position, event in enumerate(EVENTS):
        await asyncio.sleep(max(0.0, start + position / events_per_second - time.monotonic()))
        yield event


def run(port: int) -> None:
    """Serve until standard input ends, and print the port: the demo's child process."""
    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio leaves it out for such a socket
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))

    def stop_at_end_of_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    server.run(sockets=[listener])


if __name__ == "__main__":
    run(port=0)
