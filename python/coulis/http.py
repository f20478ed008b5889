"""GraphQL over HTTP: queries and mutations, subscriptions over SSE in both modes, and multipart answers.

What a request asks for and how it is answered is decided in the engine, by `Exchange`; here it is read, its
client is identified, and the answer is begun.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

from coulis._coulis import EngineClosed, Exchange
from coulis.admission import Denied, identify, payload_of, turned_away
from coulis.answers import ENDING, Results, problem, refuse, respond
from coulis.hosting import Connection, Refused
from coulis.loops import running_bridge, wait_for

if TYPE_CHECKING:
    from coulis._coulis import SecurityContext
    from coulis.asgi import Receive, Send, SubscriptionApp
    from coulis.types import Refusal, Scope

__all__ = ["MEDIA_BYTES_MAX", "read_body", "serve"]

HEADER_BYTES_MAX = 65_536
"""Of all headers of a request together: not every server has a bound, and they are read before it is known
who the client is."""

MEDIA_BYTES_MAX = 4_096
"""Of each header that lists media types or encodings: reading one takes time for each of them."""

_LISTS = (b"accept", b"content-type", b"content-encoding")
_PLAIN = "text/plain; charset=utf-8"
_UNREAD = (408, 413)
"""Statuses after which the rest of a body may be on its way: the connection is of no more use."""
_LINGER_SECONDS = 1.0
"""How long what is on its way is dropped: a socket that is closed on it loses the answer, too."""
_LINGER_BYTES_MAX = 1 << 20
"""How much of it, in bytes."""


async def serve(app: SubscriptionApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request."""
    await running_bridge().turns.take()
    send = app.origins.answering(scope, send)
    if (preflight := app.origins.preflight(scope)) is not None:
        await respond(send, 204 if preflight else 403, _PLAIN, b"", preflight)
        return
    if (refusal := _too_long(scope)) is not None:
        await refuse(send, problem(431, "LIMIT_EXCEEDED", refusal))
        return
    try:
        await _Request(app, scope, receive, send).serve()
    except EngineClosed:
        await refuse(send, problem(503, "ENGINE_CLOSED", "the server is closing: try again"))


def _too_long(scope: Scope) -> str | None:
    """Answer which bound the headers are beyond."""
    if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES_MAX:
        return f"the headers have more than {HEADER_BYTES_MAX} bytes"
    for listing in _LISTS:
        if sum(len(value) for name, value in scope["headers"] if name.lower() == listing) > MEDIA_BYTES_MAX:
            return f"the header `{listing.decode()}` has more than {MEDIA_BYTES_MAX} bytes"
    return None


