"""What is told to `logging`: facts as attributes of the record, and a bounded number of lines."""

import asyncio
import collections
import logging

import coulis
import pytest
from conftest import served
from conftest import until as turns_until
from coulis import errors
from coulis.admission import Denied, identify
from coulis.asgi import SubscriptionApp
from coulis.logs import KINDS_MAX, Paced
from coulis.testing import ConnectionClosed, SubscriptionClient

QUERY = "subscription { user { id } }"


async def until(condition):
    await asyncio.wait_for(turns_until(condition), 20)


@pytest.fixture
def records(caplog):
    caplog.set_level(logging.INFO, "coulis")

    def records(kind=""):
        return [
            record
            for record in caplog.records
            if record.name.startswith("coulis.") and getattr(record, "kind", "").startswith(kind)
        ]

    return records


async def test_connections_are_told_with_who_and_how(manager, connect, records):
    app = SubscriptionApp(manager, auth_handler=lambda payload: payload)
    async with served(app) as address:
        client = await connect(address, "/path")
        (opened,) = records("opened")
        assert (opened.levelname, opened.path, opened.user_id) == ("INFO", "/path", None)
        await client.init({"user_id": "ann", "tenant_id": "acme"})
        await client.socket.close(1000)
        await until(lambda: records("closed"))
    (closed,) = records("closed")
    assert (closed.levelname, closed.code, closed.by) == ("INFO", 1000, "client")
    assert (closed.user_id, closed.tenant_id, closed.lost) == ("ann", "acme", 0)
    assert closed.connection == opened.connection and closed.client == opened.client
    assert closed.seconds >= 0


@pytest.mark.parametrize("answer", [None, ZeroDivisionError("inner")])
async def test_a_refused_authentication_is_told(manager, connect, records, answer):
    def handler(payload):
        if answer is not None:
            raise answer

    async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
        client = await connect(address)
        await client.say(type="connection_init")
        assert (await client.closed())[0] == 4403
        await until(lambda: records("closed"))
    (refused,) = records("refused")
    assert refused.levelname == "WARNING"
    (closed,) = records("closed 4403")
    assert (closed.by, closed.reason) == ("server", "Forbidden")


async def test_a_slow_consumer_is_told_with_its_losses_and_never_per_event(connect, records):
    limits = {"ring_frames_max": 64}
    async with coulis.SubscriptionManager(registry=coulis.Registry(), limits=limits) as manager:
        async with served(SubscriptionApp(manager)) as address:
            client = await connect(address, max_queue=None)
            await client.init()
            await client.subscribe("1", QUERY)
            for id in range(2000):  # without a turn of the loop, in which the writer could read
                manager.executor.publish_event("t", "user", {"id": id})
            await until(lambda: records("slow"))
            await client.socket.close(1000)
            await until(lambda: records("closed"))
        dropped = manager.get_metrics()["dropped"]
    (slow,) = records("slow")
    (closed,) = records("closed")
    assert (slow.levelname, slow.lost, closed.lost) == ("WARNING", dropped, dropped)
    assert dropped > 1000


async def test_a_resolver_that_fails_for_every_event_is_told_some_times(records):
    registry = coulis.Registry()

    @registry.subscription()
    def user(event, variables):
        raise ValueError("inner workings")

    async with coulis.SubscriptionManager(registry=registry) as manager:
        await manager.create_subscription("s", "c", QUERY)
        for number in range(100):
            await manager.publish_event("t", "user", {"id": number})
    found = records("")
    assert 1 <= len(found) <= 20
    assert all(record.exc_info and record.resolver.endswith("user") for record in found)


def broken(*_):
    raise ZeroDivisionError("inner")


async def test_an_auth_handler_that_fails_for_every_client_is_told_some_times(manager, records):
    app = SubscriptionApp(manager, auth_handler=broken)
    for _ in range(30):
        with pytest.raises(Denied):
            await identify(app, {"type": "http", "headers": []})
        with pytest.raises(ConnectionClosed):
            async with SubscriptionClient(app).connect():
                raise AssertionError("it was let in")
    found = records("auth_handler")
    assert len([record for record in found if "request" in record.getMessage()]) == 20
    assert len([record for record in found if "connection" in record.getMessage()]) == 20
    assert all(record.exc_info for record in found)


async def test_a_failure_is_one_kind_whatever_clients_call_their_operations(manager, records):
    app = SubscriptionApp(manager, execute=broken, on_complete=broken)
    async with SubscriptionClient(app).connect() as client:
        for number in range(30):
            query = await client.subscribe(f"query q{number} {{ a }}")
            assert (await query.payload())["errors"][0]["message"] == "internal error"
    names = [record.name for record in records()]
    assert names.count("coulis.execution") == 20
    assert names.count("coulis.hooks") == 20


def test_failures_of_other_lines_are_another_kind(records):
    def divided():
        return 1 / 0

    for fail in (divided, broken):
        for _ in range(30):
            try:
                fail()
            except ZeroDivisionError as error:
                errors.log_failure(logging.getLogger("coulis.hooks"), "a hook", error)
    errors.log_failure(logging.getLogger("coulis.hooks"), "a hook", ValueError("never raised"))
    assert sorted(collections.Counter(record.kind for record in records()).values()) == [1, 20, 20]


def test_refused_tokens_are_told_some_times(records):
    verifier = coulis.JWTVerifier(keys=[coulis.JWTKey.hmac("HS256", "a secret of 32 bytes, or of more")])
    for number in range(30):
        with pytest.raises(coulis.AuthenticationFailed):
            verifier.authenticate({"token": f"no token {number}"}, {"headers": []})
    assert len(records("refused")) == 20


def lines(caplog):
    return [(record.getMessage(), record.suppressed) for record in caplog.records]


def test_lines_beyond_the_pace_are_counted_and_told_later(caplog):
    now = [0.0]
    paced = Paced("coulis.test", lines_max=2, seconds=10, clock=lambda: now[0])
    for _ in range(5):
        paced.log(logging.WARNING, "a", "line %s", "a")
    paced.log(logging.WARNING, "b", "line b")
    now[0] = 10.0
    paced.log(logging.WARNING, "a", "line %s", "a")
    assert lines(caplog) == [
        ("line a", 0),
        ("line a", 0),
        ("line b", 0),
        ("line a (and 3 lines like this were left out before)", 3),
    ]


def test_the_kinds_are_bounded(caplog):
    paced = Paced("coulis.test", lines_max=1, seconds=10, clock=lambda: 0.0)
    for number in range(KINDS_MAX * 3):
        paced.log(logging.WARNING, f"kind {number}", "line")
    assert len(caplog.records) <= KINDS_MAX + 1
    assert len(paced._paces) <= KINDS_MAX + 1


def test_a_level_that_nobody_hears_costs_no_lines(caplog):
    paced = Paced("coulis.test", lines_max=1, seconds=10, clock=lambda: 0.0)
    caplog.set_level(logging.WARNING, "coulis.test")
    paced.log(logging.INFO, "a", "unheard")
    paced.log(logging.WARNING, "a", "heard")
    assert [record.getMessage() for record in caplog.records] == ["heard"]
