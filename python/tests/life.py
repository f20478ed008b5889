"""A program with everything that coulis can have running, which ends at a random moment in a given way.

python life.py SEED main|thread exit|end|raise|signal|fork

Its loop runs in the main thread, or in a daemon thread.
"""

import asyncio
import contextlib
import faulthandler
import json
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time

import coulis
import uvicorn
import websockets
from coulis.asgi import SUBPROTOCOL, SubscriptionApp

QUERY = "subscription { user { id } }"
MOMENT_SECONDS_MAX = 0.2
PURPOSE = "it ends on purpose"

CLOSE_SECONDS = 0.1
PACE = 0.001
"""Seconds between what the life does again and again."""

registry = coulis.Registry()
executor = coulis.SubscriptionExecutor()


@registry.subscription("user")
def busy(event, variables):
    return {"user": {"id": sum(range(event["id"] % 3000))}}


@registry.subscription("slow")
async def slow(event, variables):
    await asyncio.sleep(PACE)
    return {"slow": event}


async def private(event, variables):
    await asyncio.sleep(PACE)
    return {"user": event}


def publish():
    """Publish for ever, to an executor without a loop; it closes when the interpreter ends."""
    with contextlib.suppress(coulis.EngineClosed, coulis.SubscriptionNotFound):
        executor.register_subscription("c", "s", QUERY, resolver=busy)
        executor.register_subscription("c", "p", QUERY, resolver=private)
        for number in range(sys.maxsize):
            executor.publish_nowait("t", "user", {"id": number})
            executor.next_events("s", 1_000)
            time.sleep(PACE)


async def read(manager, name):
    async for _ in manager.events(name):
        pass


async def publish_for_ever(manager):
    with contextlib.suppress(coulis.EngineClosed):
        for number in range(sys.maxsize):
            await manager.publish_event("t", "user", {"id": number})
            await manager.publish_event("t", "slow", {"id": number})


async def follow(address):
    # The server may be cancelled first, and then it does not answer the close.
    options = {"subprotocols": [SUBPROTOCOL], "proxy": None, "close_timeout": CLOSE_SECONDS}
    connecting = websockets.connect(f"ws://{address}/", **options)
    with contextlib.suppress(OSError, websockets.WebSocketException):
        async with connecting as socket:
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": QUERY}}))
            async for _ in socket:
                pass


async def stream(address):
    with contextlib.suppress(OSError):
        await _stream(*await asyncio.open_connection(*address.split(":")))


async def _stream(reader, writer):
    body = json.dumps({"query": QUERY}).encode()
    writer.write(b"POST / HTTP/1.1\r\nhost: h\r\naccept: text/event-stream\r\n")
    writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    while await reader.read(65_536):
        pass


def is_news(record):
    """Leave out what uvicorn says of requests when its loop, or their connection, is ended under them."""
    cancelled = record.exc_info and record.exc_info[0] is asyncio.CancelledError
    return not (cancelled or "without completing handshake" in record.getMessage())


async def live():
    """Start everything, and go on until somebody ends it."""
    manager = coulis.SubscriptionManager(registry=registry)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        app = SubscriptionApp(manager, drain_deadline=0.1)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio"))
        logging.getLogger("uvicorn.error").addFilter(is_news)
        logging.getLogger("coulis").setLevel(logging.ERROR)  # readers that are slow here are no news
        names = {"one": QUERY, "two": "subscription { slow { id } }"}
        for name, query in names.items():
            await manager.create_subscription(name, "c", query)
        works = [
            server.serve(sockets=[listener]),
            follow(address),
            stream(address),
            publish_for_ever(manager),
            *(read(manager, name) for name in names),
        ]
        tasks = [asyncio.create_task(work) for work in works]
        await asyncio.gather(*tasks)


def run(work):
    """As `asyncio.run`, which leaves pending what begins while it cancels: a request that has just come."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(work)
    finally:
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def live_in_thread():
    """Live until the engine closes under it, when the interpreter ends."""
    with contextlib.suppress(coulis.EngineClosed):
        asyncio.run(live())


def in_a_fork():
    """Have an engine of its own, where the parent's is of no use."""
    try:
        executor.publish_event("t", "user", {"id": 1})
    except coulis.EngineClosed:
        with coulis.SubscriptionExecutor() as own:
            own.register_subscription("c", "s", QUERY, resolver=busy)
            assert own.publish_event("t", "user", {"id": 1}) == 1
            return
    raise AssertionError("the parent's executor was used")


def fork(place):
    """Fork; the child ends as a script does or, where it has a loop of its parent, as multiprocessing's."""
    if place == "main":
        child = multiprocessing.get_context("fork").Process(target=in_a_fork)
        child.start()
        child.join()
        assert child.exitcode == 0, child.exitcode
        return
    child = os.fork()
    if child == 0:
        in_a_fork()
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, status


def do(deed, place):
    print(time.time(), flush=True)
    if deed == "exit":
        sys.exit(0)
    if deed == "raise":
        raise RuntimeError(PURPOSE)
    if deed == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PACE)
    if deed == "fork":
        fork(place)


async def live_in_main(moment, deed):
    living = asyncio.create_task(live())
    await asyncio.sleep(moment)
    do(deed, "main")
    if deed == "signal":
        await living


def tell(failed):
    """Say what ended a thread, in one piece: a daemon thread may not get as far as its traceback."""
    if "no thread could be started" in str(failed.exc_value):
        return  # From Python 3.12 on that is so before the engine closes.
    os.write(2, f"{failed.thread.name}: {failed.exc_value!r}\n".encode())


def main(seed, place, deed):
    threading.excepthook = tell
    faulthandler.register(signal.SIGUSR1)  # whoever finds that it hangs may ask where
    moment = random.Random(seed).random() * MOMENT_SECONDS_MAX
    threading.Thread(target=publish, daemon=True).start()
    if place == "main":
        run(live_in_main(moment, deed))
        return
    threading.Thread(target=live_in_thread, daemon=True).start()
    time.sleep(moment)
    do(deed, place)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
