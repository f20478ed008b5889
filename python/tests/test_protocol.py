"""graphql-transport-ws over a real server: handshake, authentication, operations, ends."""

import asyncio
import json

import coulis
import pytest
import websockets
from conftest import served, until
from coulis.asgi import SubscriptionApp
from coulis.websocket import INIT_CHARACTERS_MAX

QUERY = "subscription { user { id } }"
NEVER = 86_399.0


@pytest.fixture
async def address(manager):
    async with served(SubscriptionApp(manager)) as address:
        yield address


async def test_events_reach_the_client_as_text(manager, address, connect):
    client = await connect(address)
    await client.init()
    assert await client.subscribe("1", QUERY) == []
    assert await manager.publish_event("t", "user", {"id": "é🦀"}) == 1
    assert await client.hear() == {"id": "1", "type": "next", "payload": {"data": {"user": {"id": "é🦀"}}}}


@pytest.mark.parametrize("offered", [None, ["graphql-ws"]])
async def test_an_unknown_subprotocol_closes_4406_after_the_accept(address, connect, offered):
    client = await connect(address, subprotocols=offered)
    assert await client.closed() == (4406, "Subprotocol not acceptable", [])
    assert client.socket.subprotocol is None


async def test_the_subprotocol_is_picked_in_any_place(address, connect):
    client = await connect(address, subprotocols=["foo", "graphql-transport-ws"])
    assert client.socket.subprotocol == "graphql-transport-ws"
    await client.init()


@pytest.mark.parametrize(
    ("frame", "code", "reason"),
    [
        ("{", 4400, "invalid JSON"),
        ("null", 4400, "message must be a JSON object"),
        ("[]", 4400, "message must be a JSON object"),
        ('{"type":"next","id":"1","payload":{}}', 4400, "sent by servers only"),
        ('{"type":"ping","payload":{"a":NaN}}', 4400, "invalid JSON"),
        ('{"type":"ping","type":"pong"}', 4400, "duplicate key"),
        ('{"type":"ping","x":"\\ud800"}', 4400, "lone surrogate"),
        ("[" * 60_000, 4400, "nested deeper than 128 levels"),
        (b'{"type":"ping"}', 4400, "binary"),
        (b"\xff", 4400, "binary"),
        ('{"type":"subscribe","id":"1","payload":{"query":"{a}"}}', 4401, "Unauthorized"),
        ('{"type":"ping","payload":{"a":"' + "x" * 10_000_000 + '"}}', 1009, "Message too big"),
    ],
)
async def test_what_is_not_of_the_protocol_closes_with_its_code(address, connect, frame, code, reason):
    client = await connect(address)
    await client.socket.send(frame)
    closed = await client.closed()
    assert closed[0] == code
    assert reason in closed[1]


async def test_bytes_that_are_not_utf8_do_not_stop_the_server(manager, address, connect):
    client = await connect(address)
    await client.socket.send(b"\xff", text=True)
    code, _, _ = await client.closed()
    assert code in (1007, 4400)
    await (await connect(address)).init()


async def test_a_second_init_closes_4429(address, connect):
    client = await connect(address)
    await client.init()
    await client.say(type="connection_init")
    assert (await client.closed())[:2] == (4429, "Too many initialisation requests")


async def test_a_taken_id_closes_4409_with_a_reason_that_fits(address, connect):
    client = await connect(address)
    await client.init()
    await client.subscribe("é" * 300, QUERY)
    await client.say(type="subscribe", id="é" * 300, payload={"query": QUERY})
    code, reason, _ = await client.closed()
    assert code == 4409
    assert reason.startswith("Subscriber for éé")
    assert len(reason.encode()) <= 123


@pytest.mark.parametrize("kind", ["connection_init", "ping"])
async def test_who_was_not_let_in_yet_sends_no_large_messages(address, connect, kind):
    large = {"a": "x" * INIT_CHARACTERS_MAX}
    client = await connect(address)
    await client.say(type=kind, payload=large)
    assert (await client.closed())[:2] == (1009, "Message too big")
    client = await connect(address)
    await client.init({"a": "x" * (INIT_CHARACTERS_MAX - 100)})
    await client.say(type="ping", payload=large)
    assert await client.hear() == {"type": "pong", "payload": large}


async def test_an_id_of_a_megabyte_is_refused(address, connect):
    client = await connect(address)
    await client.init()
    await client.say(type="subscribe", id="i" * 1_000_000, payload={"query": QUERY})
    code, reason, _ = await client.closed()
    assert (code, reason) == (4400, "`id` has 1000000 bytes, more than 1024")


