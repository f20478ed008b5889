"""For tests of services that use Coulis: a client in this process, without sockets, and who it may be.

    async def test_orders(coulis_client):
        async with coulis_client.connect(context=user("7", "acme")) as connection:
            orders = await connection.subscribe("subscription { orders { id } }")
            await coulis_client.publish("changed", "orders", {"id": 1}, tenant_id="acme")
            await orders.expect({"orders": {"id": 1}})

It speaks graphql-transport-ws with the whole `SubscriptionApp`; only the socket is missing. Every wait ends:
with what was waited for, or after `timeout` seconds with an `AssertionError` that says what did not come.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import copy
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from coulis._coulis import SecurityContext
from coulis.asgi import SUBPROTOCOL, SubscriptionApp

if TYPE_CHECKING:
    from typing_extensions import Self

    from coulis.hosting import Host
    from coulis.manager import SubscriptionManager
    from coulis.types import EventData, Identity

__all__ = [
    "Connection",
    "ConnectionClosed",
    "Subscription",
    "SubscriptionClient",
    "SubscriptionEnded",
    "SubscriptionRefused",
    "admin",
    "anonymous",
    "expiring",
    "user",
]

TIMEOUT_SECONDS = 5.0

Json = dict[str, Any]


class ConnectionClosed(Exception):
    """The server closed, with `code` and `reason`; `code` is 403 or 503 where it did not even accept."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class SubscriptionRefused(Exception):
    """The server ended the subscription with an `error` message; `errors` is its list."""

    def __init__(self, errors: list[Json]) -> None:
        super().__init__("; ".join(str(error.get("message")) for error in errors))
        self.errors = errors

    @property
    def codes(self) -> list[str]:
        """The `extensions.code` of each error."""
        return [error.get("extensions", {}).get("code", "") for error in self.errors]


class SubscriptionEnded(Exception):
    """The server completed the subscription: no more comes."""


def anonymous() -> SecurityContext:
    """Answer the context of a client that nobody asked who it is."""
    return SecurityContext("anonymous")


def user(
    user_id: Identity = "user",
    tenant_id: Identity = "tenant",
    *,
    roles: Iterable[str] = (),
    scopes: Iterable[str] = (),
    claims: Json | None = None,
) -> SecurityContext:
    """Answer the context of a user in a tenant."""
    return SecurityContext(user_id, tenant_id, roles=roles, scopes=scopes, claims=claims)


def admin(user_id: Identity = "admin", tenant_id: Identity = "tenant") -> SecurityContext:
    """Answer the context of a user with the role `admin`."""
    return user(user_id, tenant_id, roles=["admin"])


def expiring(seconds: float, user_id: Identity = "user", tenant_id: Identity = "tenant") -> SecurityContext:
    """Answer a context that holds for so many seconds from now, cut to whole ones of the clock."""
    return SecurityContext(user_id, tenant_id, expires=time.time() + seconds)


class SubscriptionClient:
    """Connects to a manager or to an app of your own, in this process.

    `timeout` is how many seconds every wait may take. Use it in one event loop.
    """

    def __init__(
        self, served: SubscriptionManager | SubscriptionApp, *, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"`timeout` is `{timeout}`: pass seconds above 0")
        self.app = served if isinstance(served, SubscriptionApp) else SubscriptionApp(served)
        self.manager = self.app.manager
        self.timeout = timeout

    @contextlib.asynccontextmanager
    async def connect(
        self,
        payload: Json | None = None,
        *,
        context: SecurityContext | None = None,
        headers: Mapping[str, str] | None = None,
        path: str = "/",
    ) -> AsyncIterator[Connection]:
        """Open a connection that is closed at the end of the block.

        `payload` goes with `connection_init` to the app's `auth_handler`; with `context` nobody is asked, and
        the client is that. Raises `ConnectionClosed` if it may not come in.
        """
        connection = Connection(self._app_for(context), _scope(headers or {}, path), self.timeout)
        try:
            await connection._init(payload)
            yield connection
        finally:
            await connection.close()

    async def publish(self, event_type: str, channel: str, data: EventData, **attributes: Any) -> int:
        """Publish, and wait until all deliveries are readable; see `SubscriptionManager.publish_event`."""
        return await self.manager.publish_event(event_type, channel, data, **attributes)

    def _app_for(self, context: SecurityContext | None) -> SubscriptionApp:
        if context is None:
            return self.app
        app = copy.copy(self.app)
        app.auth_handler = lambda payload: context
        return app


