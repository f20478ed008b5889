"""Events for subscriptions of Strawberry: the engine chooses and orders them, Strawberry serves its clients.

@strawberry.type
class Subscription:
    @strawberry.subscription
    async def order_changed(self, info: strawberry.Info, room: str) -> AsyncGenerator[Order, None]:
        async for order in events(manager, "orders", info, as_type=Order, variables={"room": room}):
            yield order
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from coulis import sources
from coulis._coulis import SecurityContext
from coulis.sources import EventsLost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coulis.manager import SubscriptionManager

__all__ = ["EventsLost", "events"]


def events(
    manager: SubscriptionManager,
    channel: str | Iterable[str],
    info: Any,
    *,
    context: SecurityContext | Callable[[Any], SecurityContext | None] | None = None,
    **options: Any,
) -> AsyncGenerator[Any, None]:
    """Iterate over the events of a channel; `info` is Strawberry's.

    `context` says who subscribes, or is called with `info` to find it out. `field` is by default the name of
    Strawberry's field in the schema; the other options are those of `coulis.sources.events`.
    """
    who = context(info) if callable(context) else context
    options.setdefault("field", info.field_name)
    return sources.events(manager, channel, context=who, **options)
