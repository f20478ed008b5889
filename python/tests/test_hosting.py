"""What an application decides and runs: hooks, permissions, queries and mutations, generators, contexts."""

import asyncio
import contextlib
import json
import os
import threading
from typing import ClassVar

import coulis
import pytest
import strawberry
from conftest import COUNT, served, until
from coulis.asgi import SubscriptionApp

QUERY = "subscription { user { id } }"


@pytest.fixture
def open_app(serve, connect):
    """Serve an application with these options, and answer a function that connects to it."""

    async def open_app(manager, **options):
        address = await serve(manager, **options)
        return lambda: connect(address)

    return open_app


def errors_of(message):
    assert message["type"] == "error", message
    return [(error["message"], error["extensions"]["code"]) for error in message["payload"]]


# Hooks


async def test_the_hooks_are_told_of_a_connection_from_its_start_to_its_end(manager, open_app):
    told = []

    def on_connect(connection):
        told.append(("connect", connection.payload, connection.security.user_id))
        return {"hello": connection.id}

    async def on_subscribe(connection, operation):
        told.append(("subscribe", operation.id, operation.kind, operation.root_field, operation.variables))

    def on_complete(connection, operation):
        told.append(("complete", operation.id))

    async def on_disconnect(connection, code):
        told.append(("disconnect", code))

    client = await (
        await open_app(
            manager,
            on_connect=on_connect,
            on_subscribe=on_subscribe,
            on_complete=on_complete,
            on_disconnect=on_disconnect,
        )
    )()
    await client.say(type="connection_init", payload={"a": 1})
    acknowledged = await client.hear()
    assert acknowledged["payload"].keys() == {"hello"}
    assert await client.subscribe("1", "subscription ($a: Int = 5) { user(a: $a) { id } }") == []
    await until(lambda: manager.get_metrics()["subscriptions"] == 1)
    assert await manager.publish_event("t", "user", {"id": 1}) == 1
    assert (await client.hear())["payload"] == {"data": {"user": {"id": 1}}}
    await client.say(type="complete", id="1")
    await client.subscribe("2", QUERY)
    await until(lambda: ("subscribe", "2", "subscription", "user", {}) in told)
    await client.socket.close(4321)
    await until(lambda: told[-1] == ("disconnect", 4321))
    assert told == [
        ("connect", {"a": 1}, "anonymous"),
        ("subscribe", "1", "subscription", "user", {"a": 5}),
        ("complete", "1"),
        ("subscribe", "2", "subscription", "user", {}),
        ("complete", "2"),
        ("disconnect", 4321),
    ]


@pytest.mark.parametrize(
    ("raised", "close"),
    [
        (coulis.UserError("too old", code=4410), (4410, "too old")),
        (coulis.UserError("too old"), (4403, "too old")),
        (coulis.AuthenticationFailed("who?"), (4403, "who?")),
        (ValueError("secret"), (4500, "Internal server error")),
        (None, (4403, "Forbidden")),
    ],
)
async def test_on_connect_refuses_with_a_code(manager, open_app, raised, close, caplog):
    ends = []

    async def on_connect(connection):
        if raised is not None:
            raise raised
        return False

    app = await open_app(manager, on_connect=on_connect, on_disconnect=lambda *told: ends.append(told))
    client = await app()
    await client.say(type="connection_init")
    assert (await client.closed())[:2] == close
    assert ("secret" in caplog.text) == isinstance(raised, ValueError)
    assert ends == []


async def waits(*_):
    await asyncio.Event().wait()


def refuses(connection):
    raise coulis.UserError("not today")


def fails(connection):
    raise ValueError("secret")


