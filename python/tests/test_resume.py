"""Resuming after a loss of connection, and what happens to readers that are too slow."""

import json

import coulis
import pytest
from conftest import served
from coulis.asgi import SubscriptionApp

QUERY = "subscription { user { id } }"


def register(executor, id="s", **options):
    executor.register_subscription("c", id, QUERY, **options)


def publish(executor, *ids, **attributes):
    for id in ids:
        executor.publish_event("t", "user", {"id": id}, **attributes)


def read(executor, id="s"):
    return [json.loads(message)["payload"] for message in executor.next_events(id, 10_000)]


def ids(payloads):
    return [payload["data"]["user"]["id"] for payload in payloads]


def extensions(payload):
    assert payload["data"] is None
    return payload["extensions"]["coulis"]


def cursor(payload):
    return payload["extensions"]["coulis"]["cursor"]


def test_everything_after_the_cursor_comes_first(executor):
    register(executor)
    publish(executor, 1, 2, 3)
    seen = read(executor)
    executor.complete_subscription("s")
    publish(executor, 4, 5)
    register(executor, resume=cursor(seen[0]))
    publish(executor, 6)
    resumed, *rest = read(executor)
    assert extensions(resumed) == {"resumed": True, "cursor": cursor(seen[0])}
    assert ids(rest) == [2, 3, 4, 5, 6]
    assert executor.get_metrics()["resumed"] == 1


def test_the_policy_is_asked_again_for_what_was_missed(executor):
    register(executor, resume="")
    start = extensions(read(executor)[0])
    assert start["resumed"] is False and start["reason"] == "new"
    publish(executor, 1, tenant_id="mine")
    publish(executor, 2, tenant_id="theirs")
    register(executor, "mine", tenant_id="mine", resume=start["cursor"])
    assert ids(read(executor, "mine")[1:]) == [1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [("garbage", "cursor"), ("1.0.1.0", "epoch"), ("future", "future"), ("trimmed", "trimmed")],
)
def test_what_cannot_be_resumed_is_told_and_goes_on_live(given, reason):
    with coulis.SubscriptionExecutor(limits={"log_events_max": 2}) as executor:
        register(executor, "first")
        publish(executor, 1, 2, 3, 4)
        seen = read(executor, "first")
        epoch, channel = cursor(seen[0]).split(".")[1:3]
        known = {"trimmed": cursor(seen[0]), "future": f"1.{epoch}.{channel}.ff"}
        register(executor, resume=known.get(given, given))
        publish(executor, 5)
        told, *rest = read(executor)
        assert extensions(told) == {"resumed": False, "reason": reason, "cursor": cursor(seen[3])}
        assert ids(rest) == [5]


def test_several_channels_have_no_cursor(executor):
    register(executor, channel=["user", "group"], resume="1.0.1.0")
    assert extensions(read(executor)[0]) == {"resumed": False, "reason": "cursor"}


def test_without_a_log_there_are_no_cursors():
    with coulis.SubscriptionExecutor(limits={"log_events_max": 0}) as executor:
        register(executor)
        publish(executor, 1)
        assert read(executor) == [{"data": {"user": {"id": 1}}}]


@pytest.mark.parametrize(("wrong", "error"), [(7, TypeError), (True, TypeError), (b"1.0.1.0", TypeError)])
def test_a_cursor_is_text(executor, wrong, error):
    with pytest.raises(error, match="`resume` is a"):
        register(executor, resume=wrong)


@pytest.fixture
async def address(manager):
    async with served(SubscriptionApp(manager)) as address:
        yield address


@pytest.fixture
def narrow():
    with coulis.SubscriptionExecutor(limits={"ring_frames_max": 8}) as executor:
        yield executor


def gap(start, end, count):
    return {"gap": {"from": start, "to": end, "count": count, "reason": "overflow"}}


def test_the_oldest_make_room(narrow):
    register(narrow)
    publish(narrow, *range(1, 13))
    lost, *rest = read(narrow)
    assert (extensions(lost), ids(rest)) == (gap(1, 4, 4), list(range(5, 13)))


