"""Which pages may send what: the check of `Origin`, and what browsers are told of it (CORS).

Fetch Standard, section 3.3. A page that may come in may also read its answers, and no other page may: what
is not named in `allowed_origins` gets no header that would have a browser show it anything.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from coulis.types import Scope

__all__ = ["PREFLIGHT_SECONDS", "Origins", "header_values"]

PREFLIGHT_SECONDS = 600
"""How long browsers remember the answer to a preflight."""

Origin = tuple[str, str, int]
"""A scheme, a host and a port."""

Header = tuple[bytes, bytes]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_ORIGIN = re.compile(r"(https?)://([^\s/:@?#\[\]\\]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_PORTS = {"http": 80, "https": 443}
_METHODS = b"GET, POST, PUT, DELETE"
_HEADERS = (
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "x-graphql-event-stream-token",
    "graphql-require-preflight",
    "apollo-require-preflight",
    "x-apollo-operation-name",
    "graphql-preflight",
)
_VARY = (b"vary", b"Origin")


class Origins:
    """The pages that one application serves.

    `allowed` are their origins, `None` for that of the server itself. With `credentials` browsers show
    answers to requests with cookies; `headers` are those that pages may send besides the known ones.
    """

    def __init__(self, allowed: Iterable[str] | None, *, credentials: bool, headers: Iterable[str]) -> None:
        self.allowed = None if allowed is None else _origins(allowed)
        self._any = self.allowed is not None and "*" in self.allowed
        self._credentials = credentials
        # Any page can be of the origin `null`: by a frame with a sandbox.
        if credentials and (self.allowed is None or self._any or "null" in self.allowed):
            raise ValueError(
                "`cors_credentials` would show what cookies open to pages of any origin: name the pages in "
                "`allowed_origins`, without `*` and `null`"
            )
        self._headers = ", ".join((*_HEADERS, *_names(headers))).encode()

    def let_in(self, scope: Scope) -> bool:
        """Answer whether a client may come from where it says it comes."""
        if self._any:
            return True
        origins = header_values(scope, b"origin")
        if not origins:
            site = header_values(scope, b"sec-fetch-site")
            if site and scope["type"] == "http":
                return site in (["same-origin"], ["none"])  # a page of this server, or no page
            return not header_values(scope, b"cookie")
        if len(origins) > 1:
            return False
        origin = _origin(origins[0])
        return origin in self.allowed if self.allowed is not None else _is_here(origin, scope)

    def is_named(self, scope: Scope) -> bool:
        """Answer whether a request names the page that sent it; only one that is let in gets so far."""
        return bool(header_values(scope, b"origin"))

    def answering(self, scope: Scope, send: Send) -> Send:
        """Answer a `send` which adds what browsers have to know to each answer."""
        headers = self._shown(scope)
        if not headers:
            return send

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        return answer

    def preflight(self, scope: Scope) -> list[Header] | None:
        """Answer what a page that asks first is told, or `None` if this is no such request.

        Who may not come in is told nothing, which browsers take for a no.
        """
        asked = scope["method"] == "OPTIONS" and header_values(scope, b"access-control-request-method")
        if not asked or not header_values(scope, b"origin"):
            return None
        if not self.let_in(scope):
            return []
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", self._headers),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        ]

    def _shown(self, scope: Scope) -> list[Header]:
        if self.allowed is None:
            return []
        if self._any:
            return [(b"access-control-allow-origin", b"*")]
        origins = header_values(scope, b"origin")
        if not origins or not self.let_in(scope):
            return [_VARY]
        shown = [_VARY, (b"access-control-allow-origin", origins[0].encode("latin-1"))]
        if self._credentials:
            shown.append((b"access-control-allow-credentials", b"true"))
        return shown


def header_values(scope: Scope, wanted: bytes) -> list[str]:
    """Answer the values of a header, by its name in lower case."""
    return [value.decode("latin-1") for name, value in scope.get("headers", ()) if name.lower() == wanted]


def _names(headers: Iterable[str]) -> list[str]:
    if isinstance(headers, str):
        raise TypeError("`cors_headers` is a `str`: pass a list")
    names = list(headers)
    for name in names:
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or name == "*":
            raise ValueError(f"`cors_headers` holds `{name}`: pass names of headers, as in `X-Request-Id`")
    return [name.lower() for name in names]


def _origin(text: str) -> Origin | str:
    """Read an origin (RFC 6454, section 7); what is none stays a text, which equals no origin."""
    found = _ORIGIN.fullmatch(text.lower())
    if found is None:
        return text
    scheme, host, port = found.groups()
    return scheme, host, int(port or _PORTS[scheme])


def _origins(given: Iterable[str]) -> frozenset[Origin | str]:
    """Read the origins that are allowed; a page without one, as of a file, calls itself `null`."""
    if isinstance(given, str):
        raise TypeError("`allowed_origins` is a `str`: pass a list")
    origins = frozenset(map(_origin, given))
    for origin in origins:
        if isinstance(origin, str) and origin not in ("*", "null"):
            raise ValueError(f'`allowed_origins` holds `{origin}`: pass origins, as in "https://example.com"')
    return origins


def _is_here(origin: Origin | str, scope: Scope) -> bool:
    """Answer whether a page comes from the host that it connects to."""
    hosts = header_values(scope, b"host")
    if isinstance(origin, str) or len(hosts) != 1:
        return False
    # A server without TLS may stand behind one that has it. With TLS, no page may come that was sent without.
    if scope.get("scheme") in ("wss", "https") and origin[0] != "https":
        return False
    return origin == _origin(f"{origin[0]}://{hosts[0]}")
