"""Many subscriptions and events: all of them arrive, each at its reader only."""

import asyncio
import gc
import json
import weakref

import coulis

QUERY = "subscription { user { id } }"


async def test_a_hundred_subscriptions_get_ten_thousand_events(manager):
    for number in range(100):
        await manager.create_subscription(f"sub{number}", "conn", QUERY, user_id=str(number), tenant_id="t")
    delivered = 0
    for start in range(0, 10_000, 500):
        events = [("userUpdated", "user", {"id": number}) for number in range(start, start + 500)]
        delivered += sum(manager.executor.publish_many(events))
        for number in range(100):
            assert len(manager.executor.next_events(f"sub{number}", 1000)) == 500
    assert delivered == 1_000_000
    assert manager.get_metrics()["pending"] == 0


async def test_each_reader_gets_what_is_for_it_and_nothing_else(manager):
    tenants, users = 5, 20
    for tenant in range(tenants):
        for user in range(users):
            await manager.create_subscription(
                f"{tenant}/{user}", "conn", QUERY, user_id=user, tenant_id=tenant
            )
    published = [
        manager.publish_event("t", "user", {"id": [tenant, user]}, tenant_id=str(tenant), user_id=user)
        for tenant in range(tenants)
        for user in range(users)
    ]
    assert await asyncio.gather(*published) == [1] * (tenants * users)
    for tenant in range(tenants):
        for user in range(users):
            (message,) = manager.executor.next_events(f"{tenant}/{user}")
            assert json.loads(message)["payload"]["data"]["user"]["id"] == [tenant, user]
    assert manager.get_metrics()["denied"] > 0


def test_registering_and_completing_in_turns_leaves_nothing_behind(executor):
    for number in range(2_000):
        executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": event})
        executor.publish_event("t", "user", {"id": number})
        executor.complete_subscription("s")
    # The shards let go when they next look; each publish is one round through them.
    while executor.get_metrics()["pending"]:
        executor.publish_event("t", "user", {})
    metrics = executor.get_metrics()
    assert (metrics["subscriptions"], metrics["subscribers"]) == (0, 0)
    assert executor.subscriptions_by_channel("user") == []


def test_a_resolver_is_let_go_with_its_last_subscription(executor):
    class Resolver:
        def __call__(self, event, variables):
            return {"user": event}

    resolver = Resolver()
    gone = weakref.ref(resolver)
    executor.register_subscription("c", "s", QUERY, resolver=resolver)
    executor.publish_event("t", "user", {"id": 1})
    executor.complete_subscription("s")
    del resolver
    # The shard lets go when it next looks at its index.
    while gone() is not None:
        executor.publish_event("t", "user", {"id": 1})
        gc.collect()


def test_a_closed_executor_is_let_go_by_a_resolver_that_knows_it():
    def make():
        executor = coulis.SubscriptionExecutor()
        known = weakref.ref(executor)
        executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": executor})
        executor.close()
        return known

    known = make()
    gc.collect()
    assert known() is None


def test_an_executor_with_one_shard_and_with_several_delivers_the_same():
    for shards in (1, 2, 4):
        with coulis.SubscriptionExecutor(shards=shards) as executor:
            for number in range(50):
                executor.register_subscription("c", f"s{number}", QUERY)
            assert executor.publish_event("t", "user", {"id": 1}) == 50
