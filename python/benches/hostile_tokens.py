"""Signed tokens, and such as only look like it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from hostile_wire import SECRET

FAR = 4_000_000_000
"""When the tokens expire, in seconds since 1970."""


def encoded(value: bytes) -> bytes:
    """Encode as tokens are."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def signed(secret: bytes = SECRET.encode(), kid: str = "1", **claims: Any) -> str:
    """Make a token that is good, but for what is given."""
    header = {"alg": "HS256", "kid": kid}
    text = b".".join(
        encoded(json.dumps(part).encode())
        for part in (header, {"sub": "7", "aud": "a", "exp": FAR, **claims})
    )
    return (text + b"." + encoded(hmac.new(secret, text, hashlib.sha256).digest())).decode()


def unsigned() -> str:
    """Make a token that says that it needs no signature."""
    claims = encoded(json.dumps({"sub": "7", "aud": "a", "exp": FAR}).encode())
    return (encoded(b'{"alg":"none"}') + b"." + claims + b".").decode()
