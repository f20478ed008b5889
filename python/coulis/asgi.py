"""`SubscriptionApp`: GraphQL over WebSocket and HTTP for any ASGI server.

How connections are served is in `coulis.websocket` and `coulis.http`; the protocols themselves are state
machines of the engine.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from coulis._coulis import AuthenticationFailed, AuthorizationFailed, SecurityContext
from coulis.deadlines import EXECUTE_SECONDS, HOOK_SECONDS, within
from coulis.draining import BATCH_CONNECTIONS, DEADLINE_SECONDS, Door, Drained, draining
from coulis.hosting import Connection, Hosting
from coulis.http import serve as serve_http
from coulis.operations import MetricsApp
from coulis.origins import Origins
from coulis.page import ConsoleOption, Page
from coulis.permissions import permissions
from coulis.reservations import Reservations
from coulis.schema import execute_of
from coulis.types import Scope
from coulis.websocket import LEGACY_SUBPROTOCOL, SUBPROTOCOL
from coulis.websocket import serve as serve_websocket

if TYPE_CHECKING:
    from coulis._coulis import Operation
    from coulis.manager import SubscriptionManager

__all__ = [
    "LEGACY_SUBPROTOCOL",
    "SUBPROTOCOL",
    "AuthHandler",
    "Authenticator",
    "MetricsApp",
    "SubscriptionApp",
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Identified = SecurityContext | MutableMapping[str, Any] | None | bool


class Authenticator(Protocol):
    """Says who a client is, by more than its payload; a `coulis.JWTVerifier` is one."""

    def authenticate(self, payload: dict[str, Any], scope: Scope, /) -> Identified | Awaitable[Identified]:
        """Answer who the client is, by the payload of `connection_init` and the connection's ASGI scope."""


AuthHandler = (
    Callable[[dict[str, Any]], Identified | Awaitable[Identified]]
    | Callable[[dict[str, Any], Scope], Identified | Awaitable[Identified]]
    | Authenticator
)
"""Called with the payload of `connection_init`, `{}` if there is none; an `Authenticator`, and a function
that needs two arguments, with the ASGI scope too.

Over HTTP there is no such payload: it has the `headers`, by their names in lower case, and `Authorization`
and `authorization` if that is one of them, since that is where clients put it in `connection_init`.

A `SecurityContext`, or a dict of its arguments such as `user_id` and `tenant_id`, lets the client in; `None`,
`False` or an exception does not. A dict with other keys is a `TypeError`."""

_ANONYMOUS = SecurityContext("anonymous")
_CONTEXT_NAMES = ("user_id", "tenant_id", "roles", "scopes", "federation", "claims", "expires")


