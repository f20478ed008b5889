"""Who sees what at a WebSocket: random policies and rights, real connections, and an oracle."""

import itertools
import json
import random

import coulis
import pytest
from conftest import served
from coulis.asgi import SubscriptionApp

KEYS = ("n", "room", "tenant_id", "user_id")
NAMES = ("t1", "t2", "7", "")
GUARDED = "secret"
FIELDS = 6


class NoAnswer(Exception):
    """A condition that cannot be decided, which is a no."""


def value(rng):
    return rng.choice([None, True, 1, 7, 2.5, "t1", "t2", "7", "x"])


def condition(rng, depth=2):
    """Answer a condition as its text and as a function of (document, reader)."""
    kind = rng.randrange(7 if depth else 4)
    if kind < 2:
        key, other, same = rng.choice(KEYS), value(rng), rng.random() < 0.7
        text = f"event.{key} {'==' if same else '!='} {json.dumps(other)}"
        return text, lambda doc, reader: equal(read(doc, key), other) == same
    if kind == 2:
        key, name = rng.choice(KEYS), rng.choice(["user_id", "tenant_id"])
        return f"event.{key} == ctx.{name}", lambda doc, reader: equal(read(doc, key), reader[name] or None)
    if kind == 3:
        role = rng.choice(["staff", GUARDED])
        return f"'{role}' in ctx.roles", lambda doc, reader: role in reader["roles"]
    (left, holds_left), (right, holds_right) = condition(rng, depth - 1), condition(rng, depth - 1)
    if kind == 4:
        return f"!({left})", lambda doc, reader: not holds_left(doc, reader)
    decisive = kind == 5
    text = f"({left} {'||' if decisive else '&&'} {right})"
    return text, lambda doc, reader: either(decisive, (holds_left, holds_right), doc, reader)


def either(decisive, sides, doc, reader):
    """Answer what one side decides, whether or not the other has an answer."""
    answers = []
    for side in sides:
        try:
            answers.append(side(doc, reader))
        except NoAnswer:
            answers.append(None)
    if decisive in answers:
        return decisive
    if None in answers:
        raise NoAnswer
    return not decisive


def read(doc, key):
    if key not in doc:
        raise NoAnswer
    return doc[key]


class Id(str):
    """A text that also equals the integer of its digits."""


def equal(left, right):
    if isinstance(left, Id) or isinstance(right, Id):
        left, right = (str(side) if type(side) in (int, Id) else side for side in (left, right))
    kinds = [
        bool if isinstance(side, bool) else float if isinstance(side, (int, float)) else type(side)
        for side in (left, right)
    ]
    return kinds[0] is kinds[1] and left == right


def sees(event, reader, holds):
    """Answer whether a reader may see an event of which nothing but its document says whose it is."""
    for key, own in (("tenant_id", reader["tenant_id"]), ("user_id", reader["user_id"])):
        named = event.get(key)
        if named not in (None, "") and not (own and equal(named, own)):
            return False
    try:
        return holds(event, reader)
    except NoAnswer:
        return False


def event_of(rng):
    event = {key: value(rng) for key in KEYS if rng.random() < (0.3 if key.endswith("_id") else 0.8)}
    return {**event, GUARDED: "canary"}


def context_of(rng):
    names = {key: Id(rng.choice(NAMES)) for key in ("user_id", "tenant_id")}
    return {**names, "roles": [role for role in ("staff", GUARDED) if rng.random() < 0.5]}


def shown(event, reader):
    secret = event[GUARDED] if GUARDED in reader["roles"] else None
    return {"n": event.get("n"), "room": event.get("room"), GUARDED: secret}


def query(field):
    return f"subscription {{ f{field} {{ n room {GUARDED} }} }}"


async def hear(client, count):
    """Hear messages and nothing more after them; answer the data of results, by subscription."""
    got = {}
    for _ in range(count):
        message = await client.hear()
        (data,) = message["payload"]["data"].values()
        got.setdefault(message["id"], []).append(data)
    await client.say(type="ping")
    assert await client.hear() == {"type": "pong"}
    return got


async def resume(client, field, cursor):
    """Subscribe with a wish to resume; answer what was told of it."""
    wish = {"query": query(field), "extensions": {"coulis": {"resume": cursor}}}
    await client.say(type="subscribe", id=str(field), payload=wish)
    return (await client.hear())["payload"]["extensions"]["coulis"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_client_sees_what_is_its_own_and_nothing_else(connect, seed):
    rng = random.Random(seed)
    policies = [condition(rng) for _ in range(FIELDS)]
    readers = [context_of(rng) for _ in range(8)]
    events = [event_of(rng) for _ in range(24)]
    # Of two fields one has its policy by its channel, and one by its declaration, with a resolver.
    registry = coulis.Registry()
    for number, (text, _) in enumerate(policies):
        if number % 2:
            registry.subscription(f"f{number}", policy=text)(lambda event, variables: event)
    channels = {f"f{number}": {"policy": text} for number, (text, _) in enumerate(policies) if not number % 2}
    rules = {f"f{number}.{GUARDED}": {"roles": [GUARDED], "otherwise": "mask"} for number in range(FIELDS)}
    options = {"channels": channels, "shards": 1 + seed % 3, "access": {"rules": rules}}

    def authenticate(payload):
        return coulis.SecurityContext(**readers[payload["reader"]])

    async with (
        coulis.SubscriptionManager(registry=registry, **options) as manager,
        served(SubscriptionApp(manager, auth_handler=authenticate)) as address,
    ):
        starts, live = {}, []
        for number in range(len(readers)):
            client = await connect(address)
            await client.init({"reader": number})
            for field in range(FIELDS):
                starts[field] = (await resume(client, field, None))["cursor"]
            live.append(client)
        for field, event in itertools.product(range(FIELDS), events):
            await manager.publish_event("e", f"f{field}", event)
        for number, (client, reader) in enumerate(zip(live, readers, strict=True)):
            expected = {
                str(field): [shown(event, reader) for event in events if sees(event, reader, holds)]
                for field, (_, holds) in enumerate(policies)
            }
            expected = {field: rows for field, rows in expected.items() if rows}
            assert await hear(client, sum(map(len, expected.values()))) == expected, (reader, policies)
            late = await connect(address)
            await late.init({"reader": number})
            for field, start in starts.items():
                assert (await resume(late, field, start))["resumed"]
                rows = expected.get(str(field), [])
                assert (await hear(late, len(rows))).get(str(field), []) == rows, (reader, policies[field])
