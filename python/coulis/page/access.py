"""Who may see more of the page than its files: whoever may subscribe."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from coulis._coulis import Stream
from coulis.hosting import Connection, Refused, let_in

if TYPE_CHECKING:
    from coulis.asgi import SubscriptionApp
    from coulis.types import Scope

__all__ = ["Denied", "admit"]

_logger = logging.getLogger("coulis.page")


class Denied(Exception):
    """A request is not answered; the status and the message to tell instead."""

    def __init__(self, status: int, message: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or []


async def admit(app: SubscriptionApp, scope: Scope) -> Connection:
    """Answer who asks, as for a subscription over HTTP: origin, `auth_handler`, `on_connect`.

    Raises `Denied`.
    """
    if not app.lets_in(scope):
        raise Denied(403, "pages of this origin may not ask here: see `allowed_origins`")
    payload = payload_of(scope)
    try:
        security = await app.identify(payload, scope)
    except Exception:
        _logger.exception("auth_handler failed: the request is refused")
        Stream.refused(app.manager.executor, failed=True)
        raise Denied(500, "Internal server error") from None
    if security is None or (security.expires is not None and security.expires <= time.time()):
        Stream.refused(app.manager.executor)
        raise Denied(401, "Unauthorized", [(b"www-authenticate", b"Bearer")])
    connection = Connection(scope, payload, security)
    if app.hosting.on_connect is not None:
        try:
            await let_in(app.hosting, connection)
        except Refused as refused:
            raise Denied(500 if refused.code == 4500 else 403, refused.reason) from None
    return connection


def payload_of(scope: Scope) -> dict[str, Any]:
    """Answer what takes the place of the payload of `connection_init`, as for subscriptions over HTTP."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    payload: dict[str, Any] = {"headers": headers}
    if "authorization" in headers:
        payload["authorization"] = payload["Authorization"] = headers["authorization"]
    return payload
