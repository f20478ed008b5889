"""A headless Chromium that tests drive over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

PATIENCE = 60.0
"""Seconds after which what a test waits for is not going to come."""

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class Tab:
    """A page that is open, and what it has asked for and complained of."""

    def __init__(self, socket: ClientConnection) -> None:
        self.complaints: list[str] = []
        self.addresses: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Take in what the browser says."""
        async for text in self._socket:
            message = json.loads(text)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                self._note(message["method"], message["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.addresses.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.addresses.append(params["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        """Have the browser do something, and answer its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await asyncio.wait_for(answer, PATIENCE)
        assert "error" not in message, (method, message["error"])
        found: dict[str, Any] = message["result"]
        return found

    async def evaluate(self, expression: str) -> Any:
        """Answer the value of an expression in the page."""
        found = await self.do(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until an expression in the page is true, and answer its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := await self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}; complaints: {self.complaints}"
        return value

    async def open(self, url: str, width: int = 1280, height: int = 800, scheme: str = "light") -> None:
        """Open an address in a window of this size, for a reader who prefers this colour scheme."""
        await self.resize(width, height, scheme)
        await self.do("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def resize(self, width: int, height: int, scheme: str = "light") -> None:
        """Give the window this size, and its reader this preference."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.do("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.do("Emulation.setEmulatedMedia", features=features)

    async def focus(self, selector: str) -> None:
        """Click in the middle of an element."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = await self.evaluate(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": x, "y": y, "button": "left", "clickCount": 1}
            await self.do("Input.dispatchMouseEvent", type=kind, **place)

    async def write(self, text: str) -> None:
        """Type a text in place of what the focused field or editor has."""
        select_all = {"key": "a", "code": "KeyA", "windowsVirtualKeyCode": 65, "modifiers": 2}
        await self.do("Input.dispatchKeyEvent", type="keyDown", commands=["selectAll"], **select_all)
        await self.do("Input.dispatchKeyEvent", type="keyUp", **select_all)
        await self.do("Input.insertText", text=text)

    async def picture(self) -> bytes:
        """Answer what the window shows, as a PNG."""
        found = await self.do("Page.captureScreenshot", format="png")
        return base64.b64decode(found["data"])


def program() -> str:
    """Answer where Chromium is."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert found is not None, "there is no Chromium: scripts/servers installs it"
    return found


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Tab]:
    """Start a browser with a profile of its own, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run"]
        options += ["--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--hide-scrollbars"]
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        process = await asyncio.create_subprocess_exec(
            program(),
            *options,
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port(Path(profile, "DevToolsActivePort"), process)
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
                targets = (await http.get(f"http://127.0.0.1:{port}/json/list")).json()
            address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
            async with connect(address, max_size=MESSAGE_BYTES_MAX, proxy=None) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await tab.do(f"{domain}.enable")
                yield tab
                listening.cancel()
        finally:
            # The program may be a script around the browser, which has children of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """Wait until the browser says on which port it listens."""
    turn, deadline = asyncio.sleep, time.monotonic() + PATIENCE
    while not (lines := _lines(file)):
        assert process.returncode is None, f"{program()} ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{program()} did not start"
        await turn(0)
    return int(lines[0])


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