def _scope(headers: Mapping[str, str], path: str) -> Json:
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("testclient", 0),
        "server": ("testserver", 80),
        "subprotocols": [SUBPROTOCOL],
        "extensions": {"websocket.http.response": {}, "coulis.hosts": []},
    }


class Connection:
    """One connection. Made by `SubscriptionClient.connect`."""

    def __init__(self, app: SubscriptionApp, scope: Json, timeout: float) -> None:
        self._timeout = timeout
        self._to_app: asyncio.Queue[Json] = asyncio.Queue()
        self._acknowledged = asyncio.Event()
        self._pongs: dict[int, asyncio.Event] = {}
        self._numbers = itertools.count(1)
        self._subscriptions: dict[str, Subscription] = {}
        self._closed: ConnectionClosed | None = None
        self._changed = asyncio.Event()
        self._hosts: list[Host] = scope["extensions"]["coulis.hosts"]
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._serving = asyncio.get_running_loop().create_task(app(scope, self._to_app.get, self._from_app))
        self._serving.add_done_callback(self._served)

    async def subscribe(
        self,
        query: str,
        variables: Json | None = None,
        *,
        operation_name: str | None = None,
        resume: str | None = None,
        id: str | None = None,
    ) -> Subscription:
        """Subscribe, and wait until the server took it: what is published afterwards is delivered.

        `resume` is the cursor to go on from. Raises `SubscriptionRefused`, and `ConnectionClosed`.
        """
        id = id if id is not None else str(next(self._numbers))
        subscription = self._subscriptions[id] = Subscription(self, id)
        payload: Json = {"query": query}
        if variables is not None:
            payload["variables"] = variables
        if operation_name is not None:
            payload["operationName"] = operation_name
        if resume is not None:
            payload["extensions"] = {"coulis": {"resume": resume}}
        self.say(type="subscribe", id=id, payload=payload)
        await self.settle()
        if subscription._errors is not None:
            raise SubscriptionRefused(subscription._errors)
        return subscription

    async def settle(self) -> None:
        """Wait until the server did all that was asked of it, and began to send what was readable before.

        So every permission and hook was asked that decides on a subscription.
        """
        await self._ping()
        for host in self._hosts:
            try:
                await asyncio.wait_for(host.decided(), self._timeout)
            except asyncio.TimeoutError:
                raise AssertionError(f"no permission or hook decided within {self._timeout:g} s") from None
        await self._ping()

    async def _ping(self) -> None:
        # The answer to a ping goes out at once with the first results that are ready, before this wakes up.
        number = next(self._numbers)
        pong = self._pongs[number] = asyncio.Event()
        self.say(type="ping", payload={"settle": number})
        await self._until(pong.is_set, "an answer of the server")

    async def closed(self) -> ConnectionClosed:
        """Wait until the server closes; answer how."""
        await self._wait(lambda: self._closed is not None, "a close of the server", self._timeout)
        assert self._closed is not None
        return self._closed

    async def close(self) -> None:
        """Close, as a client that goes; safe to repeat."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait([self._serving], timeout=self._timeout)
        self._serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving

    def say(self, **message: Any) -> None:
        """Send a message of the protocol, whatever it is."""
        self._to_app.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def _init(self, payload: Json | None) -> None:
        self.say(type="connection_init", **({} if payload is None else {"payload": payload}))
        await self._until(self._acknowledged.is_set, "connection_ack")

    async def _until(self, holds: Callable[[], object], what: str, timeout: float | None = None) -> None:
        """Wait for a condition; raises `ConnectionClosed` where it cannot hold any more."""
        await self._wait(lambda: self._closed or holds(), what, timeout or self._timeout)
        if self._closed is not None and not holds():
            raise self._closed

    async def _wait(self, holds: Callable[[], object], what: str, timeout: float) -> None:
        async def wait() -> None:
            while not holds():
                self._changed.clear()
                await self._changed.wait()

        try:
            await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            raise AssertionError(f"{what} did not come within {timeout:g} s") from None

    async def _from_app(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self._heard(json.loads(message["text"]))
        elif message["type"] == "websocket.close":
            # Before the accept a server answers HTTP 403.
            self._close_as(message.get("code", 403), message.get("reason", ""))
        elif message["type"] == "websocket.http.response.start":
            self._close_as(message["status"], "")
        self._changed.set()

    def _heard(self, message: Json) -> None:
        if message["type"] == "connection_ack":
            self._acknowledged.set()
        elif message["type"] == "ping":
            self.say(type="pong")
        elif message["type"] == "pong":
            number: int = (message.get("payload") or {}).get("settle", 0)
            if number in self._pongs:
                self._pongs.pop(number).set()
        elif (subscription := self._subscriptions.get(message["id"])) is not None:
            subscription._heard(message)

    def _close_as(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = ConnectionClosed(code, reason)

    def _served(self, task: asyncio.Task[None]) -> None:
        failed = not task.cancelled() and task.exception() is not None
        self._close_as(1011 if failed else 1006, "")
        self._changed.set()


class Subscription:
    """One subscription; iterate over the `data` of its results. Made by `Connection.subscribe`."""

    def __init__(self, connection: Connection, id: str) -> None:
        self.id = id
        self.cursor: str | None = None
        """That of the last message that was taken: pass it as `resume` to go on from there."""
        self._connection = connection
        self._payloads: collections.deque[Json] = collections.deque()
        self._errors: list[Json] | None = None
        self._completed = False

    async def payload(self, timeout: float | None = None) -> Json:
        """Answer the next payload as it came: `data`, and maybe `errors` and `extensions`.

        Raises `SubscriptionRefused`, `SubscriptionEnded` or `ConnectionClosed` where none comes any more, and
        `AssertionError` if none came in time.
        """
        await self._connection._until(self._has_news, f"a result of subscription `{self.id}`", timeout)
        if not self._payloads:
            raise (
                SubscriptionRefused(self._errors) if self._errors is not None else SubscriptionEnded(self.id)
            )
        payload = self._payloads.popleft()
        self.cursor = payload.get("extensions", {}).get("coulis", {}).get("cursor", self.cursor)
        return payload

    async def next(self, timeout: float | None = None) -> Any:
        """Answer the `data` of the next result; raises as `payload` does, and `AssertionError` for errors."""
        payload = await self.payload(timeout)
        if payload.get("errors"):
            raise AssertionError(f"a result with errors came: {payload['errors']}")
        return payload.get("data")

    async def expect(self, *expected: Any, timeout: float | None = None) -> None:
        """Hold the `data` of the next results against these, in order."""
        for number, wanted in enumerate(expected, 1):
            found = await self.next(timeout)
            if found != wanted:
                raise AssertionError(f"result {number} of {len(expected)} is {found}, expected {wanted}")

    async def expect_nothing(self) -> None:
        """Make sure that nothing came, of all that was published until now."""
        await self._connection.settle()
        if self._payloads:
            raise AssertionError(f"nothing was expected, and {self._payloads[0]} came")

    async def expect_refusal(self, code: str | None = None, timeout: float | None = None) -> list[Json]:
        """Wait until the server ends it with an `error`, which has `code` if given; answer the errors."""
        try:
            payload = await self.payload(timeout)
        except SubscriptionRefused as refused:
            if code is not None and code not in refused.codes:
                raise AssertionError(f"the codes are {refused.codes}, expected {code}") from refused
            return refused.errors
        raise AssertionError(f"a refusal was expected, and {payload} came")

    async def complete(self) -> None:
        """Unsubscribe, and wait until the server took it."""
        self._connection.say(type="complete", id=self.id)
        await self._connection.settle()
        self._completed = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.next()
        except SubscriptionEnded:
            raise StopAsyncIteration from None

    def _has_news(self) -> bool:
        return bool(self._payloads) or self._errors is not None or self._completed

    def _heard(self, message: Json) -> None:
        if message["type"] == "next":
            self._payloads.append(message["payload"])
        elif message["type"] == "error":
            self._errors = message["payload"]
        else:
            self._completed = True
