"""The direct API: register, publish, read, complete."""

import gc
import json
import threading
import time
import uuid

import coulis
import pytest
from messages import bare

USERS = "subscription { users { id } }"


def register(executor, number=1, query=USERS, **options):
    return executor.register_subscription(
        connection_id=f"conn{number}",
        subscription_id=f"sub{number}",
        query=query,
        variables={},
        user_id=1,
        tenant_id=1,
        **options,
    )


def test_dispatch_to_single_subscription():
    executor = coulis.PySubscriptionExecutor()
    executor.register_subscription(
        connection_id="conn1", subscription_id="sub1", query=USERS, variables={}, user_id=1, tenant_id=1
    )
    executor.publish_event(event_type="userCreated", channel="users", data={"id": "123", "name": "Alice"})
    response = executor.next_event("sub1")
    assert response is not None
    assert isinstance(response, bytes)


def test_dispatch_to_multiple_subscriptions(executor):
    for number in (1, 2):
        register(executor, number)
    assert executor.publish_event("userCreated", "users", {"id": "123"}) == 2
    for number in (1, 2):
        assert executor.next_event(f"sub{number}") is not None


def test_dispatch_respects_channel_filter(executor):
    register(executor)
    assert executor.publish_event("postCreated", "posts", {"id": "456"}) == 0
    assert executor.next_event("sub1") is None


def test_dispatch_includes_event_data(executor):
    register(executor)
    executor.publish_event("userCreated", "users", {"id": "123", "name": "Alice"})
    response = bare(executor.next_event("sub1"))
    assert response == {"type": "next", "id": "sub1", "payload": {"data": {"users": {"id": "123"}}}}


def test_response_queue_fifo(executor):
    register(executor)
    for number in range(3):
        executor.publish_event("userCreated", "users", {"id": str(number)})
    responses = [json.loads(executor.next_event("sub1")) for _ in range(3)]
    assert [response["payload"]["data"]["users"]["id"] for response in responses] == ["0", "1", "2"]
    assert executor.next_event("sub1") is None


def test_completed_subscription_has_no_responses(executor):
    register(executor)
    executor.complete_subscription("sub1")
    executor.publish_event("userCreated", "users", {"id": "123"})
    with pytest.raises(coulis.SubscriptionNotFound, match="`sub1` is no active subscription"):
        executor.next_event("sub1")
    executor.complete_subscription("sub1")


def test_phase2_dispatch(executor):
    executor.register_subscription("conn1", "sub1", "subscription { anything { id } }", channel="test")
    executor.publish_event("test", "test", {})
    assert json.loads(executor.next_event("sub1"))["type"] == "next"


def test_the_given_id_comes_back_and_arguments_go_by_any_way(executor):
    assert register(executor) == "sub1"
    assert executor.register_subscription("c", "positional", USERS, None, {}, "u", "t") == "positional"
    assert executor.register_subscription(query=USERS, subscription_id="least", connection_id="c") == "least"


def test_an_operation_name_labels_an_anonymous_operation(executor):
    assert register(executor, operation_name="OnUserUpdated") == "sub1"


def test_one_id_on_two_connections_are_two_subscriptions(executor):
    for connection in ("a", "b"):
        executor.register_subscription(connection, "1", USERS)
    with pytest.raises(coulis.AlreadyExists, match="`1` is registered on this connection already"):
        executor.register_subscription("a", "1", USERS)
    assert executor.publish_event("t", "users", {"id": 1}) == 2
    with pytest.raises(ValueError, match="2 connections: pass connection_id"):
        executor.next_event("1")
    assert executor.next_event("1", "a") is not None
    executor.complete_subscription("1", "a")
    assert executor.next_event("1") is not None
    with pytest.raises(coulis.SubscriptionNotFound):
        executor.next_event("1", "a")


