"""What changes while connections live: tokens, contexts, schemas; and how an executor ends within a time."""

import asyncio
import json
import threading
import time
import types

import coulis
import coulis.asgi
import pytest
from conftest import served, until
from coulis.asgi import SubscriptionApp

QUERY = "subscription { orders { id } }"
OLD = "type Query { q: Int } type Subscription { orders: Order } type Order { id: Int status: String }"
NEW = "type Query { q: Int } type Subscription { orders: Order } type Order { id: Int note: String }"
ACCEPTED = {"type": "pong", "payload": {"coulis": {"token": "accepted"}}}


def payloads(executor, id="s", connection=None):
    return [json.loads(message)["payload"] for message in executor.next_events(id, 1000, connection)]


def orders(executor, id="s", connection=None):
    return [payload["data"]["orders"]["id"] for payload in payloads(executor, id, connection)]


def by_token(**tokens):
    """Let each token in as the context of its name, after a turn of the loop."""

    async def handler(payload):
        await asyncio.sleep(0)
        return tokens.get(payload["token"])

    return handler


async def renew(client, token):
    await client.say(type="ping", payload={"coulis": {"token": token}})


async def test_a_new_token_changes_what_its_subscriptions_get(connect):
    policies = {"orders": "event.level in ctx.roles"}
    async with coulis.SubscriptionManager(policies=policies, registry=coulis.Registry()) as manager:
        handler = by_token(a={"user_id": 1, "roles": ["low"]}, b={"user_id": "1", "roles": ["high"]})
        async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
            client = await connect(address)
            await client.init({"token": "a"})
            assert await client.subscribe("s", QUERY) == []
            await manager.publish_event("changed", "orders", {"id": 1, "level": "low"})
            await manager.publish_event("changed", "orders", {"id": 2, "level": "high"})
            await renew(client, "b")
            heard = [await client.hear(), await client.hear()]
            assert ACCEPTED in heard
            (result,) = (message for message in heard if message != ACCEPTED)
            assert result["payload"]["data"]["orders"]["id"] == 1
            await manager.publish_event("changed", "orders", {"id": 3, "level": "low"})
            await manager.publish_event("changed", "orders", {"id": 4, "level": "high"})
            assert (await client.hear())["payload"]["data"]["orders"]["id"] == 4
            # What is subscribed to from now on is the new one's, too.
            assert await client.subscribe("t", QUERY) == []
            await manager.publish_event("changed", "orders", {"id": 5, "level": "high"})
            ids = {(await client.hear())["id"], (await client.hear())["id"]}
            assert ids == {"s", "t"}
        decided = manager.get_metrics()["modules"]["authentication"]
        assert decided == {"allowed": 2, "denied": 0, "error": 0}


@pytest.mark.parametrize(
    "other", [{"user_id": 2, "tenant_id": "t"}, {"user_id": 1, "tenant_id": "u"}, {"user_id": 1}]
)
async def test_a_new_token_of_another_user_or_tenant_closes(manager, connect, other):
    handler = by_token(a={"user_id": 1, "tenant_id": "t"}, b=other)
    async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
        client = await connect(address)
        await client.init({"token": "a"})
        assert await client.subscribe("s", QUERY) == []
        await renew(client, "b")
        assert await client.closed() == (4403, "The token is of another user or tenant", [])
    assert manager.get_metrics()["modules"]["authentication"] == {"allowed": 1, "denied": 1, "error": 0}


async def test_a_new_token_that_is_refused_closes(manager, connect):
    async with served(SubscriptionApp(manager, auth_handler=by_token(a={"user_id": 1}))) as address:
        client = await connect(address)
        await client.init({"token": "a"})
        assert await client.subscribe("s", QUERY) == []
        await renew(client, "b")
        assert await client.closed() == (4403, "Forbidden", [])
        # Malformed: the handler fails, and nobody can tell.
        client = await connect(address)
        await client.init({"token": "a"})
        await renew(client, ["a"])
        assert await client.closed() == (4403, "Forbidden", [])
        # Too early.
        client = await connect(address)
        await renew(client, "a")
        assert (await client.closed())[0] == 4401
    await until(lambda: not manager.get_metrics()["subscribers"])
    assert manager.get_metrics()["modules"]["authentication"] == {"allowed": 2, "denied": 1, "error": 1}