@pytest.mark.parametrize(
    "hooks",
    [{"on_connect": waits}, {"context": waits}, {"context": refuses}, {"context": fails}],
    ids=["late on_connect", "late context", "context refuses", "context fails"],
)
async def test_on_disconnect_is_told_once_of_whom_on_connect_did_not_refuse(manager, open_app, hooks):
    """Of those, too, that leave or are refused before they are let in: on_connect may have counted them."""
    came, gone = [], []

    def counted(connection):
        came.append(connection)
        return hooks.get("on_connect", lambda _: None)(connection)

    def on_disconnect(connection, code):
        gone.append(connection)

    connect = await open_app(manager, **{**hooks, "on_connect": counted}, on_disconnect=on_disconnect)
    client = await connect()
    await client.say(type="connection_init")
    await until(lambda: came)
    await client.socket.close()
    await until(lambda: gone)
    await until(lambda: manager.get_metrics()["subscribers"] == 0)
    assert gone == came


async def test_on_disconnect_is_told_of_whom_on_connect_did_not_answer_in_time(manager, open_app):
    told = []
    options = {"hook_timeout": 0.01, "on_disconnect": lambda connection, code: told.append(code)}
    client = await (await open_app(manager, on_connect=waits, **options))()
    await client.say(type="connection_init")
    assert (await client.closed())[0] == 4504
    await until(lambda: told == [4504])


async def test_a_hook_that_is_not_cancelled_holds_its_connection_for_its_time_only(manager, connect):
    asked, go = asyncio.Event(), asyncio.Event()

    async def auth_handler(payload):
        while not go.is_set():
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()

    app = SubscriptionApp(manager, auth_handler=auth_handler, hook_timeout=0.2)
    async with served(app) as address:
        client = await connect(address)
        await client.say(type="connection_init")
        await asked.wait()
        await client.socket.close()
        await until(lambda: len(app.door) == 0)
        go.set()


async def test_on_subscribe_refuses_one_operation(manager, open_app):
    def on_subscribe(connection, operation):
        return operation.id == "2"

    client = await (await open_app(manager, on_subscribe=on_subscribe))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": QUERY})
    assert errors_of(await client.hear()) == [("not allowed", "FORBIDDEN")]
    await client.subscribe("2", QUERY)
    await until(lambda: manager.get_metrics()["subscriptions"] == 1)


async def test_what_a_late_hook_raises_is_logged_and_hurts_nobody(manager, open_app, caplog):
    def fails(*_):
        raise ValueError("broken hook")

    client = await (await open_app(manager, on_complete=fails, on_disconnect=fails))()
    await client.init()
    await client.subscribe("1", QUERY)
    await until(lambda: manager.get_metrics()["subscriptions"])
    await client.say(type="complete", id="1")
    await until(lambda: "broken hook" in caplog.text)
    caplog.clear()
    await client.socket.close()
    await until(lambda: "broken hook" in caplog.text)


async def test_hooks_that_are_under_way_are_bounded(manager, open_app, monkeypatch):
    monkeypatch.setattr("coulis.hosting.UNDER_WAY_MAX", 10)
    go = asyncio.Event()

    async def on_complete(connection, operation):
        await go.wait()

    client = await (await open_app(manager, on_complete=on_complete))()
    await client.init()
    for number in range(10):
        await client.subscribe(str(number), QUERY)
        await until(lambda: manager.get_metrics()["subscriptions"])
        await client.say(type="complete", id=str(number))
        await until(lambda: not manager.get_metrics()["subscriptions"])
    await client.say(type="subscribe", id="more", payload={"query": QUERY})
    assert (await client.closed())[:2] == (1008, "Too many operations under way")
    go.set()


async def test_a_subscription_that_its_client_ends_while_it_is_decided_never_starts(manager, open_app):
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def on_subscribe(connection, operation):
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    client = await (await open_app(manager, on_subscribe=on_subscribe))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": QUERY})
    await asked.wait()
    await client.say(type="complete", id="1")
    await cancelled.wait()
    assert manager.get_metrics()["subscriptions"] == 0


async def test_a_revoked_subscription_is_complete(manager, open_app):
    ends = []
    app = await open_app(manager, on_complete=lambda connection, operation: ends.append(operation.id))
    client = await app()
    await client.init()
    await client.subscribe("1", QUERY)
    await until(lambda: manager.get_metrics()["subscriptions"])
    assert manager.executor.revoke("anonymous") == 1
    assert (await client.hear())["type"] == "error"
    await until(lambda: ends == ["1"])


