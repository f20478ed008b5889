"""What clients are told of failures: the words of a `UserError`, and of everything else that it happened."""

from __future__ import annotations

import functools
import logging
from typing import Any

from coulis._coulis import AuthenticationFailed, AuthorizationFailed, CoulisError
from coulis.logs import Paced

__all__ = ["INTERNAL_ERROR", "ConversionError", "UserError", "graphql_error", "message_for"]

INTERNAL_ERROR = "internal error"
"""What a client reads of an exception that was not meant for it."""

_INTERNAL = "INTERNAL_SERVER_ERROR"
_MESSAGE_CHARACTERS_MAX = 500


class UserError(CoulisError):
    """A failure that the client may read about: its message is sent as it is.

    `code` goes to `extensions.code` where an operation is refused or fails; from `on_connect`, an `int`
    between 4000 and 4999 is the code that the connection is closed with.
    """

    def __init__(self, message: str, *, code: str | int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ConversionError(ValueError):
    """An event does not fit the type that its resolver asks for; the message names the place."""


def is_for_clients(error: BaseException) -> bool:
    """Answer whether the message of an exception was written for clients."""
    return isinstance(error, (UserError, AuthorizationFailed, AuthenticationFailed))


def message_for(error: BaseException, debug: bool) -> str:
    """Answer what a client reads of an exception."""
    if not debug and not is_for_clients(error):
        return INTERNAL_ERROR
    text = str(error) or type(error).__name__
    # A lone surrogate cannot be sent.
    return text[:_MESSAGE_CHARACTERS_MAX].encode(errors="replace").decode()


def graphql_error(error: BaseException, debug: bool, code: str = _INTERNAL) -> dict[str, Any]:
    """Answer an exception in the shape that GraphQL gives errors; `code` is for one that brings none."""
    own = getattr(error, "code", None) if is_for_clients(error) else None
    shown = own if isinstance(own, str) and own else code
    return {"message": message_for(error, debug), "extensions": {"code": shown}}


def failure(error: BaseException, debug: bool) -> dict[str, Any]:
    """Answer what an operation is refused with, or fails with, in the shape that GraphQL gives errors."""
    refused = isinstance(error, (AuthorizationFailed, AuthenticationFailed))
    code = "FORBIDDEN" if refused else "USER_ERROR" if isinstance(error, UserError) else _INTERNAL
    return graphql_error(error, debug, code)


def log_failure(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Log an exception with its traceback, unless too many of its kind were. Never raises."""
    try:
        _paced(logger.name).log(logging.ERROR, _kind(error), "%s failed", what, exc_info=error)
    except Exception:  # somebody's handler: the client has to be answered all the same
        return


_paced = functools.cache(Paced)


def _kind(error: BaseException) -> str:
    """Answer the line of code that raised: of those, unlike names in a message, clients cannot make more."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else "nowhere"
    return f"{type(error).__name__} at {place}"
