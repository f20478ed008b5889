"""The commands of `coulis`."""

from __future__ import annotations

from typing import Annotated

import typer

from coulis import _coulis
from coulis.cli.benching import bench
from coulis.cli.checking import check
from coulis.cli.demonstrating import demo
from coulis.cli.explaining import explain
from coulis.cli.publishing import publish
from coulis.cli.serving import dev
from coulis.cli.statistics import dashboard, stats
from coulis.cli.tailing import tail

__all__ = ["app"]

app = typer.Typer(
    name="coulis",
    help="Gets events to GraphQL subscribers. Every option is an environment variable too.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

for command in (dev, demo, publish, tail, explain, check, bench, stats, dashboard):
    app.command()(command)

if hasattr(_coulis, "postgres_migrations"):
    from coulis.cli.migrating import migrations

    app.command()(migrations)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(_coulis.__version__)
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)]


@app.callback()
def _root(version: Version = False) -> None:
    pass
