"""Answers over HTTP that carry results: what `_Connection` of `coulis.websocket` is to a WebSocket.

How results are written down is decided in the engine, by `Stream`; here bytes move between it and the ASGI
server. An answer has one task that waits for the client's end and one that writes; a client that does not
read keeps the latter waiting, and the engine bounds what collects meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from coulis._coulis import Stream
from coulis.deadlines import Expiry
from coulis.hosting import Connection, Host
from coulis.loops import Ready, running_bridge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coulis._coulis import Exchange, SecurityContext
    from coulis.asgi import Receive, Send, SubscriptionApp
    from coulis.types import Asked, Refusal

__all__ = ["ENDING", "Results", "problem", "refuse", "respond"]

WHOLE = ("json", "response")
"""The forms of answers that are one result."""

_RESULTS_AT_ONCE = 128
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_STREAM_HEADERS = [
    _NOSNIFF,
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would hold results back
]
_JSON = "application/json; charset=utf-8"
_logger = logging.getLogger("coulis.asgi")
_farewells: set[asyncio.Task[None]] = set()
"""Hooks that are told of ends; a loop itself holds its tasks weakly."""


class Results:
    """What one answer consists of, from its reservation or its request to its end."""

    def __init__(self, app: SubscriptionApp, form: str, context: SecurityContext) -> None:
        self.context = context
        self._app = app
        self._form = form
        self._loop = asyncio.get_running_loop()
        self._bridge = running_bridge()
        self._ready = Ready()
        self._token = self._bridge.watch(self._ready.set)
        self._keep_alive_timer: asyncio.TimerHandle | None = None
        self._expiry = Expiry(self._expire)
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = self._cut = False
        self._farewell: asyncio.Task[None] | None = None
        executor, reader, hosting = app.manager.executor, self._bridge.reader, app.hosting
        stream: Stream | None = None
        refused: Refusal | None = None
        try:
            stream, refused = Stream.open(
                executor,
                reader,
                self._token,
                form,
                context,
                decides=hosting.decides,
                executes=hosting.execute is not None,
            )
        finally:
            if stream is None:
                self._bridge.forget(self._token)
        self.refusal = refused
        self._stream = stream
        self._host = None if stream is None else Host(app, stream, self._do)
        self.watch(context.expires)

    async def connect(self, connection: Connection) -> None:
        """Ask the hooks about the client. Raises `Refused`."""
        assert self._host is not None
        await self._host.connect(connection)

    def start(self, exchange: Exchange, context: SecurityContext) -> Refusal | None:
        """Start an operation as who `context` is; answer what is wrong with it, unless the results tell."""
        assert self._stream is not None and self._host is not None
        if self._host.connection is not None:
            self._host.connection.security = context
        refusal, operation = self._stream.receive(exchange, context)
        if operation is not None:
            self._host.begin(operation)
        self._ready.set()
        return refusal

    def stop(self, operation: str) -> None:
        """Stop an operation, if it is open."""
        assert self._stream is not None and self._host is not None
        if (stopped := self._stream.stop(operation)) is not None:
            self._host.end(stopped)
        self._ready.set()

    async def send(self, receive: Receive, send: Send) -> None:
        """Answer with all results, until the stream is over or the client has gone."""
        write = self._write_whole if self._form in WHOLE else self._write
        try:
            # First, so that a drain finds an answer whose head is still on its way.
            with self._app.door.inside(self):
                self._tasks = {self._loop.create_task(_gone(receive)), self._loop.create_task(write(send))}
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._cut and self._form in WHOLE:
                await refuse(send, ENDING)
        finally:
            self.close()
            if not self._loop.is_closed():  # otherwise it is thrown away: nothing runs there any more
                await self._ended()

    def leave(self, code: int = 0, reason: str = "") -> None:
        """End the answer once what is readable now was sent; it is not complete, so its client comes back.

        One that is a single result ends with that.
        """
        self._leaving = True
        self._ready.set()

    def cut(self, code: int = 0, reason: str = "") -> None:
        """End the answer without more ado."""
        self._cut = True
        self._cancel()

    async def _ended(self) -> None:
        self._cancel()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, Exception):
                _logger.error("an answer failed", exc_info=end)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def close(self) -> None:
        """Free everything, and have the hooks told. Safe to repeat."""
        if self._stream is not None:
            self._stream.close()
        self._bridge.forget(self._token)
        self._expiry.cancel()
        if self._keep_alive_timer is not None:
            self._keep_alive_timer.cancel()
        if self._host is not None and self._farewell is None and not self._loop.is_closed():
            self._farewell = self._loop.create_task(self._host.close(None))
            _farewells.add(self._farewell)
            self._farewell.add_done_callback(_farewells.discard)

    def watch(self, expires: int | None) -> None:
        """End the answer at this second since 1970."""
        if self._stream is not None:
            self._expiry.watch(expires)

    def _expire(self) -> None:
        assert self._stream is not None
        self._stream.expire()
        self._ready.set()

    def _do(self, asked: Asked) -> None:
        """Have the writer look for what a call has made ready; streams ask for nothing else."""
        self._ready.set()

    async def _begin(self, send: Send) -> None:
        assert self._stream is not None
        headers = [(b"content-type", self._stream.content_type.encode()), *_STREAM_HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        self._schedule_keep_alive()

    async def _write(self, send: Send) -> None:
        over = False
        try:
            await self._begin(send)
        except Exception as error:
            _logger.debug("a client has gone: %r", error)
            return
        while not over:
            body, over = self._take()
            over = over or (self._leaving and not body)
            if not body and not over:
                await self._ready
                continue
            try:
                await send({"type": "http.response.body", "body": body, "more_body": not over})
            except Exception as error:
                _logger.debug("a client has gone: %r", error)
                return
            self._taken()
            await asyncio.sleep(0)  # a socket that never blocks must not keep the loop

    async def _write_whole(self, send: Send) -> None:
        assert self._stream is not None
        whole = b""
        while True:
            body, over = self._take()
            whole += body
            self._taken()
            if over:
                break
            if not body:
                await self._ready
        await respond(send, self._stream.status, self._stream.content_type, whole)

    def _take(self) -> tuple[bytes, bool]:
        """Answer what is ready, and whether that is the end."""
        assert self._stream is not None
        # Cleared before looking: what comes after the look sets it again.
        self._ready.clear()
        return self._stream.take(_RESULTS_AT_ONCE), self._stream.over

    def _taken(self) -> None:
        assert self._stream is not None and self._host is not None
        self._host.sent()
        for operation in self._stream.ended():
            self._host.end(operation)

    def _schedule_keep_alive(self) -> None:
        if (seconds := self._app.stream_keep_alive) is not None:
            self._keep_alive_timer = self._loop.call_later(seconds, self._keep_alive)

    def _keep_alive(self) -> None:
        assert self._stream is not None
        self._stream.keep_alive()
        self._ready.set()
        self._schedule_keep_alive()


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def problem(status: int, code: str, message: str) -> Refusal:
    """Answer what is wrong with a request."""
    told = {"errors": [{"message": message, "extensions": {"code": code}}]}
    return status, None, json.dumps(told, separators=(",", ":"))


ENDING = problem(503, "ENGINE_CLOSED", "the server is about to end: try another one")


async def refuse(
    send: Send,
    refusal: Refusal,
    content_type: str = _JSON,
    more: list[tuple[bytes, bytes]] | None = None,
    before_end: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Answer with what is wrong."""
    status, allow, body = refusal
    headers = [*(more or ())] if allow is None else [*(more or ()), (b"allow", allow.encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await respond(send, status, content_type, body.encode(), headers, before_end)


async def respond(
    send: Send,
    status: int,
    content_type: str,
    body: bytes,
    more: list[tuple[bytes, bytes]] | None = None,
    before_end: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Answer with a whole body; the end of the answer comes after `before_end`."""
    headers = [(b"cache-control", b"no-store"), _NOSNIFF, *(more or ())]
    if status != 204:
        headers.append((b"content-type", content_type.encode()))
        headers.append((b"content-length", str(len(body)).encode()))
    message: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    try:
        await send(message)
        if before_end is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await before_end()
            body = b""
        await send({"type": "http.response.body", "body": body})
    except Exception as error:
        _logger.debug("a client has gone: %r", error)
