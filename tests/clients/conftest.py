"""The service of `server.py` as a fixture."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest


@dataclass
class Service:
    """The running service, as its clients see it."""

    port: int
    http: httpx.AsyncClient

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/graphql/subscriptions"

    async def publish(self, channel: str, data: dict[str, Any]) -> int:
        """Publish an event; answers how many deliveries it became."""
        answer = await self.http.post("/publish", json={"channel": channel, "data": data})
        answer.raise_for_status()
        count: int = answer.json()
        return count

    async def subscriptions(self, channel: str, count: int) -> None:
        """Wait until `channel` has `count` subscriptions: the protocol does not acknowledge them."""
        while (await self.http.get(f"/subscriptions/{channel}")).json() != count:
            pass


@pytest.fixture(scope="session")
def port() -> Iterator[int]:
    """Start the service, and stop it by ending its standard input."""
    command = [sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        line = child.stdout.readline()
        assert line, "the service did not start: its output is above"
        yield int(line)
        child.stdin.close()
        assert child.wait(20) == 0


@pytest.fixture
async def service(port: int) -> AsyncIterator[Service]:
    """Give one test the service."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        yield Service(port, http)
