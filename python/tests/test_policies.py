"""Policies and filters: who gets which event, and what changes while subscriptions live."""

import json

import coulis
import pytest
import websockets
from conftest import served
from coulis.asgi import SUBPROTOCOL, SubscriptionApp

QUERY = "subscription { orders { id } }"


def register(executor, id="s", **options):
    return executor.register_subscription("c", id, QUERY, **options)


def publish(executor, *orders, **attributes):
    for order in orders:
        executor.publish_event("changed", "orders", order, **attributes)


def ids(executor, id="s"):
    payloads = [json.loads(message)["payload"] for message in executor.next_events(id, 1000)]
    return [payload["data"]["orders"]["id"] for payload in payloads]


ORDERS = [
    {"id": 1, "status": "open", "amount": 50, "owner": 7},
    {"id": 2, "status": "open", "amount": 500, "owner": "8"},
    {"id": 3, "status": "draft", "amount": 500, "owner": 7},
    {"id": 4, "status": "open"},
    {"id": 5},
]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("event.status == 'open'", [1, 2, 4]),
        ("event.amount > 100", [2, 3]),
        ("has(event.amount) && event.amount > 100 || event.id == 5", [2, 3, 5]),
        ("event.id in [1, 5, 9]", [1, 5]),
        ("event.owner == ctx.user_id", [1, 3]),
        ("ctx.user_id == '7' && event.event_type == 'changed' && event.channel == 'orders'", [1, 2, 3, 4, 5]),
        ({"and": [{"eq": ["event.status", "open"]}, {"le": ["event.amount", 50]}]}, [1]),
        (None, [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("option", ["filter", "policy"])
def test_only_what_is_admitted_is_delivered(executor, option, condition, wanted):
    register(executor, user_id=7, **{option: condition})
    publish(executor, *ORDERS)
    assert ids(executor) == wanted


def test_a_client_that_filters_can_only_narrow():
    rules = {"orders": {"policy": "event.status == 'open'"}}
    with coulis.SubscriptionExecutor(channels=rules, policies={"orders": "event.id < 4"}) as executor:
        register(executor, filter="event.id != 1 || true")
        register(executor, "t", filter="event.id == 3")
        publish(executor, *ORDERS)
        assert (ids(executor), ids(executor, "t")) == ([1, 2], [])


def test_what_is_declared_holds_beside_what_is_asked_for():
    registry = coulis.Registry()

    @registry.subscription("orders", policy="event.status == 'open'", filter="event.id > 1")
    def orders(event, variables):
        return {"id": event["id"] * 10}

    with coulis.SubscriptionExecutor(declarations=registry.fields) as executor:
        register(executor, policy="has(event.amount)")
        publish(executor, *ORDERS)
        assert ids(executor) == [20]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("event.status ==", "policy: 1:"),
        ("event.status == opn", "policy: 1:17: undeclared reference to `opn`"),
        ("ctx.role == 'x'", "policy: 1:1: `ctx` has no field `role`"),
        ("'x' + 1 == 'x'", "does not take string and int"),
        ("vars.room == 'x'", "no such key"),
        ({"equals": ["event.id", 1]}, "no operation `equals`"),
        ({"eq": ["event.id"]}, "takes 2 values"),
        ({"a": 1, "b": 2}, "an object with one key"),
        ("x" * 20_000, "policy_text_bytes_max is 16384"),
        ("(" * 5_000, "policy: "),
    ],
)
def test_what_does_not_compile_is_refused(executor, condition, message):
    with pytest.raises(coulis.PolicyError) as raised:
        register(executor, policy=condition)
    assert message in str(raised.value)
    assert executor.subscriptions_by_channel("orders") == []


@pytest.mark.parametrize("condition", [1, b"true", ["event.id"], object()])
def test_a_condition_is_a_text_or_a_tree(executor, condition):
    with pytest.raises((TypeError, ValueError, coulis.PolicyError)):
        register(executor, policy=condition)


