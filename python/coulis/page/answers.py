"""How the page's requests are answered, and how their bodies are read."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from coulis.http import read_body
from coulis.loops import wait_for
from coulis.origins import header_values
from coulis.page.access import Denied

if TYPE_CHECKING:
    from coulis.asgi import Receive, Send
    from coulis.types import Scope

__all__ = ["answer", "body_of", "refuse"]

BODY_BYTES_MAX = 65_536
"""Of a question to the console."""

Headers = list[tuple[bytes, bytes]]

_logger = logging.getLogger("coulis.page")


async def answer(
    scope: Scope,
    send: Send,
    status: int,
    content_type: str,
    body: bytes,
    headers: Headers | None = None,
    caching: bytes = b"no-store",
) -> None:
    """Answer a request; to `HEAD` without the body."""
    sent = [
        (b"content-type", content_type.encode()),
        (b"cache-control", caching),
        (b"x-content-type-options", b"nosniff"),
        *(headers or []),
    ]
    if status != 304:
        sent.append((b"content-length", str(len(body)).encode()))
    try:
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
    except Exception as error:
        _logger.debug("a client has gone: %r", error)


async def refuse(scope: Scope, send: Send, status: int, message: str, headers: Headers) -> None:
    """Answer what is wrong with a request."""
    body = json.dumps({"errors": [{"message": message}]}).encode()
    await answer(scope, send, status, "application/json", body, headers)


async def body_of(scope: Scope, receive: Receive, seconds: float) -> bytes:
    """Read a body of JSON. Raises `Denied`."""
    kinds = header_values(scope, b"content-type")
    # Nothing else: a page of another origin cannot send this type without being asked about first.
    if [kind.partition(";")[0].strip().lower() for kind in kinds] != ["application/json"]:
        raise Denied(415, "pass `Content-Type: application/json`")
    try:
        body = await wait_for(read_body(receive, BODY_BYTES_MAX), seconds)
    except asyncio.TimeoutError:
        raise Denied(408, f"the body did not arrive within {seconds} seconds") from None
    if body is None:
        raise Denied(400, "the body is not whole")
    if len(body) > BODY_BYTES_MAX:
        raise Denied(413, f"the body is longer than {BODY_BYTES_MAX} bytes")
    return body
