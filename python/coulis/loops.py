"""Joins the engine's threads to an asyncio loop: one file descriptor, one callback, no polling."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from coulis._coulis import EngineClosed, LoopReader, SubscriptionExecutor
from coulis.running import Runs
from coulis.turns import Turns

if TYPE_CHECKING:
    from coulis.types import EventData

__all__ = ["LoopBridge", "Ready", "private_reader", "running_bridge", "wait_for"]

_Found = TypeVar("_Found")


async def wait_for(work: Awaitable[_Found], seconds: float) -> _Found:
    """Await `work`, and cancel it after so long. Raises `asyncio.TimeoutError`.

    `asyncio.wait_for` before Python 3.12 swallows a cancellation that comes as the work is done: whoever ends
    the loop then waits for ever.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


class Ready:
    """An `asyncio.Event` that one task waits for, which awaits it itself.

    It is set, cleared and awaited whenever a connection wakes, at half the cost.
    """

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def set(self) -> None:
        """Wake who waits; nobody has to wait until it is cleared."""
        if not self._future.done():
            self._future.set_result(None)

    def clear(self) -> None:
        """Have the next one wait."""
        if self._future.done():
            self._future = self._loop.create_future()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until it is set."""
        return self._future.__await__()


def _elsewhere(loop: asyncio.AbstractEventLoop, publish: Callable[[], bool]) -> asyncio.Future[bool]:
    try:
        return loop.run_in_executor(None, publish)
    except RuntimeError as ending:  # of the interpreter, or of the loop: there are no threads any more
        raise EngineClosed(f"the event is not published: {ending}") from None


class LoopBridge:
    """One loop's end.

    Readers that wait for messages, publishes that wait for their report, async resolvers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.reader = LoopReader()
        self.turns = Turns(loop)
        self._loop = loop
        self._tokens = itertools.count(1)
        self._wakes: dict[int, Callable[[], object]] = {}
        self._runs = Runs(loop, self._start_jobs)
        loop.add_reader(self.reader.fileno(), self._woken)
        self._closed = False
        self._watch = self._until_the_end()

    def end_with_loop(self) -> None:
        """Close when the running loop is shut down, so that no resolver is started that it would not end."""
        # Loops tell nobody of it but the async generators that were begun in them.
        with contextlib.suppress(StopIteration):
            self._watch.asend(None).send(None)

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _bridges.pop(self._loop, None)
            self.close()
            await self._runs.ended()

    def watch(self, wake: Callable[[], object]) -> int:
        """Answer a new token.

        `wake` is called in the loop whenever the subscriber of this token has messages.
        """
        token = next(self._tokens)
        self._wakes[token] = wake
        return token

    def forget(self, token: int) -> None:
        """Stop calling the wake of this token."""
        self._wakes.pop(token, None)

    async def publish(
        self,
        executor: SubscriptionExecutor,
        event_type: str,
        channel: str,
        data: EventData,
        **attributes: Any,
    ) -> int:
        """Publish and wait, without blocking the loop, until everything about the event is done."""
        future: asyncio.Future[int] = self._loop.create_future()
        outcome = self.reader.publish(executor, future, event_type, channel, data, **attributes)
        if isinstance(outcome, int):
            return outcome
        # No room in the engine, or a bus to wait for: in another thread, so that this loop goes on.
        if outcome is not None and not await _elsewhere(self._loop, outcome.publish):
            return 0
        return await future

    def _woken(self) -> None:
        tokens, finished, jobs = self.reader.poll()
        for token in tokens:
            wake = self._wakes.get(token)
            if wake is not None:
                wake()
        for future, deliveries in finished:
            if not future.done():
                future.set_result(deliveries)
        if jobs:
            self._start_jobs()

    def _start_jobs(self) -> None:
        if not self._closed and (room := self._runs.room()) > 0:
            self._runs.start(self.reader.take_jobs(room))

    def close(self) -> None:
        """Stop reading and running; waiting jobs are answered with an error."""
        self._closed = True
        self._loop.remove_reader(self.reader.fileno())
        self.reader.close()
        self._runs.cancel()
        self._wakes.clear()


# Weak on both sides: a bridge lives as long as its loop has it as a reader, and knows that loop.
_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopBridge]] = (
    weakref.WeakKeyDictionary()
)


def running_bridge() -> LoopBridge:
    """Answer the running loop's bridge; there is one for each loop."""
    loop = asyncio.get_running_loop()
    known = _bridges.get(loop)
    bridge = known() if known is not None else None
    if bridge is None:
        bridge = LoopBridge(loop)
        _bridges[loop] = weakref.ref(bridge)
        bridge.end_with_loop()
    return bridge


class _PrivateLoop:
    """A loop in a daemon thread, for async resolvers of executors that no manager runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.bridge = LoopBridge(self._loop)
        self._thread = threading.Thread(target=self._run, name="coulis-resolvers", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self.bridge.close()
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)


_private: _PrivateLoop | None = None
_private_lock = threading.Lock()


def private_reader() -> LoopReader:
    """Answer the reader of the private loop, which the first call starts."""
    global _private
    with _private_lock:
        if _private is None:
            _private = _PrivateLoop()
            atexit.register(_private.stop)
        return _private.bridge.reader


def _forget_private() -> None:
    # A forked child has the memory of the loop's thread and not the thread.
    global _private, _private_lock
    if _private is not None:
        atexit.unregister(_private.stop)
    _private, _private_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_private)
