"""Events of a channel for other GraphQL libraries: their subscriptions, fed by the engine.

The engine does what it does for its own clients: policies, filters, bounds, gaps. What it hands out here is
the event itself; the other library shapes it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from coulis._coulis import SecurityContext
from coulis.convert import converter
from coulis.errors import UserError

if TYPE_CHECKING:
    from coulis.manager import SubscriptionManager
    from coulis.types import Condition

__all__ = ["EventsLost", "events"]

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")


class EventsLost(UserError):
    """Its reader was too slow and events were dropped: it has to load anew. `gap` says which and why."""

    def __init__(self, gap: dict[str, Any]) -> None:
        super().__init__(f"{gap.get('count', 'some')} events were lost", code="EVENTS_LOST")
        self.gap = gap


async def events(
    manager: SubscriptionManager,
    channel: str | Iterable[str],
    *,
    field: str = "event",
    context: SecurityContext | None = None,
    variables: Mapping[str, Any] | None = None,
    events: str | Iterable[str] | None = None,
    filter: Condition = None,
    policy: Condition = None,
    overflow: str | None = None,
    as_type: Any = None,
    on_gap: Callable[[dict[str, Any]], object] | None = None,
) -> AsyncGenerator[Any, None]:
    """Iterate over the events of a channel that `context` may see, as they come.

    `field` is the name by which policies and rules of `access=` know the subscription, `variables` are what
    `filter` and `policy` see as `vars` and `args`. Events are dicts, or made an `as_type`: a dataclass, a
    `TypedDict`, a pydantic model or a msgspec `Struct`; one that does not fit raises `ConversionError`.
    Losses go to `on_gap`, and without it raise `EventsLost`. A tombstone, which tells that what could be seen
    before a change cannot any more, is no event and left out. The subscription ends with the iteration.

    Raises what `SubscriptionManager.create_subscription` raises; `UserError` if the subscription is ended, as
    by `revoke`; and `ValueError` for a manager with a schema: the other library has it.
    """
    if manager.schema is not None:
        raise ValueError(
            "`manager` has a schema: make one without, as the other library holds documents against its"
        )
    given = dict(variables or {})
    query, connection_id = _document(field, given), f"source-{uuid.uuid4().hex}"
    convert = converter(as_type) if as_type is not None else None
    await manager.create_subscription(
        field,
        connection_id,
        query,
        variables=given,
        channel=channel,
        events=events,
        context=context,
        filter=filter,
        policy=policy,
        overflow=overflow,
    )
    try:
        async for message in manager.events(field, connection_id):
            for event in _events_of(message, field, on_gap):
                yield event if convert is None else convert(event)
    finally:
        await manager.complete_subscription(field, connection_id)


def _document(field: str, variables: dict[str, Any]) -> str:
    """Answer a document that selects the whole event; its variables are of a type that takes anything."""
    for name in (field, *variables):
        if not _NAME.match(name):
            raise ValueError(f"`{name}` is no name that GraphQL allows: pass another `field` or variable")
    if not variables:
        return f"subscription {{ {field} }}"
    declared = ", ".join(f"${name}: Any" for name in variables)
    passed = ", ".join(f"{name}: ${name}" for name in variables)
    return f"subscription ({declared}) {{ {field}({passed}) }}"


def _events_of(message: bytes, field: str, on_gap: Callable[[dict[str, Any]], object] | None) -> list[Any]:
    read = json.loads(message)
    payload = read["payload"]
    if read["type"] == "error":
        raise _ended(payload)
    told = payload.get("extensions", {}).get("coulis", {})
    if (gap := told.get("gap")) is not None:
        if on_gap is None:
            raise EventsLost(gap)
        on_gap(gap)
        return []
    if errors := payload.get("errors"):
        raise _ended(errors)
    if "tombstone" in told:
        return []
    return [payload["data"][field]]


def _ended(errors: list[dict[str, Any]]) -> UserError:
    first = errors[0]
    return UserError(first["message"], code=first.get("extensions", {}).get("code"))