class _Request:
    """One request, up to its answer."""

    def __init__(self, app: SubscriptionApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        query, headers = scope.get("query_string", b""), [(name, value) for name, value in scope["headers"]]
        self._exchange = Exchange(app.manager.executor, scope["method"], query, headers)

    async def serve(self) -> None:
        if not self._app.door.is_open:
            await self._refuse(ENDING)
        elif not self._app.lets_in(self._scope):
            message = "pages of this origin may not subscribe here: see `allowed_origins`"
            await self._refuse(problem(403, "FORBIDDEN_ORIGIN", message))
        elif (refusal := self._exchange.refusal) is not None:
            await self._refuse(refusal)
        else:
            try:
                await self._do(await identify(self._app, self._scope))
            except Denied as denied:
                await self._refuse(problem(denied.status, denied.code, denied.message))

    async def _do(self, context: SecurityContext) -> None:
        what = self._exchange.asked
        if not self._app.door.is_open:  # since the client was asked about
            await self._refuse(ENDING)
        elif what[0] == "answer":
            await self._answer(context)
        elif what[0] == "reserve":
            await self._reserve(what[1], context)
        elif what[0] == "open":
            await self._open(what[1], context)
        elif what[0] == "run":
            await self._run(what[1], context)
        elif what[0] == "stop":
            await self._stop(what[1], what[2], context)

    async def _answer(self, context: SecurityContext) -> None:
        if (form := await self._read()) is None:
            return
        results = Results(self._app, form, context)
        try:
            if not await self._is_let_in(results, context):
                return
            refusal = results.start(self._exchange, context)
            if refusal is None:
                await results.send(self._receive, self._send)
            else:
                await self._refuse(refusal)
        finally:
            results.close()

    async def _reserve(self, token: str | None, context: SecurityContext) -> None:
        reservations = self._app.reservations
        if token is not None and reservations.find(token, context) is not None:
            await self._refuse(problem(409, "ALREADY_EXISTS", "the stream is registered already"))
            return
        if reservations.full:
            await self._refuse(_FULL)
            return
        results = Results(self._app, "shared", context)
        admitted = False
        try:
            admitted = await self._is_let_in(results, context)
        finally:
            if not admitted:
                results.close()
        if admitted and reservations.full:  # by others, while the hooks were asked
            results.close()
            await self._refuse(_FULL)
        elif admitted:
            await respond(self._send, 201, _PLAIN, reservations.add(results).encode())

    async def _open(self, token: str, context: SecurityContext) -> None:
        reservation = self._app.reservations.find(token, context)
        if reservation is None:
            await self._refuse(_NOT_FOUND)
        elif reservation.opened:
            await self._refuse(problem(409, "ALREADY_EXISTS", "the stream is open already"))
        else:
            reservation.open()
            try:
                await reservation.results.send(self._receive, self._send)
            finally:
                self._app.reservations.drop(token)

    async def _run(self, token: str, context: SecurityContext) -> None:
        # Looked for after the body was read: the stream may end meanwhile.
        if await self._read() is None:
            return
        reservation = self._app.reservations.find(token, context)
        if reservation is None:
            await self._refuse(_NOT_FOUND)
            return
        reservation.results.watch(context.expires)
        refusal = reservation.results.start(self._exchange, context)
        if refusal is None:
            await respond(self._send, 202, _PLAIN, b"")
        else:
            await self._refuse(refusal)

    async def _stop(self, token: str, operation: str, context: SecurityContext) -> None:
        reservation = self._app.reservations.find(token, context)
        if reservation is None:
            await self._refuse(_NOT_FOUND)
        else:
            reservation.results.stop(operation)
            await respond(self._send, 200, _PLAIN, b"")

    async def _is_let_in(self, results: Results, context: SecurityContext) -> bool:
        """Ask the bounds and the hooks about a new answer. Raises `Denied`."""
        if results.refusal is not None:
            await self._refuse(results.refusal)
            return False
        try:
            await results.connect(Connection(self._scope, payload_of(self._scope), context))
        except Refused as refused:
            raise turned_away(refused) from None
        # The hooks took their time. From here on nothing is awaited before the answer is inside the door.
        if not self._app.door.is_open:
            await self._refuse(ENDING)
            return False
        return True

    async def _read(self) -> str | None:
        """Read the request and answer the form of its answer, if there is one to run."""
        bytes_max = self._exchange.body_bytes_max
        body: bytes | None = b""
        if bytes_max is not None:
            try:
                body = await wait_for(read_body(self._receive, bytes_max), self._app.init_timeout)
            except asyncio.TimeoutError:
                message = f"the body did not arrive within {self._app.init_timeout} seconds"
                await self._refuse(problem(408, "REQUEST_TIMEOUT", message))
                return None
        if body is None:
            return None
        if (wrong := self._exchange.receive(body)) is None:
            trusted = not self._app.csrf_prevention or self._app.origins.is_named(self._scope)
            form, wrong = self._exchange.form(trusted)
        if wrong is not None:
            await self._refuse(wrong)
            return None
        return form

    async def _refuse(self, refusal: Refusal) -> None:
        unread = refusal[0] in _UNREAD and self._scope.get("http_version", "1.1").startswith("1")
        if not unread:
            await refuse(self._send, refusal, self._exchange.content_type)
            return
        more = [(b"connection", b"close")]
        linger = partial(_drop, self._receive)
        await refuse(self._send, refusal, self._exchange.content_type, more, linger)


_FULL = problem(503, "LIMIT_EXCEEDED", "too many streams wait to be opened: try again")
_NOT_FOUND = problem(404, "STREAM_NOT_FOUND", "there is no such stream: reserve another one")


async def _drop(receive: Receive) -> None:
    """Drop what comes of a body, for a while."""

    async def drop() -> None:
        left = _LINGER_BYTES_MAX
        while left > 0 and (message := await receive())["type"] != "http.disconnect":
            if not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))
            await asyncio.sleep(0)  # a server that has it all must not keep the loop

    with contextlib.suppress(asyncio.TimeoutError):
        await wait_for(drop(), _LINGER_SECONDS)


async def read_body(receive: Receive, bytes_max: int) -> bytes | None:
    """Read a body, or up to one chunk more than is allowed; `None` if the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > bytes_max or not message.get("more_body", False):
            return bytes(body)
