"""GraphQL over SSE, one answer for each operation, over a real server."""

import asyncio
import json

import coulis
import pytest
from conftest import served, soon, until
from coulis.asgi import SubscriptionApp
from streams import EVENTS, asked, browsing, events

QUERY = "subscription { user { id } }"


@pytest.fixture
async def address(manager):
    async with served(SubscriptionApp(manager)) as address:
        yield address


@pytest.fixture
async def client(address):
    async with browsing(address) as client:
        yield client


def count(manager):
    return manager.get_metrics()["subscriptions"]


async def test_results_are_events_with_their_cursor(manager, client):
    async with events(client, **asked(QUERY)) as answer:
        headers = answer.response.headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache, no-transform"
        # Active when the head has arrived.
        assert await manager.publish_event("t", "user", {"id": "é🦀\n", "secret": 1}) == 1
        assert await answer.result() == {"data": {"user": {"id": "é🦀\n"}}}
        assert answer.id == answer.extensions["cursor"] != ""
    await until(lambda: not count(manager))


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", "application/json;q=0.5, Text/Event-Stream"])
async def test_get_asks_by_the_parameters_of_the_url(manager, client, accept):
    query = "subscription N($wanted: Int) { user(id: $wanted) { id } } subscription Other { other }"
    params = {"query": query, "operationName": "N", "variables": '{"wanted": 1}'}
    async with events(client, method="GET", params=params, headers={"accept": accept}) as answer:
        assert await manager.publish_event("t", "user", {"id": 1}) == 1
        assert await answer.result() == {"data": {"user": {"id": 1}}}


async def test_the_end_of_the_client_is_the_end_of_the_subscription(manager, client):
    async with events(client, **asked(QUERY)):
        assert count(manager) == 1
    await until(lambda: not count(manager))
    assert await manager.publish_event("t", "user", {"id": 1}) == 0


async def test_the_head_and_a_comment_come_at_once(client):
    async with client.stream("POST", "/", headers=EVENTS, **asked(QUERY)) as response:
        assert await anext(response.aiter_bytes()) == b":\n\n"


async def test_a_comment_comes_in_every_interval(manager):
    async with (
        served(SubscriptionApp(manager, stream_keep_alive=0.01)) as address,
        browsing(address) as client,
        client.stream("POST", "/", headers=EVENTS, **asked(QUERY)) as response,
    ):
        heard = b""
        async for chunk in response.aiter_bytes():
            heard += chunk
            if len(heard) >= 12:
                break
        assert heard.replace(b":\n\n", b"") == b""


async def test_a_publisher_cannot_write_events_of_its_own(manager, client):
    async with events(client, **asked("subscription { user }")) as answer:
        await manager.publish_event(
            "t", "user", b'{"user":\r\n\n{"a":\n\n"x\\nevent: complete\\ndata:\\n\\n"}}'
        )
        assert await answer.result() == {"data": {"user": {"user": {"a": "x\nevent: complete\ndata:\n\n"}}}}


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (asked("subscription {"), "syntax"),
        (asked("subscription { a b }"), "one"),
        (asked("mutation { a }"), "must be a subscription"),
        (asked("subscription A { a } subscription B { b }"), "exactly one operation"),
        (asked("subscription ($a: Int!) { a(a: $a) }"), "$a"),
        (asked(QUERY, extensions={"coulis": {"resume": 7}}), "must be a cursor or null"),
    ],
)
async def test_what_is_wrong_with_the_operation_is_told_in_the_stream(manager, client, request_, told):
    async with events(client, **request_) as answer:
        (name, data), end = await answer.rest()
    assert (name, end) == ("next", ("complete", None))
    assert list(data) == ["errors"]
    assert data["errors"][0]["extensions"]["code"]
    assert told in data["errors"][0]["message"] or told == "syntax"
    assert count(manager) == 0


