"""Which pages may open a socket: the `Origin` check, before the accept."""

import coulis
import pytest
import websockets
from conftest import served
from coulis.asgi import SubscriptionApp
from coulis.fastapi import SubscriptionRouterFactory
from fastapi import FastAPI

COOKIE = {"Cookie": "session=1"}


async def status(connect, address, origins=(), **headers):
    """The HTTP status that a handshake with these headers gets; 101 is the accept."""
    sent = [("Origin", origin) for origin in origins] + list(headers.items())
    try:
        client = await connect(address, additional_headers=sent)
    except websockets.InvalidStatus as refused:
        return refused.response.status_code
    await client.init()
    return 101


async def test_a_page_of_the_same_origin_is_let_in(manager, connect):
    async with served(SubscriptionApp(manager)) as address:
        for origin in [f"http://{address}", f"HTTP://{address}", f"https://{address}"]:
            assert await status(connect, address, [origin], **COOKIE) == 101, origin


async def test_a_page_of_another_origin_gets_403_before_the_accept(manager, connect):
    async with served(SubscriptionApp(manager)) as address:
        host, port = address.split(":")
        for origin in [
            "http://evil.example",
            f"http://evil.example:{port}",
            f"http://{host}",
            f"http://{host}:1",
            f"http://{address}.evil.example",
            f"http://evil.example/{address}",
            f"http://{address}@evil.example",
            f"http://evil.example@{address}",
            f"http://{address}/",
            f"http://{address}#",
            f"ftp://{address}",
            f"//{address}",
            address,
            "null",
            "*",
            "http://",
        ]:
            assert await status(connect, address, [origin]) == 403, origin
            assert await status(connect, address, [origin], **COOKIE) == 403, origin


async def test_without_an_origin_only_a_client_without_cookies_is_let_in(manager, connect):
    for allowed in [None, ["https://app.example"]]:
        async with served(SubscriptionApp(manager, allowed_origins=allowed)) as address:
            assert await status(connect, address) == 101
            assert await status(connect, address, **COOKIE) == 403


async def test_a_list_takes_the_place_of_the_same_origin(manager, connect):
    app = SubscriptionApp(manager, allowed_origins=["https://App.example", "http://app.example:8080", "null"])
    async with served(app) as address:
        for origin, expected in [
            ("https://app.example", 101),
            ("https://app.example:443", 101),
            ("http://app.example:8080", 101),
            ("null", 101),
            ("http://app.example", 403),
            ("https://app.example:8080", 403),
            ("https://sub.app.example", 403),
            ("https://app.example.evil.example", 403),
            (f"http://{address}", 403),
        ]:
            assert await status(connect, address, [origin], **COOKIE) == expected, origin


async def test_a_star_lets_every_page_in(manager, connect):
    async with served(SubscriptionApp(manager, allowed_origins=["*"])) as address:
        assert await status(connect, address, ["http://evil.example"], **COOKIE) == 101
        assert await status(connect, address, **COOKIE) == 101


async def test_a_router_passes_the_list_on(manager, connect):
    app = FastAPI()
    app.include_router(
        SubscriptionRouterFactory.create(manager, "/", allowed_origins=["https://app.example"])
    )
    async with served(app) as address:
        assert await status(connect, address, ["https://app.example"]) == 101
        assert await status(connect, address, [f"http://{address}"]) == 403


@pytest.mark.parametrize(
    ("scheme", "host", "origin", "expected"),
    [
        ("wss", "a.example", "https://a.example", True),
        ("wss", "a.example:443", "https://a.example", True),
        ("wss", "a.example", "http://a.example", False),
        ("ws", "a.example", "https://a.example", True),  # TLS ends before the server
        ("ws", "a.example:80", "http://a.example", True),
        ("ws", "A.example", "http://a.EXAMPLE", True),
        ("ws", "[::1]:8000", "http://[::1]:8000", True),
        ("ws", "[::1]:8000", "http://[::2]:8000", False),
        ("ws", "a.example, b.example", "http://b.example", False),
        ("ws", "", "http://", False),
    ],
)
async def test_the_origin_is_held_against_the_host(manager, scheme, host, origin, expected):
    headers = [(b"host", host.encode()), (b"origin", origin.encode())]
    scope = {"type": "websocket", "scheme": scheme, "headers": headers}
    assert SubscriptionApp(manager).lets_in(scope) == expected
    for again in [(b"Host", b"b.example"), (b"Origin", origin.encode())]:
        scope["headers"] = [*headers, again]
        assert not SubscriptionApp(manager).lets_in(scope), "which of the two would it be?"


@pytest.mark.parametrize("origin", ["example.com", "https://a.example/", "https://a.example/x", "ws://a", ""])
async def test_what_is_no_origin_is_refused_when_the_app_is_made(manager, origin):
    with pytest.raises(ValueError, match="allowed_origins"):
        SubscriptionApp(manager, allowed_origins=[origin])


async def test_a_single_text_is_no_list(manager):
    with pytest.raises(TypeError, match="allowed_origins"):
        SubscriptionApp(manager, allowed_origins="https://a.example")


async def test_documents_are_refused_over_the_socket_by_their_codes(connect):
    allowed = ["subscription { a { b } }", "subscription { a { __schema { b } } }"]
    async with (
        coulis.SubscriptionManager(
            introspection=False, allowed_operations=allowed, registry=coulis.Registry()
        ) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        client = await connect(address)
        await client.init()
        assert await client.subscribe("1", allowed[0]) == []
        for query, code in [
            (allowed[1], "INTROSPECTION_DISABLED"),
            ("subscription { other }", "OPERATION_NOT_ALLOWED"),
        ]:
            [message] = await client.subscribe("2", query)
            assert message["type"] == "error"
            assert [error["extensions"]["code"] for error in message["payload"]] == [code]
