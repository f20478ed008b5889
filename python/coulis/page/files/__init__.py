"""The files of the page, with what browsers are told about them."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from dataclasses import dataclass

__all__ = ["FILES", "POLICY", "File", "file"]

FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.mjs": "text/javascript; charset=utf-8",
    "ide.mjs": "text/javascript; charset=utf-8",
    "console.mjs": "text/javascript; charset=utf-8",
    "explain.mjs": "text/javascript; charset=utf-8",
    "chart.mjs": "text/javascript; charset=utf-8",
    "graphiql.js": "text/javascript; charset=utf-8",
    "graphiql.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "LICENSES.txt": "text/plain; charset=utf-8",
}
"""What `?page=` answers, by name."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # GraphiQL's marks in the text are data
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy of the page: nothing comes from outside, and nothing is inline."""


@dataclass(frozen=True)
class File:
    """One file, as it is sent."""

    content_type: str
    body: bytes
    etag: bytes


@functools.cache
def file(name: str) -> File:
    """Answer a file of the package."""
    body = importlib.resources.files(__name__).joinpath(name).read_bytes()
    digest = hashlib.sha256(body).hexdigest()[:32]
    return File(FILES.get(name, "text/html; charset=utf-8"), body, f'"{digest}"'.encode())
