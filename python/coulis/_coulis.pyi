"""The native half of the package `coulis`; import from `coulis`, not from here."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, final

from typing_extensions import Self

from coulis.loaders import Loaders
from coulis.registry import Declaration
from coulis.resolvers import Resolver, Settings
from coulis.types import (
    AccessRules,
    Asked,
    ChannelRules,
    Condition,
    EventData,
    Federation,
    Identity,
    Refusal,
    Undelivered,
)

__all__ = [
    "AlreadyExists",
    "AuthenticationFailed",
    "AuthorizationFailed",
    "BusError",
    "CoulisError",
    "EngineClosed",
    "EventBusConfig",
    "Exchange",
    "InvalidQuery",
    "JWTKey",
    "JobQueue",
    "LimitExceeded",
    "LoopReader",
    "Operation",
    "PendingPublish",
    "PolicyError",
    "PyGraphQLMessage",
    "PySubscriptionPayload",
    "QueueFull",
    "RateLimited",
    "ResolverInfo",
    "ResolverJob",
    "SecurityContext",
    "Session",
    "Stream",
    "SubscriptionExecutor",
    "SubscriptionNotFound",
    "TokenVerifier",
    "__version__",
    "end",
    "evaluate",
    "evaluate_tagged",
    "forked",
    "from_json",
    "to_json",
    "validate",
]

__version__: Final[str]

class CoulisError(RuntimeError):
    """Everything that Coulis itself refuses or fails at."""

class SubscriptionNotFound(CoulisError):
    """No subscription of this id, or it is completed."""

class AlreadyExists(CoulisError):
    """The connection has a subscription of this id already."""

class InvalidQuery(CoulisError):
    """The GraphQL document or its variables are not valid; `errors` lists why, as GraphQL shapes errors."""

    errors: list[dict[str, Any]]

class AuthorizationFailed(CoulisError):
    """The identity may not do this; `code` is a word for what, where a subscription is refused."""

    code: str

class AuthenticationFailed(CoulisError):
    """The identity could not be established; `code` is a word for why, where a `JWTVerifier` says so."""

    code: str

class LimitExceeded(CoulisError):
    """A bound was reached; `limit` names it, `asked` and `max` are in its unit."""

    limit: str
    asked: int
    max: int

class RateLimited(CoulisError):
    """Too often: try again later."""

class PolicyError(CoulisError):
    """A policy or filter that cannot be compiled or applied, or an expression without a value.

    `line` and `column` say where in its text, counted from 1; `None` where that is not known.
    """

    line: int | None
    column: int | None

class BusError(CoulisError):
    """The event bus cannot be used.

    `transient`: trying again may help. `unknown`: the bus may have taken the event all the same; only one
    with an `event_id` may be published again.
    """

    transient: bool
    unknown: bool

class QueueFull(CoulisError):
    """No room for the event now: publish again, or wait for room."""

class EngineClosed(CoulisError):
    """The executor is closed."""

@final
class EventBusConfig:
    """Which event bus an executor uses. Made by `memory()`, `redis(...)` or `postgresql(...)`."""

    @staticmethod
    def memory() -> EventBusConfig:
        """Events stay in this process."""
    @staticmethod
    def redis(
        url: str,
        consumer_group: str,
        *,
        mode: str = "streams",
        start_wait_max: float = 5,
        publish_wait_max: float = 5,
        answer_wait_max: float = 2,
        block_max: float = 2,
        id_age_max: float = 86_400,
        stream_events_max: int = 1_000_000,
        history_events_max: int = 65_536,
        buffer_events_max: int = 65_536,
        buffer_bytes_max: int = 67_108_864,
        batch_events_max: int = 512,
        batch_bytes_max: int = 1_048_576,
        tls_ca: PathLike[str] | str | None = None,
        tls_certificate: PathLike[str] | str | None = None,
        tls_key: PathLike[str] | str | None = None,
    ) -> EventBusConfig:
        """Events travel through Redis; `consumer_group` names the cluster, and its keys begin with it.

        Connects to nothing yet. `mode` is `"streams"`, or `"pubsub"` without a history. Times are in seconds:
        `start_wait_max` is how long an executor that starts waits for the server, `publish_wait_max` how long
        a publish waits to be accepted, `id_age_max` how long an `event_id` is remembered.
        `history_events_max` is what a node reads when it starts, `buffer_events_max` what waits while the
        server is away.

        Raises `ValueError` for settings that can never work.
        """
    @staticmethod
    def postgresql(
        connection_string: str,
        *,
        schema: str = "coulis",
        migrate: bool = True,
        start_wait_max: float = 5,
        publish_wait_max: float = 5,
        answer_max: float = 5,
        poll_every: float = 1,
        maintain_every: float = 60,
        retention: float | None = None,
        history_events_max: int = 16_384,
        buffer_events_max: int = 65_536,
        buffer_bytes_max: int = 67_108_864,
        batch_events_max: int = 512,
        batch_bytes_max: int = 8_388_608,
        tls_ca: PathLike[str] | str | None = None,
        reader_connection_string: str | None = None,
    ) -> EventBusConfig:
        """Events travel through a PostgreSQL outbox table, to which `coulis_publish` publishes, too.

        Connects to nothing yet. `migrate` installs the tables and functions in `schema`. Times are in
        seconds: `retention` is how long events are kept, `poll_every` how often a reader looks that nobody
        woke.
        `reader_connection_string` leads past a pooler.

        Raises `ValueError` for settings that can never work.
        """
    @property
    def bus_type(self) -> str:
        """`"memory"`, `"redis"` or `"postgresql"`."""
    @property
    def config(self) -> dict[str, str]:
        """The settings of the bus by name, credentials included: do not log it."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class SecurityContext:
    """Who a subscription belongs to.

    It comes from the server side only, never from a message of the client.

    `federation` is a dict with `service` and `id`, or the two as a tuple. `claims` has values that have a
    JSON form, with integers of 64 bits. `expires` is when this ends to be true: seconds since 1970, of which
    a fraction is cut off, or a `datetime` with a time zone.

    Raises `TypeError` and `ValueError`, which name the argument.
    """

    def __new__(
        cls,
        user_id: Identity = None,
        tenant_id: Identity = None,
        roles: Iterable[str] | None = None,
        scopes: Iterable[str] | None = None,
        federation: Federation = None,
        claims: dict[str, Any] | None = None,
        *,
        expires: float | datetime | None = None,
    ) -> Self: ...
    @property
    def user_id(self) -> str | None:
        """The user's canonical text, or `None` for nobody."""
    @property
    def tenant_id(self) -> str | None:
        """The tenant's canonical text, or `None` for none."""
    @property
    def roles(self) -> tuple[str, ...]:
        """Names of roles."""
    @property
    def scopes(self) -> tuple[str, ...]:
        """Names of scopes."""
    @property
    def federation(self) -> dict[str, str | None] | None:
        """Where the identity belongs in a federation, `{"service": …, "id": …}`, or `None`."""
    @property
    def claims(self) -> dict[str, Any]:
        """What else is known of the identity: a copy."""
    @property
    def expires(self) -> int | None:
        """The second since 1970 from which on this does not hold, or `None`."""

