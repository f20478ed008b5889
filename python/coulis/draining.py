"""Draining: a server that goes sends its clients away in batches, each after what was ready for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from coulis.loops import wait_for

__all__ = ["Door", "Drained", "draining"]

BATCH_CONNECTIONS = 100
"""Connections that are sent away at the same time, at least."""
DEADLINE_SECONDS = 20.0
"""How long a drain takes at most."""
CLOSES = {1001: "Going away", 1012: "Service restart"}
"""The codes that a drain may close with (RFC 6455 and its registry), after which clients come back."""

_SPREAD_SHARE = 0.8
"""Of the deadline; the rest is for clients that read slowly."""
_INTERVAL_SECONDS_MIN = 0.1
_logger = logging.getLogger("coulis.draining")


class Guest(Protocol):
    """A connection, as a drain sees it."""

    def leave(self, code: int, reason: str, /) -> None:
        """Close once what is readable now was sent."""

    def cut(self, code: int, reason: str, /) -> None:
        """Close without more ado."""


class Drains(Protocol):
    """What can be drained: a `SubscriptionApp` or a `SubscriptionManager`."""

    async def drain(self, deadline: float = ..., *, code: int = ..., batch: int = ...) -> Drained:
        """Send all clients away."""


@dataclass(frozen=True)
class Drained:
    """What a drain did, in connections."""

    left: int = 0
    """Closed after all that was readable for them was sent."""
    cut: int = 0
    """Closed at the deadline, or still there then: they did not read."""

    def __add__(self, other: Drained) -> Drained:
        return Drained(self.left + other.left, self.cut + other.cut)


class Door:
    """Where the connections of one app come in and go out. Use it in the loop that serves them."""

    def __init__(self) -> None:
        self.is_open = True
        self.opened = 0
        self.closed: dict[int, int] = {}
        """How many connections ended, by the code of the close; 1006 where the client just went."""
        self._inside: dict[Guest, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._farewell: asyncio.Task[Drained] | None = None

    def __len__(self) -> int:
        return len(self._inside)

    @contextlib.contextmanager
    def inside(self, guest: Guest) -> Iterator[None]:
        """Count a connection as one of this door, from its accept to its end."""
        self.opened += 1
        self._loop = asyncio.get_running_loop()
        gone = self._inside[guest] = asyncio.Event()
        try:
            yield
        finally:
            del self._inside[guest]
            gone.set()

    def guests(self) -> list[Guest]:
        """Answer the connections that are inside."""
        return list(self._inside)

    def count(self, code: int) -> None:
        """Note how a connection ended."""
        self.closed[code] = self.closed.get(code, 0) + 1

    async def drain(
        self, deadline: float = DEADLINE_SECONDS, *, code: int = 1012, batch: int = BATCH_CONNECTIONS
    ) -> Drained:
        """Let nobody in from now on, and send all away; answer when they have gone, or at the deadline."""
        _check(deadline, code, batch)
        self.is_open = False
        reason = CLOSES[code]
        loop = asyncio.get_running_loop()
        start, waiting = loop.time(), dict(self._inside)
        guests = iter(waiting)
        for after, size in schedule(len(waiting), deadline, batch):
            await asyncio.sleep(start + after - loop.time())
            for _ in range(size):
                next(guests).leave(code, reason)
        late = await self._late(waiting, start + deadline - loop.time())
        for guest in late:
            guest.cut(code, reason)
        done = Drained(len(waiting) - len(late), len(late))
        if waiting:
            told = {"left": done.left, "cut": done.cut, "seconds": round(loop.time() - start, 3)}
            _logger.info("drained: %d connections left, %d were cut", done.left, done.cut, extra=told)
        return done

    def send_away(self, code: int) -> None:
        """Let nobody in from now on and have all leave at once, as `drain` does, and wait for nobody.

        From any thread.
        """
        self.is_open = False
        if self._inside and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is served any more
                self._loop.call_soon_threadsafe(self._start_farewell, code)

    def _start_farewell(self, code: int) -> None:
        farewell = self.drain(code=code, batch=max(len(self), 1))
        self._farewell = asyncio.get_running_loop().create_task(farewell)

    async def _late(self, waiting: dict[Guest, asyncio.Event], seconds: float) -> list[Guest]:
        """Wait until all are gone, or for so long; answer who is not."""
        with contextlib.suppress(asyncio.TimeoutError):
            await wait_for(_all_set(waiting.values()), max(seconds, 0.0))
        return [guest for guest, gone in waiting.items() if not gone.is_set()]


async def _all_set(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


def _check(deadline: float, code: int, batch: int) -> None:
    if not (deadline >= 0 and math.isfinite(deadline)):
        raise ValueError(f"`deadline` is `{deadline}`: pass seconds, 0 or more")
    if code not in CLOSES:
        raise ValueError(f"`code` is `{code}`: pass 1012 (service restart) or 1001 (going away)")
    if batch < 1:
        raise ValueError(f"`batch` is `{batch}`: pass a number of connections above 0")


def schedule(count: int, deadline: float, batch: int) -> list[tuple[float, int]]:
    """Answer after how many seconds how many connections are sent away, of `count`.

    Evenly over most of the deadline: clients that come back all at once are a storm for the next server.
    """
    spread = deadline * _SPREAD_SHARE
    batches = min(math.ceil(count / batch), 1 + int(spread / _INTERVAL_SECONDS_MIN))
    sizes = [count * (n + 1) // batches - count * n // batches for n in range(batches)]
    return [(spread * n / batches, size) for n, size in enumerate(sizes)]


@contextlib.asynccontextmanager
async def draining(
    served: Drains,
    deadline: float = DEADLINE_SECONDS,
    *,
    code: int = 1012,
    batch: int = BATCH_CONNECTIONS,
    signals: Iterable[signal.Signals] = (signal.SIGTERM,),
) -> AsyncIterator[None]:
    """Drain at the end of the block, and before the server hears one of `signals`; for a lifespan.

    Servers close all sockets at a signal, and end the lifespan only then. So on uvicorn the signal is kept
    back until the drain is over; a second one is not. Hypercorn hears it at once and waits for connections
    for its `graceful_timeout`, which should be `deadline`; its worker processes do not hear it, and granian
    sends nothing more over WebSockets: there call `drain` yourself before you stop them.
    """
    _check(deadline, code, batch)

    async def drain() -> None:
        await served.drain(deadline, code=code, batch=batch)

    with _kept_back(signals, drain):
        yield
    await drain()


@contextlib.contextmanager
def _kept_back(signals: Iterable[signal.Signals], drain: Callable[[], Awaitable[None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may set handlers; what serves from another one drains by hand.
        return
    keepers = [_Keeper(which, drain, asyncio.get_running_loop()) for which in signals]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.end()


class _Keeper:
    """Keeps one signal back from its handler until a drain is over."""

    def __init__(
        self,
        which: signal.Signals,
        drain: Callable[[], Awaitable[None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._signal, self._drain, self._loop = which, drain, loop
        self._task: asyncio.Task[None] | None = None
        self._came = self._passed = False
        self._before: Any = signal.signal(which, self._on_signal)

    def end(self) -> None:
        """Keep nothing back any more."""
        self._passed = True
        self._restore()
        if self._task is not None:
            self._task.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            self._pass_on()
            return
        self._came = True
        self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        self._task = self._loop.create_task(self._drain_and_pass_on())

    async def _drain_and_pass_on(self) -> None:
        try:
            await self._drain()
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Have the handler that was there before act, once."""
        if not self._passed:
            self._passed = True
            self._restore()
            signal.raise_signal(self._signal)

    def _restore(self) -> None:
        # Unless somebody took the signal since.
        if signal.getsignal(self._signal) == self._on_signal:
            signal.signal(self._signal, self._before)
