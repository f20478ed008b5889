"""How a process ends, and what a fork finds: nothing hangs, nothing crashes."""

import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
    import asyncio, os, sys, threading
    import coulis
    QUERY = "subscription { user { id } }"
    executor = coulis.SubscriptionExecutor()
"""


def run(script):
    """Run a script in a process of its own; answer what it wrote. A script that hangs fails the test."""
    script = textwrap.dedent(PREAMBLE) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_script_may_end_without_closing():
    assert (
        run("""
        executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": event})
        executor.register_subscription("c", "t", QUERY)
        for number in range(1000):
            executor.publish_nowait("t", "user", {"id": number})
        print("end")
    """)
        == "end\n"
    )


def test_a_script_may_end_while_async_resolvers_run():
    assert (
        run("""
        async def resolver(event, variables):
            await asyncio.Event().wait()
        executor.register_subscription("c", "s", QUERY, resolver=resolver)
        for number in range(1000):
            executor.publish_nowait("t", "user", {"id": number})
        print("end")
    """)
        == "end\n"
    )


@pytest.mark.parametrize("body", ["threading.Event().wait()", "while True: os.sched_yield()"])
def test_a_script_may_end_while_a_resolver_hangs(body):
    assert (
        run(f"""
        entered = threading.Event()
        def resolver(event, variables):
            entered.set()
            {body}
        executor.register_subscription("c", "s", QUERY, resolver=resolver)
        executor.publish_nowait("t", "user", {{}})
        entered.wait()
        print("end")
    """)
        == "end\n"
    )


def test_a_script_may_end_in_the_middle_of_a_loop():
    assert (
        run("""
        async def main():
            manager = coulis.SubscriptionManager()
            await manager.create_subscription("s", "c", QUERY)
            await manager.publish_event("t", "user", {"id": 1})
            print((await manager.get_next_event("s")).decode()[:59])
        asyncio.run(main())
    """)
        == '{"type":"next","id":"s","payload":{"data":{"user":{"id":1}}\n'
    )


def test_a_forked_child_refuses_the_parents_executor_and_makes_its_own():
    assert run("""
        executor.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": event})
        executor.publish_event("t", "user", {"id": 1})
        child = os.fork()
        if child == 0:
            for call in (lambda: executor.publish_event("t", "user", {}), lambda: executor.next_event("s")):
                try:
                    call()
                except coulis.EngineClosed as refused:
                    print(refused)
            executor.close()
            del executor
            with coulis.SubscriptionExecutor() as own:
                own.register_subscription("c", "s", QUERY, resolver=lambda event, variables: {"user": event})
                print(own.publish_event("t", "user", {"id": 2}))
            sys.exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, executor.publish_event("t", "user", {"id": 3}))
    """) == textwrap.dedent("""\
        the executor was made before this process was forked: make one in each process
        the executor was made before this process was forked: make one in each process
        1
        0 1
    """)


def test_a_forked_child_ends_with_the_parents_things_untouched():
    assert (
        run("""
        async def resolver(event, variables):
            return {"user": event}
        executor.register_subscription("c", "s", QUERY, resolver=resolver)
        executor.publish_event("t", "user", {"id": 1})
        child = os.fork()
        if child == 0:
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
        == "0\n"
    )
