"""Fixtures for pytest: `coulis_manager` and `coulis_client`. They work with pytest-asyncio and with anyio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from coulis.manager import SubscriptionManager
from coulis.testing import SubscriptionClient

__all__ = ["coulis_client", "coulis_manager", "coulis_options"]


@pytest.fixture
def coulis_options() -> dict[str, Any]:
    """Arguments of the `SubscriptionManager` of a test, such as `schema`; define it anew to pass some."""
    return {}


@pytest.fixture
def coulis_manager(coulis_options: dict[str, Any]) -> Iterator[SubscriptionManager]:
    """Give a test a manager of its own, in memory, that is closed at its end."""
    manager = SubscriptionManager(**coulis_options)
    yield manager
    manager.executor.close()


@pytest.fixture
def coulis_client(coulis_manager: SubscriptionManager) -> SubscriptionClient:
    """Give a test a client of `coulis_manager`, without sockets; see `coulis.testing`."""
    return SubscriptionClient(coulis_manager)