@pytest.mark.parametrize(
    ("method", "request_", "headers", "status", "told"),
    [
        ("POST", {"content": "{"}, {"content-type": "application/json"}, 400, "invalid JSON"),
        ("POST", {"content": "{}"}, {"content-type": "application/json"}, 400, "`query` is missing"),
        ("POST", {"json": [{"query": QUERY}]}, {}, 400, "no batch"),
        ("POST", {"json": {"query": QUERY, "variables": "x"}}, {}, 400, "`variables` must be an object"),
        ("POST", {"data": {"query": QUERY}}, {}, 415, "x-www-form-urlencoded"),
        ("POST", {"files": {"query": QUERY.encode()}}, {}, 415, "multipart/form-data"),
        (
            "POST",
            {"content": json.dumps({"query": QUERY})},
            {"content-type": "text/plain"},
            415,
            "text/plain",
        ),
        ("POST", {"content": json.dumps({"query": QUERY})}, {}, 415, "send application/json"),
        ("POST", asked(QUERY), {"accept": "application/json"}, 406, "text/event-stream"),
        ("POST", asked(QUERY), {"accept": "image/png"}, 406, "application/graphql-response+json"),
        ("POST", asked("x" * 2_000_000), {}, 413, "message_bytes_max"),
        ("GET", {}, {}, 400, "`query` is missing"),
        ("GET", {"params": {"query": QUERY, "variables": "{"}}, {}, 400, "`variables`: "),
        ("GET", {"params": {"query": "mutation { a }"}}, {}, 405, "send POST"),
        ("GET", {"params": {"query": "{ a }"}}, {}, 403, "GraphQL-Require-Preflight"),
        ("PATCH", asked(QUERY), {}, 405, "PATCH"),
        ("OPTIONS", {}, {}, 405, "OPTIONS"),
    ],
)
async def test_what_is_no_request_is_refused(manager, client, method, request_, headers, status, told):
    response = await client.request(method, "/", headers={**EVENTS, **headers}, **request_)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert told in response.json()["errors"][0]["message"]
    assert ("allow" in response.headers) == (status == 405)
    assert count(manager) == 0


async def test_a_body_is_not_read_beyond_its_bound(manager):
    taken, sent = 0, []

    async def receive():
        nonlocal taken
        taken += 65_536
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    async def send(message):
        sent.append((taken, message))

    headers = [(b"accept", b"text/event-stream"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "query_string": b"", "headers": headers}
    await SubscriptionApp(manager)(scope, receive, send)
    before, start = sent[0]
    assert (start["status"], before) == (413, (1 << 20) + 65_536)
    # What was on its way is dropped for a while, so that the answer is not lost with it.
    assert taken <= 2 * before
    assert sent[-1][1].get("more_body", False) is False


async def test_a_body_must_arrive_in_time(manager):
    async with served(SubscriptionApp(manager, init_timeout=0.05)) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        writer.write(head.encode())
        assert await reader.readline() == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()


async def test_a_client_that_was_cut_off_resumes_by_its_last_event_id(manager, client):
    async with events(client, **asked(QUERY)) as answer:
        await manager.publish_event("t", "user", {"id": 1})
        await answer.result()
        last = answer.id
    await until(lambda: not count(manager))
    for number in range(2, 30):
        await manager.publish_event("t", "user", {"id": number})
    # As a browser does it: the same request with one header more.
    request = {"method": "GET", "params": {"query": QUERY}, "headers": {"last-event-id": last}}
    async with events(client, **request) as answer:
        await answer.result()
        assert answer.extensions["resumed"] is True
        assert answer.id == last
        missed = [await answer.result() for _ in range(2, 30)]
        assert [result["data"]["user"]["id"] for result in missed] == list(range(2, 30))
        await manager.publish_event("t", "user", {"id": 30})
        assert await answer.result() == {"data": {"user": {"id": 30}}}


@pytest.mark.parametrize("last", ["x", "1.0.0.0", "é", "1.a.0.ffffffffffffffffffff"])
async def test_a_last_event_id_that_says_nothing_is_told(manager, client, last):
    async with events(client, headers={"last-event-id": last.encode()}, **asked(QUERY)) as answer:
        await answer.result()
        assert answer.extensions["resumed"] is False
        await manager.publish_event("t", "user", {"id": 1})
        assert await answer.result() == {"data": {"user": {"id": 1}}}


async def test_a_request_may_say_itself_where_to_resume(manager, client):
    async with events(client, **asked(QUERY, extensions={"coulis": {"resume": None}})) as answer:
        await answer.result()
        position = answer.id
    await manager.publish_event("t", "user", {"id": 1})
    extensions = {"coulis": {"resume": position}}
    async with events(client, **asked(QUERY, extensions=extensions)) as answer:
        assert await answer.result() == {"data": None}
        assert await answer.result() == {"data": {"user": {"id": 1}}}


async def test_without_logs_there_are_no_ids():
    limits = {"log_events_max": 0}
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager,
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
        events(client, **asked("subscription { user { a } }")) as answer,
    ):
        await manager.publish_event("t", "user", {"a": {"b": {"cursor": "1.a.0.1"}}})
        assert await answer.result() == {"data": {"user": {"a": {"b": {"cursor": "1.a.0.1"}}}}}
        assert answer.id == ""


