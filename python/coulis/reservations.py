"""Streams of the single connection mode: reserved by one request, opened by another, fed by more."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coulis._coulis import SecurityContext
    from coulis.answers import Results

__all__ = ["Reservation", "Reservations", "is_same_client"]

_TOKEN_BYTES = 24


def is_same_client(one: SecurityContext, other: SecurityContext) -> bool:
    """Answer whether two contexts are of one user and tenant, whatever else they say."""
    return (one.user_id, one.tenant_id) == (other.user_id, other.tenant_id)


@dataclass
class Reservation:
    """One stream that has a token."""

    results: Results
    expiry: asyncio.TimerHandle
    opened: bool = False

    def open(self) -> None:
        """Note that a request answers with the stream."""
        self.opened = True
        self.expiry.cancel()


class Reservations:
    """The streams of one application, by token.

    `reservations_max` bounds those that wait to be opened, and `reservation_timeout` is how many seconds they
    do; those that are open are bounded by the engine, like any connection.
    """

    def __init__(self, reservations_max: int, reservation_timeout: float) -> None:
        if not reservations_max >= 0:
            raise ValueError(
                f"`reservations_max` is `{reservations_max}`: pass a number, 0 for no such streams"
            )
        if not reservation_timeout > 0:
            raise ValueError(f"`reservation_timeout` is `{reservation_timeout}`: pass seconds above 0")
        self._max = reservations_max
        self._timeout = reservation_timeout
        self._streams: dict[str, Reservation] = {}

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        return sum(not stream.opened for stream in self._streams.values()) >= self._max

    def add(self, results: Results) -> str:
        """Answer a new token."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        expiry = asyncio.get_running_loop().call_later(self._timeout, self.drop, token)
        self._streams[token] = Reservation(results, expiry)
        return token

    def find(self, token: str, context: SecurityContext) -> Reservation | None:
        """Answer the stream of a token, if `context` is who reserved it."""
        stream = self._streams.get(token)
        if stream is None:
            return None
        return stream if is_same_client(stream.results.context, context) else None

    def drop(self, token: str) -> None:
        """Forget a stream and free what it holds. Safe to repeat."""
        stream = self._streams.pop(token, None)
        if stream is not None:
            stream.expiry.cancel()
            stream.results.close()
