"""The help for tests of others: the client without sockets, the contexts, the plugin for pytest."""

import asyncio
import threading

import coulis
import pytest
from coulis.asgi import SubscriptionApp
from coulis.testing import (
    ConnectionClosed,
    SubscriptionClient,
    SubscriptionEnded,
    SubscriptionRefused,
    admin,
    anonymous,
    expiring,
    user,
)

pytest_plugins = ["pytester"]

QUERY = "subscription { orders { id } }"


def order(id):
    return {"orders": {"id": id}}


async def test_results_come_in_order_and_nothing_else(coulis_client):
    async with coulis_client.connect(context=user("ann", "acme")) as connection:
        orders = await connection.subscribe(QUERY)
        assert await coulis_client.publish("t", "orders", {"id": 1, "card": 2}, tenant_id="acme") == 1
        assert await coulis_client.publish("t", "orders", {"id": 2}, tenant_id="other") == 0
        await coulis_client.publish("t", "orders", {"id": 3}, tenant_id="acme")
        await orders.expect(order(1), order(3))
        await orders.expect_nothing()
        await coulis_client.publish("t", "orders", {"id": 4}, tenant_id="acme")
        assert await anext(orders) == order(4)


@pytest.mark.parametrize("count", [1, 127, 128, 300])
async def test_expect_nothing_sees_what_was_published_just_before(coulis_client, count):
    async with coulis_client.connect() as connection:
        orders = await connection.subscribe(QUERY)
        for id in range(count):
            coulis_client.manager.executor.publish_event("t", "orders", {"id": id})
        with pytest.raises(AssertionError, match=r"nothing was expected, and .*'id': 0"):
            await orders.expect_nothing()
        await orders.expect(*map(order, range(count)))
        await orders.expect_nothing()


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_permission_that_takes_its_time_is_waited_for(coulis_manager, allowed):
    class Slow(coulis.BasePermission):
        async def has_permission(self, source, info, **arguments):
            await asyncio.to_thread(asked.wait)
            return allowed

    asked = threading.Event()
    asyncio.get_running_loop().call_later(0.05, asked.set)
    app = SubscriptionApp(coulis_manager, permission_classes=[Slow])
    async with SubscriptionClient(app).connect() as connection:
        if allowed:
            orders = await connection.subscribe(QUERY)
            assert await coulis_manager.publish_event("t", "orders", {"id": 1}) == 1
            await orders.expect(order(1))
        else:
            with pytest.raises(SubscriptionRefused, match="not allowed"):
                await connection.subscribe(QUERY)


async def test_a_permission_that_never_decides_is_told(coulis_manager):
    class Stuck(coulis.BasePermission):
        async def has_permission(self, source, info, **arguments):
            await asyncio.Event().wait()

    client = SubscriptionClient(SubscriptionApp(coulis_manager, permission_classes=[Stuck]), timeout=0.2)
    async with client.connect() as connection:
        with pytest.raises(AssertionError, match="no permission or hook decided"):
            await connection.subscribe(QUERY)


async def test_variables_names_and_several_subscriptions(coulis_client):
    document = "subscription A($n: Int) { orders(n: $n) { id } } subscription B { other { id } }"
    async with coulis_client.connect() as connection:
        first = await connection.subscribe(document, {"n": 1}, operation_name="A")
        second = await connection.subscribe(document, operation_name="B", id="mine")
        assert second.id == "mine"
        await coulis_client.publish("t", "other", {"id": 7})
        await second.expect({"other": {"id": 7}})
        await first.expect_nothing()


async def test_a_wrong_result_is_shown(coulis_client):
    async with coulis_client.connect() as connection:
        orders = await connection.subscribe(QUERY)
        await coulis_client.publish("t", "orders", {"id": 1})
        with pytest.raises(AssertionError, match=r"result 1 of 1 is .*1.*expected .*2"):
            await orders.expect(order(2))


async def test_every_wait_ends(coulis_manager):
    client = SubscriptionClient(coulis_manager, timeout=0.01)
    async with SubscriptionClient(coulis_manager).connect() as connection:
        orders = await connection.subscribe(QUERY, id="mine")
        with pytest.raises(AssertionError, match=r"`mine` did not come within 0.02 s"):
            await orders.next(timeout=0.02)
        with pytest.raises(AssertionError, match=r"did not come within 0.01 s"):
            connection._timeout = client.timeout
            await connection.closed()


async def test_what_is_refused_is_told(coulis_client):
    async with coulis_client.connect() as connection:
        with pytest.raises(SubscriptionRefused) as refused:
            await connection.subscribe("subscription {")
        assert refused.value.errors[0]["message"] and str(refused.value)
        orders = await connection.subscribe(QUERY)
        coulis_client.manager.executor.revoke("anonymous")
        assert await orders.expect_refusal()


async def test_a_refusal_that_does_not_come_or_has_another_code_fails(coulis_client):
    async with coulis_client.connect() as connection:
        orders = await connection.subscribe(QUERY)
        await coulis_client.publish("t", "orders", {"id": 1})
        with pytest.raises(AssertionError, match="a refusal was expected"):
            await orders.expect_refusal()
        coulis_client.manager.executor.revoke("anonymous")
        with pytest.raises(AssertionError, match="expected OTHER"):
            await orders.expect_refusal("OTHER")


