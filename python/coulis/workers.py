"""The thread on which an executor's sync resolvers run, and who looks after it.

A resolver that does not return in time cannot be stopped: its subscriptions are told, its thread is left to
it, and another one goes on. While it has not returned it gets no further event, so one resolver holds one
thread at most.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coulis._coulis import CoulisError, EngineClosed
from coulis.loaders import Loaders
from coulis.resolvers import TIMED_OUT, describe_failure, give_up

if TYPE_CHECKING:
    from coulis._coulis import JobQueue, ResolverJob

__all__ = ["start_thread"]

ABANDONED_MAX = 16
"""Threads of one executor that resolvers may hold which do not return; then sync resolvers are refused."""

_AGAIN_SECONDS = 1.0
"""Until it is tried again to start a thread."""
_UNWATCHED = "the resolver was not called: no thread could be started that watches it"


def start_thread(jobs: JobQueue) -> None:
    """Start the thread of one executor's sync resolvers; it ends when the executor does."""
    if not _Worker(_Shop(jobs)).started():
        raise RuntimeError(
            "no thread could be started for sync resolvers: the interpreter ends, or there are too many"
        )


class _Shop:
    """What the threads of one executor share, and the watch over the one that works."""

    def __init__(self, jobs: JobQueue) -> None:
        self.jobs = jobs
        self.batch: deque[ResolverJob] = deque()
        self.loaders = Loaders()
        self.lost: set[int] = set()
        """The addresses of the resolvers that have not returned; their threads keep them alive."""
        self._changed = threading.Condition()
        self._work: tuple[_Worker, ResolverJob, Any, float] | None = None
        """Who works at what, and the time by which that is to be over."""
        self._wakes_at: float | None = None
        """When the watch looks by itself; `None`: when it is told to."""
        self._watches = False
        self._stopped = False

    def refuses(self, resolver: Any) -> bool:
        """Answer whether a resolver gets no job, because it or too many others have not returned."""
        return bool(self.lost) and (id(resolver) in self.lost or len(self.lost) >= ABANDONED_MAX)

    def begin(self, worker: _Worker, job: ResolverJob, resolver: Any, seconds: float) -> bool:
        """Have the watch look whether a job is over in time; answer whether there is one."""
        at = time.monotonic() + seconds
        with self._changed:
            if not self._watches:
                self._watches = _started(self._watch, "coulis-resolver-watch")
            # If it looks before then it goes on by itself: most jobs wake nobody.
            elif self._wakes_at is None or at < self._wakes_at:
                self._changed.notify()
            if self._watches:
                self._work = (worker, job, resolver, at)
            return self._watches

    def end(self, worker: _Worker, resolver: Any) -> bool:
        """Answer whether the job that was begun is still the thread's, or was given up."""
        with self._changed:
            if worker.given_up:
                self.lost.discard(id(resolver))
            else:
                self._work = None
            return not worker.given_up

    def stop(self) -> None:
        """End the watch: nothing will be begun any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _watch(self) -> None:
        while (late := self._late()) is not None:
            job, resolver, seconds = late
            message = give_up(resolver, seconds)
            with contextlib.suppress(CoulisError):
                job.fail(message)
            while not (_Worker(self).started() or self._stopped):
                time.sleep(_AGAIN_SECONDS)

    def _late(self) -> tuple[ResolverJob, Any, float] | None:
        """Wait for a job that is not over in time; `None`: nothing will be begun any more."""
        with self._changed:
            while not self._stopped:
                left = None if self._work is None else self._work[3] - time.monotonic()
                if self._work is not None and left is not None and left <= 0:
                    worker, job, resolver, _ = self._work
                    self._work = None
                    worker.given_up = True
                    self.lost.add(id(resolver))
                    return job, resolver, worker.seconds
                self._wakes_at = None if self._work is None else self._work[3]
                self._changed.wait(left)
            return None


class _Worker:
    """One thread; the one that takes jobs, until it is given up."""

    def __init__(self, shop: _Shop) -> None:
        self.shop = shop
        self.seconds = 0.0
        self.given_up = False

    def started(self) -> bool:
        return _started(self._run, "coulis-resolver")

    def _run(self) -> None:
        shop = self.shop
        shop.jobs.enter()
        while not self.given_up:
            if not shop.batch:
                shop.batch.extend(shop.jobs.wait())
                shop.loaders = Loaders()
            if not shop.batch:
                shop.stop()
                return
            self._resolve(shop.batch.popleft())

    def _resolve(self, job: ResolverJob) -> None:
        try:
            resolver = job.resolver
        except EngineClosed as closed:
            job.fail(str(closed))
            return
        if self.shop.refuses(resolver):
            job.fail(TIMED_OUT)
            return
        settings, seconds = job.settings, job.timeout or job.settings.timeout
        started = time.monotonic()
        if seconds is not None:
            self.seconds = seconds
            if not self.shop.begin(self, job, resolver, seconds):
                job.fail(_UNWATCHED)
                return
        failure, answer = _called(resolver, job, self.shop.loaders)
        if seconds is not None and not self.shop.end(self, resolver):
            return  # given up: everybody was told
        settings.took(resolver, started)
        if failure is None:
            failure = _answered(job, answer)
        if failure is not None:
            job.fail(describe_failure(resolver, failure, settings.debug))


def _started(work: Callable[[], None], name: str) -> bool:
    # From Python 3.12 on an interpreter that ends starts none any more; the system may have none left.
    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _called(resolver: Any, job: ResolverJob, loaders: Loaders) -> tuple[BaseException | None, Any]:
    try:
        answer = resolver(*job.arguments(loaders))
        _refuse_awaitable(answer)
    except BaseException as error:
        return error, None
    return None, answer


def _answered(job: ResolverJob, answer: Any) -> BaseException | None:
    try:
        job.answer(answer)
    except BaseException as error:
        return error
    return None


def _refuse_awaitable(result: object) -> None:
    # A sync resolver that calls an async function: nobody would await it.
    if inspect.isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise TypeError("the resolver answered an awaitable: declare it with `async def`")
