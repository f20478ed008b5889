"""Raw sockets of an attacker: WebSocket frames and HTTP requests that no client library would send."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coulis.asgi import SUBPROTOCOL

SECRET = "a secret of 32 bytes, or of more"
"""What the server signs tokens with."""
PATIENCE = 30.0
"""Seconds after which an answer is not going to come."""

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


@dataclass
class Target:
    """A server to attack, and until when."""

    port: int
    until: float = 0.0

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return time.monotonic() > self.until

    def open(self) -> socket.socket:
        """Connect, without a word."""
        opened = socket.create_connection(("127.0.0.1", self.port))
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A reset at the close, so that thousands of them leave no port behind that has to wait.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        opened.settimeout(PATIENCE)
        return opened


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, deflated: bool = False) -> bytes:
    """Make a frame of a client; the mask is zero."""
    first, length = opcode | fin << 7 | deflated << 6, len(payload)
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + bytes(4) + payload


def message(type: str, **more: Any) -> bytes:
    """Make a frame with a message of the protocol."""
    return frame(json.dumps({"type": type, **more}).encode())


class WebSocket:
    """One WebSocket of the attacker."""

    def __init__(
        self, target: Target, path: str = "/graphql", protocol: str = SUBPROTOCOL, headers: str = ""
    ) -> None:
        self.socket = target.open()
        self.status = 0
        self._buffer = bytearray()
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n{UPGRADE}"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n{headers}\r\n".encode()
        )

    def shaken(self) -> int:
        """Read the answer to the handshake; answer its status."""
        while b"\r\n\r\n" not in self._buffer:
            if not (read := self.socket.recv(65_536)):
                return 0
            self._buffer += read
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        self.status = int(head.split()[1])
        return self.status

    def send(self, data: bytes) -> bool:
        """Send and answer whether the server is still there."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def outcomes(self, count: int) -> Iterator[str]:
        """Read so many answers, or until the server has closed; answer in words what they are."""
        while count > 0:
            for opcode, payload in self.frames():
                yield outcome_of(opcode, payload)
                count = 0 if opcode == CLOSE else count - 1
            if count > 0:
                try:
                    read = self.socket.recv(262_144)
                except ConnectionResetError:
                    read = b""
                if not read:
                    yield "end"
                    return
                self._buffer += read

    def fed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take what was read elsewhere; answer the whole frames."""
        self._buffer += data
        return self.frames()

    def frames(self) -> list[tuple[int, bytes]]:
        """Take whole frames out of what was read, and answer those that are pings."""
        buffer, at, frames = self._buffer, 0, []
        while len(buffer) - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length >= 126:
                wide = "!H" if length == 126 else "!Q"
                if len(buffer) < start + struct.calcsize(wide):
                    break
                (length,), start = struct.unpack_from(wide, buffer, start), start + struct.calcsize(wide)
            if len(buffer) < start + length:
                break
            opcode, payload = buffer[at] & 15, bytes(buffer[start : start + length])
            if opcode == PING:
                self.send(frame(payload, PONG))
            else:
                frames.append((opcode, payload))
            at = start + length
        del buffer[:at]
        return frames

    def close(self) -> None:
        """Reset the connection."""
        self.socket.close()


def outcome_of(opcode: int, payload: bytes) -> str:
    """Say in a word or two what a frame of the server is."""
    if opcode == CLOSE:
        return f"close {int.from_bytes(payload[:2], 'big')}"
    if opcode == PONG:
        return "pong frame"
    found = json.loads(payload)
    kind, told = found["type"], found.get("payload")
    if kind == "error":
        return f"error {told[0]['extensions']['code']}"
    if kind != "next":
        return str(kind)
    if told.get("errors"):
        return f"error {told['errors'][0]['extensions']['code']}"
    extension = told.get("extensions", {}).get("coulis", {})
    if "gap" in extension:
        return f"gap {extension['gap']['reason']}"
    return f"resumed {extension.get('reason', 'true')}" if "resumed" in extension else "next"


def request(body: bytes = b"", *, method: str = "POST", path: str = "/graphql", **headers: str) -> bytes:
    """Make an HTTP request; headers with `_` for `-`."""
    given = {"Host": "a", "Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def answered(opened: socket.socket) -> tuple[str, bool]:
    """Read an answer over HTTP; in words, and whether the connection lives on."""
    buffer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in buffer:
            if not (read := opened.recv(65_536)):
                return "end", False
            buffer += read
        head, _, body = bytes(buffer).partition(b"\r\n\r\n")
        fields = head.decode("latin-1").lower()
        length = int(fields.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        while len(body) < length and (read := opened.recv(65_536)):
            body += read
        try:
            errors = json.loads(body).get("errors")
        except (ValueError, AttributeError):
            errors = None
        code = f" {errors[0]['extensions']['code']}" if errors else ""
        return f"HTTP {fields.split()[1]}{code}", "connection: close" not in fields
    return "end", False
