"""All about subscriptions in one place; the same names as in `coulis`."""

from coulis._coulis import (
    EventBusConfig,
    PyGraphQLMessage,
    PySubscriptionPayload,
    SubscriptionExecutor,
)
from coulis.manager import SubscriptionData, SubscriptionManager
from coulis.registry import Declaration, Registry, default_registry, subscription

PyEventBusConfig = EventBusConfig
PySubscriptionExecutor = SubscriptionExecutor

__all__ = [
    "Declaration",
    "EventBusConfig",
    "PyEventBusConfig",
    "PyGraphQLMessage",
    "PySubscriptionExecutor",
    "PySubscriptionPayload",
    "Registry",
    "SubscriptionData",
    "SubscriptionExecutor",
    "SubscriptionManager",
    "default_registry",
    "subscription",
]
