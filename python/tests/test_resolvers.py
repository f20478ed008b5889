"""Resolvers: called off the shards, once for equal results, and never a way for event data to leak."""

import asyncio
import functools
import json
import logging
import threading

import coulis
import pytest
from messages import bare

QUERY = "subscription { user { id } }"
SECRET = {"id": "secret", "password": "secret"}


def body(message):
    return bare(message)["payload"]


def heard(executor, subscription="s"):
    return body(executor.next_event(subscription))


@pytest.fixture
def quiet(caplog):
    """The log of failed resolvers."""
    caplog.set_level(logging.ERROR, logger="coulis.resolvers")
    return caplog


def test_the_result_is_the_data_of_the_operation(executor):
    executor.register_subscription(
        "c", "s", QUERY, resolver=lambda event, variables: {"user": {"id": event["x"]}}
    )
    assert executor.publish_event("t", "user", {"x": 7}) == 1
    assert bare(executor.next_event("s")) == {
        "type": "next",
        "id": "s",
        "payload": {"data": {"user": {"id": 7}}},
    }


def test_a_resolver_gets_event_variables_and_info(executor):
    seen = []

    def resolver(event, variables, info):
        seen.append((event, variables, info.event_type, info.channel, info.subscription_id))
        return {"user": {"id": 1}}

    query = "subscription ($a: [Int]) { user(a: $a) { id } }"
    event = {"big": 2**80, "none": None, "list": [1.5, True]}
    executor.register_subscription("c", "s", query, variables={"a": [1]}, resolver=resolver)
    executor.publish_event("created", "user", event)
    assert seen == [(event, {"a": [1]}, "created", "user", "s")]


class Callable:
    def method(self, event, variables):
        return {"user": {"id": "method"}}

    def __call__(self, event, variables, info):
        return {"user": {"id": "call"}}

    async def later(self, event, variables):
        return {"user": {"id": "later"}}


class Unhashable:
    __hash__ = None

    def __call__(self, event, variables):
        return {"user": {"id": "unhashable"}}


class UnhashableLater:
    __hash__ = None

    async def __call__(self, event, variables):
        return {"user": {"id": "later"}}


async def test_an_async_object_that_cannot_be_hashed_may_resolve(manager):
    await manager.create_subscription("s", "c", QUERY, resolver_fn=UnhashableLater())
    assert await manager.publish_event("t", "user", {}) == 1
    assert body(await manager.get_next_event("s")) == {"data": {"user": {"id": "later"}}}


@pytest.mark.parametrize(
    ("resolver", "expected"),
    [
        (Callable().method, "method"),
        (Callable(), "call"),
        (Unhashable(), "unhashable"),
        (functools.partial(lambda more, event, variables: {"user": {"id": more}}, "partial"), "partial"),
        (lambda event, variables, *, info=None: {"user": {"id": "keyword"}}, "keyword"),
        (lambda *arguments: {"user": {"id": len(arguments)}}, 2),
        (lambda event, variables, info=None: {"user": {"id": info.event_type}}, "t"),
    ],
)
def test_any_callable_may_resolve(executor, resolver, expected):
    executor.register_subscription("c", "s", QUERY, resolver=resolver)
    executor.publish_event("t", "user", {})
    assert heard(executor) == {"data": {"user": {"id": expected}}}


def generator(event, variables):
    yield 1


async def async_generator(event, variables):
    yield 1


@pytest.mark.parametrize("resolver", [1, "f", lambda event: 1, lambda: 1, generator, async_generator])
def test_what_cannot_resolve_is_refused(executor, resolver):
    with pytest.raises(TypeError, match="`resolver`"):
        executor.register_subscription("c", "s", QUERY, resolver=resolver)
    with pytest.raises(TypeError, match="`resolver`"):
        coulis.Registry().subscription("user")(resolver)


def test_equal_subscriptions_share_one_call(executor):
    calls = []

    def resolver(event, variables):
        calls.append(event)
        return {"user": event}

    for number in range(10):
        executor.register_subscription("c", f"s{number}", QUERY, resolver=resolver)
    assert executor.publish_event("t", "user", {"id": 1}) == 10
    assert len(calls) == 1


