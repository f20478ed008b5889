"""The `@subscription` decorator and the registry behind it: which resolver serves which root field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from coulis._coulis import check_overflow, check_policy
from coulis.resolvers import Resolver, check_resolver
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
    ) -> Callable[[ResolverT], ResolverT]:
        """Declare the resolver of a subscription field.

        `def` or `async def`, called `(event, variables[, info])`.

        The field is `name`, or the function's own name. Raises `ValueError` for a name that GraphQL does not
        allow or that another resolver has, `TypeError` for what cannot be called so, and `PolicyError` for
        a `filter` or `policy` that does not compile. Both are expressions (CEL) on `event`, `before`, `ctx`,
        `args` and `vars`, or trees such as `{"eq": ["event.room", "vars.room"]}`, and hold beside what a
        subscription adds.

        `overflow` says what happens when too many messages wait for a reader: `"drop_oldest"`,
        `"drop_newest"`, `"disconnect"` or `"latest_per_key(path)"`.
        """
        check_policy("filter", filter)
        check_policy("policy", policy)
        check_overflow(overflow)
        channels, types = words("channel", channel), words("events", events)

        def declare(resolver: ResolverT) -> ResolverT:
            check_resolver(resolver)
            field = name if name is not None else getattr(resolver, "__name__", "")
            self._add(
                Declaration(field, resolver, channels, types, per_subscription, overflow, policy, filter)
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
