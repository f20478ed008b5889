"""Sources for subscriptions of Ariadne: the engine chooses and orders events, Ariadne serves its clients.

subscription = ariadne.SubscriptionType()
subscription.set_source("orderChanged", source(manager, "orders", filter="event.room == args.room"))

@subscription.field("orderChanged")
def order_changed(order, info, room):
    return order
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

__all__ = ["EventsLost", "source"]


def source(
    manager: SubscriptionManager,
    channel: str | Iterable[str],
    *,
    context: Callable[[Any], SecurityContext | None] | None = None,
    **options: Any,
) -> Callable[..., AsyncGenerator[Any, None]]:
    """Answer a source: an async generator function of `(obj, info, **arguments)`.

    `context` is called with `info` and says who subscribes. The field's arguments are what `filter` and
    `policy` see as `args`; the other options are those of `coulis.sources.events`.
    """

    async def generate(obj: Any, info: Any, **arguments: Any) -> AsyncGenerator[Any, None]:
        who = context(info) if context is not None else None
        chosen = {"field": info.field_name, "variables": arguments, **options}
        found = sources.events(manager, channel, context=who, **chosen)
        try:
            async for event in found:
                yield event
        finally:
            await found.aclose()

    return generate