@pytest.mark.parametrize(
    "option", ["context", "execute", "on_connect", "on_subscribe", "on_complete", "on_disconnect"]
)
def test_a_hook_that_is_none_is_refused(option):
    with coulis.SubscriptionExecutor(), pytest.raises(TypeError, match=f"`{option}` is a `int`"):
        manager = coulis.SubscriptionManager(registry=coulis.Registry())
        try:
            SubscriptionApp(manager, **{option: 1})
        finally:
            manager.executor.close()


# Permissions


class IsClerk(coulis.BasePermission):
    message = "clerks only"

    def has_permission(self, source, info, **kwargs):
        return "clerk" in info.security.roles


class OwnRoom:
    message = "another room"
    code = "ROOM"

    async def has_permission(self, source, info, room):
        return room == info.security.user_id


def authenticate(payload):
    return {"user_id": payload["user"], "roles": payload.get("roles", [])}


async def test_permissions_are_asked_at_subscribe_time(open_app):
    registry, asked = coulis.Registry(), []

    @registry.subscription(permission_classes=[IsClerk, OwnRoom])
    def chat(event, variables):
        asked.append(event)
        return {"chat": event}

    document = "subscription ($room: String) { chat(room: $room) { id } }"
    async with coulis.SubscriptionManager(registry=registry) as manager:
        app = await open_app(manager, auth_handler=authenticate)
        client = await app()
        await client.init({"user": "u", "roles": ["clerk"]})
        await client.say(type="subscribe", id="1", payload={"query": document, "variables": {"room": "x"}})
        assert errors_of(await client.hear()) == [("another room", "ROOM")]
        await client.subscribe("2", document, variables={"room": "u"})
        await until(lambda: manager.get_metrics()["subscriptions"] == 1)
        guest = await app()
        await guest.init({"user": "u"})
        await guest.say(type="subscribe", id="1", payload={"query": document, "variables": {"room": "u"}})
        assert errors_of(await guest.hear()) == [("clerks only", "FORBIDDEN")]
        assert await manager.publish_event("t", "chat", {"id": 1}) == 1
        assert (await client.hear())["payload"] == {"data": {"chat": {"id": 1}}}


async def test_permissions_of_the_application_are_asked_about_every_subscription(manager, open_app):
    client = await (await open_app(manager, permission_classes=[IsClerk], auth_handler=authenticate))()
    await client.init({"user": "u"})
    await client.say(type="subscribe", id="1", payload={"query": QUERY})
    assert errors_of(await client.hear()) == [("clerks only", "FORBIDDEN")]


async def test_nobody_is_asked_about_a_subscription_that_comes_too_early(open_app):
    registry, asked = coulis.Registry(), []
    registry.subscription(name="user")(lambda event, variables: event)

    def on_subscribe(connection, operation):
        asked.append(operation.id)
        raise coulis.UserError("no")

    async with coulis.SubscriptionManager(registry=registry, rates={"connection": (1e-6, 2)}) as manager:
        client = await (await open_app(manager, on_subscribe=on_subscribe))()
        await client.init()
        told = []
        for number, query in enumerate((QUERY, "subscription {", QUERY, "subscription {")):
            await client.say(type="subscribe", id=str(number), payload={"query": query})
            told.append(errors_of(await client.hear())[0][1])
        assert told == ["USER_ERROR", "GRAPHQL_PARSE_FAILED", "RATE_LIMITED", "RATE_LIMITED"]
        assert asked == ["0"]


async def test_the_direct_api_asks_the_permissions_too():
    registry = coulis.Registry()
    registry.subscription(name="user", permission_classes=[IsClerk])(lambda event, variables: event)
    async with coulis.SubscriptionManager(registry=registry) as manager:
        with pytest.raises(coulis.AuthorizationFailed, match="clerks only"):
            await manager.create_subscription("s", "c", QUERY, user_id=1)
        clerk = coulis.SecurityContext(1, roles=["clerk"])
        await manager.create_subscription("s", "c", QUERY, context=clerk)
        # Who does not ask them does not get by.
        with pytest.raises(coulis.AuthorizationFailed, match="permission_classes"):
            manager.executor.register_subscription("c", "t", QUERY, context=clerk)


