"""Multipart subscriptions, as Apollo's clients ask for them, over a real server."""

import asyncio

import pytest
from conftest import served, soon, until
from coulis.asgi import SubscriptionApp
from streams import PARTS, asked, browsing, parts

QUERY = "subscription { user { id } }"


@pytest.fixture
async def client(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        yield client


def answering(client, request=None, **headers):
    return client.stream("POST", "/", headers={**PARTS, **headers}, **(request or asked(QUERY)))


async def test_results_are_parts_with_a_payload(manager, client):
    async with answering(client) as response:
        assert response.status_code == 200
        expected = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
        assert response.headers["content-type"] == expected
        heard = parts(response)
        assert await anext(heard) == {}
        for number in (1, 2):
            assert await manager.publish_event("t", "user", {"id": f"{number}\r\n--graphql--"}) == 1
            part = await anext(heard)
            assert part["payload"]["extensions"]["coulis"]["cursor"]
            assert part["payload"]["data"] == {"user": {"id": f"{number}\r\n--graphql--"}}
    await until(lambda: not manager.get_metrics()["subscriptions"])


async def test_a_publisher_cannot_end_a_part(manager, client):
    async with answering(client, asked("subscription { user }")) as response:
        heard = parts(response)
        await anext(heard)
        await manager.publish_event("t", "user", b'{"user":[1,\r\n-1,"--graphql--"]}')
        assert (await anext(heard))["payload"]["data"] == {"user": {"user": [1, -1, "--graphql--"]}}


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/mixed; subscriptionSpec="1.0", application/json',
        "application/json, Multipart/Mixed;SUBSCRIPTIONSPEC=1.0",
        "multipart/mixed;subscriptionSpec=1.0;boundary=other",
    ],
)
async def test_it_is_asked_for_in_any_spelling(client, accept):
    async with answering(client, accept=accept) as response:
        assert response.headers["content-type"].startswith("multipart/mixed")


async def test_without_the_specification_it_is_not_served(client):
    response = await client.post("/", headers={"accept": "multipart/mixed"}, **asked(QUERY))
    assert response.status_code == 406


async def test_heartbeats_are_parts_that_say_nothing(manager):
    async with (
        served(SubscriptionApp(manager, stream_keep_alive=0.01)) as address,
        browsing(address) as client,
        answering(client) as response,
    ):
        heard = parts(response)
        assert [await anext(heard) for _ in range(4)] == [{}, {}, {}, {}]


@pytest.mark.parametrize("query", ["subscription {", "subscription { a b }", "mutation { a }"])
async def test_what_is_wrong_with_the_operation_is_a_payload_and_the_end(manager, client, query):
    only_parts = PARTS["accept"].removesuffix(",application/json")
    async with answering(client, asked(query), accept=only_parts) as response:
        first, wrong, end = [part async for part in parts(response)]
    assert (first, end) == ({}, None)
    assert wrong["payload"]["errors"][0]["extensions"]["code"]
    assert manager.get_metrics()["subscriptions"] == 0


@pytest.mark.parametrize("query", ["subscription {", "mutation { a }"])
async def test_who_takes_json_too_gets_that_for_what_is_no_subscription(client, query):
    answer = await client.post("/", headers=PARTS, **asked(query))
    assert (answer.status_code, list(answer.json())) == (200, ["errors"])


async def test_batches_and_forms_are_refused(client):
    batch = {"json": [{"query": QUERY}]}
    assert (await client.post("/", headers=PARTS, **batch)).status_code == 400
    assert (await client.post("/", headers=PARTS, files={"query": b"x"})).status_code == 415


async def test_a_loss_that_ends_the_subscription_is_told_with_the_closing(manager, client):
    manager.registry.subscription("user", overflow="disconnect")(lambda event, variables: {"user": event})
    async with answering(client) as response:
        heard = parts(response)
        await anext(heard)
        manager.executor.publish_many([("t", "user", {"id": number}) for number in range(1_100)])
        rest = [part async for part in heard]
    assert rest[-1] is None
    assert rest[-2]["payload"] is None
    assert rest[-2]["errors"][0]["extensions"]["code"] == "TOO_SLOW"


async def everything(heard):
    return [part async for part in heard]


async def test_an_answer_that_began_ends_with_its_token_as_a_fatal_error(manager, monkeypatch):
    now, timers = 3_999_999_000.0, []
    monkeypatch.setattr("coulis.admission.time.time", lambda: now)
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def keep(when, callback, *arguments, **options):
        if getattr(callback, "__name__", "") == "watch":
            timers.append(lambda: callback(*arguments))
        return call_at(when, callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_at", keep)
    app = SubscriptionApp(manager, auth_handler=lambda payload: {"user_id": 1, "expires": 4_000_000_000})
    async with served(app) as address, browsing(address) as client, answering(client) as response:
        heard = parts(response)
        await anext(heard)
        await manager.publish_event("t", "user", {"id": 1})
        await anext(heard)
        now = 4_000_000_000.0
        timers[0]()
        fatal, end = await soon(everything(heard), "the end of the answer")
    assert (fatal["payload"], end) == (None, None)
    assert fatal["errors"][0]["extensions"]["code"] == "TOKEN_EXPIRED"
