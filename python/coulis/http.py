"""Subscriptions over HTTP: GraphQL over SSE in both modes, and multipart answers.

What a request asks for and how results are written down is decided in the engine, by `Exchange` and `Stream`;
here bytes move between them and the ASGI server. An answer has one task that waits for the client's end and
one that writes; a client that does not read keeps the latter waiting, and the engine bounds what collects
meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from coulis._coulis import EngineClosed, Exchange, Stream
from coulis.hosting import Connection, Refused, let_in
from coulis.loops import running_bridge, within

if TYPE_CHECKING:
    from coulis._coulis import SecurityContext
    from coulis.asgi import Receive, Send, SubscriptionApp
    from coulis.types import Refusal, Scope

__all__ = ["Results", "serve"]

_RESULTS_AT_ONCE = 128
_WAIT_MAX = 86_400.0
"""Seconds that one timer waits: a clock may be set meanwhile."""
_STREAM_HEADERS = [
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold results back
]
_logger = logging.getLogger("coulis.asgi")


async def serve(app: SubscriptionApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request."""
    try:
        await _Request(app, scope, receive, send).serve()
    except EngineClosed:
        await _refuse(send, _refusal(503, "ENGINE_CLOSED", "the server is closing: try again"))


class Results:
    """What one answer consists of, from its reservation or its request to its end."""

    def __init__(self, app: SubscriptionApp, form: str, context: SecurityContext) -> None:
        self.context = context
        self._app = app
        self._loop = asyncio.get_running_loop()
        self._bridge = running_bridge()
        self._ready = asyncio.Event()
        self._token = self._bridge.watch(self._ready.set)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = False
        executor, reader = app.manager.executor, self._bridge.reader
        self._stream: Stream | None = None
        self.refusal: Refusal | None = None
        try:
            self._stream, self.refusal = Stream.open(executor, reader, self._token, form, context)
        finally:
            if self._stream is None:
                self._bridge.forget(self._token)
        self.watch(context.expires)

    def start(self, exchange: Exchange, context: SecurityContext) -> Refusal | None:
        """Start an operation; answer what is wrong with it, unless the results tell."""
        assert self._stream is not None
        refusal = self._stream.start(exchange, context)
        self._ready.set()
        return refusal

    def stop(self, operation: str) -> None:
        """Stop an operation, if it is open."""
        assert self._stream is not None
        self._stream.stop(operation)
        self._ready.set()

    async def send(self, receive: Receive, send: Send) -> None:
        """Answer with all results, until the stream is over or the client has gone."""
        assert self._stream is not None
        content_type = (b"content-type", self._stream.content_type.encode())
        try:
            headers = [content_type, *_STREAM_HEADERS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            self._schedule_keep_alive()
            self._tasks = {self._loop.create_task(_gone(receive)), self._loop.create_task(self._write(send))}
            with self._app.door.inside(self):
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.close()
            self.cut()
            for end in await asyncio.gather(*self._tasks, return_exceptions=True):
                if isinstance(end, Exception):
                    _logger.error("an answer failed", exc_info=end)

    def leave(self, code: int = 0, reason: str = "") -> None:
        """End the answer once what is readable now was sent; it is not complete, so its client comes back."""
        self._leaving = True
        self._ready.set()

    def cut(self, code: int = 0, reason: str = "") -> None:
        """End the answer without more ado."""
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """Free everything. Safe to repeat."""
        if self._stream is not None:
            self._stream.close()
        self._bridge.forget(self._token)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def watch(self, expires: int | None) -> None:
        """End the answer when the time comes, whether there is anything to send or not."""
        if (timer := self._timers.pop("expiry", None)) is not None:
            timer.cancel()
        if expires is None or self._stream is None:
            return
        left = expires - time.time()
        if left > 0:
            when = self._loop.time() + min(left, _WAIT_MAX)
            self._timers["expiry"] = self._loop.call_at(when, self.watch, expires)
        else:
            self._stream.expire()
            self._ready.set()

    async def _write(self, send: Send) -> None:
        assert self._stream is not None
        over = False
        while not over:
            # Cleared before looking: what comes after the look sets it again.
            self._ready.clear()
            body = self._stream.take(_RESULTS_AT_ONCE)
            over = self._stream.over or (self._leaving and not body)
            if not body and not over:
                await self._ready.wait()
                continue
            try:
                await send({"type": "http.response.body", "body": body, "more_body": not over})
            except Exception as error:
                _logger.debug("a client has gone: %r", error)
                return
            await asyncio.sleep(0)  # a socket that never blocks must not keep the loop

    def _schedule_keep_alive(self) -> None:
        if (seconds := self._app.stream_keep_alive) is not None:
            self._timers["keep_alive"] = self._loop.call_later(seconds, self._keep_alive)

    def _keep_alive(self) -> None:
        assert self._stream is not None
        self._stream.keep_alive()
        self._ready.set()
        self._schedule_keep_alive()


class _Request:
    """One request, up to its answer."""

    def __init__(self, app: SubscriptionApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        query, headers = scope.get("query_string", b""), scope["headers"]
        self._exchange = Exchange(app.manager.executor, scope["method"], query, list(headers))

    async def serve(self) -> None:
        if not self._app.door.is_open:
            await self._refuse(_refusal(503, "ENGINE_CLOSED", "the server is about to end: try another one"))
        elif not self._app.lets_in(self._scope):
            message = "pages of this origin may not subscribe here: see `allowed_origins`"
            await self._refuse(_refusal(403, "FORBIDDEN_ORIGIN", message))
        elif (refusal := self._exchange.refusal) is not None:
            await self._refuse(refusal)
        elif (context := await self._identify()) is not None:
            await self._do(context)

    async def _do(self, context: SecurityContext) -> None:
        what = self._exchange.asked
        if what[0] == "stream":
            await self._stream(what[1], context)
        elif what[0] == "reserve":
            await self._reserve(what[1], context)
        elif what[0] == "open":
            await self._open(what[1], context)
        elif what[0] == "run":
            await self._run(what[1], context)
        elif what[0] == "stop":
            await self._stop(what[1], what[2], context)

    async def _stream(self, form: str, context: SecurityContext) -> None:
        if not await self._read():
            return
        results = Results(self._app, form, context)
        try:
            refusal = results.refusal or results.start(self._exchange, context)
            if refusal is None:
                await results.send(self._receive, self._send)
            else:
                await self._refuse(refusal)
        finally:
            results.close()

    async def _reserve(self, token: str | None, context: SecurityContext) -> None:
        reservations = self._app.reservations
        if token is not None and reservations.find(token, context) is not None:
            await self._refuse(_refusal(409, "ALREADY_EXISTS", "the stream is registered already"))
            return
        if reservations.full:
            message = "too many streams wait to be opened: try again"
            await self._refuse(_refusal(503, "LIMIT_EXCEEDED", message))
            return
        results = Results(self._app, "shared", context)
        if results.refusal is not None:
            await self._refuse(results.refusal)
            return
        await _answer(self._send, 201, b"text/plain; charset=utf-8", reservations.add(results).encode())

    async def _open(self, token: str, context: SecurityContext) -> None:
        reservation = self._app.reservations.find(token, context)
        if reservation is None:
            await self._refuse(_NOT_FOUND)
        elif reservation.opened:
            await self._refuse(_refusal(409, "ALREADY_EXISTS", "the stream is open already"))
        else:
            reservation.open()
            try:
                await reservation.results.send(self._receive, self._send)
            finally:
                self._app.reservations.drop(token)

    async def _run(self, token: str, context: SecurityContext) -> None:
        # Looked for after the body was read: the stream may end meanwhile.
        if not await self._read():
            return
        reservation = self._app.reservations.find(token, context)
        if reservation is None:
            await self._refuse(_NOT_FOUND)
            return
        reservation.results.watch(context.expires)
        refusal = reservation.results.start(self._exchange, context)
        if refusal is None:
            await _answer(self._send, 202, b"text/plain; charset=utf-8", b"")
        else:
            await self._refuse(refusal)

    async def _stop(self, token: str, operation: str, context: SecurityContext) -> None:
        reservation = self._app.reservations.find(token, context)
        if reservation is None:
            await self._refuse(_NOT_FOUND)
        else:
            reservation.results.stop(operation)
            await _answer(self._send, 200, b"text/plain; charset=utf-8", b"")

    async def _identify(self) -> SecurityContext | None:
        """Answer who the client is, or tell it that it may not come in."""
        executor = self._app.manager.executor
        try:
            context = await self._app.identify(_payload(self._scope), self._scope)
        except Exception:
            _logger.exception("auth_handler failed: the request is refused")
            Stream.refused(executor, failed=True)
            await self._refuse(_refusal(500, "INTERNAL_SERVER_ERROR", "Internal server error"))
            return None
        expired = context is not None and context.expires is not None and context.expires <= time.time()
        if context is None or expired:
            Stream.refused(executor)
            await self._refuse(
                _refusal(401, "UNAUTHENTICATED", "Token expired" if expired else "Unauthorized")
            )
            return None
        return context if await self._let_in(context) else None

    async def _let_in(self, context: SecurityContext) -> bool:
        """Ask the hooks about the client. Those about single subscriptions are asked over WebSocket only."""
        hosting = self._app.hosting
        if hosting.decides:
            message = "this service is subscribed to over WebSocket only"
            await self._refuse(_refusal(501, "NOT_SUPPORTED", message))
            return False
        if hosting.on_connect is None:
            return True
        try:
            await let_in(hosting, Connection(self._scope, _payload(self._scope), context))
        except Refused as refused:
            status = 500 if refused.code == 4500 else 403
            await self._refuse(_refusal(status, "FORBIDDEN", json.dumps(refused.reason)[1:-1]))
            return False
        return True

    async def _read(self) -> bool:
        """Read the request and answer whether there is one to run."""
        bytes_max = self._exchange.body_bytes_max
        body: bytes | None = b""
        if bytes_max is not None:
            try:
                body = await within(self._app.init_timeout, _body(self._receive, bytes_max))
            except asyncio.TimeoutError:
                message = f"the body did not arrive within {self._app.init_timeout} seconds"
                await self._refuse(_refusal(408, "REQUEST_TIMEOUT", message))
                return False
        if body is None:
            return False
        refusal = self._exchange.receive(body)
        if refusal is not None:
            await self._refuse(refusal)
        return refusal is None

    async def _refuse(self, refusal: Refusal) -> None:
        await _refuse(self._send, refusal)


def _refusal(status: int, code: str, message: str) -> Refusal:
    return status, None, f'{{"errors":[{{"message":"{message}","extensions":{{"code":"{code}"}}}}]}}'


_NOT_FOUND = _refusal(404, "STREAM_NOT_FOUND", "there is no such stream: reserve another one")


def _payload(scope: Scope) -> dict[str, Any]:
    """Answer what takes the place of the payload of `connection_init`."""
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    payload: dict[str, Any] = {"headers": headers}
    if "authorization" in headers:
        payload["authorization"] = payload["Authorization"] = headers["authorization"]
    return payload


async def _body(receive: Receive, bytes_max: int) -> bytes | None:
    """Read a body, or up to one chunk more than is allowed; `None` if the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > bytes_max or not message.get("more_body", False):
            return bytes(body)


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send, refusal: Refusal) -> None:
    status, allow, body = refusal
    headers = [] if allow is None else [(b"allow", allow.encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await _answer(send, status, b"application/json", body.encode(), headers)


async def _answer(
    send: Send, status: int, content_type: bytes, body: bytes, more: list[tuple[bytes, bytes]] | None = None
) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-type", content_type), (b"content-length", length), (b"cache-control", b"no-store")]
    start = {"type": "http.response.start", "status": status, "headers": headers + (more or [])}
    try:
        await send(start)
        await send({"type": "http.response.body", "body": body})
    except Exception as error:
        _logger.debug("a client has gone: %r", error)
