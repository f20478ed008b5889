"""Routes for Starlette."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coulis.asgi import AuthHandler, SubscriptionApp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.routing import BaseRoute
    from typing_extensions import Unpack

    from coulis.hosting import HostingOptions
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
    **options: Unpack[HostingOptions],
) -> list[BaseRoute]:
    """Answer the routes that serve subscriptions at `path`.

    See `coulis.asgi.SubscriptionApp` for the settings.
    """
    from starlette.routing import WebSocketRoute

    app = SubscriptionApp(
        manager,
        auth_handler=auth_handler,
        init_timeout=init_timeout,
        keep_alive=keep_alive,
        allowed_origins=allowed_origins,
        **options,
    )
    return [WebSocketRoute(path, app, name="subscriptions")]
