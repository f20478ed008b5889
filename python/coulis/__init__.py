"""Coulis gets events to GraphQL subscribers: publish, match, render, deliver."""

# The engine asks for the workers when a thread needs them: a child that is forked in the middle of an import
# would wait for it for ever.
import coulis.workers  # noqa: F401
from coulis import policy
from coulis._coulis import (
    AlreadyExists,
    AuthenticationFailed,
    AuthorizationFailed,
    BusError,
    CoulisError,
    EngineClosed,
    EventBusConfig,
    InvalidQuery,
    JWTKey,
    LimitExceeded,
    Operation,
    PolicyError,
    PyGraphQLMessage,
    PySubscriptionPayload,
    QueueFull,
    RateLimited,
    ResolverInfo,
    SecurityContext,
    SubscriptionExecutor,
    SubscriptionNotFound,
    __version__,
    postgres_migrations,
)
from coulis.errors import ConversionError, UserError
from coulis.hosting import Connection
from coulis.jwt import JWTVerifier
from coulis.loaders import Loader, Loaders
from coulis.manager import SubscriptionData, SubscriptionManager
from coulis.permissions import BasePermission, SubscriptionInfo
from coulis.registry import Registry, subscription

PyEventBusConfig = EventBusConfig
PySubscriptionExecutor = SubscriptionExecutor

__all__ = [
    "AlreadyExists",
    "AuthenticationFailed",
    "AuthorizationFailed",
    "BasePermission",
    "BusError",
    "Connection",
    "ConversionError",
    "CoulisError",
    "EngineClosed",
    "EventBusConfig",
    "InvalidQuery",
    "JWTKey",
    "JWTVerifier",
    "LimitExceeded",
    "Loader",
    "Loaders",
    "Operation",
    "PolicyError",
    "PyEventBusConfig",
    "PyGraphQLMessage",
    "PySubscriptionExecutor",
    "PySubscriptionPayload",
    "QueueFull",
    "RateLimited",
    "Registry",
    "ResolverInfo",
    "SecurityContext",
    "SubscriptionData",
    "SubscriptionExecutor",
    "SubscriptionInfo",
    "SubscriptionManager",
    "SubscriptionNotFound",
    "UserError",
    "__version__",
    "policy",
    "postgres_migrations",
    "subscription",
]
