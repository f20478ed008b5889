"""Who may read which field: rules by role and scope, and variables that name the reader."""

import json

import coulis
import pytest
from conftest import served
from coulis.starlette import SubscriptionApp

EVENT = {"id": 7, "email": "ada@example.org", "card": "4111222233334444"}
ACCESS = {
    "rules": {
        "users.email": {"roles": ["admin", "support"], "otherwise": "mask"},
        "users.card": {"scopes": {"all": ["billing", "cards"]}, "redact": {"last": 4}},
        "users.note": {"roles": "admin"},
    },
    "required_scopes": {"orders": ["read"]},
}
QUERY = "subscription { users { id mail: email card } }"


def reader(roles=(), scopes=(), user="1", tenant=None):
    return coulis.SecurityContext(user, tenant, list(roles), list(scopes))


def data(executor, context, query=QUERY, resolver=None):
    """The data that a reader gets of one event."""
    executor.register_subscription("c", "s", query, context=context, resolver=resolver)
    executor.publish_event("e", "users", EVENT)
    message = json.loads(executor.next_event("s"))
    executor.complete_subscription("s")
    return message["payload"]["data"]["users"]


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("resolver", [None, lambda event, variables: {"users": event}])
def test_a_reader_gets_what_it_may_read(shards, resolver):
    with coulis.SubscriptionExecutor(shards=shards, access=ACCESS) as executor:
        nothing = {"id": 7, "mail": None, "card": "***4444"}
        for context in [None, reader(), reader(["billing", "cards"], ["admin"]), reader(scopes=["billing"])]:
            assert data(executor, context, resolver=resolver) == nothing
        assert data(executor, reader(["support"]), resolver=resolver) == nothing | {"mail": EVENT["email"]}
        everything = data(executor, reader(["admin"], ["cards", "billing"]), resolver=resolver)
        assert everything == {"id": 7, "mail": EVENT["email"], "card": EVENT["card"]}


def refusal(executor, context, query, variables=None):
    with pytest.raises(coulis.AuthorizationFailed) as refused:
        executor.register_subscription("c", "s", query, variables=variables, context=context)
    assert isinstance(refused.value, coulis.CoulisError)
    return refused.value.code, str(refused.value)


def test_what_is_refused_says_the_field():
    with coulis.SubscriptionExecutor(access=ACCESS) as executor:
        code, message = refusal(executor, reader(), "subscription { users { x: note } }")
        assert code == "FORBIDDEN_FIELD"
        assert "`users.note`" in message
        assert refusal(executor, None, "subscription { orders { id } }")[0] == "FORBIDDEN_FIELD"
        executor.register_subscription(
            "c", "s", "subscription { orders { id } }", context=reader(scopes=["read"])
        )


def test_variables_name_the_reader():
    query = "subscription ($userId: ID, $in: In) { users(by: $userId, in: $in) { id } }"
    with coulis.SubscriptionExecutor() as executor:
        for variables in [{"userId": 7}, {"userId": "7"}, {"userId": None}, {}, {"in": {"tenant_id": "t"}}]:
            executor.register_subscription(
                "c", "s", query, variables=variables, context=reader(user=7, tenant="t")
            )
            executor.complete_subscription("s")
        code, message = refusal(executor, reader(user=7), query, {"in": {"by": [{"userId": 8}]}})
        assert (code, "`in.by.userId`" in message) == ("FORBIDDEN_VARIABLE", True)
        assert refusal(executor, None, query, {"userId": "7"})[0] == "FORBIDDEN_VARIABLE"
    with coulis.SubscriptionExecutor(access={"variables": False}) as executor:
        executor.register_subscription("c", "s", query, variables={"userId": 8}, user_id=7)
    with coulis.SubscriptionExecutor(access={"variables": {"user": "in", "tenant": []}}) as executor:
        executor.register_subscription("c", "t", query, variables={"userId": 8}, user_id=7)
        assert refusal(executor, reader(user=7), query, {"in": 8})[0] == "FORBIDDEN_VARIABLE"


def test_types_need_a_schema():
    schema = "type Query { a: Int } type Subscription { users: User } type User { id: ID! email: String }"
    access = {"rules": {"User.email": {"roles": "admin", "otherwise": "mask"}}, "deny_by_default": False}
    with coulis.SubscriptionExecutor(schema=schema, access=access) as executor:
        assert data(executor, reader(), "subscription { users { email } }") == {"email": None}
        admin = data(executor, reader(["admin"]), "subscription { users { email } }")
        assert admin == {"email": "ada@example.org"}
    with pytest.raises(ValueError, match=r"User\.email.*schema"):
        coulis.SubscriptionExecutor(access=access)
    with pytest.raises(ValueError, match=r"User\.phone"):
        coulis.SubscriptionExecutor(schema=schema, access={"rules": {"User.phone": {"public": True}}})


@pytest.mark.parametrize(
    "access",
    [
        {"rule": {}},
        {"rules": []},
        {"rules": {"users..email": {"roles": "admin"}}},
        {"rules": {"users.email": {}}},
        {"rules": {"users.email": {"roles": []}}},
        {"rules": {"users.email": {"role": "admin"}}},
        {"rules": {"users.email": {"roles": "admin", "otherwise": "hide"}}},
        {"required_scopes": {"users": []}},
        {"deny_by_default": 1},
        {"variables": {"users": "id"}},
        {"variables": {"user": [""]}},
    ],
)
def test_what_cannot_be_is_refused(access):
    with pytest.raises(ValueError, match=r"access|variables"):
        coulis.SubscriptionExecutor(access=access)


@pytest.mark.parametrize("access", [7, {"rules": {"u": {"roles": {1, 2}}}}, {"variables": 7}])
def test_what_is_no_mapping_is_refused(access):
    with pytest.raises(TypeError):
        coulis.SubscriptionExecutor(access=access)


class Roles:
    """Takes a client's word for its roles: a test."""

    def authenticate(self, payload, scope):
        return coulis.SecurityContext(payload["user"], roles=payload.get("roles", []))


async def test_over_the_wire_an_error_names_the_code(connect):
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry(), access=ACCESS) as manager,
        served(SubscriptionApp(manager, auth_handler=Roles())) as address,
    ):
        admin, clerk = await connect(address), await connect(address)
        await admin.init({"user": "1", "roles": ["admin"]})
        await clerk.init({"user": "2"})
        query = "subscription ($userId: ID) { users(id: $userId) { note } }"
        [error] = await clerk.subscribe("a", query)
        assert error["type"] == "error"
        assert error["payload"][0]["extensions"] == {"code": "FORBIDDEN_FIELD"}
        [error] = await clerk.subscribe("c", query, variables={"userId": 1})
        assert error["payload"][0]["extensions"] == {"code": "FORBIDDEN_VARIABLE"}
        assert await admin.subscribe("d", QUERY, variables={}) == []
        assert await clerk.subscribe("e", QUERY) == []
        await manager.publish_event("e", "users", EVENT)
        mails = [(await client.hear())["payload"]["data"]["users"]["mail"] for client in (admin, clerk)]
        assert mails == [EVENT["email"], None]
