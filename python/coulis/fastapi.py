"""A router for FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coulis.starlette import metrics_routes, subscription_routes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import APIRouter
    from typing_extensions import Unpack

    from coulis.asgi import AuthHandler
    from coulis.hosting import HostingOptions
    from coulis.manager import SubscriptionManager

__all__ = ["SubscriptionRouterFactory", "metrics_router"]


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

        See `coulis.asgi.SubscriptionApp` for the settings.
        """
        from fastapi import APIRouter

        router = APIRouter()
        router.routes.extend(
            subscription_routes(
                manager,
                path,
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
        )
        return router


def metrics_router(manager: SubscriptionManager) -> APIRouter:
    """Answer a router for `/healthz`, `/readyz` and `/metrics`; see `coulis.asgi.MetricsApp`."""
    from fastapi import APIRouter

    router = APIRouter()
    router.routes.extend(metrics_routes(manager))
    return router