async def test_a_subscription_that_the_new_token_may_not_have_ends_alone(connect):
    access = {"rules": {"orders.secret": {"roles": ["admin"]}}}
    async with coulis.SubscriptionManager(access=access, registry=coulis.Registry()) as manager:
        handler = by_token(a={"user_id": 1, "roles": ["admin"]}, b={"user_id": 1})
        async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
            client = await connect(address)
            await client.init({"token": "a"})
            assert await client.subscribe("open", QUERY) == []
            assert await client.subscribe("secret", "subscription { orders { secret } }") == []
            await renew(client, "b")
            heard = [await client.hear(), await client.hear()]
            assert ACCEPTED in heard
            ended = next(message for message in heard if message != ACCEPTED)
            assert (ended["type"], ended["id"]) == ("error", "secret")
            assert ended["payload"][0]["extensions"]["code"] == "FORBIDDEN_FIELD"
            await manager.publish_event("changed", "orders", {"id": 1, "secret": 2})
            assert (await client.hear())["id"] == "open"


async def test_an_idle_connection_closes_when_its_token_expires(manager, connect, monkeypatch):
    ahead, expires = [0.0], int(time.time()) + 3600
    clock = types.SimpleNamespace(time=lambda: time.time() + ahead[0])
    monkeypatch.setattr(coulis.deadlines, "time", clock)
    monkeypatch.setattr(coulis.deadlines, "_WAIT_MAX", 0.01)
    handler = by_token(
        short={"user_id": 1, "expires": expires}, long={"user_id": 1, "expires": expires + 3600}
    )
    async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
        idle, renewed, endless = [await connect(address) for _ in range(3)]
        await idle.init({"token": "short"})
        await renewed.init({"token": "short"})
        await endless.init({"token": "long"})
        await renew(renewed, "long")
        assert await renewed.hear() == ACCEPTED
        for client in (idle, renewed, endless):
            assert await client.subscribe("s", QUERY) == []
        ahead[0] = 3601.0
        assert await idle.closed() == (4403, "Token expired", [])
        for client in (renewed, endless):
            assert await client.subscribe("t", QUERY) == []


async def test_a_token_that_has_expired_is_closed_at_once(manager, connect):
    handler = by_token(a={"user_id": 1, "expires": int(time.time()) - 1})
    async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
        client = await connect(address)
        await client.say(type="connection_init", payload={"token": "a"})
        code, reason, _ = await client.closed()
        assert (code, reason) == (4403, "Token expired")


async def test_connections_of_a_user_are_bounded(connect):
    limits = {"subscribers_per_user_max": 1}
    async with coulis.SubscriptionManager(limits=limits, registry=coulis.Registry()) as manager:
        handler = by_token(a={"user_id": 1}, b={"user_id": 2})
        async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
            first, other = await connect(address), await connect(address)
            await first.init({"token": "a"})
            await other.init({"token": "b"})
            second = await connect(address)
            await second.say(type="connection_init", payload={"token": "a"})
            code, reason, _ = await second.closed()
            assert code == 4403
            assert "subscribers_per_user_max" in reason
            # A new token takes no place of its own, and who goes gives its place back.
            await renew(first, "a")
            assert await first.hear() == ACCEPTED
            await first.socket.close()
            await until(lambda: manager.get_metrics()["subscribers"] == 1)
            again = await connect(address)
            await again.init({"token": "a"})


def test_refresh_is_about_one_connection(executor):
    executor.register_subscription("c", "s", QUERY, user_id=1)
    executor.register_subscription("d", "s", QUERY, user_id=1)
    assert executor.refresh("c", context=coulis.SecurityContext(2)) == 0
    for id, user in [(1, 1), (2, 2)]:
        executor.publish_event("changed", "orders", {"id": id}, user_id=user)
    assert (orders(executor, "s", "c"), orders(executor, "s", "d")) == ([2], [1])
    assert executor.refresh("c", 1) == 0
    executor.publish_event("changed", "orders", {"id": 3}, user_id=1)
    assert orders(executor, "s", "c") == [3]
    with pytest.raises(coulis.SubscriptionNotFound, match="`e` has no active subscription"):
        executor.refresh("e", 1)
    with pytest.raises(ValueError, match="`context` comes with"):
        executor.refresh("c", 1, context=coulis.SecurityContext(2))