class SubscriptionApp:
    """An ASGI application that serves GraphQL over WebSocket and HTTP.

    WebSockets speak graphql-transport-ws and, with `legacy_protocol=True`, `graphql-ws` of the library
    subscriptions-transport-ws. Over HTTP it depends on `Accept`: `text/event-stream` is GraphQL over SSE,
    in the distinct and in the single connection mode, and `multipart/mixed;subscriptionSpec=1.0` is what
    Apollo's clients ask for; queries and mutations are answered as "GraphQL over HTTP" has it, with
    `application/graphql-response+json` or `application/json`. Who is not let in gets 401; an answer ends
    when its token does.

    A client brings a new token without a new connection by a ping with the payload
    `{"coulis": {"token": …}}`: `auth_handler` is asked again, with that object, and the pong says
    `{"coulis": {"token": "accepted"}}`; a token that is refused, or is of another user or tenant, closes
    4403. So does one that expires (`SecurityContext.expires`), at that second.

    `init_timeout` is how many seconds a client has for `connection_init`, or for the body of a request;
    `keep_alive` is the seconds between two pings of the server, or `None` for no pings, and
    `stream_keep_alive` is the same for answers over HTTP. Without `auth_handler` every client is the user
    `anonymous`.

    A stream of the single connection mode must be opened within `reservation_timeout` seconds after it was
    reserved; up to `reservations_max` wait for that. They are known to this process only: where there are
    several, all requests of a client must reach the same.

    Browsers let any page open a WebSocket anywhere, and send the user's cookies with it. So a page is let in
    by its `Origin`: that of the server itself or, with `allowed_origins`, one of those, as in
    `["https://example.com"]`; `"*"` among them is any. A client that names no origin is no page of a browser,
    and is let in unless it sends cookies; over HTTP browsers do so for pages of this server and say it
    (`Sec-Fetch-Site`). Others get HTTP 403. Behind a proxy that changes `Host` the server does not know its
    own origin: pass the list.

    Pages of `allowed_origins` may also read answers over HTTP (CORS): preflights are answered, `cors_headers`
    names the headers they may send besides the known ones, and `cors_credentials=True` has browsers send
    cookies along, for origins that are named only. A query by GET is answered where no page can have had a
    browser send it unasked: by a page that may come in, or with a header such as
    `GraphQL-Require-Preflight: 1`; others get 403. `csrf_prevention=False` answers all.

    Where it is the whole application of a server, it drains when that ends, within `drain_deadline` seconds;
    inside another one, `coulis.draining.draining` is for its lifespan.

    `on_connect(connection)` may refuse a client that was authenticated, by answering `False` or by raising a
    `UserError` (its `code` is the close code, 4403 without one); a dict comes with the acknowledgement.
    `context(connection)` is called once after it; resolvers, generators and `execute` get what it answers.
    `on_subscribe(connection, operation)` may refuse in the same ways, with an `error` message.
    `on_complete(connection, operation)` and `on_disconnect(connection, code)` are told of ends, once each;
    what they raise is logged. All may be sync or async. `permission_classes` are asked about every
    subscription, before those of its declaration.

    Queries and mutations go to `execute(query, variables, operation_name, context)`, sync or async, or to the
    schema object that the manager was given; without either they are refused. `context` is that of the
    connection, or the `Connection` itself if there is no `context=`.

    A browser that opens the endpoint gets a page with GraphiQL, of this package's own files; `graphiql=False`
    leaves it out. The page itself tells nothing; the schema is shown to those who may subscribe, and to
    nobody with `introspection=False`. `console=True` adds the live console, which shows the service's inside:
    who is connected, what is counted, and why an event would reach a subscription. It is for all who may
    subscribe and are of no tenant then, since it shows all tenants; `console=function` asks
    `function(connection)` about anybody, sync or async, and only `True` lets in.
    Over HTTP `auth_handler` gets the headers, which the page lets its reader write.

    Over HTTP an answer is such a connection: the hooks are asked about each, and told of its end; in the
    single connection mode that is the stream with all its operations.

    `auth_handler`, `context`, each hook and each permission that is async has `hook_timeout` seconds, and
    `execute` has `execute_timeout`; what is late is cancelled. An operation gets an error with the code
    `TIMEOUT` and its connection goes on; who was to be let in is closed with 4504, over HTTP with 504. Sync
    hooks run in the loop and hold it up as long as they take; a sync `execute` runs on in its thread.
    """

    def __init__(
        self,
        manager: SubscriptionManager,
        *,
        auth_handler: AuthHandler | None = None,
        init_timeout: float = 10.0,
        keep_alive: float | None = None,
        allowed_origins: Iterable[str] | None = None,
        legacy_protocol: bool = False,
        stream_keep_alive: float | None = 12.0,
        reservations_max: int = 1_000,
        reservation_timeout: float = 30.0,
        drain_deadline: float = DEADLINE_SECONDS,
        context: Callable[[Connection], Any] | None = None,
        execute: Callable[..., Any] | None = None,
        permission_classes: Iterable[Any] = (),
        on_connect: Callable[[Connection], Any] | None = None,
        on_subscribe: Callable[[Connection, Operation], Any] | None = None,
        on_complete: Callable[[Connection, Operation], Any] | None = None,
        on_disconnect: Callable[[Connection, int | None], Any] | None = None,
        graphiql: bool = True,
        console: ConsoleOption = False,
        hook_timeout: float | None = HOOK_SECONDS,
        execute_timeout: float | None = EXECUTE_SECONDS,
        csrf_prevention: bool = True,
        cors_credentials: bool = False,
        cors_headers: Iterable[str] = (),
    ) -> None:
        if not init_timeout > 0:
            raise ValueError(f"`init_timeout` is `{init_timeout}`: pass seconds above 0")
        for name, seconds in (("keep_alive", keep_alive), ("stream_keep_alive", stream_keep_alive)):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"`{name}` is `{seconds}`: pass seconds above 0, or None for no pings")
        self.manager = manager
        self.auth_handler = auth_handler
        self.init_timeout = init_timeout
        self.keep_alive = keep_alive
        self.legacy_protocol = legacy_protocol
        self.stream_keep_alive = stream_keep_alive
        self.reservations = Reservations(reservations_max, reservation_timeout)
        self.origins = Origins(allowed_origins, credentials=cors_credentials, headers=cors_headers)
        self.csrf_prevention = csrf_prevention
        self.drain_deadline = drain_deadline
        self.door = Door()
        manager.doors.add(self.door)
        self.hosting = Hosting(
            context,
            execute if execute is not None else execute_of(manager.schema),
            permissions(permission_classes),
            on_connect,
            on_subscribe,
            on_complete,
            on_disconnect,
            hook_timeout,
            execute_timeout,
        )
        if legacy_protocol and self.hosting.decides:
            raise ValueError(
                "`legacy_protocol` goes without `permission_classes`, `on_subscribe` and `on_complete`: "
                "nobody would ask them there"
            )
        self.page = Page(self, graphiql, console)

    @property
    def auth_handler(self) -> AuthHandler | None:
        """What tells who a client is."""
        return self._auth_handler

    @auth_handler.setter
    def auth_handler(self, handler: AuthHandler | None) -> None:
        self._auth_handler, self._takes_scope = handler, _needs_two(handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            await serve_websocket(self, scope, receive, send)
        elif scope["type"] == "http":
            if not await self.page.answers(scope, receive, send):
                await serve_http(self, scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(self, receive, send)

    async def drain(
        self, deadline: float = DEADLINE_SECONDS, *, code: int = 1012, batch: int = BATCH_CONNECTIONS
    ) -> Drained:
        """Send all clients away within `deadline` seconds, and let nobody in from now on.

        Batches of `batch` connections at least, spread over the deadline, are closed with `code`, 1012 or
        1001, each after all that was readable for it was sent. The last message of a subscription has the
        cursor with which its client goes on at another server. Clients that do not read are cut off at the
        deadline. Answer how many left and how many were cut.

        Call it in the loop that serves. Raises `ValueError`.
        """
        return await self.door.drain(deadline, code=code, batch=batch)

    def lets_in(self, scope: Scope) -> bool:
        """Answer whether a client may come from where it says it comes."""
        return self.origins.let_in(scope)

    async def identify(self, payload: dict[str, Any], scope: Scope) -> SecurityContext | None:
        """Answer who a client is, or `None` for nobody who may come in.

        Raises `TimedOut`, and whatever `auth_handler` raises unless that says that the client may not come
        in.
        """
        handler = self.auth_handler
        if handler is None:
            return _ANONYMOUS
        try:
            ask: Any = handler if callable(handler) else handler.authenticate
            found = ask(payload, scope) if self._takes_scope else ask(payload)
            return _context(await within(self.hosting.hook_timeout, found, "`auth_handler`"))
        except (AuthenticationFailed, AuthorizationFailed):
            return None


def _needs_two(handler: AuthHandler | None) -> bool:
    """Answer whether a handler takes the scope."""
    if not callable(handler):
        return True
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # of a builtin
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in kinds and each.default is each.empty for each in parameters) == 2


def _context(found: Any) -> SecurityContext | None:
    if found is None or found is False:
        return None
    if isinstance(found, SecurityContext):
        return found
    if not isinstance(found, MutableMapping):
        raise TypeError(
            f"auth_handler answered a `{type(found).__name__}`: answer a dict or a SecurityContext"
        )
    # One that is misspelt would be left out: a token that never expires, a client of no tenant.
    if unknown := [repr(name) for name in found if name not in _CONTEXT_NAMES]:
        raise TypeError(
            f"auth_handler answered a dict with {', '.join(unknown)}: a context has "
            f"{', '.join(_CONTEXT_NAMES)}; what else you know of the client goes into `claims`"
        )
    return SecurityContext(**{name: value for name, value in found.items() if value is not None})


async def _lifespan(app: SubscriptionApp, receive: Receive, send: Send) -> None:
    await receive()  # lifespan.startup
    async with draining(app, app.drain_deadline):
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
    await send({"type": "lifespan.shutdown.complete"})
