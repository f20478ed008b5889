"""Whatever a resolver does, it is the matter of its own subscription: others get every event, in order."""

import asyncio

import coulis
import pytest
from messages import bare

QUERY = "subscription { user { id } }"
EVENTS = 3


class Odd(BaseException):
    """An exception that no `except Exception` catches."""


def recursing(event, variables):
    return recursing(event, variables)


def endless(event, variables):
    answer = {"user": event}
    answer["user"]["self"] = answer
    return answer


def deep(event, variables):
    answer = {"id": 1}
    for _ in range(100_000):
        answer = {"user": answer}
    return answer


class Strange:
    """An object each of whose looks fails."""

    def __getattribute__(self, name):
        raise Odd(name)

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __eq__ = __hash__ = lambda self: [].strange


class Unspeakable(Exception):
    """An exception that cannot be written down."""

    def __str__(self):
        raise Odd("str")

    __repr__ = __str__


def raising(error):
    def resolver(event, variables):
        raise error

    async def resolver_later(event, variables):
        await asyncio.sleep(0)
        raise error

    return resolver, resolver_later


def answering(make):
    def resolver(event, variables):
        return make(event, variables)

    async def resolver_later(event, variables):
        await asyncio.sleep(0)
        return make(event, variables)

    return resolver, resolver_later


ERRORS = (SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopIteration(1), StopAsyncIteration(), Odd())
DEEDS = {
    **{type(error).__name__: raising(error) for error in (*ERRORS, asyncio.CancelledError(), Unspeakable())},
    "recursion": answering(recursing),
    "endless": answering(endless),
    "deep": answering(deep),
    "strange": answering(lambda event, variables: Strange()),
    "generator": answering(lambda event, variables: (yield)),
    "number": answering(lambda event, variables: 10**5000),
    "surrogate": answering(lambda event, variables: {"user": {"id": "\udfff"}}),
}


async def cancels_itself(event, variables):
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


async def cancels_itself_late(event, variables):
    asyncio.current_task().cancel()
    raise ValueError("late")


@pytest.fixture
def complaints():
    """What the loop complains of, which must be nothing."""
    found = []
    yield found
    assert found == []


async def check(resolver, complaints):
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def well_later(event, variables):
        return {"user": event}

    async with coulis.SubscriptionManager(registry=coulis.Registry(), debug=True) as manager:
        await manager.create_subscription("before", "c", QUERY)
        await manager.create_subscription("bad", "c", QUERY, resolver_fn=resolver)
        await manager.create_subscription("well", "c", QUERY, resolver_fn=lambda e, v: {"user": e})
        await manager.create_subscription("later", "c", QUERY, resolver_fn=well_later)
        for number in range(EVENTS):
            # Ends only when the bad one was told, too.
            assert await asyncio.wait_for(manager.publish_event("t", "user", {"id": number}), 60) == 4
        for name in ("before", "well", "later"):
            heard = [bare(message)["payload"] for message in manager.executor.next_events(name)]
            assert heard == [{"data": {"user": {"id": number}}} for number in range(EVENTS)]
        for message in manager.executor.next_events("bad"):
            told = bare(message)["payload"]
            # A number where an object belongs is no error; of the rest there must be a word.
            assert told["data"] == {"user": None} or told["errors"][0]["message"]


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("deed", DEEDS)
async def test_it_harms_nobody_else(deed, later, complaints):
    await check(DEEDS[deed][later], complaints)


@pytest.mark.parametrize("resolver", [cancels_itself, cancels_itself_late])
async def test_one_that_cancels_itself_harms_nobody_else(resolver, complaints):
    await check(resolver, complaints)