async def test_the_auth_handler_of_an_app_is_asked(coulis_manager):
    app = SubscriptionApp(coulis_manager, auth_handler=lambda payload: payload.get("user") and user("ann"))
    client = SubscriptionClient(app)
    with pytest.raises(ConnectionClosed) as closed:
        async with client.connect({}):
            pass
    assert (closed.value.code, closed.value.reason) == (4403, "Forbidden")
    async with client.connect({"user": 1}) as connection:
        assert await connection.subscribe(QUERY)
    async with client.connect(context=admin()) as connection:
        assert await connection.subscribe(QUERY)
    assert len(app.door) == 0, "nothing stays"


async def test_a_page_of_elsewhere_is_refused_as_it_would_be(coulis_client):
    with pytest.raises(ConnectionClosed) as closed:
        async with coulis_client.connect(headers={"Host": "here", "Origin": "https://elsewhere"}):
            pass
    assert closed.value.code == 403


async def test_going_on_from_a_cursor(coulis_client):
    async with coulis_client.connect() as connection:
        orders = await connection.subscribe(QUERY)
        await coulis_client.publish("t", "orders", {"id": 1})
        await orders.expect(order(1))
    await coulis_client.publish("t", "orders", {"id": 2})
    async with coulis_client.connect() as connection:
        resumed = await connection.subscribe(QUERY, resume=orders.cursor)
        assert (await resumed.payload())["extensions"]["coulis"]["resumed"] is True
        await resumed.expect(order(2))


async def test_a_drain_reaches_it(coulis_client):
    async with coulis_client.connect() as connection:
        orders = await connection.subscribe(QUERY)
        await coulis_client.publish("t", "orders", {"id": 1})
        await coulis_client.manager.drain(5)
        assert (await connection.closed()).code == 1012
        await orders.expect(order(1))
        with pytest.raises(ConnectionClosed, match="1012 Service restart"):
            await orders.next()
    with pytest.raises(ConnectionClosed, match="503"):
        async with coulis_client.connect():
            pass


async def test_completing_ends_the_iteration(coulis_client):
    async with coulis_client.connect() as connection:
        orders = await connection.subscribe(QUERY)
        await coulis_client.publish("t", "orders", {"id": 1})
        await connection.settle()
        await orders.complete()
        assert coulis_client.manager.get_metrics()["subscriptions"] == 0
        assert [data async for data in orders] == [order(1)]
        with pytest.raises(SubscriptionEnded):
            await orders.next()


async def test_errors_of_a_resolver_are_not_taken_for_data(coulis_client):
    def broken(event, variables):
        raise ValueError("broken")

    registry = coulis.Registry()
    registry.subscription("orders")(broken)
    async with coulis.SubscriptionManager(registry=registry) as manager:
        client = SubscriptionClient(manager)
        async with client.connect() as connection:
            orders = await connection.subscribe(QUERY)
            await client.publish("t", "orders", {"id": 1})
            with pytest.raises(AssertionError, match="a result with errors came"):
                await orders.next()


def test_the_contexts():
    assert (anonymous().user_id, anonymous().tenant_id) == ("anonymous", None)
    one = user(7, "acme", roles=["a"], scopes=["b"], claims={"c": 1})
    assert (one.user_id, one.tenant_id, one.roles, one.scopes) == ("7", "acme", ("a",), ("b",))
    assert one.claims == {"c": 1}
    assert admin().roles == ("admin",)
    assert expiring(100).expires > expiring(-100).expires


async def test_an_expired_context_is_closed(coulis_client):
    with pytest.raises(ConnectionClosed, match="4403 Token expired"):
        async with coulis_client.connect(context=expiring(-1)):
            pass


def test_bad_arguments_are_named(coulis_manager):
    with pytest.raises(ValueError, match="`timeout` is `0`"):
        SubscriptionClient(coulis_manager, timeout=0)


TESTS = """
    import asyncio, coulis, pytest
    seen = []

    {mark}
    async def test_events(coulis_client, coulis_manager):
        seen.append(coulis_manager)
        assert coulis_client.manager is coulis_manager
        async with coulis_client.connect() as connection:
            orders = await connection.subscribe("subscription {{ orders {{ id }} }}")
            await coulis_client.publish("t", "orders", {{"id": 1}})
            await orders.expect({{"orders": {{"id": 1}}}})

    def test_that_it_was_closed_and_another_comes(coulis_manager):
        assert seen[0].executor.is_closed and not coulis_manager.executor.is_closed
"""


@pytest.mark.parametrize("mark", ["", "@pytest.mark.anyio"])
def test_the_plugin_loads_by_itself_for_asyncio_and_anyio(pytester, mark):
    pytester.makeini("[pytest]\nasyncio_mode = auto" if not mark else "[pytest]")
    pytester.makeconftest("import pytest\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n")
    pytester.makepyfile(TESTS.format(mark=mark))
    options = ["-p", "no:asyncio"] if mark else []
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)


def test_options_are_passed_by_a_fixture_of_ones_own(pytester):
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def coulis_options():
            return {"schema": "type Query { a: Int } type Subscription { a: Int }"}

        def test_schema(coulis_manager):
            with pytest.raises(Exception, match="b"):
                coulis_manager.executor.register_subscription("c", "s", "subscription { b }")
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_fixtures_are_listed_with_what_they_do(pytester):
    listed = pytester.runpytest_subprocess("--fixtures").stdout.str()
    for name in ("coulis_manager", "coulis_client", "coulis_options"):
        assert name in listed