@pytest.mark.parametrize("given", [IsClerk, [int], [object()], 5])
def test_what_is_no_permission_is_refused(given):
    with pytest.raises(TypeError, match="`permission_classes`"):
        coulis.Registry().subscription(permission_classes=given)


class OfStrawberry(strawberry.permission.BasePermission):
    message = "as Strawberry says it"
    asked: ClassVar = []

    def has_permission(self, source, info, **kwargs):
        self.asked.append((source, info.field_name, info.variables, kwargs))
        return False


async def test_permissions_of_strawberry_are_asked_as_they_are(open_app):
    registry = coulis.Registry()
    registry.subscription("user", permission_classes=[OfStrawberry])(lambda event, variables: event)
    async with coulis.SubscriptionManager(registry=registry) as manager:
        client = await (await open_app(manager))()
        await client.init()
        query = "subscription ($n: Int = 1) { user(n: $n, m: 2) { id } }"
        await client.say(type="subscribe", id="1", payload={"query": query})
        assert errors_of(await client.hear()) == [("as Strawberry says it", "FORBIDDEN")]
        assert OfStrawberry.asked == [(None, "user", {"n": 1}, {"n": 1, "m": 2})]


class Failing(coulis.BasePermission):
    def has_permission(self, source, info, **kwargs):
        raise ValueError("secret")


class Truthy(coulis.BasePermission):
    def has_permission(self, source, info, **kwargs):
        return "yes"


@pytest.mark.parametrize(("permission", "message"), [(Failing, "internal error"), (Truthy, "not allowed")])
async def test_a_permission_that_does_not_say_yes_refuses(manager, open_app, permission, message):
    client = await (await open_app(manager, permission_classes=[permission]))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": QUERY})
    assert errors_of(await client.hear())[0][0] == message
    assert manager.get_metrics()["subscriptions"] == 0


# Contexts


async def test_the_context_is_made_once_for_a_connection_and_reaches_its_resolvers(open_app):
    registry, made = coulis.Registry(), []

    @registry.subscription(channel="user")
    async def user(event, variables, info):
        return {"user": {"id": f"{info.context['name']} {info.variables}"}}

    async def context(connection):
        made.append(connection.security.user_id)
        return {"name": connection.payload["user"]}

    async with coulis.SubscriptionManager(registry=registry) as manager:
        app = await open_app(manager, auth_handler=authenticate, context=context)
        clients = [await app(), await app()]
        for name, client in zip("ab", clients, strict=True):
            await client.init({"user": name})
            await client.subscribe("1", QUERY)
            await client.subscribe("2", "subscription ($n: Int) { user(n: $n) { id } }", variables={"n": 7})
        # Equal documents of two connections do not share a result that knows its connection.
        assert await manager.publish_event("t", "user", {"id": 1}) == 4
        heard = [
            {m["id"]: m["payload"]["data"]["user"]["id"] for m in [await client.hear(), await client.hear()]}
            for client in clients
        ]
        assert heard == [{"1": "a {}", "2": "a {'n': 7}"}, {"1": "b {}", "2": "b {'n': 7}"}]
        assert made == ["a", "b"]


async def test_resolvers_that_take_no_info_are_shared_across_connections(open_app):
    registry, calls = coulis.Registry(), []

    @registry.subscription()
    def user(event, variables):
        calls.append(event)
        return {"user": event}

    async with coulis.SubscriptionManager(registry=registry) as manager:
        app = await open_app(manager, context=lambda connection: object())
        for client in (await app(), await app()):
            await client.init()
            await client.subscribe("1", QUERY)
        assert await manager.publish_event("t", "user", {"id": 1}) == 2
        assert len(calls) == 1


async def test_a_context_that_fails_closes_the_connection(manager, open_app):
    def context(connection):
        raise ValueError("secret")

    client = await (await open_app(manager, context=context))()
    await client.say(type="connection_init")
    assert (await client.closed())[:2] == (4500, "Internal server error")


# Generators


