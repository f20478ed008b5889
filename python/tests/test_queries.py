"""Queries and mutations over HTTP: media types, statuses, methods, hooks, deadlines."""

import asyncio
import logging

import coulis
import pytest
import strawberry
from conftest import served, soon, until
from coulis.asgi import SubscriptionApp
from graphql import build_schema
from speaking import posted
from streams import browsing

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
VOUCHED = {"graphql-require-preflight": "1"}


async def echo(query, variables, operation_name, context):
    return {"data": {"query": query, "variables": variables, "name": operation_name}}


async def waits(*arguments):
    await asyncio.Event().wait()


@pytest.mark.parametrize("accept", [JSON, RESPONSE, f"{RESPONSE}, {JSON};q=0.9"])
async def test_a_result_is_whole_json_of_the_type_that_is_asked_for(manager, accept):
    body = {"query": "query N($a: Int) { a(a: $a) }", "variables": {"a": 1}, "operationName": "N"}
    async with (
        served(SubscriptionApp(manager, execute=echo)) as address,
        browsing(address, headers={"accept": accept}) as client,
    ):
        posted = await client.post("/", json=body)
        params = {**body, "variables": '{"a": 1}'}
        got = await client.get("/", params=params, headers=VOUCHED)
    for answer in (posted, got):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"{accept.split(',')[0]}; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.json() == {"data": {"query": body["query"], "variables": {"a": 1}, "name": "N"}}


@pytest.mark.parametrize(
    ("result", "json", "response"),
    [
        ({"data": {"a": None}, "errors": [{"message": "m", "path": ["a"]}]}, 200, 200),
        ({"data": None, "errors": [{"message": "m", "path": ["a"]}]}, 200, 200),
        ({"errors": [{"message": "m"}]}, 200, 400),
        (coulis.UserError("no", code="OUT_OF_STOCK"), 200, 400),
        (coulis.AuthorizationFailed("no"), 403, 403),
        (ValueError("secret"), 500, 500),
        (5, 500, 500),
    ],
)
async def test_the_status_says_what_the_media_type_allows(manager, result, json, response):
    async def execute(*_):
        if isinstance(result, Exception):
            raise result
        return result

    async with served(SubscriptionApp(manager, execute=execute)) as address:
        for accept, expected in [(JSON, json), (RESPONSE, response)]:
            status, body = await posted(address, "{ a }", accept=accept)
            assert status == expected
            assert "secret" not in str(body)
            if isinstance(result, dict):
                assert body == result


def of_graphql_core():
    return build_schema("type Query { hello: String! } type Subscription { a: Int }")


def of_strawberry():
    @strawberry.type
    class Query:
        @strawberry.field
        def hello(self) -> str:
            raise ValueError("secret")

    return strawberry.Schema(Query)


@pytest.mark.parametrize("schema", [of_graphql_core, of_strawberry])
async def test_a_schema_object_answers(schema):
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), schema=schema()) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        # A field that fails: executed, so there is data, and it is null.
        status, body = await posted(address, "{ hello }", accept=RESPONSE)
        assert (status, body["data"]) == (200, None)
        assert body["errors"][0]["path"] == ["hello"]
        assert await posted(address, "{ __typename }") == (200, {"data": {"__typename": "Query"}})
        # Not executed: no data.
        for query, code in [("{", "GRAPHQL_PARSE_FAILED"), ("{ other }", "GRAPHQL_VALIDATION_FAILED")]:
            status, body = await posted(address, query, accept=RESPONSE)
            assert (status, list(body)) == (400, ["errors"])
            assert body["errors"][0]["extensions"]["code"] == code


async def test_without_execute_queries_are_refused(manager):
    async with served(SubscriptionApp(manager)) as address:
        status, body = await posted(address, "{ a }", accept=RESPONSE)
    assert (status, body["errors"][0]["message"]) == (400, "the operation must be a subscription")


async def test_get_runs_no_mutation(manager):
    called = []
    async with (
        served(SubscriptionApp(manager, execute=lambda *_: called.append(1))) as address,
        browsing(address, headers=VOUCHED) as client,
    ):
        for query in ["mutation { a }", "query A { a } mutation B { b }"]:
            params = {"query": query, "operationName": "B"} if "B" in query else {"query": query}
            answer = await client.get("/", params=params)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert called == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"authorization": "Basic eA=="}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"cookie": "session=1"}, 403),
        ({"sec-fetch-site": "same-origin", "cookie": "session=1"}, 200),
        ({"apollo-require-preflight": "x"}, 200),
        ({"content-type": "application/json"}, 200),
    ],
)
async def test_a_query_by_get_is_not_of_a_foreign_page(manager, headers, status):
    async with (
        served(SubscriptionApp(manager, execute=echo)) as address,
        browsing(address, headers=headers) as client,
    ):
        assert (await client.get("/", params={"query": "{ a }"})).status_code == status


async def test_any_get_is_answered_where_that_is_asked_for(manager):
    async with (
        served(SubscriptionApp(manager, execute=echo, csrf_prevention=False)) as address,
        browsing(address) as client,
    ):
        assert (await client.get("/", params={"query": "{ a }"})).status_code == 200