async def test_a_slow_reader_costs_a_bounded_number_of_results():
    """The answer waits for the socket, and the engine drops what does not fit."""
    limits = {"ring_frames_max": 8}
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager,
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
        events(client, **asked("subscription { user { text id } }")) as answer,
    ):
        text = "x" * 100_000
        for number in range(400):
            await manager.publish_event("t", "user", {"text": text, "id": number})
        lost, ids = 0, []
        while not ids or ids[-1] < 399:
            result = await answer.result()
            if result["data"] is None:
                lost += answer.extensions["gap"]["count"]
            else:
                ids.append(result["data"]["user"]["id"])
        assert lost > 0
        assert lost + len(ids) == 400
        assert ids == sorted(ids)


async def test_a_loss_that_ends_a_subscription_ends_the_answer_without_complete(manager, client):
    manager.registry.subscription("user", overflow="disconnect")(lambda event, variables: {"user": event})
    async with events(client, **asked(QUERY)) as answer:
        # All in one go, so that the answer cannot be written in between.
        manager.executor.publish_many([("t", "user", {"id": number}) for number in range(1_100)])
        heard = await answer.rest()
    assert heard[-1][0] == "next"
    assert heard[-1][1]["extensions"]["coulis"]["gap"]["count"] >= 70


async def test_a_resolver_that_fails_is_a_result_with_errors(caplog):
    registry = coulis.Registry()

    @registry.subscription("user")
    async def resolve(event, variables):
        if event["id"] == 1:
            raise coulis.UserError("it broke")
        return {"user": event}

    async with (
        coulis.SubscriptionManager(registry=registry) as manager,
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
        events(client, **asked(QUERY)) as answer,
    ):
        for number in (1, 2):
            await manager.publish_event("t", "user", {"id": number})
        failed, well = await answer.result(), await answer.result()
        assert (failed["data"], failed["errors"][0]["message"]) == (None, "it broke")
        assert well == {"data": {"user": {"id": 2}}}


async def test_bounds_of_the_engine_are_answered_with_429(manager):
    limits = {"subscribers_max": 1}
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager,
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
        events(client, **asked(QUERY)),
    ):
        response = await client.post("/", headers=EVENTS, **asked(QUERY))
        assert response.status_code == 429
        assert "subscribers_max" in response.json()["errors"][0]["message"]


async def test_a_user_has_so_many_streams_at_once():
    limits = {"subscribers_per_user_max": 2}
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager,
        served(SubscriptionApp(manager, auth_handler=by_header)) as address,
        browsing(address) as client,
        events(client, headers={"authorization": "7"}, **asked(QUERY)),
        events(client, headers={"authorization": "7"}, **asked(QUERY)),
    ):
        response = await client.post("/", headers={**EVENTS, "authorization": "7"}, **asked(QUERY))
        assert response.status_code == 429
        async with events(client, headers={"authorization": "8"}, **asked(QUERY)):
            pass


async def test_a_closed_engine_is_503():
    manager = coulis.SubscriptionManager(registry=coulis.Registry())
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        await manager.close()
        response = await client.post("/", headers=EVENTS, **asked(QUERY))
        assert response.status_code == 503
        assert response.json()["errors"][0]["extensions"]["code"] == "ENGINE_CLOSED"


async def test_an_answer_of_an_engine_that_is_closed_ends_with_the_next_sign_of_life():
    manager = coulis.SubscriptionManager(registry=coulis.Registry())
    async with (
        served(SubscriptionApp(manager, stream_keep_alive=0.01)) as address,
        browsing(address) as client,
        events(client, **asked(QUERY)) as answer,
    ):
        await asyncio.to_thread(manager.executor.close)
        (_, data), end = await answer.rest()
        assert end == ("complete", None)
        assert data["errors"][0]["extensions"]["code"] == "ENGINE_CLOSED"


def by_header(payload):
    return {"user_id": payload["Authorization"]} if "authorization" in payload else None