def test_a_refused_registration_leaves_the_id_free(executor):
    with pytest.raises(coulis.InvalidQuery) as refused:
        register(executor, query="subscription { users { id }")
    assert refused.value.errors[0]["message"]
    assert register(executor) == "sub1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("", "c", {}), "^event_type cannot be empty$"), (("t", "", {}), "^channel cannot be empty$")],
)
def test_publish_names_what_is_empty(executor, arguments, message):
    for publish in (executor.publish_event, executor.publish_nowait):
        with pytest.raises(ValueError, match=message):
            publish(*arguments)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"items": [{"price": float("nan")}]}, ValueError, r"`data.items\[0\].price` is `NaN`"),
        ({1: 2}, TypeError, "`data` has a key that is a `int`"),
        (object(), TypeError, "`data` is a `object`"),
        (b"{", ValueError, "`data` is refused: invalid JSON"),
        ('{"a":1,"a":2}', ValueError, "`data` is refused: duplicate key `a`"),
        (b'"\xff"', ValueError, "not UTF-8"),
        ("\ud800", ValueError, "lone surrogate"),
        ("[" * 100_000, ValueError, "nested deeper than 128 levels"),
    ],
)
def test_bad_data_is_refused(executor, data, error, message):
    register(executor)
    with pytest.raises(error, match=message):
        executor.publish_event("t", "users", data)
    assert executor.next_event("sub1") is None


def test_data_may_be_json_text_and_keeps_its_numbers(executor):
    register(executor)
    for data in (b'{"id": 123456789012345678901234567890}', '{"id": 123456789012345678901234567890}'):
        assert executor.publish_event("t", "users", data) == 1
        response = json.loads(executor.next_event("sub1"))
        assert response["payload"]["data"]["users"]["id"] == 123456789012345678901234567890


def test_too_large_data_names_the_limit(executor):
    with pytest.raises(coulis.LimitExceeded, match="`event_bytes_max`"):
        executor.publish_event("t", "users", {"a": "x" * (1 << 20)})
    with pytest.raises(coulis.LimitExceeded) as refused:
        executor.publish_event("t", "c" * 2000, {})
    assert (refused.value.limit, refused.value.asked, refused.value.max) == ("name_bytes_max", 2000, 1024)


@pytest.mark.parametrize("given", [7, "7"])
def test_an_integer_and_its_text_are_the_same_tenant(executor, given):
    executor.register_subscription("c", "s", USERS, user_id=given, tenant_id=given)
    for same in (7, "7"):
        assert executor.publish_event("t", "users", {"id": 1}, tenant_id=same) == 1
        assert executor.publish_event("t", "users", {"id": 1, "tenant_id": same, "user_id": same}) == 1
    assert executor.publish_event("t", "users", {"id": 1}, tenant_id=8) == 0
    assert executor.publish_event("t", "users", {"id": 1, "user_id": "8"}) == 0


def test_uuid_ids_match_their_text(executor):
    user = uuid.uuid4()
    executor.register_subscription("c", "s", USERS, user_id=user)
    assert executor.publish_event("t", "users", {"id": 1}, user_id=user) == 1
    assert executor.publish_event("t", "users", {"id": 1, "user_id": str(user)}) == 1
    assert executor.publish_event("t", "users", {"id": 1}, user_id=uuid.uuid4()) == 0


@pytest.mark.parametrize("name", ["user_id", "tenant_id"])
@pytest.mark.parametrize("value", [True, 1.0])
def test_bool_and_float_are_no_ids(executor, name, value):
    with pytest.raises(TypeError, match=f"`{name}` is a"):
        executor.register_subscription("c", "s", USERS, **{name: value})
    with pytest.raises(TypeError, match=f"`{name}` is a"):
        executor.publish_event("t", "users", {}, **{name: value})


def test_attributes_outrank_fields_of_the_data(executor):
    executor.register_subscription("c", "s", USERS, tenant_id="a")
    assert executor.publish_event("t", "users", {"id": 1, "tenant_id": "b"}, tenant_id="a") == 1
    assert executor.publish_event("t", "users", {"id": 1, "tenant_id": "a"}, tenant_id="b") == 0


