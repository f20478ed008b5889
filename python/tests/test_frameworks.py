"""FastAPI and Starlette: the documented quick start, and where the routes answer."""

import asyncio
import pathlib
import re

import coulis
import httpx
import pytest
import websockets
from conftest import served, until
from coulis.fastapi import SubscriptionRouterFactory, metrics_router
from coulis.registry import default_registry
from coulis.starlette import subscription_routes
from fastapi import Depends, FastAPI, HTTPException
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

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


def guard(connection: HTTPConnection):
    if connection.headers.get("x-key") != "open":
        raise HTTPException(401, "no key")


def included(*routers):
    app = FastAPI()
    for router in routers:
        app.include_router(router, prefix="/api", dependencies=[Depends(guard)])
    return app


def application_wide(*routers):
    app = FastAPI(dependencies=[Depends(guard)])
    for router in routers:
        app.include_router(router, prefix="/api")
    return app


@pytest.mark.parametrize("make", [included, application_wide])
async def test_dependencies_of_fastapi_guard_the_routers(manager, connect, make):
    app = make(
        SubscriptionRouterFactory.create(manager, auth_handler=authenticate, allowed_origins=["https://a.b"]),
        metrics_router(manager),
    )
    path, key = "/api/graphql/subscriptions", {"x-key": "open"}
    async with served(app) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as web:
            for there in ("/api/metrics", "/api/readyz", "/api/healthz"):
                assert (await web.get(there)).status_code == 401
                assert (await web.get(there, headers=key)).status_code == 200
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"):
                assert (await web.request(method, path)).status_code == 401
            asked = {"query": "{ a }"}
            assert (await web.post(path, json=asked)).json() == {"detail": "no key"}
            assert (await web.post(path, json=asked, headers=key)).status_code == 500  # of `authenticate`
            preflight = {"origin": "https://a.b", "access-control-request-method": "POST"}
            answer = await web.options(path, headers=preflight)
            assert answer.headers["access-control-allow-origin"] == "https://a.b"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect(address, path)
        assert refused.value.response.status_code in (401, 403)  # as the server can
        client = await connect(address, path, additional_headers=key)
        await client.init({"user": 1})
        assert await client.subscribe("1", QUERY) == []


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


async def test_an_unmodified_client_library_subscribes_and_unsubscribes(manager):
    async with served(
        Starlette(routes=subscription_routes(manager, "/graphql", auth_handler=authenticate))
    ) as address:
        transport = WebsocketsTransport(
            f"ws://{address}/graphql",
            init_payload={"user": 1},
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            connect_args={"proxy": None},
        )
        async with Client(transport=transport) as session:
            results = session.subscribe(
                gql("subscription ($id: ID) { user(id: $id) { name: id __typename } }")
            )
            first = asyncio.ensure_future(anext(results))
            await until(lambda: manager.get_metrics()["subscriptions"])
            await manager.publish_event("t", "user", {"id": "7", "__typename": "User"}, user_id=1)
            assert await first == {"user": {"name": "7", "__typename": "User"}}
            await results.aclose()
            await until(lambda: not manager.get_metrics()["subscriptions"])


async def test_the_quick_start_of_the_readme_works_as_printed(connect):
    readme = (pathlib.Path(__file__).parent.parent / "README.md").read_text("utf-8")
    program = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    names = {}
    try:
        exec(compile(program, "README.md", "exec"), names)
        async with served(names["app"]) as address:
            client = await connect(address, "/graphql/subscriptions")
            await client.init()
            assert await client.subscribe("1", "subscription { orderText { text } }") == []
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as web:
                assert (await web.post("/orders/7/paid")).json() == 1
            assert (await client.hear())["payload"]["data"] == {"orderText": {"text": "order 7 is paid"}}
            await client.socket.close()
    finally:
        default_registry.fields.pop("orderText", None)
        names["manager"].executor.close()


@pytest.mark.parametrize("readme", ["README.md", "python/README.md"])
def test_a_quick_start_is_short(readme):
    text = (pathlib.Path(__file__).parents[2] / readme).read_text("utf-8")
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert "publish_event" in program and "SubscriptionRouterFactory" in program
    assert len(program.splitlines()) <= 16


def test_a_router_takes_the_settings_of_the_application(manager):
    with pytest.raises(TypeError, match="`on_connect` is a `int`"):
        SubscriptionRouterFactory.create(manager, on_connect=1)
    with pytest.raises(TypeError, match="nonsense"):
        subscription_routes(manager, nonsense=1)
