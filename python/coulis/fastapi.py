"""A router for FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response, WebSocket
from starlette.routing import Route

from coulis.asgi import SubscriptionApp
from coulis.operations import HEADERS, PATHS, MetricsApp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Unpack

    from coulis.asgi import AuthHandler, Receive, Send
    from coulis.hosting import HostingOptions
    from coulis.manager import SubscriptionManager
    from coulis.types import Scope

__all__ = ["SubscriptionRouterFactory", "metrics_router"]

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class SubscriptionRouterFactory:
    """Makes routers: `app.include_router(SubscriptionRouterFactory.create(manager))`."""

    @staticmethod
    def create(
        manager: SubscriptionManager,
        path: str = "/graphql/subscriptions",
        auth_handler: AuthHandler | None = None,
        *,
        init_timeout: float = 10.0,
        keep_alive: float | None = None,
        allowed_origins: Iterable[str] | None = None,
        legacy_protocol: bool = False,
        stream_keep_alive: float | None = 12.0,
        reservations_max: int = 1_000,
        reservation_timeout: float = 30.0,
        **options: Unpack[HostingOptions],
    ) -> APIRouter:
        """Answer a router that serves subscriptions at `path`.

        See `coulis.asgi.SubscriptionApp` for the settings. `dependencies=` of FastAPI guard it: they are
        asked once about each request and each WebSocket, before anything else. One that takes a `Request`
        lets no WebSocket in; take an `HTTPConnection`. Who a client is tells `auth_handler` alone.
        """
        app = SubscriptionApp(
            manager,
            auth_handler=auth_handler,
            init_timeout=init_timeout,
            keep_alive=keep_alive,
            allowed_origins=allowed_origins,
            legacy_protocol=legacy_protocol,
            stream_keep_alive=stream_keep_alive,
            reservations_max=reservations_max,
            reservation_timeout=reservation_timeout,
            **options,
        )

        async def over_websocket(websocket: WebSocket) -> None:
            await app(websocket.scope, websocket.receive, websocket.send)

        async def over_http() -> Response:
            return _Answer(app)

        # Of FastAPI's own kinds: its dependencies are asked about no others.
        router = APIRouter()
        router.add_api_websocket_route(path, over_websocket, name="subscriptions")
        router.add_api_route(
            path,
            over_http,
            methods=_METHODS,
            response_model=None,
            include_in_schema=False,
            name="subscriptions_http",
        )
        # Browsers send preflights without anything by which a dependency could let them in.
        router.routes.append(Route(path, app, methods=["OPTIONS"], include_in_schema=False))
        return router


def metrics_router(manager: SubscriptionManager) -> APIRouter:
    """Answer a router for `/healthz`, `/readyz` and `/metrics`; see `coulis.asgi.MetricsApp`."""
    answers, router = MetricsApp(manager), APIRouter()

    def add(path: str) -> None:
        async def answer() -> Response:
            status, text = answers.answer(path)
            return Response(text, status, headers=HEADERS)

        router.add_api_route(
            path,
            answer,
            methods=["GET", "HEAD"],
            response_model=None,
            include_in_schema=False,
            name=path[1:],
        )

    for path in PATHS:
        add(path)
    return router


class _Answer(Response):
    """The answer to a request that an application gives by itself."""

    def __init__(self, app: SubscriptionApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        if self.background is not None:
            await self.background()
