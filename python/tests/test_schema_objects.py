"""Schemas as objects: graphql-core's and Strawberry's, which also answer queries and mutations."""

import logging

import coulis
import graphql
import pytest
import strawberry
from conftest import served
from coulis.asgi import SubscriptionApp
from coulis.graphql import validate

SDL = """
type Query { hello(name: String = "you"): String! broken: Int refused: Int }
type Mutation { rename(name: String!): String! }
type Subscription { user: User }
type User { id: ID! name: String }
"""


def core_schema():
    schema = graphql.build_schema(SDL)

    def broken(*_):
        raise ValueError("secret")

    def refused(*_):
        raise coulis.UserError("not today", code="CLOSED")

    fields = schema.query_type.fields
    fields["hello"].resolve = lambda root, info, name: f"hello {name}, {info.context}"
    fields["broken"].resolve, fields["refused"].resolve = broken, refused
    schema.mutation_type.fields["rename"].resolve = lambda root, info, name: name.upper()
    return schema


@strawberry.type
class User:
    id: strawberry.ID
    name: str | None


@strawberry.type
class Query:
    @strawberry.field
    async def hello(self, info: strawberry.Info, name: str = "you") -> str:
        return f"hello {name}, {info.context}"

    @strawberry.field
    def broken(self) -> int | None:
        raise ValueError("secret")

    @strawberry.field
    def refused(self) -> int | None:
        raise coulis.UserError("not today", code="CLOSED")


@strawberry.type
class Mutation:
    @strawberry.mutation
    def rename(self, name: str) -> str:
        return name.upper()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def user(self) -> User | None:
        yield None


def strawberry_schema():
    return strawberry.Schema(Query, Mutation, Subscription)


@pytest.fixture(params=[core_schema, strawberry_schema])
async def client(request, connect):
    manager = coulis.SubscriptionManager(registry=coulis.Registry(), schema=request.param())
    app = SubscriptionApp(manager, context=lambda connection: "the context")
    async with manager, served(app) as address:
        client = await connect(address)
        await client.init()
        client.manager = manager
        yield client


async def ask(client, query, **payload):
    await client.say(type="subscribe", id="q", payload={"query": query, **payload})
    message = await client.hear()
    if message["type"] == "next":
        assert await client.hear() == {"type": "complete", "id": "q"}
    return message["payload"]


async def test_queries_and_mutations_are_run_by_the_schema(client):
    assert await ask(client, "{ hello }") == {"data": {"hello": "hello you, the context"}}
    query = "query ($name: String) { hi: hello(name: $name) }"
    assert (await ask(client, query, variables={"name": "é"}))["data"] == {"hi": "hello é, the context"}
    assert await ask(client, 'mutation { rename(name: "a") }') == {"data": {"rename": "A"}}
    assert (await ask(client, "{ __schema { queryType { name } } }"))["data"]


async def test_subscriptions_are_the_engines_and_held_against_the_schema(client):
    assert await client.subscribe("1", "subscription { user { id name } }") == []
    assert await client.manager.publish_event("t", "user", {"id": 7, "name": "a", "secret": 1}) == 1
    assert (await client.hear())["payload"]["data"] == {"user": {"id": "7", "name": "a"}}
    ((message),) = await client.subscribe("2", "subscription { user { secret } }")
    assert message["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_what_is_not_in_the_schema_never_reaches_it(client):
    (error,) = await ask(client, "{ nothing }")
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


async def test_errors_of_resolvers_are_masked_and_logged(client, caplog):
    caplog.set_level(logging.ERROR)
    payload = await ask(client, "{ broken hello }")
    assert payload["data"]["hello"]
    assert [error["message"] for error in payload["errors"]] == ["internal error"]
    assert payload["errors"][0]["path"] == ["broken"]
    assert "secret" in caplog.text
    caplog.clear()
    payload = await ask(client, "{ refused }")
    assert payload["errors"][0]["message"] == "not today"
    assert payload["errors"][0]["extensions"]["code"] == "CLOSED"
    # What is written for clients is no failure of the service.
    assert [record for record in caplog.records if record.name.startswith("coulis")] == []


@pytest.mark.parametrize("make", [core_schema, strawberry_schema])
def test_documents_are_validated_by_a_schema_object(make):
    assert validate("subscription { user { id } }", schema=make()) == []
    assert validate("subscription { user { secret } }", schema=make())[0]["locations"]


@pytest.mark.parametrize("schema", [5, object(), ["type Query { a: Int }"]])
def test_what_is_no_schema_is_refused(schema):
    with pytest.raises(TypeError, match="`schema` is a `"):
        coulis.SubscriptionManager(registry=coulis.Registry(), schema=schema)


async def test_a_schema_object_may_replace_another():
    manager = coulis.SubscriptionManager(registry=coulis.Registry(), schema=SDL)
    async with manager:
        await manager.create_subscription("s", "c", "subscription { user { name } }")
        assert await manager.reload_schema(core_schema()) == 0
        other = graphql.build_schema("type Query { a: Int } type Subscription { user: Int }")
        assert await manager.reload_schema(other) == 1
