"""GraphQL over HTTP and the browser's page against who means ill, and against bad moments."""

import asyncio
import json

import coulis
import pytest
from conftest import ORDERS, PATIENCE, served, until
from coulis.admission import payload_of
from coulis.asgi import SubscriptionApp
from speaking import TOKEN
from streams import EVENTS, PARTS, asked, browsing, events

QUERY = "subscription { orders { id } }"


@pytest.fixture
def schema():
    return ORDERS


def request(method="POST", query=b"", body=b"", headers=()):
    """A scope and a `receive` without a server; the client stays."""
    sent = [(b"host", b"a"), (b"content-type", b"application/json"), *headers]
    scope = {"type": "http", "method": method, "path": "/", "query_string": query, "headers": sent}
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        await asyncio.sleep(0)
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    return scope, receive


@pytest.mark.parametrize("headers", [EVENTS, PARTS, {}])
@pytest.mark.parametrize("hook", ["auth_handler", "on_connect"])
async def test_who_was_on_the_way_in_when_the_drain_began_is_sent_away(manager, hook, headers):
    asked_about, go_on, ran = asyncio.Event(), asyncio.Event(), []

    async def wait(*_):
        asked_about.set()
        await go_on.wait()
        return {"user_id": "one"}

    async def execute(*_):
        ran.append(1)
        return {"data": {"a": 1}}

    app = SubscriptionApp(manager, execute=execute, **{hook: wait})
    query = "mutation { a }" if headers == {} else QUERY
    async with served(app) as address, browsing(address) as client:
        answer = asyncio.create_task(client.post("/", headers=headers, **asked(query)))
        await asked_about.wait()
        await app.drain(0.1)
        go_on.set()
        answer = await asyncio.wait_for(answer, PATIENCE)
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"]["code"] == "ENGINE_CLOSED"
        assert ran == [], "a client that is told to try again must not have changed anything"
        await until(lambda: manager.get_metrics()["subscribers"] == 0)


async def test_a_reserved_stream_is_not_opened_once_the_drain_began(manager):
    asked_about, go_on = asyncio.Event(), asyncio.Event()
    go_on.set()

    async def wait(payload):
        asked_about.set()
        await go_on.wait()
        return {"user_id": "one"}

    app = SubscriptionApp(manager, auth_handler=wait)
    async with served(app) as address, browsing(address) as client:
        token = (await client.put("/")).text
        asked_about.clear()
        go_on.clear()
        answer = asyncio.create_task(client.get("/", headers={**EVENTS, TOKEN: token}))
        await asked_about.wait()
        await app.drain(0.1)
        go_on.set()
        assert (await asyncio.wait_for(answer, PATIENCE)).status_code == 503


@pytest.mark.parametrize("end", ["leave", "cut"])
async def test_an_answer_that_has_only_begun_when_it_is_sent_away_ends(manager, end):
    """The server takes its time with the head of the answer."""
    app = SubscriptionApp(manager, auth_handler=lambda payload: {"user_id": "one"})
    begun, go_on, sent = asyncio.Event(), asyncio.Event(), []

    async def send(message):
        sent.append(message)
        begun.set()
        await go_on.wait()

    body = json.dumps({"query": QUERY}).encode()
    scope, receive = request(body=body, headers=[(b"accept", b"text/event-stream")])
    answering = asyncio.create_task(app(scope, receive, send))
    await begun.wait()
    (guest,) = app.door.guests()
    getattr(guest, end)(1012, "")
    go_on.set()
    await asyncio.wait_for(answering, PATIENCE)
    whole = sent[-1]["type"] == "http.response.body" and not sent[-1]["more_body"]
    assert whole is (end == "leave")
    await until(lambda: manager.get_metrics()["subscribers"] == 0)


async def test_a_client_that_goes_before_its_answer_begins_is_no_failure_of_the_app(manager):
    """Servers may say so by an `OSError` of `send` (ASGI, version 2.4)."""
    app = SubscriptionApp(manager)

    async def send(message):
        raise OSError("gone")

    body = json.dumps({"query": QUERY}).encode()
    scope, receive = request(body=body, headers=[(b"accept", b"text/event-stream")])
    await app(scope, receive, send)
    assert app.door.guests() == []
    await until(lambda: manager.get_metrics()["subscribers"] == 0)


@pytest.mark.parametrize(
    ("method", "accept", "query"),
    [
        ("POST", b"text/event-stream", QUERY),
        ("POST", b"application/json", "{ a }"),
        ("PUT", b"text/plain", ""),
    ],
)
async def test_a_request_that_is_cancelled_at_any_moment_leaves_nothing(manager, method, accept, query):
    told = []

    async def hook(*_):
        await asyncio.sleep(0)
        return {"user_id": "one"}

    async def send(message):
        await asyncio.sleep(0)

    app = SubscriptionApp(
        manager,
        execute=hook,
        auth_handler=hook,
        on_connect=hook,
        on_subscribe=hook,
        on_disconnect=lambda *_: told.append(1),
        reservation_timeout=0.01,
    )
    body = json.dumps({"query": query}).encode()
    headers = [(b"accept", accept)]
    for turns in range(40):
        scope, receive = request(method, body=body, headers=headers)
        answering = asyncio.create_task(app(scope, receive, send))
        for _ in range(turns):
            await asyncio.sleep(0)
        answering.cancel()
        await asyncio.wait([answering])
        await until(lambda: manager.get_metrics()["subscribers"] == 0)
        assert app.door.guests() == []
    assert told


@pytest.mark.parametrize("origins", [["null"], ["https://app.example", "null"]])
async def test_credentials_are_for_no_page_that_calls_itself_null(manager, origins):
    """Any page can: by a frame with a sandbox."""
    with pytest.raises(ValueError, match="`null`"):
        SubscriptionApp(manager, allowed_origins=origins, cors_credentials=True)
    SubscriptionApp(manager, allowed_origins=origins)