@final
class JWTKey:
    """A key that verifies tokens, and the one algorithm it is for.

    HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA. `kid` is the name
    that tokens use for the key. Raises `ValueError` for a key that is weak, private, or not one for the
    algorithm.
    """

    @staticmethod
    def hmac(algorithm: str, secret: bytes | str, *, kid: str | None = None) -> JWTKey:
        """A secret that issuer and verifier share.

        It has the bytes of the hash at least: 32, 48 or 64.
        """
    @staticmethod
    def pem(algorithm: str, pem: str | bytes, *, kid: str | None = None) -> JWTKey:
        """A public key in PEM: `PUBLIC KEY` or `RSA PUBLIC KEY`; RSA from 2,048 bits on."""
    @staticmethod
    def jwk(jwk: str | bytes, *, algorithm: str | None = None) -> JWTKey:
        """A key as JWK, in JSON; `algorithm` is for one that names none, and must not contradict."""
    @property
    def algorithm(self) -> str:
        """The one algorithm that the key is for."""
    @property
    def kid(self) -> str | None:
        """The name that tokens use for the key, or `None`."""

@final
class TokenVerifier:
    """Verifies tokens. Use `coulis.JWTVerifier`."""

    def __new__(
        cls,
        keys: str | Sequence[JWTKey],
        *,
        algorithm: str | None,
        issuers: Sequence[str] | None,
        audiences: Sequence[str] | None,
        any_audience: bool,
        leeway: int,
        require: Sequence[str],
        require_expiry: bool,
        types: Sequence[str],
        user_claim: str | None,
        tenant_claim: str | None,
        roles_claim: str | None,
        scopes_claims: Sequence[str],
    ) -> Self: ...
    def verify(self, token: str, now: int) -> SecurityContext:
        """Answer who the bearer is at `now`, in seconds since 1970. Raises `AuthenticationFailed`."""
    def replace_keys(self, keys: str | Sequence[JWTKey], *, algorithm: str | None) -> None:
        """Take other keys in place of all that it had. Raises `ValueError`, and keeps them."""

