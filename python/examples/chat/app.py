"""A chat: rooms for their members, history by resuming, presence by hooks. No code runs for a message.

Run it in this folder's parent with `uvicorn chat.app:app`.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import coulis
import strawberry
from coulis.asgi import SubscriptionApp

MEMBERS = {"ann": ["lobby", "staff"], "bob": ["lobby"], "eve": []}
"""The rooms of each member; a real service asks its database."""

numbers = itertools.count(1)
online: Counter[str] = Counter()
"""Connections of each member who is there."""
history: dict[str, str] = {}
"""The cursor before the first message."""


@strawberry.type
class Message:
    id: int
    room: str
    name: str
    text: str


@strawberry.type
class Presence:
    name: str
    online: bool


@strawberry.type
class Query:
    @strawberry.field
    def online(self) -> list[str]:
        """Name who is there."""
        return sorted(online)


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def say(self, info: strawberry.Info[dict[str, Any], None], room: str, text: str) -> Message:
        """Say something in a room."""
        name = info.context["name"]
        if room not in MEMBERS[name]:
            raise coulis.UserError(f"{name} is no member of {room}", code="FORBIDDEN")
        message = {"id": next(numbers), "room": room, "name": name, "text": text}
        await manager.publish_event("said", "messages", message)
        return Message(id=message["id"], room=room, name=name, text=text)


@strawberry.type
class Subscription:
    """What the engine serves: only the types are read."""

    @strawberry.subscription
    async def messages(self, room: str) -> Message:
        raise NotImplementedError

    @strawberry.subscription
    async def presence(self) -> Presence:
        raise NotImplementedError


class Member(coulis.BasePermission):
    """Refuses at once who would get nothing: the policy of the channel withholds each message anyway."""

    message = "members only"

    def has_permission(self, source: object, info: coulis.SubscriptionInfo, **arguments: Any) -> bool:
        """Answer whether a reader may subscribe to a room."""
        return "room" not in arguments or arguments["room"] in info.security.claims["rooms"]


manager = coulis.SubscriptionManager(
    schema=strawberry.Schema(Query, Mutation, Subscription),
    channels={"messages": {"policy": "event.room in ctx.claims.rooms"}},
    policies={"messages": "event.room == args.room"},
    limits={"log_events_max": 10_000, "log_bytes_max": 16 << 20, "log_age_max": 86_400},
)


def member(payload: dict[str, Any]) -> coulis.SecurityContext:
    """Take the name from `connection_init`; a real service checks a token here."""
    name = payload.get("name")
    if name not in MEMBERS:
        raise coulis.AuthenticationFailed("nobody of that name")
    return coulis.SecurityContext(name, claims={"rooms": MEMBERS[name]})


async def beginning(connection: coulis.Connection) -> str:
    """Answer the cursor of now: who resumes from it gets every message after it that is kept."""
    names = ("beginning", connection.id)
    await manager.create_subscription(*names, 'subscription { messages(room: "") { id } }', resume="")
    async for message in manager.events(*names):
        history.setdefault("cursor", json.loads(message)["payload"]["extensions"]["coulis"]["cursor"])
        break
    await manager.complete_subscription(*names)
    return history["cursor"]


async def arrived(connection: coulis.Connection) -> dict[str, Any]:
    """Tell the others, and answer what goes with the acknowledgement."""
    name = str(connection.security.user_id)
    online[name] += 1
    if online[name] == 1:
        await manager.publish_event("arrived", "presence", {"name": name, "online": True})
    # Nobody said anything before the first one came.
    cursor = history.get("cursor") or await beginning(connection)
    return {"online": sorted(online), "rooms": MEMBERS[name], "history": cursor}


async def left(connection: coulis.Connection, code: int | None) -> None:
    """Tell the others when the last connection of a member has gone."""
    name = str(connection.security.user_id)
    online[name] -= 1
    if not online[name]:
        del online[name]
        await manager.publish_event("left", "presence", {"name": name, "online": False})


app = SubscriptionApp(
    manager,
    auth_handler=member,
    context=lambda connection: {"name": connection.security.user_id},
    permission_classes=[Member],
    on_connect=arrived,
    on_disconnect=left,
    keep_alive=30.0,
)
