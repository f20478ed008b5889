"""The small native classes: payload, message, bus configuration, context, exceptions."""

import datetime
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
    claims = {"c": 1, "when": datetime.date(2026, 1, 2), "deep": [{"x": None}]}
    context = coulis.SecurityContext("u", roles=["a"], scopes=("b",), federation=("f", 7), claims=claims)
    assert (context.roles, context.scopes) == (("a",), ("b",))
    assert context.federation == {"service": "f", "id": "7"}
    assert context.claims == {"c": 1, "when": "2026-01-02", "deep": [{"x": None}]}
    claims["c"] = 2
    context.claims["c"] = 3
    assert context.claims["c"] == 1, "fixed when it is made"
    bare = coulis.SecurityContext()
    assert (bare.roles, bare.scopes, bare.federation, bare.claims) == ((), (), None, {})
    assert bare.expires is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"service": "s", "id": 7}, {"service": "s", "id": "7"}),
        ({"id": uuid.UUID(int=1)}, {"service": None, "id": str(uuid.UUID(int=1))}),
        (["s", "7"], {"service": "s", "id": "7"}),
        ((None, 7), {"service": None, "id": "7"}),
        ({}, None),
        (("", None), None),
        (None, None),
    ],
)
def test_a_federation_is_a_service_and_an_id(given, kept):
    assert coulis.SecurityContext(federation=given).federation == kept


UTC = datetime.timezone.utc
EAST = datetime.timezone(datetime.timedelta(hours=2))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (0, 0),
        (1_700_000_000, 1_700_000_000),
        (1_700_000_000.999, 1_700_000_000),
        (datetime.datetime(2026, 1, 1, tzinfo=UTC), 1_767_225_600),
        (datetime.datetime(2026, 1, 1, 2, 0, 0, 999_999, tzinfo=EAST), 1_767_225_600),
        (datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 253_402_300_799),
        (253_402_300_799, 253_402_300_799),
        (None, None),
    ],
)
def test_an_expiry_is_whole_seconds(given, seconds):
    assert coulis.SecurityContext(expires=given).expires == seconds


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"expires": True}, TypeError, "`expires` is a `bool`"),
        ({"expires": "1700000000"}, TypeError, "`expires` is a `str`"),
        ({"expires": datetime.date(2026, 1, 1)}, TypeError, "`expires` is a `date`"),
        ({"expires": datetime.datetime(2026, 1, 1)}, ValueError, "`expires` has no time zone"),
        ({"expires": -1}, ValueError, "`expires` is out of range"),
        ({"expires": -0.5}, ValueError, "`expires` is out of range"),
        ({"expires": 1_700_000_000_000}, ValueError, "`expires` is out of range"),
        ({"expires": 10**30}, ValueError, "`expires` is out of range"),
        ({"expires": float("nan")}, ValueError, "`expires` is out of range"),
        ({"expires": float("inf")}, ValueError, "`expires` is out of range"),
        ({"expires": datetime.datetime(1969, 12, 31, tzinfo=UTC)}, ValueError, "`expires` is out of range"),
        ({"federation": "ab"}, TypeError, "`federation` is a `str`"),
        ({"federation": ("a",)}, ValueError, "`federation` has 1 parts"),
        ({"federation": ("a", "b", "c")}, ValueError, "`federation` has 3 parts"),
        ({"federation": {"name": "a"}}, ValueError, "`federation` has the key 'name'"),
        ({"federation": {1: "a"}}, ValueError, "`federation` has the key 1"),
        ({"federation": ("a", 1.5)}, TypeError, "`federation.id` is a `float`"),
        ({"federation": {"service": True}}, TypeError, "`federation.service` is a `bool`"),
        ({"roles": "admin"}, TypeError, "`roles` is a `str`"),
        ({"roles": {"admin": True}}, TypeError, "`roles` is a `dict`"),
        ({"roles": 7}, TypeError, "`roles` is a `int`"),
        ({"roles": ["a", 7]}, TypeError, "`roles` is a `int`"),
        ({"scopes": "read write"}, TypeError, "`scopes` is a `str`"),
        ({"scopes": ["\ud800"]}, ValueError, "`scopes` holds a lone surrogate"),
        ({"claims": ["a"]}, TypeError, "`claims` is a `list`"),
        ({"claims": '{"a": 1}'}, TypeError, "`claims` is a `str`"),
        ({"claims": {"a": object()}}, TypeError, "`claims.a` is a `object`"),
        ({"claims": {"a": float("nan")}}, ValueError, "`claims.a` is `NaN`"),
        ({"claims": {"a": 2**64}}, ValueError, "`claims` is refused"),
        ({"claims": {1: 1}}, TypeError, "`claims` has a key that is a `int`"),
    ],
)
def test_what_is_no_context_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        coulis.SecurityContext("u", **arguments)


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
