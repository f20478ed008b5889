"""`SubscriptionManager`: the engine in an asyncio program."""

import asyncio
import json

import coulis
import pytest

QUERY = "subscription { userUpdated { id name } }"


async def test_subscription_full_workflow():
    manager = coulis.SubscriptionManager(coulis.PyEventBusConfig.memory())

    async def resolver(event, variables):
        return {"userUpdated": {"id": event["id"], "name": event["name"]}}

    await manager.create_subscription(
        subscription_id="sub1",
        connection_id="conn1",
        query=QUERY,
        operation_name="OnUserUpdated",
        variables={},
        resolver_fn=resolver,
        user_id="user1",
        tenant_id="tenant1",
    )
    await manager.publish_event(
        event_type="userUpdated", channel="userUpdated", data={"id": "123", "name": "Alice"}
    )
    response = json.loads(await manager.get_next_event("sub1"))
    assert (response["type"], response["id"]) == ("next", "sub1")
    assert response["payload"]["data"] == {"userUpdated": {"id": "123", "name": "Alice"}}
    await manager.complete_subscription("sub1")
    assert await manager.get_next_event("sub1") is None
    await manager.complete_subscription("sub1")
    await manager.close()


async def test_the_manager_shows_what_it_has(manager):
    assert isinstance(manager.executor, coulis.SubscriptionExecutor)
    assert manager.event_bus_config.bus_type == "memory"
    await manager.create_subscription("s", "c", QUERY, None, {"a": 1}, None, 7, "t")
    data = manager.subscriptions["s"]
    assert isinstance(data, coulis.SubscriptionData)
    assert (data.query, data.operation_name, data.variables) == (QUERY, None, {"a": 1})
    assert (data.resolver_fn, data.user_id, data.tenant_id) == (None, 7, "t")
    assert manager.get_metrics()["subscriptions"] == 1
    await manager.complete_subscription("s")
    assert manager.subscriptions == {}


async def test_nothing_waits_for_an_event_that_is_not_there(manager):
    await manager.create_subscription("s", "c", QUERY)
    assert await manager.get_next_event("s") is None
    assert await manager.get_next_event("unknown") is None


async def test_events_are_waited_for_and_end_with_the_subscription(manager):
    await manager.create_subscription("s", "c", QUERY)
    heard = []

    async def read():
        async for message in manager.events("s"):
            heard.append(json.loads(message)["payload"]["data"]["userUpdated"]["id"])
            if len(heard) == 300:
                await manager.complete_subscription("s")

    reading = asyncio.ensure_future(read())
    for number in range(100):
        await manager.publish_event("t", "userUpdated", {"id": number})
    for number in range(100, 300):
        manager.executor.publish_nowait("t", "userUpdated", {"id": number})
    await reading
    assert heard == list(range(300))
    with pytest.raises(coulis.SubscriptionNotFound):
        async for _ in manager.events("s"):
            pass


async def test_who_leaves_an_iteration_goes_on_where_it_was(manager):
    await manager.create_subscription("s", "c", "subscription { user { id } }")
    for number in range(4):
        await manager.publish_event("e", "user", {"id": number})

    async def one():
        async for message in manager.events("s"):
            return json.loads(message)["payload"]["data"]["user"]["id"]

    assert [await one(), await one()] == [0, 1]
    assert b'"id":2' in await manager.get_next_event("s")
    assert await one() == 3


async def test_a_completed_subscription_ends_whoever_waits(manager):
    await manager.create_subscription("s", "c", QUERY)

    async def read():
        return [message async for message in manager.events("s")]

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    await asyncio.sleep(0)
    await manager.complete_subscription("s")
    assert await asyncio.gather(*readers) == [[], [], []]


async def test_a_closed_connection_ends_its_subscriptions(manager):
    for connection in ("a", "b"):
        for subscription in ("1", "2"):
            await manager.create_subscription(subscription, connection, QUERY)
    assert set(manager.subscriptions) == {"1", "2", "b/1", "b/2"}
    assert await manager.publish_event("t", "userUpdated", {"id": 1}) == 4
    await manager.connection_closed("a")
    await manager.connection_closed("a")
    assert await manager.publish_event("t", "userUpdated", {"id": 1}) == 2
    assert set(manager.subscriptions) == {"b/1", "b/2"}
    assert await manager.get_next_event("1") is not None
    assert manager.get_metrics()["subscriptions"] == 2


async def test_one_id_on_two_connections_needs_the_connection(manager):
    for connection in ("a", "b"):
        await manager.create_subscription("1", connection, QUERY)
    with pytest.raises(coulis.AlreadyExists):
        await manager.create_subscription("1", "a", QUERY)
    await manager.publish_event("t", "userUpdated", {"id": 1})
    with pytest.raises(ValueError, match="pass connection_id"):
        await manager.get_next_event("1")
    assert await manager.get_next_event("1", connection_id="b") is not None
    with pytest.raises(ValueError, match="pass connection_id"):
        await manager.complete_subscription("1")
    await manager.complete_subscription("1", "a")
    assert await manager.get_next_event("1", "a") is None


