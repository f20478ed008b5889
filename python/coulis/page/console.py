"""The data of the live console: connections, counters, and why an event reaches a subscription."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from coulis._coulis import CoulisError, EngineClosed, SubscriptionNotFound, __version__, from_json
from coulis.deadlines import TimedOut, within
from coulis.logs import Paced
from coulis.operations import readiness, resident_bytes
from coulis.page.access import Denied, admit
from coulis.page.timings import BOUNDS, Timings

if TYPE_CHECKING:
    from coulis.asgi import SubscriptionApp
    from coulis.page import ConsoleOption
    from coulis.types import Scope

__all__ = ["Console"]

CONNECTIONS_MAX = 100
"""Connections that are named; all are counted."""
SUBSCRIPTIONS_MAX = 200
"""Subscriptions of a channel that are named; all are counted."""
CHANNELS_MAX = 32
"""Channels whose subscriptions are named at once."""

ROAD = ("subscription", "channel", "event_type", "policy", "delivered")
"""The steps of an event's way to a subscription, in their order, by the names that `explain` has for them."""

_TEXTS = ("event_type", "channel", "subscription")
_IDENTITIES = ("tenant_id", "user_id")
_log = Paced("coulis.page")


class Console:
    """What one app's console tells, and to whom."""

    def __init__(self, app: SubscriptionApp, allows: ConsoleOption) -> None:
        self._app = app
        self._manager = app.manager
        self._allows = allows
        if self._manager.timings is None:
            self._manager.timings = Timings()

    async def admit(self, scope: Scope) -> None:
        """Let in who may subscribe, and whom the function of `console=` allows. Raises `Denied`."""
        connection = await admit(self._app, scope)
        if self._allows is True:
            if connection.security.tenant_id is not None:  # all tenants are shown, and explained
                raise Denied(
                    403,
                    "the console shows all tenants: who of one may see it is for a function of `console=`",
                )
            return
        assert callable(self._allows)
        try:
            seconds = self._app.hosting.hook_timeout
            found = await within(seconds, self._allows(connection), "`console`")
        except TimedOut as late:
            _log.log(logging.ERROR, "late", "%s: the request is refused", late)
            raise Denied(504, str(late), code="TIMEOUT") from None
        except Exception as error:
            _log.log(logging.ERROR, "failed", "`console` failed: the request is refused", exc_info=error)
            raise Denied(500, "Internal server error") from None
        if found is not True:  # what is merely truthy may be a mistake
            raise Denied(403, "you may not see the console")

    async def snapshot(self) -> dict[str, Any]:
        """Answer all that is counted now; rates are for the reader to make, from two of these."""
        manager = self._manager
        begun = time.perf_counter()
        await asyncio.sleep(0)
        delay = time.perf_counter() - begun
        doors = list(manager.doors)
        ready = readiness(manager)
        guests = [guest for door in doors for guest in door.guests()]
        timings = manager.timings
        return {
            "time": time.monotonic(),
            "version": __version__,
            "ready": {"ready": ready.ready, "reason": ready.reason},
            "metrics": manager.get_metrics(),
            "connections": {
                "open": len(guests),
                "opened": sum(door.opened for door in doors),
                "named": [_told(guest) for guest in guests[:CONNECTIONS_MAX]],
            },
            "publishing": {"bounds": BOUNDS, "counts": timings.counts if timings is not None else []},
            "loop_delay": delay,
            "shards": shard_seconds(),
            "process": {"cpu": time.process_time(), "resident": resident_bytes()},
            "bus": manager.health(),
        }

    async def subscriptions(self, channels: Iterable[str]) -> list[dict[str, Any]]:
        """Answer the live subscriptions of channels, and of those that declarations name."""
        manager = self._manager
        declared = manager.registry.fields.values()
        known = [name for each in declared for name in (each.channels or (each.name,)) if not each.generates]
        wanted = list(dict.fromkeys([*channels, *known]))[:CHANNELS_MAX]
        by_channel = manager.executor.subscriptions_by_channel
        # All of it in the thread: there may be millions, and the loop has clients to serve.
        found: list[dict[str, Any]] = await _detached(
            lambda: [_counted(name, by_channel(name)) for name in wanted]
        )
        return found

    async def explain(self, body: bytes) -> dict[str, Any]:
        """Answer what becomes of the event that the body tells of, and each step up to there."""
        asked = _question(body)
        executor = self._manager.executor
        event = {name: asked.get(name) for name in (*_IDENTITIES, "before") if asked.get(name) is not None}
        try:
            verdict = await _detached(
                lambda: executor.explain(
                    asked["subscription"], asked["event_type"], asked["channel"], asked["data"], **event
                )
            )
        except SubscriptionNotFound as error:
            verdict = {"step": "subscription", "message": str(error)}
        except (CoulisError, ValueError, TypeError) as error:
            raise Denied(400, f"{type(error).__name__}: {error}") from None
        return {**verdict, "road": road(verdict["step"])}


def road(step: str) -> list[dict[str, Any]]:
    """Answer the steps up to the one that decides, and whether each lets the event on."""
    last = "delivered" if step == "tombstone" else step
    reached = ROAD[: ROAD.index(last) + 1] if last in ROAD else (*ROAD[:-1], step)
    return [{"step": name, "passed": name != last or last == "delivered"} for name in reached]


def _question(body: bytes) -> dict[str, Any]:
    try:
        asked = from_json(body)
    except ValueError as error:
        raise Denied(400, f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Denied(400, "the body is no object")
    for name in _TEXTS:
        if not isinstance(asked.get(name), str) or not asked[name]:
            raise Denied(400, f"`{name}` is missing: pass a text")
    for name in _IDENTITIES:
        if not isinstance(asked.get(name), str | None):
            raise Denied(400, f"`{name}` is no text")
    for name in ("data", "before"):
        if not isinstance(asked.get(name), dict | list | None):
            raise Denied(400, f"`{name}` is no object and no list")
    return {"data": None, **asked}


def _counted(channel: str, ids: list[str]) -> dict[str, Any]:
    return {"channel": channel, "count": len(ids), "ids": nsmallest(SUBSCRIPTIONS_MAX, set(ids))}


async def _detached(work: Any) -> Any:
    """Do what may wait for a shard in a thread, so that the loop goes on."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    except EngineClosed:
        raise Denied(503, "the engine is closed") from None


def _told(guest: Any) -> dict[str, Any]:
    """Answer who is connected, as far as it is known."""
    log = getattr(guest, "log", None)
    if log is not None:
        return {"transport": "websocket", **log.told()}
    security = getattr(guest, "context", None)
    return {
        "transport": "http",
        "user_id": getattr(security, "user_id", None),
        "tenant_id": getattr(security, "tenant_id", None),
    }


def shard_seconds() -> dict[str, float] | None:
    """Answer the processor time of each shard's thread in this process, or `None` where nobody tells."""
    try:
        tick = os.sysconf("SC_CLK_TCK")
        found: dict[str, float] = {}
        for thread in sorted(os.listdir("/proc/self/task"), key=int):
            with open(f"/proc/self/task/{thread}/stat", encoding="ascii", errors="replace") as stat:
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
            if name.startswith("coulis-shard-"):
                user, system = rest.split()[11:13]
                shard = name.removeprefix("coulis-shard-")
                found[shard] = found.get(shard, 0.0) + (int(user) + int(system)) / tick
        return found
    except (OSError, ValueError, IndexError):
        return None  # not Linux, or a thread that has just ended
