"""Clients over HTTP that send what they should not: each gets the answer that is documented, and no more."""

import asyncio
import contextlib
import json
import os

import coulis
import pytest
from conftest import PATIENCE, served, until
from coulis.asgi import SubscriptionApp
from speaking import TOKEN
from streams import EVENTS, PARTS, asked, browsing, events

JSON = {"content-type": "application/json"}
QUERY = "subscription { user { id } }"
BOUND = 2_000
FLOOD_MAX = 1_000
PACE = 0.01
"""Seconds between the bytes of a slow client."""
"""Results of 100 kB that nobody reads: more than sockets have room for."""


async def execute(query, variables, *_):
    return {"data": {"a": 1}}


@pytest.fixture
async def small():
    """An application with small bounds."""
    limits = {"message_bytes_max": BOUND, "message_depth_max": 10, "subscribers_per_user_max": 3}
    async with coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager:
        yield SubscriptionApp(manager, execute=execute, init_timeout=0.2)


@pytest.fixture
async def address(small):
    async with served(small) as address:
        yield address


@contextlib.asynccontextmanager
async def raw(address, *headers):
    """A connection on which a POST with these headers was begun."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        lines = ["POST / HTTP/1.1", f"Host: {address}", "Content-Type: application/json", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def answered(reader):
    """The status, the code of the error, and whether the server has closed the connection."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    body = json.loads(await reader.readexactly(length))
    code = body["errors"][0]["extensions"]["code"]
    return int(head.split()[1]), code, "connection: close" in head


async def test_a_body_that_says_it_is_too_large_is_refused_unread(address):
    async with raw(address, "Content-Length: 10000000000") as (reader, _):
        assert await answered(reader) == (413, "LIMIT_EXCEEDED", True)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b"", "and the connection ends"


async def test_a_body_that_does_not_say_so_is_read_up_to_the_bound(address):
    async with raw(address, "Transfer-Encoding: chunked") as (reader, writer):
        chunk = b"%x\r\n%s\r\n" % (BOUND + 1, b" " * (BOUND + 1))
        writer.write(chunk)
        assert await answered(reader) == (413, "LIMIT_EXCEEDED", True)


async def test_a_slow_body_has_a_deadline(address):
    async with raw(address, "Content-Length: 100") as (reader, writer):
        writer.write(b'{"query":')
        assert await answered(reader) == (408, "REQUEST_TIMEOUT", True)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""


async def test_a_body_that_trickles_has_the_same_deadline(address):
    async with raw(address, "Content-Length: 1000000") as (reader, writer):
        # Within the bound by its bytes, and never at its end.
        assert (await answered(reader))[0] == 413
    async with raw(address, "Content-Length: 1900") as (reader, writer):
        answer = asyncio.create_task(answered(reader))
        with contextlib.suppress(OSError):
            while not answer.done():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(PACE)
        assert (await answer)[:2] == (408, "REQUEST_TIMEOUT")


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(small, address):
    async with raw(address, "Content-Length: 100") as (_, writer):
        writer.write(b"{")
        await writer.drain()
    async with browsing(address) as client:
        assert (await client.post("/", json={"query": "{ a }"})).status_code == 200
    await until(lambda: small.manager.get_metrics()["subscribers"] == 0)


