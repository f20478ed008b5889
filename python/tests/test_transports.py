"""What an application decides and runs is the same over each transport: hooks, permissions, generators."""

import asyncio

import coulis
import pytest
from conftest import COUNT, until
from speaking import TRANSPORTS

QUERY = "subscription { user { id } }"


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture
def subscribe(transport, serve):
    """Serve an application with these options, and answer what subscribes to it."""

    async def subscribe(manager, **options):
        address = await serve(manager, **options)
        return lambda *asked, **rest: TRANSPORTS[transport](address, *asked, **rest)

    return subscribe


def active(manager):
    return manager.get_metrics()["subscriptions"]


def authenticate(payload):
    return {"user_id": payload["authorization"], "roles": [payload["authorization"]]}


class IsClerk(coulis.BasePermission):
    message = "clerks only"

    async def has_permission(self, source, info, **kwargs):
        return "clerk" in info.security.roles and kwargs.get("room") != "closed"


# Hooks


async def test_the_hooks_are_told_from_the_start_to_the_end(manager, subscribe):
    told = []
    subscribed = await subscribe(
        manager,
        on_connect=lambda connection: told.append(("connect", connection.security.user_id)),
        on_subscribe=lambda connection, operation: told.append(
            ("subscribe", operation.kind, operation.root_field, operation.variables)
        ),
        on_complete=lambda connection, operation: told.append(("complete", operation.id)),
        on_disconnect=lambda connection, code: told.append(("disconnect",)),
    )
    async with subscribed("subscription ($a: Int = 5) { user(a: $a) { id } }") as answers:
        await until(lambda: active(manager) == 1)
        assert await manager.publish_event("t", "user", {"id": 1}) == 1
        assert await anext(answers) == ("next", {"data": {"user": {"id": 1}}})
    await until(lambda: told[-1] == ("disconnect",))
    assert told == [
        ("connect", "anonymous"),
        ("subscribe", "subscription", "user", {"a": 5}),
        ("complete", "1"),
        ("disconnect",),
    ]
    assert active(manager) == 0


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (coulis.UserError("later", code="BUSY"), ("later", "BUSY")),
        (coulis.UserError("later"), ("later", "USER_ERROR")),
        (coulis.AuthorizationFailed("no"), ("no", "FORBIDDEN")),
        (ValueError("secret"), ("internal error", "INTERNAL_SERVER_ERROR")),
        (None, ("not allowed", "FORBIDDEN")),
    ],
)
async def test_on_subscribe_refuses(manager, subscribe, raised, error):
    completed = []

    async def on_subscribe(connection, operation):
        if raised is not None:
            raise raised
        return False

    options = {"on_subscribe": on_subscribe, "on_complete": lambda *told: completed.append(told)}
    async with (await subscribe(manager, **options))(QUERY) as answers:
        assert await anext(answers) == ("errors", [error])
    assert (active(manager), completed) == (0, [])


async def test_an_end_while_it_is_decided_is_an_end(manager, subscribe):
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def on_subscribe(connection, operation):
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with (await subscribe(manager, on_subscribe=on_subscribe))(QUERY):
        await asked.wait()
    await cancelled.wait()
    assert active(manager) == 0


async def test_a_revoked_subscription_is_complete(manager, subscribe):
    ends = []
    subscribed = await subscribe(manager, on_complete=lambda connection, operation: ends.append(operation.id))
    async with subscribed(QUERY) as answers:
        await until(lambda: active(manager))
        assert manager.executor.revoke("anonymous") == 1
        kind, [(_, code)] = await anext(answers)
        assert (kind, code) == ("errors", "REVOKED")
        await until(lambda: ends == ["1"])


# Permissions


@pytest.mark.parametrize("of_the_application", [False, True])
async def test_permissions_are_asked(subscribe, of_the_application):
    registry = coulis.Registry()
    own, everywhere = ([], [IsClerk]) if of_the_application else ([IsClerk], [])
    registry.subscription("chat", permission_classes=own)(lambda event, variables: {"chat": event})
    query = "subscription ($room: String) { chat(room: $room) { id } }"
    async with coulis.SubscriptionManager(registry=registry) as manager:
        subscribed = await subscribe(manager, auth_handler=authenticate, permission_classes=everywhere)
        for who, room in [("guest", "open"), ("clerk", "closed")]:
            async with subscribed(query, {"room": room}, authorization=who) as answers:
                assert await anext(answers) == ("errors", [("clerks only", "FORBIDDEN")])
        async with subscribed(query, {"room": "open"}, authorization="clerk") as answers:
            await until(lambda: active(manager) == 1)
            assert await manager.publish_event("t", "chat", {"id": 1}) == 1
            assert await anext(answers) == ("next", {"data": {"chat": {"id": 1}}})


