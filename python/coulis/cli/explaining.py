"""`coulis explain`: tells what becomes of an event for a subscription, and which clause says so."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from coulis._coulis import CoulisError, SecurityContext, SubscriptionExecutor
from coulis.cli.loading import LoadError, manager_of
from coulis.cli.terms import (
    AppOption,
    Before,
    Group,
    Operation,
    SchemaOption,
    Tenant,
    User,
    Variables,
    bus_of,
    fail,
    json_object,
    json_value,
    read_text,
    screen,
)

__all__ = ["explain"]

EVENT_TYPE = "changed"
START_SECONDS_MAX = 10.0
"""How long the history of a bus is waited for."""
KEPT = {
    "log_events_max": 1_000_000,
    "log_bytes_max": 1 << 30,
    "logs_bytes_max": 1 << 30,
}
"""Of this process's log: all that is read of a bus can be asked about."""

Ask = Callable[[SubscriptionExecutor, str, str], dict[str, Any]]
"""Asks an executor about an event, for the subscription `1` of a connection and a channel."""

Query = Annotated[str, typer.Argument(envvar="COULIS_QUERY", help="A GraphQL subscription.")]
Data = Annotated[
    str | None, typer.Argument(envvar="COULIS_DATA", help="The event's data as JSON; not with `--at`.")
]
At = Annotated[
    str | None,
    typer.Option(
        envvar="COULIS_AT", help="An event that was published: the cursor of its result, or its offset."
    ),
]
Bus = Annotated[
    str | None,
    typer.Option(envvar="COULIS_BUS", help="For `--at`: `redis://…` or `postgresql://…`, which keeps it."),
]
EventType = Annotated[
    str | None,
    typer.Option("--type", envvar="COULIS_EVENT_TYPE", help=f"The event's type; by default `{EVENT_TYPE}`."),
]
Channel = Annotated[
    str | None, typer.Option(envvar="COULIS_CHANNEL", help="The event's channel; by default the root field.")
]
AsUser = Annotated[str | None, typer.Option(envvar="COULIS_AS_USER", help="Who subscribes.")]
AsTenant = Annotated[str | None, typer.Option(envvar="COULIS_AS_TENANT", help="In which tenant.")]
Roles = Annotated[list[str] | None, typer.Option("--role", envvar="COULIS_ROLES", help="With this role.")]
Scopes = Annotated[list[str] | None, typer.Option("--scope", envvar="COULIS_SCOPES", help="This scope.")]
Filter = Annotated[str | None, typer.Option(envvar="COULIS_FILTER", help="Of the subscription, CEL.")]
Policy = Annotated[str | None, typer.Option(envvar="COULIS_POLICY", help="Of the subscription, CEL.")]


def explain(
    query: Query,
    data: Data = None,
    at: At = None,
    channel: Channel = None,
    event_type: EventType = None,
    tenant: Tenant = None,
    user: User = None,
    before: Before = None,
    variables: Variables = "{}",
    operation: Operation = None,
    as_user: AsUser = None,
    as_tenant: AsTenant = None,
    role: Roles = None,
    scope: Scopes = None,
    filter: Filter = None,
    policy: Policy = None,
    app: AppOption = None,
    schema: SchemaOption = None,
    bus: Bus = None,
    group: Group = "coulis",
) -> None:
    """Tell whether an event would reach a subscription, and if not which clause withholds it.

    The event is made of `data`, or with `--at` one that was published and that the bus keeps. Ends with 0 if
    it is delivered and with 1 if not. With `--app` the program's own rules hold, and its bus.
    """
    told = {"--type": event_type, "--tenant": tenant, "--user": user, "--before": before}
    ask = _made(data, told) if at is None else _recorded(at, {"data": data, **told})
    bound = json_object("--variables", variables)
    context = SecurityContext(as_user, as_tenant, roles=role, scopes=scope)
    connection = f"explain-{uuid.uuid4().hex}"
    with _executor(app, schema, bus if at is not None else None, group) as executor:
        try:
            root = executor.root_field(query, operation)
            executor.register_subscription(
                connection, "1", query, operation, bound, context=context, filter=filter, policy=policy
            )
            verdict = ask(executor, connection, channel or root)
            executor.complete_subscription("1", connection)
        except (CoulisError, ValueError, TypeError) as error:
            fail(f"{type(error).__name__}: {error}")
    _tell(verdict, filter if verdict.get("rule") == "filter" else policy)


