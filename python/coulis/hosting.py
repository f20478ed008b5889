"""What an application decides and runs for one connection: hooks, permissions, queries, generators.

A connection is a WebSocket, or one answer over HTTP. Every operation that Python has a say in has one task
here. Its results wait in the session until the socket has taken them, and the task waits as well: so a slow
client slows its own generators and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict, cast

from coulis._coulis import AuthorizationFailed, CoulisError, SecurityContext
from coulis.deadlines import EXECUTE_SECONDS, HOOK_SECONDS, TimedOut, within
from coulis.errors import UserError, failure, is_for_clients, log_failure
from coulis.execution import run
from coulis.permissions import SubscriptionInfo, check_permissions
from coulis.resolvers import check_generator, check_seconds

if TYPE_CHECKING:
    from coulis._coulis import Operation, Session, Stream
    from coulis.asgi import SubscriptionApp
    from coulis.registry import Declaration
    from coulis.types import Asked, Scope

__all__ = ["Connection", "Host", "Hosting", "HostingOptions"]

Hook = Callable[..., Any]

FAREWELL_MAX = 5.0
"""Seconds that the tasks of a connection that is gone have to end, before the hooks are told without them."""

UNDER_WAY_MAX = 1_024
"""Operations and late hooks of one connection that are under way; who begins more is closed with 1008."""

TIMED_OUT = 4504
"""The close of a connection that was not let in in time; graphql-ws has it for that, and comes back."""

FAILED = (4500, "Internal server error")
"""The close of a connection on which something of the server failed."""

_FORBIDDEN = 4403
_logger = logging.getLogger("coulis.hooks")


@dataclass(eq=False)
class Connection:
    """One client, as hooks and `context=` get it."""

    scope: Scope
    """What ASGI knows of it."""
    payload: dict[str, Any]
    """That of `connection_init`."""
    security: SecurityContext
    """Who it is; another one after it brought a new token."""
    context: Any = None
    """What `context=` made of it."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


class HostingOptions(TypedDict, total=False):
    """The arguments of a `SubscriptionApp` that routers pass on as they are; see there."""

    context: Callable[[Connection], Any] | None
    execute: Callable[..., Any] | None
    permission_classes: Iterable[Any]
    on_connect: Callable[[Connection], Any] | None
    on_subscribe: Callable[[Connection, Operation], Any] | None
    on_complete: Callable[[Connection, Operation], Any] | None
    on_disconnect: Callable[[Connection, int | None], Any] | None
    graphiql: bool
    console: bool | Callable[..., Any]
    hook_timeout: float | None
    execute_timeout: float | None
    csrf_prevention: bool
    cors_credentials: bool
    cors_headers: Iterable[str]


@dataclass(frozen=True)
class Hosting:
    """What an application was told about that; see `SubscriptionApp`."""

    context: Hook | None
    execute: Hook | None
    permissions: tuple[Any, ...]
    on_connect: Hook | None
    on_subscribe: Hook | None
    on_complete: Hook | None
    on_disconnect: Hook | None
    hook_timeout: float | None = HOOK_SECONDS
    execute_timeout: float | None = EXECUTE_SECONDS

    def __post_init__(self) -> None:
        check_seconds("hook_timeout", self.hook_timeout)
        check_seconds("execute_timeout", self.execute_timeout)
        for name in ("context", "execute", "on_connect", "on_subscribe", "on_complete", "on_disconnect"):
            value = getattr(self, name)
            if value is not None and not callable(value):
                raise TypeError(f"`{name}` is a `{type(value).__name__}`: pass a function")

    @property
    def decides(self) -> bool:
        """Whether each subscription has to be asked about."""
        return bool(self.permissions or self.on_subscribe or self.on_complete)

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Answer what a hook answers, and `None` without one. Raises `TimedOut`, and what the hook raises."""
        hook: Hook | None = getattr(self, name)
        if hook is None:
            return None
        return await within(self.hook_timeout, hook(*arguments), f"`{name}`")


class Refused(Exception):
    """A connection may not come in; the close to tell it with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Visit:
    """A client, from the question whether it may come in to its end."""

    def __init__(self, hosting: Hosting, connection: Connection) -> None:
        self.connection = connection
        self.counts = False
        """Whether `on_disconnect` is to be told: `on_connect` may have counted the client."""
        self._hosting = hosting

    async def begin(self) -> dict[str, Any] | None:
        """Ask the hooks about the client; answer what goes with its acknowledgement. Raises `Refused`."""
        try:
            payload = await self._welcome()
            self.connection.context = await self._hosting.ask("context", self.connection)
        except Refused:
            raise
        except Exception as error:
            raise _refused(error) from error
        return payload if isinstance(payload, dict) else None

    async def _welcome(self) -> Any:
        self.counts = True  # from now on: one that is cancelled, or late, did not refuse
        try:
            payload = await self._hosting.ask("on_connect", self.connection)
            if payload is False:
                raise Refused(_FORBIDDEN, "Forbidden")
        except TimedOut:
            raise
        except Exception:
            self.counts = False
            raise
        return payload

    async def end(self, code: int | None = None) -> None:
        """Tell `on_disconnect`, unless `on_connect` refused. What it raises is logged."""
        if self.counts:
            await _told(self._hosting, "on_disconnect", self.connection, code)


