"""What the package tells `logging`: lines with their facts as `extra`, and no more than can be read."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coulis._coulis import SecurityContext
    from coulis.types import Scope

__all__ = ["ConnectionLog", "Paced"]

LINES_MAX = 20
"""Lines of one kind in `SECONDS`; what is beyond is counted, and told by the next line of the kind."""
SECONDS = 10.0
KINDS_MAX = 256
"""Kinds of lines that are paced each for itself; further ones share one pace."""

NO_STATUS = 1005
"""The code of a close that has none (RFC 6455, section 7.4.1)."""
ABNORMAL = 1006
"""The code where nobody closed."""

_TROUBLE = (1008, 1009, 4008, 4500)


class Paced:
    """A logger for what may happen thousands of times a second. Any thread may use it."""

    def __init__(
        self,
        name: str,
        *,
        lines_max: int = LINES_MAX,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logging.getLogger(name)
        self._lines_max, self._seconds, self._clock = lines_max, seconds, clock
        self._paces: dict[str, _Pace] = {}
        self._lock = threading.Lock()

    def log(
        self,
        level: int,
        kind: str,
        message: str,
        *args: object,
        exc_info: BaseException | None = None,
        **facts: object,
    ) -> None:
        """Log a line of a kind, unless too many of it were logged in the last seconds.

        `facts` are attributes of the record; `suppressed` is how many lines of the kind were left out before.
        """
        if not self._logger.isEnabledFor(level):
            return
        with self._lock:
            suppressed = self._pace(kind).take(self._clock(), self._lines_max, self._seconds)
        if suppressed is None:
            return
        if suppressed:
            message += " (and %d lines like this were left out before)"
            args = (*args, suppressed)
        extra = {**facts, "kind": kind, "suppressed": suppressed}
        self._logger.log(level, message, *args, exc_info=exc_info, extra=extra, stacklevel=2)

    def _pace(self, kind: str) -> _Pace:
        if kind not in self._paces and len(self._paces) >= KINDS_MAX:
            kind = ""
        return self._paces.setdefault(kind, _Pace())


class _Pace:
    """How many lines of one kind were logged, in windows of time."""

    def __init__(self) -> None:
        self._start = float("-inf")
        self._lines = 0
        self._suppressed = 0

    def take(self, now: float, lines_max: int, seconds: float) -> int | None:
        """Answer how many were left out since the last line, or `None` if this one is to be left out."""
        if now - self._start >= seconds:
            self._start, self._lines = now, 0
        if self._lines >= lines_max:
            self._suppressed += 1
            return None
        self._lines += 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


_connections = Paced("coulis.connections")
_numbers = itertools.count(1)


class ConnectionLog:
    """The lines of one connection."""

    __slots__ = ("_code", "_context", "_lost", "_number", "_scope", "_start")

    def __init__(self, scope: Scope) -> None:
        self._number = next(_numbers)
        self._scope = scope
        self._context: SecurityContext | None = None
        self._start = time.monotonic()
        self._lost = 0
        self._code = ABNORMAL
        self._log(logging.INFO, "opened", "connection opened")

    def identified(self, context: SecurityContext) -> None:
        """Note who the client is; no line of its own."""
        self._context = context

    def refused(self) -> None:
        """Tell that the client may not come in, or not go on."""
        self._log(logging.WARNING, "refused", "authentication refused")

    def lost(self, count: int) -> None:
        """Tell that results were dropped because the client reads too slowly."""
        self._lost += count
        self._log(logging.WARNING, "slow", "slow consumer: %d results dropped", self._lost, lost=self._lost)

    def left(self, code: int | None) -> None:
        """Note the code with which the client closed."""
        self._code = code if code is not None else NO_STATUS

    def ended(self, close: tuple[int, str] | None) -> int:
        """Tell that the connection ended, by `close` of the server or by the client; answer the code."""
        code, reason = close if close is not None else (self._code, "")
        level = logging.WARNING if code in _TROUBLE else logging.INFO
        seconds = round(time.monotonic() - self._start, 3)
        by = "server" if close is not None else "client"
        facts = {"code": code, "reason": reason, "by": by, "seconds": seconds, "lost": self._lost}
        self._log(level, f"closed {code}", "connection closed by the %s: %d %s", by, code, reason, **facts)
        return code

    def told(self) -> dict[str, Any]:
        """Answer what is known of the connection now."""
        return {**self._facts(), "seconds": round(time.monotonic() - self._start, 3), "lost": self._lost}

    def _facts(self) -> dict[str, Any]:
        client, context = self._scope.get("client"), self._context
        return {
            "connection": self._number,
            "client": f"{client[0]}:{client[1]}" if client else None,
            "path": self._scope.get("path"),
            "user_id": context.user_id if context is not None else None,
            "tenant_id": context.tenant_id if context is not None else None,
        }

    def _log(self, level: int, kind: str, message: str, *args: object, **facts: Any) -> None:
        _connections.log(level, kind, message, *args, **facts, **self._facts())
