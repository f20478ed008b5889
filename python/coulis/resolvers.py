"""What a resolver is: how it is called, and how its failure is reported."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from coulis._coulis import EngineClosed
from coulis.logs import Paced

if TYPE_CHECKING:
    from coulis._coulis import JobQueue, ResolverJob

__all__ = ["Resolver", "check_resolver"]

Resolver = Callable[..., Any] | Callable[..., Awaitable[Any]]
"""`(event, variables)` or `(event, variables, info)`, sync or async; answers the operation's `data`."""

_log = Paced("coulis.resolvers")

_MESSAGE_CHARACTERS_MAX = 500


def check_resolver(resolver: Any) -> tuple[bool, bool]:
    """Answer whether a resolver is async and whether it takes `info`; `TypeError` if it is no resolver."""
    if not callable(resolver):
        raise TypeError(f"`resolver` is a `{type(resolver).__name__}`: pass a function (event, variables)")
    target: Any = resolver
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    if inspect.isasyncgenfunction(target) or inspect.isgeneratorfunction(target):
        raise TypeError("`resolver` is a generator: it is called for each event and answers once")
    return inspect.iscoroutinefunction(target), _takes_info(resolver)


def _takes_info(resolver: Callable[..., Any]) -> bool:
    try:
        signature = inspect.signature(resolver)
    except (TypeError, ValueError):  # builtins without a signature
        return False
    for arguments in ((None, None), (None, None, None)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        third = [
            p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ][2:3]
        return len(arguments) == 3 or any(p.name == "info" for p in third)
    raise TypeError("`resolver` must take (event, variables) or (event, variables, info)")


def describe_failure(resolver: object, error: BaseException) -> str:
    """Log a resolver's failure with its traceback and answer the message for the client. Never raises."""
    try:
        name = getattr(resolver, "__qualname__", type(resolver).__name__)
        _log.log(logging.ERROR, name, "resolver %s failed", name, exc_info=error, resolver=name)
        text = str(error) or type(error).__name__
        # A lone surrogate cannot be sent.
        return text[:_MESSAGE_CHARACTERS_MAX].encode(errors="replace").decode()
    except Exception:
        return "the resolver failed"


def start_thread(jobs: JobQueue) -> None:
    """Start the thread of one executor's sync resolvers; it ends when the executor does."""
    threading.Thread(target=_run, args=(jobs,), name="coulis-resolver", daemon=True).start()


def _run(jobs: JobQueue) -> None:
    while batch := jobs.wait():
        for job in batch:
            _resolve(job)
        del batch, job


def _resolve(job: ResolverJob) -> None:
    try:
        resolver = job.resolver
    except EngineClosed as closed:
        job.fail(str(closed))
        return
    try:
        result = resolver(*job.arguments())
        _refuse_awaitable(result)
        job.answer(result)
    except BaseException as error:
        job.fail(describe_failure(resolver, error))


def _refuse_awaitable(result: object) -> None:
    # A sync resolver that calls an async function: nobody would await it.
    if inspect.isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise TypeError("the resolver answered an awaitable: declare it with `async def`")