def test_policies_change_while_subscriptions_live(executor):
    register(executor)
    publish(executor, *ORDERS[:2])
    assert executor.reload_policies(channels={"orders": {"policy": "event.status == 'draft'"}}) == 0
    publish(executor, *ORDERS[:3])
    with pytest.raises(coulis.PolicyError, match="policy of channel `orders`: 1:"):
        executor.reload_policies(channels={"orders": {"policy": "event."}})
    publish(executor, ORDERS[2])
    assert ids(executor) == [1, 2, 3, 3]
    assert executor.reload_policies() == 0
    publish(executor, ORDERS[4])
    assert ids(executor) == [5]


def test_the_revoked_get_nothing_more(executor):
    register(executor, user_id=1, tenant_id="t")
    register(executor, "other", user_id=2, tenant_id="t")
    publish(executor, ORDERS[0])
    assert executor.revoke(user_id="1") == 1
    publish(executor, ORDERS[1])
    told = json.loads(executor.next_event("s"))
    assert (told["type"], told["payload"][0]["extensions"]["code"]) == ("error", "REVOKED")
    with pytest.raises(coulis.SubscriptionNotFound):
        executor.next_event("s")
    assert ids(executor, "other") == [1, 2]
    assert executor.revoke(user_id=1, tenant_id="t") == 0
    with pytest.raises(ValueError, match="ends nobody's subscriptions"):
        executor.revoke()


def test_explain_names_what_denied(executor):
    register(executor, policy="event.status == 'open' &&\n event.amount > 100", tenant_id="t")

    def explain(order, channel="orders", **options):
        return executor.explain("s", "changed", channel, order, **options)

    assert explain(ORDERS[1])["step"] == "delivered"
    assert explain(ORDERS[0]) == {
        "step": "policy",
        "message": "denied by policy at 2:15",
        "rule": "policy",
        "line": 2,
        "column": 15,
    }
    assert "no such key" in explain(ORDERS[3])["message"]
    isolated = explain(ORDERS[1], tenant_id="other")
    assert (isolated["rule"], isolated["line"]) == ("isolation", None)
    assert explain(ORDERS[1], "elsewhere")["step"] == "channel"
    with pytest.raises(coulis.SubscriptionNotFound):
        executor.explain("unknown", "changed", "orders", {})
    assert executor.next_events("s") == []


def test_explain_names_a_rate_and_a_full_ring_without_a_change():
    with coulis.SubscriptionExecutor(delivery_rates={"subscription": (1e-6, 3)}) as executor:
        register(executor)
        for number in range(4):
            told = executor.explain("s", "changed", "orders", ORDERS[1])
            assert told["step"] == ("delivered" if number < 3 else "rate")
            executor.publish_event("changed", "orders", ORDERS[1])
        assert told["of"] == "subscription"
        assert len(executor.next_events("s")) == 4, "and a gap"
    with coulis.SubscriptionExecutor(limits={"ring_frames_max": 8}) as executor:
        register(executor)
        for _ in range(8):
            executor.publish_event("changed", "orders", ORDERS[1])
        assert executor.explain("s", "changed", "orders", ORDERS[1]) == {
            "step": "ring",
            "message": "its reader's ring is full, 8 frames wait: drop_oldest",
            "waiting": 8,
            "overflow": "drop_oldest",
        }


def test_a_recorded_event_is_explained():
    with coulis.SubscriptionExecutor(limits={"logs_bytes_max": 3_000}) as executor:
        register(executor, policy="event.status == 'open'")
        for order in ORDERS[:2]:
            executor.publish_event("changed", "orders", order)

        def explain(at, channel="orders"):
            return executor.explain_recorded("s", channel, at)["step"]

        steps = [explain(1), explain(2)]
        assert steps == [executor.explain("s", "changed", "orders", order)["step"] for order in ORDERS[:2]]
        results = [json.loads(message)["payload"] for message in executor.next_events("s")]
        cursors = [result["extensions"]["coulis"]["cursor"] for result in results]
        assert [explain(cursor) for cursor in cursors] == ["delivered"] * len(cursors)
        missing = [(3, "orders", "future"), (1, "elsewhere", "future"), (0, "orders", "trimmed")]
        for at, channel, reason in missing:
            with pytest.raises(coulis.CoulisError, match=reason):
                explain(at, channel)
        with pytest.raises(ValueError, match="pass a result's cursor"):
            explain("nonsense")
        with pytest.raises(coulis.SubscriptionNotFound):
            executor.explain_recorded("unknown", "orders", 1)
        for _ in range(20):
            executor.publish_event("changed", "orders", ORDERS[1])
        with pytest.raises(coulis.CoulisError, match="trimmed"):
            explain(1)


