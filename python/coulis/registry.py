"""The `@subscription` decorator and the registry behind it: which resolver serves which root field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from coulis._coulis import check_overflow, check_policy
from coulis.permissions import Permission, permissions
from coulis.resolvers import Resolver, check_generator, check_seconds, is_async_generator, prepare
from coulis.types import Condition

__all__ = ["Declaration", "Registry", "default_registry", "subscription"]

ResolverT = TypeVar("ResolverT", bound=Resolver)

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")


@dataclass(frozen=True)
class Declaration:
    """What `@subscription` said about one root field."""

    name: str
    resolver: Resolver
    channels: tuple[str, ...] = ()
    """Channels to listen to; empty means the one named like the field."""
    events: tuple[str, ...] = ()
    """Event types to take; empty means all."""
    per_subscription: bool = False
    """Whether the resolver runs for each subscription, not once for all that get the same result."""
    overflow: str = "drop_oldest"
    """What happens when too many messages wait for a reader."""
    policy: Condition = None
    """Must hold for every event that is delivered."""
    filter: Condition = None
    """The same."""
    permission_classes: tuple[Permission, ...] = ()
    """Are asked when somebody subscribes."""
    timeout: float | None = None
    """Seconds that the resolver may take; `None`: what the executor says."""
    generates: bool = False
    """Whether the resolver is an async generator: it makes its values itself, for each subscription."""


class Registry:
    """Declarations by root field. A manager takes the module's own registry unless it is given another."""

    def __init__(self) -> None:
        self.fields: dict[str, Declaration] = {}

    def subscription(
        self,
        name: str | None = None,
        channel: str | Iterable[str] | None = None,
        events: str | Iterable[str] | None = None,
        filter: Condition = None,
        policy: Condition = None,
        *,
        per_subscription: bool = False,
        overflow: str = "drop_oldest",
        permission_classes: Iterable[Any] = (),
        timeout: float | None = None,
    ) -> Callable[[ResolverT], ResolverT]:
        """Declare the resolver of a subscription field.

        `def` or `async def`, called `(event, variables[, info])`. The hint of `event` says what it is: a
        dataclass, a `TypedDict`, a pydantic model or a msgspec `Struct`, made of the event's data; without
        one it is the data. An event that does not fit is an error for that event only.

        An async generator of `(variables[, info])` is backed by no channel: it is run for each subscription,
        goes on when the client has taken a value, and is cancelled when the subscription ends.

        The field is `name`, or the function's own name. Raises `ValueError` for a name that GraphQL does not
        allow or that another resolver has, `TypeError` for what cannot be called so, and `PolicyError` for
        a `filter` or `policy` that does not compile. Both are expressions (CEL) on `event`, `before`, `ctx`,
        `args` and `vars`, or trees such as `{"eq": ["event.room", "vars.room"]}`, and hold beside what a
        subscription adds.

        `overflow` says what happens when too many messages wait for a reader: `"drop_oldest"`,
        `"drop_newest"`, `"disconnect"` or `"latest_per_key(path)"`.

        `permission_classes` are asked once when somebody subscribes; see `coulis.BasePermission`. `timeout`
        is how many seconds the resolver may take, by default the executor's `resolver_timeout`.
        """
        check_policy("filter", filter)
        check_policy("policy", policy)
        check_overflow(overflow)
        asked, seconds = permissions(permission_classes), check_seconds("timeout", timeout)
        channels, types = words("channel", channel), words("events", events)

        def declare(resolver: ResolverT) -> ResolverT:
            generates = is_async_generator(resolver)
            if generates:
                check_generator(resolver)
                refuse_for_generators(
                    channel=channels,
                    events=types,
                    filter=filter,
                    policy=policy,
                    per_subscription=per_subscription,
                )
            else:
                prepare(resolver)
            field = name if name is not None else getattr(resolver, "__name__", "")
            self._add(
                Declaration(
                    field,
                    resolver,
                    channels,
                    types,
                    per_subscription,
                    overflow,
                    policy,
                    filter,
                    asked,
                    seconds,
                    generates,
                )
            )
            return resolver

        if callable(name):
            raise TypeError("`name` is a function: write `@subscription()` with parentheses")
        return declare

    def _add(self, declaration: Declaration) -> None:
        if not _NAME.match(declaration.name):
            raise ValueError(f"`name` is `{declaration.name}`, which GraphQL does not allow: pass name=")
        other = self.fields.get(declaration.name)
        if other is not None and _origin(other.resolver) != _origin(declaration.resolver):
            raise ValueError(f"`{declaration.name}` has a resolver already: pass another name=")
        self.fields[declaration.name] = declaration


def refuse_for_generators(**given: Any) -> None:
    """Refuse what says something about events, where there are none."""
    for name, value in given.items():
        if value:
            raise ValueError(f"`{name}` is about events, and an async generator gets none: leave it out")


def words(name: str, value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Read an argument that is one word, several, or none."""
    if value is None:
        return ()
    found = (value,) if isinstance(value, str) else tuple(value)
    for word in found:
        if not isinstance(word, str):
            raise TypeError(f"`{name}` holds a `{type(word).__name__}`: pass str")
        if not word:
            raise ValueError(f"`{name}` holds an empty text: leave it out instead")
    return found


def _origin(resolver: Resolver) -> tuple[Any, Any]:
    # A module that is loaded again declares the same function again.
    return getattr(resolver, "__module__", None), getattr(resolver, "__qualname__", resolver)


default_registry = Registry()
"""The registry that the module's own decorator fills."""

subscription = default_registry.subscription
