"""GraphQL over WebSocket: text moves between a socket and `Session`, where the engine has the protocol.

Each connection has one task that reads and one that writes, and nothing else writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from coulis._coulis import EngineClosed, Session, Stream
from coulis.deadlines import Expiry, TimedOut
from coulis.hosting import FAILED, TIMED_OUT, Connection, Host, Refused
from coulis.logs import ConnectionLog, Paced
from coulis.loops import Ready, running_bridge
from coulis.reservations import is_same_client

if TYPE_CHECKING:
    from coulis._coulis import Operation
    from coulis.asgi import Receive, Send, SubscriptionApp
    from coulis.types import Asked, Scope

__all__ = ["LEGACY_SUBPROTOCOL", "SUBPROTOCOL", "serve"]

Close = tuple[int, str]
"""A code and a reason."""

SUBPROTOCOL = "graphql-transport-ws"
LEGACY_SUBPROTOCOL = "graphql-ws"
"""The older protocol of subscriptions-transport-ws."""

INIT_CHARACTERS_MAX = 65_536
"""Of one message of a client that was not let in yet: `connection_init` becomes Python objects, which take
up to fifty times the room of its text."""

_ANOTHER = (4403, "The token is of another user or tenant")
_TOO_BIG = (1009, "Message too big")
_TEXTS_AT_ONCE = 128
_NOTHING: tuple[int, list[Operation], Asked] = (0, [], None)
_logger = logging.getLogger("coulis.asgi")
_log = Paced("coulis.asgi")


async def serve(app: SubscriptionApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection."""
    await receive()  # websocket.connect
    await running_bridge().turns.take()
    if not app.lets_in(scope):
        await send({"type": "websocket.close"})  # before the accept: HTTP 403
        return
    if not app.door.is_open:
        await _closed_door(app, scope, send)
        return
    if (subprotocol := _subprotocol(app, scope)) is None:
        # A close before the accept would become HTTP 403 and lose its code.
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4406, "reason": "Subprotocol not acceptable"})
        return
    try:
        connection = _Connection(app, scope, receive, send, legacy=subprotocol == LEGACY_SUBPROTOCOL)
    except EngineClosed:
        await _closed_door(app, scope, send)
        return
    close = None
    with app.door.inside(connection):
        try:
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            close = await connection.run()
        finally:
            await connection.end()
            app.door.count(connection.log.ended(close))
        if close is not None:
            # After the end, which cancels the pending receive: granian loses a close beside one.
            code, reason = close
            try:
                await send({"type": "websocket.close", "code": code, "reason": reason})
            except Exception as error:
                _gone(error)


def _gone(error: Exception) -> None:
    _logger.debug("a client has gone: %r", error)


async def _closed_door(app: SubscriptionApp, scope: Scope, send: Send) -> None:
    """Refuse a client that comes too late: HTTP 503, or 1012 where a server cannot say that."""
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [(b"content-type", b"text/plain"), (b"retry-after", b"1")]
        await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"the server is about to end"})
        return
    await send({"type": "websocket.accept", "subprotocol": _subprotocol(app, scope)})
    await send({"type": "websocket.close", "code": 1012, "reason": "Service restart"})


def _subprotocol(app: SubscriptionApp, scope: Scope) -> str | None:
    """Answer the sub-protocol to speak, of those that the client offers."""
    spoken = [SUBPROTOCOL, LEGACY_SUBPROTOCOL] if app.legacy_protocol else [SUBPROTOCOL]
    offered = scope.get("subprotocols", ())
    return next((name for name in spoken if name in offered), None)


