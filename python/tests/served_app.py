"""The application of `test_servers.py`."""

import coulis
from coulis.starlette import subscription_routes
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

manager = coulis.SubscriptionManager(registry=coulis.Registry())


async def publish(request):
    return JSONResponse(await manager.publish_event("t", "user", await request.json()))


async def metrics(request):
    return JSONResponse(manager.get_metrics())


app = Starlette(
    routes=[
        Route("/publish", publish, methods=["POST"]),
        Route("/metrics", metrics),
        *subscription_routes(manager, "/graphql", legacy_protocol=True),
    ]
)