@pytest.fixture
async def timers(monkeypatch):
    """Timers of exactly `NEVER` seconds, which run out when the test says so and not by a clock."""
    waiting = []
    loop = asyncio.get_running_loop()
    call_later = loop.call_later

    def intercept(delay, callback, *arguments, **options):
        if delay == NEVER:
            waiting.append(callback)
        return call_later(delay, callback, *arguments, **options)

    monkeypatch.setattr(loop, "call_later", intercept)
    return waiting


async def test_init_must_come_in_time(manager, connect, timers):
    async with served(SubscriptionApp(manager, init_timeout=NEVER)) as address:
        client = await connect(address)
        timers.pop()()
        assert (await client.closed())[:2] == (4408, "Connection initialisation timeout")


async def test_a_slow_auth_handler_is_no_init_timeout(manager, connect, timers):
    asked, go = asyncio.Event(), asyncio.Event()

    async def authenticate(payload):
        asked.set()
        await go.wait()
        return {"user_id": 1}

    app = SubscriptionApp(manager, auth_handler=authenticate, init_timeout=NEVER)
    async with served(app) as address:
        client = await connect(address)
        await client.say(type="connection_init")
        await asked.wait()
        timers.pop()()
        go.set()
        assert await client.hear() == {"type": "connection_ack"}


async def test_a_second_init_while_the_first_is_decided_closes_4429(manager, connect):
    cancelled = asyncio.Event()

    async def authenticate(payload):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with served(SubscriptionApp(manager, auth_handler=authenticate)) as address:
        client = await connect(address)
        await client.say(type="connection_init")
        await client.say(type="ping")
        assert await client.hear() == {"type": "pong"}
        await client.say(type="connection_init")
        assert (await client.closed())[0] == 4429
        await cancelled.wait()


def sync_allow(payload):
    return {"user_id": payload["user"], "tenant_id": "t"}


async def async_allow(payload):
    return coulis.SecurityContext(payload["user"], "t")


@pytest.mark.parametrize("handler", [sync_allow, async_allow])
async def test_the_auth_handler_says_who_the_client_is(manager, connect, handler):
    async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
        client = await connect(address)
        await client.init({"user": 7})
        await client.subscribe("1", QUERY)
        assert await manager.publish_event("t", "user", {"id": 1, "user_id": "8"}) == 0
        assert await manager.publish_event("t", "user", {"id": 2, "tenant_id": "other"}) == 0
        assert await manager.publish_event("t", "user", {"id": 3, "user_id": "7", "tenant_id": "t"}) == 1
        assert (await client.hear())["payload"]["data"]["user"]["id"] == 3


async def test_all_that_an_auth_handler_knows_is_in_the_context(manager):
    known = {
        "user_id": 7,
        "tenant_id": "t",
        "roles": ["clerk"],
        "scopes": ("read",),
        "federation": {"service": "orders", "id": 9},
        "claims": {"level": 3},
        "expires": 1_700_000_000.5,
    }
    context = await SubscriptionApp(manager, auth_handler=lambda payload: known).identify({}, {})
    assert {name: getattr(context, name) for name in known} == {
        "user_id": "7",
        "tenant_id": "t",
        "roles": ("clerk",),
        "scopes": ("read",),
        "federation": {"service": "orders", "id": "9"},
        "claims": {"level": 3},
        "expires": 1_700_000_000,
    }


async def test_what_no_context_has_is_refused_by_its_name(manager):
    known = {"user_id": 1, "expire": 1, "tenant": None, "roles": None}
    app = SubscriptionApp(manager, auth_handler=lambda payload: known)
    with pytest.raises(
        TypeError, match=r"with 'expire', 'tenant': a context has user_id, tenant_id, .*expires"
    ):
        await app.identify({}, {})


def auth_raises(payload):
    raise RuntimeError("no database")


async def auth_refuses(payload):
    raise coulis.AuthenticationFailed("wrong token")


@pytest.mark.parametrize(
    "handler",
    [
        auth_raises,
        auth_refuses,
        lambda payload: None,
        lambda payload: False,
        lambda payload: True,
        lambda payload: "user",
        lambda payload: {"user_id": True},
        lambda payload: {"user_id": 1.0},
        lambda payload: {"user_id": 1, "roles": "admin"},
        lambda payload: {"user_id": 1, "federation": "orders"},
        lambda payload: {"user_id": 1, "expires": "tomorrow"},
        lambda payload: {"user_id": 1, "claims": ["a"]},
        lambda payload: {"user_id": 1, "tenant": "t"},
        lambda payload: payload["missing"],
    ],
)
async def test_whoever_is_not_let_in_gets_4403_and_nothing_else(manager, connect, handler):
    async with served(SubscriptionApp(manager, auth_handler=handler)) as address:
        client = await connect(address)
        await client.say(type="connection_init", payload={"token": "x"})
        assert await client.closed() == (4403, "Forbidden", [])
    assert manager.get_metrics()["subscribed"] == 0


