"""Turns: what clients send is worked off a little at a time, so that it holds up nothing else in the loop.

A server hands over what it has read of a connection without a pause, which may be thousands of messages, and
many connections may be ready at once. Meanwhile no result would reach any other client.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["TURN_SECONDS", "Turns"]

TURN_SECONDS = 0.0005
"""How long the messages of all clients may take, together, before the loop does what else is due. One message
may take longer."""


class Turns:
    """Who of a loop's clients goes on: those whose turn it is, and in the order in which they asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until = 0.0
        """When the turn that is under way ends; past: none is, or the one who has the next has not begun."""
        self._is_due = False
        """Whether the loop is going to ask for the next."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait until there is time for one message."""
        now = self._loop.time()
        if now < self._until:
            return
        if self._is_due:
            waiting = self._loop.create_future()
            self._waiting.append(waiting)
            await waiting
            now = self._loop.time()
        else:
            self._ask()
        self._until = now + TURN_SECONDS

    def _ask(self) -> None:
        self._is_due = True
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_due, self._until = False, 0.0
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():  # its connection may have ended
                waiting.set_result(None)
                self._ask()
                return