@pytest.mark.parametrize("code", ["\ud800", "x" * 3_000_000])
@pytest.mark.parametrize("headers", [EVENTS, PARTS])
async def test_an_error_that_cannot_be_sent_ends_its_operation_all_the_same(manager, code, headers, caplog):
    def on_subscribe(*_):
        raise coulis.UserError("no", code=code)

    app = SubscriptionApp(manager, on_subscribe=on_subscribe)
    async with served(app) as address, browsing(address) as client:
        answer = await asyncio.wait_for(client.post("/", headers=headers, **asked(QUERY)), PATIENCE)
        assert "INTERNAL_SERVER_ERROR" in answer.text
    assert "sending an error failed" in caplog.text


@pytest.mark.parametrize(
    ("name", "bytes_of_it", "status"),
    [
        (b"accept", 4_000, 406),
        (b"accept", 5_000, 431),
        (b"Content-Type", 4_000, 415),
        (b"Content-Type", 5_000, 431),
        (b"content-encoding", 5_000, 431),
        (b"cookie", 60_000, 403),
        (b"cookie", 70_000, 431),
    ],
)
async def test_headers_are_bounded_where_the_server_does_not(manager, name, bytes_of_it, status):
    sent = []

    async def send(message):
        sent.append(message)

    scope, receive = request(headers=[(name, b"a" * bytes_of_it)])
    await SubscriptionApp(manager)(scope, receive, send)
    assert sent[0]["status"] == status


async def test_a_long_accept_is_refused_before_the_page_reads_it(manager):
    sent = []

    async def send(message):
        sent.append(message)

    scope, receive = request("GET", headers=[(b"accept", b"text/html," * 500)])
    await SubscriptionApp(manager)(scope, receive, send)
    assert sent[0]["status"] == 431


async def test_headers_may_be_lists_as_asgi_has_them(manager):
    sent = []

    async def send(message):
        sent.append(message)

    async def execute(*_):
        return {"data": {"a": 1}}

    scope, receive = request(body=b'{"query":"{ a }"}')
    scope["headers"] = [list(header) for header in scope["headers"]]
    await SubscriptionApp(manager, execute=execute)(scope, receive, send)
    assert sent[0]["status"] == 200


def test_cookies_that_http_2_has_split_are_one_again():
    """RFC 9113, section 8.2.3; other headers that come twice are lists."""
    headers = [(b"cookie", b"a=1"), (b"Accept", b"x/y"), (b"cookie", b"b=2"), (b"accept", b"*/*")]
    assert payload_of({"headers": headers})["headers"] == {"cookie": "a=1; b=2", "accept": "x/y, */*"}


async def test_no_answer_is_taken_for_another_kind_than_it_says(manager):
    async with (
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
        events(client, **asked(QUERY)) as stream,
    ):
        answers = [stream.response, await client.get("/"), await client.put("/"), await client.patch("/")]
    assert [answer.headers["x-content-type-options"] for answer in answers] == ["nosniff"] * 4


async def test_a_console_function_that_does_not_answer_lets_nobody_in(manager):
    app = SubscriptionApp(manager, console=lambda _: asyncio.Event().wait(), hook_timeout=0.05)
    async with served(app) as address, browsing(address) as client:
        answer = await asyncio.wait_for(client.get("/?console"), PATIENCE)
    assert answer.status_code == 504
    assert "`console` did not answer" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("query", ["console", "page=schema"])
async def test_who_looks_at_the_page_comes_and_goes_for_the_hooks(manager, query):
    """An application that counts its clients must not count them up only."""
    inside = []

    def on_disconnect(connection, code):
        inside.remove(connection)
        raise RuntimeError("logged")

    app = SubscriptionApp(manager, console=True, on_connect=inside.append, on_disconnect=on_disconnect)
    async with served(app) as address, browsing(address) as client:
        assert (await client.get(f"/?{query}")).status_code == 200
    assert inside == []


@pytest.mark.parametrize("query", ["page=schema", "query={a}"])
async def test_who_is_refused_after_on_connect_goes_for_the_hooks(manager, query):
    inside = []

    def context(connection):
        raise coulis.UserError("not today")

    hooks = {"on_connect": inside.append, "on_disconnect": lambda connection, code: inside.remove(connection)}
    app = SubscriptionApp(manager, execute=print, context=context, **hooks)
    headers = {"graphql-require-preflight": "1", "accept": "application/json"}
    async with served(app) as address, browsing(address) as client:
        assert (await client.get(f"/?{query}", headers=headers)).status_code == 403
        await until(lambda: inside == [])


async def test_without_a_function_the_console_is_not_for_users_of_a_tenant(manager):
    """It shows all tenants, so being one of them does not suffice."""

    def identify(payload):
        name = payload["headers"].get("name")
        return {"user_id": name, "tenant_id": "acme" if name == "customer" else None}

    body = {"subscription": "1", "event_type": "t", "channel": "orders"}
    for console, status in ((True, 403), (lambda connection: True, 200)):
        app = SubscriptionApp(manager, auth_handler=identify, console=console)
        async with served(app) as address, browsing(address) as client:
            for name, expected in (("operator", 200), ("customer", status)):
                headers = {"name": name}
                answers = [
                    await client.get("/?console", headers=headers),
                    await client.get("/?console=subscriptions", headers=headers),
                    await client.post("/?console=explain", headers=headers, json=body),
                ]
                assert [answer.status_code for answer in answers] == [expected] * 3
                if expected == 403:
                    assert "`console=`" in answers[0].json()["errors"][0]["message"]