def test_an_empty_tenant_is_no_tenant():
    with coulis.SubscriptionExecutor(tenancy="strict") as executor:
        executor.register_subscription("c", "s", USERS, tenant_id="")
        assert executor.publish_event("t", "users", {"id": 1}, tenant_id="") == 0
        assert executor.publish_event("t", "users", {"id": 1, "tenant_id": ""}) == 0


def test_isolation_is_set_for_all_channels_and_for_one():
    rules = {"chat": {"owner": None, "tenancy": "strict"}, "inbox": {"owner": "recipient_id"}}
    with coulis.SubscriptionExecutor(channels=rules) as executor:
        for channel in ("chat", "inbox", "users"):
            executor.register_subscription(
                "c", channel, f"subscription {{ {channel} {{ id }} }}", user_id="me", tenant_id="t"
            )
        other = {"id": 1, "user_id": "you", "recipient_id": "me"}
        assert executor.publish_event("t", "chat", other) == 0
        assert executor.publish_event("t", "chat", other, tenant_id="t") == 1
        assert executor.publish_event("t", "inbox", other) == 1
        assert executor.publish_event("t", "users", other) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"tenancy": "loose"}, ValueError),
        ({"owner": ""}, ValueError),
        ({"channels": {"c": {"wrong": 1}}}, ValueError),
        ({"channels": {"c": {"tenancy": "loose"}}}, ValueError),
        ({"channels": {"c": {"owner": 1}}}, TypeError),
        ({"channels": 1}, TypeError),
        ({"limits": {"unknown": 1}}, ValueError),
        ({"limits": {"channels_max": 0}}, ValueError),
        ({"limits": {"channels_max": True}}, TypeError),
        ({"limits": {"channels_max": 1.5}}, TypeError),
        ({"limits": {"publish_wait_max": -1}}, ValueError),
        ({"limits": {"event_depth_max": 10_000}}, ValueError),
        ({"shards": 0}, ValueError),
        ({"shards": 1000}, coulis.LimitExceeded),
        ({"schema": "no schema"}, ValueError),
    ],
)
def test_bad_settings_are_refused(options, error):
    with pytest.raises(error):
        coulis.SubscriptionExecutor(**options)


@pytest.mark.parametrize("option", ["filter", "policy"])
def test_what_cannot_be_enforced_is_refused_and_not_ignored(executor, option):
    with pytest.raises(coulis.PolicyError, match=f"{option}: 1:13: undeclared reference to `one`"):
        register(executor, **{option: "event.id == one"})


def test_an_event_with_an_id_is_published_once(executor):
    register(executor)
    for deliveries in (1, 0):
        assert executor.publish_event("e", "users", {"id": 1}, event_id="order-1") == deliveries
    executor.publish_nowait("e", "users", {"id": 1}, event_id="order-1")
    assert len(executor.next_events("sub1")) == 1
    with pytest.raises(ValueError, match="id cannot be empty"):
        executor.publish_event("e", "users", {"id": 1}, event_id="")


async def test_an_event_that_was_refused_may_come_again_with_its_id():
    async with coulis.SubscriptionManager(limits={"channels_max": 1}) as manager:
        executor = manager.executor
        register(executor)
        with pytest.raises(coulis.LimitExceeded):
            executor.publish_event("e", "other", {"id": 1}, event_id="order-1")
        with pytest.raises(coulis.LimitExceeded):
            executor.publish_nowait("e", "other", {"id": 1}, event_id="order-1")
        with pytest.raises(coulis.LimitExceeded):
            await manager.publish_event("e", "other", {"id": 1}, event_id="order-1")
        assert await manager.publish_event("e", "users", {"id": 1}, event_id="order-1") == 1
        assert await manager.publish_event("e", "users", {"id": 1}, event_id="order-1") == 0


def test_a_subscription_hears_its_channels_and_its_events(executor):
    executor.register_subscription("c", "two", USERS, channel=["a", "b"])
    executor.register_subscription("c", "all", USERS, channel="*")
    executor.register_subscription("c", "some", USERS, events=["created"])
    assert executor.publish_event("created", "a", {"id": 1}) == 2
    assert executor.publish_event("created", "users", {"id": 1}) == 2
    assert executor.publish_event("deleted", "users", {"id": 1}) == 1
    assert executor.subscriptions_by_channel("a") == ["two"]
    assert executor.subscriptions_by_channel("nowhere") == []
    with pytest.raises(ValueError, match="name one"):
        executor.publish_event("t", "*", {})
    for bad, error in (("", ValueError), ([""], ValueError), ([1], TypeError), (1, TypeError)):
        with pytest.raises(error):
            executor.register_subscription("c", "bad", USERS, channel=bad)


