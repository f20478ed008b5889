"""The quick start of the README works as printed."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from websockets.sync.client import connect
from websockets.typing import Subprotocol

README = Path(__file__).parents[2] / "README.md"


def test_the_quick_start_works_as_printed() -> None:
    """An order that changes reaches both kinds of subscriptions."""
    text = README.read_text("utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (query,) = re.findall(r"```graphql\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {"__name__": "quickstart"}
    exec(compile(program, str(README), "exec"), names)
    with served(names["app"]) as address:
        got = messages(address, names["manager"], [query, "subscription { orderText { text } }"])
    names["manager"].executor.close()
    assert got == {
        "0": {"data": {"orders": {"id": 7, "status": "paid"}}},
        "1": {"data": {"orderText": {"text": "order 7 is paid"}}},
    }


def messages(address: str, manager: Any, operations: list[str]) -> dict[str, Any]:
    """Subscribe to all operations, change an order, and answer what came, by operation."""
    with connect(
        f"ws://{address}/graphql/subscriptions", subprotocols=[Subprotocol("graphql-transport-ws")]
    ) as client:
        client.send(json.dumps({"type": "connection_init"}))
        assert json.loads(client.recv(20)) == {"type": "connection_ack"}
        for number, query in enumerate(operations):
            message = {"id": str(number), "type": "subscribe", "payload": {"query": query}}
            client.send(json.dumps(message))
        while len(manager.executor.subscriptions_by_channel("orders")) < len(operations):
            pass
        assert httpx.post(f"http://{address}/orders/7/paid").json() == len(operations)
        came = [json.loads(client.recv(20)) for _ in operations]
    return {message["id"]: {"data": message["payload"]["data"]} for message in came}


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Run an application on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
