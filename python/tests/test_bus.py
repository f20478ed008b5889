"""Executors and managers on a bus: events cross processes, losses are told, outages end."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import coulis
import pytest
import servers
from conftest import until

QUERY = "subscription { orders { id } }"


@pytest.fixture(scope="module", params=["redis", "postgres"])
def server(request):
    with servers.running(request.param) as server:
        yield server


def bus(server):
    if server.address.startswith("redis"):
        return coulis.EventBusConfig.redis(server.address, "shop")
    return coulis.EventBusConfig.postgresql(server.address)


@pytest.fixture
async def nodes(server):
    async with (
        coulis.SubscriptionManager(bus(server), registry=coulis.Registry()) as one,
        coulis.SubscriptionManager(bus(server), registry=coulis.Registry()) as other,
    ):
        yield one, other


async def results(manager, count, name="s"):
    """Read results; answer their ids and the last cursor."""
    ids, cursor = [], None
    async for message in manager.events(name):
        payload = json.loads(message)["payload"]
        cursor = payload["extensions"]["coulis"]["cursor"]
        if payload["data"] is not None:
            ids.append(payload["data"]["orders"]["id"])
        if len(ids) == count:
            return ids, cursor
    raise AssertionError("the subscription ended")


async def test_an_event_reaches_every_node_once_and_its_own_at_once(nodes):
    for node in nodes:
        await node.create_subscription("s", "c", QUERY)
        await until(lambda node=node: node.health()["connected"])
    one, other = nodes
    assert await one.publish_event("e", "orders", {"id": 0}) == 1
    assert await one.get_next_event("s") is not None
    assert (await results(other, 1))[0] == [0]
    for number in range(1, 20):
        assert await nodes[number % 2].publish_event("e", "orders", {"id": number}) == 1
    assert one.executor.publish_many([("e", "orders", {"id": 20}), ("e", "orders", {"id": 21})]) == [1, 1]
    other.executor.publish_nowait("e", "orders", {"id": 22})
    for node in nodes:
        assert (await results(node, 22))[0] == list(range(1, 23))
        assert await node.get_next_event("s") is None


async def test_a_client_goes_on_at_the_other_node(nodes):
    one, other = nodes
    await one.create_subscription("s", "c", QUERY)
    await one.publish_event("e", "orders", {"id": 1})
    _, cursor = await results(one, 1)
    await one.publish_event("e", "orders", {"id": 2})
    await one.publish_event("e", "orders", {"id": 3})
    # The other node may not have come as far yet; then it says so.
    resumed = False
    while not resumed:
        await other.create_subscription("s", "c", QUERY, resume=cursor)
        told = None
        async for message in other.events("s"):
            told = json.loads(message)["payload"]["extensions"]["coulis"]
            break
        resumed = told["resumed"]
        if not resumed:
            await other.complete_subscription("s", "c")
    assert (await results(other, 2))[0] == [2, 3]


async def test_an_event_id_is_taken_once(nodes):
    for node in nodes:
        await node.create_subscription("s", "c", QUERY)
    for node in (*nodes, *nodes):
        await node.publish_event("e", "orders", {"id": 1}, event_id="order 1 of this test")
    await nodes[0].publish_event("e", "orders", {"id": 2})
    for node in nodes:
        assert (await results(node, 2))[0] == [1, 2]


async def test_async_resolvers_are_waited_for_and_may_publish(nodes):
    one, _ = nodes

    async def resolve(event, variables):
        if event["id"] == 1:
            await one.publish_event("e", "other", {"id": 9})
        return event

    await one.create_subscription("s", "c", QUERY, resolver_fn=resolve)
    await one.create_subscription("t", "c", "subscription { other { id } }")
    assert await one.publish_event("e", "orders", {"id": 1}) == 1
    assert (await results(one, 1))[0] == [1]
    assert json.loads(await one.get_next_event("t"))["payload"]["data"] == {"other": {"id": 9}}


async def test_a_crash_of_the_server_loses_nothing_and_is_told_to_nobody(server, nodes):
    for node in nodes:
        await node.create_subscription("s", "c", QUERY)
    await nodes[0].publish_event("e", "orders", {"id": 1})
    server.kill()
    await until(lambda: not any(node.health()["connected"] for node in nodes))
    publishing = asyncio.create_task(nodes[0].publish_event("e", "orders", {"id": 2}))
    server.start()
    await publishing
    for node in nodes:
        assert (await results(node, 2))[0] == [1, 2]
        assert node.health()["reconnects"] > 0


NODE = """
import asyncio, sys, coulis, servers

async def main():
    async with coulis.SubscriptionManager(eval(sys.argv[1])) as manager:
        for number in range(int(sys.argv[2]), int(sys.argv[2]) + 50):
            await manager.publish_event("e", "orders", {"id": number})
            print(number, flush=True)

asyncio.run(main())
"""


def publish_and_die(config):
    """Have another process publish, and kill it in the middle; answer what it knew to be accepted."""
    path = Path(servers.__file__).parent
    call = f"coulis.EventBusConfig.{config.bus_type}(**{config.config!r})"
    command = [sys.executable, "-c", NODE, call, "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=path) as process:
        printed = [int(process.stdout.readline()) for _ in range(10)]
        process.kill()
    return printed


async def test_a_killed_node_leaves_what_it_published_and_harms_nobody(server, nodes):
    one, other = nodes
    for node in nodes:
        await node.create_subscription("s", "c", QUERY)
    printed = await asyncio.to_thread(publish_and_die, bus(server))
    await one.publish_event("e", "orders", {"id": 1})
    seen = []
    while not seen or seen[-1] != 1:
        seen.append((await results(one, 1))[0][0])
    # All that it knew to be accepted, and perhaps what it was about to hear of.
    assert seen[: len(printed)] == printed == list(range(100, 110))
    assert seen[:-1] == list(range(100, 100 + len(seen) - 1))
    assert (await results(other, len(seen)))[0] == seen


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: coulis.EventBusConfig.redis("redis://h", "g", mode="lists"), "`mode` is `lists`"),
        (lambda: coulis.EventBusConfig.redis("redis://h", "g", buffer=1), "nothing called `buffer`"),
        (lambda: coulis.EventBusConfig.redis("redis://h", "g", tls_key="k"), "go together"),
        (lambda: coulis.EventBusConfig.redis("redis://h", "g", buffer_events_max=0), "buffer_events_max"),
        (lambda: coulis.EventBusConfig.postgresql("host=h", schema="no good"), "schema"),
        (lambda: coulis.EventBusConfig.postgresql("host=h", tls_ca="/nowhere"), "/nowhere"),
        (lambda: coulis.EventBusConfig.postgresql("host=h", poll_every=-1), "poll_every"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_unreachable_server_is_told_by_health_and_by_who_publishes():
    bus = coulis.EventBusConfig.redis("redis://127.0.0.1:1", "g", publish_wait_max=0.01, start_wait_max=0)
    with coulis.SubscriptionExecutor(bus) as executor:
        with pytest.raises(coulis.BusError, match=r"127\.0\.0\.1:1") as raised:
            executor.publish_event("e", "c", {})
        assert raised.value.transient
        assert not executor.health()["connected"]
        assert "127.0.0.1:1" in executor.health()["error"]
