"""`coulis tail`: subscribes over WebSocket and prints what comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
import websockets
from rich.markup import escape
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from coulis.asgi import SUBPROTOCOL
from coulis.cli.terms import Operation, Url, Variables, fail, json_object, screen

__all__ = ["tail"]

BACK_SECONDS = 0.5
"""Before a server that went is tried again; doubled each time."""
BACK_SECONDS_MAX = 10.0
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
COME_BACK = {1001, 1006, 1012, 1013, 4008}

Query = Annotated[str, typer.Argument(envvar="COULIS_QUERY", help="A GraphQL subscription.")]
Payload = Annotated[str, typer.Option(envvar="COULIS_PAYLOAD", help="Of connection_init, a JSON object.")]
Token = Annotated[
    str | None, typer.Option(envvar="COULIS_TOKEN", help="A token for connection_init.", show_default=False)
]
Count = Annotated[int | None, typer.Option(envvar="COULIS_COUNT", min=1, help="End after so many results.")]
Silence = Annotated[
    float | None, typer.Option(envvar="COULIS_TIMEOUT", min=0, help="Fail after so many seconds of silence.")
]
Resume = Annotated[str | None, typer.Option(envvar="COULIS_RESUME", help="The cursor to go on from.")]
Reconnect = Annotated[bool, typer.Option(envvar="COULIS_RECONNECT", help="Come back, without loss.")]
Raw = Annotated[bool, typer.Option("--raw", envvar="COULIS_RAW", help="Print whole payloads, one a line.")]


def tail(
    query: Query,
    url: Url = "ws://127.0.0.1:8000/graphql/subscriptions",
    variables: Variables = "{}",
    operation: Operation = None,
    payload: Payload = "{}",
    token: Token = None,
    count: Count = None,
    timeout: Silence = None,
    resume: Resume = None,
    reconnect: Reconnect = True,
    raw: Raw = False,
) -> None:
    """Subscribe over WebSocket and print each result; ends with Ctrl-C or after `--count`."""
    if not url.startswith(("ws://", "wss://")):
        fail(f"`--url` is `{url}`: pass such as ws://127.0.0.1:8000/graphql/subscriptions", 2)
    init = json_object("--payload", payload)
    if token is not None:
        init["token"] = token
    asked: dict[str, Any] = {"query": query, "variables": json_object("--variables", variables)}
    if operation is not None:
        asked["operationName"] = operation
    reader = _Reader(url, init, asked, count, timeout, raw, resume if resume is not None else "")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(reader.run(reconnect))


class _Done(Exception):
    """There is nothing more to read."""


@dataclass
class _Reader:
    url: str
    init: dict[str, Any]
    asked: dict[str, Any]
    left: int | None
    silence: float | None
    raw: bool
    cursor: str
    _wait: float = field(default=BACK_SECONDS)

    async def run(self, reconnect: bool) -> None:
        """Read until the end, over as many connections as it takes."""
        while True:
            try:
                await self._read()
            except _Done:
                return
            except websockets.ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
                told = f"the server closed with {code} {reason}".rstrip()
                if not reconnect or code not in COME_BACK:
                    fail(told)
            except (OSError, websockets.InvalidHandshake, websockets.InvalidURI) as error:
                told = f"`{self.url}` cannot be reached: {error}"
                if not reconnect or not self.cursor:
                    fail(told)
            screen(stderr=True).print(f"{told}: again in {self._wait:g} s", style="yellow", markup=False)
            await asyncio.sleep(self._wait)
            self._wait = min(self._wait * 2, BACK_SECONDS_MAX)

    async def _read(self) -> None:
        async with websockets.connect(
            self.url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None, max_size=MESSAGE_BYTES_MAX
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": self.init}))
            while True:
                await self._take(socket, json.loads(await self._receive(socket)))

    async def _receive(self, socket: ClientConnection) -> str | bytes:
        try:
            return await asyncio.wait_for(socket.recv(), self.silence)
        except asyncio.TimeoutError:
            fail(f"nothing came for {self.silence:g} seconds")

    async def _take(self, socket: ClientConnection, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "connection_ack":
            payload = {**self.asked, "extensions": {"coulis": {"resume": self.cursor}}}
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
        elif kind == "ping":
            await socket.send(json.dumps({"type": "pong"}))
        elif kind == "error":
            fail("; ".join(str(error.get("message")) for error in message["payload"]))
        elif kind == "complete":
            raise _Done
        elif kind == "next":
            self._wait = BACK_SECONDS
            self._print(message["payload"])

    def _print(self, payload: dict[str, Any]) -> None:
        told = payload.get("extensions", {}).get("coulis", {})
        self.cursor = told.get("cursor", self.cursor)
        if self.raw:
            typer.echo(json.dumps(payload, ensure_ascii=False))
        else:
            _show(payload, told)
        if self.left is not None and "resumed" not in told and "gap" not in told:
            self.left -= 1
            if not self.left:
                raise _Done


def _show(payload: dict[str, Any], told: dict[str, Any]) -> None:
    out = screen()
    if "resumed" in told:
        if not told["resumed"] and told.get("reason") != "new":
            screen(stderr=True).print(f"what was missed is lost: {told.get('reason')}", style="yellow")
        return
    if "gap" in told:
        screen(stderr=True).print(f"results were lost: {escape(json.dumps(told['gap']))}", style="yellow")
        return
    out.print(json.dumps(payload.get("data"), ensure_ascii=False), markup=False)
    for error in payload.get("errors", ()):
        screen(stderr=True).print(f"error: {error.get('message')}", style="red", markup=False)
