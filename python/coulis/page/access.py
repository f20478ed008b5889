"""Who may see more of the page than its files: whoever may subscribe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coulis.admission import Denied, identify, payload_of, turned_away
from coulis.hosting import Connection, Refused, Visit

if TYPE_CHECKING:
    from coulis.asgi import SubscriptionApp
    from coulis.types import Scope

__all__ = ["Denied", "admit"]


async def admit(app: SubscriptionApp, scope: Scope) -> Connection:
    """Answer who asks, as for a subscription over HTTP: origin, `auth_handler`, `on_connect`.

    Raises `Denied`.
    """
    if not app.lets_in(scope):
        raise Denied(403, "pages of this origin may not ask here: see `allowed_origins`")
    connection = Connection(scope, payload_of(scope), await identify(app, scope))
    if app.hosting.on_connect is not None:
        visit = Visit(app.hosting, connection)
        try:
            await visit.begin()
        except Refused as refused:
            raise turned_away(refused) from None
        finally:
            # Nobody stays: hooks that count clients must not count readers of the page up only.
            await visit.end()
    return connection