def test_who_could_see_what_is_gone_is_told(executor):
    register(executor, user_id=1)
    register(executor, "other", user_id=2)
    for data in (None, "null", {"id": 5, "user_id": 2}):
        executor.publish_event("t", "orders", data, before={"id": 5, "user_id": 1})
    executor.publish_event("t", "orders", None)
    told = [json.loads(message)["payload"] for message in executor.next_events("s")]
    assert [payload["data"] for payload in told] == [{"orders": None}] * 3
    assert all(payload["extensions"]["coulis"]["tombstone"] == {"orders": {"id": 5}} for payload in told)
    assert ids(executor, "other") == [5]


def test_who_registers_too_often_is_refused():
    rates = {"user": (0.000001, 2), "tenant": (1.5, 1000), "connection": (100, 1000)}
    with coulis.SubscriptionExecutor(rates=rates) as executor:
        register(executor, "a", user_id=1)
        register(executor, "b", user_id="1")
        with pytest.raises(coulis.RateLimited, match="the user registers subscriptions too often"):
            register(executor, "c", user_id=1)
        register(executor, "c", user_id=2)


def test_what_a_delivery_rate_withholds_is_counted_and_told():
    with coulis.SubscriptionExecutor(delivery_rates={"subscription": (0.000001, 1)}) as executor:
        executor.register_subscription("c", "s", "subscription { x { n } }")
        for n in range(3):
            executor.publish_event("test", "x", {"n": n})
        messages = [json.loads(message) for message in executor.next_events("s")]
        assert [message["payload"]["data"] for message in messages] == [{"x": {"n": 0}}, None]
        gap = {"from": 2, "to": 3, "count": 2, "reason": "rate"}
        assert messages[1]["payload"]["extensions"]["coulis"]["gap"] == gap
        metrics = executor.get_metrics()
        assert (metrics["delivered"], metrics["rate_limited"], metrics["pending"]) == (1, 2, 0)


@pytest.mark.parametrize("rates", [{"user": 1}, {"subscription": (0, 1)}, {"shard": (1, 1)}, 5])
def test_what_is_no_delivery_rate_is_refused(rates):
    with pytest.raises((TypeError, ValueError), match="delivery_rates"):
        coulis.SubscriptionExecutor(delivery_rates=rates)


@pytest.mark.parametrize(
    "rates", [{"user": 1}, {"user": (0, 1)}, {"user": (1, 0)}, {"user": ("1", 1)}, {"shard": (1, 1)}, 5]
)
def test_what_is_no_rate_is_refused(rates):
    with pytest.raises((TypeError, ValueError), match="rates"):
        coulis.SubscriptionExecutor(rates=rates)


async def test_a_connection_is_told_what_was_revoked(manager):
    async with (
        served(
            SubscriptionApp(manager, auth_handler=lambda payload: {"user_id": payload["user"]})
        ) as address,
        websockets.connect(f"ws://{address}/", subprotocols=[SUBPROTOCOL]) as socket,
    ):

        async def send(**message):
            await socket.send(json.dumps(message))

        async def receive():
            return json.loads(await socket.recv())

        async def subscribe():
            await send(type="subscribe", id="s", payload={"query": QUERY})
            await send(type="ping")
            assert (await receive())["type"] == "pong"

        await send(type="connection_init", payload={"user": "u"})
        assert (await receive())["type"] == "connection_ack"
        await subscribe()
        await manager.publish_event("changed", "orders", {"id": 1})
        assert (await receive())["payload"]["data"] == {"orders": {"id": 1}}
        assert manager.executor.revoke("u") == 1
        told = await receive()
        assert (told["type"], told["id"]) == ("error", "s")
        assert told["payload"][0]["extensions"] == {"code": "REVOKED"}
        # The id is free, and the connection goes on.
        await subscribe()
        await manager.publish_event("changed", "orders", {"id": 2})
        assert (await receive())["payload"]["data"] == {"orders": {"id": 2}}