async def test_without_a_handler_clients_are_anonymous_and_have_no_tenant(connect):
    async with (
        coulis.SubscriptionManager(tenancy="strict", registry=coulis.Registry()) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        client = await connect(address)
        await client.init({"user_id": 1, "tenant_id": "t"})
        await client.subscribe("1", QUERY)
        assert await manager.publish_event("t", "user", {"id": 1}, tenant_id="t") == 0
        assert await manager.publish_event("t", "user", {"id": 1}, tenant_id="") == 0
    async with (
        coulis.SubscriptionManager(registry=coulis.Registry()) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        client = await connect(address)
        await client.init()
        await client.subscribe("1", QUERY)
        assert await manager.publish_event("t", "user", {"id": 1}, user_id="anonymous") == 1


async def test_a_wrong_operation_is_an_error_and_the_socket_stays(manager, address, connect):
    client = await connect(address)
    await client.init()
    await client.subscribe("well", QUERY)
    (message,) = await client.subscribe("1", "subscription {")
    assert (message["type"], message["id"]) == ("error", "1")
    assert message["payload"][0]["message"]
    # The id is free again.
    assert await client.subscribe("1", QUERY) == []
    assert await manager.publish_event("t", "user", {"id": 1}) == 2


async def test_a_resolver_that_fails_is_a_next_with_errors_and_the_stream_goes_on(connect, caplog):
    registry = coulis.Registry()

    @registry.subscription("user")
    async def resolve(event, variables):
        if event["id"] == 1:
            raise ValueError("it broke")
        return {"user": event}

    async with (
        coulis.SubscriptionManager(registry=registry) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        client = await connect(address)
        await client.init()
        await client.subscribe("1", QUERY)
        for number in (1, 2):
            assert await manager.publish_event("t", "user", {"id": number, "secret": 1}) == 1
        failed, well = await client.hear(), await client.hear()
        assert failed["payload"]["data"] is None
        assert failed["payload"]["errors"][0]["message"] == "internal error"
        assert well["payload"] == {"data": {"user": {"id": 2}}}
    assert "resolve failed" in caplog.text


async def test_complete_is_silent_and_final(manager, address, connect):
    client = await connect(address)
    await client.init()
    await client.subscribe("1", QUERY)
    await client.say(type="complete", id="1")
    await client.say(type="complete", id="unknown")
    await client.say(type="ping")
    assert await client.hear() == {"type": "pong"}
    assert await manager.publish_event("t", "user", {"id": 1}) == 0
    assert manager.get_metrics()["subscriptions"] == 0


async def test_two_clients_with_the_same_id_do_not_meet(manager, address, connect):
    one, other = await connect(address), await connect(address)
    for client in (one, other):
        await client.init()
        assert await client.subscribe("1", QUERY) == []
    assert await manager.publish_event("t", "user", {"id": 1}) == 2
    assert await one.hear() == await other.hear()
    await one.say(type="complete", id="1")
    await one.say(type="ping")
    assert await one.hear() == {"type": "pong"}
    assert await manager.publish_event("t", "user", {"id": 2}) == 1
    assert (await other.hear())["payload"]["data"]["user"]["id"] == 2


async def test_ping_is_echoed_and_pong_is_not(address, connect):
    client = await connect(address)
    await client.say(type="pong")
    await client.say(type="ping", payload={"n": 1})
    assert await client.hear() == {"type": "pong", "payload": {"n": 1}}


async def test_keep_alive_pings_and_ends_who_does_not_answer(manager, connect, timers):
    async with served(SubscriptionApp(manager, keep_alive=NEVER)) as address:
        client = await connect(address)
        for _ in range(2):
            timers.pop()()
            assert await client.hear() == {"type": "ping"}
            # Any message is a sign of life; the answer to this one says that it has arrived.
            await client.say(type="ping")
            assert await client.hear() == {"type": "pong"}
        timers.pop()()
        timers.pop()()
        assert (await client.closed())[:2] == (4408, "No answer to a ping")


async def test_the_order_of_a_burst_is_kept(manager, address, connect):
    client = await connect(address)
    await client.init()
    await client.subscribe("1", QUERY)
    for number in range(900):
        manager.executor.publish_nowait("t", "user", {"id": number})
    heard = [(await client.hear())["payload"]["data"]["user"]["id"] for _ in range(900)]
    assert heard == list(range(900))


async def gone(manager):
    """Wait until the engine has no subscriber left; publishes, each of which is one round through it."""
    while manager.get_metrics()["subscribers"]:
        await manager.publish_event("t", "nowhere", {})
        await asyncio.sleep(0)


@pytest.mark.parametrize("abrupt", [False, True])
async def test_a_client_that_goes_takes_everything_with_it(manager, address, connect, abrupt):
    client = await connect(address)
    await client.init()
    for number in range(5):
        await client.subscribe(str(number), QUERY)
    if abrupt:
        client.socket.transport.abort()
    else:
        await client.socket.close()
    await gone(manager)
    metrics = manager.get_metrics()
    assert (metrics["subscriptions"], metrics["subscribers"]) == (0, 0)
    assert await manager.publish_event("t", "user", {"id": 1}) == 0


@pytest.mark.parametrize("stage", ["before accept", "connected", "subscribed"])
async def test_a_cancelled_app_frees_everything(manager, stage):
    sent, inbox = [], asyncio.Queue()

    async def send(message):
        sent.append(message["type"])
        if stage == "before accept":
            await asyncio.Event().wait()

    def say(**message):
        inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    inbox.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "subprotocols": ["graphql-transport-ws"]}
    running = asyncio.ensure_future(SubscriptionApp(manager)(scope, inbox.get, send))
    if stage == "subscribed":
        say(type="connection_init")
        say(type="ping")
        await until(lambda: sent.count("websocket.send") == 2)
        say(type="subscribe", id="1", payload={"query": QUERY})
        await until(lambda: manager.get_metrics()["subscriptions"])
    else:
        await until(lambda: sent)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(manager)
    assert manager.get_metrics()["subscriptions"] == 0
    assert len(asyncio.all_tasks()) == 1


async def test_a_send_that_fails_is_a_client_that_has_gone(manager):
    inbox = asyncio.Queue()

    async def send(message):
        if message["type"] == "websocket.send":
            raise OSError("gone")

    inbox.put_nowait({"type": "websocket.connect"})
    inbox.put_nowait({"type": "websocket.receive", "text": '{"type":"ping"}'})
    scope = {"type": "websocket", "subprotocols": ["graphql-transport-ws"]}
    await SubscriptionApp(manager)(scope, inbox.get, send)
    await gone(manager)


async def test_a_fault_of_the_server_closes_4500_and_tells_nothing(
    manager, address, connect, monkeypatch, caplog
):
    class Faulty:
        def receive(self, text):
            raise coulis.CoulisError("inner workings")

        def take(self, limit):
            return []

        def told(self):
            return None

        def close(self):
            pass

    monkeypatch.setattr("coulis.websocket.Session", lambda *given, **options: Faulty())
    client = await connect(address)
    await client.say(type="ping")
    assert await client.closed() == (4500, "Internal server error", [])
    assert "inner workings" in caplog.text


async def test_a_declaration_that_is_broken_ends_its_operation_only(manager, address, connect, caplog):
    manager.registry.fields["user"] = object()
    client = await connect(address)
    await client.init()
    (message,) = await client.subscribe("1", QUERY)
    error = {"message": "Internal server error", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}
    assert message["payload"] == [error]
    assert "a subscription could not be set up" in caplog.text
    assert await client.subscribe("2", "subscription { other { id } }") == []


async def test_a_client_that_stops_reading_costs_the_others_nothing(manager, address, connect):
    stopped, reading = await connect(address), await connect(address)
    for client in (stopped, reading):
        await client.init()
        await client.subscribe("1", QUERY)
    stopped.socket.transport.pause_reading()
    big = {"id": "x" * 100_000}
    for _ in range(100):
        assert await manager.publish_event("t", "user", big) == 2
        assert (await reading.hear())["payload"]["data"]["user"]["id"] == big["id"]
    stopped.socket.transport.abort()


async def test_more_operations_than_allowed_are_errors(connect):
    limits = {"subscriptions_per_subscriber_max": 2}
    async with (
        coulis.SubscriptionManager(limits=limits, registry=coulis.Registry()) as manager,
        served(SubscriptionApp(manager)) as address,
    ):
        client = await connect(address)
        await client.init()
        heard = [await client.subscribe(str(number), QUERY) for number in range(3)]
        assert heard[:2] == [[], []]
        assert heard[2][0]["type"] == "error"
        assert heard[2][0]["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_http_is_told_to_upgrade(address):
    with pytest.raises(websockets.InvalidStatus) as refused:
        # A handshake without the upgrade is plain HTTP.
        async with websockets.connect(f"ws://{address}/", additional_headers={"Upgrade": "no"}, proxy=None):
            pass
    assert refused.value.response.status_code in (400, 426)


@pytest.mark.parametrize(
    "option", [{"init_timeout": 0}, {"keep_alive": 0}, {"init_timeout": -1}, {"keep_alive": -1}]
)
def test_bad_timers_are_refused(option):
    with pytest.raises(ValueError, match="pass seconds above 0"):
        SubscriptionApp(coulis.SubscriptionManager(), **option)