async def _told(hosting: Hosting, name: str, *arguments: Any) -> None:
    try:
        await hosting.ask(name, *arguments)
    except Exception as error:
        log_failure(_logger, f"`{name}`", error)


class Host:
    """What becomes of the operations of one connection that Python has a say in."""

    def __init__(
        self, app: SubscriptionApp, session: Session | Stream, do: Callable[[Asked], object]
    ) -> None:
        self.connection: Connection | None = None
        """The client, once it was let in."""
        self._visit: Visit | None = None
        self._app = app
        self._session = session
        self._do = do
        self._tasks: dict[Operation, asyncio.Task[None]] = {}
        self._active: set[Operation] = set()
        self._unsent: deque[asyncio.Future[None]] = deque()
        self._late: set[asyncio.Task[Any]] = set()
        self._undecided: dict[Operation, asyncio.Future[None]] = {}

    async def connect(self, connection: Connection) -> dict[str, Any] | None:
        """Let a client in, and answer the payload of its acknowledgement. Raises `Refused`."""
        self._visit = Visit(self._app.hosting, connection)
        payload = await self._visit.begin()
        if self._app.hosting.context is not None:
            self._session.tell_resolvers(connection.context)
        self.connection = connection
        return payload

    def begin(self, operation: Operation) -> None:
        """Decide on an operation, or run it, in a task of its own."""
        # A client that begins and ends operations faster than the hooks are told of it.
        if len(self._tasks) + len(self._late) >= UNDER_WAY_MAX:
            self._do(self._session.flooded())
            return
        loop = asyncio.get_running_loop()
        self._undecided[operation] = loop.create_future()
        # Who the client is now: another request of the same stream may bring other rights.
        task = loop.create_task(self._serve(operation, self._connected().security))
        self._tasks[operation] = task
        task.add_done_callback(lambda _: self._over(operation))

    async def decided(self) -> None:
        """Wait until everything that was asked for until now was let in or refused."""
        if self._undecided:
            await asyncio.wait(list(self._undecided.values()))

    def end(self, operation: Operation) -> None:
        """Take note that an operation is over, by its client or by the engine."""
        task = self._tasks.get(operation)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if operation in self._active:
            self._active.discard(operation)
            self._tell("on_complete", operation)

    def sent(self) -> None:
        """Take note that the socket has taken what the session handed out."""
        waiting = self._session.waiting() if self._unsent else 0
        while len(self._unsent) > waiting:
            future = self._unsent.popleft()
            if not future.done():
                future.set_result(None)

    async def close(self, code: int | None) -> None:
        """End everything, then tell the hooks. A cancellation meanwhile does not keep them from it."""
        told = self._visit is not None and self._app.hosting.on_disconnect is not None
        if self._tasks or self._late or self._active or told:
            await asyncio.shield(asyncio.get_running_loop().create_task(self._close(code)))

    async def _close(self, code: int | None) -> None:
        tasks = [*self._tasks.values(), *self._late]
        for task in self._tasks.values():
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=FAREWELL_MAX)
            if stuck:
                _logger.error("%d operations of a connection that is gone do not end", len(stuck))
        while self._active:
            await self._told("on_complete", self._active.pop())
        if self._visit is not None:
            await self._visit.end(code)

    async def _serve(self, operation: Operation, security: SecurityContext) -> None:
        session = self._session
        try:
            declaration = await self._admit(operation, security)
            if operation.kind != "subscription":
                self._active.add(operation)
                self._decide(operation)
                await self._execute(operation)
            elif not session.start(operation):
                return
            else:
                self._active.add(operation)
                self._decide(operation)
                if declaration is None or not declaration.generates:
                    return
                # It may end as cancelled by what it awaits, which is no reason for its client to wait on.
                values = self._generate(operation, declaration, security)
                await within(None, values, f"the generator of `{declaration.name}`")
            session.finish(operation)
        except Exception as error:
            self._failed(operation, error)
        finally:
            self._do(None)
        self.end(operation)

    def _over(self, operation: Operation) -> None:
        self._tasks.pop(operation, None)
        self._decide(operation)

    def _decide(self, operation: Operation) -> None:
        if (undecided := self._undecided.pop(operation, None)) is not None:
            undecided.set_result(None)

    async def _admit(self, operation: Operation, security: SecurityContext) -> Declaration | None:
        """Ask the permissions and the hook. Raises what refuses."""
        hosting, field_name = self._app.hosting, operation.root_field
        declaration = self._app.manager.registry.fields.get(field_name) if field_name is not None else None
        if field_name is not None:
            own = declaration.permission_classes if declaration is not None else ()
            info = self._info(operation, field_name, security)
            asked = (*hosting.permissions, *own)
            await check_permissions(asked, info, operation.arguments, hosting.hook_timeout)
        if await hosting.ask("on_subscribe", self.connection, operation) is False:
            raise AuthorizationFailed("not allowed")
        return declaration

    def _info(self, operation: Operation, field_name: str, security: SecurityContext) -> SubscriptionInfo:
        context = self._connected().context
        return SubscriptionInfo(field_name, operation.id, operation.variables, security, context)

    def _connected(self) -> Connection:
        if self.connection is None:  # the protocol lets nobody subscribe before
            raise CoulisError("the connection is not acknowledged")
        return self.connection

    async def _execute(self, operation: Operation) -> None:
        hosting, connection = self._app.hosting, self._connected()
        if hosting.execute is None:
            raise CoulisError("the application runs no queries")
        result = await run(
            hosting.execute,
            operation.query,
            operation.variables,
            operation.operation_name,
            connection if hosting.context is None else connection.context,
            debug=self._app.manager.debug,
            timeout=hosting.execute_timeout,
        )
        if self._session.result(operation, result):
            await self._flushed()

    async def _generate(
        self, operation: Operation, declaration: Declaration, security: SecurityContext
    ) -> None:
        info = self._info(operation, declaration.name, security)
        takes_info = check_generator(declaration.resolver)
        call = cast("Hook", declaration.resolver)
        arguments = [operation.variables, *([info] if takes_info else [])]
        values: AsyncGenerator[Any, None] = call(*arguments)
        try:
            async for value in values:
                if not self._session.send(operation, value):
                    return
                await self._flushed()
        finally:
            await values.aclose()

    async def _flushed(self) -> None:
        """Wait until the socket has taken what was sent."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsent.append(future)
        self._do(None)
        try:
            await future
        finally:
            if future in self._unsent:
                self._unsent.remove(future)

    def _failed(self, operation: Operation, error: Exception) -> None:
        if isinstance(error, TimedOut) or not is_for_clients(error):
            log_failure(_logger, f"{operation.kind} {operation.root_field or ''}".rstrip(), error)
        try:
            self._session.fail(operation, [failure(error, self._app.manager.debug)])
        except Exception as unsendable:  # such as a code that is no text of JSON: its client must not wait
            log_failure(_logger, "sending an error", unsendable)
            self._session.fail(operation, [])

    def _tell(self, name: str, *arguments: Any) -> None:
        if getattr(self._app.hosting, name) is not None:
            self._start_late(self._told(name, *arguments))

    def _start_late(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _told(self, name: str, *arguments: Any) -> None:
        await _told(self._app.hosting, name, self.connection, *arguments)


def _refused(error: Exception) -> Refused:
    if isinstance(error, TimedOut):
        log_failure(_logger, "letting a connection in", error)
        return Refused(TIMED_OUT, str(error))
    if isinstance(error, UserError):
        code = error.code if isinstance(error.code, int) and 4000 <= error.code <= 4999 else _FORBIDDEN
        return Refused(code, str(error))
    if is_for_clients(error):
        return Refused(_FORBIDDEN, str(error) or "Forbidden")
    log_failure(_logger, "letting a connection in", error)
    return Refused(*FAILED)
