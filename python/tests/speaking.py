"""One subscription over each of the transports, for tests of what holds for all of them."""

import contextlib
import json

import websockets
from conftest import Client
from coulis.asgi import SUBPROTOCOL
from streams import EVENTS, Events, browsing, parts

PARTS = {"accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"}
TOKEN = "x-graphql-event-stream-token"


def told(result):
    """What a result says: ("errors", [(message, code)]) if it is nothing else, or ("next", result)."""
    extensions = result.get("extensions", {})
    extensions.pop("coulis", None)
    if not extensions:
        result.pop("extensions", None)
    if "data" not in result:
        return "errors", codes(result["errors"])
    return "next", result


def codes(errors):
    return [(error["message"], error["extensions"]["code"]) for error in errors]


@contextlib.asynccontextmanager
async def ws(address, query, variables=None, authorization=None):
    async with websockets.connect(f"ws://{address}/", subprotocols=[SUBPROTOCOL], proxy=None) as socket:
        client = Client(socket)
        await client.say(type="connection_init", payload={"authorization": authorization})
        if (await client.hear())["type"] != "connection_ack":
            raise AssertionError
        payload = {"query": query, "variables": variables}
        await client.say(type="subscribe", id="1", payload=payload)

        async def read():
            while True:
                message = await client.hear()
                if message["type"] == "error":
                    yield "errors", codes(message["payload"])
                elif message["type"] == "next":
                    yield told(message["payload"])
                else:
                    yield message["type"], None

        yield read()
        await client.say(type="complete", id="1")


@contextlib.asynccontextmanager
async def _streamed(address, headers, query, variables, authorization):
    headers = {**headers, "authorization": str(authorization)}
    body = {"query": query, "variables": variables}
    async with (
        browsing(address) as client,
        client.stream("POST", "/", headers=headers, json=body) as response,
    ):
        yield response


@contextlib.asynccontextmanager
async def sse(address, query, variables=None, authorization=None):
    async with _streamed(address, EVENTS, query, variables, authorization) as response:
        assert response.status_code == 200, await response.aread()
        yield _of_events(Events(response))


@contextlib.asynccontextmanager
async def shared(address, query, variables=None, authorization=None):
    async with browsing(address, headers={"authorization": str(authorization)}) as client:
        reserved = await client.put("/")
        assert reserved.status_code == 201, reserved.text
        token = {TOKEN: reserved.text}
        body = {"query": query, "variables": variables, "extensions": {"operationId": "1"}}
        async with client.stream("GET", "/", headers={**EVENTS, **token}) as response:
            answer = await client.post("/", headers=token, json=body)
            assert answer.status_code == 202, answer.text
            yield _of_events(Events(response), shared=True)
            await client.delete("/", headers=token, params={"operationId": "1"})


async def _of_events(events, shared=False):
    while True:
        name, data = await events.next()
        if shared:
            assert data["id"] == "1"
            data = data.get("payload")
        yield told(data) if name == "next" else (name, None)


@contextlib.asynccontextmanager
async def multipart(address, query, variables=None, authorization=None):
    async with _streamed(address, PARTS, query, variables, authorization) as response:
        assert response.headers["content-type"].startswith("multipart/mixed"), await response.aread()
        yield _of_parts(response)


async def _of_parts(response):
    async for part in parts(response):
        if part is None:
            yield "complete", None
        elif part.get("payload"):
            yield told(part["payload"])
        elif "errors" in part:
            yield "errors", codes(part["errors"])


TRANSPORTS = {"ws": ws, "sse": sse, "shared": shared, "multipart": multipart}


async def posted(address, query, *, accept="application/json", **body):
    """The status and the JSON of a POST."""
    async with browsing(address) as client:
        answer = await client.post("/", headers={"accept": accept}, json={"query": query, **body})
    return answer.status_code, json.loads(answer.content)
