"""Finds the manager and the endpoints of a program that is named on the command line."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from coulis.asgi import MetricsApp, SubscriptionApp
from coulis.manager import SubscriptionManager

__all__ = ["LoadError", "endpoints", "load", "manager_of"]


class LoadError(Exception):
    """What was named is not there."""


def load(name: str) -> Any:
    """Import `module:name`, from the working directory too. What the module raises goes through."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise LoadError(f"`{name}` is not of the form `module:name`: pass such as `main:app`")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name + ".").startswith(error.name + "."):
            raise
        raise LoadError(f"there is no module `{error.name}` here or on the path of Python") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise LoadError(f"`{module_name}` has no `{attribute}`")
        found = getattr(found, part)
    return found


def manager_of(name: str) -> SubscriptionManager:
    """Answer the manager that `module:name` is or serves."""
    found = load(name)
    if isinstance(found, SubscriptionManager):
        return found
    managers = {app.manager for _, app in endpoints(found)} or _globals(name)
    if len(managers) != 1:
        raise LoadError(f"`{name}` has {len(managers)} managers: name one, as in `main:manager`")
    return managers.pop()


def _globals(name: str) -> set[SubscriptionManager]:
    module = sys.modules[name.partition(":")[0]]
    return {value for value in vars(module).values() if isinstance(value, SubscriptionManager)}


def endpoints(app: Any) -> list[tuple[str, SubscriptionApp]]:
    """Answer the paths where an application serves subscriptions, as far as its routes tell.

    Each once, though there is a route for each kind of request.
    """
    return list(dict.fromkeys(_found(app, "")))


def _found(app: Any, prefix: str) -> Iterator[tuple[str, SubscriptionApp]]:
    if isinstance(app, SubscriptionApp):
        yield prefix or "/", app
    elif isinstance(app, MetricsApp):
        yield from _found(app.app, prefix)
    for route in getattr(app, "routes", None) or ():
        yield from _of_route(route, prefix)


def _of_route(route: Any, prefix: str) -> Iterator[tuple[str, SubscriptionApp]]:
    if (included := getattr(route, "original_router", None)) is not None:  # of FastAPI
        yield from _found(included, prefix + getattr(route.include_context, "prefix", ""))
        return
    path = prefix + getattr(route, "path", "")
    endpoint = getattr(route, "endpoint", None)
    if isinstance(endpoint, SubscriptionApp):
        yield path, endpoint
    elif (mounted := getattr(route, "app", None)) is not None and endpoint is None:
        yield from _found(mounted, path)