class _Connection:
    """One socket, from the accept to the end."""

    def __init__(
        self, app: SubscriptionApp, scope: Scope, receive: Receive, send: Send, *, legacy: bool
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._bridge = running_bridge()
        self._ready = Ready()
        self._token = self._bridge.watch(self._ready.set)
        try:
            self._session = Session(
                app.manager.executor,
                self._bridge.reader,
                self._token,
                legacy=legacy,
                decides=app.hosting.decides,
                executes=app.hosting.execute is not None,
            )
        except BaseException:
            self._bridge.forget(self._token)
            raise
        self._host = Host(app, self._session, self._do)
        if (hosts := scope.get("extensions", {}).get("coulis.hosts")) is not None:  # of `coulis.testing`
            hosts.append(self._host)
        self._code: int | None = None
        self._close: asyncio.Future[Close] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._expiry = Expiry(lambda: self._do(self._session.expire()))
        self._leaving: Close | None = None
        self.log = ConnectionLog(scope)

    async def run(self) -> Close | None:
        """Move messages until the client has gone, or answer how the connection is to be closed."""
        self._timers["init"] = self._loop.call_later(
            self._app.init_timeout, lambda: self._do(self._session.init_timed_out())
        )
        self._schedule_ping()
        ends: set[asyncio.Future[Any]] = {self._start(self._read()), self._start(self._write()), self._close}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not self._close.done():
            return None
        self._code = self._close.result()[0]
        return self._close.result()

    def leave(self, code: int, reason: str) -> None:
        """Close once what is readable now was sent; who is told twice leaves as it was told first."""
        self._leaving = self._leaving or (code, reason)
        self._ready.set()

    def cut(self, code: int, reason: str) -> None:
        """Close without more ado."""
        self._close_with((code, reason))

    async def end(self) -> None:
        """Free everything; what belongs to the engine first, so that a second cancellation cannot stop it."""
        self._session.close()
        self._bridge.forget(self._token)
        self._expiry.cancel()
        for timer in self._timers.values():
            timer.cancel()
        if self._loop.is_closed():  # thrown away with its loop: nothing runs there any more
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._host.close(self._code)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.log(logging.ERROR, "connection", "a connection failed", exc_info=error)
            self._close_with(FAILED)

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self._code = message.get("code")
                self.log.left(self._code)
                return
            await self._bridge.turns.take()
            if self._close.done():
                continue
            text = message.get("text")
            if self._host.connection is None and text is not None and len(text) > INIT_CHARACTERS_MAX:
                self._close_with(_TOO_BIG)
                return
            self._do(self._session.receive(text))

    async def _write(self) -> None:
        while True:
            # Cleared before looking: what comes after the look sets it again.
            self._ready.clear()
            texts = self._session.take(_TEXTS_AT_ONCE)
            lost, ended, closing = self._session.told() or _NOTHING
            if lost:
                self.log.lost(lost)
            try:
                for text in texts:
                    await self._send({"type": "websocket.send", "text": text})
            except Exception as error:
                _gone(error)
                return
            self._host.sent()
            for operation in ended:
                self._host.end(operation)
            if closing is not None:
                self._do(closing)
                return
            if len(texts) >= _TEXTS_AT_ONCE:
                await asyncio.sleep(0)  # a socket that never blocks must not keep the loop
            elif self._leaving is not None:
                self._close_with(self._leaving)
                return
            else:
                await self._ready

    def _do(self, asked: Asked) -> None:
        """Do what the session asks, and have the writer look for replies."""
        if asked is not None and asked[0] == "close":
            self._close_with((asked[1], asked[2]))
        elif asked is not None and asked[0] == "operation":
            self._host.begin(asked[1])
        elif asked is not None and asked[0] == "complete":
            self._host.end(asked[1])
        elif asked is not None:
            self._start(self._authenticate(asked[1] or {}))
        self._ready.set()

    def _close_with(self, close: Close) -> None:
        if not self._close.done():
            self._close.set_result(close)

    async def _authenticate(self, payload: dict[str, Any]) -> None:
        """Decide on `connection_init`, or on a new token that a ping brought."""
        try:
            context = await self._app.identify(payload, self._scope)
        except TimedOut as late:
            _log.log(logging.ERROR, "late", "%s: the connection is closed", late)
            self.log.refused()
            self._do(self._session.close_with(TIMED_OUT, str(late)))
            return
        except Exception as error:
            message = "auth_handler failed: the connection is refused"
            _log.log(logging.ERROR, "auth_handler", message, exc_info=error)
            self.log.refused()
            self._do(self._session.refuse(failed=True))
            return
        if context is None:
            self.log.refused()
            self._do(self._session.refuse())
            return
        if (known := self._host.connection) is not None:  # a new token
            if not is_same_client(known.security, context):  # whom `on_connect` and `context` never saw
                self.log.refused()
                Stream.refused(self._app.manager.executor)
                self._do(self._session.close_with(*_ANOTHER))
                return
            self._do(self._session.accept(context))
            known.security = context
        elif not await self._let_in(Connection(self._scope, payload, context)):
            return
        self.log.identified(context)
        if not self._close.done():
            self._expiry.watch(context.expires)

    async def _let_in(self, connection: Connection) -> bool:
        try:
            reply = await self._host.connect(connection)
        except Refused as refused:
            self._do(self._session.close_with(refused.code, refused.reason))
            return False
        self._do(self._session.accept(connection.security, payload=reply))
        return True

    def _schedule_ping(self) -> None:
        if self._app.keep_alive is not None:
            self._timers["ping"] = self._loop.call_later(self._app.keep_alive, self._ping)

    def _ping(self) -> None:
        self._do(self._session.keep_alive())
        self._schedule_ping()