async def test_publish_does_not_block_the_loop(manager):
    gate = asyncio.Event()

    async def resolver(event, variables):
        await gate.wait()
        return {"userUpdated": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    publishing = asyncio.ensure_future(manager.publish_event("t", "userUpdated", {"id": 1}))
    await asyncio.sleep(0)
    assert not publishing.done()
    gate.set()
    assert await publishing == 1


async def test_a_full_engine_is_waited_for_outside_the_loop():
    limits = {"inbox_commands_max": 1, "batch_commands_max": 1}
    async with coulis.SubscriptionManager(limits=limits) as manager:
        await manager.create_subscription("s", "c", QUERY)
        published = [manager.publish_event("t", "userUpdated", {"id": n}) for n in range(500)]
        assert sum(await asyncio.gather(*published)) == 500


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", "c", {}), ValueError),
        (("t", "", {}), ValueError),
        (("t", "c", {"a": {1}}), TypeError),
        (("t", "c", b"{"), ValueError),
    ],
)
async def test_bad_publishes_raise_at_once(manager, arguments, error):
    with pytest.raises(error):
        await manager.publish_event(*arguments)


async def test_a_declared_resolver_serves_its_root_field():
    registry = coulis.Registry()

    @registry.subscription("userUpdated", channel="people", events=["updated"])
    def resolve(event, variables):
        return {"userUpdated": {"id": event["id"] * 2, "name": None}}

    async with coulis.SubscriptionManager(registry=registry) as manager:
        await manager.create_subscription("s", "c", QUERY)
        assert manager.resolver_for(QUERY) is resolve
        assert manager.resolver_for("subscription { other { id } }") is None
        with pytest.raises(coulis.InvalidQuery):
            manager.resolver_for("subscription {")
        assert await manager.publish_event("updated", "userUpdated", {"id": 1}) == 0
        assert await manager.publish_event("removed", "people", {"id": 1}) == 0
        assert await manager.publish_event("updated", "people", {"id": 4}) == 1
        assert json.loads(await manager.get_next_event("s"))["payload"]["data"]["userUpdated"]["id"] == 8


async def test_the_call_goes_before_the_declaration():
    registry = coulis.Registry()
    registry.subscription("userUpdated", channel="people")(
        lambda event, variables: {"userUpdated": {"id": "declared"}}
    )
    async with coulis.SubscriptionManager(registry=registry) as manager:
        given = lambda event, variables: {"userUpdated": {"id": "given"}}  # noqa: E731
        await manager.create_subscription("s", "c", QUERY, resolver_fn=given, channel="elsewhere")
        assert await manager.publish_event("t", "people", {}) == 0
        assert await manager.publish_event("t", "elsewhere", {}) == 1
        assert b'"given"' in await manager.get_next_event("s")


def test_the_decorator_registers_by_name_and_refuses_what_it_cannot_do():
    registry = coulis.Registry()

    @registry.subscription()
    def someField(event, variables):
        return {}

    @registry.subscription("other", channel=["a", "b"], per_subscription=True)
    async def resolver(event, variables):
        return {}

    declared = registry.fields
    assert set(declared) == {"someField", "other"}
    assert (declared["other"].channels, declared["other"].per_subscription) == (("a", "b"), True)
    with pytest.raises(ValueError, match="`other` has a resolver already"):
        registry.subscription("other")(lambda event, variables: 1)
    with pytest.raises(ValueError, match="which GraphQL does not allow"):
        registry.subscription("no-name")(resolver)
    with pytest.raises(TypeError, match="with parentheses"):
        registry.subscription(resolver)
    for option in ("filter", "policy"):
        with pytest.raises(coulis.PolicyError, match=f"{option}: 1:1: undeclared reference to `truth`"):
            registry.subscription("third", **{option: "truth"})


def test_the_modules_decorator_fills_the_default_registry():
    from coulis.registry import default_registry

    @coulis.subscription("onlyHere")
    def resolver(event, variables):
        return {}

    try:
        assert coulis.SubscriptionManager().resolver_for("subscription { onlyHere }") is resolver
    finally:
        del default_registry.fields["onlyHere"]


def test_a_manager_works_in_one_loop_after_another():
    manager = coulis.SubscriptionManager()

    async def once(number):
        async def resolver(event, variables):
            await asyncio.sleep(0)
            return {"userUpdated": event}

        await manager.create_subscription(f"s{number}", "c", QUERY, resolver_fn=resolver)
        await manager.publish_event("t", "userUpdated", {"id": number})
        message = await manager.get_next_event(f"s{number}")
        await manager.complete_subscription(f"s{number}")
        return json.loads(message)["payload"]["data"]["userUpdated"]["id"]

    assert [asyncio.run(once(number)) for number in range(3)] == [0, 1, 2]
    manager.executor.close()


async def test_contexts_and_refusals_reach_the_executor(manager):
    context = coulis.SecurityContext("u", "t")
    await manager.create_subscription("s", "c", QUERY, context=context)
    assert await manager.publish_event("t", "userUpdated", {"id": 1}, tenant_id="other") == 0
    assert await manager.publish_event("t", "userUpdated", {"id": 1}, tenant_id="t", user_id="u") == 1
    with pytest.raises(ValueError, match="`context` comes with"):
        await manager.create_subscription("x", "c", QUERY, context=context, user_id=1)
    with pytest.raises(coulis.PolicyError):
        await manager.create_subscription("x", "c", QUERY, filter="truth")
    with pytest.raises(TypeError):
        await manager.create_subscription("x", "c", QUERY, unknown=1)
    assert set(manager.subscriptions) == {"s"}


async def test_after_close_nothing_goes(manager):
    await manager.create_subscription("s", "c", QUERY)
    await manager.close()
    await manager.close()
    assert await manager.get_next_event("s") is None
    with pytest.raises(coulis.EngineClosed):
        await manager.publish_event("t", "userUpdated", {})
    with pytest.raises(coulis.EngineClosed):
        await manager.create_subscription("s", "c", QUERY)
