"""Queries and mutations: run by somebody else, answered in the shape that GraphQL gives results."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coulis.deadlines import within
from coulis.errors import INTERNAL_ERROR, failure, is_for_clients, log_failure

if TYPE_CHECKING:
    from coulis.schema import Execute

__all__ = ["run"]

_logger = logging.getLogger("coulis.execution")


async def run(
    execute: Execute,
    query: str,
    variables: dict[str, Any],
    operation_name: str | None,
    context: Any,
    *,
    debug: bool,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Answer the result of one operation as a dict; whatever is raised becomes `errors`. Never raises.

    An operation that did not come to run has no `data`; one that takes longer than `timeout` seconds neither.
    """
    try:
        called = _called(execute, query, variables, operation_name, context)
        return _shaped(await within(timeout, called, "the operation"), debug)
    except Exception as error:
        if not is_for_clients(error):
            log_failure(_logger, f"`execute` of {operation_name or 'an operation'}", error)
        return {"errors": [failure(error, debug)]}


async def _called(execute: Execute, *arguments: Any) -> Any:
    target = execute if inspect.isroutine(execute) else type(execute).__call__
    if inspect.iscoroutinefunction(target):
        return await execute(*arguments)
    # A sync one may take its time: in a thread, so that the loop goes on.
    found = await asyncio.get_running_loop().run_in_executor(None, execute, *arguments)
    return await found if inspect.isawaitable(found) else found


def _shaped(found: Any, debug: bool) -> dict[str, Any]:
    if isinstance(found, Mapping):
        return dict(found)
    if not hasattr(found, "data") or not hasattr(found, "errors"):
        raise TypeError(
            f"`execute` answered a `{type(found).__name__}`: answer a dict with `data` and `errors`, or an "
            "ExecutionResult"
        )
    # Errors of fields have a path. Others, without data, are of the request: it was not executed.
    errors = found.errors or ()
    ran = found.data is not None or not errors or any(getattr(error, "path", None) for error in errors)
    result: dict[str, Any] = {"data": found.data} if ran else {}
    if found.errors:
        result["errors"] = [_masked(error, debug) for error in found.errors]
    if extensions := getattr(found, "extensions", None):
        result["extensions"] = extensions
    return result


def _masked(error: Any, debug: bool) -> dict[str, Any]:
    """Answer an error as clients may read it; one that a resolver raised, and not for them, is logged."""
    shaped: dict[str, Any] = dict(error.formatted)
    original = getattr(error, "original_error", None)
    # GraphQL's own errors are about the request, or were raised as such on purpose.
    if original is None or hasattr(original, "formatted"):
        return shaped
    if is_for_clients(original):
        code = getattr(original, "code", None)
        if isinstance(code, str) and code:
            shaped["extensions"] = {**shaped.get("extensions", {}), "code": code}
        return shaped
    log_failure(_logger, "a resolver of a query or mutation", original)
    if not debug:
        shaped["message"] = INTERNAL_ERROR
        shaped.pop("extensions", None)
    return shaped