def test_the_newest_are_refused(narrow):
    register(narrow, overflow="drop_newest")
    publish(narrow, *range(1, 13))
    *first, lost = read(narrow)
    assert (ids(first), extensions(lost)) == (list(range(1, 9)), gap(9, 12, 4))
    publish(narrow, 13)
    assert ids(read(narrow)) == [13]


def test_the_latest_of_each_key_is_kept(narrow):
    register(narrow, overflow="latest_per_key(id)")
    publish(narrow, *range(8))
    for _ in range(100):
        publish(narrow, 10, 11, 12)
    assert ids(read(narrow)) == list(range(8))
    publish(narrow, 13)
    assert ids(read(narrow)) == [10, 11, 12, 13]
    assert narrow.get_metrics()["coalesced"] == 297


def test_a_loss_ends_the_subscription(narrow):
    register(narrow, overflow="disconnect")
    publish(narrow, *range(1, 13))
    (lost,) = read(narrow)
    assert extensions(lost)["gap"]["reason"] == "overflow"
    with pytest.raises(coulis.SubscriptionNotFound):
        narrow.next_event("s")
    assert narrow.get_metrics()["subscriptions"] == 0


def test_bytes_are_bounded_too():
    with coulis.SubscriptionExecutor(limits={"ring_bytes_max": 1_000}) as executor:
        executor.register_subscription("c", "s", "subscription { user }")
        for number in range(10):
            executor.publish_event("t", "user", {"user": [number, "x" * 400]})
        lost, *rest = read(executor)
        assert extensions(lost) == gap(1, 8, 8)
        assert [payload["data"]["user"]["user"][0] for payload in rest] == [8, 9]


@pytest.mark.parametrize(
    "wrong", ["", "newest", "latest_per_key", "latest_per_key()", "latest_per_key(a..b)"]
)
def test_an_unknown_overflow_policy_is_refused(executor, wrong):
    with pytest.raises(ValueError, match="is no overflow policy"):
        register(executor, overflow=wrong)
    with pytest.raises(ValueError, match="is no overflow policy"):
        coulis.Registry().subscription("field", overflow=wrong)


def test_a_declaration_brings_its_overflow_policy():
    registry = coulis.Registry()
    registry.subscription("user", overflow="drop_newest")(lambda event, variables: {"user": event})
    limits = {"ring_frames_max": 8}
    with coulis.SubscriptionExecutor(limits=limits, declarations=registry.fields) as executor:
        register(executor)
        publish(executor, *range(1, 13))
        assert ids(read(executor)[:-1]) == list(range(1, 9))


async def test_a_client_resumes_through_its_extensions(manager, address, connect):
    client = await connect(address)
    await client.init()
    await client.say(
        type="subscribe", id="1", payload={"query": QUERY, "extensions": {"coulis": {"resume": None}}}
    )
    position = json.loads(await client.socket.recv())["payload"]["extensions"]["coulis"]["cursor"]
    await client.socket.close()
    await manager.publish_event("t", "user", {"id": 1})
    client = await connect(address)
    await client.init()
    extensions = {"coulis": {"resume": position}}
    await client.say(type="subscribe", id="1", payload={"query": QUERY, "extensions": extensions})
    told, missed = [(await client.hear())["payload"] for _ in range(2)]
    assert told["extensions"]["coulis"]["resumed"] is True
    assert ids([missed]) == [1]
    (error,) = await client.subscribe("2", QUERY, extensions={"coulis": {"resume": 7}})
    assert error["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_connection_that_is_too_slow_is_closed_by_its_policy(address, connect, manager):
    manager.registry.subscription("user", overflow="disconnect")(lambda event, variables: {"user": event})
    client = await connect(address)
    await client.init()
    await client.subscribe("1", QUERY)
    # All in one go, so that the connection cannot read in between.
    limit = 1_024
    manager.executor.publish_many([("t", "user", {"id": number}) for number in range(limit + 10)])
    code, reason, heard = await client.closed()
    assert (code, reason) == (4008, "Too slow")
    assert heard[-1]["payload"]["extensions"]["coulis"]["gap"]["count"] >= 10