@final
class PySubscriptionPayload:
    """What a client asks for: a GraphQL document, which of its operations, its variables, and extensions."""

    query: str
    operation_name: str | None
    extensions: dict[str, Any] | None
    def __new__(
        cls,
        query: str,
        operation_name: str | None = None,
        variables: dict[str, Any] | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> Self: ...
    @property
    def variables(self) -> dict[str, Any]:
        """Values of the operation's variables by name; never `None`."""
    @variables.setter
    def variables(self, variables: dict[str, Any] | None, /) -> None: ...

@final
class PyGraphQLMessage:
    """One message of graphql-transport-ws. The payload is whatever the type says: `error` carries a list."""

    @property
    def type_(self) -> str:
        """The message's `type`."""
    @property
    def id(self) -> str | None:
        """The operation's id, for the types that have one."""
    @property
    def payload(self) -> Any:
        """The payload, or `None`."""
    @staticmethod
    def from_dict(data: dict[str, Any]) -> PyGraphQLMessage:
        """Read a message that was decoded from JSON; keys that the protocol does not know are left out."""
    def to_dict(self) -> dict[str, Any]:
        """Answer the message as it goes into JSON; absent parts stay absent."""

@final
class SubscriptionExecutor:
    """Registers subscriptions, publishes events and hands out messages.

    Every method may be called from any thread.

    Close it, or use it as a context manager; one that is dropped closes itself.

    `limits` sets bounds by name, `shards` is how many threads distribute: one less than there are cores
    unless it is given. `tenancy` (`"permissive"` or `"strict"`) and `owner` say who sees what on all
    channels, and `channels` says it for single ones, as in `{"chat": {"owner": None, "tenancy": "strict",
    "policy": "event.open"}}`. `policies` are expressions by root field, which must hold beside those of the
    channels.

    With `introspection=False` documents that ask for the schema are refused (`INTROSPECTION_DISABLED`).
    `allowed_operations` are the only documents that may come, each given as its text or as the SHA-256 of its
    text in hexadecimal digits; others are refused (`OPERATION_NOT_ALLOWED`).

    `rates` bounds how often subscriptions may be registered, so many a second and so many at once, as in
    `{"user": (5, 20), "tenant": (100, 500), "connection": (2, 100)}`; who comes too often gets `RateLimited`.
    `delivery_rates` bounds in the same way how often messages may be delivered, for a `subscription`, too;
    what a rate withholds is told as a gap with the reason `rate`, and counted as `rate_limited`.

    `access` says who may read which field, as in `{"rules": {"users.email": {"roles": ["admin"]}}}`.

    A resolver that takes longer than `resolver_timeout` seconds is given up (`None`: never), one that takes
    longer than `slow_resolver` is told of in the log `coulis.resolvers`. With `debug=True` clients read what
    a resolver raised; without, only that of a `UserError`.

    Raises `ValueError` and `TypeError`, which name the argument, `PolicyError`, `LimitExceeded` and
    `BusError`.
    """

    def __new__(
        cls,
        event_bus: EventBusConfig | None = None,
        *,
        schema: str | None = None,
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
        declarations: Mapping[str, Declaration] | None = None,
        debug: bool = False,
        resolver_timeout: float | None = 30.0,
        slow_resolver: float | None = 1.0,
    ) -> Self: ...
    @property
    def event_bus(self) -> EventBusConfig:
        """The bus it was made with."""
    def register_subscription(
        self,
        connection_id: str,
        subscription_id: str,
        query: str,
        operation_name: str | None = None,
        variables: dict[str, Any] | None = None,
        user_id: Identity = None,
        tenant_id: Identity = None,
        *,
        channel: str | Iterable[str] | None = None,
        events: str | Iterable[str] | None = None,
        resolver: Resolver | None = None,
        per_subscription: bool = False,
        filter: Condition = None,
        policy: Condition = None,
        context: SecurityContext | None = None,
        resume: str | None = None,
        overflow: str | None = None,
        wake: tuple[LoopReader, int] | None = None,
        permitted: bool = False,
    ) -> str:
        """Register a subscription and answer the given id.

        Every publish that starts afterwards is seen by it.

        `channel` is one name or several, or `"*"`; by default it is the root field's name. `events` are the
        event types to take, by default all. Without `resolver` the event's own data is shaped by the
        selection set. A resolver runs once for all subscriptions that get the same result, or once for each
        with `per_subscription=True`. `wake` is a `LoopReader` and a token that it names when messages are
        ready.

        `policy` and `filter` are expressions (CEL) on `event`, `before`, `ctx`, `args` and `vars`, or the
        same as a tree such as `{"eq": ["event.room", "vars.room"]}`; only events that both admit are
        delivered, beside the rules of the channel.

        `permitted`: the `permission_classes` of the declaration were asked, which the executor does not do;
        without that it refuses (`AuthorizationFailed`).

        `resume` is the last cursor that was seen (`extensions.coulis.cursor` of a message), or `""` for the
        present position: the first message then tells whether all that was missed follows. `overflow` says
        what happens when too many messages wait: `"drop_oldest"` (the default), `"drop_newest"`,
        `"disconnect"` or `"latest_per_key(path)"`.

        Raises `InvalidQuery`, `AuthorizationFailed`, `AlreadyExists`, `LimitExceeded`, `PolicyError`,
        `EngineClosed`, and `TypeError` or `ValueError` for bad arguments.
        """
    def reload_policies(
        self,
        *,
        tenancy: str = "permissive",
        owner: str | None = "user_id",
        channels: Mapping[str, ChannelRules] | None = None,
        policies: Mapping[str, Condition] | None = None,
    ) -> int:
        """Replace the row policies of the executor, all of them.

        The arguments are those of its constructor. Live subscriptions are judged by the new ones from the
        next event on; one that cannot be any more ends with the code `POLICY_REFUSED`. Answer how many end.

        Raises `PolicyError` for what does not compile; then the old ones stay.
        """
    def reload_schema(self, sdl: str | None) -> int:
        """Replace the schema, in the schema definition language; `None`: there is none from now on.

        Documents of live subscriptions are held against it: where they mean what they did nothing changes,
        and nothing is lost by that; one that is no longer valid ends with the code `SCHEMA_CHANGED`. Answer
        how many end.

        Raises `ValueError` for what is no schema, or one that the rules of `access` do not fit; then the old
        one stays.
        """
    def refresh(
        self,
        connection_id: str,
        user_id: Identity = None,
        tenant_id: Identity = None,
        *,
        context: SecurityContext | None = None,
    ) -> int:
        """Have the subscriptions of a connection judged for another context, as after a new token.

        What it may not see any more does not come from the next event on, and a subscription that it may not
        have ends. Answer how many end. O(subscriptions).

        Raises `SubscriptionNotFound` if the connection has none.
        """
    def revoke(self, user_id: Identity = None, tenant_id: Identity = None) -> int:
        """End the subscriptions of a user, a tenant, or of a user in a tenant, at once.

        Nothing is delivered to them any more. Answer how many there were. Raises `ValueError` if neither
        is given.
        """
    def explain(
        self,
        subscription_id: str,
        event_type: str,
        channel: str,
        data: EventData,
        *,
        connection_id: str | None = None,
        tenant_id: Identity = None,
        user_id: Identity = None,
        before: EventData | None = None,
        federation_id: Identity = None,
        federation_service: Identity = None,
    ) -> dict[str, Any]:
        """Tell what becomes of an event for a subscription, without publishing it.

        Answer a dict with `step`, the step of its way that decides (`"delivered"`, `"tombstone"`,
        `"policy"`, `"event_type"`, `"channel"`, `"breaker"`, `"rate"`, `"ring"`), `message`, for a policy
        `rule`, `line` and `column` of the clause, for a rate `of` (whose it is), and for a full ring
        `waiting` (frames) and `overflow` (what happens then). No token of a rate is taken.

        The event is given as to `publish_event`. Raises as that does, and `SubscriptionNotFound`.
        """
    def explain_recorded(
        self, subscription_id: str, channel: str, at: str | int, *, connection_id: str | None = None
    ) -> dict[str, Any]:
        """Tell the same of an event that was published and that the log of its channel keeps.

        `at` is the cursor of its result, or its offset. Raises `CoulisError` if the log does not have it
        (`trimmed`, `future`, or a cursor of another channel or log), `ValueError` for a text that is no
        cursor, and `SubscriptionNotFound`.
        """
    def publish_event(
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
        """Publish and wait until every delivery is readable, except those of async resolvers.

        Answer how many.

        `data` is a value, or JSON text as `bytes` or `str`. `tenant_id` and `user_id` outrank fields of the
        same meaning in the data. `before` is the data before the change that the event tells of, in the same
        forms; `federation_service` and `federation_id` say where it belongs in a federation of services. On a
        thread that runs resolvers it does not wait, and answers what is done so far. An event with an
        `event_id` is published once, however often that is asked for, from whichever process.

        With a bus it also waits until the bus has accepted the event, and for up to `publish_wait_max` until
        it came back.

        Raises `ValueError` and `TypeError` for bad data, `LimitExceeded`, `QueueFull` after
        `publish_wait_max`, `BusError` if the bus does not accept the event, and `EngineClosed`.
        """
    def publish_nowait(
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
    ) -> None:
        """Publish without waiting for deliveries. Raises as `publish_event` does, and `QueueFull` at once."""
    def publish_many(
        self,
        events: Iterable[tuple[str, str, EventData] | tuple[str, str, EventData, EventData | None]],
        *,
        tenant_id: Identity = None,
        user_id: Identity = None,
        before: EventData | None = None,
        federation_id: Identity = None,
        federation_service: Identity = None,
    ) -> list[int]:
        """Publish `(event_type, channel, data)` triples, in order, and wait for all.

        Answer each one's deliveries. One with a fourth part, its `before`, has that in place of the
        keyword's.

        Bad data in one publishes nothing; without a bus no room for all publishes nothing, either. With a
        bus some may be taken although `BusError` is raised for others.
        """
    def next_event(self, subscription_id: str, connection_id: str | None = None) -> bytes | None:
        """Answer the next message of a subscription as JSON text, or `None`. Never waits.

        Raises `SubscriptionNotFound` for an unknown or completed subscription, and `ValueError` if several
        connections use the id and none is named.
        """
    def next_events(
        self, subscription_id: str, max_events: int = 256, connection_id: str | None = None
    ) -> list[bytes]:
        """Answer up to `max_events` messages of a subscription, oldest first. Raises as `next_event` does."""
    def complete_subscription(self, subscription_id: str, connection_id: str | None = None) -> None:
        """End a subscription and free all it holds; nothing is delivered afterwards. Safe to repeat."""
    def subscriptions_by_channel(self, channel: str) -> list[str]:
        """Answer the ids of the subscriptions on a channel."""
    def root_field(self, query: str, operation_name: str | None = None) -> str:
        """Answer the root field of a document's operation, by its name in the schema.

        Raises `InvalidQuery`.
        """
    def bind(
        self, query: str, operation_name: str | None = None, variables: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Answer the variables with the document's defaults, and the arguments of the root field.

        Raises `InvalidQuery`.
        """
    def get_metrics(self) -> dict[str, Any]:
        """Answer the engine's counters by name.

        `modules` holds what each mechanism of security decided: `allowed`, `denied` and `error` by its name.
        Isolation, policies and filters count registrations; what they make of events together is `policy`.
        `shards` holds a dict for each shard, in their order: `waiting` (events in its inbox), `published`,
        `delivered` and `subscriptions`.
        """
    def health(self) -> dict[str, Any] | None:
        """Answer how the bus is, by name; `None` where events stay in this process."""
    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or belongs to the process that this one was forked from."""
    def prometheus(self) -> str:
        """Answer the engine's counters in the text format of Prometheus."""
    def close(self, timeout: float | None = None) -> list[Undelivered]:
        """Deliver what was accepted, end all subscriptions and stop the threads. Safe to repeat.

        With `timeout` also async resolvers are waited for, up to so many seconds; then the rest is lost, and
        its readers are told. Answer the events that were not delivered to all.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

@final
class ResolverInfo:
    """What a resolver may know beside the event and the variables."""

    @property
    def event_type(self) -> str:
        """The event's type."""
    @property
    def channel(self) -> str:
        """The event's channel."""
    @property
    def subscription_id(self) -> str:
        """The id of the first of the subscriptions that get this result."""
    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the subscription."""
    @property
    def context(self) -> Any:
        """What `context=` of the application made for the connection; `None` without it.

        A resolver that takes `info` runs for each connection then, not once for all that are equal.
        """
    @property
    def loaders(self) -> Loaders:
        """Loaders that live as long as the batch of events that this one came in."""

@final
class Operation:
    """What a client asked for, once its document keeps every rule."""

    @property
    def id(self) -> str:
        """The id that the client chose."""
    @property
    def kind(self) -> Literal["query", "mutation", "subscription"]:
        """What it does."""
    @property
    def query(self) -> str:
        """The GraphQL document."""
    @property
    def operation_name(self) -> str | None:
        """Which operation of the document, where the client named one."""
    @property
    def root_field(self) -> str | None:
        """The root field of a subscription, by its name in the schema; `None` for others."""
    @property
    def variables(self) -> dict[str, Any]:
        """The variables; those of a subscription with the defaults of the document."""
    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a subscription's root field, with the variables put in."""
    @property
    def extensions(self) -> dict[str, Any]:
        """The request's extensions."""

@final
class ResolverJob:
    """One result to be made by a resolver. A job that is dropped is answered with an error."""

    @property
    def resolver(self) -> Callable[..., Any]:
        """The callable; raises `EngineClosed` once its executor is closed."""
    @property
    def settings(self) -> Settings:
        """What the executor was told about resolvers."""
    @property
    def timeout(self) -> float | None:
        """Seconds that the resolver may take; `None`: as the settings say."""
    def arguments(self, loaders: Loaders | None = None) -> tuple[Any, ...]:
        """Answer what to call the resolver with."""
    def answer(self, result: object) -> None:
        """Answer with the resolver's result; `TypeError` or `ValueError` if it has no JSON form."""
    def fail(self, message: str) -> None:
        """Answer with a message that the client may see."""

@final
class JobQueue:
    """Where the thread of sync resolvers waits for jobs.

    What is left when it ends is answered with an error.
    """

    def enter(self) -> None:
        """Note that the calling thread runs resolvers, before it has waited."""
    def wait(self) -> list[ResolverJob]:
        """Wait for jobs and answer a batch of them; none means that the thread is to end."""

@final
class LoopReader:
    """What one event loop reads from the engine: watch `fileno()`, and call `poll()` when it is readable."""

    def __new__(cls) -> Self: ...
    def fileno(self) -> int:
        """Answer the descriptor to watch; it lives as long as the reader."""
    def poll(self) -> tuple[list[int], list[tuple[asyncio.Future[int], int]], bool]:
        """Answer what happened.

        The tokens of subscribers that have messages, the futures of finished publishes with their deliveries,
        and whether resolver jobs wait.
        """
    def publish(
        self,
        executor: SubscriptionExecutor,
        future: asyncio.Future[int],
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
    ) -> int | PendingPublish | None:
        """Publish, and have `poll` name `future` when everything about the event is done.

        Answer the deliveries if it is done already, `None` if `future` is to be awaited, and a
        `PendingPublish` if the engine has no room now, or follows a bus.
        """
    def take_jobs(self, limit: int) -> list[ResolverJob]:
        """Answer up to `limit` resolver jobs that wait."""
    def close(self) -> None:
        """Take no more jobs; those that wait are answered with an error."""

@final
class PendingPublish:
    """An event that is not published at once: the engine has no room, or it goes to a bus."""

    def publish(self) -> bool:
        """Publish, waiting for room or for the bus; `False` if nothing more comes of it.

        Call it outside the loop's thread, once.
        """

@final
class Session:
    """One connection of graphql-transport-ws, or of the older protocol.

    Feed it what the client sends and what becomes of authentication and timers; after each call write what
    `take` hands out, and close as the call asks. Use it in the thread of its reader's loop.
    """

    def __new__(
        cls,
        executor: SubscriptionExecutor,
        reader: LoopReader,
        token: int,
        *,
        legacy: bool = False,
        decides: bool = False,
        executes: bool = False,
    ) -> Self: ...
    def receive(self, text: str | None, /) -> Asked:
        """Take one message of the client: text, or `None` for a binary one.

        Answer `("authenticate", payload)` when `accept` or `refuse` is due, `("operation", operation)` when
        the host is to decide on one or to run it, `("complete", operation)` when its client has ended such a
        one, and `("close", code, reason)` when the connection must be closed.
        """
    def accept(self, context: SecurityContext, *, payload: dict[str, Any] | None = None) -> Asked:
        """Let the client subscribe as `context`; `payload` comes with the acknowledgement."""
    def tell_resolvers(self, context: object) -> None:
        """Set what resolvers are told of this connection, as `info.context`."""
    def start(self, operation: Operation) -> bool:
        """Let a subscription in; answer whether it is active. If not, its client was told, or has gone."""
    def send(self, operation: Operation, value: object) -> bool:
        """Send one value of a generator, of which the client gets what it selected; `False` if that is over.

        Raises `ValueError` and `TypeError` for what has no JSON form, and `InvalidQuery` if it cannot be
        shaped any more.
        """
    def result(self, operation: Operation, value: object) -> bool:
        """Send the result of a query or mutation, as GraphQL shapes it; `False` if that is over."""
    def fail(self, operation: Operation, errors: list[dict[str, Any]]) -> None:
        """End an operation with errors, as GraphQL shapes them; none tells of an internal error."""
    def finish(self, operation: Operation) -> None:
        """End an operation that has sent all its results."""
    def waiting(self) -> int:
        """Answer how many of the host's results wait to be taken."""
    def flooded(self) -> Asked:
        """Note that the client begins more than the host may have under way."""
    def close_with(self, code: int, reason: str) -> Asked:
        """End the connection for a reason of the host's; `code` is 1008, or 4000 to 4999."""
    def refuse(self, *, failed: bool = False) -> Asked:
        """Tell the client that it may not subscribe, or not go on; `failed`: nobody could tell."""
    def expire(self) -> Asked:
        """Note that who the client is does not hold any more."""
    def init_timed_out(self) -> Asked:
        """Note that the time to wait for `connection_init` is over."""
    def keep_alive(self) -> Asked:
        """Note that the interval of keep-alive is over.

        A ping becomes ready, unless the last was not answered.
        """
    def go_away(self) -> Asked:
        """End the connection for the server: clients come back."""
    def take(self, limit: int) -> list[str]:
        """Answer up to `limit` texts to send, in order.

        Fewer than `limit` mean that nothing more is ready.
        """
    def told(self) -> tuple[int, list[Operation], Asked] | None:
        """Answer what else came since the last call with what was taken, if anything did.

        How many results were lost because the client reads too slowly, those operations of the host that the
        engine has ended, and how to close.
        """
    def close(self) -> None:
        """Note that the connection is gone: end its subscriptions. Later calls do nothing. Safe to repeat."""

def postgres_migrations(schema: str = "coulis") -> str:
    """Answer the SQL that installs what the PostgreSQL bus needs or brings it up to date; safe to repeat."""

@final
class Exchange:
    """One request over HTTP: what it asks for."""

    def __new__(
        cls, executor: SubscriptionExecutor, method: str, query: bytes, headers: list[tuple[bytes, bytes]]
    ) -> Self: ...
    @property
    def asked(
        self,
    ) -> (
        tuple[Literal["answer"], None, None]
        | tuple[Literal["open", "run"], str, None]
        | tuple[Literal["reserve"], str | None, None]
        | tuple[Literal["stop"], str, str]
        | tuple[Literal["refuse"], None, None]
    ):
        """What is asked for: a word, then a token, then the id of an operation."""
    @property
    def body_bytes_max(self) -> int | None:
        """The bytes of body to read at most, or `None` if there is none to read."""
    @property
    def refusal(self) -> Refusal | None:
        """What is wrong with the head."""
    @property
    def content_type(self) -> str:
        """The value of `Content-Type` for an answer that is no stream."""
    def receive(self, body: bytes, /) -> Refusal | None:
        """Take the body, and answer what is wrong with the request."""
    def form(self, trusted: bool) -> tuple[str, Refusal | None]:
        """Answer how to answer the request: `events`, `parts`, `shared`, `json` or `response`.

        Or what is wrong with it. `trusted`: the page that sent it may send what it likes.
        """

@final
class Stream:
    """One answer over HTTP that carries results.

    After each call send what `take` hands out, until `over`. Use it in the thread of its reader's loop.
    """

    @staticmethod
    def open(
        executor: SubscriptionExecutor,
        reader: LoopReader,
        token: int,
        form: str,
        context: SecurityContext,
        *,
        decides: bool = False,
        executes: bool = False,
    ) -> tuple[Stream, None] | tuple[None, Refusal]:
        """Answer a stream in a form of `Exchange.form`, or what is wrong.

        `decides` and `executes` are as for a `Session`.
        """
    @staticmethod
    def refused(executor: SubscriptionExecutor, *, failed: bool = False) -> None:
        """Count that a client was refused; `failed`: nobody could tell whether it may come in."""
    @property
    def content_type(self) -> str:
        """The value of `Content-Type`."""
    @property
    def over(self) -> bool:
        """Whether the answer ends with what was taken."""
    @property
    def status(self) -> int:
        """The status of the answer; known when it is `over`, where it is one result."""
    def receive(
        self, exchange: Exchange, context: SecurityContext
    ) -> tuple[Refusal | None, Operation | None]:
        """Take the operation that `exchange` asks for.

        Answer what is wrong where that is not for the stream to tell, and the operation where the host is to
        decide on it or to run it.
        """
    def stop(self, operation: str) -> Operation | None:
        """Stop an operation, if it is open; answer it if the host has decided on it."""
    def tell_resolvers(self, context: object) -> None:
        """As of a `Session`."""
    def start(self, operation: Operation) -> bool:
        """As of a `Session`."""
    def send(self, operation: Operation, value: object) -> bool:
        """As of a `Session`."""
    def result(self, operation: Operation, value: object) -> bool:
        """As of a `Session`."""
    def fail(self, operation: Operation, errors: object) -> None:
        """As of a `Session`."""
    def finish(self, operation: Operation) -> None:
        """As of a `Session`."""
    def waiting(self) -> int:
        """As of a `Session`."""
    def ended(self) -> list[Operation]:
        """As of a `Session`."""
    def flooded(self) -> None:
        """Note that the client begins more than the host may have under way: end all."""
    def keep_alive(self) -> None:
        """Note that the interval of keep-alive is over."""
    def expire(self) -> None:
        """Note that who the client is does not hold any more: end all."""
    def take(self, limit: int) -> bytes:
        """Answer the bytes of up to `limit` results, after what goes before them."""
    def close(self) -> None:
        """Note that the client is gone, or the answer ended: end the subscriptions.

        Later calls do nothing. Safe to repeat.
        """

def check_policy(argument: str, value: Condition, /) -> None:
    """Raise `PolicyError` for what is no policy."""

def check_overflow(value: str, /) -> None:
    """Raise `ValueError` for a text that is no overflow policy."""

def to_json(value: object, /) -> bytes:
    """Answer a value's JSON text, by the rules that events, variables and results of resolvers follow."""

def from_json(text: str | bytes, /) -> Any:
    """Answer the value of a JSON text; duplicate keys, lone surrogates and deep nesting are `ValueError`."""

def evaluate(expression: str, bindings: dict[str, Any]) -> Any:
    """Answer the value of an expression of the Common Expression Language with these bindings.

    | Python | Common Expression Language |
    |---|---|
    | `None`, `bool`, `float`, `str`, `bytes` | `null_type`, `bool`, `double`, `string`, `bytes` |
    | `int` | `int`; `uint` where it fits that only |
    | `list`, `tuple` | `list` |
    | `dict` with keys of `str`, `int` or `bool` | `map` |
    | `datetime` with a time zone, `timedelta` | `google.protobuf.Timestamp`, `google.protobuf.Duration` |
    | `UUID` | `string` |
    | `SecurityContext` | the `map` that policies see as `ctx` |

    And back: `uint` is `int`, a timestamp is a `datetime` in UTC and what is finer than microseconds is cut
    off, a type is its name.

    Raises `PolicyError` for an expression that cannot be read or has no value, and `ValueError`, `TypeError`
    and `LimitExceeded` (`event_bytes_max`) for bindings that have no form, with the place.
    """

def evaluate_tagged(expression: str, bindings_json: str, known: Sequence[str] = []) -> str:
    """Answer the same with values whose types are kept apart in JSON.

    `{"x": {"int": "1"}}` → `{"uint":"3"}`, or `{"error":"…"}`. The kinds are `int`, `uint`, `double`,
    `string`, `bytes` (Base64), `bool`, `null`, `list`, `map` (a list of `[key, value]`, or an object for
    keys that are strings), `timestamp`, `duration` and `type`. `known` names the bindings that are folded
    first, as at a subscription; the others are read by the bytecode.

    Raises `ValueError` for bindings that are not of this form.
    """

def validate(
    document: str,
    *,
    schema: str | None = None,
    operation_name: str | None = None,
    variables: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Answer what is wrong with a GraphQL document: `[]`, or errors as GraphQL shapes them.

    Without `schema` the rules that need no types are checked. Raises `ValueError` for a `schema` that is
    none.
    """

def end() -> None:
    """Close all executors of the process, and wait for the threads that call Python; called by `atexit`."""

def forked() -> None:
    """Note that this process was forked; called by `os.register_at_fork` in the child."""
