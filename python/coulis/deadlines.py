"""Deadlines: of hooks, permissions, `auth_handler` and `execute`, and of tokens."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from coulis.errors import UserError

__all__ = ["EXECUTE_SECONDS", "HOOK_SECONDS", "Expiry", "TimedOut", "within"]

HOOK_SECONDS = 10.0
"""For each answer of `auth_handler`, a hook, a permission or `context=`."""
EXECUTE_SECONDS = 30.0
"""For the result of one query or mutation."""

_WAIT_MAX = 86_400.0
"""Seconds that one timer waits: a clock may be set meanwhile."""


class TimedOut(UserError):
    """Something did not answer in its time; the message names it."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not answer within {seconds:g} seconds", code="TIMEOUT")


async def within(seconds: float | None, found: Any, what: str) -> Any:
    """Answer a value, or what an awaitable answers. Raises `TimedOut`; `RuntimeError` if it was cancelled.

    A cancellation of who asks is passed on, and what was asked may use the rest of its time to end. Nothing
    is waited for beyond that time: it may refuse to be cancelled.
    """
    if not inspect.isawaitable(found):
        return found
    task = asyncio.ensure_future(_awaited(found))
    cancelled = await _end(task, seconds)
    if not task.done():
        task.cancel()
        _late.add(task)
    task.add_done_callback(_ended)
    if cancelled is not None:
        raise cancelled
    if not task.done():
        raise TimedOut(what, seconds or 0.0)
    try:
        return task.result()
    except asyncio.CancelledError as error:  # its own: whoever asked goes on
        raise RuntimeError(f"{what} was cancelled") from error


async def _end(task: asyncio.Task[Any], seconds: float | None) -> asyncio.CancelledError | None:
    """Wait for a task, or for so long; answer the last cancellation meanwhile, each of which it is told."""
    loop = asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    cancelled = None
    while True:
        try:
            await asyncio.wait({task}, timeout=None if end is None else max(end - loop.time(), 0.0))
        except asyncio.CancelledError as error:
            task.cancel()
            cancelled = error
        else:
            return cancelled


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


_late: set[asyncio.Task[Any]] = set()
"""What was cancelled and has not ended; a loop itself holds its tasks weakly."""


def _ended(task: asyncio.Task[Any]) -> None:
    _late.discard(task)
    if not task.cancelled():
        task.exception()  # Seen: nobody waits for it any more.


class Expiry:
    """Calls `over` in the running loop when a token ends, whether its client does anything or not."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, expires: int | None) -> None:
        """Wait for this second since 1970 and for no other one; `None` never comes."""
        self.cancel()
        if expires is None:
            return
        left = expires - time.time()
        if left > 0:
            self._timer = self._loop.call_later(min(left, _WAIT_MAX), self.watch, expires)
        else:
            self._over()

    def cancel(self) -> None:
        """Wait no more. Safe to repeat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
