"""`coulis publish`: publishes events to `coulis dev`, or to a bus."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from coulis._coulis import CoulisError, SubscriptionExecutor
from coulis.cli.development import PUBLISH_PATH
from coulis.cli.terms import Before, EventType, Group, Http, Tenant, User, bus_of, fail, json_value

__all__ = ["publish"]

ANSWER_SECONDS_MAX = 30.0

Channel = Annotated[str, typer.Argument(envvar="COULIS_CHANNEL", help="The channel.")]
Data = Annotated[
    str, typer.Argument(envvar="COULIS_DATA", help="JSON; `-`: one event on each line of input.")
]
EventId = Annotated[
    str | None, typer.Option(envvar="COULIS_EVENT_ID", help="A name: the event is published once by it.")
]
Bus = Annotated[
    str | None,
    typer.Option(envvar="COULIS_BUS", help="`redis://…` or `postgresql://…`, instead of `coulis dev`."),
]


def publish(
    channel: Channel,
    data: Data = "{}",
    event_type: EventType = "changed",
    tenant: Tenant = None,
    user: User = None,
    before: Before = None,
    event_id: EventId = None,
    http: Http = "http://127.0.0.1:8000",
    bus: Bus = None,
    group: Group = "coulis",
) -> None:
    """Publish an event, or one for each line of standard input."""
    attributes = {"tenant_id": tenant, "user_id": user, "event_id": event_id}
    if before is not None:
        attributes["before"] = json_value("--before", before)
    if event_id is not None and data == "-":
        fail("`--event-id` names one event: leave it out with `-`", 2)
    known = {name: value for name, value in attributes.items() if value is not None}
    events = ({"type": event_type, "channel": channel, "data": one, **known} for one in _documents(data))
    count, deliveries = _to_bus(bus, group, events) if bus is not None else _to_server(http, events)
    told = "accepted by the bus" if bus is not None else f"{deliveries} deliveries"
    typer.echo(f"{count} {'event' if count == 1 else 'events'}, {told}")


def _documents(data: str) -> Iterator[Any]:
    if data != "-":
        yield json_value("data", data)
        return
    for number, line in enumerate(sys.stdin, 1):
        if line.strip():
            yield json_value(f"line {number}", line)


def _to_server(http: str, events: Iterator[dict[str, Any]]) -> tuple[int, int]:
    return _each(events, lambda event: _post(http, event))


def _each(events: Iterator[dict[str, Any]], send: Callable[[dict[str, Any]], int]) -> tuple[int, int]:
    count = deliveries = 0
    for event in events:
        deliveries += send(event)
        count += 1
    return count, deliveries


def _post(http: str, event: dict[str, Any]) -> int:
    if not http.startswith(("http://", "https://")):
        fail(f"`--http` is `{http}`: pass such as http://127.0.0.1:8000", 2)
    request = urllib.request.Request(
        http.rstrip("/") + PUBLISH_PATH, json.dumps(event).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as answer:
            return int(json.load(answer)["deliveries"])
    except urllib.error.HTTPError as error:
        body = error.read(4096)
        if error.code in (400, 403, 415) and body.startswith(b'{"error"'):
            fail(f"the event is refused: {json.loads(body)['error']}")
        fail(f"`{http}` answers {error.code}: is it `coulis dev`?")
    except OSError as error:
        fail(f"`{http}` cannot be reached: {error}; start `coulis dev`, or pass --http or --bus")


def _to_bus(url: str, group: str, events: Iterator[dict[str, Any]]) -> tuple[int, int]:
    try:
        with SubscriptionExecutor(bus_of(url, group), shards=1) as executor:
            return _each(events, lambda event: _give(executor, **event))
    except (ValueError, CoulisError) as error:
        fail(f"the bus does not take it: {error}")


def _give(executor: SubscriptionExecutor, *, type: str, channel: str, data: Any, **attributes: Any) -> int:
    return executor.publish_event(type, channel, data, **attributes)