async def test_the_hooks_are_asked_about_queries_too(manager):
    told = []

    def on_subscribe(connection, operation):
        told.append(operation.kind)
        return operation.kind != "mutation"

    async with served(
        SubscriptionApp(
            manager,
            execute=echo,
            on_subscribe=on_subscribe,
            on_complete=lambda *_: told.append("complete"),
            on_disconnect=lambda *_: told.append("disconnect"),
        )
    ) as address:
        assert (await posted(address, "{ a }"))[0] == 200
        await until(lambda: told == ["query", "complete", "disconnect"])
        status, body = await posted(address, "mutation { a }")
        assert (status, body["errors"][0]["extensions"]["code"]) == (403, "FORBIDDEN")
        await until(lambda: told[3:] == ["mutation", "disconnect"])


async def test_a_client_that_goes_cancels_its_query(manager):
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def execute(*_):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with served(SubscriptionApp(manager, execute=execute)) as address:
        asking = asyncio.create_task(posted(address, "{ a }"))
        await started.wait()
        asking.cancel()
        await cancelled.wait()
    await until(lambda: manager.get_metrics()["subscribers"] == 0)


async def test_a_drain_lets_queries_end_and_cuts_what_is_late(manager):
    go, started = asyncio.Event(), []

    async def execute(query, *_):
        started.append(query)
        await (go.wait() if "quick" in query else waits())
        return {"data": {}}

    app = SubscriptionApp(manager, execute=execute)
    async with served(app) as address:
        quick, late = (asyncio.create_task(posted(address, query)) for query in ["{ quick }", "{ late }"])
        await until(lambda: len(started) == 2)
        drain = asyncio.create_task(app.drain(0.2))
        await until(lambda: not app.door.is_open)
        go.set()
        assert await quick == (200, {"data": {}})
        assert ((await drain).left, (await drain).cut) == (1, 1)
        status, body = await late
        assert (status, body["errors"][0]["extensions"]["code"]) == (503, "ENGINE_CLOSED")


async def test_a_token_that_expires_ends_a_query(manager, monkeypatch):
    now, started = 1_000, asyncio.Event()
    monkeypatch.setattr("coulis.admission.time.time", lambda: now)

    async def execute(*_):
        nonlocal now
        now += 100
        started.set()
        await waits()

    app = SubscriptionApp(
        manager, execute=execute, auth_handler=lambda payload: {"user_id": "u", "expires": 1_001}
    )
    async with served(app) as address:
        status, body = await soon(posted(address, "{ a }"), "the end of the query")
    assert (status, body["errors"][0]["extensions"]["code"]) == (401, "TOKEN_EXPIRED")


# Deadlines


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"execute": waits, "execute_timeout": 0.01}, "the operation"),
        ({"on_subscribe": waits}, "`on_subscribe`"),
        ({"on_connect": waits}, "`on_connect`"),
        ({"context": waits}, "`context`"),
        ({"auth_handler": waits}, "`auth_handler`"),
    ],
)
async def test_what_is_late_is_504(manager, options, what, accept):
    app = SubscriptionApp(manager, hook_timeout=0.01, **{"execute": echo, **options})
    async with served(app) as address:
        status, body = await posted(address, "{ a }", accept=accept)
    assert (status, body["errors"][0]["extensions"]["code"]) == (504, "TIMEOUT")
    assert body["errors"][0]["message"] == f"{what} did not answer within 0.01 seconds"
    await until(lambda: manager.get_metrics()["subscribers"] == 0)


@pytest.mark.parametrize("hook", ["auth_handler", "on_connect", "context"])
async def test_a_socket_that_is_not_let_in_in_time_is_closed(manager, connect, hook):
    async with served(SubscriptionApp(manager, hook_timeout=0.01, **{hook: waits})) as address:
        client = await connect(address)
        await client.say(type="connection_init")
        assert (await client.closed())[:2] == (4504, f"`{hook}` did not answer within 0.01 seconds")


async def test_a_socket_outlives_what_is_late(manager, connect):
    app = SubscriptionApp(manager, execute=waits, execute_timeout=0.01)
    async with served(app) as address:
        client = await connect(address)
        await client.init()
        assert await client.subscribe("1", "subscription { user { id } }") == []
        await client.say(type="subscribe", id="2", payload={"query": "{ a }"})
        late = await client.hear()
        assert late["payload"]["errors"][0]["extensions"]["code"] == "TIMEOUT"
        assert await client.hear() == {"type": "complete", "id": "2"}
        await manager.publish_event("t", "user", {"id": 1})
        assert (await client.hear())["payload"] == {"data": {"user": {"id": 1}}}


async def test_late_hooks_are_ended_and_logged(manager, caplog):
    app = SubscriptionApp(manager, execute=echo, hook_timeout=0.01, on_complete=waits, on_disconnect=waits)
    async with served(app) as address:
        assert (await posted(address, "{ a }"))[0] == 200
        with caplog.at_level(logging.ERROR):
            await until(lambda: "`on_complete`" in caplog.text and "`on_disconnect`" in caplog.text)


async def test_who_refuses_to_be_cancelled_is_not_waited_for(manager):
    go = asyncio.Event()

    async def execute(*_):
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue

    async with served(SubscriptionApp(manager, execute=execute, execute_timeout=0.01)) as address:
        assert (await posted(address, "{ a }"))[0] == 504
        go.set()


@pytest.mark.parametrize("option", ["hook_timeout", "execute_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
async def test_what_is_no_time_is_refused(manager, option, value):
    with pytest.raises(ValueError, match=option):
        SubscriptionApp(manager, **{option: value})
