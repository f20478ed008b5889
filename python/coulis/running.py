"""Async resolvers on one loop: how many run at once, and how long one may take.

One that hangs is cancelled when its time is over, and holds up nobody else meanwhile: each resolver has a
bound of its own, beyond which its jobs wait for it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

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
CANCEL_SECONDS_MAX = 1.0
"""How long the end of a loop waits for resolvers that were cancelled."""
PARKED_MAX = 65_536
"""Jobs that wait for a resolver with so many runs; further ones are answered with an error."""


class Runs:
    """The async resolvers that run on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, has_room: Callable[[], object]) -> None:
        self.loop = loop
        self._has_room = has_room
        self._running: dict[asyncio.Task[None], _Run] = {}
        # By the address of the resolver, which need not be hashable; its runs and jobs keep it alive.
        self._count: defaultdict[int, int] = defaultdict(int)
        self._late: defaultdict[int, int] = defaultdict(int)
        """Of these, runs whose time is over and that do not end."""
        self._parked: defaultdict[int, deque[tuple[ResolverJob, Any, Loaders]]] = defaultdict(deque)
        self._parked_count = 0

    def room(self) -> int:
        """Answer how many more may be started."""
        return RESOLVERS_AT_ONCE_MAX - len(self._running)

    def start(self, jobs: Iterable[ResolverJob]) -> None:
        """Start a batch of jobs, or have them wait for their resolver."""
        loaders = Loaders()
        for job in jobs:
            try:
                resolver = job.resolver
            except EngineClosed as closed:
                job.fail(str(closed))
                continue
            key = id(resolver)
            if self._count[key] < ONE_AT_ONCE_MAX:
                self._run(job, resolver, loaders)
            elif self._parked_count >= PARKED_MAX or self._is_lost(key):
                job.fail(TIMED_OUT)
            else:
                self._parked[key].append((job, resolver, loaders))
                self._parked_count += 1

    def cancel(self) -> None:
        """Stop everything; jobs that wait are answered with an error."""
        self._parked.clear()
        for task in self._running:
            task.cancel()

    async def ended(self) -> None:
        """Wait for what was cancelled, but not for ever: it may not let itself be."""
        if self._running:
            await asyncio.wait(self._running, timeout=CANCEL_SECONDS_MAX)

    def late(self, resolver: object) -> None:
        """Take note that the time of a run is over."""
        key = id(resolver)
        self._late[key] += 1
        if self._is_lost(key):
            parked = self._parked.pop(key, deque())
            self._parked_count -= len(parked)
            for job, _, _ in parked:
                with contextlib.suppress(CoulisError):
                    job.fail(TIMED_OUT)

    def _is_lost(self, key: int) -> bool:
        return self._late.get(key, 0) >= ONE_AT_ONCE_MAX

    def _run(self, job: ResolverJob, resolver: Any, loaders: Loaders) -> None:
        run = _Run(self, job, resolver)
        task = self.loop.create_task(run.answer(loaders))
        run.limit(task)
        self._count[id(resolver)] += 1
        self._running[task] = run
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        full = self.room() <= 0
        run = self._running.pop(task)
        key = id(run.resolver)
        _less(self._count, key)
        if run.late:
            _less(self._late, key)
        if self._parked_count and (parked := self._parked.get(key)) is not None:
            self._parked_count -= 1
            self._run(*parked.popleft())
            if not parked:
                del self._parked[key]
        if full:
            self._has_room()


def _less(counts: defaultdict[int, int], key: int) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


class _Run:
    """One result that is being made; when its time is over its readers are told, and it is cancelled."""

    __slots__ = ("_job", "_runs", "_settings", "_timer", "late", "resolver")

    def __init__(self, runs: Runs, job: ResolverJob, resolver: Any) -> None:
        self.resolver = resolver
        self.late = False
        self._runs = runs
        self._job = job
        self._settings = job.settings
        self._timer: asyncio.TimerHandle | None = None

    def limit(self, task: asyncio.Task[None]) -> None:
        seconds = self._job.timeout or self._settings.timeout
        if seconds is not None:
            self._timer = self._runs.loop.call_later(seconds, self._over, task, seconds)

    def _over(self, task: asyncio.Task[None], seconds: float) -> None:
        self.late = True
        # Told first: whoever does not let itself be cancelled is not waited for.
        with contextlib.suppress(CoulisError):
            self._job.fail(give_up(self.resolver, seconds))
        self._runs.late(self.resolver)
        task.cancel()

    async def answer(self, loaders: Loaders) -> None:
        job, started = self._job, time.monotonic()
        try:
            result = await self.resolver(*job.arguments(loaders))
            self._settings.took(self.resolver, started)
            if not self.late:
                job.answer(result)
        except asyncio.CancelledError:
            if not self.late:
                job.fail("the resolver was cancelled")
            raise
        except BaseException as error:
            # Also `SystemExit` and its like, which would end the loop, and with it everybody else's.
            if isinstance(error, GeneratorExit) and not self._runs.loop.is_running():
                raise  # the coroutine is thrown away
            if not self.late:
                job.fail(describe_failure(self.resolver, error, self._settings.debug))
        finally:
            if self._timer is not None:
                self._timer.cancel()