def test_publish_nowait_is_delivered_in_the_end(executor):
    register(executor)
    executor.publish_nowait("t", "users", {"id": 1})
    executor.publish_event("t", "users", {"id": 2})
    assert [json.loads(m)["payload"]["data"]["users"]["id"] for m in executor.next_events("sub1")] == [1, 2]


def test_publish_many_answers_each(executor):
    register(executor)
    events = [("t", "users", {"id": 1}), ("t", "nowhere", {}), ("t", "users", b'{"id":2}')]
    assert executor.publish_many(events) == [1, 0, 1]
    assert len(executor.next_events("sub1")) == 2
    with pytest.raises(TypeError, match="`data` is a"):
        executor.publish_many([("t", "users", {"id": 3}), ("t", "users", 1j)])
    with pytest.raises((TypeError, ValueError)):
        executor.publish_many([("t", "users")])
    assert executor.next_events("sub1") == []
    assert executor.publish_many([]) == []


MORE = {"before": {"id": 0}, "federation_id": 7, "federation_service": "orders"}
THERE = coulis.SecurityContext(federation=("orders", 7))


def test_a_change_and_a_federation_are_taken_by_every_publish(executor):
    executor.register_subscription("conn1", "sub1", USERS, context=THERE)
    register(executor, 2)
    for before in ({"id": 0}, b'{"id":0}', '{"id":0}', None, [1], "null"):
        more = {**MORE, "before": before}
        assert executor.publish_event("t", "users", {"id": 1}, **more) == 1
        executor.publish_nowait("t", "users", {"id": 1}, **more)
        events = [("t", "users", {"id": 1}), ("t", "users", {"id": 1}, {"id": 9}), ("t", "users", "{}", None)]
        assert executor.publish_many(events, **more) == [1, 1, 1]
    # None of it is the event's data.
    assert json.loads(executor.next_event("sub1"))["payload"]["data"] == {"users": {"id": 1}}


async def test_a_change_and_a_federation_are_taken_by_the_manager(manager):
    await manager.create_subscription("s", "c", "subscription { users { id } }", context=THERE)
    assert await manager.publish_event("t", "users", {"id": 1}, **MORE) == 1


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"before": 1j}, TypeError, "`before` is a `complex`"),
        ({"before": {"a": [object()]}}, TypeError, r"`before.a\[0\]` is a `object`"),
        ({"before": "{"}, ValueError, "`before` is refused"),
        ({"before": '{"a":1,"a":2}'}, ValueError, "`before` is refused"),
        ({"before": "\ud800"}, ValueError, "`before` holds a lone surrogate"),
        ({"before": b"[" * 1_000}, ValueError, "`before` is refused"),
        ({"before": "1" * (1 << 20) + "1"}, coulis.LimitExceeded, "event_bytes_max"),
        ({"federation_id": True}, TypeError, "`federation_id` is a `bool`"),
        ({"federation_service": 1.5}, TypeError, "`federation_service` is a `float`"),
    ],
)
def test_a_bad_change_or_federation_is_refused_by_name(executor, more, error, message):
    register(executor)
    for publish in (
        lambda: executor.publish_event("t", "users", {}, **more),
        lambda: executor.publish_nowait("t", "users", {}, **more),
        lambda: executor.publish_many([("t", "users", {}), ("t", "users", {})], **more),
    ):
        with pytest.raises(error, match=message):
            publish()
    assert executor.next_event("sub1") is None


def test_the_change_of_one_of_many_is_refused_by_name(executor):
    with pytest.raises(ValueError, match="`before` is refused"):
        executor.publish_many([("t", "users", {}, "{")], before={})
    with pytest.raises((TypeError, ValueError)):
        executor.publish_many([("t", "users", {}, {}, {})])


