"""Loaders: what resolvers of one batch of events ask for is fetched once, together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

__all__ = ["Loader", "Loaders"]

Fetch = Callable[[list[Any]], Awaitable[Sequence[Any]]]
"""Answers a value for each key, in the keys' order; one that is an exception is raised for its key."""

KEYS_AT_ONCE_MAX = 1_000
"""Keys of one call of a loader's function."""


class Loaders:
    """The loaders of one batch of events, as `info.loaders`; the next batch sees nothing of what they hold.

    Call it with the function that fetches: `await info.loaders(fetch_users).load(7)`.
    """

    def __init__(self) -> None:
        self._known: dict[Fetch, Loader] = {}

    def __call__(self, fetch: Fetch) -> Loader:
        """Answer the batch's loader for `async def fetch(keys)`, which answers a value for each key."""
        loader = self._known.get(fetch)
        if loader is None:
            loader = self._known[fetch] = Loader(fetch)
        return loader


class Loader:
    """Collects the keys that are asked for in one turn of the loop, and fetches them with one call."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._values: dict[Hashable, asyncio.Future[Any]] = {}
        self._asked: list[Hashable] = []
        self._running: set[asyncio.Task[None]] = set()

    async def load(self, key: Hashable) -> Any:
        """Answer the value of `key`; raises what the function raised, or answered for it."""
        known = self._values.get(key)
        if known is None:
            known = self._ask(key)
        # One who stops waiting does not stop the others.
        return await asyncio.shield(known)

    async def load_many(self, keys: Sequence[Hashable]) -> list[Any]:
        """Answer the values of several keys, in their order."""
        return list(await asyncio.gather(*map(self.load, keys)))

    def _ask(self, key: Hashable) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = self._values[key] = loop.create_future()
        future.add_done_callback(_seen)
        self._asked.append(key)
        if len(self._asked) == 1:
            # Twice: resolvers that were started in this turn ask in the next one.
            loop.call_soon(loop.call_soon, self._start)
        elif len(self._asked) == KEYS_AT_ONCE_MAX:
            self._start()
        return future

    def _start(self) -> None:
        keys, self._asked = self._asked, []
        if not keys:
            return
        task = asyncio.get_running_loop().create_task(self._run(keys))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, keys: list[Hashable]) -> None:
        futures = [self._values[key] for key in keys]
        try:
            values = _checked(await self._fetch(list(keys)), len(keys))
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        except Exception as error:
            values = [error] * len(keys)
        for future, value in zip(futures, values, strict=True):
            if isinstance(value, BaseException):
                future.set_exception(_raisable(value))
            else:
                future.set_result(value)


def _checked(values: Any, count: int) -> Sequence[Any]:
    # A dict would give its keys, a set its members in any order: one key would get the value of another.
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise TypeError(
            f"the loader answered a `{type(values).__name__}`: answer a list with a value for each key, in "
            "their order, as in `[found.get(key) for key in keys]`"
        )
    if len(values) != count:
        raise ValueError(f"the loader answered {len(values)} values for {count} keys")
    return values


def _raisable(error: BaseException) -> BaseException:
    """Answer an exception that a coroutine can raise, which a `StopIteration` is not."""
    if not isinstance(error, StopIteration):
        return error
    told = RuntimeError("the loader answered a StopIteration for this key")
    told.__cause__ = error
    return told


def _seen(future: asyncio.Future[Any]) -> None:
    # Whoever asked may have been cancelled: nobody else has to read it.
    if not future.cancelled():
        future.exception()
