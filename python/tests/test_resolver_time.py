"""Resolvers that take too long, and loaders that live as long as a batch."""

import asyncio
import contextlib
import json
import logging
import threading
from collections import Counter

import coulis
import pytest
from coulis import running, workers
from messages import bare

QUERY = "subscription { user { id } }"
OTHER = "subscription { other { id } }"
SHORT = 0.05
"""Seconds that a resolver here may take, which never returns by itself."""


def errors_of(message):
    payload = bare(message)["payload"]
    assert payload["data"] is None
    return [error["message"] for error in payload["errors"]]


@pytest.fixture
def stuck():
    """A resolver that does not return before the test is over."""
    go, running = threading.Event(), []

    def stuck(event, variables):
        running.append(event)
        go.wait()
        return {"user": event}

    stuck.running, stuck.go = running, go
    yield stuck
    go.set()


def resolver_threads():
    return [thread for thread in threading.enumerate() if thread.name == "coulis-resolver"]


def test_a_sync_resolver_that_hangs_costs_only_its_own_subscriptions(stuck, caplog):
    with coulis.SubscriptionExecutor(resolver_timeout=SHORT) as executor:
        executor.register_subscription("c", "s", QUERY, resolver=stuck)
        executor.register_subscription("c", "o", OTHER, resolver=lambda event, variables: {"other": event})
        # Waits until the subscription was told, not for the resolver.
        executor.publish_event("t", "user", {"id": 1})
        assert errors_of(executor.next_event("s")) == ["the resolver timed out"]
        # Its thread was replaced: others go on, and it gets nothing more before it has returned.
        assert executor.publish_event("t", "other", {"id": 2}) == 1
        assert bare(executor.next_event("o"))["payload"] == {"data": {"other": {"id": 2}}}
        executor.publish_event("t", "user", {"id": 3})
        assert errors_of(executor.next_event("s")) == ["the resolver timed out"]
        assert stuck.running == [{"id": 1}]
        # Once it has returned it is asked again.
        stuck.go.set()
        while True:
            executor.publish_event("t", "user", {"id": 4})
            if "errors" not in (heard := bare(executor.next_event("s"))["payload"]):
                break
        assert heard == {"data": {"user": {"id": 4}}}
    assert "stuck did not return within 0.05 s: it is given up" in caplog.text


def test_jobs_behind_one_that_hangs_are_done_by_the_next_thread(stuck):
    with coulis.SubscriptionExecutor(resolver_timeout=SHORT) as executor:
        executor.register_subscription("c", "s", QUERY, resolver=stuck)
        executor.register_subscription("c", "o", OTHER, resolver=lambda event, variables: {"other": event})
        executor.publish_nowait("t", "user", {"id": 1})
        for number in range(100):
            executor.publish_nowait("t", "other", {"id": number})
        assert executor.publish_event("t", "other", {"id": 100}) == 1
        heard = [bare(message)["payload"]["data"]["other"]["id"] for message in executor.next_events("o")]
        assert heard == list(range(101))


def test_the_threads_that_hang_are_bounded(monkeypatch):
    monkeypatch.setattr(workers, "ABANDONED_MAX", 2)
    go, before = threading.Event(), set(resolver_threads())
    with coulis.SubscriptionExecutor(resolver_timeout=SHORT) as executor:
        for number in range(5):
            # Five resolvers, each of which hangs.
            executor.register_subscription(
                "c", f"s{number}", QUERY, channel=f"c{number}", resolver=lambda event, variables: go.wait()
            )
            executor.publish_event("t", f"c{number}", {"id": 1})
            assert errors_of(executor.next_event(f"s{number}")) == ["the resolver timed out"]
        # Two that hang, and the one that refuses.
        assert len(set(resolver_threads()) - before) == 3
        go.set()
    go.set()


@pytest.fixture
def refused(monkeypatch):
    """How often no thread of a name can be started, as at the end of the interpreter."""
    start, refused = threading.Thread.start, Counter()

    def start_unless_refused(thread):
        if refused[thread.name]:
            refused[thread.name] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_unless_refused)
    monkeypatch.setattr(workers, "_AGAIN_SECONDS", 0)
    return refused


def test_a_resolver_that_no_thread_watches_is_not_called(refused):
    called = []
    with coulis.SubscriptionExecutor() as executor:
        executor.register_subscription(
            "c", "s", QUERY, resolver=lambda event, variables: called.append(event)
        )
        refused["coulis-resolver-watch"] = 1
        executor.publish_event("t", "user", {"id": 1})
        assert errors_of(executor.next_event("s")) == [workers._UNWATCHED]
        executor.publish_event("t", "user", {"id": 2})
        assert called == [{"id": 2}]


