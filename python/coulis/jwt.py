"""`JWTVerifier`: who a client is, by a signed token (JWT, RFC 7519)."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from coulis._coulis import AuthenticationFailed, JWTKey, SecurityContext, TokenVerifier, to_json
from coulis.logs import Paced
from coulis.origins import header_values
from coulis.types import Scope

__all__ = ["JWTVerifier"]

JWKS: TypeAlias = str | bytes | Mapping[str, Any]
"""A document of keys (RFC 7517, section 5): JSON text, or what it says."""

_FILE_BYTES_MAX = 1 << 20
_logger = logging.getLogger("coulis.jwt")
_log = Paced("coulis.jwt")


class JWTVerifier:
    """Verifies tokens, and is an `auth_handler`: `SubscriptionApp(manager, auth_handler=JWTVerifier(...))`.

    Pass one of `keys`, a document `jwks`, or the path `jwks_file` of one. Each key has one algorithm;
    `algorithm` is that of the document's keys that name none. A token that names a key (`kid`) gets that key
    or none. Where no key has the name, `jwks_file` is read again, at most once in `reload_interval` seconds.

    `issuer` and `audience` are one name or several. A token that is for some audience is refused where none
    is set, unless `any_audience=True`. `leeway` is how many whole seconds clocks may be off; `expires` of the
    `SecurityContext` is `exp` and that. Tokens must have `exp`, unless `require_expiry=False`, and the claims
    named in `require`.

    `user_claim` must be there, unless it is `None`; `tenant_claim`, `roles_claim` and the first of
    `scopes_claims` that is there may be. All claims are in the `claims` of the `SecurityContext`.

    `clock` answers seconds since 1970. Raises `ValueError` for keys that are weak, private or unreadable.
    """

    def __init__(
        self,
        *,
        keys: Iterable[JWTKey] | None = None,
        jwks: JWKS | None = None,
        jwks_file: str | os.PathLike[str] | None = None,
        algorithm: str | None = None,
        issuer: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        any_audience: bool = False,
        leeway: float = 0,
        require: Iterable[str] = (),
        require_expiry: bool = True,
        types: Iterable[str] = ("JWT", "at+jwt"),
        user_claim: str | None = "sub",
        tenant_claim: str | None = "tenant_id",
        roles_claim: str | None = "roles",
        scopes_claims: str | Iterable[str] = ("scope", "scopes", "scp"),
        reload_interval: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if sum(given is not None for given in (keys, jwks, jwks_file)) != 1:
            raise ValueError("pass one of `keys`, `jwks` and `jwks_file`")
        if not 0 <= leeway < 2**32:
            raise ValueError(f"`leeway` is `{leeway}`: pass seconds, 0 or more")
        if not reload_interval >= 0:
            raise ValueError(f"`reload_interval` is `{reload_interval}`: pass seconds, 0 or more")
        if any_audience and audience is not None:
            raise ValueError("`audience` is of no use with `any_audience`: pass one of them")
        self._algorithm = algorithm
        self._clock = clock
        self._file = None if jwks_file is None else os.fspath(jwks_file)
        self._interval = reload_interval
        self._lock = threading.Lock()
        self._read = b"" if self._file is None else _content(self._file)
        self._reads = 0
        self._checked = clock()
        given = keys if keys is not None else jwks if jwks is not None else self._read
        self._native = TokenVerifier(
            _native_keys(given),
            algorithm=algorithm,
            issuers=None if issuer is None else _several("issuer", issuer),
            audiences=None if audience is None else _several("audience", audience),
            any_audience=any_audience,
            leeway=int(leeway),
            require=_several("require", require, least=0),
            require_expiry=require_expiry,
            types=_several("types", types),
            user_claim=user_claim,
            tenant_claim=tenant_claim,
            roles_claim=roles_claim,
            scopes_claims=_several("scopes_claims", scopes_claims, least=0),
        )

    def verify(self, token: str) -> SecurityContext:
        """Answer who the bearer of a token is.

        Raises `AuthenticationFailed`, which says why, also as a word in `code`. That is for the log: do not
        send it to the client.
        """
        now, reads = self._clock(), self._reads
        try:
            return self._native.verify(token, int(now))
        except AuthenticationFailed as error:
            if error.code != "unknown_key" or not self._has_new_keys(now, reads):
                raise
        return self._native.verify(token, int(now))

    def replace_keys(self, keys: JWKS | Iterable[JWTKey]) -> None:
        """Verify with other keys from now on: a document of them, or a list.

        Raises `ValueError` and keeps the old keys if these cannot be used.
        """
        self._native.replace_keys(_native_keys(keys), algorithm=self._algorithm)

    def reload(self) -> bool:
        """Read `jwks_file` again, and answer whether it had changed.

        A key that was withdrawn is believed until this is called, or a token names a key that is not known.
        Raises `OSError` or `ValueError` and keeps the old keys if the file cannot be used.
        """
        if self._file is None:
            raise ValueError("there is no `jwks_file` to read")
        with self._lock:
            return self._reload(self._file)

    def authenticate(self, payload: Mapping[str, Any], scope: Scope) -> SecurityContext:
        """Answer who a client is, by the token in its `connection_init` or its HTTP header `Authorization`.

        In the payload it is `authorization` (or `headers.authorization`) with `Bearer `, `token` or
        `authToken`; what is there counts, and the HTTP header only if nothing is. Raises
        `AuthenticationFailed`, as `verify` does.
        """
        try:
            return self.verify(_token(payload, scope))
        except AuthenticationFailed as error:
            _log.log(logging.INFO, "refused", "a client was refused: %s", error)
            raise

    def _has_new_keys(self, now: float, reads: int) -> bool:
        """Answer whether there are other keys than after `reads` readings; read the file if it is time."""
        if self._file is None:
            return False
        with self._lock:
            if self._reads != reads:
                return True
            # A clock that was set back must not stop the reloads.
            if 0 <= now - self._checked < self._interval:
                return False
            self._checked = now
            try:
                return self._reload(self._file)
            except (OSError, ValueError):
                _logger.exception("%s cannot be used: the old keys stay", self._file)
                return False

    def _reload(self, file: str) -> bool:
        read = _content(file)
        if read == self._read:
            return False
        self._native.replace_keys(_native_keys(read), algorithm=self._algorithm)
        self._read = read
        self._reads += 1
        return True


def _content(file: str) -> bytes:
    with open(file, "rb") as opened:
        return opened.read(_FILE_BYTES_MAX)


def _native_keys(keys: JWKS | Iterable[JWTKey]) -> str | list[JWTKey]:
    if isinstance(keys, str):
        return keys
    if isinstance(keys, bytes):
        return keys.decode()
    if isinstance(keys, Mapping):
        return to_json(dict(keys)).decode()
    return list(keys)


def _several(name: str, given: str | Iterable[str], *, least: int = 1) -> list[str]:
    several = [given] if isinstance(given, str) else list(given)
    if len(several) < least or "" in several:
        raise ValueError(f"`{name}` is empty, or holds an empty text: leave it out instead")
    return several


def _token(payload: Mapping[str, Any], scope: Scope) -> str:
    """Answer the one token that a client sent."""
    nested = payload.get("headers")
    sent = [payload[name] for name in ("token", "authToken") if payload.get(name) is not None]
    tokens = {_without_scheme(value) for value in sent}
    for fields in (payload, nested if isinstance(nested, Mapping) else {}):
        named = [value for name, value in fields.items() if name.lower() == "authorization"]
        tokens.update(_bearer(value) for value in named if value is not None)
    if not tokens:
        # Of another scheme, such as one that a browser adds by itself: no token.
        headers = header_values(scope, b"authorization")
        tokens = {_bearer(value) for value in headers if value[:7].lower() == "bearer "}
    if not tokens:
        raise _failed("missing_token", "the client sent no token")
    if len(tokens) > 1:
        raise _failed("several_tokens", "the client sent several tokens: which one counts is not clear")
    return tokens.pop()


def _bearer(value: object) -> str:
    """Answer the token of `Bearer <token>` (RFC 6750, section 2.1)."""
    if not isinstance(value, str) or value[:7].lower() != "bearer ":
        raise _failed("malformed", "`authorization` is not `Bearer` and a token")
    return value[7:].strip(" ")


def _without_scheme(value: object) -> str:
    if not isinstance(value, str):
        raise _failed("malformed", "the token is not a text")
    return _bearer(value) if value[:7].lower() == "bearer " else value


def _failed(code: str, message: str) -> AuthenticationFailed:
    error = AuthenticationFailed(message)
    error.code = code
    return error
