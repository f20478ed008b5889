"""The small native classes: payload, message, bus configuration, context, exceptions."""

import uuid

import coulis
import pytest


def test_payload_has_the_documented_attributes():
    payload = coulis.PySubscriptionPayload("subscription { a }")
    assert (payload.query, payload.operation_name, payload.variables, payload.extensions) == (
        "subscription { a }",
        None,
        {},
        None,
    )
    payload.query, payload.operation_name = "subscription B { b }", "B"
    payload.variables, payload.extensions = {"x": 1}, {"y": 2}
    assert (payload.query, payload.operation_name) == ("subscription B { b }", "B")
    assert (payload.variables, payload.extensions) == ({"x": 1}, {"y": 2})
    payload.variables = None
    assert payload.variables == {}
    with pytest.raises(TypeError):
        payload.variables = 1
    with pytest.raises(TypeError):
        payload.query = None


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ping"},
        {"type": "ping", "payload": None},
        {"type": "error", "id": "1", "payload": [{"message": "m"}]},
        {"type": "subscribe", "id": "1", "payload": {"query": "q"}},
    ],
)
def test_a_message_goes_round(message):
    read = coulis.PyGraphQLMessage.from_dict(message)
    assert (read.type_, read.id, read.payload) == (message["type"], message.get("id"), message.get("payload"))
    assert read.to_dict() == message


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({}, ValueError),
        ({"type": 1}, TypeError),
        ({"type": "ping", "id": 1}, TypeError),
        ({"type": "\ud800"}, ValueError),
    ],
)
def test_a_message_without_a_type_is_refused(message, error):
    with pytest.raises(error, match=r"`(type|id)`"):
        coulis.PyGraphQLMessage.from_dict(message)


def test_bus_configurations_say_their_type_and_keep_secrets_out_of_repr():
    redis = coulis.EventBusConfig.redis("rediss://:secret@host/1", "group")
    postgres = coulis.EventBusConfig.postgresql("postgresql://u:secret@host/db")
    assert coulis.EventBusConfig.memory().bus_type == "memory"
    assert (redis.bus_type, postgres.bus_type) == ("redis", "postgresql")
    assert redis.config == {"url": "rediss://:secret@host/1", "consumer_group": "group"}
    assert "secret" not in repr(redis) + repr(postgres)
    assert redis == coulis.EventBusConfig.redis(url="rediss://:secret@host/1", consumer_group="group")
    assert redis != coulis.EventBusConfig.memory()
    for good in ("host=localhost dbname=x", "postgres://h", "user=me"):
        assert coulis.EventBusConfig.postgresql(good).bus_type == "postgresql"


@pytest.mark.parametrize(
    "make",
    [
        lambda: coulis.EventBusConfig.redis("http://x", "g"),
        lambda: coulis.EventBusConfig.redis("redis://", "g"),
        lambda: coulis.EventBusConfig.redis("redis://h", " "),
        lambda: coulis.EventBusConfig.postgresql(""),
        lambda: coulis.EventBusConfig.postgresql("mysql://h/db"),
        lambda: coulis.EventBusConfig.postgresql("just words"),
    ],
)
def test_bad_bus_addresses_are_refused(make):
    with pytest.raises(ValueError, match="`"):
        make()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (7, "7"),
        ("7", "7"),
        (-1, "-1"),
        (2**70, str(2**70)),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        ("", None),
        (None, None),
    ],
)
def test_identities_have_one_canonical_text(given, text):
    context = coulis.SecurityContext(given, tenant_id=given)
    assert (context.user_id, context.tenant_id) == (text, text)


@pytest.mark.parametrize("given", [True, 1.0, b"7", ["7"], object()])
def test_what_is_no_identity_is_refused_by_name(given):
    with pytest.raises(TypeError, match="`tenant_id` is a"):
        coulis.SecurityContext(tenant_id=given)


def test_a_context_keeps_the_rest():
    context = coulis.SecurityContext("u", roles=["a"], scopes=("b",), federation="f", claims={"c": 1})
    assert (context.roles, context.scopes, context.federation, context.claims) == (
        ("a",),
        ("b",),
        "f",
        {"c": 1},
    )


def test_every_exception_is_a_coulis_error():
    assert issubclass(coulis.CoulisError, RuntimeError)
    names = """SubscriptionNotFound AlreadyExists InvalidQuery AuthorizationFailed AuthenticationFailed
        LimitExceeded RateLimited PolicyError BusError QueueFull EngineClosed"""
    for name in names.split():
        assert issubclass(getattr(coulis, name), coulis.CoulisError)


def test_names_stand_where_the_documents_say():
    import coulis.asgi
    import coulis.fastapi
    import coulis.graphql
    import coulis.starlette
    import coulis.subscriptions

    assert (
        coulis.PySubscriptionExecutor
        is coulis.SubscriptionExecutor
        is coulis.subscriptions.PySubscriptionExecutor
    )
    assert coulis.PyEventBusConfig is coulis.EventBusConfig is coulis.subscriptions.PyEventBusConfig
    assert coulis.SubscriptionManager is coulis.subscriptions.SubscriptionManager
    assert isinstance(coulis.__version__, str)
    assert set(coulis.__all__) <= set(dir(coulis))
