"""GraphQL over SSE in the single connection mode: one stream for all operations of a page."""

import coulis
import pytest
from conftest import served, until
from coulis.asgi import SubscriptionApp
from streams import EVENTS, asked, browsing, events

QUERY = "subscription { user { id } }"
TOKEN = "X-GraphQL-Event-Stream-Token"


@pytest.fixture
async def client(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        yield client


def count(manager):
    return manager.get_metrics()["subscriptions"]


async def reserve(client, **headers):
    response = await client.put("/", headers=headers)
    assert response.status_code == 201, response.text
    assert response.headers["content-type"].startswith("text/plain")
    assert len(response.text) >= 32
    return {TOKEN: response.text, **headers}


async def run(client, token, id, query=QUERY):
    return await client.post("/", headers=token, **asked(query, extensions={"operationId": id}))


async def stop(client, token, id):
    return await client.delete("/", headers=token, params={"operationId": id})


async def test_operations_share_a_stream(manager, client):
    token = await reserve(client)
    async with events(client, method="GET", headers=token) as stream:
        answer = await run(client, token, "1")
        assert (answer.status_code, answer.content) == (202, b"")
        assert (
            await run(client, token, "two\n\u2028", "subscription { user { name: id } }")
        ).status_code == 202
        assert await manager.publish_event("t", "user", {"id": 7}) == 2
        heard = {}
        for _ in range(2):
            name, data = await stream.next()
            assert name == "next"
            assert stream.id == ""
            heard[data["id"]] = data["payload"]["data"]
        assert heard == {"1": {"user": {"id": 7}}, "two\n\u2028": {"user": {"name": 7}}}
        assert (await stop(client, token, "1")).status_code == 200
        assert await stream.next() == ("complete", {"id": "1"})
        assert await manager.publish_event("t", "user", {"id": 8}) == 1
        assert (await stream.next())[1]["payload"]["data"] == {"user": {"name": 8}}
        # The id is free again.
        assert (await run(client, token, "1")).status_code == 202
    await until(lambda: not count(manager))
    assert (await run(client, token, "1")).status_code == 404


async def test_what_comes_before_the_stream_is_open_waits_for_it(manager, client):
    token = await reserve(client)
    await run(client, token, "1")
    assert await manager.publish_event("t", "user", {"id": 7}) == 1
    async with events(client, params={"token": token[TOKEN]}, method="GET") as stream:
        assert (await stream.next())[1]["payload"]["data"] == {"user": {"id": 7}}


async def test_what_is_wrong_is_told_by_status_and_not_in_the_stream(manager, client):
    token = await reserve(client)
    unknown = {TOKEN: "unknown"}
    assert (await run(client, unknown, "1")).status_code == 404
    assert (await stop(client, unknown, "1")).status_code == 404
    assert (await client.get("/", headers={**EVENTS, **unknown})).status_code == 404
    assert (await client.delete("/", params={"operationId": "1"})).status_code == 400
    assert (await client.delete("/", headers=token)).status_code == 400
    assert (await stop(client, token, "never")).status_code == 200
    assert (await client.put("/", headers=token)).status_code == 409
    assert (await client.put("/", headers={"accept": "application/json"})).status_code == 406
    assert (await client.post("/", headers=token, **asked(QUERY))).status_code == 400
    for id in ("", 1, "i" * 2_000):
        assert (await run(client, token, id)).status_code == 400
    invalid = await run(client, token, "1", "subscription { a b }")
    assert invalid.status_code == 400
    assert invalid.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert (await run(client, token, "1", "mutation { a }")).status_code == 400
    mutation = {"query": "mutation { a }", "extensions": '{"operationId":"1"}'}
    assert (await client.get("/", headers=token, params=mutation)).status_code == 405
    async with events(client, method="GET", headers=token) as stream:
        again = await client.get("/", headers={**EVENTS, **token})
        assert again.status_code == 409
        assert (await run(client, token, "1")).status_code == 202
        assert (await run(client, token, "1")).status_code == 409
        await manager.publish_event("t", "user", {"id": 7})
        assert (await stream.next())[1]["id"] == "1"
    assert (await client.request("HEAD", "/")).headers["allow"] == "GET, POST, PUT, DELETE"


async def test_a_get_with_a_token_runs_a_subscription(manager, client):
    token = await reserve(client)
    params = {"query": QUERY, "extensions": '{"operationId":"1"}'}
    headers = {**token, "accept": "application/json"}
    assert (await client.get("/", headers=headers, params=params)).status_code == 202
    assert count(manager) == 1


async def test_operations_of_a_stream_are_bounded():
    limits = {"subscriptions_per_subscriber_max": 2}
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager,
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
    ):
        token = await reserve(client)
        codes = [(await run(client, token, str(id))).status_code for id in range(3)]
        assert codes == [202, 202, 429]


async def test_streams_that_wait_are_bounded(manager):
    app = SubscriptionApp(manager, reservations_max=2)
    async with served(app) as address, browsing(address) as client:
        first, _ = await reserve(client), await reserve(client)
        assert (await client.put("/")).status_code == 503
        # One that is open does not wait.
        async with events(client, method="GET", headers=first):
            await reserve(client)
            assert (await client.put("/")).status_code == 503


async def test_a_stream_that_nobody_opens_is_dropped(manager):
    app = SubscriptionApp(manager, reservation_timeout=0.05)
    async with served(app) as address, browsing(address) as client:
        token = await reserve(client)
        await run(client, token, "1")
        await until(lambda: not manager.get_metrics()["subscribers"])
        assert (await run(client, token, "1")).status_code == 404
        assert count(manager) == 0


def by_header(payload):
    return {"user_id": payload["authorization"]} if "authorization" in payload else None


async def test_a_stream_belongs_to_who_reserved_it(manager):
    async with (
        served(SubscriptionApp(manager, auth_handler=by_header)) as address,
        browsing(address) as client,
    ):
        assert (await client.put("/")).status_code == 401
        mine = await reserve(client, authorization="7")
        theirs = {**mine, "authorization": "8"}
        await run(client, mine, "1")
        assert (await run(client, theirs, "2")).status_code == 404
        assert (await stop(client, theirs, "1")).status_code == 404
        assert (await client.get("/", headers={**EVENTS, **theirs})).status_code == 404
        assert (await run(client, {TOKEN: mine[TOKEN]}, "2")).status_code == 401
        assert await manager.publish_event("t", "user", {"id": 1}, user_id=7) == 1
