"""Types of arguments."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict
from uuid import UUID

if TYPE_CHECKING:
    from coulis._coulis import Operation

__all__ = [
    "AccessRules",
    "Asked",
    "ChannelRules",
    "Condition",
    "EventData",
    "Federation",
    "Identity",
    "Refusal",
    "Scope",
    "Undelivered",
]

Identity: TypeAlias = str | int | UUID | None
"""A user or tenant: `7` and `"7"` are the same; `None` and `""` are none."""

Condition: TypeAlias = str | dict[str, Any] | None
"""A policy or filter: an expression (CEL), or its tree, as in `{"eq": ["event.room", "vars.room"]}`."""

Federation: TypeAlias = dict[str, Any] | tuple[Identity, Identity] | None
"""A service and an id in it: `{"service": …, "id": …}`, or the two in this order."""

EventData: TypeAlias = dict[str, Any] | list[Any] | tuple[Any, ...] | bytes | str | None
"""A value that has a JSON form, or JSON text; `None` tells that something is gone."""

Asked: TypeAlias = (
    tuple[Literal["authenticate"], dict[str, Any] | None]
    | tuple[Literal["operation"], "Operation"]
    | tuple[Literal["complete"], "Operation"]
    | tuple[Literal["close"], int, str]
    | None
)
"""What a `Session` asks of the socket's owner."""

Refusal: TypeAlias = tuple[int, str | None, str]
"""What is wrong with a request over HTTP: the status, the methods to allow, and the body, which is JSON."""

Scope: TypeAlias = MutableMapping[str, Any]
"""What ASGI knows of a connection: its path, headers and so on."""


class AccessRules(TypedDict, total=False):
    """Who may read which field: the page on security has the rules."""

    rules: Mapping[str, Mapping[str, Any]]
    """By field, as `"User.email"` or `"users.email"`: `roles`, `scopes`, and what the others get."""
    required_scopes: Mapping[str, str | Sequence[str]]
    """By field: the OAuth scopes without which a subscription to it is refused."""
    deny_by_default: bool
    """Whether a field without a rule is refused."""
    variables: Mapping[str, str | Sequence[str]] | bool
    """The variables that name the reader's `user` and `tenant`, or `False` for none."""


class ChannelRules(TypedDict, total=False):
    """Who sees the events of one channel; what is left out is as on all channels."""

    owner: str | None
    """The field that names the user who owns an event, or `None` for no such rule."""
    tenancy: str
    """`"permissive"` or `"strict"`."""
    policy: Condition
    """Must hold for every event of the channel that is delivered."""


class Undelivered(TypedDict):
    """An event that was accepted and not delivered to all, because the engine closed."""

    event_type: str
    channel: str
    data: bytes
    """JSON text."""
    offset: int
    """Its position in its channel."""
    deliveries: int
    """How many subscriptions did not get it."""
