"""Async resolvers on one loop: how many run at once, and how long one may take.

One that hangs is cancelled when its time is over, and holds up nobody else meanwhile: each resolver has a
bound of its own, beyond which its jobs wait for it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from coulis._coulis import CoulisError, EngineClosed
from coulis.loaders import Loaders
from coulis.resolvers import TIMED_OUT, describe_failure, give_up

if TYPE_CHECKING:
    from coulis._coulis import ResolverJob

__all__ = ["RESOLVERS_AT_ONCE_MAX", "Runs"]

RESOLVERS_AT_ONCE_MAX = 1_024
"""Async resolvers of one loop that run at the same time; further ones wait in a bounded queue."""
ONE_AT_ONCE_MAX = 128
"""Of these, runs of one resolver."""
PARKED_MAX = 65_536
"""Jobs that wait for a resolver with so many runs; further ones are answered with an error."""


class Runs:
    """The async resolvers that run on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, has_room: Callable[[], object]) -> None:
        self._loop = loop
        self._has_room = has_room
        self._tasks: set[asyncio.Task[None]] = set()
        # By the address of the resolver, which need not be hashable; its runs and jobs keep it alive.
        self._running: Counter[int] = Counter()
        self._overdue: Counter[int] = Counter()
        """Runs whose time is over and that do not end."""
        self._parked: defaultdict[int, deque[tuple[ResolverJob, Loaders]]] = defaultdict(deque)
        self._parked_count = 0

    def room(self) -> int:
        """Answer how many more may be started."""
        return RESOLVERS_AT_ONCE_MAX - len(self._tasks)

    def start(self, jobs: Iterable[ResolverJob]) -> None:
        """Start a batch of jobs, or have them wait for their resolver."""
        loaders = Loaders()
        for job in jobs:
            try:
                resolver = job.resolver
            except EngineClosed as closed:
                job.fail(str(closed))
                continue
            known = id(resolver)
            if self._running[known] < ONE_AT_ONCE_MAX:
                self._run(known, job, loaders)
            elif self._parked_count >= PARKED_MAX or self._is_lost(known):
                job.fail(TIMED_OUT)
            else:
                self._parked[known].append((job, loaders))
                self._parked_count += 1

    def cancel(self) -> None:
        """Stop everything; jobs that wait are answered with an error."""
        self._parked.clear()
        for task in self._tasks:
            task.cancel()

    def _is_lost(self, resolver: int) -> bool:
        return self._overdue[resolver] >= ONE_AT_ONCE_MAX

    def _run(self, resolver: int, job: ResolverJob, loaders: Loaders) -> None:
        limit = _Limit(job, lambda: self._late(resolver))
        task = self._loop.create_task(_answer(job, loaders, limit))
        limit.start(task)
        self._running[resolver] += 1
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._finished(task, resolver, limit))

    def _late(self, resolver: int) -> None:
        self._overdue[resolver] += 1
        if self._is_lost(resolver):
            for job, _ in self._take_parked(resolver):
                with contextlib.suppress(CoulisError):
                    job.fail(TIMED_OUT)

    def _take_parked(self, resolver: int) -> deque[tuple[ResolverJob, Loaders]]:
        parked = self._parked.pop(resolver, deque())
        self._parked_count -= len(parked)
        return parked

    def _finished(self, task: asyncio.Task[None], resolver: int, limit: _Limit) -> None:
        full = self.room() <= 0
        self._tasks.discard(task)
        _less(self._running, resolver)
        if limit.reached:
            _less(self._overdue, resolver)
        if (parked := self._parked.get(resolver)) is not None:
            self._parked_count -= 1
            self._run(resolver, *parked.popleft())
            if not parked:
                del self._parked[resolver]
        if full:
            self._has_room()


def _less(counter: Counter[int], resolver: int) -> None:
    counter[resolver] -= 1
    if not counter[resolver]:
        del counter[resolver]


async def _answer(job: ResolverJob, loaders: Loaders, limit: _Limit) -> None:
    settings, started = job.settings, time.monotonic()
    try:
        resolver = job.resolver
    except EngineClosed as closed:
        job.fail(str(closed))
        return
    try:
        result = await resolver(*job.arguments(loaders))
        settings.took(resolver, started)
        if not limit.reached:
            job.answer(result)
    except asyncio.CancelledError:
        if not limit.reached:
            job.fail("the resolver was cancelled")
        raise
    except Exception as error:
        if not limit.reached:
            job.fail(describe_failure(resolver, error, settings.debug))
    finally:
        limit.forget()


class _Limit:
    """How long one run may take: then its subscriptions are told, and it is cancelled."""

    def __init__(self, job: ResolverJob, late: Callable[[], object]) -> None:
        self.reached = False
        self._job = job
        self._late = late
        self._timer: asyncio.TimerHandle | None = None

    def start(self, task: asyncio.Task[None]) -> None:
        seconds = self._job.timeout or self._job.settings.timeout
        if seconds is not None:
            self._timer = task.get_loop().call_later(seconds, self._over, task, seconds)

    def _over(self, task: asyncio.Task[None], seconds: float) -> None:
        self.reached = True
        # Told first: whoever does not let itself be cancelled is not waited for.
        with contextlib.suppress(CoulisError):
            self._job.fail(give_up(self._job.resolver, seconds))
        self._late()
        task.cancel()

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
