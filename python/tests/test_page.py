"""What an endpoint shows to a browser: the page, its files, the schema and the console, and to whom."""

import asyncio
import importlib.resources
import json
import re

import coulis
import pytest
from conftest import ORDERS, PATIENCE, served, until
from coulis.asgi import SubscriptionApp
from coulis.fastapi import SubscriptionRouterFactory
from coulis.page import console as console_of_the_page
from coulis.page.files import FILES
from coulis.starlette import subscription_routes
from fastapi import FastAPI
from starlette.applications import Starlette
from streams import EVENTS, asked, browsing, events

# What Chromium sends when somebody opens an address.
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
QUERY = "subscription { orders { id } }"
SHARD = ("waiting", "published", "delivered", "subscriptions")


@pytest.fixture
def schema():
    return ORDERS


def bearer(payload):
    """Know two users by their tokens."""
    name = payload.get("Authorization", "").removeprefix("Bearer ")
    return {"user_id": name} if name in ("admin", "guest") else None


def token(name):
    return {"authorization": f"Bearer {name}"}


def settings(response):
    return json.loads(re.search(r'id="settings">(.*?)</script>', response.text)[1])


def message(response):
    return response.json()["errors"][0]["message"]


def question(**changes):
    """The arguments of a POST that asks to explain an event for the subscription `1`."""
    asked = {"subscription": "1", "event_type": "t", "channel": "orders", "data": {"id": 1}}
    return {"json": {**asked, **changes}}