async def by_scope(payload, scope):
    assert scope["type"] == "http"
    return coulis.SecurityContext(payload["headers"]["authorization"])


class ByMethod:
    async def authenticate(self, payload, scope):
        return dict(scope["headers"])[b"authorization"] and {"user_id": payload["authorization"]}


@pytest.mark.parametrize("handler", [by_header, by_scope, ByMethod()])
async def test_the_auth_handler_is_given_the_headers(manager, handler):
    async with (
        served(SubscriptionApp(manager, auth_handler=handler)) as address,
        browsing(address) as client,
        events(client, headers={"authorization": "7"}, **asked(QUERY)) as answer,
    ):
        assert await manager.publish_event("t", "user", {"id": 1}, user_id=8) == 0
        assert await manager.publish_event("t", "user", {"id": 2}, user_id=7) == 1
        assert await answer.result() == {"data": {"user": {"id": 2}}}


async def refuses(payload):
    raise coulis.AuthenticationFailed("no")


def breaks(payload):
    raise RuntimeError("no database")


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (lambda payload: {"user_id": 1, "expires": 90_000}, 401),
        (lambda payload: None, 401),
        (lambda payload: False, 401),
        (refuses, 401),
        (breaks, 500),
        (str, 500),
    ],
)
async def test_whoever_is_not_let_in_is_told_by_status(manager, handler, status):
    async with (
        served(SubscriptionApp(manager, auth_handler=handler)) as address,
        browsing(address) as client,
    ):
        response = await client.post("/", headers=EVENTS, **asked(QUERY))
        assert response.status_code == status
        assert ("www-authenticate" in response.headers) == (status == 401)
        assert "database" not in response.text
    assert manager.get_metrics()["subscribed"] == 0


async def test_an_answer_ends_when_its_token_does(manager, monkeypatch):
    now = 3_999_999_000.0
    monkeypatch.setattr("coulis.admission.time.time", lambda: now)
    timers = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_at", intercept(loop.call_at, timers))
    handler = lambda payload: {"user_id": 1, "expires": 4_000_000_000}  # noqa: E731
    async with (
        served(SubscriptionApp(manager, auth_handler=handler)) as address,
        browsing(address) as client,
        events(client, **asked(QUERY)) as answer,
    ):
        now = 4_000_000_000.0
        (expire,) = timers
        expire()
        (name, data), end = await soon(answer.rest(), "the end of the answer")
        assert (name, end) == ("next", ("complete", None))
        assert data["errors"][0]["extensions"]["code"] == "TOKEN_EXPIRED"
    assert count(manager) == 0


def intercept(call_at, timers):
    """Keep callbacks of `Results.watch`, which run when the test says so."""

    def keep(when, callback, *arguments, **options):
        if getattr(callback, "__name__", "") == "watch":
            timers.append(lambda: callback(*arguments))
        return call_at(when, callback, *arguments, **options)

    return keep


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://{address}"}, 200),
        ({"origin": "null"}, 403),
        ({"cookie": "a=b"}, 403),
        ({"cookie": "a=b", "sec-fetch-site": "same-origin"}, 200),
        ({"cookie": "a=b", "sec-fetch-site": "cross-site"}, 403),
        ({"cookie": "a=b", "sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"cookie": "a=b", "sec-fetch-site": "same-origin", "origin": "http://evil.example"}, 403),
    ],
)
async def test_pages_of_other_origins_are_refused(address, client, headers, status):
    headers = {name: value.replace("{address}", address) for name, value in headers.items()}
    request = {"headers": {**EVENTS, **headers}, "params": {"query": QUERY}}
    async with client.stream("GET", "/", **request) as response:
        assert response.status_code == status


async def test_many_answers_get_the_same_results(manager, client):
    async with (
        events(client, **asked(QUERY)) as one,
        events(client, **asked("subscription { user { name: id } }")) as two,
    ):
        assert await manager.publish_event("t", "user", {"id": 1}) == 2
        assert await one.result() == {"data": {"user": {"id": 1}}}
        assert await two.result() == {"data": {"user": {"name": 1}}}
    await until(lambda: not count(manager))


@pytest.mark.parametrize(
    "options", [{"stream_keep_alive": 0}, {"reservations_max": -1}, {"reservation_timeout": 0}]
)
async def test_bad_settings_are_named(manager, options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        SubscriptionApp(manager, **options)