def test_per_subscription_calls_once_for_each(executor):
    calls = []

    def resolver(event, variables, info):
        calls.append(info.subscription_id)
        return {"user": event}

    for number in range(3):
        executor.register_subscription("c", f"s{number}", QUERY, resolver=resolver, per_subscription=True)
    executor.publish_event("t", "user", {"id": 1})
    assert sorted(calls) == ["s0", "s1", "s2"]


def test_bound_methods_of_one_object_share_and_of_two_do_not(executor):
    class Counting:
        def __init__(self):
            self.calls = 0

        def resolve(self, event, variables):
            self.calls += 1
            return {"user": event}

    one, other = Counting(), Counting()
    for number, of in enumerate((one, one, other)):
        executor.register_subscription("c", f"s{number}", QUERY, resolver=of.resolve)
    executor.publish_event("t", "user", {"id": 1})
    assert (one.calls, other.calls) == (1, 1)


def raising(event, variables):
    raise ValueError("it broke")


def exiting(event, variables):
    raise SystemExit("stop")


async def raising_later(event, variables):
    raise ValueError("it broke")


async def cancelling(event, variables):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "resolver",
    [
        raising,
        exiting,
        lambda event, variables: float("nan"),
        lambda event, variables: {"user": object()},
        lambda event, variables: {"user": {1: 2}},
        lambda event, variables: b"{}",
        lambda event, variables: raising_later(event, variables),
        lambda event, variables: [event] * 10_000_000 and {"user": "\ud800"},
    ],
)
def test_a_failure_is_errors_and_never_event_data(executor, resolver, quiet):
    executor.register_subscription("c", "s", QUERY, resolver=resolver)
    executor.register_subscription("c", "well", QUERY)
    executor.publish_event("t", "user", SECRET)
    failed = heard(executor)
    assert failed["data"] is None
    assert failed["errors"][0]["message"]
    assert "secret" not in json.dumps(failed)
    assert heard(executor, "well")["data"]["user"]["id"] == "secret"
    assert quiet.records[0].exc_info


def refusing(event, variables):
    raise coulis.UserError("sold out")


@pytest.mark.parametrize(
    ("resolver", "debug", "message"),
    [
        (raising, False, "internal error"),
        (raising, True, "it broke"),
        (refusing, False, "sold out"),
        (lambda event, variables: object(), False, "internal error"),
    ],
)
def test_clients_read_of_a_failure_only_what_is_meant_for_them(resolver, debug, message, quiet):
    with coulis.SubscriptionExecutor(debug=debug) as executor:
        executor.register_subscription("c", "s", QUERY, resolver=resolver)
        executor.publish_event("t", "user", {})
        assert heard(executor)["errors"][0]["message"] == message
    assert f"{resolver.__qualname__} failed" in quiet.text
    assert quiet.records[0].exc_info


def test_resolvers_keep_the_order_of_the_events(executor):
    executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": event})
    for number in range(500):
        executor.publish_nowait("t", "user", {"id": number})
    executor.publish_event("t", "user", {"id": 500})
    assert [body(m)["data"]["user"]["id"] for m in executor.next_events("s", 1000)] == list(range(501))


def test_a_resolver_may_publish(executor):
    def resolver(event, variables):
        executor.publish_event("t", "log", {"id": 1})
        return {"user": event}

    executor.register_subscription("c", "s", QUERY, resolver=resolver)
    executor.register_subscription(
        "c", "log", "subscription { log { id } }", resolver=lambda event, variables: {"log": event}
    )
    assert executor.publish_event("t", "user", {"id": 1}) == 1
    assert executor.publish_event("t", "log", {"id": 2}) == 1
    assert [body(m)["data"]["log"]["id"] for m in executor.next_events("log")] == [1, 2]


def test_a_resolver_may_close_its_executor():
    with coulis.SubscriptionExecutor() as executor:
        closed = threading.Event()

        def resolver(event, variables):
            executor.close()
            closed.set()

        executor.register_subscription("c", "s", QUERY, resolver=resolver)
        executor.publish_nowait("t", "user", {})
        closed.wait()


