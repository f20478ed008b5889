"""The server of `test_shutdowns.py`: python draining_server.py URL-OF-REDIS|memory DEADLINE SERVER

SERVER is `uvicorn`, `hypercorn` or `granian`. It prints its port; when it was drained, what was so, as JSON.
Without a bus it publishes for ever by itself.
"""

import asyncio
import dataclasses
import json
import socket
import sys
import time

import coulis
import granian
import hypercorn
import hypercorn.asyncio
import uvicorn
from coulis.asgi import SubscriptionApp

PACE = 0.001
"""Seconds between two events."""
FRAMES_MAX = 1 << 16
"""That may wait for a client: a minute of events, since a busy machine's gap is none of the drain's."""


class App(SubscriptionApp):
    """Tells of its drain."""

    number = 0
    published = publishing = started = None
    told = False

    async def __call__(self, scope, receive, send):
        if self.publishing is None and sys.argv[1] == "memory":
            self.publishing = asyncio.create_task(self.publish())
        await super().__call__(scope, receive, send)

    async def publish(self):
        while True:
            await self.manager.publish_event("t", "user", {"id": self.number + 1})
            self.number += 1
            await asyncio.sleep(PACE)

    async def drain(self, deadline, **options):
        # By the signal, and at the end of the lifespan, which may break off the former.
        if self.published is None:
            self.published, self.started = self.number, time.monotonic()
        drained = dataclasses.asdict(await super().drain(deadline, **options))
        if self.publishing is not None:
            self.publishing.cancel()
        undelivered = await self.manager.close(1.0)
        if self.told:
            return
        self.told = True
        told = {"published": self.published, "undelivered": len(undelivered), **drained}
        print(json.dumps({**told, "seconds": time.monotonic() - self.started}), flush=True)


def make():
    """Make the application, in the process that serves it."""
    bus, deadline, _ = sys.argv[1:]
    config = None if bus == "memory" else coulis.EventBusConfig.redis(bus, "drain")
    manager = coulis.SubscriptionManager(
        config, registry=coulis.Registry(), limits={"ring_frames_max": FRAMES_MAX}
    )
    return App(manager, drain_deadline=float(deadline))


def by_uvicorn(listener):
    uvicorn.Server(uvicorn.Config(make(), log_level="error", ws="websockets-sansio")).run(sockets=[listener])


def by_hypercorn(listener):
    app, config = make(), hypercorn.Config()
    config.bind, config.loglevel = [f"fd://{listener.detach()}"], "ERROR"
    config.graceful_timeout = app.drain_deadline
    asyncio.run(hypercorn.asyncio.serve(app, config))


def by_granian(listener):
    port = listener.getsockname()[1]
    listener.close()  # it wants to open its own
    # Its other runtime may abort the process at a signal while there are WebSockets (granian's issue 884).
    server = granian.Granian("", port=port, interface="asgi", runtime_mode="st", log_enabled=False)
    server.serve(target_loader=lambda *_: make(), wrap_loader=False)


SERVERS = {"uvicorn": by_uvicorn, "hypercorn": by_hypercorn, "granian": by_granian}


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    SERVERS[sys.argv[3]](listener)


if __name__ == "__main__":
    main()
