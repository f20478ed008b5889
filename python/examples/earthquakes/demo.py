"""Replays a week of earthquakes to real WebSocket clients, checks every delivery and prints a summary.

python demo.py            runs once and ends with a summary
python demo.py --bus redis   the same on two nodes with Redis between them, or with postgres
python demo.py --serve    keeps running, with a page for the browser
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import app as service
import servers
import uvicorn
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Event = dict[str, Any]

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
LIVE_LINES_MAX = 24
READERS_EACH = 4
SILENCE_SECONDS_MAX = 10

EARTHQUAKES = "subscription { earthquakes { id mag place location { depthKm } } }"
STRONG = """subscription Strong($minMag: Float!) {
  strongEarthquakes(minMag: $minMag) { id strength: mag place intensity }
}"""


def earthquake(event: Event) -> Event:
    """Say what `EARTHQUAKES` must deliver for an event."""
    shape = {key: event[key] for key in ("id", "mag", "place")}
    return {"earthquakes": {**shape, "location": {"depthKm": event["location"]["depthKm"]}}}


def strong(min_mag: float) -> Callable[[Event], Event]:
    """Say what `STRONG` must deliver for an event."""

    def expected(event: Event) -> Event:
        if event["mag"] < min_mag:
            return {"strongEarthquakes": None}
        felt = service.describe(event)["intensity"]
        shape = {"id": event["id"], "strength": event["mag"], "place": event["place"], "intensity": felt}
        return {"strongEarthquakes": shape}

    return expected


@dataclass
class Reader:
    """One client: a connection of its own, with one subscription."""

    network: str
    kind: str
    query: str
    expected: Callable[[Event], Event]
    variables: dict[str, Any] = field(default_factory=dict)
    frames: list[tuple[int, Event]] = field(default_factory=list)
    """When each frame came, on the machine's monotonic clock, and what was in it."""

    async def subscribe(self, socket: ClientConnection) -> None:
        """Open the protocol and the subscription."""
        await send(socket, type="connection_init", payload={"network": self.network})
        acknowledged = json.loads(await socket.recv())
        if acknowledged["type"] != "connection_ack":
            raise RuntimeError(f"the server did not acknowledge: {acknowledged}")
        await send(
            socket, id="1", type="subscribe", payload={"query": self.query, "variables": self.variables}
        )

    async def read(self, socket: ClientConnection, show: Callable[[Reader, Event], None]) -> None:
        """Keep the frames until the server answers the ping that comes after the last event."""
        async for text in socket:
            came_ns = time.monotonic_ns()
            message = json.loads(text)
            if message["type"] == "pong":
                return
            if message["type"] != "next":
                raise RuntimeError(f"{self.network}: unexpected message {message}")
            self.frames.append((came_ns, message["payload"]))
            show(self, message["payload"])

    def faults(self, events: list[Event]) -> list[str]:
        """Compare what came with what the tenant may see, in order and to the letter."""
        wanted = [{"data": self.expected(event)} for event in events if event["net"] == self.network]
        got = [
            {key: value for key, value in payload.items() if key != "extensions"}
            for _, payload in self.frames
        ]
        name = f"{self.network} ({self.kind})"
        if len(got) != len(wanted):
            return [f"{name}: {len(wanted)} deliveries expected, {len(got)} received"]
        different = [at for at, pair in enumerate(zip(wanted, got, strict=True)) if pair[0] != pair[1]]
        return [f"{name}: delivery {at} is {got[at]}, expected {wanted[at]}" for at in different[:3]]


def readers() -> list[Reader]:
    """Make some readers for each network, and two with a resolver."""
    networks = sorted({event["net"] for event in service.EVENTS})
    each = [network for network in networks for _ in range(READERS_EACH)]
    plain = [Reader(network, "fields", EARTHQUAKES, earthquake) for network in each]
    resolved = [
        Reader(network, "resolver", STRONG, strong(minimum), {"minMag": minimum})
        for network, minimum in [("us", 4.5), ("ci", 2.0)]
    ]
    return plain + resolved


class Screen:
    """Prints what arrives, up to a number of lines."""

    def __init__(self) -> None:
        self.lines = 0

    def show(self, reader: Reader, payload: Event) -> None:
        """Print an earthquake that was worth noticing."""
        quake = (payload.get("data") or {}).get("strongEarthquakes")
        if quake is None or self.lines > LIVE_LINES_MAX:
            return
        self.lines += 1
        if self.lines > LIVE_LINES_MAX:
            console.print("[dim]  … and so on: every delivery is checked, not every one is printed[/dim]")
            return
        colour = "bold red" if quake["strength"] >= 5.5 else "yellow" if quake["strength"] >= 4 else "green"
        text = f"{quake['place']} [dim]· {quake['intensity']}[/dim]"
        console.print(
            f"  [cyan]{reader.network}[/cyan]  [{colour}]M {quake['strength']:.1f}[/{colour}]  {text}"
        )


