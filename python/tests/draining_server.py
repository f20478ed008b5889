"""The server of `test_shutdowns.py`: python draining_server.py URL-OF-REDIS|memory DEADLINE

It prints its port; when it was drained, what was so, as JSON. Without a bus it publishes for ever by itself.
"""

import asyncio
import dataclasses
import json
import socket
import sys
import time

import coulis
import uvicorn
from coulis.asgi import SubscriptionApp

PACE = 0.001
"""Seconds between two events."""


class App(SubscriptionApp):
    """Tells of its drain."""

    number = 0
    published = publishing = None

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
        if self.published is not None:
            return  # by the signal; this is the end of the lifespan
        self.published, started = self.number, time.monotonic()
        drained = dataclasses.asdict(await super().drain(deadline, **options))
        if self.publishing is not None:
            self.publishing.cancel()
        undelivered = await self.manager.close(1.0)
        told = {"published": self.published, "undelivered": len(undelivered), **drained}
        print(json.dumps({**told, "seconds": time.monotonic() - started}), flush=True)


def main():
    bus, deadline = sys.argv[1:]
    config = None if bus == "memory" else coulis.EventBusConfig.redis(bus, "drain")
    app = App(coulis.SubscriptionManager(config, registry=coulis.Registry()), drain_deadline=float(deadline))
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio")).run(sockets=[listener])


if __name__ == "__main__":
    main()
