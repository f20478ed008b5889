"""FastAPI and Starlette: the documented quick start, and where the routes answer."""

import pytest
import websockets
from conftest import served
from fastapi import FastAPI
from starlette.applications import Starlette

import coulis
from coulis.fastapi import SubscriptionRouterFactory
from coulis.starlette import subscription_routes

QUERY = "subscription { user { id } }"


async def authenticate(payload):
    return {"user_id": payload["user"], "tenant_id": "t"}


async def hears(manager, connect, address, path):
    client = await connect(address, path)
    await client.init({"user": 1})
    assert await client.subscribe("1", QUERY) == []
    assert await manager.publish_event("t", "user", {"id": 7}, user_id=1) == 1
    return (await client.hear())["payload"] == {"data": {"user": {"id": 7}}}


async def test_a_fastapi_router_serves_at_its_path(manager, connect):
    app = FastAPI()
    app.include_router(SubscriptionRouterFactory.create(manager, auth_handler=authenticate))
    async with served(app) as address:
        assert await hears(manager, connect, address, "/graphql/subscriptions")


async def test_a_fastapi_router_takes_a_prefix_and_a_path(manager, connect):
    app = FastAPI()
    router = SubscriptionRouterFactory.create(manager, "/events", authenticate, keep_alive=60.0)
    app.include_router(router, prefix="/api")
    async with served(app) as address:
        assert await hears(manager, connect, address, "/api/events")
        with pytest.raises(websockets.InvalidStatus):
            await connect(address, "/events")


async def test_starlette_routes_serve_at_their_path(manager, connect):
    app = Starlette(routes=subscription_routes(manager, "/graphql", auth_handler=authenticate))
    async with served(app) as address:
        assert await hears(manager, connect, address, "/graphql")


async def test_the_quick_start_runs_as_printed(connect):
    registry = coulis.Registry()
    manager = coulis.SubscriptionManager(coulis.EventBusConfig.memory(), registry=registry)

    @registry.subscription()
    async def user(event, variables):
        return {"user": {"id": event["id"]}}

    app = FastAPI()
    app.include_router(SubscriptionRouterFactory.create(manager, auth_handler=authenticate))
    async with manager, served(app) as address:
        assert await hears(manager, connect, address, "/graphql/subscriptions")