def test_an_async_resolver_without_a_manager_runs_on_a_private_loop(executor):
    threads, answered = [], threading.Event()

    async def resolver(event, variables):
        await asyncio.sleep(0)
        threads.append(threading.current_thread().name)
        answered.set()
        return {"user": event}

    executor.register_subscription("c", "s", QUERY, resolver=resolver)
    executor.publish_event("t", "user", {"id": 1})
    answered.wait()
    # A second publish is behind the first answer only when it asks the same resolver again.
    while not (message := executor.next_event("s")):
        executor.publish_event("t", "nowhere", {})
    assert body(message) == {"data": {"user": {"id": 1}}}
    assert threads == ["coulis-resolvers"]


async def test_publishing_from_a_loop_with_async_resolvers_does_not_deadlock(manager):
    async def resolver(event, variables):
        await asyncio.sleep(0)
        return {"user": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    # Nothing on this thread could answer it yet.
    assert manager.executor.publish_event("t", "user", {"id": 1}) == 0
    assert await manager.publish_event("t", "user", {"id": 2}) == 1
    assert [body(m)["data"]["user"]["id"] for m in manager.executor.next_events("s")] == [1, 2]


async def test_async_resolvers_run_on_the_managers_loop_and_are_awaited(manager):
    loops = []

    async def resolver(event, variables):
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return {"user": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    assert await manager.publish_event("t", "user", {"id": 1}) == 1
    assert body(await manager.get_next_event("s")) == {"data": {"user": {"id": 1}}}
    assert loops == [asyncio.get_running_loop()]


@pytest.mark.parametrize("resolver", [raising_later, cancelling, Callable().later])
async def test_async_failures_are_errors_too(manager, resolver, quiet):
    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    await manager.publish_event("t", "user", SECRET)
    message = await manager.get_next_event("s")
    assert b"secret" not in message
    assert ("errors" in body(message)) == (resolver in (raising_later, cancelling))


async def test_slow_async_resolvers_keep_the_order_and_run_at_once(manager):
    waiting, go = [], asyncio.Event()

    async def resolver(event, variables):
        waiting.append(event["id"])
        if len(waiting) == 100:
            go.set()
        await go.wait()
        for _ in range(100 - event["id"]):
            await asyncio.sleep(0)
        return {"user": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    published = [manager.publish_event("t", "user", {"id": number}) for number in range(100)]
    assert await asyncio.gather(*published) == [1] * 100
    assert [body(m)["data"]["user"]["id"] for m in manager.executor.next_events("s")] == list(range(100))


async def test_more_async_jobs_than_run_at_once_are_all_answered(manager):
    running, most = 0, 0

    async def resolver(event, variables):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return {"user": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    published = [manager.publish_event("t", "user", {"id": number}) for number in range(900)]
    assert sum(await asyncio.gather(*published)) == 900
    assert 1 < most <= 256


async def test_a_resolver_that_hangs_holds_up_nobody_else(manager):
    async def hanging(event, variables):
        await asyncio.Event().wait()

    await manager.create_subscription("hangs", "c", QUERY, resolver_fn=hanging)
    await manager.create_subscription("well", "c", QUERY)
    publishing = asyncio.ensure_future(manager.publish_event("t", "user", {"id": 1}))
    async for message in manager.events("well"):
        assert body(message)["data"]["user"]["id"] == 1
        break
    assert await manager.get_next_event("hangs") is None
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing


async def test_jobs_that_wait_when_the_engine_closes_are_dropped_in_silence(manager, quiet):
    async def resolver(event, variables):
        return {"user": event}

    await manager.create_subscription("s", "c", QUERY, resolver_fn=resolver)
    for number in range(1000):
        manager.executor.publish_nowait("t", "user", {"id": number})
    manager.executor.close()
    with pytest.raises(coulis.EngineClosed):
        await manager.publish_event("t", "user", {"id": 1})
    assert quiet.records == []
