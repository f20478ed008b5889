"""Routes for Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coulis.asgi import AuthHandler, SubscriptionApp
from coulis.operations import HEADERS, PATHS, MetricsApp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute
    from typing_extensions import Unpack

    from coulis.hosting import HostingOptions
    from coulis.manager import SubscriptionManager

__all__ = ["metrics_routes", "subscription_routes"]


def subscription_routes(
    manager: SubscriptionManager,
    path: str = "/graphql/subscriptions",
    *,
    auth_handler: AuthHandler | None = None,
    init_timeout: float = 10.0,
    keep_alive: float | None = None,
    allowed_origins: Iterable[str] | None = None,
    legacy_protocol: bool = False,
    stream_keep_alive: float | None = 12.0,
    reservations_max: int = 1_000,
    reservation_timeout: float = 30.0,
    **options: Unpack[HostingOptions],
) -> list[BaseRoute]:
    """Answer the routes that serve subscriptions at `path`.

    See `coulis.asgi.SubscriptionApp` for the settings.
    """
    from starlette.routing import Route, WebSocketRoute

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
    return [
        WebSocketRoute(path, app, name="subscriptions"),
        Route(path, app, name="subscriptions_http", include_in_schema=False),
    ]


def metrics_routes(manager: SubscriptionManager, prefix: str = "") -> list[BaseRoute]:
    """Answer routes for `/healthz`, `/readyz` and `/metrics` below `prefix`.

    See `coulis.asgi.MetricsApp` for what they tell.
    """
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    answers = MetricsApp(manager)

    def route(path: str) -> Route:
        async def answer(request: Request) -> PlainTextResponse:
            status, text = answers.answer(path)
            return PlainTextResponse(text, status, headers=HEADERS)

        return Route(prefix + path, answer, name=path[1:], include_in_schema=False)

    return [route(path) for path in PATHS]
