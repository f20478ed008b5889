"""Routes for Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coulis.asgi import AuthHandler, SubscriptionApp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute

    from coulis.manager import SubscriptionManager

__all__ = ["subscription_routes"]


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
    )
    return [
        WebSocketRoute(path, app, name="subscriptions"),
        Route(path, app, name="subscriptions_http", include_in_schema=False),
    ]