@pytest.mark.parametrize(
    ("content", "headers", "status", "told"),
    [
        (b'{"query":"\xff"}', {}, 400, "not UTF-8"),
        (b'{"query":"{ a }","variables":{"a":"\\ud800"}}', {}, 400, "surrogate"),
        (b'{"query":"{ a }","query":"{ b }"}', {}, 400, "duplicate key"),
        (b'{"query":"{ a }","variables":' + b"[" * 900 + b"]" * 900 + b"}", {}, 400, "nested deeper"),
        (b'{"query":"{ a }"}{}', {}, 400, "invalid JSON"),
        (b'{"query":NaN}', {}, 400, "invalid JSON"),
        (b"", {}, 400, "invalid JSON"),
        (b"null", {}, 400, "no batch"),
        (b'[{"query":"{ a }"}]', {}, 400, "no batch"),
        (b" " * (BOUND + 1), {}, 413, "message_bytes_max"),
        (b'{"query":"{ a }"}', {"content-type": "text/plain"}, 415, "text/plain"),
        (b'{"query":"{ a }"}', {"content-type": "application/graphql"}, 415, "application/graphql"),
        (b'{"query":"{ a }"}', {"content-type": "application/json; charset=utf-7"}, 415, "utf-7"),
        (b'{"query":"{ a }"}', {"content-type": "application/json, text/plain"}, 415, "text/plain"),
        (b"\x1f\x8b", {"content-encoding": "gzip"}, 415, "gzip"),
        (b'{"query":"{ a }"}', {"content-encoding": "identity, br"}, 415, "br"),
        (b'{"query":"{ a }"}', {"accept": "image/*"}, 406, "application/json"),
        (b'{"query":"{ a }"}', {"accept": b"\xff"}, 400, "not UTF-8"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(address, content, headers, status, told):
    async with browsing(address) as client:
        answer = await client.post("/", content=content, headers={**JSON, **headers})
        assert answer.status_code == status
        assert told in answer.json()["errors"][0]["message"]
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        # The next request is served as if nothing had been.
        assert (await client.post("/", json={"query": "{ a }"})).status_code == 200


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ("query={a}&query={b}", 400, "`query` occurs twice"),
        ("query={a}&%71uery={b}", 400, "`query` occurs twice"),
        ("token=1&query={a}&token=2", 400, "`token` occurs twice"),
        ("query=%", 400, "hexadecimal"),
        ("query=%ff", 400, "not UTF-8"),
        ("query={a}&variables=" + "[" * 50, 400, "`variables`"),
        ("query={a}&variables=1", 400, "must be an object"),
        ("&".join(f"p{number}=" for number in range(70)), 400, "more than 64"),
        ("query=" + "a" * BOUND, 414, "message_bytes_max"),
    ],
)
async def test_a_url_that_is_no_request_is_refused(address, query, status, told):
    async with browsing(address) as client:
        answer = await client.get(f"/?{query}", headers=JSON)
    assert answer.status_code == status
    assert told in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "post", "X" * 50])
async def test_other_methods_get_405_and_the_list(small, method):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "query_string": b"", "headers": [(b"host", b"a")]}
    await small(scope, None, send)
    assert sent[0]["status"] == 405
    assert (b"allow", b"GET, POST, PUT, DELETE") in sent[0]["headers"]


async def test_streams_at_once_are_bounded(small, address):
    async with browsing(address) as client, contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(events(client, **asked(QUERY)))
        for headers in (EVENTS, PARTS):
            answer = await client.post("/", headers=headers, **asked(QUERY))
            assert answer.status_code == 429
            assert answer.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
        for answer in (await client.put("/"), await client.post("/", json={"query": "{ a }"})):
            assert answer.status_code == 429
        await stack.aclose()
        await until(lambda: small.manager.get_metrics()["subscribers"] == 0)
        assert (await client.post("/", json={"query": "{ a }"})).status_code == 200


async def test_operations_under_way_are_bounded_in_a_shared_stream(manager, monkeypatch):
    monkeypatch.setattr("coulis.hosting.UNDER_WAY_MAX", 3)

    async def never(*_):
        await asyncio.Event().wait()

    app = SubscriptionApp(manager, execute=never)
    async with served(app) as address, browsing(address) as client:
        token = {TOKEN: (await client.put("/")).text}
        async with events(client, method="GET", headers=token) as stream:
            for number in range(4):
                body = asked("{ a }", extensions={"operationId": str(number)})
                assert (await client.post("/", headers=token, **body)).status_code == 202
            told = await stream.rest()
    errors = [data["payload"]["errors"][0] for name, data in told if name == "next"]
    assert {error["extensions"]["code"] for error in errors} == {"TOO_MANY_OPERATIONS"}
    assert len(errors) == 4


@pytest.mark.parametrize("accept", [EVENTS, PARTS])
async def test_a_client_that_does_not_read_stops_its_generator(accept):
    """It gets no further than what the socket has room for."""
    registry, made = coulis.Registry(), []

    @registry.subscription()
    async def flood(variables):
        while len(made) < FLOOD_MAX:  # whatever is broken: no more than 100 MB of memory
            made.append(1)
            yield {"flood": os.urandom(50_000).hex()}

    async def stands_still():
        seen = len(made)
        for _ in range(2_000):
            await asyncio.sleep(0)
        return seen == len(made) > 0

    async with (
        coulis.SubscriptionManager(registry=registry) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        body = json.dumps({"query": "subscription { flood }"})
        async with raw(address, f"Accept: {accept['accept']}", f"Content-Length: {len(body)}") as (_, writer):
            writer.write(body.encode())
            async with asyncio.timeout(PATIENCE) if hasattr(asyncio, "timeout") else contextlib.nullcontext():
                while not await stands_still():
                    pass
            assert len(made) < FLOOD_MAX
        await until(lambda: manager.get_metrics()["subscribers"] == 0)
