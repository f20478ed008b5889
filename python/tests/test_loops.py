"""The ends of loops: cancellations that are not lost, and resolvers that are not left behind."""

import asyncio
import gc

import coulis
import pytest
from conftest import until
from coulis.loops import wait_for

pytest_plugins = ["redis_server"]

QUERY = "subscription { user { id } }"


async def test_a_cancellation_that_comes_with_the_result_is_not_lost():
    work = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_for(work, 60))
    await asyncio.sleep(0)
    work.set_result(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_work_that_takes_too_long_is_cancelled():
    work = asyncio.get_running_loop().create_future()
    with pytest.raises(asyncio.TimeoutError):
        await wait_for(work, 0)
    assert work.cancelled()


def test_no_resolver_is_left_behind_by_a_loop_that_ends(capfd):
    begun = []

    async def resolver(event, variables):
        begun.append(event["id"])
        await asyncio.Event().wait()

    async def main():
        manager = coulis.SubscriptionManager(registry=coulis.Registry())
        await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
        for number in range(5_000):
            manager.executor.publish_nowait("t", "user", {"id": number})
        await until(lambda: begun)

    asyncio.run(main())
    gc.collect()
    assert capfd.readouterr().err == ""


async def test_a_publish_that_has_no_thread_any_more_says_so(redis):
    manager = coulis.SubscriptionManager(
        coulis.EventBusConfig.redis(redis, "loops"), registry=coulis.Registry()
    )
    with manager.executor:
        assert await manager.publish_event("t", "user", {"id": 1}) == 0
        await asyncio.get_running_loop().shutdown_default_executor()  # as it is when the interpreter ends
        with pytest.raises(coulis.EngineClosed, match=r"the event is not published: .*shutdown"):
            await manager.publish_event("t", "user", {"id": 2})