def test_a_slow_reader_loses_the_oldest_and_is_told():
    with coulis.SubscriptionExecutor(limits={"ring_frames_max": 4}) as executor:
        register(executor)
        for number in range(100):
            executor.publish_event("t", "users", {"id": number})
        first = json.loads(executor.next_event("sub1"))
        gap = first["payload"]["extensions"]["coulis"]["gap"]
        rest = [json.loads(m)["payload"]["data"]["users"]["id"] for m in executor.next_events("sub1")]
        assert first["payload"]["data"] is None
        assert rest == list(range(gap["count"], 100))
        assert gap["count"] > 50


def test_metrics_count_what_happened(executor):
    register(executor)
    executor.publish_event("t", "users", {"id": 1})
    executor.next_event("sub1")
    metrics = executor.get_metrics()
    assert (metrics["published"], metrics["matched"], metrics["delivered"], metrics["pending"]) == (
        1,
        1,
        1,
        0,
    )
    assert metrics["subscriptions"] == 1
    assert "coulis_published_total 1" in executor.prometheus()


def test_closed_means_closed():
    executor = coulis.SubscriptionExecutor()
    register(executor)
    executor.close()
    executor.close()
    for call in (
        lambda: executor.publish_event("t", "users", {}),
        lambda: executor.publish_nowait("t", "users", {}),
        lambda: register(executor, 2),
    ):
        with pytest.raises(coulis.EngineClosed, match="closed"):
            call()
    with pytest.raises(coulis.SubscriptionNotFound):
        executor.next_event("sub1")


def test_threads_publish_and_register_and_nothing_is_lost_or_out_of_order(executor):
    register(executor)
    threads, each = 8, 100

    def publish(thread):
        for number in range(each):
            executor.publish_event("t", "users", {"id": [thread, number]})
            executor.register_subscription(f"c{thread}", f"{thread}-{number}", USERS)
            executor.complete_subscription(f"{thread}-{number}")

    running = [threading.Thread(target=publish, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    heard = [json.loads(m)["payload"]["data"]["users"]["id"] for m in executor.next_events("sub1", 10_000)]
    assert sorted(heard) == [[thread, number] for thread in range(threads) for number in range(each)]
    for thread in range(threads):
        assert [number for of, number in heard if of == thread] == list(range(each))


def test_the_interpreter_is_free_while_a_publish_waits():
    with coulis.SubscriptionExecutor() as executor:
        entered, leave = threading.Event(), threading.Event()

        def resolver(event, variables):
            entered.set()
            leave.wait()
            return {"users": event}

        register(executor, resolver=resolver)
        publishing = threading.Thread(target=executor.publish_event, args=("t", "users", {"id": 1}))
        publishing.start()
        entered.wait()
        assert executor.next_event("sub1") is None
        leave.set()
        publishing.join()
        assert executor.next_event("sub1") is not None


def test_a_dropped_executor_stops_by_itself():
    before = threading.active_count()
    for _ in range(20):
        executor = coulis.SubscriptionExecutor()
        register(executor, resolver=lambda event, variables: event)
        executor.publish_event("t", "users", {"id": 1})
    del executor
    gc.collect()
    # Nobody joins them: their ends take a moment.
    deadline = time.monotonic() + 60
    while threading.active_count() > before:
        assert time.monotonic() < deadline


def test_very_long_ids_and_names_are_refused(executor):
    with pytest.raises(coulis.LimitExceeded, match="`subscription_id_bytes_max`"):
        executor.register_subscription("c", "s" * (1 << 20), USERS)
    with pytest.raises(coulis.SubscriptionNotFound):
        executor.next_event("s" * (1 << 20))


def test_a_thousand_subscriptions_share_one_event(executor):
    for number in range(1000):
        register(executor, number)
    assert executor.publish_event("t", "users", {"id": 1}) == 1000
    messages = {executor.next_event(f"sub{number}") for number in range(1000)}
    assert len(messages) == 1000