async def test_a_generator_is_run_for_a_subscription_and_shaped_by_its_document(countdown, open_app):
    manager, ends = countdown
    client = await (await open_app(manager))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": COUNT, "variables": {"from": 300}})
    heard = [await client.hear() for _ in range(301)]
    assert [message["type"] for message in heard] == ["next"] * 300 + ["complete"]
    assert heard[0]["payload"] == {"data": {"countdown": {"number": 300, "of": "anonymous"}}}
    assert heard[299]["payload"]["data"]["countdown"]["number"] == 1
    assert ends == ["1"]
    assert manager.get_metrics()["subscriptions"] == 0


async def test_a_generator_is_cancelled_when_its_subscription_ends(open_app):
    registry, ends, started = coulis.Registry(), [], asyncio.Event()

    @registry.subscription()
    async def forever(variables):
        try:
            started.set()
            yield {"forever": 1}
            await asyncio.Event().wait()
        finally:
            ends.append(True)

    async with coulis.SubscriptionManager(registry=registry) as manager:
        client = await (await open_app(manager))()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "subscription { forever }"})
        assert (await client.hear())["payload"] == {"data": {"forever": 1}}
        await client.say(type="complete", id="1")
        await until(lambda: ends == [True])
        await until(lambda: manager.get_metrics()["subscriptions"] == 0)
        # The same by a revocation, and by the end of the connection.
        for end in (lambda: manager.executor.revoke("anonymous"), client.socket.close):
            ends.clear()
            await client.say(type="subscribe", id="2", payload={"query": "subscription { forever }"})
            assert (await client.hear())["payload"] == {"data": {"forever": 1}}
            if asyncio.iscoroutine(ended := end()):
                await ended
            else:
                assert (await client.hear())["type"] == "error"
            await until(lambda: ends == [True])


async def test_a_client_that_does_not_read_stops_its_generator(open_app):
    """It gets no further than what the socket has room for."""
    registry, made, flood_max = coulis.Registry(), [], 1_000

    @registry.subscription()
    async def flood(variables):
        while len(made) < flood_max:  # whatever is broken: no more than 100 MB of memory
            made.append(1)
            yield {"flood": os.urandom(50_000).hex()}  # what compresses well fits the socket's buffers

    async with coulis.SubscriptionManager(registry=registry) as manager:
        client = await (await open_app(manager))()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "subscription { flood }"})

        async def stands_still():
            seen = len(made)
            for _ in range(2_000):
                await asyncio.sleep(0)
            return seen == len(made) > 0

        async with asyncio.timeout(60) if hasattr(asyncio, "timeout") else client.socket:
            while not await stands_still():
                pass
        assert len(made) < flood_max
        client.socket.transport.abort()  # a farewell would have to read all of it first


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (coulis.UserError("sold out", code="SOLD_OUT"), ("sold out", "SOLD_OUT")),
        (ValueError("secret"), ("internal error", "INTERNAL_SERVER_ERROR")),
    ],
)
async def test_a_generator_that_fails_ends_its_subscription_with_an_error(open_app, raised, error, caplog):
    registry = coulis.Registry()

    @registry.subscription()
    async def fails(variables):
        yield {"fails": 1}
        raise raised

    async with coulis.SubscriptionManager(registry=registry) as manager:
        client = await (await open_app(manager))()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "subscription { fails }"})
        assert (await client.hear())["type"] == "next"
        assert errors_of(await client.hear()) == [error]
        assert ("secret" in caplog.text) == isinstance(raised, ValueError)
        assert manager.get_metrics()["subscriptions"] == 0


async def test_a_generator_that_ends_as_cancelled_ends_its_subscription_with_an_error(open_app, caplog):
    registry, ends = coulis.Registry(), []

    @registry.subscription()
    async def shared(variables):
        yield {"shared": 1}
        work = asyncio.get_running_loop().create_future()
        work.cancel()
        await work

    async with coulis.SubscriptionManager(registry=registry) as manager:
        app = await open_app(manager, on_complete=lambda connection, operation: ends.append(operation.id))
        client = await app()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "subscription { shared }"})
        assert (await client.hear())["type"] == "next"
        assert errors_of(await client.hear()) == [("internal error", "INTERNAL_SERVER_ERROR")]
        await until(lambda: ends == ["1"])
        assert manager.get_metrics()["subscriptions"] == 0
        assert "the generator of `shared` was cancelled" in caplog.text


