"""What runs a service asks of it: is it alive, does it take clients, what does it count."""

from __future__ import annotations

import importlib.resources
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coulis._coulis import __version__

if TYPE_CHECKING:
    from coulis.manager import SubscriptionManager
    from coulis.types import Scope

__all__ = ["MetricsApp", "Readiness", "grafana_dashboard", "prometheus", "readiness", "resident_bytes"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[["Scope", Receive, Send], Awaitable[None]]

PATHS = ("/healthz", "/readyz", "/metrics")

HEADERS = {"content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store"}
"""Of every answer; the version is that of the text format of Prometheus."""

_GAUGES = ("connected", "held_back", "buffered")
_STARTED = time.time()


@dataclass(frozen=True)
class Readiness:
    """Whether clients may be sent here, and if not why."""

    ready: bool
    reason: str


def readiness(manager: SubscriptionManager) -> Readiness:
    """Answer whether a manager takes clients: its engine runs, no app of it drains, its bus is there."""
    if manager.executor.is_closed:
        return Readiness(False, "the engine is closed")
    if manager.is_draining:
        return Readiness(False, "draining")
    health = manager.health()
    if health is not None and not health["connected"]:
        return Readiness(False, "the bus is not connected")
    return Readiness(True, "ready")


def prometheus(manager: SubscriptionManager) -> str:
    """Answer all that is counted, in the text format of Prometheus: engine, bus, connections, process."""
    rows = [*_service(manager), *_bus(manager), *_process()]
    return manager.executor.prometheus() + "".join(rows)


def grafana_dashboard() -> dict[str, Any]:
    """Answer the dashboard for Grafana that comes with the package; `json.dumps` it into an import."""
    text = importlib.resources.files("coulis").joinpath("dashboards/coulis.json").read_text("utf-8")
    dashboard: dict[str, Any] = json.loads(text)
    return dashboard


def _row(name: str, kind: str, help: str, *samples: tuple[str, float]) -> str:
    lines = [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{labels} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _service(manager: SubscriptionManager) -> Iterator[str]:
    doors = list(manager.doors)
    closed: dict[int, int] = {}
    for door in doors:
        for code, count in door.closed.items():
            closed[code] = closed.get(code, 0) + count
    yield _row("coulis_connections", "gauge", "Connections that are open.", ("", sum(map(len, doors))))
    opened = sum(door.opened for door in doors)
    yield _row("coulis_connections_opened_total", "counter", "Connections since the start.", ("", opened))
    by_code = [(f'{{code="{code}"}}', count) for code, count in sorted(closed.items())]
    yield _row("coulis_connections_closed_total", "counter", "Closed connections by code.", *by_code)
    ready = readiness(manager).ready
    yield _row("coulis_ready", "gauge", "1 where clients may be sent here.", ("", ready))
    yield _row("coulis_draining", "gauge", "1 while clients are sent away.", ("", manager.is_draining))


def _bus(manager: SubscriptionManager) -> Iterator[str]:
    """Tell how the bus is; nothing where events stay in this process."""
    for name, value in (manager.health() or {}).items():
        if name == "held_back":
            help = "How long events have been held back by a transaction that is open."
            yield _row("coulis_bus_held_back_seconds", "gauge", help, ("", value or 0.0))
        elif name == "connected":
            yield _row("coulis_bus_connected", "gauge", "1 where the bus is connected.", ("", value))
        elif isinstance(value, int):
            gauge = name in _GAUGES
            full = f"coulis_bus_{name}" if gauge else f"coulis_bus_{name}_total"
            kind = "gauge" if gauge else "counter"
            yield _row(full, kind, f"What the bus counts as {name}.", ("", value))


def _process() -> Iterator[str]:
    """Tell what any process tells, by the names that Prometheus has for it."""
    implementation = sys.implementation.name
    labels = (
        f'{{version="{__version__}",python="{sys.version.split()[0]}",implementation="{implementation}"}}'
    )
    yield _row("coulis_build_info", "gauge", "What runs here.", (labels, 1))
    cpu = "User and system CPU time of this process."
    yield _row("process_cpu_seconds_total", "counter", cpu, ("", time.process_time()))
    start = "When this process loaded the package, in seconds since 1970."
    yield _row("process_start_time_seconds", "gauge", start, ("", _STARTED))
    if (resident := resident_bytes()) is not None:
        memory = "Resident memory of this process."
        yield _row("process_resident_memory_bytes", "gauge", memory, ("", resident))
    try:
        # The listing itself has one open.
        descriptors = len(os.listdir("/proc/self/fd")) - 1
    except OSError:
        return
    yield _row("process_open_fds", "gauge", "Open file descriptors.", ("", descriptors))


def resident_bytes() -> int | None:
    """Answer the memory of this process, or `None` where nobody tells."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None  # not Linux


class MetricsApp:
    """An ASGI application that answers `/healthz`, `/readyz` and `/metrics`; all else goes to `app`.

    `/healthz` is 200 as long as the event loop answers. `/readyz` is 200 where clients may be sent here, and
    503 with the reason while the service drains, after it closed, and where its bus is not connected.
    `/metrics` is for Prometheus. Mount it anywhere, or put it around a `SubscriptionApp`. The routes tell
    nobody's data, yet are for the inside: let no one in from outside.
    """

    def __init__(self, manager: SubscriptionManager, app: App | None = None) -> None:
        self.manager = manager
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = _path(scope) if scope["type"] == "http" else None
        if path not in PATHS and self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, 405, "pass GET or HEAD", (b"allow", b"GET, HEAD"))
        else:
            await _answer(scope, send, *self.answer(path))

    def answer(self, path: str | None) -> tuple[int, str]:
        """Answer the status and the text of one of the routes, or 404."""
        if path == "/healthz":
            return 200, "alive\n"
        if path == "/readyz":
            found = readiness(self.manager)
            return (200 if found.ready else 503), f"{found.reason}\n"
        if path == "/metrics":
            return 200, prometheus(self.manager)
        return 404, f"there are {', '.join(PATHS)}\n"


def _path(scope: Scope) -> str:
    """Answer the path below where the application is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root + "/") else path


async def _answer(scope: Scope, send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    body = text.encode()
    all_headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    all_headers += [(b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _lifespan(receive: Receive, send: Send) -> None:
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