def test_a_thread_that_is_to_replace_one_is_tried_again(refused, stuck):
    with coulis.SubscriptionExecutor(resolver_timeout=SHORT) as executor:
        executor.register_subscription("c", "s", QUERY, resolver=stuck)
        executor.register_subscription("c", "o", OTHER, resolver=lambda event, variables: {"other": event})
        refused["coulis-resolver"] = 3
        executor.publish_event("t", "user", {"id": 1})
        assert executor.publish_event("t", "other", {"id": 2}) == 1
        assert bare(executor.next_event("o"))["payload"] == {"data": {"other": {"id": 2}}}
        assert refused["coulis-resolver"] == 0


def test_without_a_thread_for_it_a_sync_resolver_is_refused(refused):
    with coulis.SubscriptionExecutor() as executor:
        refused["coulis-resolver"] = 1
        with pytest.raises(RuntimeError, match="no thread could be started for sync resolvers"):
            executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: event)
        executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": event})
        executor.publish_event("t", "user", {"id": 1})
        assert bare(executor.next_event("s"))["payload"] == {"data": {"user": {"id": 1}}}


def test_a_timeout_of_a_declaration_goes_before_that_of_the_executor(stuck):
    registry = coulis.Registry()
    registry.subscription("user", timeout=SHORT)(stuck)
    with coulis.SubscriptionExecutor(declarations=registry.fields, resolver_timeout=None) as executor:
        executor.register_subscription("c", "s", QUERY)
        executor.publish_event("t", "user", {"id": 1})
        assert errors_of(executor.next_event("s")) == ["the resolver timed out"]


async def test_an_async_resolver_that_hangs_is_cancelled(caplog):
    cancelled = asyncio.Event()

    async def hanging(event, variables):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    manager = coulis.SubscriptionManager(registry=coulis.Registry(), resolver_timeout=SHORT)
    async with manager:
        await manager.create_subscription("s", "c", QUERY, resolver_fn=hanging)
        await manager.create_subscription("o", "c", OTHER)
        assert await manager.publish_event("t", "user", {"id": 1}) == 1
        assert errors_of(await manager.get_next_event("s")) == ["the resolver timed out"]
        await cancelled.wait()
        assert await manager.publish_event("t", "other", {"id": 2}) == 1
    assert "hanging did not return within 0.05 s" in caplog.text


async def test_an_async_resolver_that_does_not_let_itself_be_cancelled_is_not_waited_for(caplog):
    go = asyncio.Event()

    async def stubborn(event, variables):
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        return {"user": event}

    manager = coulis.SubscriptionManager(registry=coulis.Registry(), resolver_timeout=SHORT)
    async with manager:
        await manager.create_subscription("s", "c", QUERY, resolver_fn=stubborn)
        await manager.publish_event("t", "user", {"id": 1})
        assert errors_of(await manager.get_next_event("s")) == ["the resolver timed out"]
        go.set()
    assert "failed" not in caplog.text


async def test_runs_of_one_resolver_are_bounded_and_others_go_on(monkeypatch):
    """Also where none of them ever ends: what comes for it later is answered at once."""
    monkeypatch.setattr(running, "ONE_AT_ONCE_MAX", 3)
    go, started = asyncio.Event(), []

    async def stubborn(event, variables):
        started.append(event["id"])
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go.wait()
        return {"user": event}

    async def well(event, variables):
        return {"other": event}

    manager = coulis.SubscriptionManager(registry=coulis.Registry(), resolver_timeout=SHORT)
    async with manager:
        await manager.create_subscription("s", "c", QUERY, resolver_fn=stubborn)
        await manager.create_subscription("o", "c", OTHER, resolver_fn=well)
        published = [manager.publish_event("t", "user", {"id": number}) for number in range(10)]
        assert await asyncio.gather(*published) == [1] * 10
        assert started == [0, 1, 2]
        for message in manager.executor.next_events("s"):
            assert errors_of(message) == ["the resolver timed out"]
        assert await manager.publish_event("t", "other", {"id": 1}) == 1
        assert await manager.publish_event("t", "user", {"id": 10}) == 1
        assert errors_of(await manager.get_next_event("s")) == ["the resolver timed out"]
        go.set()
        while True:
            await manager.publish_event("t", "user", {"id": 11})
            if "errors" not in bare(await manager.get_next_event("s"))["payload"]:
                break


