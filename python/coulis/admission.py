"""Who a request over HTTP comes from, and whether they may come in."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from coulis._coulis import Stream
from coulis.deadlines import TimedOut
from coulis.hosting import FAILED, TIMED_OUT, Refused
from coulis.logs import Paced

if TYPE_CHECKING:
    from coulis._coulis import SecurityContext
    from coulis.asgi import SubscriptionApp
    from coulis.types import Scope

__all__ = ["Denied", "identify", "payload_of", "turned_away"]

_log = Paced("coulis.asgi")


class Denied(Exception):
    """A request is not answered; the status and the message to tell instead, and a code for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        code: str = "INTERNAL_SERVER_ERROR",
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.code = status, message, headers or [], code


async def identify(app: SubscriptionApp, scope: Scope) -> SecurityContext:
    """Answer who the client is. Raises `Denied`."""
    executor = app.manager.executor
    try:
        context = await app.identify(payload_of(scope), scope)
    except Exception as error:
        late = isinstance(error, TimedOut)
        message, shown = "auth_handler failed: the request is refused", None if late else error
        _log.log(logging.ERROR, "auth_handler", message, exc_info=shown)
        Stream.refused(executor, failed=True)
        raise (_late(str(error)) if late else Denied(500, "Internal server error")) from None
    expired = context is not None and context.expires is not None and context.expires <= time.time()
    if context is None or expired:
        Stream.refused(executor)
        message = "Token expired" if expired else "Unauthorized"
        raise Denied(401, message, [(b"www-authenticate", b"Bearer")], "UNAUTHENTICATED")
    return context


def turned_away(refused: Refused) -> Denied:
    """Answer what is told to a client that the hooks do not let in."""
    if refused.code == TIMED_OUT:
        return _late(refused.reason)
    if refused.code == FAILED[0]:
        return Denied(500, "Internal server error")
    return Denied(403, refused.reason, code="FORBIDDEN")


def payload_of(scope: Scope) -> dict[str, Any]:
    """Answer what takes the place of the payload of `connection_init`."""
    found: dict[str, list[str]] = {}
    for raw, value in scope["headers"]:
        found.setdefault(raw.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    # HTTP/2 may split cookies (RFC 9113, section 8.2.3); of others several are a list.
    headers = {name: ("; " if name == "cookie" else ", ").join(values) for name, values in found.items()}
    payload: dict[str, Any] = {"headers": headers}
    if "authorization" in headers:
        payload["authorization"] = payload["Authorization"] = headers["authorization"]
    return payload


def _late(message: str) -> Denied:
    return Denied(504, message, code="TIMEOUT")