async def test_a_manager_refreshes_and_reloads_too(manager):
    await manager.create_subscription("s", "c", QUERY, user_id=1)
    assert await manager.refresh("c", 2) == 0
    assert manager.subscriptions["s"].user_id == "2"
    await manager.publish_event("changed", "orders", {"id": 1}, user_id=2)
    assert await manager.get_next_event("s") is not None
    assert await manager.reload_schema("type Query { q: Int } type Subscription { other: Int }") == 1
    told = json.loads(await manager.get_next_event("s"))
    assert told["payload"][0]["extensions"]["code"] == "SCHEMA_CHANGED"


def test_a_new_schema_ends_what_is_no_longer_valid_and_nothing_else():
    with coulis.SubscriptionExecutor(schema=OLD) as executor:
        executor.register_subscription("c", "s", QUERY)
        executor.register_subscription("c", "status", "subscription { orders { status } }")
        executor.publish_event("changed", "orders", {"id": 1, "status": "open"})
        assert executor.reload_schema(NEW) == 1
        executor.publish_event("changed", "orders", {"id": 2, "note": "n"})
        assert orders(executor) == [1, 2]
        told = [json.loads(message) for message in executor.next_events("status")]
        assert told[-1]["type"] == "error"
        assert told[-1]["payload"][0]["extensions"]["code"] == "SCHEMA_CHANGED"
        executor.register_subscription("c", "note", "subscription { orders { note } }")
        with pytest.raises(coulis.InvalidQuery):
            executor.register_subscription("c", "t", "subscription { orders { status } }")


@pytest.mark.parametrize("sdl", ["", "type", "type Subscription { orders: Missing }"])
def test_what_is_no_schema_changes_nothing(sdl):
    with coulis.SubscriptionExecutor(schema=OLD) as executor:
        executor.register_subscription("c", "s", QUERY)
        with pytest.raises(ValueError, match="no valid schema"):
            executor.reload_schema(sdl)
        executor.register_subscription("c", "t", "subscription { orders { status } }")
        executor.publish_event("changed", "orders", {"id": 1})
        assert orders(executor) == [1]


def test_a_schema_that_the_rules_do_not_fit_changes_nothing():
    access = {"rules": {"Order.status": {"roles": ["admin"]}}}
    with coulis.SubscriptionExecutor(schema=OLD, access=access) as executor:
        executor.register_subscription("c", "s", QUERY)
        for sdl in (NEW, None):
            with pytest.raises(ValueError, match="access"):
                executor.reload_schema(sdl)
        executor.publish_event("changed", "orders", {"id": 1})
        assert orders(executor) == [1]


def test_an_end_within_a_time_names_what_was_not_delivered():
    executor = coulis.SubscriptionExecutor()
    begun = threading.Event()

    async def never(event, variables):
        begun.set()
        await asyncio.Event().wait()

    executor.register_subscription("c", "s", QUERY, resolver=never)
    executor.publish_event("changed", "orders", {"id": 7})
    assert begun.wait(60)
    (lost,) = executor.close(0.05)
    assert (lost["event_type"], lost["channel"], lost["offset"], lost["deliveries"]) == (
        "changed",
        "orders",
        1,
        1,
    )
    assert json.loads(lost["data"]) == {"id": 7}
    assert executor.close() == []


@pytest.mark.parametrize("timeout", ["1", -1, float("nan")])
def test_what_is_no_time_is_refused(executor, timeout):
    with pytest.raises((TypeError, ValueError), match="timeout"):
        executor.close(timeout)
    executor.register_subscription("c", "s", QUERY)


async def test_a_manager_ends_within_a_time():
    manager = coulis.SubscriptionManager(registry=coulis.Registry())
    await manager.create_subscription("s", "c", QUERY)
    assert await manager.close(5.0) == []
    assert manager.subscriptions == {}
    assert await manager.close() == []
