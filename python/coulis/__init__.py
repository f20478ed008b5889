"""Coulis gets events to GraphQL subscribers: publish, match, render, deliver."""

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
from coulis.jwt import JWTVerifier
from coulis.manager import SubscriptionData, SubscriptionManager
from coulis.registry import Registry, subscription

PyEventBusConfig = EventBusConfig
PySubscriptionExecutor = SubscriptionExecutor

__all__ = [
    "AlreadyExists",
    "AuthenticationFailed",
    "AuthorizationFailed",
    "BusError",
    "CoulisError",
    "EngineClosed",
    "EventBusConfig",
    "InvalidQuery",
    "JWTKey",
    "JWTVerifier",
    "LimitExceeded",
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
    "SubscriptionManager",
    "SubscriptionNotFound",
    "__version__",
    "policy",
    "postgres_migrations",
    "subscription",
]