async def test_fields_that_may_not_be_read_stay_hidden_in_what_a_generator_makes(open_app):
    registry = coulis.Registry()

    @registry.subscription()
    async def card(variables):
        yield {"id": 1, "number": "secret"}

    rules = {"rules": {"card.number": {"roles": "admin", "otherwise": "mask"}}}
    async with coulis.SubscriptionManager(registry=registry, access=rules) as manager:
        client = await (await open_app(manager))()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "subscription { card { id number } }"})
        assert (await client.hear())["payload"] == {"data": {"card": {"id": 1, "number": None}}}


async def test_what_a_generator_makes_keeps_the_policy_of_its_field(open_app):
    registry = coulis.Registry()

    @registry.subscription()
    async def cards(variables):
        for number in range(4):
            yield {"id": number}

    policies = {"cards": "event.id % 2 == 0 && 'clerk' in ctx.roles"}
    async with coulis.SubscriptionManager(registry=registry, policies=policies) as manager:
        app = await open_app(manager, auth_handler=authenticate)
        for roles, wanted in ((["clerk"], [0, 2]), ([], [])):
            client = await app()
            await client.init({"user": "u", "roles": roles})
            await client.say(type="subscribe", id="1", payload={"query": "subscription { cards { id } }"})
            for number in wanted:
                assert (await client.hear())["payload"] == {"data": {"cards": {"id": number}}}
            assert (await client.hear())["type"] == "complete"


async def test_what_a_generator_makes_after_a_revoke_is_not_sent(open_app):
    registry, go = coulis.Registry(), asyncio.Event()

    @registry.subscription()
    async def forever(variables):
        yield {"forever": 1}
        await go.wait()
        yield {"forever": 2}

    async with coulis.SubscriptionManager(registry=registry) as manager:
        client = await (await open_app(manager))()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "subscription { forever }"})
        assert (await client.hear())["payload"] == {"data": {"forever": 1}}
        go.set()
        assert manager.executor.revoke("anonymous") == 1
        assert errors_of(await client.hear())[0][1] == "REVOKED"


async def test_generators_count_as_subscriptions(open_app):
    registry = coulis.Registry()

    @registry.subscription()
    async def forever(variables):
        yield {"forever": 1}
        await asyncio.Event().wait()

    limits = {"subscriptions_per_user_max": 1}
    async with coulis.SubscriptionManager(registry=registry, limits=limits) as manager:
        client = await (await open_app(manager))()
        await client.init()
        payload = {"query": "subscription { forever }"}
        await client.say(type="subscribe", id="1", payload=payload)
        assert (await client.hear())["type"] == "next"
        await client.say(type="subscribe", id="2", payload=payload)
        assert errors_of(await client.hear())[0][1] == "LIMIT_EXCEEDED"


async def test_a_generator_is_not_for_the_direct_api(countdown):
    manager, _ = countdown
    with pytest.raises(coulis.AuthorizationFailed, match="is an async generator"):
        await manager.create_subscription("s", "c", COUNT, variables={"from": 1})


async def wants_an_event(event, variables):
    yield 1


async def wants_much(variables, info, more):
    yield 1


def test_a_generator_that_cannot_be_called_is_refused():
    for generator in (wants_an_event, wants_much):
        with pytest.raises(TypeError, match=r"must take \(variables\)"):
            coulis.Registry().subscription()(generator)
    with pytest.raises(ValueError, match="`channel` is about events"):

        @coulis.Registry().subscription(channel="c")
        async def fine(variables):
            yield 1


# Queries and mutations


