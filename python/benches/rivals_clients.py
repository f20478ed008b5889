"""The clients of `rivals.py`: raw sockets that read frames and check them, cheaper than any server."""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import struct
import time
from typing import IO

from coulis.asgi import SUBPROTOCOL
from rivals_systems import FIRST, QUERY, TEXT

SECONDS_MAX = 120.0
"""How long nothing may come before a measurement fails."""
_CLOSE = 0x88


class Client:
    """One WebSocket without extensions."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.next = FIRST
        self.bytes = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
        )
        self.socket.settimeout(SECONDS_MAX)
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(65_536)
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        assert b" 101 " in head.split(b"\r\n")[0], head
        self._buffer = bytearray(rest)

    def subscribe(self) -> None:
        """Open the protocol's connection and its one subscription."""
        self.say('{"type":"connection_init"}')
        self.hear("connection_ack")
        self.say(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}}))
        # The answer to a ping comes after the subscribe was seen.
        self.say('{"type":"ping"}')
        self.hear("pong")

    def say(self, text: str) -> None:
        """Send a message of less than 126 bytes; the mask is zero."""
        data = text.encode()
        assert len(data) < 126
        self.socket.sendall(bytes((0x81, 0x80 | len(data), 0, 0, 0, 0)) + data)

    def hear(self, kind: str) -> None:
        """Wait for a message."""
        while True:
            if frames := self.frames():
                (message,) = map(json.loads, frames)
                assert message["type"] == kind, message
                return
            self._buffer += self.socket.recv(65_536)

    def receive(self) -> list[bytes]:
        """Read what is there; answer the messages."""
        data = self.socket.recv(262_144)
        assert data, "the server has closed a connection"
        self._buffer += data
        self.bytes += len(data)
        return self.frames()

    def frames(self) -> list[bytes]:
        """Take whole messages out of what was read."""
        buffer, at, frames = self._buffer, 0, []
        while len(buffer) - at >= 2:
            first, length, start = buffer[at], buffer[at + 1], at + 2
            assert first != _CLOSE, bytes(buffer[at:])
            if length == 126:
                if len(buffer) - at < 4:
                    break
                (length,), start = struct.unpack_from("!H", buffer, start), start + 2
            assert length != 127
            if len(buffer) < start + length:
                break
            frames.append(bytes(buffer[start : start + length]))
            at = start + length
        del buffer[:at]
        return frames


class Clients:
    """All clients of one server, in one loop of reads."""

    def __init__(self, port: int, count: int) -> None:
        self.clients = [Client(port) for _ in range(count)]
        for client in self.clients:
            client.subscribe()
        self._selector = selectors.DefaultSelector()
        for client in self.clients:
            client.socket.setblocking(False)
            self._selector.register(client.socket, selectors.EVENT_READ, client)
        self.times: list[int] = []
        self._seen: dict[int, int] = {}

    def run(self, commands: IO[str], count: int, in_flight: int) -> None:
        """Have events published, so many at a time, until everybody has got all of them; check each."""
        first = self.clients[0].next
        asked = done = 0
        self.times = []
        while done < count:
            # Anew when all have arrived, so that what is in flight is known.
            if asked == done:
                size = min(in_flight, count - asked)
                asked += size
                commands.write(f"{size}\n")
                commands.flush()
            self._receive()
            while self._seen.get(first + done) == len(self.clients):
                del self._seen[first + done]
                done += 1
        assert not self._seen, "more came than was published"
        assert all(client.next == first + count for client in self.clients)

    def _receive(self) -> None:
        ready = self._selector.select(SECONDS_MAX)
        assert ready, "nothing comes any more"
        for key, _ in ready:
            client: Client = key.data
            for frame in client.receive():
                self._check(client, frame, time.monotonic_ns())

    def _check(self, client: Client, frame: bytes, now: int) -> None:
        number = client.next
        at = frame.find(b'"at":') + 5
        start = frame.find(b'"', at) + 1
        self.times.append(now - int(frame[start : start + 20]))
        found = frame.find(b'"number":') + 9
        assert int(frame[found : found + 8].strip(b" ,")) == number and TEXT.encode() in frame, frame
        # Whole, for some: reading JSON is dear.
        if number % 97 == 0:
            message = json.loads(frame)
            assert (message["type"], message["id"]) == ("next", "1"), message
            event = message["payload"]["data"]["event"]
            assert list(event) == ["number", "at", "text"] and event["text"] == TEXT, event
        client.next += 1
        self._seen[number] = self._seen.get(number, 0) + 1