async def replay(ports: list[int], events_per_second: float) -> bool:
    """Connect all readers, replay the week, print the summary; answer whether every delivery was right.

    The readers connect to the nodes in turns, and the first node publishes.
    """
    screen, clients = Screen(), readers()
    async with AsyncExitStack() as connections:
        sockets = [
            await connections.enter_async_context(
                connect(
                    f"ws://127.0.0.1:{port}/graphql/subscriptions",
                    subprotocols=[Subprotocol("graphql-transport-ws")],
                    compression=None,
                    max_queue=None,
                )
            )
            for port, _ in zip(itertools.cycle(ports), clients, strict=False)
        ]
        for client, socket_ in zip(clients, sockets, strict=True):
            await client.subscribe(socket_)
        while sum([await call(port, "GET", "/subscriptions") for port in ports]) < len(clients):
            pass  # the protocol does not acknowledge a subscription
        first, last = (
            datetime.fromtimestamp(service.EVENTS[at]["time"] / 1000, timezone.utc).strftime("%-d %B %Y")
            for at in (0, -1)
        )
        console.print(
            f"\n[bold]{len(service.EVENTS):,} earthquakes[/bold], {first} to {last}, "
            f"to {len(clients)} WebSocket clients of {len({client.network for client in clients})} tenants "
            f"on {len(ports)} {'node' if len(ports) == 1 else 'nodes'}\n"
        )
        reading = [asyncio.create_task(c.read(s, screen.show)) for c, s in zip(clients, sockets, strict=True)]
        report = await call(ports[0], "POST", f"/replay?events_per_second={events_per_second}")
        await settled(clients, expected_deliveries(clients))
        for socket_ in sockets:
            await send(socket_, type="ping")
        await asyncio.wait_for(asyncio.gather(*reading), SILENCE_SECONDS_MAX)
    return summarise(clients, report, nodes=len(ports))


def expected_deliveries(clients: list[Reader]) -> int:
    """Count what all clients must get."""
    return sum(event["net"] == client.network for client in clients for event in service.EVENTS)


async def settled(clients: list[Reader], deliveries: int) -> None:
    """Wait for the last frame; give up when nothing comes any more."""
    seen, since = -1, time.monotonic()
    while (received := sum(len(client.frames) for client in clients)) < deliveries:
        if received != seen:
            seen, since = received, time.monotonic()
        if time.monotonic() - since > SILENCE_SECONDS_MAX:
            return
        await asyncio.sleep(0.01)


def summarise(clients: list[Reader], report: dict[str, Any], nodes: int) -> bool:
    """Print the table and the faults; answer whether there are none."""
    faults = [fault for client in clients for fault in client.faults(service.EVENTS)]
    expected = expected_deliveries(clients)
    received = sum(len(client.frames) for client in clients)
    # A node of several knows of its own deliveries only.
    if nodes == 1 and report["deliveries"] != expected:
        faults.append(f"the engine reports {report['deliveries']} deliveries, expected {expected}")

    table = Table(title="\nSummary", title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_row("events published", f"{len(report['published_ns']):,}")
    table.add_row("deliveries expected / received", f"{expected:,} / {received:,}")
    table.add_row(
        "missing, misdirected or out of order", "[red]yes[/red]" if faults else "[green]none[/green]"
    )
    for kind in ("fields", "resolver"):
        took = sorted(
            latencies_ms([client for client in clients if client.kind == kind], report["published_ns"])
        )
        p50, p99 = (took[int(len(took) * share)] if took else float("nan") for share in (0.5, 0.99))
        table.add_row(f"publish → client, {kind}: p50 / p99", f"{p50:.2f} ms / {p99:.2f} ms")
    if nodes == 1:
        cost = report["cpu_seconds"] / max(received, 1) * 1e6
        table.add_row("server CPU a delivery, all included", f"{cost:.0f} µs")
    console.print(table)
    for fault in faults:
        console.print(f"[red]fault[/red] {fault}", markup=True)
    console.print()
    return not faults


def latencies_ms(clients: list[Reader], published_ns: dict[str, int]) -> list[float]:
    """Give the time from publish to the client's frame of all deliveries that name their event."""
    found = []
    for client in clients:
        for came_ns, payload in client.frames:
            quake = next(iter((payload.get("data") or {}).values()), None)
            if quake is not None and quake.get("id") in published_ns:
                found.append((came_ns - published_ns[quake["id"]]) / 1e6)
    return found


async def send(socket: ClientConnection, **message: Any) -> None:
    """Send one protocol message."""
    await socket.send(json.dumps(message))


async def call(port: int, method: str, path: str) -> Any:
    """Call the service over HTTP."""

    def request() -> Any:
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        ) as answer:
            return json.load(answer)

    return await asyncio.to_thread(request)


def run_once(events_per_second: float, bus: str | None) -> bool:
    """Run the service in a process of its own for one replay, or in two with a bus between them."""
    environment = dict(os.environ)
    with ExitStack() as running:
        if bus is not None:
            environment["COULIS_BUS"] = running.enter_context(servers.running(bus)).address
        ports = [running.enter_context(node(environment)) for _ in range(1 if bus is None else 2)]
        return asyncio.run(replay(ports, events_per_second))


@contextlib.contextmanager
def node(environment: dict[str, str]) -> Iterator[int]:
    """Run the service until the end; yields its port."""
    command = [sys.executable, str(Path(__file__).with_name("app.py"))]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = server.stdout.readline()
        if not port:
            sys.exit("the service did not start: see above")
        try:
            yield int(port)
        finally:
            server.stdin.close()


def serve(events_per_second: float, port: int) -> None:
    """Keep the service running, with a replay in a loop and a page for the browser."""
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError:
        listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio leaves it out for such a socket
    service.app.state.events_per_second = events_per_second
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    console.print(f"\nEarthquakes, live: open [bold]{address}[/bold] · Ctrl-C ends\n")
    uvicorn.Server(uvicorn.Config(service.app, log_level="warning")).run(sockets=[listener])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A week of earthquakes, live over GraphQL subscriptions.")
    parser.add_argument("--serve", action="store_true", help="keep running, with a page for the browser")
    parser.add_argument("--port", type=int, default=8000, help="port of --serve; another one if it is taken")
    parser.add_argument("--rate", type=float, help="events a second; default 400, with --serve 2")
    parser.add_argument("--bus", choices=["redis", "postgres"], help="two nodes, and this between them")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.rate or 2, arguments.port)
    elif not run_once(arguments.rate or 400, arguments.bus):
        sys.exit(1)


if __name__ == "__main__":
    main()
