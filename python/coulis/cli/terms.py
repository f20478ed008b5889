"""Options that several commands have: each is an environment variable too."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from coulis._coulis import EventBusConfig, from_json

__all__ = ["fail", "json_value", "screen"]

Url = Annotated[str, typer.Option(envvar="COULIS_URL", help="Where subscriptions are served.")]
Http = Annotated[str, typer.Option(envvar="COULIS_HTTP", help="The HTTP address of `coulis dev`.")]
AppOption = Annotated[
    str | None,
    typer.Option("--app", envvar="COULIS_APP", help="`module:name` of an app or a SubscriptionManager."),
]
SchemaOption = Annotated[
    Path | None,
    typer.Option("--schema", envvar="COULIS_SCHEMA", help="A file in the schema definition language."),
]
EventType = Annotated[str, typer.Option("--type", envvar="COULIS_EVENT_TYPE", help="The event's type.")]
Tenant = Annotated[str | None, typer.Option(envvar="COULIS_TENANT", help="The event's tenant.")]
User = Annotated[str | None, typer.Option(envvar="COULIS_USER", help="The event's user.")]
Before = Annotated[
    str | None, typer.Option(envvar="COULIS_BEFORE", help="The data before the change, as JSON.")
]
Group = Annotated[str, typer.Option(envvar="COULIS_GROUP", help="The cluster, for Redis.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", envvar="COULIS_JSON", help="Also write the result there as JSON; `-`: here."),
]
Variables = Annotated[str, typer.Option(envvar="COULIS_VARIABLES", help="Variables as a JSON object.")]
Operation = Annotated[
    str | None, typer.Option("--operation", envvar="COULIS_OPERATION", help="Which operation of several.")
]


def screen(*, stderr: bool = False) -> Console:
    """Answer where people read; made anew, as standard output may have been replaced."""
    return Console(file=sys.stderr if stderr else sys.stdout, highlight=False, soft_wrap=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Tell an error and end with a code."""
    screen(stderr=True).print(f"error: {message}", style="red", markup=False)
    raise typer.Exit(code)


def bus_of(url: str, group: str, *, migrate: bool = True, **settings: Any) -> EventBusConfig:
    """Answer the bus of `--bus` and `--group`. Raises `ValueError` for what can never work."""
    if url.startswith(("postgres://", "postgresql://")):
        return EventBusConfig.postgresql(url, migrate=migrate, **settings)
    return EventBusConfig.redis(url, group, **settings)


def json_value(name: str, text: str) -> Any:
    """Read JSON that was given as an argument."""
    try:
        return from_json(text)
    except ValueError as error:
        fail(f"`{name}` is no JSON: {error}", 2)


def json_object(name: str, text: str) -> dict[str, Any]:
    """Read a JSON object that was given as an argument."""
    value = json_value(name, text)
    if not isinstance(value, dict):
        fail(f'`{name}` is `{text}`: pass a JSON object, as in {{"id": 1}}', 2)
    return value


def read_text(path: Path) -> str:
    """Read a file that was named as an argument."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"`{path}` cannot be read: {error}", 2)


def write_json(target: Path | None, value: Any) -> None:
    """Write a result where `--json` says."""
    if target is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    if str(target) == "-":
        sys.stdout.write(text)
    else:
        target.write_text(text, "utf-8")
