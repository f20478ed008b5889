"""What pages of other origins may do over HTTP, and what browsers are told of it."""

import contextlib

import pytest
from conftest import served
from coulis.asgi import SubscriptionApp
from coulis.fastapi import SubscriptionRouterFactory
from fastapi import FastAPI
from speaking import TOKEN
from streams import EVENTS, browsing

PAGE = "https://app.example"
FOREIGN = "https://evil.example"
ASKED = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}


async def execute(*_):
    return {"data": {"a": 1}}


@pytest.fixture
async def browser(manager, serve):
    """Answer a function that serves an application and makes a client of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def browser(**options):
            address = await serve(manager, execute=execute, **options)
            return await stack.enter_async_context(browsing(address))

        yield browser


def told(answer):
    """What a browser is told, by the end of the header's name."""
    prefix = "access-control-"
    return {name[len(prefix) :]: value for name, value in answer.headers.items() if name.startswith(prefix)}


async def test_a_preflight_of_an_allowed_page_says_what_it_may_send(browser):
    client = await browser(allowed_origins=[PAGE], cors_headers=["X-Request-Id"])
    answer = await client.options("/", headers={"origin": PAGE, **ASKED})
    assert (answer.status_code, answer.content, answer.headers["vary"]) == (204, b"", "Origin")
    shown = told(answer)
    assert shown["allow-origin"] == PAGE
    assert shown["allow-methods"] == "GET, POST, PUT, DELETE"
    assert {"content-type", "authorization", "last-event-id", TOKEN, "x-request-id"} <= set(
        shown["allow-headers"].split(", ")
    )
    assert shown["max-age"] == "600"
    assert "allow-credentials" not in shown


@pytest.mark.parametrize("options", [{}, {"allowed_origins": [PAGE]}])
@pytest.mark.parametrize("origin", [FOREIGN, "null", "https://app.example.evil.example", f"{PAGE}:444"])
async def test_other_pages_are_told_nothing(browser, options, origin):
    client = await browser(**options)
    preflight = await client.options("/", headers={"origin": origin, **ASKED})
    assert (preflight.status_code, told(preflight)) == (403, {})
    answer = await client.post("/", headers={"origin": origin}, json={"query": "{ a }"})
    assert (answer.status_code, told(answer)) == (403, {})
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN_ORIGIN"


async def test_every_answer_may_be_read_by_an_allowed_page(browser):
    client = await browser(allowed_origins=[PAGE])
    for method, request, status in [
        ("POST", {"json": {"query": "{ a }"}}, 200),
        ("GET", {"params": {"query": "{ a }"}}, 200),
        ("POST", {"content": "{"}, 415),
        ("PUT", {}, 201),
        ("PATCH", {}, 405),
    ]:
        answer = await client.request(method, "/", headers={"origin": PAGE}, **request)
        assert (answer.status_code, told(answer)["allow-origin"]) == (status, PAGE)
        assert answer.headers["vary"] == "Origin"
    body = {"query": "subscription { a }"}
    async with client.stream("POST", "/", headers={"origin": PAGE, **EVENTS}, json=body) as stream:
        assert told(stream)["allow-origin"] == PAGE
    # No page asks: the answer depends on that all the same.
    assert (await client.post("/", json={"query": "{ a }"})).headers["vary"] == "Origin"


async def test_the_servers_own_pages_need_no_headers(browser):
    client = await browser()
    origin = str(client.base_url).rstrip("/")
    answer = await client.post("/", headers={"origin": origin}, json={"query": "{ a }"})
    assert (answer.status_code, told(answer)) == (200, {})


async def test_credentials_are_for_named_pages(browser, manager):
    client = await browser(allowed_origins=[PAGE], cors_credentials=True)
    headers = {"origin": PAGE, "cookie": "session=1"}
    for answer in (
        await client.options("/", headers={"origin": PAGE, **ASKED}),
        await client.post("/", headers=headers, json={"query": "{ a }"}),
    ):
        assert told(answer)["allow-credentials"] == "true"
        assert told(answer)["allow-origin"] == PAGE
    for allowed in (None, ["*"], [PAGE, "*"]):
        with pytest.raises(ValueError, match="cors_credentials"):
            SubscriptionApp(manager, allowed_origins=allowed, cors_credentials=True)


async def test_a_star_shows_answers_to_all_pages_without_cookies(browser):
    client = await browser(allowed_origins=["*"])
    answer = await client.post("/", headers={"origin": FOREIGN}, json={"query": "{ a }"})
    assert told(answer) == {"allow-origin": "*"}
    preflight = await client.options("/", headers={"origin": FOREIGN, **ASKED})
    assert (preflight.status_code, told(preflight)["allow-origin"]) == (204, "*")
    # An image of a foreign page names no origin.
    unasked = await client.get("/", params={"query": "{ a }"}, headers={"sec-fetch-site": "cross-site"})
    assert unasked.status_code == 403


async def test_options_that_are_no_preflight_get_405(browser):
    client = await browser(allowed_origins=[PAGE])
    for headers in ({}, {"origin": PAGE}, ASKED):
        answer = await client.options("/", headers=headers)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, PUT, DELETE")


async def test_a_simple_request_of_a_form_is_refused_from_anywhere(browser):
    client = await browser(allowed_origins=[PAGE])
    for origin in ({}, {"origin": PAGE}):
        for content in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            headers = {**origin, "content-type": content}
            answer = await client.post("/", headers=headers, content='{"query": "{ a }"}')
            assert answer.status_code == 415


async def test_a_router_passes_it_on(manager):
    app = FastAPI()
    app.include_router(
        SubscriptionRouterFactory.create(
            manager, "/", allowed_origins=[PAGE], cors_credentials=True, cors_headers=["X-Own"]
        )
    )
    async with served(app) as address, browsing(address) as client:
        answer = await client.options("/", headers={"origin": PAGE, **ASKED})
    assert told(answer)["allow-credentials"] == "true"
    assert "x-own" in told(answer)["allow-headers"]


@pytest.mark.parametrize("header", ["", "a b", "a\r\nb", "*", "é", 5])
async def test_what_is_no_header_is_refused(manager, header):
    with pytest.raises(ValueError, match="cors_headers"):
        SubscriptionApp(manager, allowed_origins=[PAGE], cors_headers=[header])


async def test_a_single_header_is_no_list(manager):
    with pytest.raises(TypeError, match="cors_headers"):
        SubscriptionApp(manager, allowed_origins=[PAGE], cors_headers="X-Own")
