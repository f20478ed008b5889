"""What a resolver is: how it is called, how long it may take, and how its failure is reported."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from coulis.convert import converter, event_hint
from coulis.errors import INTERNAL_ERROR, message_for
from coulis.logs import Paced

__all__ = ["Resolver", "Settings", "check_generator", "check_resolver", "prepare"]

Resolver = Callable[..., Any] | Callable[..., Awaitable[Any]]
"""`(event, variables)` or `(event, variables, info)`, sync or async; answers the operation's `data`."""

TIMED_OUT = "the resolver timed out"
"""What clients read of a resolver that was given up."""

_log = Paced("coulis.resolvers")
_logger = logging.getLogger("coulis.resolvers")

_SLOW_TOLD_EVERY = 60.0
"""Seconds between two warnings about the same slow resolver."""
_SLOW_NAMES_MAX = 1_024
"""Slow resolvers that are remembered for that."""


class Settings:
    """What an executor was told about resolvers."""

    def __init__(self, debug: bool, timeout: float | None, slow: float | None) -> None:
        self.debug = debug
        self.timeout = check_seconds("resolver_timeout", timeout)
        self.slow = check_seconds("slow_resolver", slow)
        self._told: dict[str, float] = {}

    def took(self, resolver: object, started: float) -> None:
        """Warn of a resolver that took long, from time to time."""
        now = time.monotonic()
        if self.slow is None or now - started < self.slow:
            return
        name = name_of(resolver)
        if now - self._told.get(name, -math.inf) < _SLOW_TOLD_EVERY:
            return
        if len(self._told) >= _SLOW_NAMES_MAX:
            self._told.clear()
        self._told[name] = now
        _logger.warning("resolver %s is slow: it took %.2f s", name, now - started)


def check_seconds(name: str, value: float | None) -> float | None:
    """Answer seconds above 0, or `None`; `TypeError` or `ValueError` for others."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"`{name}` is a `{type(value).__name__}`: pass seconds, or None for no such bound")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"`{name}` is `{value}`: pass seconds above 0, or None for no such bound")
    return float(value)


def name_of(resolver: object) -> str:
    """Answer what logs call a resolver."""
    return getattr(resolver, "__qualname__", type(resolver).__name__)


def check_resolver(resolver: Any) -> tuple[bool, bool]:
    """Answer whether a resolver is async and whether it takes `info`; `TypeError` if it is no resolver."""
    if not callable(resolver):
        raise TypeError(f"`resolver` is a `{type(resolver).__name__}`: pass a function (event, variables)")
    target = _target(resolver)
    if inspect.isasyncgenfunction(target) or inspect.isgeneratorfunction(target):
        raise TypeError("`resolver` is a generator: it is called for each event and answers once")
    return inspect.iscoroutinefunction(target), _takes_info(resolver)


def prepare(resolver: Any) -> tuple[bool, bool, Resolver]:
    """Answer the same, and what is to be called: the resolver, behind what converts its event."""
    is_async, takes_info = check_resolver(resolver)
    convert = converter(event_hint(resolver))
    if convert is None:
        return is_async, takes_info, resolver
    wrapper = _converting_later if is_async else _converting
    return is_async, takes_info, wrapper(resolver, convert)


def _converting(resolver: Callable[..., Any], convert: Callable[[Any], Any]) -> Callable[..., Any]:
    def resolve(event: Any, *rest: Any) -> Any:
        return resolver(convert(event), *rest)

    return functools.update_wrapper(resolve, resolver)


def _converting_later(
    resolver: Callable[..., Awaitable[Any]], convert: Callable[[Any], Any]
) -> Callable[..., Awaitable[Any]]:
    async def resolve(event: Any, *rest: Any) -> Any:
        return await resolver(convert(event), *rest)

    return functools.update_wrapper(resolve, resolver)


def is_async_generator(function: Any) -> bool:
    """Answer whether a function makes an async generator."""
    return callable(function) and inspect.isasyncgenfunction(_target(function))


def check_generator(generator: Any) -> bool:
    """Answer whether an async generator function takes `info`; `TypeError` if it cannot be called as one."""
    positional = [
        parameter
        for parameter in inspect.signature(generator).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]
    names = [parameter.name for parameter in positional]
    if len(names) == 1 or (len(names) == 2 and names[1] == "info"):
        return len(names) == 2
    raise TypeError(
        f"`resolver` is an async generator of ({', '.join(names)}): it makes its values itself and must take "
        "(variables) or (variables, info); with an event, write a function that answers once"
    )


def _target(resolver: Any) -> Any:
    while isinstance(resolver, functools.partial):
        resolver = resolver.func
    return resolver if inspect.isroutine(resolver) else type(resolver).__call__


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


def describe_failure(resolver: object, error: BaseException, debug: bool) -> str:
    """Log a resolver's failure with its traceback and answer the message for the client. Never raises."""
    name = name_of(resolver)
    # Somebody's handler may raise, or the error's own `__str__`, and whatever they like: clients have to be
    # answered all the same, and the thread of all sync resolvers has to go on.
    with contextlib.suppress(BaseException):
        _log.log(logging.ERROR, name, "resolver %s failed", name, exc_info=error, resolver=name)
    try:
        return message_for(error, debug)
    except BaseException:  # its own `__str__`
        return INTERNAL_ERROR


def give_up(resolver: object, seconds: float) -> str:
    """Log that a resolver was given up and answer the message for the client."""
    name, message = name_of(resolver), "resolver %s did not return within %.2f s: it is given up"
    _log.log(logging.ERROR, f"{name} given up", message, name, seconds, resolver=name)
    return TIMED_OUT
