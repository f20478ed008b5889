"""`coulis explain`: tells what becomes of an event for a subscription, and which clause says so."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from coulis._coulis import CoulisError, SecurityContext, SubscriptionExecutor
from coulis.cli.loading import LoadError, manager_of
from coulis.cli.terms import (
    AppOption,
    Before,
    EventType,
    Operation,
    SchemaOption,
    Tenant,
    User,
    Variables,
    fail,
    json_object,
    json_value,
    read_text,
    screen,
)

__all__ = ["explain"]

Query = Annotated[str, typer.Argument(envvar="COULIS_QUERY", help="A GraphQL subscription.")]
Data = Annotated[str, typer.Argument(envvar="COULIS_DATA", help="The event's data as JSON.")]
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
    data: Data,
    channel: Channel = None,
    event_type: EventType = "changed",
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
) -> None:
    """Tell whether an event would reach a subscription, and if not which clause withholds it.

    Ends with 0 if it is delivered and with 1 if not. With `--app` the program's own rules hold.
    """
    event: dict[str, Any] = {"tenant_id": tenant, "user_id": user}
    if before is not None:
        event["before"] = json_value("--before", before)
    document, bound = json_value("data", data), json_object("--variables", variables)
    sdl = read_text(schema) if schema is not None else None
    context = SecurityContext(as_user, as_tenant, roles=role, scopes=scope)
    connection = f"explain-{uuid.uuid4().hex}"
    with _executor(app, sdl) as executor:
        try:
            root = executor.root_field(query, operation)
            executor.register_subscription(
                connection, "1", query, operation, bound, context=context, filter=filter, policy=policy
            )
            verdict = executor.explain(
                "1", event_type, channel or root, document, connection_id=connection, **event
            )
            executor.complete_subscription("1", connection)
        except (CoulisError, ValueError, TypeError) as error:
            fail(f"{type(error).__name__}: {error}")
    _tell(verdict, filter if verdict.get("rule") == "filter" else policy)


@contextlib.contextmanager
def _executor(app: str | None, sdl: str | None) -> Iterator[SubscriptionExecutor]:
    if app is None:
        try:
            executor = SubscriptionExecutor(schema=sdl, shards=1)
        except ValueError as error:
            fail(str(error))
        with executor:
            yield executor
        return
    if sdl is not None:
        fail("`--app` has a schema of its own: leave `--schema` out", 2)
    try:
        manager = manager_of(app)
    except LoadError as error:
        fail(str(error))
    with manager.executor:
        yield manager.executor


def _tell(verdict: dict[str, Any], expression: str | None) -> None:
    out, delivered = screen(), verdict["step"] in ("delivered", "tombstone")
    out.print(verdict["step"], style="green" if delivered else "red", end=": ")
    out.print(verdict["message"], markup=False)
    line, column = verdict.get("line"), verdict.get("column")
    if expression is not None and line and column and verdict.get("rule") in ("filter", "policy"):
        out.print(f"  {expression.splitlines()[line - 1]}\n  {' ' * (column - 1)}^", markup=False)
    if not delivered:
        raise typer.Exit(1)