async def test_a_browser_gets_the_page_with_headers_that_keep_others_out(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        response = await client.get("/graphql", headers=BROWSER)
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        told = settings(response)
        nonce = told.pop("nonce")
        assert told == {"graphiql": True, "console": False, "schema": True, "executes": False}
        assert response.headers["content-security-policy"] == (
            f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["vary"] == "accept"
        assert response.headers["cache-control"] == "no-store"
        again = await client.get("/graphql", headers=BROWSER)
        assert settings(again)["nonce"] != nonce


async def test_the_page_has_no_scripts_of_its_own_text_and_no_address_of_others(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        text = (await client.get("/", headers=BROWSER)).text
    for script in re.findall(r"<script\b([^>]*)>", text):
        assert "src=" in script or 'type="application/json"' in script
    assert not re.search(r"\son\w+=|style=|//", text)


async def test_head_has_the_head_only(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        for query in ("", "?page=page.css", "?page=schema"):
            head = await client.head(f"/{query}", headers=BROWSER)
            full = await client.get(f"/{query}", headers=BROWSER)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(full.content)) != "0"


@pytest.mark.parametrize("name", FILES)
async def test_each_file_is_there_and_is_asked_for_once(manager, name):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        response = await client.get("/", params={"page": name})
        assert response.status_code == 200
        assert response.headers["content-type"] == FILES[name]
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.content == importlib.resources.files("coulis.page.files").joinpath(name).read_bytes()
        etag = response.headers["etag"]
        for known in (etag, f'"other", W/{etag}'):
            fresh = await client.get("/", params={"page": name}, headers={"if-none-match": known})
            assert (fresh.status_code, fresh.content, fresh.headers["etag"]) == (304, b"", etag)
        stale = await client.get("/", params={"page": name}, headers={"if-none-match": '"other"'})
        assert stale.status_code == 200


@pytest.mark.parametrize(
    "name", ["", "page.html", "__init__.py", "../__init__.py", "/etc/passwd", "x.js", "page.css\0"]
)
async def test_there_are_no_other_files(manager, name):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        response = await client.get("/", params={"page": name}, headers=BROWSER)
        assert (response.status_code, message(response)) == (404, "the page has no such file")
        refused = await client.post("/", params={"page": "page.css"})
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "text/*",
        "application/json",
        "text/html;q=0, */*",
        "text/html;q=x",
        "text/event-stream, text/html",
        "text/html;q=0.9, application/graphql-response+json",
        'multipart/mixed;subscriptionSpec="1.0", text/html;q=0.5',
    ],
)
async def test_who_does_not_prefer_html_gets_none(manager, accept):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        response = await client.get("/graphql", headers={"accept": accept})
        assert "text/html" not in response.headers["content-type"]
        assert response.status_code >= 400


async def test_requests_of_the_protocols_are_theirs(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        async with events(client, **asked(QUERY)) as stream:
            await until(lambda: manager.executor.subscriptions_by_channel("orders"))
            assert await manager.publish_event("t", "orders", {"id": 1}) == 1
            assert await stream.result() == {"data": {"orders": {"id": 1}}}
        # A browser that asks for a result is no reader of the page.
        params = {"query": QUERY, "page": "page.css"}
        async with client.stream("GET", "/", params=params, headers=BROWSER) as response:
            assert response.headers["content-type"].startswith(("text/event-stream", "application/json"))


async def test_without_graphiql_there_is_no_page(manager):
    async with served(SubscriptionApp(manager, graphiql=False)) as address, browsing(address) as client:
        for query in ("", "?page=page.css", "?page=schema", "?console"):
            response = await client.get(f"/{query}", headers=BROWSER)
            assert response.status_code in (400, 405, 406, 415), response.text
            assert "etag" not in response.headers
    app = SubscriptionApp(manager, graphiql=False, console=True)
    async with served(app) as address, browsing(address) as client:
        told = settings(await client.get("/", headers=BROWSER))
        assert (told["graphiql"], told["console"]) == (False, True)


@pytest.mark.parametrize("mount", ["fastapi", "starlette", "mounted"])
async def test_frameworks_show_it_where_they_serve(manager, mount):
    app = FastAPI()
    if mount == "fastapi":
        app.include_router(SubscriptionRouterFactory.create(manager, "/graphql", console=True))
    elif mount == "starlette":
        app = Starlette(routes=subscription_routes(manager, "/graphql", console=True))
    else:
        app.mount("/graphql", SubscriptionApp(manager, console=True))
    async with served(app) as address, browsing(address, follow_redirects=True) as client:
        assert settings(await client.get("/graphql", headers=BROWSER))["console"] is True
        assert (await client.get("/graphql", params={"page": "page.mjs"})).status_code == 200
        assert (await client.get("/graphql?console")).json()["metrics"]["published"] == 0
        assert (await client.get("/elsewhere", headers=BROWSER)).status_code == 404


async def test_the_schema_is_for_those_who_may_subscribe(manager):
    app = SubscriptionApp(manager, auth_handler=bearer)
    async with served(app) as address, browsing(address) as client:
        page = await client.get("/", headers=BROWSER)
        assert page.status_code == 200 and "orders" not in page.text
        stranger = await client.get("/?page=schema")
        assert (stranger.status_code, stranger.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/?page=schema", headers=token("guest"))).text == ORDERS
        elsewhere = {**token("guest"), "origin": "https://elsewhere.example"}
        assert (await client.get("/?page=schema", headers=elsewhere)).status_code == 403
        await manager.reload_schema(ORDERS + " type New { a: Int }")
        assert "type New" in (await client.get("/?page=schema", headers=token("guest"))).text


async def test_without_introspection_nobody_is_shown_the_schema():
    async with (
        coulis.SubscriptionManager(schema=ORDERS, introspection=False, registry=coulis.Registry()) as manager,
        served(SubscriptionApp(manager)) as address,
        browsing(address) as client,
    ):
        page = await client.get("/", headers=BROWSER)
        assert settings(page)["schema"] is False and "orders" not in page.text
        response = await client.get("/?page=schema")
        assert (response.status_code, message(response)) == (404, "there is no schema to show")


async def test_there_is_no_console_unless_it_is_asked_for(manager):
    async with served(SubscriptionApp(manager)) as address, browsing(address) as client:
        for query in ("console", "console=subscriptions&channel=orders"):
            response = await client.get(f"/?{query}", headers=BROWSER)
            assert (response.status_code, list(response.json())) == (404, ["errors"])
        assert (await client.post("/?console=explain", **question())).status_code == 404
    assert manager.timings is None


async def test_the_console_is_for_those_who_may_subscribe_only(manager):
    def on_connect(connection):
        return connection.security.user_id != "guest"

    app = SubscriptionApp(manager, auth_handler=bearer, console=True, on_connect=on_connect)
    await_all = [
        ("GET", "/?console", {}),
        ("GET", "/?console=subscriptions", {}),
        ("POST", "/?console=explain", question()),
    ]
    async with served(app) as address, browsing(address) as client:
        for method, path, body in await_all:
            for headers, status in (({}, 401), (token("other"), 401), (token("guest"), 403)):
                response = await client.request(method, path, headers=headers, **body)
                assert (response.status_code, list(response.json())) == (status, ["errors"])
            for more in ({"origin": "https://elsewhere.example"}, {"sec-fetch-site": "cross-site"}):
                response = await client.request(method, path, headers={**token("admin"), **more}, **body)
                assert response.status_code == 403
            response = await client.request(method, path, headers=token("admin"), **body)
            assert response.status_code == 200, response.text


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_function_says_who_may_see_the_console(manager, kind):
    answers = {"admin": True, "guest": False}

    def sync(connection):
        assert connection.scope["type"] == "http"
        return answers[connection.security.user_id]

    async def asynchronous(connection):
        await asyncio.sleep(0)
        return sync(connection)

    app = SubscriptionApp(manager, auth_handler=bearer, console=sync if kind == "sync" else asynchronous)
    async with served(app) as address, browsing(address) as client:
        assert (await client.get("/?console", headers=token("admin"))).status_code == 200
        assert (await client.get("/?console", headers=token("guest"))).status_code == 403
        assert (await client.get("/?console")).status_code == 401
        answers["admin"] = "yes"  # not `True`, so perhaps not meant
        assert (await client.get("/?console", headers=token("admin"))).status_code == 403
        del answers["admin"]
        failed = await client.get("/?console", headers=token("admin"))
        assert (failed.status_code, message(failed)) == (500, "Internal server error")


async def test_the_console_tells_what_is_connected_and_counted(manager, connect):
    async with served(SubscriptionApp(manager, console=True)) as address, browsing(address) as client:
        before = (await client.get("/?console")).json()
        assert (before["connections"]["open"], before["ready"]["ready"]) == (0, True)
        socket = await connect(address)
        await socket.init()
        assert await socket.subscribe("1", QUERY) == []
        assert await manager.publish_event("t", "orders", {"id": 1}) == 1
        assert (await socket.hear())["type"] == "next"
        async with client.stream("POST", "/", headers=EVENTS, **asked(QUERY)):
            response = await client.get("/?console")
        assert response.headers["cache-control"] == "no-store"
        after = response.json()
        assert after["connections"]["open"] == 2
        assert [each["transport"] for each in after["connections"]["named"]] == ["websocket", "http"]
        assert {each["user_id"] for each in after["connections"]["named"]} == {"anonymous"}
        assert after["metrics"]["published"] - before["metrics"]["published"] == 1
        assert after["metrics"]["delivered"] - before["metrics"]["delivered"] == 1
        shards = after["metrics"]["shards"]
        assert [sum(shard[name] for shard in shards) for name in SHARD] == [0, 1, 1, 2]
        assert (sum(before["publishing"]["counts"]), sum(after["publishing"]["counts"])) == (0, 1)
        assert len(after["publishing"]["counts"]) == len(after["publishing"]["bounds"]) + 1
        assert after["time"] > before["time"] and after["loop_delay"] >= 0
        await until(lambda: len(manager.executor.subscriptions_by_channel("orders")) == 1)
        live = (await client.get("/?console=subscriptions&channel=orders&channel=none")).json()
        assert live == [
            {"channel": "orders", "count": 1, "ids": ["1"]},
            {"channel": "none", "count": 0, "ids": []},
        ]


async def test_the_console_names_the_channels_that_are_declared(manager):
    async def resolver(event, variables):
        return {"orders": event}

    manager.registry.subscription(name="orders", channel=["one", "two"])(resolver)
    async with served(SubscriptionApp(manager, console=True)) as address, browsing(address) as client:
        live = (await client.get("/?console=subscriptions")).json()
        assert [each["channel"] for each in live] == ["one", "two"]


async def test_long_lists_are_cut_and_counted(manager, monkeypatch):
    monkeypatch.setattr(console_of_the_page, "SUBSCRIPTIONS_MAX", 2)
    monkeypatch.setattr(console_of_the_page, "CHANNELS_MAX", 1)
    for number in range(3):
        await manager.create_subscription(f"s{number}", f"c{number}", QUERY)
    async with served(SubscriptionApp(manager, console=True)) as address, browsing(address) as client:
        live = (await client.get("/?console=subscriptions&channel=orders&channel=b")).json()
        assert live == [{"channel": "orders", "count": 3, "ids": ["s0", "s1"]}]


@pytest.mark.parametrize(
    ("changes", "step", "passed"),
    [
        ({}, "delivered", [True] * 5),
        ({"tenant_id": "b"}, "policy", [True, True, True, False]),
        ({"channel": "others"}, "channel", [True, False]),
        ({"subscription": "2"}, "subscription", [False]),
        ({"data": {"id": 2}}, "policy", [True, True, True, False]),
        ({"data": {"id": 2}, "before": {"id": 1}}, "tombstone", [True] * 5),
    ],
)
async def test_explain_tells_each_step(manager, changes, step, passed):
    context = coulis.SecurityContext("u", "a")
    await manager.create_subscription("1", "c", QUERY, context=context, filter="event.id == 1")
    async with served(SubscriptionApp(manager, console=True)) as address, browsing(address) as client:
        told = (await client.post("/?console=explain", **question(**{"tenant_id": "a", **changes}))).json()
        assert told["step"] == step
        assert [each["passed"] for each in told["road"]] == passed
        assert manager.get_metrics()["published"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subscription": ""}, "`subscription` is missing"),
        ({"channel": 7}, "`channel` is missing"),
        ({"tenant_id": 7}, "`tenant_id` is no text"),
        ({"data": 7}, "`data` is no object"),
        ({"before": "x"}, "`before` is no object"),
        ({"data": {"id": "x" * 60_000}, "before": {}}, None),
    ],
)
async def test_explain_says_what_is_wrong_with_a_question(manager, changes, words):
    async with served(SubscriptionApp(manager, console=True)) as address, browsing(address) as client:
        response = await client.post("/?console=explain", **question(**changes))
        if words is None:
            assert response.json()["step"] == "subscription"
        else:
            assert response.status_code == 400 and words in message(response)


async def test_explain_takes_json_that_is_not_too_long(manager):
    async with (
        served(SubscriptionApp(manager, console=True, init_timeout=0.2)) as address,
        browsing(address) as client,
    ):
        as_json = {"content-type": "application/json"}

        async def asked(body, headers=as_json):
            return (await client.post("/?console=explain", content=body, headers=headers)).status_code

        assert await asked(b"{") == 400
        assert await asked(b"[]") == 400
        assert await asked(b"[" * 60_000) == 400
        assert await asked(b" " * 65_537) == 413
        assert await asked(b"{}", {"content-type": "text/plain"}) == 415
        assert await asked(b"{}", {}) == 415
        got = await client.get("/?console=explain")
        assert (got.status_code, got.headers["allow"]) == (405, "POST")
        posted = await client.post("/?console")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
        assert (await client.get("/?console=other")).status_code == 404


async def test_a_body_that_does_not_come_is_not_waited_for(manager):
    async with served(SubscriptionApp(manager, console=True, init_timeout=0.05)) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        head = f"POST /?console=explain HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: 5\r\n\r\n".encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), PATIENCE)
        writer.close()
        await writer.wait_closed()


async def test_the_console_says_that_the_engine_is_closed(manager):
    async with served(SubscriptionApp(manager, console=True)) as address, browsing(address) as client:
        await manager.close()
        told = (await client.get("/?console")).json()
        assert told["ready"] == {"ready": False, "reason": "the engine is closed"}
        told = (await client.post("/?console=explain", **question())).json()
        assert (told["step"], [each["passed"] for each in told["road"]]) == ("subscription", [False])


@pytest.mark.parametrize(
    ("option", "value"), [("graphiql", "yes"), ("graphiql", None), ("console", "yes"), ("console", 1)]
)
def test_options_that_are_none_are_refused(option, value):
    with coulis.SubscriptionExecutor():
        manager = coulis.SubscriptionManager(registry=coulis.Registry())
        with pytest.raises(TypeError, match=f"`{option}` is a `{type(value).__name__}`: pass True"):
            SubscriptionApp(manager, **{option: value})
        manager.executor.close()
