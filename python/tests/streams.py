"""What the tests of subscriptions over HTTP share: a client, and readers of events and parts."""

import contextlib
import json

import httpx
from httpx_sse import EventSource

EVENTS = {"accept": "text/event-stream"}
PARTS = {"accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}


@contextlib.asynccontextmanager
async def browsing(address, **options):
    """A client of `address` that waits for ever, and goes around proxies."""
    base_url = f"http://{address}"
    async with httpx.AsyncClient(base_url=base_url, timeout=None, trust_env=False, **options) as client:
        yield client


def asked(query, **rest):
    """The arguments of a POST."""
    return {"json": {"query": query, **rest}}


class Events:
    """The events of one answer."""

    def __init__(self, response):
        self.response = response
        self._source = self._heard()

    async def _heard(self):
        async for event in EventSource(self.response).aiter_sse():
            # After an id the library takes the end of a comment for an event, without name and data.
            if event.data or event.event != "message":
                yield event

    async def next(self):
        """The next event's name and data."""
        event = await anext(self._source)
        self.id = event.id
        return event.event, json.loads(event.data) if event.data else None

    async def result(self):
        """The next result, without its extensions."""
        name, data = await self.next()
        assert name == "next"
        self.extensions = data.pop("extensions", {}).get("coulis")
        return data

    async def rest(self):
        """Everything until the answer ends."""
        return [(event.event, json.loads(event.data) if event.data else None) async for event in self._source]


@contextlib.asynccontextmanager
async def events(client, path="/", *, headers=None, method="POST", **request):
    """An answer of server-sent events."""
    async with client.stream(method, path, headers={**EVENTS, **(headers or {})}, **request) as response:
        assert response.status_code == 200, await response.aread()
        yield Events(response)


async def parts(response):
    """The parts of a multipart answer, each as soon as it is whole."""
    boundary = b"\r\n--graphql"
    buffer = b"\r\n"
    async for chunk in response.aiter_bytes():
        buffer += chunk
        while boundary in buffer:
            part, buffer = buffer.split(boundary, 1)
            head, _, body = part.partition(b"\r\n\r\n")
            if head.strip():
                assert head.strip() == b"Content-Type: application/json"
                yield json.loads(body)
        if buffer.startswith(b"--\r\n"):
            yield None
            return