# Contexts


async def test_the_context_reaches_resolvers(subscribe):
    registry = coulis.Registry()

    @registry.subscription(channel="user")
    async def user(event, variables, info):
        return {"user": {"id": info.context["name"]}}

    async def context(connection):
        return {"name": f"{connection.payload['authorization']}!"}

    async with coulis.SubscriptionManager(registry=registry) as manager:
        subscribed = await subscribe(manager, auth_handler=authenticate, context=context)
        async with subscribed(QUERY, authorization="me") as answers:
            await until(lambda: active(manager))
            await manager.publish_event("t", "user", {"id": 1})
            assert await anext(answers) == ("next", {"data": {"user": {"id": "me!"}}})


# Generators


async def test_a_generator_is_run_and_shaped(countdown, subscribe):
    manager, ends = countdown
    subscribed = await subscribe(manager, auth_handler=authenticate)
    async with subscribed(COUNT, {"from": 300}, authorization="me") as answers:
        for number in range(300, 0, -1):
            expected = {"data": {"countdown": {"number": number, "of": "me"}}}
            assert await anext(answers) == ("next", expected)
        assert await anext(answers) == ("complete", None)
    await until(lambda: ends == ["1"] and active(manager) == 0)


async def test_a_generator_ends_with_its_client(subscribe):
    registry, ends = coulis.Registry(), []

    @registry.subscription()
    async def forever(variables):
        try:
            yield {"forever": 1}
            await asyncio.Event().wait()
        finally:
            ends.append(True)

    async with coulis.SubscriptionManager(registry=registry) as manager:
        async with (await subscribe(manager))("subscription { forever }") as answers:
            assert await anext(answers) == ("next", {"data": {"forever": 1}})
        await until(lambda: ends == [True] and active(manager) == 0)


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (coulis.UserError("sold out", code="SOLD_OUT"), ("sold out", "SOLD_OUT")),
        (ValueError("secret"), ("internal error", "INTERNAL_SERVER_ERROR")),
    ],
)
async def test_a_generator_that_fails_ends_with_an_error(subscribe, raised, error):
    registry = coulis.Registry()

    @registry.subscription()
    async def fails(variables):
        yield {"fails": 1}
        raise raised

    async with coulis.SubscriptionManager(registry=registry) as manager:
        subscribed = await subscribe(manager)
        async with subscribed("subscription { fails }") as answers:
            assert (await anext(answers))[0] == "next"
            assert await anext(answers) == ("errors", [error])


# Queries


@pytest.mark.parametrize("operation", ["query", "mutation"])
async def test_queries_and_mutations_are_run(manager, subscribe, transport, operation):
    asked = []

    async def execute(query, variables, operation_name, context):
        asked.append((variables, context.security.user_id))
        return {"data": {"hello": "é"}}

    subscribed = await subscribe(manager, execute=execute)
    async with subscribed(f"{operation} ($n: String) {{ hello(n: $n) }}", {"n": "x"}) as answers:
        assert await anext(answers) == ("next", {"data": {"hello": "é"}})
        assert await anext(answers) == ("complete", None)
    assert asked == [({"n": "x"}, "anonymous")]


# Deadlines


async def waits(*arguments):
    await asyncio.Event().wait()


class Waits(coulis.BasePermission):
    async def has_permission(self, source, info, **kwargs):
        await waits()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"on_subscribe": waits}, "`on_subscribe`"),
        ({"permission_classes": [Waits]}, "the permission `Waits`"),
    ],
)
async def test_a_decision_that_is_late_refuses_the_operation(manager, subscribe, options, what):
    async with (await subscribe(manager, hook_timeout=0.01, **options))(QUERY) as answers:
        message = f"{what} did not answer within 0.01 seconds"
        assert await anext(answers) == ("errors", [(message, "TIMEOUT")])
    assert active(manager) == 0


async def test_a_query_that_is_late_fails(manager, subscribe):
    async with (await subscribe(manager, execute=waits, execute_timeout=0.01))("{ a }") as answers:
        message = "the operation did not answer within 0.01 seconds"
        assert await anext(answers) == ("errors", [(message, "TIMEOUT")])
