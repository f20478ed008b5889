"""`coulis migrations`: prints the SQL of the PostgreSQL bus."""

from __future__ import annotations

import typer

from coulis import _coulis

__all__ = ["migrations"]


def migrations() -> None:
    """Print the SQL that the PostgreSQL bus needs in its database, for your own migrations."""
    found = getattr(_coulis, "postgres_migrations")()  # noqa: B009 - builds without the bus do not have it
    typer.echo(found if isinstance(found, str) else "\n".join(map(str, found)))
