"""What an endpoint shows to a browser: GraphiQL for everybody, and the live console where it is asked for.

All of it is below the endpoint's own path, so that it works wherever the endpoint is mounted: the page is a
`GET` that prefers `text/html`, its files are `?page=…`, and the console's data are `?console…`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from coulis.http import MEDIA_BYTES_MAX
from coulis.origins import header_values
from coulis.page.access import Denied, admit
from coulis.page.answers import answer, body_of, refuse
from coulis.page.console import Console
from coulis.page.files import FILES, POLICY, file

if TYPE_CHECKING:
    from coulis.asgi import Receive, Send, SubscriptionApp
    from coulis.types import Scope

__all__ = ["ConsoleOption", "Page"]

ConsoleOption = bool | Callable[..., Any]
"""`False`; `True`: for all that may subscribe and have no tenant; or a function of a `Connection`."""

PARAMETERS_MAX = 64
"""Of a query string that is read here."""

_READS = ("GET", "HEAD")
_RESULTS = ("text/event-stream", "multipart/mixed", "application/json", "application/graphql-response+json")
"""What clients of the protocols ask for; a browser that shows a page asks for none of them by name."""


class Page:
    """The page of one app."""

    def __init__(self, app: SubscriptionApp, graphiql: bool, console: ConsoleOption) -> None:
        if not isinstance(graphiql, bool):
            raise TypeError(f"`graphiql` is a `{type(graphiql).__name__}`: pass True or False")
        if not isinstance(console, bool) and not callable(console):
            message = f"`console` is a `{type(console).__name__}`: pass True, False or a function that says "
            raise TypeError(message + "whether a Connection may see it")
        self._app = app
        self._graphiql = graphiql
        self._console = Console(app, console) if console is not False else None

    async def answers(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request that is about the page, or say that it is not."""
        if not self._graphiql and self._console is None:
            return False
        try:
            asked = _asked(scope)
            if "query" in asked:
                return False
            if "console" in asked:
                await self._tell(asked, scope, receive, send)
            elif "page" in asked:
                await self._show(asked["page"][-1], scope, send)
            elif scope["method"] in _READS and _prefers_html(scope):
                await self._open(scope, send)
            else:
                return False
        except Denied as denied:
            await refuse(scope, send, denied.status, denied.message, denied.headers)
        return True

    async def _open(self, scope: Scope, send: Send) -> None:
        """Answer the page itself."""
        nonce = secrets.token_urlsafe(16)
        manager = self._app.manager
        settings = {
            "graphiql": self._graphiql,
            "console": self._console is not None,
            "schema": manager.sdl is not None and manager.introspection,
            "executes": self._app.hosting.execute is not None,
            "nonce": nonce,
        }
        told = json.dumps(settings).replace("<", "\\u003c")  # nothing in it ends the element
        text = file("page.html").body.decode().replace("SETTINGS", told)
        policy = POLICY.replace("style-src 'self'", f"style-src 'self' 'nonce-{nonce}'")
        headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),  # the address may hold a token
            (b"vary", b"accept"),
        ]
        await answer(scope, send, 200, "text/html; charset=utf-8", text.encode(), headers)

    async def _show(self, name: str, scope: Scope, send: Send) -> None:
        """Answer one file of the page, or the schema."""
        if scope["method"] not in _READS:
            raise Denied(405, "pass GET or HEAD", [(b"allow", b"GET, HEAD")])
        if name == "schema":
            await self._show_schema(scope, send)
            return
        if name not in FILES:
            raise Denied(404, "the page has no such file")
        found = file(name)
        headers = [(b"etag", found.etag), (b"cross-origin-resource-policy", b"same-origin")]
        known = ",".join(header_values(scope, b"if-none-match")).split(",")
        fresh = found.etag.decode() in (each.strip().removeprefix("W/") for each in known)
        await answer(
            scope,
            send,
            304 if fresh else 200,
            found.content_type,
            b"" if fresh else found.body,
            headers,
            b"no-cache",
        )

    async def _show_schema(self, scope: Scope, send: Send) -> None:
        """Answer the schema to those who may subscribe; for the others there is none."""
        await admit(self._app, scope)
        manager = self._app.manager
        if manager.sdl is None or not manager.introspection:
            raise Denied(404, "there is no schema to show")
        await answer(scope, send, 200, "text/plain; charset=utf-8", manager.sdl.encode())

    async def _tell(self, asked: dict[str, list[str]], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what the console shows, to those who may see it."""
        if self._console is None:
            raise Denied(404, "there is no console: see `console=` of SubscriptionApp")
        what = asked["console"][-1]
        posts = what == "explain"
        methods = ("POST",) if posts else _READS
        if scope["method"] not in methods:
            raise Denied(405, f"pass {' or '.join(methods)}", [(b"allow", ", ".join(methods).encode())])
        await self._console.admit(scope)
        if posts:
            body = await body_of(scope, receive, self._app.init_timeout)
            told: Any = await self._console.explain(body)
        elif what == "subscriptions":
            told = await self._console.subscriptions(asked.get("channel", []))
        elif what == "":
            told = await self._console.snapshot()
        else:
            raise Denied(404, "the console has no such part")
        await answer(scope, send, 200, "application/json", json.dumps(told).encode())


def _asked(scope: Scope) -> dict[str, list[str]]:
    """Read the query string; one that is not readable asks for nothing of this."""
    text = scope.get("query_string", b"").decode("latin-1")
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
    except ValueError:
        return {}


def _prefers_html(scope: Scope) -> bool:
    """Answer whether `Accept` names HTML, and nothing that clients of the protocols ask for before it."""
    accept = ",".join(header_values(scope, b"accept"))
    if len(accept) > MEDIA_BYTES_MAX:  # refused, but not by the page
        return False
    weights: dict[str, float] = {}
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        weights[kind] = max(weights.get(kind, 0.0), _weight(parameters))
    html = weights.get("text/html", 0.0)
    return html > 0 and all(weights.get(kind, 0.0) < html for kind in _RESULTS)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
