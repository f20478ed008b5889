"""`coulis dev`: serves a program, starts it anew when its files change, and says what to try."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer
import uvicorn
from uvicorn.supervisors import ChangeReload

from coulis.cli.development import ADDRESS_VARIABLE, APP_VARIABLE, create
from coulis.cli.loading import LoadError, load
from coulis.cli.terms import fail

__all__ = ["dev"]

FACTORY = f"{create.__module__}:{create.__name__}"
"""Imported anew by each process that a reload starts."""

Name = Annotated[str, typer.Argument(envvar="COULIS_APP", help="`module:name` of an ASGI application.")]
Host = Annotated[str, typer.Option(envvar="COULIS_HOST", help="The address to listen on.")]
Port = Annotated[int, typer.Option(envvar="COULIS_PORT", min=0, max=65535, help="0: a free one.")]
Reload = Annotated[bool, typer.Option(envvar="COULIS_RELOAD", help="Start anew when a file changes.")]
LogLevel = Annotated[str, typer.Option(envvar="COULIS_LOG_LEVEL", help="Of the web server.")]


def dev(
    app: Name,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    reload: Reload = True,
    log_level: LogLevel = "info",
) -> None:
    """Serve a program on this machine, with reload, and print what to try.

    Whoever reaches the address may publish: do not use it in production.
    """
    levels = tuple(uvicorn.config.LOG_LEVELS)
    if log_level not in levels:
        fail(f"`--log-level` is `{log_level}`: pass one of {', '.join(levels)}", 2)
    if not reload:
        _check(app)
    config = uvicorn.Config(FACTORY, factory=True, reload=reload, log_level=log_level, ws="websockets-sansio")
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        fail(f"`{host}:{port}` cannot be listened on: {error}; pass another --port, or 0 for a free one")
    # Connections inherit it; asyncio sets it only where a socket says that it is TCP, and this one does not.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        address = f"{host}:{listener.getsockname()[1]}"
        os.environ.update({APP_VARIABLE: app, ADDRESS_VARIABLE: address})
        server = uvicorn.Server(config)
        if reload:
            ChangeReload(config, target=server.run, sockets=[listener]).run()
        else:
            server.run(sockets=[listener])


def _check(app: str) -> None:
    try:
        load(app)
    except LoadError as error:
        fail(str(error))
