"""`SubscriptionManager`: the engine for asyncio programs."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from coulis._coulis import EventBusConfig, SecurityContext, SubscriptionExecutor, SubscriptionNotFound
from coulis.draining import BATCH_CONNECTIONS, DEADLINE_SECONDS, Door, Drained
from coulis.loops import LoopBridge, running_bridge
from coulis.permissions import SubscriptionInfo, check_permissions
from coulis.registry import Declaration, Registry, default_registry
from coulis.schema import to_sdl

if TYPE_CHECKING:
    from typing_extensions import Self

    from coulis.page.timings import Timings
    from coulis.resolvers import Resolver
    from coulis.schema import SchemaSource
    from coulis.types import AccessRules, ChannelRules, Condition, EventData, Identity, Undelivered

__all__ = ["SubscriptionData", "SubscriptionManager"]


@dataclass
class SubscriptionData:
    """One active subscription of a manager."""

    query: str
    operation_name: str | None
    variables: dict[str, Any]
    resolver_fn: Resolver | None
    user_id: Identity
    tenant_id: Identity
    subscription_id: str = ""
    connection_id: str = ""
    _bridge: LoopBridge | None = field(default=None, repr=False)
    _token: int = field(default=0, repr=False)
    _messages: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _ended: bool = field(default=False, repr=False)
    # Taken from the engine for an iteration that may have been left since.
    _taken: deque[bytes] = field(default_factory=deque, repr=False)

    def _end(self) -> None:
        self._ended = True
        if self._bridge is not None:
            self._bridge.forget(self._token)
        self._messages.set()


class SubscriptionManager:
    """Registers subscriptions, publishes events and hands out messages without blocking the event loop.

    Distribution, security and rendering happen in `executor`; the manager keeps what belongs to Python: which
    subscriptions there are, which resolver serves them, and who waits for messages.

    `schema` is a text in the schema definition language, a graphql-core `GraphQLSchema` or a
    `strawberry.Schema`; of an object a `SubscriptionApp` runs queries and mutations too. The other arguments
    are those of `SubscriptionExecutor`.
    """

    def __init__(
        self,
        event_bus_config: EventBusConfig | None = None,
        *,
        schema: SchemaSource | None = None,
        limits: Mapping[str, float] | None = None,
        shards: int | None = None,
        tenancy: str = "permissive",
        owner: str | None = "user_id",
        channels: Mapping[str, ChannelRules] | None = None,
        policies: Mapping[str, Condition] | None = None,
        introspection: bool = True,
        allowed_operations: Iterable[str] | None = None,
        access: AccessRules | None = None,
        rates: Mapping[str, tuple[float, int]] | None = None,
        delivery_rates: Mapping[str, tuple[float, int]] | None = None,
        registry: Registry | None = None,
        debug: bool = False,
        resolver_timeout: float | None = 30.0,
        slow_resolver: float | None = 1.0,
    ) -> None:
        self.event_bus_config = event_bus_config if event_bus_config is not None else EventBusConfig.memory()
        self.registry = registry if registry is not None else default_registry
        self.schema = schema
        self.debug = debug
        self.sdl = to_sdl(schema)
        """The schema that holds now."""
        self.introspection = introspection
        self.timings: Timings | None = None
        """How long `publish_event` takes; measured where somebody may look at it."""
        self.executor = SubscriptionExecutor(
            self.event_bus_config,
            schema=self.sdl,
            limits=limits,
            shards=shards,
            tenancy=tenancy,
            owner=owner,
            channels=channels,
            policies=policies,
            introspection=introspection,
            allowed_operations=allowed_operations,
            access=access,
            rates=rates,
            delivery_rates=delivery_rates,
            declarations=self.registry.fields,
            debug=debug,
            resolver_timeout=resolver_timeout,
            slow_resolver=slow_resolver,
        )
        self.doors: weakref.WeakSet[Door] = weakref.WeakSet()
        """Where clients come in: one of each `SubscriptionApp` that serves this manager."""
        self.subscriptions: dict[str, SubscriptionData] = {}
        # The same by both ids, each to the other: an id of a client may repeat across connections.
        self._by_id: dict[str, dict[str, SubscriptionData]] = {}
        self._by_connection: dict[str, dict[str, SubscriptionData]] = {}

    async def create_subscription(
        self,
        subscription_id: str,
        connection_id: str,
        query: str,
        operation_name: str | None = None,
        variables: dict[str, Any] | None = None,
        resolver_fn: Resolver | None = None,
        user_id: Identity = None,
        tenant_id: Identity = None,
        *,
        channel: str | Iterable[str] | None = None,
        events: str | Iterable[str] | None = None,
        per_subscription: bool = False,
        context: SecurityContext | None = None,
        resume: str | None = None,
        overflow: str | None = None,
        filter: Condition = None,
        policy: Condition = None,
    ) -> None:
        """Register a subscription; it is active when this returns.

        Without `resolver_fn` the resolver declared for the root field serves it, and without that one the
        event's own data, shaped by the selection set. `channel` defaults to the declaration's, then to the
        root field. `filter`, `policy`, `resume` and `overflow` are those of
        `SubscriptionExecutor.register_subscription`.

        Raises `InvalidQuery`, `AuthorizationFailed`, `AlreadyExists`, `LimitExceeded`, `PolicyError`, and
        `TypeError` or `ValueError` for bad arguments.
        """
        permitted = await self._permitted(
            subscription_id, query, operation_name, variables, context or SecurityContext(user_id, tenant_id)
        )
        bridge = running_bridge()
        data = SubscriptionData(
            query,
            operation_name,
            dict(variables or {}),
            resolver_fn,
            user_id,
            tenant_id,
            subscription_id,
            connection_id,
        )
        data._bridge, data._token = bridge, bridge.watch(data._messages.set)
        try:
            self.executor.register_subscription(
                connection_id,
                subscription_id,
                query,
                operation_name,
                variables,
                user_id,
                tenant_id,
                channel=channel,
                events=events,
                resolver=resolver_fn,
                per_subscription=per_subscription,
                context=context,
                resume=resume,
                overflow=overflow,
                wake=(bridge.reader, data._token),
                filter=filter,
                policy=policy,
                permitted=permitted,
            )
        except BaseException:
            bridge.forget(data._token)
            raise
        self._by_id.setdefault(subscription_id, {})[connection_id] = data
        self._by_connection.setdefault(connection_id, {})[subscription_id] = data
        self.subscriptions[self._key(subscription_id, connection_id)] = data

    async def _permitted(
        self,
        subscription_id: str,
        query: str,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        security: SecurityContext,
    ) -> bool:
        """Ask the permissions of the root field's declaration; answer whether there are any."""
        if not any(declared.permission_classes for declared in self.registry.fields.values()):
            return False
        field_name = self.executor.root_field(query, operation_name)
        declared = self.registry.fields.get(field_name)
        if declared is None or not declared.permission_classes or declared.generates:
            return False
        bound, arguments = self.executor.bind(query, operation_name, variables)
        info = SubscriptionInfo(field_name, subscription_id, bound, security)
        await check_permissions(declared.permission_classes, info, arguments)
        return True

    async def publish_event(
        self,
        event_type: str,
        channel: str,
        data: EventData,
        *,
        tenant_id: Identity = None,
        user_id: Identity = None,
        before: EventData | None = None,
        federation_id: Identity = None,
        federation_service: Identity = None,
        event_id: str | None = None,
    ) -> int:
        """Publish and wait until every delivery is readable, those of async resolvers too; answer how many.

        The arguments are those of `SubscriptionExecutor.publish_event`.

        Raises `ValueError` and `TypeError` for data that has no JSON form, `LimitExceeded`, `QueueFull` if
        there is no room for longer than `publish_wait_max`, and `BusError`.
        """
        timings = self.timings
        begun = time.perf_counter() if timings is not None else 0.0
        deliveries = await running_bridge().publish(
            self.executor,
            event_type,
            channel,
            data,
            tenant_id=tenant_id,
            user_id=user_id,
            before=before,
            federation_id=federation_id,
            federation_service=federation_service,
            event_id=event_id,
        )
        if timings is not None:
            timings.add(time.perf_counter() - begun)
        return deliveries

    async def get_next_event(self, subscription_id: str, connection_id: str | None = None) -> bytes | None:
        """Answer the next message at once, or `None` if there is none or no such subscription."""
        with contextlib.suppress(SubscriptionNotFound):
            data = self._find(subscription_id, connection_id)
            if data._taken:
                return data._taken.popleft()
        try:
            return self.executor.next_event(subscription_id, connection_id)
        except SubscriptionNotFound:
            return None

    async def events(
        self, subscription_id: str, connection_id: str | None = None, *, max_events: int = 256
    ) -> AsyncIterator[bytes]:
        """Iterate over the messages of a subscription as they come; ends when the subscription is completed.

        Whoever leaves the iteration and comes back goes on where it was. Use it in the loop that created the
        subscription.

        Raises `SubscriptionNotFound` if there is none.
        """
        data = self._find(subscription_id, connection_id)
        while not data._ended:
            if data._taken:
                yield data._taken.popleft()
                continue
            # Cleared before looking: what comes after the look sets it again.
            data._messages.clear()
            try:
                messages = self.executor.next_events(subscription_id, max_events, data.connection_id)
            except SubscriptionNotFound:
                return
            data._taken.extend(messages)
            if not messages:
                await data._messages.wait()

    async def complete_subscription(self, subscription_id: str, connection_id: str | None = None) -> None:
        """End a subscription and free all it holds; nothing is delivered afterwards. Safe to repeat."""
        try:
            data = self._find(subscription_id, connection_id)
        except SubscriptionNotFound:
            return
        self._complete(data)

    async def connection_closed(self, connection_id: str) -> None:
        """End all subscriptions of a connection."""
        for data in list(self._by_connection.get(connection_id, {}).values()):
            self._complete(data)

    def resolver_for(self, document: str, operation_name: str | None = None) -> Resolver | None:
        """Answer the resolver declared for a document's root field, or `None`. Raises `InvalidQuery`."""
        declaration: Declaration | None = self.registry.fields.get(
            self.executor.root_field(document, operation_name)
        )
        return declaration.resolver if declaration is not None else None

    def health(self) -> dict[str, Any] | None:
        """Answer how the bus is, or `None` where events stay in this process."""
        return self.executor.health()

    def get_metrics(self) -> dict[str, Any]:
        """Answer the engine's counters by name."""
        return self.executor.get_metrics()

    async def reload_schema(self, sdl: SchemaSource | None) -> int:
        """Replace the schema while subscriptions live; see `SubscriptionExecutor.reload_schema`.

        Queries and mutations go on with the object that a `SubscriptionApp` began with.
        """
        text = to_sdl(sdl)
        ended = await asyncio.get_running_loop().run_in_executor(None, self.executor.reload_schema, text)
        self.sdl = text
        return ended

    async def refresh(
        self,
        connection_id: str,
        user_id: Identity = None,
        tenant_id: Identity = None,
        *,
        context: SecurityContext | None = None,
    ) -> int:
        """Have the subscriptions of a connection judged for another context; answer how many end.

        The arguments are those of `SubscriptionExecutor.refresh`. Connections of a `SubscriptionApp` bring
        their new token themselves.
        """
        ended = self.executor.refresh(connection_id, user_id, tenant_id, context=context)
        found = context if context is not None else SecurityContext(user_id, tenant_id)
        for data in self._by_connection.get(connection_id, {}).values():
            data.user_id, data.tenant_id = found.user_id, found.tenant_id
        return ended

    async def drain(
        self, deadline: float = DEADLINE_SECONDS, *, code: int = 1012, batch: int = BATCH_CONNECTIONS
    ) -> Drained:
        """Send away the clients of all apps that serve this manager, as `SubscriptionApp.drain` does."""
        drains = [door.drain(deadline, code=code, batch=batch) for door in self.doors]
        return sum(await asyncio.gather(*drains), Drained())

    @property
    def is_draining(self) -> bool:
        """Whether an app that serves this manager lets nobody in any more."""
        return any(not door.is_open for door in self.doors)

    async def close(self, timeout: float | None = None) -> list[Undelivered]:
        """End all subscriptions and stop the engine; answer as `SubscriptionExecutor.close`. Safe to repeat.

        With `timeout` what was accepted is delivered first, and async resolvers are waited for. Then clients
        of a `SubscriptionApp` are closed with 1001, each after what is readable for it; they are not waited
        for: `drain` before it does that.
        """
        if timeout is None:
            for data in list(self.subscriptions.values()):
                self._complete(data)
        try:
            undelivered = await asyncio.get_running_loop().run_in_executor(None, self.executor.close, timeout)
        finally:  # the engine ends, whoever waits for that
            for door in list(self.doors):
                door.send_away(1001)
        for data in list(self.subscriptions.values()):
            self._complete(data)
        return undelivered

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _complete(self, data: SubscriptionData) -> None:
        _remove(self._by_connection, data.connection_id, data.subscription_id)
        _remove(self._by_id, data.subscription_id, data.connection_id)
        for key in (data.subscription_id, _qualified(data.subscription_id, data.connection_id)):
            if self.subscriptions.get(key) is data:
                del self.subscriptions[key]
        data._end()
        # One that was completed at the executor is unknown there.
        with contextlib.suppress(SubscriptionNotFound):
            self.executor.complete_subscription(data.subscription_id, data.connection_id)

    def _find(self, subscription_id: str, connection_id: str | None) -> SubscriptionData:
        active = self._by_id.get(subscription_id, {})
        if connection_id is not None:
            active = {connection_id: active[connection_id]} if connection_id in active else {}
        if not active:
            raise SubscriptionNotFound(f"`{subscription_id}` is no active subscription")
        if len(active) > 1:
            raise ValueError(
                f"`{subscription_id}` is active on {len(active)} connections: pass connection_id"
            )
        return next(iter(active.values()))

    def _key(self, subscription_id: str, connection_id: str) -> str:
        # Ids are the client's and may repeat across connections; the first one keeps the plain key.
        taken = subscription_id in self.subscriptions
        return _qualified(subscription_id, connection_id) if taken else subscription_id


def _remove(table: dict[str, dict[str, SubscriptionData]], key: str, inner: str) -> None:
    row = table[key]
    del row[inner]
    if not row:
        del table[key]


def _qualified(subscription_id: str, connection_id: str) -> str:
    return f"{connection_id}/{subscription_id}"
