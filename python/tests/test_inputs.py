"""Bad queries and variables: refused with a reason, by the direct API and on the wire, without a crash."""

import coulis
import coulis.graphql
import pytest
from conftest import served
from coulis.asgi import SubscriptionApp

SCHEMA = """
    type Query { ok: Boolean }
    type Subscription { user(id: ID, count: Int): User }
    type User { id: ID, friend: User }
"""

DEEP = "subscription { user " + "{ friend " * 100_000 + "}" * 100_001

BAD_QUERIES = [
    "",
    "subscription",
    "subscription {",
    "subscription { }",
    "subscription { user { id } other { id } }",
    "subscription { ...F } fragment F on Subscription { user { id } other { id } }",
    "subscription { __typename }",
    "query { ok }",
    "mutation { ok }",
    "{ ok }",
    "fragment F on User { id }",
    "subscription A { user { id } } subscription B { user { id } }",
    "subscription { user { ...F } } fragment F on User { ...F }",
    "subscription { user { ...Missing } }",
    "subscription { user(id: $undefined) { id } }",
    "subscription { user { id } } \x00",
    "subscription { user { " + "id " * 10_000 + "} }",
    "subscription { " + "user" * 100_000 + " }",
    DEEP,
    "subscription { user " + "{ friend " * 100_000,
    "{" * 100_000,
    "[" * 100_000,
    '"' * 100_001,
]


@pytest.mark.parametrize("query", BAD_QUERIES, ids=lambda query: f"{query[:40]}")
def test_a_bad_query_is_refused_with_a_reason(executor, query):
    with pytest.raises(coulis.InvalidQuery) as refused:
        executor.register_subscription("c", "s", query)
    for error in refused.value.errors:
        assert error["message"]
        assert error["extensions"]["code"]
    assert executor.get_metrics()["subscriptions"] == 0


@pytest.mark.parametrize("query", ["\ud800", None, 1, b"subscription { user { id } }"])
def test_a_query_that_is_no_text_is_refused(executor, query):
    with pytest.raises((TypeError, ValueError)):
        executor.register_subscription("c", "s", query)


def test_an_unknown_operation_is_refused(executor):
    two = "subscription A { user { id } } subscription B { user { id } }"
    assert executor.register_subscription("c", "s", two, "B") == "s"
    for name in ("C", "", "a"):
        with pytest.raises(coulis.InvalidQuery):
            executor.register_subscription("c", "x", two, name)
    with pytest.raises(coulis.InvalidQuery):
        executor.register_subscription("c", "x", "subscription A { user { id } }", "B")


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"count": "many"}, coulis.InvalidQuery),
        ({"count": 1.5}, coulis.InvalidQuery),
        ({"count": True}, coulis.InvalidQuery),
        ({"count": 2**40}, coulis.InvalidQuery),
        ({}, coulis.InvalidQuery),
        ({"count": None}, coulis.InvalidQuery),
        ({"count": 2**80}, ValueError),
        ({"count": float("nan")}, ValueError),
        ({"count": object()}, TypeError),
        ({1: 1}, TypeError),
        (["count"], (coulis.InvalidQuery, TypeError, ValueError)),
        ("count", (coulis.InvalidQuery, TypeError, ValueError)),
        ({"count": "x" * 100_000}, coulis.LimitExceeded),
    ],
)
def test_bad_variables_are_refused(variables, error):
    with coulis.SubscriptionExecutor(schema=SCHEMA) as executor:
        query = "subscription ($count: Int!) { user(count: $count) { id } }"
        with pytest.raises(error):
            executor.register_subscription("c", "s", query, variables=variables)
        assert executor.register_subscription("c", "s", query, variables={"count": 1}) == "s"


def test_a_schema_is_held_to():
    with coulis.SubscriptionExecutor(schema=SCHEMA) as executor:
        assert executor.register_subscription("c", "s", "subscription { user { id } }") == "s"
        for query in (
            "subscription { unknown { id } }",
            "subscription { user { unknown } }",
            "subscription { user }",
        ):
            with pytest.raises(coulis.InvalidQuery):
                executor.register_subscription("c", "x", query)


def test_validate_lists_what_is_wrong():
    assert coulis.graphql.validate("subscription { user { id } }") == []
    assert coulis.graphql.validate("{ ok }", schema=SCHEMA) == []
    for error in coulis.graphql.validate("subscription {\n  user {", schema=SCHEMA):
        assert error["message"]
        assert error["locations"][0].keys() == {"line", "column"}
    assert coulis.graphql.validate("subscription {\n  user {")
    assert coulis.graphql.validate("subscription { user { unknown } }", schema=SCHEMA)
    query = "query A { ok } query B { ok }"
    assert coulis.graphql.validate(query, operation_name="A") == []
    assert coulis.graphql.validate(query, operation_name="C")
    with pytest.raises(ValueError, match="`schema` is no valid schema"):
        coulis.graphql.validate("{ ok }", schema="type {")


def test_validate_checks_variables():
    query = "subscription ($count: Int!) { user(count: $count) { id } }"
    assert coulis.graphql.validate(query, schema=SCHEMA, variables={"count": 1}) == []
    assert coulis.graphql.validate(query, schema=SCHEMA, variables={"count": "x"})
    with pytest.raises(TypeError, match=r"`variables\.count`"):
        coulis.graphql.validate(query, schema=SCHEMA, variables={"count": {1}})


async def test_bad_operations_on_the_wire_are_errors_and_the_socket_stays(manager, connect):
    async with served(SubscriptionApp(manager)) as address:
        client = await connect(address)
        await client.init()
        for number, query in enumerate(BAD_QUERIES):
            (message,) = await client.subscribe(f"bad {number}", query)
            assert (message["type"], message["id"]) == ("error", f"bad {number}"), query[:40]
            assert message["payload"][0]["message"]
        for payload in (
            {"operationName": "Missing"},
            {"variables": {"count": "many"}},
            {"variables": {"count": [[[]]]}},
        ):
            query = "subscription A($count: Int!) { user(count: $count) { id } }"
            (message,) = await client.subscribe("bad", query, **payload)
            assert message["type"] == "error"
        assert await client.subscribe("well", "subscription { user { id } }") == []
        # A channel that the client names is no channel: the query decides.
        assert await client.subscribe("other", "subscription { user { id } }", channel="secret") == []
        assert await manager.publish_event("t", "user", {"id": 1}) == 2
        assert await manager.publish_event("t", "secret", {"id": 1}) == 0


async def test_odd_ids_come_back_as_they_were(manager, connect):
    async with served(SubscriptionApp(manager)) as address:
        client = await connect(address)
        await client.init()
        ids = ['"', "\\", "\x00\x1f\n", "__proto__", " ", "🦀", "é", "\u2028", "i" * 1024]
        for name in ids:
            assert await client.subscribe(name, "subscription { user { id } }") == []
        assert await manager.publish_event("t", "user", {"id": 1}) == len(ids)
        assert sorted([(await client.hear())["id"] for _ in ids]) == sorted(ids)