async def test_jobs_that_wait_for_their_resolver_are_all_done_in_order(manager, monkeypatch):
    monkeypatch.setattr(running, "ONE_AT_ONCE_MAX", 3)

    async def resolver(event, variables):
        for _ in range(event["id"] % 4):
            await asyncio.sleep(0)
        return {"user": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    published = [manager.publish_event("t", "user", {"id": number}) for number in range(100)]
    assert await asyncio.gather(*published) == [1] * 100
    heard = [bare(message)["payload"]["data"]["user"]["id"] for message in manager.executor.next_events("s")]
    assert heard == list(range(100))


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_slow_resolver_is_told_of_in_the_log_once_in_a_while(is_async, caplog):
    caplog.set_level(logging.WARNING, logger="coulis.resolvers")

    def slow(event, variables):
        return {"user": event}

    async def slow_later(event, variables):
        return {"user": event}

    # Whatever takes any time at all is slow.
    async with coulis.SubscriptionManager(registry=coulis.Registry(), slow_resolver=1e-9) as manager:
        await manager.create_subscription("s", "c", QUERY, resolver_fn=slow_later if is_async else slow)
        for _ in range(3):
            await manager.publish_event("t", "user", {"id": 1})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is slow: it took" in caplog.text


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_a_time_that_cannot_be_is_refused(value, error):
    with pytest.raises(error):
        coulis.SubscriptionExecutor(resolver_timeout=value)
    with pytest.raises(error, match="`timeout`"):
        coulis.Registry().subscription(timeout=value)


# Loaders


async def test_what_a_batch_asks_for_is_loaded_together_and_anew_for_the_next(manager):
    calls = []

    async def users(keys):
        calls.append(sorted(keys))
        return [{"id": key, "call": len(calls)} for key in keys]

    async def resolver(event, variables, info):
        user = await info.loaders(users).load(event["user"])
        again = await info.loaders(users).load(event["user"])
        assert user is again
        return {"user": {"id": user["id"], "call": user["call"]}}

    query = "subscription { user { id call } }"
    await manager.create_subscription("s", "c", query, resolver_fn=resolver)
    batch = [("t", "user", {"user": number % 3}) for number in range(9)]
    for turn in (1, 2):
        for event in batch:
            manager.executor.publish_nowait(*event)
        assert await manager.publish_event("t", "user", {"user": 0}) == 1
        heard = [json.loads(m)["payload"]["data"]["user"] for m in manager.executor.next_events("s")]
        assert [user["id"] for user in heard] == [number % 3 for number in range(9)] + [0]
        # A value of an earlier batch is never seen again.
        assert {user["call"] for user in heard} == {turn}
    assert calls == [[0, 1, 2]] * 2


async def test_a_loader_that_fails_fails_who_asked():
    async def some(keys):
        return [KeyError(key) if key == 2 else key for key in keys]

    async def short(keys):
        return []

    loaders = coulis.Loaders()
    found = await asyncio.gather(*map(loaders(some).load, (1, 2, 3)), return_exceptions=True)
    assert [found[0], type(found[1]), found[2]] == [1, KeyError, 3]
    assert await loaders(some).load_many([3, 1]) == [3, 1]
    with pytest.raises(ValueError, match="answered 0 values for 1 keys"):
        await loaders(short).load(1)


@pytest.mark.parametrize("kind", [dict.fromkeys, set, "".join])
async def test_a_loader_takes_no_values_without_the_order_of_its_keys(kind):
    async def fetch(keys):
        return kind(keys)

    with pytest.raises(TypeError, match=r"answered a `\w+`: answer a list with a value for each key"):
        await coulis.Loaders()(fetch).load_many(["a", "b"])


async def test_a_loader_whose_value_is_a_stop_iteration_leaves_nobody_waiting():
    async def fetch(keys):
        return [StopIteration(), 2]

    found = coulis.Loaders()(fetch).load
    stopped, value = await asyncio.wait_for(
        asyncio.gather(found("a"), found("b"), return_exceptions=True), timeout=20
    )
    assert isinstance(stopped, RuntimeError) and isinstance(stopped.__cause__, StopIteration)
    assert value == 2


async def test_a_loader_asks_for_no_more_keys_than_its_bound():
    sizes = []

    async def load(keys):
        sizes.append(len(keys))
        return keys

    loader = coulis.Loaders()(load)
    assert await loader.load_many(range(2_500)) == list(range(2_500))
    assert sizes == [1_000, 1_000, 500]
