"""The attacks of `hostile.py`, and the answers that are documented for them.

    python hostile_attacks.py NAME PORT CORE

Of each line that it reads, a number of seconds, it attacks for so long, and prints the counts as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import hostile_tokens as tokens
from hostile_ways import (
    BATCH,
    COMPLETE,
    INIT,
    Done,
    bomb,
    busy,
    connects,
    distinct,
    each,
    fragments,
    requests,
    rounds,
    searching,
    shots,
    silent,
    slow,
    stream,
    subscribe,
    unread,
)
from hostile_wire import BINARY, PING, PONG, TEXT, Target, frame, message, request

QUERY = "subscription { other { id } }"


@dataclass(frozen=True)
class Attack:
    """One attack, and the answers that are documented for it."""

    run: Callable[[Target], Done]
    told: tuple[str, ...]
    """At least one of these must come."""
    also: tuple[str, ...] = ()
    """What may come besides."""


def document(query: str, code: str = "LIMIT_EXCEEDED", **payload: Any) -> Attack:
    """Attack with a document that is refused."""
    batch = each(lambda number: subscribe(number, query, **payload))
    return Attack(partial(rounds, batch, BATCH), (f"error {code}",), ("sent",))


def token(value: str) -> Attack:
    """Attack with a token that is refused."""
    data = message("connection_init", payload={"token": value})
    return Attack(partial(shots, data, path="/signed", init=b""), ("close 4403",))


def over_http(data: bytes, *told: str) -> Attack:
    """Attack with a request that is refused."""
    return Attack(partial(requests, data), told)


def body(query: str, **more: Any) -> bytes:
    """Make the body of a request."""
    return json.dumps({"query": query, **more}).encode()


def searched(pattern: str) -> Attack:
    """Attack with a pattern that the declared filter looks for in every event."""
    query = f'subscription {{ searched(pattern: "{pattern}") {{ number }} }}'
    data = each(lambda number: subscribe(number, query), 10)
    return Attack(partial(searching, data=data), ("pong",), ("sent",))


PINGS = message("ping") * BATCH
COMPLETED = each(lambda number: message("complete", id=str(number)), 100)
CHURN = each(lambda number: subscribe(number) + message("complete", id=str(number))) + message("ping")
FORGED = each(lambda number: subscribe(number, extensions={"coulis": {"resume": "AAAA" * 8}}), 100)
DEEP = "{ a " * 400 + "}" * 400
ALIASES = " ".join(f"a{number}: id" for number in range(100))
CHAIN = (
    " ".join(f"fragment f{n} on T {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
    + " fragment f40 on T { id }"
)
LARGE_PING = message("ping", payload={"a": "x" * 100_000})
BODY = body("{ a }")

SERVED = ("pong", "close 1011")
"""The server of a backlog that is longer than its deadline for pongs closes the connection itself."""

ATTACKS: dict[str, Attack] = {
    "none, for comparison": Attack(busy, ("nothing",)),
    "connect and leave": Attack(connects, ("HTTP 101",)),
    "never connection_init": Attack(silent, ("close 4408",)),
    "unknown sub-protocol": Attack(partial(shots, b"", init=b"", protocol="x"), ("close 4406",)),
    "page of another origin": Attack(
        partial(shots, b"", headers="Origin: https://evil.example\r\n"), ("HTTP 403",)
    ),
    "slow headers": Attack(partial(slow, b"GET /graphql HTTP/1.1\r\nHost: a\r\nX: "), ("held",), ("sent",)),
    "slow body": Attack(
        partial(slow, request(b"", Content_Length="100000")),
        ("HTTP 408 REQUEST_TIMEOUT",),
        ("sent", "held"),
    ),
    "pings, read": Attack(partial(rounds, PINGS, BATCH), ("pong",), ("sent",)),
    "pings, not read": Attack(partial(shots, LARGE_PING * 60, sent=60), ("close 1008",), ("end",)),
    "ping frames": Attack(partial(rounds, frame(b"a", PING) * BATCH, BATCH), ("pong frame",), ("sent",)),
    "pong frames": Attack(partial(stream, frame(b"a", PONG) * BATCH), SERVED, ("sent",)),
    "pongs": Attack(partial(stream, message("pong") * BATCH), SERVED, ("sent",)),
    "completes of nothing": Attack(partial(stream, COMPLETE * BATCH), SERVED, ("sent",)),
    "subscribe before init": Attack(partial(shots, subscribe(1), init=b""), ("close 4401",)),
    "second init": Attack(partial(shots, INIT), ("close 4429",)),
    "subscribe beyond 100": Attack(
        partial(rounds, each(subscribe, 125), 25, after=each(lambda n: message("complete", id=str(n)))),
        ("error LIMIT_EXCEEDED",),
        ("sent",),
    ),
    "subscribe, complete": Attack(partial(rounds, CHURN, 1, sent=2 * BATCH), ("pong",), ("sent",)),
    "the same, with rates=": Attack(
        partial(rounds, CHURN, 100, sent=2 * BATCH, path="/paced"), ("error RATE_LIMITED",), ("sent", "pong")
    ),
    "ever new documents": Attack(distinct, ("pong",)),
    "too deep": document("subscription " + DEEP),
    "too many aliases": document(f"subscription {{ other {{ {ALIASES} }} }}"),
    "too many directives": document("subscription { other { id " + "@include(if: true) " * 80 + "} }"),
    "too many tokens": document("subscription { other { " + "a " * 2_000 + "} }"),
    "too long a text": document("subscription { other { id } } #" + "x" * 20_000),
    "chain of fragments": document("subscription { other { ...f0 } } " + CHAIN),
    "circle of fragments": document(
        "subscription { other { ...a } } fragment a on T { ...b } fragment b on T { ...a }",
        "GRAPHQL_VALIDATION_FAILED",
    ),
    "no GraphQL": document("subscription {" * 50, "GRAPHQL_PARSE_FAILED"),
    "large variables": document(QUERY, variables={"a": "x" * 70_000}),
    "pattern that is too large": searched("((a{99}){99}){99}"),
    "pattern that backtracks": searched("(a+)+(a+)+b"),
    "init of many numbers": Attack(
        partial(
            shots, frame(b'{"type":"connection_init","payload":{"a":[' + b"1," * 450_000 + b"1]}}"), init=b""
        ),
        ("close 1009",),
    ),
    "same id": Attack(partial(shots, subscribe(1) * 2, sent=2), ("close 4409",)),
    "message too big": Attack(partial(shots, frame(b" " * ((1 << 20) + 1))), ("close 1009",)),
    "message far too big": Attack(partial(shots, frame(b" " * (17 << 20))), ("close 1009",), ("end",)),
    "compressed bomb": Attack(bomb, ("close 1009", "close 1002")),
    "frames of one byte": Attack(
        partial(fragments, piece=b"a", first=(1 << 20) - 5_000), ("close 1009",), ("sent", "end")
    ),
    "frames of nothing": Attack(partial(fragments, piece=b"", first=0), ("sent",)),
    "no JSON": Attack(partial(shots, frame(b"{" * 100)), ("close 4400",)),
    "nested JSON": Attack(
        partial(shots, frame(b'{"type":"ping","payload":' + b"[" * 900_000)), ("close 4400",)
    ),
    "unknown message": Attack(partial(shots, message("x")), ("close 4400",)),
    "binary message": Attack(partial(shots, frame(b"{}", BINARY)), ("close 4400",)),
    "no UTF-8": Attack(partial(shots, frame(b"\xff" * 50, TEXT)), ("close 1007",)),
    "reads nothing": Attack(unread, ("gap overflow",), ("sent",)),
    "forged cursor": Attack(
        partial(rounds, FORGED, 100, sent=100, after=COMPLETED),
        ("resumed cursor",),
        ("sent",),
    ),
    "cursor that is no text": document(QUERY, "BAD_USER_INPUT", extensions={"coulis": {"resume": 1}}),
    "token: alg none": token(tokens.unsigned()),
    "token: wrong key": token(tokens.signed(b"another secret of 32 bytes, or more")),
    "token: expired": token(tokens.signed(exp=1)),
    "token: path as kid": token(tokens.signed(kid="../../../../dev/null")),
    "token: 60 kB": token("a." * 30_000),
    "token: renewed by pings": Attack(
        partial(
            shots,
            message("ping", payload={"coulis": {"token": tokens.unsigned()}}),
            path="/signed",
            init=message("connection_init", payload={"token": tokens.signed()}),
        ),
        ("close 4403",),
    ),
    "HTTP: token of another": over_http(
        request(BODY, path="/signed", Authorization="Bearer " + tokens.unsigned()), "HTTP 401 UNAUTHENTICATED"
    ),
    "HTTP: batch": over_http(request(b"[" + BODY + b"]"), "HTTP 400 BAD_REQUEST"),
    "HTTP: 60 kB of headers": over_http(
        request(BODY, **{f"X{n}": "x" * 1_000 for n in range(60)}), "HTTP 431 LIMIT_EXCEEDED", "HTTP 200"
    ),
    "HTTP: 200 kB of headers": over_http(
        request(BODY, **{f"X{n}": "x" * 1_000 for n in range(200)}), "HTTP 431 LIMIT_EXCEEDED", "HTTP 400"
    ),
    "HTTP: long Accept": over_http(request(BODY, Accept="a/b;q=0.1," * 5_000), "HTTP 431 LIMIT_EXCEEDED"),
    "HTTP: 4 kB of Accept": over_http(request(BODY, Accept="a/b;q=0.1," * 400), "HTTP 406 NOT_ACCEPTABLE"),
    "HTTP: body too large": over_http(request(BODY, Content_Length="9" * 10), "HTTP 413 LIMIT_EXCEEDED"),
    "HTTP: too deep": over_http(request(body(DEEP)), "HTTP 200 LIMIT_EXCEEDED"),
    "HTTP: introspection": over_http(
        request(body("{ __schema { types { name } } }"), path="/closed"), "HTTP 200 INTROSPECTION_DISABLED"
    ),
    "HTTP: many parameters": over_http(
        request(method="GET", path="/graphql?" + "a=&" * 1_000), "HTTP 400 BAD_REQUEST"
    ),
}


def main() -> None:
    """Attack when told to."""
    name, port, core = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {core})
    os.nice(19)
    print(flush=True)  # it is ready
    for line in sys.stdin:
        counts: Counter[str] = Counter()
        start = time.monotonic()
        for sent, outcome in ATTACKS[name].run(Target(port, start + float(line))):
            counts["messages"] += sent
            counts[outcome] += 1
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
