"""Deadlines of what an application is asked: hooks, permissions, `auth_handler`, `execute`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any

from coulis.errors import UserError

__all__ = ["EXECUTE_SECONDS", "HOOK_SECONDS", "TimedOut", "within"]

HOOK_SECONDS = 10.0
"""For each answer of `auth_handler`, a hook, a permission or `context=`."""
EXECUTE_SECONDS = 30.0
"""For the result of one query or mutation."""


class TimedOut(UserError):
    """Something did not answer in its time; the message names it."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not answer within {seconds:g} seconds", code="TIMEOUT")


async def within(seconds: float | None, found: Any, what: str) -> Any:
    """Answer a value, or what an awaitable answers. Raises `TimedOut`.

    What is late is cancelled and not waited for: it may refuse to be cancelled.
    """
    if not inspect.isawaitable(found):
        return found
    task = asyncio.ensure_future(_awaited(found))
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    if done:
        if task.cancelled():  # by itself: whoever asked goes on
            raise RuntimeError(f"{what} was cancelled")
        return task.result()
    task.cancel()
    _late.add(task)
    task.add_done_callback(_ended)
    raise TimedOut(what, seconds or 0.0)


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


_late: set[asyncio.Task[Any]] = set()
"""What was cancelled and has not ended; a loop itself holds its tasks weakly."""


def _ended(task: asyncio.Task[Any]) -> None:
    _late.discard(task)
    if not task.cancelled():
        task.exception()  # Seen: nobody waits for it any more.