def _made(data: str | None, told: dict[str, str | None]) -> Ask:
    """Ask about an event that is made of the arguments."""
    if data is None:
        fail("there is no event: pass its data as JSON, or `--at` for one that was published", 2)
    document = json_value("data", data)
    event: dict[str, Any] = {"tenant_id": told["--tenant"], "user_id": told["--user"]}
    if (before := told["--before"]) is not None:
        event["before"] = json_value("--before", before)
    kind = told["--type"] if told["--type"] is not None else EVENT_TYPE
    return lambda executor, connection, channel: executor.explain(
        "1", kind, channel, document, connection_id=connection, **event
    )


def _recorded(at: str, told: dict[str, str | None]) -> Ask:
    """Ask about an event that was published, which says all of itself."""
    for name, value in told.items():
        if value is not None:
            fail(f"`{name}` is of an event that was not published: leave it out, or `--at`", 2)
    place = int(at) if at.isascii() and at.isdecimal() else at

    def ask(executor: SubscriptionExecutor, connection: str, channel: str) -> dict[str, Any]:
        if executor.health() is None:
            fail(
                "`--at` needs a log that others write: pass `--bus`, or an `--app` whose manager has a bus", 2
            )
        _wait_for_bus(executor)
        return executor.explain_recorded("1", channel, place, connection_id=connection)

    return ask


def _wait_for_bus(executor: SubscriptionExecutor) -> None:
    """Give what publishes time to connect, too: the executor has waited for what reads."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while (health := executor.health()) is not None and not health["connected"]:
        if health["error"] is not None or time.monotonic() > deadline:
            fail(f"the bus is not connected: {health['error'] or 'it does not answer'}")
        time.sleep(0.01)


@contextlib.contextmanager
def _executor(
    app: str | None, schema: Path | None, bus: str | None, group: str
) -> Iterator[SubscriptionExecutor]:
    if app is None:
        sdl = read_text(schema) if schema is not None else None
        try:
            executor = SubscriptionExecutor(schema=sdl, shards=1) if bus is None else _node(sdl, bus, group)
        except ValueError as error:
            fail(str(error) if bus is None else f"the bus cannot be followed: {error}")
        with executor:
            yield executor
        return
    for name, value in (("schema", schema), ("bus", bus)):
        if value is not None:
            fail(f"`--app` has a {name} of its own: leave `--{name}` out", 2)
    try:
        manager = manager_of(app)
    except LoadError as error:
        fail(str(error))
    with manager.executor:
        yield manager.executor


def _node(sdl: str | None, url: str, group: str) -> SubscriptionExecutor:
    """Follow a bus, with its history; who asks installs nothing there."""
    config = bus_of(url, group, migrate=False, start_wait_max=START_SECONDS_MAX)
    return SubscriptionExecutor(config, schema=sdl, shards=1, limits=KEPT)


def _tell(verdict: dict[str, Any], expression: str | None) -> None:
    out, delivered = screen(), verdict["step"] in ("delivered", "tombstone")
    out.print(verdict["step"], style="green" if delivered else "red", end=": ")
    out.print(verdict["message"], markup=False)
    line, column = verdict.get("line"), verdict.get("column")
    if expression is not None and line and column and verdict.get("rule") in ("filter", "policy"):
        out.print(f"  {expression.splitlines()[line - 1]}\n  {' ' * (column - 1)}^", markup=False)
    if not delivered:
        raise typer.Exit(1)