async def test_queries_and_mutations_go_to_execute(manager, open_app):
    asked = []

    async def execute(query, variables, operation_name, context):
        asked.append((query, variables, operation_name, context.security.user_id))
        return {"data": {"hello": variables["name"]}}

    client = await (await open_app(manager, execute=execute))()
    await client.init()
    query = "query Q ($name: String) { hello(name: $name) }"
    payload = {"query": query, "variables": {"name": "é"}, "operationName": "Q"}
    await client.say(type="subscribe", id="1", payload=payload)
    assert await client.hear() == {"type": "next", "id": "1", "payload": {"data": {"hello": "é"}}}
    assert await client.hear() == {"type": "complete", "id": "1"}
    assert asked == [(query, {"name": "é"}, "Q", "anonymous")]
    await client.say(
        type="subscribe", id="1", payload={**payload, "query": query.replace("query", "mutation")}
    )
    assert [(await client.hear())["type"] for _ in range(2)] == ["next", "complete"]


async def test_a_sync_execute_does_not_hold_up_the_loop(manager, open_app):
    threads = []

    def execute(query, variables, operation_name, context):
        threads.append(threading.current_thread())
        return {"data": {"a": 1}, "errors": [{"message": "my own words"}]}

    client = await (await open_app(manager, execute=execute, context=lambda connection: "context"))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": "{ a }"})
    assert (await client.hear())["payload"] == {"data": {"a": 1}, "errors": [{"message": "my own words"}]}
    assert threads[0] is not threading.main_thread()


async def test_without_execute_queries_are_refused(manager, open_app):
    client = await (await open_app(manager))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": "{ a }"})
    assert errors_of(await client.hear()) == [
        ("the operation must be a subscription", "OPERATION_RESOLUTION_FAILURE")
    ]


async def test_bounds_and_allowed_operations_hold_for_queries(open_app):
    limits = {"query_depth_max": 3, "subscriptions_per_subscriber_max": 1}
    manager = coulis.SubscriptionManager(
        registry=coulis.Registry(),
        limits=limits,
        introspection=False,
        allowed_operations=["{ a }", "{ a { a { a { a } } } }", "{ __schema { types { name } } }"],
    )
    called = []

    async def execute(*_):
        called.append(1)
        await asyncio.Event().wait()

    async with manager:
        client = await (await open_app(manager, execute=execute))()
        await client.init()
        for query, code in [
            ("{ b }", "OPERATION_NOT_ALLOWED"),
            ("{ a { a { a { a } } } }", "LIMIT_EXCEEDED"),
            ("{ __schema { types { name } } }", "INTROSPECTION_DISABLED"),
        ]:
            await client.say(type="subscribe", id="1", payload={"query": query})
            assert errors_of(await client.hear())[0][1] == code
        assert called == []
        await client.say(type="subscribe", id="1", payload={"query": "{ a }"})
        await until(lambda: called)
        await client.say(type="subscribe", id="2", payload={"query": "{ a }"})
        assert errors_of(await client.hear())[0][1] == "LIMIT_EXCEEDED"


async def test_a_query_is_cancelled_by_complete(manager, open_app):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def execute(*_):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    client = await (await open_app(manager, execute=execute))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": "{ a }"})
    await started.wait()
    await client.say(type="complete", id="1")
    await cancelled.wait()


@pytest.mark.parametrize("answer", [ValueError("secret"), 5, {"data": object()}])
async def test_an_execute_that_fails_is_an_internal_error(manager, open_app, answer, caplog):
    def execute(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = await (await open_app(manager, execute=execute))()
    await client.init()
    await client.say(type="subscribe", id="1", payload={"query": "{ a }"})
    heard = json.dumps(await client.hear())
    assert "internal error" in heard and "secret" not in heard
    assert any(record.exc_info for record in caplog.records)


async def test_debug_tells_clients_what_was_raised(open_app):
    async def execute(*_):
        raise ValueError("the reason")

    async with coulis.SubscriptionManager(registry=coulis.Registry(), debug=True) as manager:
        client = await (await open_app(manager, execute=execute))()
        await client.init()
        await client.say(type="subscribe", id="1", payload={"query": "{ a }"})
        payload = (await client.hear())["payload"]
        error = {"message": "the reason", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
        assert payload == {"errors": [error]}
